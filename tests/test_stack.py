"""The stack as processes: what it is told, what it refuses, and a whole up and down with small parts."""

import os
import re
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from serving import until
from supervisor.options import ServerOptions

from exporters.stack import debian, environments, health, parts, ports, processes
from exporters.stack.parts import Part
from exporters.stack.settings import CHECKOUT, PORTS, Settings, StackError, load, read_env, recall, remember

SERVER = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return numbers


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    numbers = free_ports(len(PORTS))
    return {
        "AGENTGAUGE_HOME": str(tmp_path / "home"),
        "AGENTGAUGE_WAIT": "30",
        "TRACE_SOURCES": "createagents:///nowhere",
        "PATH": os.environ["PATH"],
        **{name: str(number) for name, number in zip(PORTS, numbers, strict=True)},
    }


@pytest.fixture
def settings(told: dict[str, str]) -> Settings:
    return load(told)


# .env


def test_env_is_written_for_its_owner_only_with_two_long_secrets(settings: Settings) -> None:
    assert stat.S_IMODE(settings.env_file.stat().st_mode) == 0o600
    secrets = read_env(settings.env_file)
    assert sorted(secrets) == ["GRAFANA_ADMIN_PASSWORD", "GRAFANA_SECRET_KEY"]
    # 32 random bytes are 43 characters of base64.
    assert [len(value) for value in secrets.values()] == [43, 43]
    assert len(set(secrets.values())) == 2


def test_two_homes_get_different_secrets(told: dict[str, str], tmp_path: Path) -> None:
    first = load(told)
    second = load({**told, "AGENTGAUGE_HOME": str(tmp_path / "other")})
    assert not set(read_env(first.env_file).values()) & set(read_env(second.env_file).values())


