"""What the stack is told: where it keeps things, which ports it takes, which stores it reads, and .env."""

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

CHECKOUT = Path(__file__).resolve().parents[2]

# Environment variable -> default. All of them are overridden by `make up NAME=...` as well.
PORTS = {
    "EXPORTER_PORT": 9464,
    "PROMETHEUS_PORT": 9090,
    "ALERTMANAGER_PORT": 9093,
    "GRAFANA_PORT": 3000,
    "PORTAL_PORT": 8501,
    # Where Prometheus and Alertmanager listen themselves, as processes; people and parts reach them through the guard.
    "PROMETHEUS_BACKEND_PORT": 19090,
    "ALERTMANAGER_BACKEND_PORT": 19093,
}
# Taken by the demo of every kind of store only.
DEMO_PORTS = {"DEMO_OTLP_PORT": 4318, "DEMO_LANGFUSE_PORT": 4319}

# The ways on which people are told of alerts, each with the setting that opens it; docker-compose.yml has them too.
_WAYS = {"slack": "SLACK_WEBHOOK_URL", "email": "ALERT_EMAIL", "webhook": "ALERT_WEBHOOK_URL"}

# Five stores with agents, models and tools of their own have more series than one.
_DEMO_SERIES = "15000"
# Of Grafana's, which anybody may try who reaches its port.
_SHORTEST_SECRET = 16
_DEMO_OBJECTIVES = CHECKOUT / "exporters" / "demo" / "objectives.yml"
_ENV_HEAD = """\
# Written by `make up`, for this machine only; never committed. Docker Compose reads it too.
# .env.example says what else can stand here.
"""


