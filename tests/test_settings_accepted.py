"""What we hand to Prometheus, Alertmanager and nginx, tried on the programs themselves. Grafana has its own module."""

import contextlib
import itertools
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from compose_file import FILE, interpolate
from whole_stack import free_ports, until

from exporters.stack import access, alerting, parts
from exporters.stack.debian import program
from exporters.stack.settings import CHECKOUT, PORTS, Settings, StackError, load

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
URL = "https://hooks.example/services/T0/B0/x"


def loaded(home: Path, **more: str) -> Settings:
    """The settings of a stack on ports that are free."""
    ports = {name: str(number) for name, number in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    return load({"AGENTGAUGE_HOME": str(home), "TRACE_SOURCES": "createagents:///nowhere", **ports, **more})


def becomes_ready(command: Sequence[str], url: str, log: Path, password: str = "") -> None:
    """Start a program, wait until it says that it is ready, and stop it; fail with its own words if it ends before."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"{url}/-/ready", auth=(access.USER, password), timeout=5).ok
            return False

        try:
            until(is_ready, f"{command[0]} is ready")
        finally:
            process.terminate()


def checked(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Prometheus


@pytest.mark.skipif(program("promtool") is None, reason="needs promtool")
def test_prometheus_accepts_its_file_as_it_is_mounted_and_as_it_is_laid_out_for_a_process(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    parts.write_prometheus_configuration(settings, [])
    for folder in (CHECKOUT / "prometheus", settings.home / "prometheus"):
        done = checked("promtool", "check", "config", folder / "prometheus.yml")
        assert done.returncode == 0, done.stdout + done.stderr
        # What it names is there: rules, and the targets of both jobs.
        assert "rules found" in done.stdout
        assert all((folder / "targets" / f"{job}.yml").is_file() for job in ("agentgauge", "prometheus"))


@pytest.mark.skipif(program("prometheus") is None, reason="needs prometheus")
def test_prometheus_starts_with_the_flags_of_the_container(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    ours = {"/etc/prometheus/": f"{CHECKOUT}/prometheus/", "=/prometheus": f"={tmp_path / 'data'}"}
    flags = [interpolate(flag, {}) for flag in SERVICES["prometheus"]["command"]]
    for there, here in ours.items():
        assert any(there in flag for flag in flags)
        flags = [flag.replace(there, here) for flag in flags]
    command = [program("prometheus") or "", *flags, f"--web.listen-address=127.0.0.1:{port}"]
    becomes_ready(command, f"http://127.0.0.1:{port}", tmp_path / "log")


@pytest.mark.skipif(program("prometheus") is None, reason="needs prometheus")
def test_prometheus_starts_with_the_flags_of_a_process(tmp_path: Path) -> None:
    settings = loaded(tmp_path / "home")
    running = parts.parts(settings)
    parts.write_prometheus_configuration(settings, running)
    (command,) = [part.command for part in running if part.name == "prometheus"]
    password = access.make(settings)
    becomes_ready(command, settings.url("PROMETHEUS_BACKEND_PORT"), tmp_path / "log", password)


@pytest.mark.skipif(program("promtool") is None, reason="needs promtool")
def test_the_demos_past_is_loaded_by_commands_that_exist() -> None:
    script = re.sub(r"\\\n", " ", SERVICES["demo-history"]["command"][0])
    # Times, as numbers.
    script = re.sub(r"\$\$\(\(.*?\)\)|\$\$\(date \+%s\)", "1", script)
    lines = [line.strip().removesuffix("&") for line in script.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith(("promtool ", "prometheus "))]
    assert [command[0] for command in commands] == ["promtool", "prometheus", "promtool"]
    for command in commands:
        done = checked(*command, "--help")
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(program("prometheus") is None, reason="needs prometheus")
def test_a_flag_that_prometheus_does_not_know_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"unknown long flag '--web\.page-tilte'"):
        becomes_ready(["prometheus", "--web.page-tilte=x"], "http://127.0.0.1:1", tmp_path / "log")


# Alertmanager

# Each way alone and with what may be said of it besides.
WAYS: Mapping[str, Sequence[Mapping[str, str]]] = {
    "slack": (
        {"SLACK_WEBHOOK_URL": URL},
        {"SLACK_WEBHOOK_URL": URL, "SLACK_WEBHOOK_URL_WARNING": f"{URL}2"},
        {"SLACK_WEBHOOK_URL": URL, "SLACK_CHANNEL_CRITICAL": "#pager", "SLACK_CHANNEL_WARNING": "C0123456789"},
        {"SLACK_WEBHOOK_URL": URL, "SLACK_MENTION": "<!subteam^S0123456789> <@U0123456789>"},
    ),
    "email": (
        {"ALERT_EMAIL": "a@agents.example", "SMTP_HOST": "mail.example:587"},
        {"ALERT_EMAIL": "root@localhost, b@agents.example", "SMTP_HOST": "[::1]:25", "SMTP_TLS": "off"},
        {
            "ALERT_EMAIL": "a@agents.example",
            "SMTP_HOST": "mail.example:587",
            "SMTP_FROM": "agentgauge@agents.example",
            "SMTP_USER": "agentgauge",
            "SMTP_PASSWORD": "p: #{}'\"",
        },
    ),
    "webhook": ({"ALERT_WEBHOOK_URL": "http://user:secret@127.0.0.1:9/hook?x=%24y"},),
}


@pytest.mark.skipif(program("amtool") is None, reason="needs amtool")
@pytest.mark.parametrize(
    "ways",
    [some for count in range(len(WAYS) + 1) for some in itertools.combinations(sorted(WAYS), count)],
    ids=lambda ways: ",".join(ways) or "none",
)
def test_alertmanager_accepts_what_is_written_for_any_ways(tmp_path: Path, ways: tuple[str, ...]) -> None:
    besides = [{}, {"AGENTGAUGE_ROOT_URL": "https://agents.example/x/"}]
    for *chosen, links in itertools.product(*(WAYS[way] for way in ways), besides):
        values = {name: value for part in (*chosen, links) for name, value in part.items()}
        path = alerting.write_configuration(loaded(tmp_path / "home", **values))
        done = checked("amtool", "check-config", path)
        assert done.returncode == 0, f"{values}: {done.stdout}{done.stderr}"
        critical = yaml.safe_load(path.read_text())["receivers"][0]
        assert {f"{way}_configs" for way in ways} == critical.keys() - {"name"}


@pytest.mark.skipif(program("prometheus-alertmanager") is None, reason="needs prometheus-alertmanager")
@pytest.mark.parametrize("url", ["", "https://agents.example/alerts/", "http://[::1]:9093", "http://host_1:80/a%20b"])
def test_alertmanager_starts_with_the_flags_of_a_process(tmp_path: Path, url: str) -> None:
    settings = loaded(tmp_path / "home", AGENTGAUGE_ALERTMANAGER_URL=url)
    alerting.write_configuration(settings)
    command = alerting.command(settings)
    assert command
    password = access.make(settings)
    becomes_ready(command, settings.url("ALERTMANAGER_BACKEND_PORT"), tmp_path / "log", password)


# Each is read by Go's net/url, in Grafana as in Alertmanager.
URLS = (
    "https://hooks.example/services/T0/B0/x",
    "http://127.0.0.1:9/",
    "http://[::1]:9/x",
    "http://user:pass@host:80/x?y=%24z#a",
    "http://host_1/x",
    "http://host:/x",
    "http://host:port/x",
    "http://host:99999/x",
    "http://host:8:9/x",
    "http://[::1/x",
    "http://[::1]x/x",
    "http://[host]/x",
    "http://%41/x",
    "http://a%20b/x",
    "http://us%er@host/x",
    "http://us er@host/x",
    "http://a@b@host/x",
    "http://host/%",
    "http://host/%zz",
    "http://host/?%zz",
    "http://host/\x7f",
    "http://host/\x01",
    "http://host/a\\b",
    "http://host/`",
    "http://:80/x",
    "http://@host/x",
    "http://@/x",
    "http://ho^st/x",
    "http://ho'st/x",
    "http://ho*st/x",
    "http://ho(st/x",
    "http://bücher.example/ä",
    "ftp://host/x",
    "http://",
    "http:/host",
    "//host/x",
)


@pytest.mark.skipif(program("amtool") is None, reason="needs amtool")
@pytest.mark.parametrize("url", URLS)
def test_an_address_that_alertmanager_refuses_is_refused_before(tmp_path: Path, url: str) -> None:
    try:
        path = alerting.write_configuration(loaded(tmp_path, ALERT_WEBHOOK_URL=url))
    except StackError as error:
        assert str(error).startswith("ALERT_WEBHOOK_URL is not an address")
        return
    done = checked("amtool", "check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(program("amtool") is None, reason="needs amtool")
@pytest.mark.parametrize(
    "host", ["mail:25", "mail.example:587", "[::1]:25", "127.0.0.1:25", "::1:25", "[::1:25", "a:b:25", "mail:٣", ":25"]
)
def test_a_mail_server_that_alertmanager_refuses_is_refused_before(tmp_path: Path, host: str) -> None:
    try:
        path = alerting.write_configuration(loaded(tmp_path, ALERT_EMAIL="a@b.example", SMTP_HOST=host))
    except StackError as error:
        assert "SMTP_HOST has to be a server and its port" in str(error)
        return
    done = checked("amtool", "check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr


# nginx


@pytest.mark.skipif(program("nginx") is None, reason="needs nginx")
def test_nginx_accepts_the_file_that_is_mounted(tmp_path: Path) -> None:
    text = (CHECKOUT / "streamlit_portal" / "nginx.conf").read_text()
    # What proxy.sh writes of AGENTGAUGE_HOSTS before nginx starts.
    (tmp_path / "hosts.map").write_text("\\\\agents.example 1;\n")
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(text.replace("/tmp/", f"{tmp_path}/"))
    done = checked(program("nginx") or "", "-t", "-c", configuration)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
    assert SERVICES["proxy"]["command"] == ["sh", "/etc/nginx/proxy.sh"]