def test_an_env_file_that_is_there_stays_as_it_is(told: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    env = tmp_path / "home" / ".env"
    env.write_text("GRAFANA_ADMIN_PASSWORD='a password of my own'\n# EXPORTER_PORT=1\nPORTAL_PORT=\n")
    told.pop("PORTAL_PORT")
    settings = load(told)
    assert env.read_text() == "GRAFANA_ADMIN_PASSWORD='a password of my own'\n# EXPORTER_PORT=1\nPORTAL_PORT=\n"
    assert settings.env["GRAFANA_ADMIN_PASSWORD"] == "a password of my own"
    assert settings.ports["PORTAL_PORT"] == 8501  # an empty value is not set
    assert settings.ports["EXPORTER_PORT"] == int(told["EXPORTER_PORT"])


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o604])
def test_an_env_file_that_others_may_read_is_closed_to_them(
    told: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    """As `cp .env.example .env` makes it."""
    file = load(told).env_file
    before = file.read_text()
    file.chmod(mode)
    load(told)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == before
    said = capsys.readouterr().out
    assert said == f"{file} holds secrets and could be read by others; now only you can (chmod 600).\n"
    load(told)
    assert capsys.readouterr().out == ""


def test_an_empty_variable_is_not_set(told: dict[str, str]) -> None:
    names = [
        *re.findall(r"^([A-Z_]+)=$", (CHECKOUT / ".env.example").read_text("utf-8"), re.MULTILINE),
        "AGENTGAUGE_HOSTS",
    ]
    settings = load({**told, **dict.fromkeys(names, ""), "SLACK_MENTION": " "})
    # The demo brings its own objectives.
    assert settings.env.keys() & set(names) == {"AGENTGAUGE_OBJECTIVES"}
    assert settings.notify == ()


def test_the_demo_keeps_its_data_apart(told: dict[str, str], tmp_path: Path) -> None:
    own = load({**told, "TRACE_SOURCES": "createagents:///x"})
    demo = load({**told, "DEMO": "all"})
    assert demo.demo is not None
    assert len({own.state, own.samples, demo.state, demo.samples}) == 4
    assert all(path.is_relative_to(own.home) for path in (own.state, own.samples, demo.state, demo.samples))


def test_the_environment_wins_over_env(told: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".env").write_text("PORTAL_PORT=1111\nTRACE_SOURCES=createagents:///from-env-file\n")
    assert load({**told, "PORTAL_PORT": "2222"}).ports["PORTAL_PORT"] == 2222
    assert load({**told, "TRACE_SOURCES": ""}).sources != ("createagents:///from-env-file",)
    del told["TRACE_SOURCES"]
    assert load(told).sources == ("createagents:///from-env-file",)


def test_the_example_names_every_port_with_its_default_and_no_secret() -> None:
    example = dict(
        line.split("=", 1) for line in (CHECKOUT / ".env.example").read_text().splitlines() if re.match(r"\w+=", line)
    )
    assert {name: int(example[name]) for name in PORTS} == PORTS
    assert {name: example[name] for name in example if re.search("PASSWORD|SECRET|KEY|TOKEN", name)} == {
        "GRAFANA_ADMIN_PASSWORD": "",
        "GRAFANA_SECRET_KEY": "",
        "LANGFUSE_PUBLIC_KEY": "",
        "LANGFUSE_SECRET_KEY": "",
        "PGPASSWORD": "",
        "SMTP_PASSWORD": "",
        "AGENTGAUGE_OTLP_TOKEN": "",
    }


@pytest.mark.parametrize("password", ["", "admin", "short"])
def test_grafana_is_not_started_with_a_password_that_could_be_guessed(
    told: dict[str, str], tmp_path: Path, password: str
) -> None:
    settings = load({**told, "GRAFANA_ADMIN_PASSWORD": password})
    grafana = Part(name="grafana", title="Grafana", command=("grafana",))
    with pytest.raises(StackError, match=r"GRAFANA_ADMIN_PASSWORD .* is missing or shorter than 16 characters"):
        parts.environment(settings, [grafana])


def test_what_was_started_is_remembered_and_read_again_by_later_commands(told: dict[str, str]) -> None:
    started = load({**told, "TRACE_SOURCES": "langfuse+https://user:canary@cloud.example/x createagents:///a%40b"})
    remember(started)
    later = recall(load({**told, "PORTAL_PORT": "1", "TRACE_SOURCES": "createagents:///other"}))
    assert later == replace(started, env=later.env)
    assert later.ports["PORTAL_PORT"] == int(told["PORTAL_PORT"])
    assert later.traces == "langfuse+https://cloud.example/x createagents:///a%40b"  # no password on the screen
    assert stat.S_IMODE((started.home / "started.json").stat().st_mode) == 0o600


# Which traces


def test_sources_given_are_read_and_there_is_no_demo(told: dict[str, str]) -> None:
    settings = load({**told, "TRACE_SOURCES": "  createagents:///a\tcreatedagents:///b%20c \n"})
    assert settings.sources == ("createagents:///a", "createdagents:///b%20c")
    assert settings.demo is None


def test_without_sources_the_agents_own_folder_is_read(
    told: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.pop("TRACE_SOURCES")
    own = tmp_path / "my home" / ".createagents" / "traces"
    own.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    assert load(told).sources == (f"createagents://{tmp_path}/my%20home/.createagents/traces",)


def test_a_folder_given_is_read_before_the_agents_own(told: dict[str, str], tmp_path: Path) -> None:
    told.pop("TRACE_SOURCES")
    assert load({**told, "TRACES_DIR": str(tmp_path)}).sources == (f"createagents://{tmp_path}",)
    with pytest.raises(StackError, match="TRACES_DIR is /not/there, and there is no such folder"):
        load({**told, "TRACES_DIR": "/not/there"})


def test_with_nothing_to_read_there_is_the_demo(
    told: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.pop("TRACE_SOURCES")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load(told)
    assert settings.demo == tmp_path / "home" / "demo"
    assert settings.sources == (f"createagents://{tmp_path}/home/demo",)


def test_a_demo_of_every_kind_of_store_is_asked_for(told: dict[str, str], tmp_path: Path) -> None:
    settings = load({**told, "DEMO": "all", "DEMO_OTLP_PORT": "1234", "DEMO_LANGFUSE_PORT": "1235"})
    folder = tmp_path / "home" / "demo"
    assert settings.sources == (
        f"createagents://{folder}",
        f"msgtrace://{folder}/msgtrace.db",
        f"llm-metrics://{folder}/llm_metrics.db",
        "otlp://127.0.0.1:1234",
        "langfuse+http://127.0.0.1:1235?wait=10s&settle=30s",
    )
    (command,) = [part.command for part in parts.parts(settings) if part.name == "demo"]
    wanted = "msgtrace llm-metrics otlp=http://127.0.0.1:1234 langfuse=127.0.0.1:1235"
    assert command[-9:] == (str(folder), *(word for store in wanted.split() for word in ("--store", store)))
    assert len(settings.env["LANGFUSE_SECRET_KEY"]) > 40
    assert settings.env["LANGFUSE_SECRET_KEY"] != load({**told, "DEMO": "all"}).env["LANGFUSE_SECRET_KEY"]
    with pytest.raises(StackError, match="DEMO is 'some': leave it empty, or say all"):
        load({**told, "DEMO": "some"})


# Ports


@pytest.mark.parametrize("value", ["0", "65536", "http", "-1", "80.5"])
def test_a_port_that_is_none_is_refused(told: dict[str, str], value: str) -> None:
    with pytest.raises(StackError, match=f"PORTAL_PORT is {value!r}: give a number from 1 to 65535"):
        load({**told, "PORTAL_PORT": value})


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_named_with_who_needs_it_and_who_has_it(settings: Settings, address: str) -> None:
    number = settings.ports["PORTAL_PORT"]
    me = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
    with socket.create_server((address, number)):
        with pytest.raises(StackError) as caught:
            ports.require(settings, {"PORTAL_PORT": "Portal", "EXPORTER_PORT": "Exporter"})
        assert str(caught.value).startswith(f"Port {number} is taken by {me}, and Portal needs it. Stop that, or")
        assert re.search(r"choose another: make up PORTAL_PORT=\d{5}$", str(caught.value))
    ports.require(settings, {"PORTAL_PORT": "Portal"})


@pytest.mark.skipif(debian.program("prometheus") is None, reason="needs prometheus")
@pytest.mark.parametrize("port", ["PROMETHEUS_PORT", "PROMETHEUS_BACKEND_PORT"])
def test_make_up_with_a_taken_port_says_one_line_and_starts_nothing(
    told: dict[str, str], tmp_path: Path, port: str
) -> None:
    with socket.create_server(("127.0.0.1", int(told[port]))):
        ended = subprocess.run(
            [sys.executable, "-m", "exporters.stack", "up"],
            cwd=CHECKOUT,
            env={**told, "AGENTGAUGE_STACK": "processes"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"Port {told[port]} is taken by " in ended.stderr
    assert f"Prometheus needs it. Stop that, or choose another: make up {port}=" in ended.stderr
    assert not (tmp_path / "home" / "supervisord.pid").exists()


def test_a_port_whose_connections_have_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", number))
        accepted, _ = server.accept()
        accepted.close()  # this end goes to TIME_WAIT
        client.close()
        assert not ports.is_free(number)
    assert ports.is_free(number)


# What is generated


def test_prometheus_starts_beside_links_to_the_shipped_files_and_targets_of_its_own(settings: Settings) -> None:
    parts.write_prometheus_configuration(settings, [])
    parts.write_prometheus_configuration(settings, [])  # a second start finds them there
    home = settings.home / "prometheus"
    assert (home / "prometheus.yml").resolve() == CHECKOUT / "prometheus" / "prometheus.yml"
    assert sorted(path.name for path in (home / "rules").glob("*.yml"))
    exporter, own = settings.ports["EXPORTER_PORT"], settings.ports["PROMETHEUS_PORT"]
    targets = (home / "targets" / "agentgauge.yml").read_text()
    # The container's name is the instance here too: a series is the same when the port is another.
    assert targets == f"- targets: [127.0.0.1:{exporter}]\n  labels: {{instance: 'exporter:9464'}}\n"
    assert (home / "targets" / "prometheus.yml").read_text() == f"- targets: [127.0.0.1:{own}]\n"
    promtool = debian.program("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    command = [promtool, "check", "config", home / "prometheus.yml"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_supervisor_reads_what_is_written_for_it_even_with_odd_paths(
    told: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({**told, "AGENTGAUGE_HOME": str(tmp_path / "50% of it")})
    processes.write_configuration(settings, [Part(name="odd", title="Odd", command=("/bin/echo", "a b", "100%", "'"))])
    monkeypatch.chdir(settings.home)
    options = ServerOptions()
    options.realize(["-c", str(settings.home / "supervisord.conf")])
    [group] = options.process_group_configs
    [program] = group.process_configs
    assert program.name == "odd"
    command = shlex.split(program.command)
    assert command[-4:] == ["/bin/echo", "a b", "100%", "'"]
    assert command[-5] == str(settings.home / "environment" / "odd.json")
    assert program.stdout_logfile == "logs/odd.log"  # in the run directory, where the supervisor is started
    assert program.redirect_stderr
    assert program.autostart
    [server] = options.server_configs
    assert server["file"] == str(settings.home / "supervisor.sock")
    assert server["chmod"] == 0o700
    assert stat.S_IMODE((settings.home / "supervisord.conf").stat().st_mode) == 0o600


def test_a_home_too_deep_for_a_socket_is_refused(told: dict[str, str], tmp_path: Path) -> None:
    settings = load({**told, "AGENTGAUGE_HOME": str(tmp_path / ("x" * 100))})
    with pytest.raises(StackError, match="is too long for a socket: choose another with AGENTGAUGE_HOME"):
        processes.write_configuration(settings, [])


@pytest.mark.skipif(debian.program("prometheus") is None, reason="needs prometheus")
def test_every_part_listens_on_this_machine_only_and_no_secret_is_in_a_command(told: dict[str, str]) -> None:
    settings = load({**told, "TRACE_SOURCES": "langfuse+https://user:canary@host"})
    found = {part.name: part for part in parts.parts(settings)}
    assert sorted(found.keys() - {"grafana", "alertmanager"}) == ["exporter", "guard", "portal", "prometheus"]
    assert f"127.0.0.1:{settings.ports['EXPORTER_PORT']}" in found["exporter"].command
    behind = settings.ports["PROMETHEUS_BACKEND_PORT"]
    assert f"--web.listen-address=127.0.0.1:{behind}" in found["prometheus"].command
    assert f"{settings.ports['PROMETHEUS_PORT']}={behind}" in found["guard"].command
    processes.write_configuration(settings, list(found.values()))
    written = (settings.home / "supervisord.conf").read_text()
    assert "canary" not in written
    assert not any(secret in written for secret in read_env(settings.env_file).values())
    assert parts.environment(settings, list(found.values()))["TRACE_SOURCES"] == "langfuse+https://user:canary@host"


@pytest.fixture
def with_grafana(told: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine on which a Grafana is installed."""
    (tmp_path / "grafana" / "bin").mkdir(parents=True)
    (tmp_path / "grafana" / "conf").mkdir()
    (tmp_path / "grafana" / "conf" / "defaults.ini").touch()
    program = tmp_path / "grafana" / "bin" / "grafana"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return told


def test_grafana_gets_what_its_files_name_and_its_own_secrets(with_grafana: dict[str, str]) -> None:
    secrets = {"LANGFUSE_SECRET_KEY": "canary", "PGPASSWORD": "canary", "AGENTGAUGE_OTLP_TOKEN": "canary"}
    settings = load(
        {**with_grafana, **secrets, "SLACK_WEBHOOK_URL": "https://slack.example/x", "SMTP_PASSWORD": "post"}
    )
    running = parts.parts(settings)
    environment = parts.environment(settings, running)
    (grafana,) = [part for part in running if part.name == "grafana"]
    assert "alertmanager" not in {part.name for part in running}
    has = environments.select(environment, grafana.needs)
    files = [*(CHECKOUT / "grafana" / "provisioning").rglob("*.y*ml"), CHECKOUT / "grafana" / "grafana.ini"]
    named = {name for file in files for name in re.findall(r"\$\{?([A-Z][A-Z_]{3,})\b", file.read_text())}
    assert {"PROMETHEUS_URL", "SLACK_WEBHOOK_URL_CRITICAL"} <= named
    # Filled in by Grafana itself.
    assert named - has.keys() <= {"NONCE", "ROOT_PATH"}
    assert {name for name in environment if name.startswith("GF_")} <= has.keys()
    assert (has["GF_SMTP_PASSWORD"], len(has["GF_SECURITY_ADMIN_PASSWORD"])) == ("post", 43)
    assert "canary" not in has.values()
    # By another name it answers nothing that a page could read.
    assert (has["GF_SERVER_DOMAIN"], has["GF_SERVER_ENFORCE_DOMAIN"]) == ("127.0.0.1", "true")
    for part in running:
        others = environments.select(environment, part.needs)
        assert (settings.env["GRAFANA_ADMIN_PASSWORD"] in others.values()) == (part is grafana), part.name


# Up and down, with parts that are small


@pytest.fixture
def small(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Part]]:
    """Two web servers in place of the parts; a test may add to them. Everything is stopped in the end."""
    by_name = {
        name: Part(name=name, title=title, port=port, health="/", command=(*SERVER, str(settings.ports[port])))
        for name, title, port in (("first", "First", "EXPORTER_PORT"), ("second", "Second", "PORTAL_PORT"))
    }
    monkeypatch.setattr(processes, "parts", lambda _: list(by_name.values()))
    yield by_name
    processes.down(settings)


def test_up_starts_every_part_twice_is_fine_and_down_stops_them(
    settings: Settings, small: dict[str, Part], capfd: pytest.CaptureFixture[str]
) -> None:
    assert processes.up(settings) == 0
    printed = capfd.readouterr().out
    assert re.search(rf"First +well +{re.escape(settings.url('EXPORTER_PORT'))}\n", printed)
    assert re.search(rf"Second +well +{re.escape(settings.url('PORTAL_PORT'))}\n", printed)
    assert not ports.is_free(settings.ports["PORTAL_PORT"])

    assert processes.up(settings) == 0
    assert "already runs" in capfd.readouterr().out

    assert processes.down(settings) == 0
    assert f"data stay in {settings.home}" in capfd.readouterr().out
    assert ports.is_free(settings.ports["EXPORTER_PORT"])
    assert ports.is_free(settings.ports["PORTAL_PORT"])
    assert processes.status(settings) == 1
    assert processes.down(settings) == 0
    assert capfd.readouterr().out == "Agentgauge does not run: make up starts it.\nAgentgauge does not run.\n"


def test_a_part_that_runs_and_cannot_do_its_work_is_not_well_and_says_why(
    settings: Settings, small: dict[str, Part], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    port = settings.ports["GRAFANA_PORT"]
    serve = ("-m", "exporters", "serve", f"createagents://{folder}", "--listen", f"127.0.0.1:{port}")
    small["exporter"] = Part(
        name="exporter",
        title="Exporter",
        port="GRAFANA_PORT",
        health="/-/healthy",
        status="/-/status",
        command=(sys.executable, *serve, "--state", str(tmp_path / "state")),
    )
    assert processes.up(settings) == 0
    assert re.search(r"Exporter +well ", capfd.readouterr().out)
    folder.rename(tmp_path / "away")
    url = settings.url("GRAFANA_PORT", "/-/status")
    until(lambda: not health.is_well(url), "the exporter notices")
    assert processes.status(settings) == 1
    why = rf"\[Errno 2\] No such file or directory: '{re.escape(str(folder))}'"
    assert re.search(
        rf"Exporter +not well +http://127\.0\.0\.1:{port}\n +source createagents: {why}\n", capfd.readouterr().out
    )
    (tmp_path / "away").rename(folder)
    until(lambda: health.is_well(url), "the exporter notices")
    assert processes.status(settings) == 0


def test_grafana_finds_every_folder_that_it_reads(settings: Settings, small: dict[str, Part]) -> None:
    # Serves the folder for plugins, and ends where there is none.
    serve = (
        "import os, sys, http.server as h; os.chdir(os.environ['GF_PATHS_PLUGINS']); h.test(h.SimpleHTTPRequestHandler"
    )
    port = settings.ports["GRAFANA_PORT"]
    command = (sys.executable, "-c", f"{serve}, port={port}, bind='127.0.0.1')")
    small["grafana"] = Part(
        name="grafana", title="Grafana", port="GRAFANA_PORT", health="/", command=command, needs=("GF_*",)
    )
    assert processes.up(settings) == 0
    provisioning = Path(parts.environment(settings, list(small.values()))["GF_PATHS_PROVISIONING"])
    assert all((provisioning / name).is_dir() for name in ("alerting", "dashboards", "datasources", "plugins"))


def test_a_part_that_ends_is_named_with_its_last_words_and_everything_is_stopped(
    settings: Settings, small: dict[str, Part], capfd: pytest.CaptureFixture[str]
) -> None:
    words = "import sys; sys.exit('the folder /x is not readable')"
    small["broken"] = Part(
        name="broken", title="Broken", port="GRAFANA_PORT", health="/", command=(sys.executable, "-c", words)
    )
    assert processes.up(settings) == 1
    said = capfd.readouterr().err
    assert "Broken did not start" in said
    assert "the folder /x is not readable" in said
    assert not processes.is_running(settings)
    assert ports.is_free(settings.ports["EXPORTER_PORT"])


def test_a_part_whose_port_another_takes_meanwhile_is_named_though_its_url_answers(
    settings: Settings, small: dict[str, Part], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    number = settings.ports["PORTAL_PORT"]
    monkeypatch.setattr(ports, "require", lambda *_: None)  # looked too early
    with subprocess.Popen([*SERVER, str(number)], stderr=subprocess.DEVNULL) as other:
        try:
            assert health.wait({"other": settings.url("PORTAL_PORT", "/")}, patience=20, dead=lambda: None) is None
            assert processes.up(settings) == 1
        finally:
            other.kill()
    said = capfd.readouterr().err
    assert "Second did not start" in said
    assert "Address already in use" in said
    assert not processes.is_running(settings)


def test_a_part_that_never_becomes_well_is_named_when_the_time_is_up(
    settings: Settings, small: dict[str, Part], capfd: pytest.CaptureFixture[str]
) -> None:
    small["second"] = replace(small["second"], health="/no-such-page")
    assert processes.up(replace(settings, patience=2)) == 1
    assert "Second did not become well within 2 s" in capfd.readouterr().err
    assert not processes.is_running(settings)


def test_a_part_that_is_killed_comes_back(settings: Settings, small: dict[str, Part]) -> None:
    assert processes.up(settings) == 0
    number = settings.ports["EXPORTER_PORT"]
    match = re.search(r"pid (\d+)", ports.holder(number))
    assert match
    os.kill(int(match[1]), 9)
    url = {"first": settings.url("EXPORTER_PORT", "/")}
    new: list[str] = []

    def another() -> str | None:
        held = ports.holder(number)
        new.append(held)
        return "back" if held != "another process" and match[0] not in held else None

    assert health.wait({"nobody": "http://127.0.0.1:1/"}, patience=20, dead=another) == "back"
    assert health.wait(url, patience=20, dead=lambda: None) is None
