"""The parts as processes of this machine: what each runs, and where it says that it is well."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporters.stack import access, addresses, alerting
from exporters.stack.debian import install, program
from exporters.stack.settings import CHECKOUT, Settings, StackError

# As in docker-compose.yml; a test compares the two.
PROMETHEUS_FLAGS = (
    "--storage.tsdb.retention.time=90d",
    "--enable-feature=exemplar-storage",
    "--web.page-title=Agentgauge",
    # Else any web page may read what it answers. No origin is called so.
    "--web.cors.origin=none",
)

# What a part that asks other machines needs to get there.
_OUTSIDE = tuple(
    name for scheme in ("HTTP", "HTTPS", "ALL", "NO") for name in (f"{scheme}_PROXY", f"{scheme.lower()}_proxy")
)
# What Go's runtime is told, and nothing else that begins so: a key of Google's is no business of theirs.
_GO = ("GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG", "GOTRACEBACK")
# A test holds that these are what docker-compose.yml passes to the exporter.
EXPORTER_NEEDS = (
    *("TRACE_SOURCES", "LANGFUSE_*", "PG*", "AGENTGAUGE_OTLP_TOKEN", "AGENTGAUGE_HOSTS", "AGENTGAUGE_ZONE"),
    *("AGENTGAUGE_SERIES_LIMIT", "AGENTGAUGE_PRICES", "AGENTGAUGE_LITELLM_PRICES", "AGENTGAUGE_BUDGETS"),
    *("AGENTGAUGE_OBJECTIVES", *_OUTSIDE),
)
_PORTAL_NEEDS = (
    *("PROMETHEUS_URL", "GRAFANA_URL", "GRAFANA_INTERNAL_URL", "PORTAL_REFRESH", "PORTAL_PROBE", "STREAMLIT_*"),
    *("AGENTGAUGE_NOTIFY", "AGENTGAUGE_HOSTS"),
)
_GRAFANA_NEEDS = (
    *("GF_*", "PROMETHEUS_URL", "DASHBOARDS_PATH", "AGENTGAUGE_NOTIFY", "AGENTGAUGE_ROOT_URL"),
    *("SLACK_*", "ALERT_*", "SMTP_*", *_GO, *_OUTSIDE),
)

# The exporter's name in Docker Compose. Used as processes too, so that a series keeps its labels when the port changes.
INSTANCE = "exporter:9464"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process: its command line, the port it needs and the URL that answers 200 when it is well.

    `port` is a name in settings.PORTS; a part without one is well as long as it runs, and `place` is shown instead.
    `backend` is a second one, where the part listens itself when the guard has the first. `status` is the URL that says
    why a part that runs cannot do its work, where it has one. `needs` are the variables of the environment that it gets
    besides those of every process; a `*` stands for anything.
    """

    name: str
    title: str
    command: tuple[str, ...]
    port: str = ""
    health: str = ""
    status: str = ""
    place: str = ""
    backend: str = ""
    needs: tuple[str, ...] = ()


