"""The stack in Docker Compose: what docker-compose.yml and the Dockerfiles promise, and how Compose is called."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters.stack import compose, environments, parts
from exporters.stack.parts import INSTANCE, PROMETHEUS_FLAGS
from exporters.stack.settings import CHECKOUT, PORTS, Settings, StackError, load

FILE = CHECKOUT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
# Run once, or write files and answer nobody.
UNWATCHED = {"demo", "demo-past", "demo-counters", "demo-history"}
DOCKERFILES = {
    "exporter": CHECKOUT / "exporters" / "Dockerfile",
    "portal": CHECKOUT / "streamlit_portal" / "Dockerfile",
}
EXAMPLES = re.findall(r"^(\w+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)
SECRETS = {"GRAFANA_ADMIN_PASSWORD": "x" * 32, "GRAFANA_SECRET_KEY": "y" * 32}


def older(file: Path, env: dict[str, str]) -> str:
    """The same file for docker-compose 1.29, which knows neither a project's name nor optional dependencies
    nor how to refuse what is not there, nor what stands for a variable that is set, nor one variable in the
    default of another."""
    text = re.sub(r"^name:.*$|, required: false|^  bind: .*$", "", file.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\$\{(\w+):\+([^{}]+)\}", lambda found: found[2] if env.get(found[1]) else "", text)
    return re.sub(r"\$\{(\w+):-([^{}]*\$\{[^{}]*\})\}", lambda found: env.get(found[1]) or found[2], text)


def resolve(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Let the Compose of this machine resolve docker-compose.yml, or skip."""
    # Compose may be a plugin of whoever runs this.
    env = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ} | env
    if subprocess.run(["docker", "compose", "version"], env=env, capture_output=True, check=False).returncode == 0:
        command, text = ["docker", "compose"], FILE.read_text()
    elif shutil.which("docker-compose"):
        command, text = ["docker-compose"], older(FILE, env)
    else:
        pytest.skip("needs Docker Compose")
    (folder / "docker-compose.yml").write_text(text)
    command += ["--profile", "demo", "config"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def exporter_of(folder: Path, env: dict[str, str]) -> dict[str, Any]:
    """The exporter as Compose resolves it."""
    resolved = resolve(folder, SECRETS | env)
    assert resolved.returncode == 0, resolved.stderr
    return dict(yaml.safe_load(resolved.stdout)["services"]["exporter"])


def mounted(service: dict[str, Any]) -> dict[str, str]:
    """The files of this machine that a service has: target -> source."""
    binds = [volume for volume in service["volumes"] if isinstance(volume, dict) and volume["type"] == "bind"]
    return {volume["target"]: volume["source"] for volume in binds if volume["source"] != "/dev/null"}


# The file


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
def test_compose_accepts_the_file(tmp_path: Path) -> None:
    resolved = resolve(tmp_path, {**SECRETS, "TRACES_DIR": "/var/traces", "PORTAL_PORT": "8600"})
    assert resolved.returncode == 0, resolved.stderr
    services = yaml.safe_load(resolved.stdout)["services"]
    assert services.keys() == SERVICES.keys()
    assert "/var/traces" in json.dumps(services["exporter"]["volumes"])
    assert "8600" in json.dumps(services["proxy"]["ports"])
    assert services["grafana"]["environment"]["GF_SERVER_ROOT_URL"] == "http://127.0.0.1:8600/grafana/"
    assert services["exporter"]["environment"]["TRACE_SOURCES"] == "createagents:///traces"
    alerts = services["grafana"]["environment"]
    assert (alerts["AGENTGAUGE_NOTIFY"] or "").split() == []
    assert (
        alerts["SLACK_WEBHOOK_URL_CRITICAL"] == alerts["SLACK_WEBHOOK_URL_WARNING"] == "http://127.0.0.1:9/is-not-set"
    )


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
def test_grafana_is_told_which_ways_alerts_go(tmp_path: Path) -> None:
    told = {"SLACK_WEBHOOK_URL": "https://slack.example/x", "ALERT_EMAIL": "on-call@example.com"}
    resolved = resolve(tmp_path, SECRETS | told)
    assert resolved.returncode == 0, resolved.stderr
    alerts = yaml.safe_load(resolved.stdout)["services"]["grafana"]["environment"]
    assert alerts["AGENTGAUGE_NOTIFY"].split() == ["slack", "email"]
    assert alerts["SLACK_WEBHOOK_URL_CRITICAL"] == alerts["SLACK_WEBHOOK_URL_WARNING"] == "https://slack.example/x"
    assert alerts["ALERT_EMAIL"] == "on-call@example.com"
    assert alerts["AGENTGAUGE_ROOT_URL"] == "http://127.0.0.1:8501"


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
@pytest.mark.parametrize("missing", sorted(SECRETS))
@pytest.mark.parametrize("empty", [True, False])
def test_compose_refuses_to_start_without_secrets(tmp_path: Path, missing: str, empty: bool) -> None:
    env = {**SECRETS, missing: ""}
    if not empty:
        del env[missing]
    resolved = resolve(tmp_path, env)
    assert resolved.returncode != 0
    assert "is not set - make up writes a random one to .env" in resolved.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z]+)?", service["image"]), "a full version, never a moving tag"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), "a number, and not root's"
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] == 256
    assert not service.keys() & {"privileged", "network_mode", "pid", "ipc", "devices", "cap_add"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        match = re.fullmatch(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}:\d+", port)
        assert match, port
        assert PORTS[match[1]] == int(match[2])


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_from_the_checkout_is_there_and_read_only(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        if isinstance(volume, dict):
            assert volume["read_only"] is True
            assert volume["bind"] == {"create_host_path": False}, "a name mistyped must not become a folder of root's"
            source = re.fullmatch(r"\$\{\w+:-(.+)\}", volume["source"])
            assert source and (CHECKOUT / source[1]).exists()
        elif volume.startswith("."):
            source, _, mode = volume.split(":")
            assert mode == "ro"
            assert (CHECKOUT / source).exists()


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
def test_files_that_are_set_are_mounted_where_they_are(tmp_path: Path) -> None:
    files = {
        "AGENTGAUGE_PRICES": "/srv/prices.yml",
        "AGENTGAUGE_LITELLM_PRICES": "/srv/litellm.json",
        "AGENTGAUGE_BUDGETS": "/srv/budgets.yml",
        "AGENTGAUGE_OBJECTIVES": "/srv/objectives.yml",
    }
    assert set(files) == {name for name in EXAMPLES if re.search("PRICES|BUDGETS|OBJECTIVES", name)}
    for profile in ("", "demo"):
        exporter = exporter_of(tmp_path, {**files, "COMPOSE_PROFILES": profile})
        assert {name: exporter["environment"][name] for name in files} == files
        assert mounted(exporter) == {path: path for path in files.values()}


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
def test_the_demo_has_budgets_and_objectives_of_its_own(tmp_path: Path) -> None:
    exporter = exporter_of(tmp_path, {"COMPOSE_PROFILES": "demo"})
    objectives = "/etc/agentgauge/demo-objectives.yml"
    assert exporter["environment"]["AGENTGAUGE_BUDGETS"] in SERVICES["demo-past"]["command"]
    assert exporter["environment"]["AGENTGAUGE_OBJECTIVES"] == objectives
    assert mounted(exporter)[objectives] == str(tmp_path / "exporters" / "demo" / "objectives.yml")
    for name in ("AGENTGAUGE_BUDGETS", "AGENTGAUGE_OBJECTIVES"):
        assert not exporter_of(tmp_path, {})["environment"][name]


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_the_file(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD|SECRET|TOKEN|KEY", variable):
            passed_on = value is None  # if it is set: what a store needs is only needed where that is read
            optional = re.fullmatch(r"\$\{\w+:-\}", value or "")
            required = re.fullmatch(r"\$\{\w+:\?[^}]+\}", value or "")
            assert passed_on or optional or required, f"{variable} has to come from .env"


# Secrets of .env.example, and who is told them. Grafana has names of its own for them.
TOLD = {
    "GRAFANA_ADMIN_PASSWORD": {"grafana"},
    "GRAFANA_SECRET_KEY": {"grafana"},
    "SMTP_PASSWORD": {"grafana"},
    "LANGFUSE_PUBLIC_KEY": {"exporter"},
    "LANGFUSE_SECRET_KEY": {"exporter"},
    "PGPASSWORD": {"exporter"},
    "AGENTGAUGE_OTLP_TOKEN": {"exporter"},
}


def told_by_name(variable: str, value: str | None) -> set[str]:
    """The settings whose values a variable of a container holds; that one is set is no value of it."""
    return {variable} if value is None else set(re.findall(r"\$\{(\w+)(?!:?\+)[:}]", value))


def test_a_container_has_the_secrets_that_it_needs_and_no_other() -> None:
    assert {name for name in EXAMPLES if re.search("PASSWORD|SECRET|KEY|TOKEN", name)} == TOLD.keys()
    holders: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        assert "env_file" not in service
        for variable, value in service.get("environment", {}).items():
            for setting in told_by_name(variable, value):
                holders.setdefault(setting, set()).add(name)
    assert {setting: names for setting, names in holders.items() if setting in TOLD} == TOLD
    webhooks = [setting for setting in holders if re.search("WEBHOOK_URL", setting)]
    assert len(webhooks) == 3
    assert {name for setting in webhooks for name in holders[setting]} == {"grafana"}


def test_what_a_container_is_told_its_process_is_told_too(tmp_path: Path) -> None:
    needs = {part.name: part.needs for part in parts.parts(told(tmp_path, TRACE_SOURCES="createagents:///x"))}
    for name in ("exporter", "portal"):
        set_there = dict.fromkeys(SERVICES[name]["environment"], "set")
        assert environments.select(set_there, needs[name]) == set_there
    assert {name for name in SERVICES if "AGENTGAUGE_HOSTS" in SERVICES[name].get("environment", {})} == {
        *("exporter", "portal", "proxy")
    }
    assert {name for name in needs if "AGENTGAUGE_HOSTS" in needs[name]} == {"exporter", "portal", "guard"}


def test_only_what_checks_who_asks_has_a_port_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "exporter": ["127.0.0.1:${EXPORTER_PORT:-9464}:9464"],
        "proxy": ["127.0.0.1:${PORTAL_PORT:-8501}:8080", "127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
    }
    listening = re.findall(r"listen (\d+);", (CHECKOUT / "streamlit_portal" / "nginx.conf").read_text())
    assert sorted(listening) == sorted(port.rpartition(":")[2] for port in published["proxy"])


def test_every_server_is_asked_how_it_is_and_waited_for() -> None:
    for name in SERVICES.keys() - UNWATCHED:
        built = "build" in SERVICES[name]
        assert "healthcheck" in SERVICES[name] or (built and "HEALTHCHECK" in DOCKERFILES[name].read_text()), name
    waits = {
        (name, other): needs["condition"]
        for name, service in SERVICES.items()
        for other, needs in service.get("depends_on", {}).items()
    }
    assert {condition for (_, other), condition in waits.items() if other not in UNWATCHED} == {"service_healthy"}
    assert {condition for (_, other), condition in waits.items() if other in UNWATCHED} == {
        "service_completed_successfully"
    }
    assert waits.keys() >= {("proxy", name) for name in ("portal", "grafana", "prometheus")}
    assert ("grafana", "prometheus") in waits


def test_the_demo_is_asked_for_and_nothing_else_needs_it() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]} == UNWATCHED
    for name in SERVICES.keys() - UNWATCHED:
        for other, needs in SERVICES[name].get("depends_on", {}).items():
            assert needs.get("required", True) is (other not in UNWATCHED)


def test_prometheus_is_started_alike_in_a_container_and_as_a_process() -> None:
    assert set(PROMETHEUS_FLAGS) <= set(SERVICES["prometheus"]["command"])
    assert f"--label instance={INSTANCE}" in SERVICES["demo-counters"]["command"][0]
    assert INSTANCE in (CHECKOUT / "prometheus" / "targets" / "agentgauge.yml").read_text()
    assert SERVICES["demo-history"]["image"] == SERVICES["prometheus"]["image"]


def test_versions_are_not_below_the_floors_of_known_holes() -> None:
    def version(name: str) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", SERVICES[name]["image"].rpartition(":")[2])[:3]))

    assert version("prometheus") >= (3, 13, 0)  # CVE-2026-44990
    assert (12, 4, 10) <= version("grafana") < (13, 0, 0)  # CVE-2026-76154; 13.2 fetches plugins at every start


# The images


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_pinned_runs_as_nobody_and_calls_no_shell(name: str) -> None:
    lines = re.sub(r"\\\n\s*", "", DOCKERFILES[name].read_text()).splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    bases = {rest.split()[0] for verb, rest in words if verb == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())
    assert [rest for verb, rest in words if verb == "USER"] == ["10001:10001"]
    final = [verb for verb, _ in words][[verb for verb, _ in words].index("FROM", 1) :]
    assert final.index("USER") < final.index("ENTRYPOINT")
    for verb, rest in words:
        if verb in ("RUN", "CMD", "ENTRYPOINT"):
            assert json.loads(rest), f"{verb} starts a shell"
        if verb == "HEALTHCHECK":
            assert json.loads(rest.partition("CMD ")[2])
        if verb in ("COPY", "ADD"):
            assert verb == "COPY"


def test_the_exporters_image_carries_no_portal() -> None:
    text = DOCKERFILES["exporter"].read_text()
    assert '"install", ".[stores]"]' in text
    assert "streamlit" not in text
    assert '"install", ".[portal]"]' in DOCKERFILES["portal"].read_text()


def test_images_carry_the_version_of_the_package() -> None:
    from exporters import __version__  # noqa: PLC0415

    assert SERVICES["exporter"]["image"] == f"agentgauge-exporter:{__version__}"
    assert SERVICES["portal"]["image"] == f"agentgauge-portal:{__version__}"


# How Compose is called

DOCKER = """\
#!/bin/sh
echo "$@" >> "$CALLS"
env > "$CALLS.env"
case "$*" in
    info) exit "${INFO:-0}";;
    "compose version --short") echo "${VERSION:-2.39.4}";;
    *" ps --quiet") echo "${RUNNING:-}";;
    *" up "*) exit 1;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that writes down what it is asked; `up` fails, so nothing is waited for."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker.parent), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def environment_of(calls: Path) -> dict[str, str]:
    """What the last call of `docker` was told."""
    lines = calls.with_suffix(".env").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def told(tmp_path: Path, **more: str) -> Settings:
    return load({"AGENTGAUGE_HOME": str(tmp_path / "home"), **more})


def test_compose_is_taken_where_an_engine_answers_and_it_is_new_enough(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = told(tmp_path)
    assert compose.answers(settings)
    monkeypatch.setenv("VERSION", "v2.20.2-desktop.1")
    assert compose.answers(settings)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("VERSION", "2.20.1")
    assert not compose.answers(settings)
    assert capsys.readouterr().out == "Docker answers, but its Compose is 2.20.1 (wanted: 2.20.2 or newer).\n"
    monkeypatch.setenv("INFO", "1")
    assert not compose.answers(settings)
    assert capsys.readouterr().out == ""


def test_folders_are_mounted_under_their_own_path_for_their_owner_to_read(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNING", "abc")
    monkeypatch.setenv("HOME", str(tmp_path))
    traces = tmp_path / "my traces"
    traces.mkdir()
    if os.geteuid() == 0:
        os.chown(traces, 1234, 1234)
    owner = traces.stat()
    given = "createagents:///~/my%20traces?name=a langfuse+https://cloud.example"
    assert compose.up(told(tmp_path, TRACE_SOURCES=given)) == 1
    override = json.loads((tmp_path / "home" / "compose.override.json").read_text())
    assert override == {
        "services": {
            "exporter": {
                "environment": {
                    "TRACE_SOURCES": f"createagents://{tmp_path}/my%20traces?name=a langfuse+https://cloud.example"
                },
                "volumes": [f"{traces}:{traces}:ro"],
                "user": f"{owner.st_uid}:{owner.st_gid}",
            }
        }
    }
    up = next(line for line in calls.read_text().splitlines() if " up " in line)
    assert up.startswith(f"compose --file {FILE} --file {tmp_path / 'home'}/compose.override.json --env-file ")
    assert up.endswith("up --detach --build --remove-orphans")
    assert "--profile" not in up


def test_a_folder_that_the_exporter_could_not_read_is_refused_before_anything_starts(
    tmp_path: Path, calls: Path
) -> None:
    """Never as root: what is of root's only would be read by nobody, in a container that starts again and again."""
    traces = tmp_path / "traces"
    traces.mkdir(mode=0o700)
    uid = os.geteuid()
    with pytest.raises(StackError, match=rf"{traces}: user 10001, as .* \(chmod -R o\+rX {traces}\)") as error:
        compose.check_folders([traces], (10001, 10001))
    assert "\n" not in str(error.value)
    compose.check_folders([traces], (uid or 1, 1) if uid else (0, 0))
    traces.chmod(0o755)
    compose.check_folders([traces], (10001, 10001))
    traces.chmod(0o750)
    compose.check_folders([traces], (10001, traces.stat().st_gid))
    assert not calls.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a folder of root's")
def test_a_folder_of_roots_only_is_one_line_and_nothing_is_started(tmp_path: Path, calls: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir(mode=0o700)
    with pytest.raises(StackError, match="it never runs as root"):
        compose.up(told(tmp_path, TRACES_DIR=str(traces)))
    assert not calls.exists() or " up " not in calls.read_text()


def test_a_state_that_another_user_made_is_given_to_the_one_that_reads_now(tmp_path: Path, calls: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    owner = (1234, 1234) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(traces, *owner)
    assert compose.up(told(tmp_path, TRACES_DIR=str(traces))) == 1
    run, up = (next(line for line in calls.read_text().splitlines() if f" {verb} " in line) for verb in ("run", "up"))
    assert calls.read_text().index(run) < calls.read_text().index(up)
    assert run.endswith(
        "run --rm --no-deps --build --user 0:0 --cap-add CHOWN --cap-add DAC_OVERRIDE --entrypoint sh exporter -c "
        f"if test -d /var/lib/agentgauge/state; then chown -R {owner[0]}:{owner[1]} /var/lib/agentgauge/state; fi"
    )


def test_the_demo_keeps_its_data_apart_from_those_of_own_traces(tmp_path: Path) -> None:
    def volumes(profile: str) -> set[str]:
        text = re.sub(r"\$\{COMPOSE_PROFILES:\+(.*?)\}", r"\1" if profile else "", FILE.read_text())
        services = yaml.safe_load(text)["services"]
        return {
            volume.split(":")[0]
            for name in ("exporter", "prometheus")
            for volume in services[name]["volumes"]
            if isinstance(volume, str) and volume.split(":")[0].endswith(("exporter", "prometheus"))
        }

    assert volumes("") == {"exporter", "prometheus"}
    assert volumes("demo") == {"demo-exporter", "demo-prometheus"}
    assert "demo-prometheus:/prometheus" in SERVICES["demo-history"]["volumes"]


def test_a_password_that_could_be_guessed_is_refused_here_too(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(StackError, match=r"GRAFANA_ADMIN_PASSWORD in .* is missing or shorter than 16 characters"):
        compose.up(told(tmp_path, GRAFANA_ADMIN_PASSWORD="a"))
    assert not calls.exists() or " up " not in calls.read_text()


def test_the_health_of_the_exporters_container_is_whether_it_does_its_work() -> None:
    assert "/-/status'" in DOCKERFILES["exporter"].read_text()
    assert "exporter" not in SERVICES["prometheus"]["depends_on"], "it starts to say what is wrong"


def test_a_database_is_mounted_with_its_folder_and_a_receiver_listens_for_the_outside(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNING", "abc")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "msgtrace.db").touch()
    given = f"msgtrace://{tmp_path}/db/msgtrace.db?wait=5s otlp://127.0.0.1:4320?name=sdk"
    assert compose.up(told(tmp_path, TRACE_SOURCES=given)) == 1
    exporter = json.loads((tmp_path / "home" / "compose.override.json").read_text())["services"]["exporter"]
    assert exporter["environment"] == {
        "TRACE_SOURCES": f"msgtrace://{tmp_path}/db/msgtrace.db?wait=5s otlp://0.0.0.0:4320?name=sdk",
    }
    assert exporter["volumes"] == [f"{tmp_path}/db:{tmp_path}/db:ro"]
    assert exporter["ports"] == ["127.0.0.1:4320:4320"]


def test_a_demo_of_every_kind_of_store_reaches_its_parts_by_their_names(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNING", "abc")
    settings = told(tmp_path, DEMO="all")
    assert compose.up(settings) == 1
    services = json.loads((tmp_path / "home" / "compose.override.json").read_text())["services"]
    assert services["exporter"]["environment"]["TRACE_SOURCES"].split() == [
        "createagents:///traces",
        "msgtrace:///traces/msgtrace.db",
        "llm-metrics:///traces/llm_metrics.db",
        "otlp://0.0.0.0:4318",
        "langfuse+http://demo:4319?wait=10s&settle=30s",
    ]
    secret = settings.env["LANGFUSE_SECRET_KEY"]
    assert services["exporter"]["environment"]["LANGFUSE_SECRET_KEY"] == secret
    assert services["demo"]["environment"]["LANGFUSE_SECRET_KEY"] == secret
    assert services["demo"]["command"][-4:] == [
        "--store",
        "otlp=http://exporter:4318",
        "--store",
        "langfuse=0.0.0.0:4319",
    ]


def test_the_demo_is_a_profile_that_down_knows_too(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNING", "abc")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "compose.override.json").write_text("{}")  # of an earlier start, with other traces
    assert compose.up(told(tmp_path)) == 1
    assert json.loads((tmp_path / "home" / "compose.override.json").read_text()) == {"services": {}}
    assert environment_of(calls)["COMPOSE_PROFILES"] == "demo"
    assert compose.down(told(tmp_path, TRACE_SOURCES="createagents:///x")) == 0
    lines = calls.read_text().splitlines()
    assert "--profile" not in next(line for line in lines if " up " in line)
    assert lines[-1].endswith("--profile demo down --remove-orphans")


def test_files_are_named_by_their_whole_path(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNING", "abc")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COMPOSE_PROFILES", "demo")  # of another project's
    more = {"AGENTGAUGE_PRICES": "~/prices.yml", "AGENTGAUGE_BUDGETS": str(tmp_path / "x" / ".." / "budgets.yml")}
    assert compose.up(told(tmp_path, TRACE_SOURCES="createagents:///x", **more)) == 1
    env = environment_of(calls)
    assert env["AGENTGAUGE_PRICES"] == str(tmp_path / "prices.yml")
    assert env["AGENTGAUGE_BUDGETS"] == str(tmp_path / "budgets.yml")
    assert env["COMPOSE_PROFILES"] == ""
    assert "AGENTGAUGE_OBJECTIVES" not in env