class StackError(Exception):
    """What stands in the way, in one line that also says how to mend it. Becomes exit code 2."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that `up`, `down`, `status` and `logs` need to know.

    `home` holds state, logs and generated configuration, and survives `down`. `env` is the
    process environment over `env_file`. `demo` is where the demo writes, and None when real
    stores are read; `stores` are the stores that it writes to besides, as its option names them,
    and `history` is the length of the past that it writes first. `notify` are the ways on which
    people are told of alerts: slack, email and webhook.
    """

    home: Path
    env_file: Path
    env: Mapping[str, str]
    ports: Mapping[str, int]
    sources: tuple[str, ...]
    demo: Path | None
    mode: str
    patience: float
    stores: tuple[str, ...] = ()
    history: str = "7d"
    notify: tuple[str, ...] = ()

    def url(self, port: str, path: str = "") -> str:
        """Return the address of what listens on `port` (a name in PORTS), as this machine reaches it."""
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    @property
    def demo_budgets(self) -> Path:
        """Where the demo writes what its agents may spend, where it runs as a process."""
        return self.home / "budgets.yml"

    @property
    def state(self) -> Path:
        """Where the exporter keeps its state: the demo's apart, or own traces would be added to what it counted."""
        return self.home / ("demo-exporter" if self.demo else "exporter")

    @property
    def samples(self) -> Path:
        """Where Prometheus keeps its samples, the demo's apart."""
        return self.home / "prometheus" / ("demo-data" if self.demo else "data")

    def secret(self, name: str) -> str:
        """Return a secret of `.env`. Raises StackError when it is missing or could be guessed."""
        value = self.env.get(name, "")
        if len(value) < _SHORTEST_SECRET:
            raise StackError(
                f"{name} in {os.path.relpath(self.env_file)} is missing or shorter than {_SHORTEST_SECRET} characters."
            )
        return value

    @property
    def traces(self) -> str:
        """The sources as they may be shown: without user names and passwords."""
        return " ".join(re.sub(r"//[^/@]*@", "//", source) for source in self.sources)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings and write `.env` when there is none. Raises StackError on a value that cannot be used.

    With AGENTGAUGE_HOME set, everything including `.env` is kept there and the checkout stays
    untouched; without it the run directory is `.run` of the checkout.
    """
    own = environ.get("AGENTGAUGE_HOME")
    home = Path(own).expanduser().resolve() if own else CHECKOUT / ".run"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    env_file = (home if own else CHECKOUT) / ".env"
    if not env_file.exists():
        write_env(env_file)
    keep_private(env_file)
    # An empty variable is one that is not set, also where it stands in front of one of the file.
    env = {name: value for name, value in {**read_env(env_file), **environ}.items() if value.strip()}
    mode = env.get("AGENTGAUGE_STACK", "")
    if mode not in ("", "compose", "processes"):
        raise StackError(f"AGENTGAUGE_STACK is {mode!r}: leave it empty, or say compose or processes.")
    ports = {name: _number(env, name, default, most=65535) for name, default in (PORTS | DEMO_PORTS).items()}
    if env.get("DEMO", "") not in ("", "all"):
        raise StackError(f"DEMO is {env['DEMO']!r}: leave it empty, or say all for a store of every kind.")
    sources, demo, stores = _every_kind(home, ports) if env.get("DEMO") else (*_sources(env, home), ())
    if demo is not None:
        env["AGENTGAUGE_OBJECTIVES"] = env.get("AGENTGAUGE_OBJECTIVES") or str(_DEMO_OBJECTIVES)
    if stores:
        env["AGENTGAUGE_SERIES_LIMIT"] = env.get("AGENTGAUGE_SERIES_LIMIT") or _DEMO_SERIES
        # The demo's Langfuse knows no other keys than those that the exporter is told.
        env |= {
            "LANGFUSE_PUBLIC_KEY": "pk-lf-demo",
            "LANGFUSE_SECRET_KEY": f"sk-lf-{secrets.token_urlsafe(32)}",
            "LANGFUSE_BASE_URL": f"http://127.0.0.1:{ports['DEMO_LANGFUSE_PORT']}",
        }
    return Settings(
        home=home,
        env_file=env_file,
        env=env,
        ports=ports,
        sources=sources,
        demo=demo,
        stores=stores,
        history=env.get("DEMO_HISTORY") or "7d",
        notify=tuple(way for way, name in _WAYS.items() if env.get(name)),
        mode=mode,
        patience=_number(env, "AGENTGAUGE_WAIT", 180, most=86400),
    )


def remember(settings: Settings) -> None:
    """Write down what is being started, so that later commands need not be told again."""
    said = {
        "ports": dict(settings.ports),
        "sources": settings.sources,
        "demo": str(settings.demo) if settings.demo else None,
        "notify": settings.notify,
    }
    write_private(settings.home / "started.json", json.dumps(said, indent=2))


def recall(settings: Settings) -> Settings:
    """Return the settings as they were when what runs now was started."""
    try:
        said = json.loads((settings.home / "started.json").read_text("utf-8"))
    except FileNotFoundError:
        return settings
    demo = Path(said["demo"]) if said["demo"] else None
    # What an older version has written down knows neither all ports nor who is told.
    return replace(
        settings,
        ports={**settings.ports, **said["ports"]},
        sources=tuple(said["sources"]),
        demo=demo,
        notify=tuple(said.get("notify", ())),
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="utf-8") as file:
        # Also one that was there, and that somebody has copied or restored for all to read.
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def write_env(path: Path) -> None:
    """Write a `.env` with secrets of its own, readable by its owner only. An existing file is never touched."""
    lines = (f"{name}={secrets.token_urlsafe(32)}\n" for name in ("GRAFANA_ADMIN_PASSWORD", "GRAFANA_SECRET_KEY"))
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="utf-8") as file:
        file.write(_ENV_HEAD + "".join(lines))


def keep_private(path: Path) -> None:
    """Take the right to read a file of secrets from everybody but its owner: `cp` makes it as the umask says.

    Raises StackError when it is not ours to do.
    """
    if not path.stat().st_mode & 0o077:
        return
    try:
        path.chmod(0o600)
    except OSError:
        raise StackError(f"{path} holds secrets and others may read it: chmod 600 {path}, as its owner.") from None
    print(f"{path} holds secrets and could be read by others; now only you can (chmod 600).")


def read_env(path: Path) -> dict[str, str]:
    """Read NAME=value lines; `#` starts a comment line, quotes around a value are dropped, empty values are unset."""
    pairs = (line.partition("=") for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#"))
    values = {name.strip(): value.strip().strip("\"'") for name, found, value in pairs if found}
    return {name: value for name, value in values.items() if value}


def folder_url(folder: Path) -> str:
    """Return the source URL of a folder of createagents traces."""
    return f"createagents://{quote(str(folder))}"


def _sources(env: Mapping[str, str], home: Path) -> tuple[tuple[str, ...], Path | None]:
    """Choose what is read: TRACE_SOURCES, else TRACES_DIR, else the agents' own folder, else the demo."""
    if given := tuple(env.get("TRACE_SOURCES", "").split()):
        return given, None
    folder = Path(env.get("TRACES_DIR") or "~/.createagents/traces").expanduser()
    if folder.is_dir():
        return (folder_url(folder.resolve()),), None
    if env.get("TRACES_DIR"):
        raise StackError(f"TRACES_DIR is {folder}, and there is no such folder.")
    return (folder_url(home / "demo"),), home / "demo"


def _every_kind(home: Path, ports: Mapping[str, int]) -> tuple[tuple[str, ...], Path, tuple[str, ...]]:
    """Return the sources of a demo of every kind of store, its folder, and the stores that it writes to."""
    folder = home / "demo"
    otlp, langfuse = (f"127.0.0.1:{ports[name]}" for name in DEMO_PORTS)
    return (
        (
            folder_url(folder),
            *database_urls(folder),
            f"otlp://{otlp}",
            f"langfuse+http://{langfuse}?wait=10s&settle=30s",
        ),
        folder,
        ("msgtrace", "llm-metrics", f"otlp=http://{otlp}", f"langfuse={langfuse}"),
    )


def database_urls(folder: Path) -> tuple[str, ...]:
    """Return the source URLs of the databases that the demo of every kind of store writes into its folder."""
    path = quote(str(folder))
    return f"msgtrace://{path}/msgtrace.db", f"llm-metrics://{path}/llm_metrics.db"


def _number(env: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) <= most:
        raise StackError(f"{name} is {text!r}: give a number from 1 to {most}.")
    return int(text)