def parts(settings: Settings) -> list[Part]:
    """Return the parts in the order in which people are told of them.

    Grafana and Alertmanager are parts only where they are installed, and only one of them: Grafana tells of alerts
    itself, and of one alert only one may tell.
    """
    python = (sys.executable, "-m")
    store = settings.home / "prometheus"
    found = [
        Part(
            name="portal",
            title="Portal",
            port="PORTAL_PORT",
            health="/_stcore/health",
            command=(*python, "streamlit_portal", "--port", str(settings.ports["PORTAL_PORT"])),
            needs=_PORTAL_NEEDS,
        ),
        Part(
            name="prometheus",
            title="Prometheus",
            port="PROMETHEUS_PORT",
            backend="PROMETHEUS_BACKEND_PORT",
            health="/-/ready",
            command=(
                prometheus("prometheus"),
                f"--config.file={store / 'prometheus.yml'}",
                f"--storage.tsdb.path={settings.samples}",
                f"--web.listen-address=127.0.0.1:{settings.ports['PROMETHEUS_BACKEND_PORT']}",
                f"--web.external-url={settings.url('PROMETHEUS_PORT', '/')}",
                *access.options(settings),
                *PROMETHEUS_FLAGS,
            ),
            needs=_GO,
        ),
        Part(
            name="exporter",
            title="Exporter",
            port="EXPORTER_PORT",
            health="/-/healthy",
            status="/-/status",
            command=(
                *(*python, "exporters", "serve"),
                *("--listen", f"127.0.0.1:{settings.ports['EXPORTER_PORT']}"),
                *("--state", str(settings.state)),
            ),
            needs=EXPORTER_NEEDS,
        ),
    ]
    if grafana := _grafana_command():
        found.insert(
            1,
            Part(
                name="grafana",
                title="Grafana",
                port="GRAFANA_PORT",
                health="/api/health",
                command=grafana,
                needs=_GRAFANA_NEEDS,
            ),
        )
    elif command := alerting.command(settings):
        found.insert(
            2,
            Part(
                name="alertmanager",
                title="Alertmanager",
                port="ALERTMANAGER_PORT",
                backend="ALERTMANAGER_BACKEND_PORT",
                health="/-/ready",
                command=command,
                needs=(*_GO, *_OUTSIDE),
            ),
        )
    found.append(_guard(settings, [part for part in found if part.backend]))
    if settings.demo:
        command = (*python, "exporters", "demo", str(settings.demo), *demo_stores(settings))
        keys = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY") if settings.stores else ()
        found.append(Part(name="demo", title="Demo", place=str(settings.demo), command=command, needs=keys))
    return found


def _guard(settings: Settings, behind: list[Part]) -> Part:
    """Return what listens where people reach the parts behind it, and passes on what is asked from no other site."""
    pairs = (f"{settings.ports[part.port]}={settings.ports[part.backend]}" for part in behind)
    return Part(
        name="guard",
        title="Guard",
        place=f"before {' and '.join(part.title for part in behind)}",
        command=(sys.executable, "-m", "exporters.stack.guard", *pairs),
        needs=(access.PASSWORD, "AGENTGAUGE_HOSTS"),
    )


def demo_stores(settings: Settings) -> tuple[str, ...]:
    """Return the options of `agentgauge demo` for the stores that it writes to besides."""
    return tuple(word for store in settings.stores for word in ("--store", store))


def environment(settings: Settings, running: list[Part]) -> dict[str, str]:
    """Return what the parts may need: what stands in `.env`, then where the others are.

    `Part.needs` says what of it each gets.
    """
    names = {part.name for part in running}
    budgets = {"AGENTGAUGE_BUDGETS": str(settings.demo_budgets)} if settings.demo else {}
    env = {
        **budgets,
        **settings.env,
        "TRACE_SOURCES": " ".join(settings.sources),
        "PROMETHEUS_URL": settings.url("PROMETHEUS_PORT"),
        "AGENTGAUGE_NOTIFY": " ".join(settings.notify) if names & {"grafana", "alertmanager"} else "",
    }
    if "grafana" in names:
        env |= _grafana_environment(settings)
    return env


def prometheus(name: str) -> str:
    """Return the path of `prometheus` or `promtool`, installing Debian's package if that is possible.

    Raises StackError when there is none and none can be had without a question.
    """
    found = program(name)
    if found is None and install(["prometheus"]):
        found = program(name)
    if found is None:
        raise StackError(
            "Prometheus is not installed: put prometheus and promtool on the PATH (apt-get install prometheus)."
        )
    return found


def write_prometheus_configuration(settings: Settings, running: list[Part]) -> None:
    """Lay out the directory that Prometheus starts from: links to the shipped files, and targets of its own.

    Itself and Alertmanager it reaches through the guard, which adds the password, so that the files are the same as in
    Docker Compose.
    """
    home = settings.home / "prometheus"
    (home / "targets").mkdir(parents=True, exist_ok=True)
    for name in ("prometheus.yml", "rules"):
        link = home / name
        link.unlink(missing_ok=True)
        link.symlink_to(CHECKOUT / "prometheus" / name)
    for name, port, labels in (("agentgauge", "EXPORTER_PORT", INSTANCE), ("prometheus", "PROMETHEUS_PORT", "")):
        target = f"- targets: [127.0.0.1:{settings.ports[port]}]\n"
        extra = f"  labels: {{instance: '{labels}'}}\n" if labels else ""
        (home / "targets" / f"{name}.yml").write_text(target + extra, "utf-8")
    own = any(part.name == "alertmanager" for part in running)
    target = f"- targets: [127.0.0.1:{settings.ports['ALERTMANAGER_PORT']}]\n" if own else "[]\n"
    (home / "targets" / "alertmanager.yml").write_text(target, "utf-8")


