"""What the URL of a receiver may say, and what a person is told who has to mend it."""

import logging
import socket
from pathlib import Path

import pytest
from otlp_stage import JSON, post

from exporters.__main__ import main
from exporters.sources import Source, SourceError, open_source

TOKEN = "0123456789abcdef0123456789abcdef"
VARIABLE = "AGENTGAUGE_OTLP_TOKEN"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def taken() -> int:
    """A port that somebody listens on already."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        yield port  # type: ignore[misc]


def opened(url: str, caplog: pytest.LogCaptureFixture) -> tuple[Source, int]:
    caplog.set_level(logging.INFO, "agentgauge")
    source = open_source(url, follows=True)
    return source, int(caplog.messages[0].rpartition(":")[2].removesuffix("/v1/traces"))


@pytest.mark.parametrize("command", [["once"], ["check"], ["backfill", "--into", "/nowhere"]])
def test_a_receiver_cannot_be_read_to_its_end(
    command: list[str], taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    # On a port that is taken: the exporter that serves it may well be running.
    assert main([*command, f"otlp://127.0.0.1:{taken}"]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"agentgauge: otlp://127.0.0.1:{taken}: a receiver has no end; use `agentgauge serve`, "
        "or otlp+file:///folder for files\n"
    )


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_an_empty_token_is_none(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, empty: str) -> None:
    """Docker Compose hands over what `.env` leaves empty."""
    monkeypatch.setenv(VARIABLE, empty)
    source, port = opened("otlp://127.0.0.1:0", caplog)
    assert post(port, b"", method="GET").status == 405
    source.reader.close()


def test_a_busy_port_is_one_line(taken: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"otlp://127.0.0.1:{taken}", "--state", str(tmp_path / "state")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"agentgauge: otlp://127.0.0.1:{taken}: Address already in use; choose another address or port"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("otlp://127.0.0.1:70000", "check the port"),
        ("otlp://256.1.1.1:4318", "there is no such address"),
        ("otlp://127.0.0.1:0/v1/traces", "should be an address and a port"),
        ("otlp://user:canary@127.0.0.1:0", "should be an address and a port"),
        ("otlp://127.0.0.1:0?wait=soon", "'soon' is not a duration"),
        ("otlp://127.0.0.1:0?token=x", "unknown option 'token'"),
        ("otlp://127.0.0.1:0?token_file=/nowhere", "No such file"),
        ("otlp+file:///nowhere", "there is no folder /nowhere"),
        ("otlp+file:///tmp?token_file=x", "unknown option 'token_file'"),
    ],
)
def test_a_wrong_url_is_told_in_one_line(url: str, said: str) -> None:
    with pytest.raises(SourceError) as error:
        open_source(url, follows=True)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("token", ["short", TOKEN[:-1], TOKEN + "\u00e9", f"{TOKEN[:16]}\n{TOKEN[16:]}"])
def test_a_short_or_odd_token_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(SourceError) as error:
        open_source("otlp://127.0.0.1:0", follows=True)
    assert str(error.value).startswith(f"{VARIABLE}: a token has at least 32 ASCII characters")
    assert token not in str(error.value)


@pytest.mark.parametrize("of_file", [False, True])
def test_the_token_comes_from_the_environment_or_a_file(
    of_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = "otlp://127.0.0.1:0"
    if of_file:
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        url += f"?token_file={tmp_path / 'token'}"
    else:
        monkeypatch.setenv(VARIABLE, TOKEN)
    source, port = opened(url, caplog)
    try:
        assert post(port, b"{}", JSON).status == 401
    finally:
        source.reader.close()
    assert TOKEN not in caplog.text


def test_others_reaching_a_receiver_without_a_token_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened("otlp://0.0.0.0:0?name=all", caplog)[0].reader.close()
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [f"source=all takes spans from whoever reaches 0.0.0.0; set {VARIABLE} to ask for a token"]

    caplog.clear()
    opened("otlp://127.0.0.1:0", caplog)[0].reader.close()
    monkeypatch.setenv(VARIABLE, TOKEN)
    opened("otlp://0.0.0.0:0", caplog)[0].reader.close()
    assert [record for record in caplog.records if record.levelno == logging.WARNING] == []


def test_a_span_waits_ten_seconds_for_its_trace_unless_told_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_source(f"otlp+file://{tmp_path}").settles == 10
    assert open_source(f"otlp+file://{tmp_path}?wait=2m").settles == 120
    source, _ = opened("otlp://localhost:0?wait=3s", caplog)
    source.reader.close()
    assert source.settles == 3
