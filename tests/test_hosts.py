"""Host and Origin: who is let in, and who is not."""

import pytest

from exporters.hosts import HostError, Hosts, hosts_of

OURS = Hosts(["exporter", "Agents.Example.com:8443", "*.corp.example"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9464", "10.1.2.3", "[::1]:9464", "[2001:db8::7]", "localhost", "LOCALHOST:8501", "portal.localhost",
        "exporter:9464", "agents.example.com", "agents.example.com.:8501", "a.corp.example", "a.b.corp.example", "",
    ],
)  # fmt: skip
def test_addresses_localhost_and_listed_names_are_let_in(host):
    OURS.check({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "notlocalhost",
        "exporter.evil.example", "corp.example", "xcorp.example", "agents.example.com.evil.example", "1.2.3.4.5",
        "[evil]", "user@127.0.0.1", "127.0.0.1 evil.example", ".", ":9464", "[]",
    ],
)  # fmt: skip
def test_any_other_name_is_refused_with_its_mend(host):
    with pytest.raises(HostError, match="add it to AGENTGAUGE_HOSTS"):
        OURS.check({"host": host})


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:9090", "http://127.0.0.1:9090"), ("127.0.0.1:9090", "http://localhost:8501"),
        ("localhost:9093", "http://[::1]:3000"), ("exporter:9464", "http://exporter:9464"),
        ("192.168.1.4:8501", "http://192.168.1.4:8501"), ("127.0.0.1:9464", "https://agents.example.com"),
    ],
)  # fmt: skip
def test_pages_of_the_same_host_and_of_listed_ones_may_ask(host, origin):
    OURS.check({"host": host, "origin": origin})


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:9093", "http://evil.example"), ("127.0.0.1:9093", "http://203.0.113.9"),
        ("localhost:9093", "https://localhost.evil.example"), ("127.0.0.1:9093", "null"), ("127.0.0.1:9093", ""),
        ("192.168.1.4:8501", "http://127.0.0.1:8501"), ("127.0.0.1:9093", "file://"),
    ],
)  # fmt: skip
def test_pages_of_other_sites_are_refused_those_at_an_address_too(host, origin):
    with pytest.raises(HostError, match="may not ask here"):
        OURS.check({"host": host, "origin": origin})


def test_what_is_no_name_names_nobody():
    hosts = Hosts([".", "", "*", "*.", "a..b", "x;y", "evil.example/", "*.*", "~.*"])
    for host in (".", "a..b", "*", "evil.example", "x", "*.*", "~.*"):
        with pytest.raises(HostError):
            hosts.check({"host": host})


def test_names_come_from_the_service_and_from_the_environment():
    hosts = hosts_of("exporter", environ={"AGENTGAUGE_HOSTS": " agents.example.com, metrics.example.com:443\n"})
    for host in ("exporter:9464", "agents.example.com", "metrics.example.com"):
        hosts.check({"host": host})
    with pytest.raises(HostError):
        hosts.check({"host": "agents.example.org"})
    with pytest.raises(HostError):
        hosts_of(environ={"AGENTGAUGE_HOSTS": ""}).check({"host": "exporter"})