def make_grafana_folders(settings: Settings) -> None:
    """Make the folders that Grafana reads and does not make: each that is not there is an error in its log."""
    (settings.home / "grafana" / "plugins").mkdir(parents=True, exist_ok=True)


def _grafana_command() -> tuple[str, ...] | None:
    """Return how the Grafana of this machine is started, or None. 13 has no `grafana-server` any more."""
    found = program("grafana") or program("grafana-server")
    if found is None:
        return None
    homes = (Path(found).resolve().parents[1], Path("/usr/share/grafana"))
    home = next((path for path in homes if (path / "conf" / "defaults.ini").is_file()), None)
    if home is None:
        return None
    verb = ("server",) if Path(found).name == "grafana" else ()
    return (found, *verb, "--homepath", str(home), "--config", str(CHECKOUT / "grafana" / "grafana.ini"))


def _grafana_environment(settings: Settings) -> Mapping[str, str]:
    """What differs from grafana.ini on this machine: places, ports and secrets."""
    data = settings.home / "grafana"
    provisioning = CHECKOUT / "grafana" / "provisioning"
    return {
        "GRAFANA_URL": settings.url("GRAFANA_PORT"),
        "GRAFANA_INTERNAL_URL": settings.url("GRAFANA_PORT"),
        "DASHBOARDS_PATH": str(provisioning / "dashboards" / "json"),
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_PATHS_PROVISIONING": str(provisioning),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        # A name that leads here without being ours is sent to the address below, where its page may read nothing.
        "GF_SERVER_DOMAIN": "127.0.0.1",
        "GF_SERVER_ENFORCE_DOMAIN": settings.env.get("GF_SERVER_ENFORCE_DOMAIN") or "true",
        "GF_SERVER_HTTP_PORT": str(settings.ports["GRAFANA_PORT"]),
        "GF_SERVER_ROOT_URL": settings.url("GRAFANA_PORT", "/"),
        "GF_SECURITY_ADMIN_PASSWORD": settings.secret("GRAFANA_ADMIN_PASSWORD"),
        "GF_SECURITY_SECRET_KEY": settings.secret("GRAFANA_SECRET_KEY"),
        **_alert_environment(settings),
    }


def _alert_environment(settings: Settings) -> Mapping[str, str]:
    """Where alerts go, as docker-compose.yml says it; an address that is empty stops Grafana."""
    env = settings.env
    nowhere = "http://127.0.0.1:9/is-not-set"
    slack = env.get("SLACK_WEBHOOK_URL") or nowhere
    return {
        "AGENTGAUGE_ROOT_URL": env.get("AGENTGAUGE_ROOT_URL") or settings.url("PORTAL_PORT"),
        "SLACK_WEBHOOK_URL_CRITICAL": slack,
        "SLACK_WEBHOOK_URL_WARNING": env.get("SLACK_WEBHOOK_URL_WARNING") or slack,
        "SLACK_CHANNEL_CRITICAL": env.get("SLACK_CHANNEL_CRITICAL", ""),
        "SLACK_CHANNEL_WARNING": env.get("SLACK_CHANNEL_WARNING", ""),
        "SLACK_MENTION": env.get("SLACK_MENTION", ""),
        "ALERT_EMAIL": env.get("ALERT_EMAIL") or addresses.NOBODY,
        "ALERT_WEBHOOK_URL": env.get("ALERT_WEBHOOK_URL") or nowhere,
        "GF_SMTP_ENABLED": str(bool(env.get("SMTP_HOST"))).lower(),
        "GF_SMTP_HOST": env.get("SMTP_HOST", ""),
        "GF_SMTP_USER": env.get("SMTP_USER", ""),
        "GF_SMTP_PASSWORD": env.get("SMTP_PASSWORD", ""),
        "GF_SMTP_FROM_ADDRESS": env.get("SMTP_FROM") or addresses.SENDER,
    }
