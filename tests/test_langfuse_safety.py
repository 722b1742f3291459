"""Langfuse's keys go to one host alone and are shown nowhere; no other address is asked in its place."""

import gzip
import logging
import socket
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from langfuse_reading import reading
from langfuse_server import PUBLIC, SECRET, Fault, Langfuse, served
from serving import serving, until
from test_langfuse import once

from exporters.sources import SourceError, open_source
from exporters.sources.addresses import refused
from exporters.sources.langfuse.client import Client, RefusedError
from exporters.sources.langfuse.keys import Keys, keys_for

KEYS = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUBLIC_KEY", "SECRET_KEY", "PUBLIC_KEY_FILE", "SECRET_KEY_FILE", "HOST", "BASE_URL"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)


# Where keys come from.


def test_keys_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    (tmp_path / "public").write_text(f"{PUBLIC}\n")
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    files = {"public_key_file": str(tmp_path / "public"), "secret_key_file": str(tmp_path / "secret")}
    of_files = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY_FILE": files["secret_key_file"]}
    for own, environment in (({}, KEYS), (files, {}), (files, {"LANGFUSE_SECRET_KEY": "other"}), ({}, of_files)):
        found = keys_for("https://cloud.langfuse.com", own, environment)
        assert (found.public, found.secret) == (PUBLIC, SECRET)


@pytest.mark.parametrize(
    ("own", "environment", "said"),
    [
        ({}, {}, "set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"),
        ({}, {"LANGFUSE_PUBLIC_KEY": PUBLIC}, "set LANGFUSE_SECRET_KEY"),
        ({"secret_key_file": "/nowhere"}, KEYS, "cannot be read"),
        ({"public_key_file": "/nowhere", "secret_key_file": "/nowhere"}, {}, "'/nowhere' cannot be read"),
        ({}, {**KEYS, "LANGFUSE_SECRET_KEY": "", "LANGFUSE_SECRET_KEY_FILE": "/nowhere"}, "LANGFUSE_SECRET_KEY_FILE"),
    ],
)
def test_missing_keys_are_said_in_one_line(own: dict[str, str], environment: dict[str, str], said: str) -> None:
    with pytest.raises(SourceError, match=said) as told:
        keys_for("https://cloud.langfuse.com", own, environment)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["LANGFUSE_BASE_URL", "LANGFUSE_HOST"])
@pytest.mark.parametrize(
    "other", ["https://us.cloud.langfuse.com", "http://cloud.langfuse.com", "https://cloud.langfuse.com:8443"]
)
def test_keys_of_the_environment_go_to_the_host_that_it_names(name: str, other: str) -> None:
    """A source's URL that was changed must not carry the keys elsewhere (CVE-2026-41487)."""
    environment = {**KEYS, name: "https://cloud.langfuse.com/"}
    assert keys_for("https://cloud.langfuse.com", {}, environment).secret == SECRET
    with pytest.raises(SourceError, match="another host"):
        keys_for(other, {}, environment)


def test_a_changed_host_under_the_same_name_gets_no_request() -> None:
    first, second = Langfuse(), Langfuse()
    first.add(start=time.time() - 60)
    with reading(first, since=3600) as found:
        assert len(found.on().spans) == 1
        cursor = found.cursor
    with reading(second, since=3600) as found:
        found.reader.seek(cursor)
        with pytest.raises(SourceError, match="a \\?name= of its own"):
            found.reader.poll()
    assert second.requests == []


@pytest.mark.parametrize("options", ["", "?bogus=1", "?since=x", "#part", "?name=" + "n" * 65])
def test_a_key_in_the_url_is_refused_and_not_repeated(options: str) -> None:
    with pytest.raises(SourceError) as told:
        open_source(f"langfuse+https://{PUBLIC}:{SECRET}@cloud.langfuse.com{options}")
    assert SECRET not in str(told.value)


def test_a_key_that_is_given_as_an_option_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match="unknown option 'secret_key'") as told:
        open_source(f"langfuse+https://cloud.langfuse.com?secret_key={SECRET}")
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("langfuse+https://", "write the host"),
        ("langfuse+https://host:99999", "port"),
        ("langfuse+https://host?api=v9", "auto, v1 or v2"),
        ("langfuse+https://host?wait=0s", "at least 1s"),
        ("langfuse+https://host?timeout=fast", "not a duration"),
        ("langfuse+https://host?longest=5m", "at least 3600s"),
        ("langfuse+https://host?secret=x", "unknown option 'secret'"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_in_one_line(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match=said) as told:
        open_source(url)
    assert "\n" not in str(told.value)


# Where they go.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_not_followed_and_gets_no_header(status: int) -> None:
    trap, project = Langfuse(), Langfuse()
    with served(trap) as elsewhere:
        to = elsewhere.replace("127.0.0.1", "localhost")
        project.fault = lambda _: Fault(status, headers={"Location": f"{to}/api/public/health?secret=1"})
        with reading(project) as found, pytest.raises(SourceError, match="sends us to http://localhost") as told:
            found.on()
    assert trap.requests == []
    assert "secret" not in str(told.value)


def test_a_server_is_asked_for_its_health_without_keys() -> None:
    project = Langfuse()
    with reading(project, since=3600) as found:
        found.on()
    [health] = [request for request in project.requests if request.path == "/health"]
    assert "authorization" not in health.headers
    assert all("authorization" in request.headers for request in project.requests if request is not health)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd20:00ce:0000::0254%eth0",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "no address",
    ],
)
def test_addresses_of_metadata_and_of_no_machine_are_refused(address: str) -> None:
    assert refused(address)


# How an address of IPv4 is written within one of IPv6, by RFC 4291, 2765, 6052, 8215, 3056, 5214 and 4380: mapped,
# compatible, translated, NAT64 (well-known, and of a network in two forms), 6to4, ISATAP, Teredo's server and client.
def within(address: str) -> list[str]:
    number = int(IPv4Address(address))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    turned = f"{number >> 16 ^ 0xFFFF:x}:{number & 0xFFFF ^ 0xFFFF:x}"
    return [
        f"::ffff:{high}:{low}",
        f"::{high}:{low}",
        f"::ffff:0:{high}:{low}",
        f"64:ff9b::{high}:{low}",
        f"64:ff9b:1::{high}:{low}",
        f"64:ff9b:1:{high}:{number >> 8 & 0xFF:x}:{(number & 0xFF) << 8:x}::",
        f"2002:{high}:{low}::",
        f"2002:{high}:{low}:1:2:3:4:5",
        f"2001:db8::5efe:{high}:{low}",
        f"2001:db8::200:5efe:{high}:{low}",
        f"2001:0:{high}:{low}::",
        f"2001:0:808:808:0:0:{turned}",
    ]


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "224.0.0.1"]
)
def test_an_address_that_leads_to_one_of_these_by_way_of_ipv6_is_refused(address: str) -> None:
    assert [way for way in within(address) if not refused(way)] == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "192.168.1.9", "93.184.216.34"])
def test_one_that_leads_to_another_is_not(address: str) -> None:
    assert [way for way in within(address) if refused(way)] == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.5", "192.168.1.9", "8.8.8.8", "::1", "2606:4700::1111", "fd12:3456:789a::1", "fd20:ce::253"],
)
def test_other_addresses_are_not(address: str) -> None:
    assert refused(address) == ""


def test_the_address_is_looked_at_when_the_connection_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may lead elsewhere by then; nothing is sent to where it does."""
    project = Langfuse()
    monkeypatch.setattr("exporters.sources.langfuse.client.refused", lambda _: "a link-local address")
    with served(project) as url:
        client = Client(url, Keys(PUBLIC, SECRET), 5.0)
        with pytest.raises(SourceError, match=r"leads to 127\.0\.0\.1, a link-local address; it is not asked"):
            client.get("/projects")
        client.close()
    assert project.requests == []


def _hang_up(plain: socket.socket) -> None:
    plain.accept()[0].close()


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=_hang_up, args=(plain,), daemon=True)
        thread.start()
        client = Client(f"https://127.0.0.1:{plain.getsockname()[1]}", Keys(PUBLIC, SECRET), 2.0)
        with pytest.raises(RefusedError):
            client.get("/health")
        client.close()
        thread.join()


def test_a_reply_is_bounded_also_when_it_was_compressed() -> None:
    project = Langfuse()
    bomb = gzip.compress(b"0" * (64 << 20))
    assert len(bomb) < 100_000
    project.fault = lambda _: Fault(200, bomb, {"Content-Encoding": "gzip"})
    with served(project) as url:
        client = Client(url, Keys(PUBLIC, SECRET), 5.0)
        with pytest.raises(RefusedError, match="more than 32 MiB"):
            client.get("/health")
        client.close()


# Where they are shown: nowhere.


def test_no_key_is_in_a_representation() -> None:
    keys = Keys(PUBLIC, SECRET)
    client = Client("http://127.0.0.1:1", keys, 1.0)
    for shown in (repr(keys), str(keys), repr(client), repr(vars(client))):
        assert SECRET not in shown
        assert PUBLIC not in shown
    client.close()


@pytest.mark.parametrize("status", [200, 401, 404, 429, 500])
def test_no_key_is_in_a_log_at_its_most_talkative(status: int, caplog: pytest.LogCaptureFixture) -> None:
    project = Langfuse()
    echo = f'{{"data": [], "meta": {{}}, "said": "{SECRET}"}}'.encode()
    project.fault = lambda _: Fault(status, echo, {"Retry-After": "100"})
    caplog.set_level(logging.DEBUG)
    said = ""
    with reading(project) as found:
        try:
            said = found.reader.poll().problem
        except SourceError as error:
            said = str(error)
        said += repr(found.reader.gauges())
    assert SECRET not in caplog.text + said
    assert PUBLIC not in caplog.text + said


def test_no_key_and_no_prompt_is_on_a_page_in_a_log_or_in_the_state(tmp_path: Path) -> None:
    project = Langfuse()
    for number in range(20):
        project.add(id=f"call-{number}", start=time.time() - 60, statusMessage="error-canary", level="ERROR")
    with served(project) as url, serving(tmp_path / "state", f"langfuse+{url}?wait=1s", **KEYS) as exporter:
        exporter.await_ready()
        project.fault = lambda _: Fault(401)
        until(lambda: exporter.value("agentgauge_source_up", source="langfuse") == 0, "the source is down")
        exporter.stop()
        pages = exporter.said()
    assert "the keys are not accepted" in pages
    assert "Traceback" not in pages
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert len(kept) > 1000
    for canary in (PUBLIC, SECRET, "prompt-canary", "answer-canary", "metadata-canary", "user-canary", "error-canary"):
        assert canary not in pages
        assert canary.encode() not in kept


def test_once_without_keys_is_one_line_and_code_2() -> None:
    done = once("https://cloud.langfuse.com", LANGFUSE_PUBLIC_KEY="", LANGFUSE_SECRET_KEY="")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY" in done.stderr


def test_a_host_that_does_not_exist_is_one_line_and_code_2() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = once(f"http://127.0.0.1:{free.getsockname()[1]}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be reached" in done.stderr
    assert SECRET not in done.stderr
