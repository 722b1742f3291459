"""A row of Langfuse that is too deep, too wide, too long or no JSON costs itself: not its page, not its source."""

import json
import math
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langfuse_reading import Reading, reading
from langfuse_server import PUBLIC, SECRET, Fault, Langfuse, Request, iso, observation, score, seconds, served, trace
from serving import serving, until
from test_langfuse import run

from exporters.sources.langfuse import scanner, surfaces
from exporters.sources.langfuse.client import RefusedError
from exporters.sources.langfuse.decoding import BadRowError
from exporters.sources.langfuse.rows import observation_of, translate

NOW = 1_770_000_000.0
OLDER, NEWER = "3.225.3", "4.35.0"
each_surface = pytest.mark.parametrize("version", [OLDER, NEWER])
# A column that comes with the row and is not read, of each surface.
UNREAD = {OLDER: "input", NEWER: "modelParameters"}

HUGE = b"1" + b"0" * 5000
# More than a row has of what is read, and than a decoder of all of it should be given.
NUMBERS = b",".join(b'"k%d":1' % number for number in range(100_000))


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def deep_objects(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def project_with(version: str, **columns: bytes) -> Langfuse:
    """Twenty good calls, and among them one with columns that are written as given, in the place of JSON."""
    project = Langfuse(version)
    project.clock = lambda: NOW
    for number in range(20):
        project.add(id=f"good-{number}", traceId=f"trace-{number}", start=NOW - 600 + number)
    row = project.add(id="hostile", traceId="trace-10-b", start=NOW - 589.5)
    for name, value in columns.items():
        row[name] = f"<{name}>"
        project.raw[row[name]] = value
    # What stands in the place of a column is not what the contract has there; it is only written later.
    project.validates = False
    return project


def what_is_read(source: Reading) -> tuple[bool, dict[str, int]]:
    """Whether the hostile row became a span, and the bad ones; all the others are read."""
    brought = source.on()
    assert set(brought.ids) - {"hostile"} == {f"good-{number}" for number in range(20)}
    return "hostile" in brought.ids, brought.bad


# What is not read of a row is not decoded, and does not cost the row.
NOT_READ: dict[str, tuple[bytes, str]] = {
    "nested 1,100 levels": (deep(1100), ""),
    "nested 5,000 objects": (deep_objects(5000), ""),
    "nested 2,000,000 levels": (deep(2_000_000), ""),
    "nested 500,000 objects": (deep_objects(500_000), ""),
    "a million numbers": (b"[" + b"1," * 1_000_000 + b"1]", ""),
    "a million keys": (b"{" + NUMBERS * 10 + b"}", ""),
    "20 MiB of text": (b'"' + b"x" * (20 << 20) + b'"', ""),
    "20 MiB of escapes": (b'"' + b'\\"' * (10 << 20) + b'"', ""),
    "NaN": (b"NaN", ""),
    "Infinity": (b"[Infinity,-Infinity]", ""),
    "5,001 digits": (HUGE, ""),
    "1e999": (b"-1e999", ""),
    "a lone surrogate": (b'"\\ud800"', ""),
    "no UTF-8": (b'"\xff\xfe\xc3"', ""),
    "a word": (b"tru", "json"),
    "a comma too many": (b"[1,]", "json"),
    "an escape that is none": (b'"\\x41"', "json"),
    "a control character": (b'"a\x01b"', "json"),
    "single quotes": (b"{'a':1}", "json"),
    "nothing": (b"", "json"),
    "brackets that do not fit": (b'{"a":[1}}', "json"),
    "a million columns": (b"1," + NUMBERS * 10, "too_wide"),
}


@each_surface
@pytest.mark.parametrize("what", NOT_READ)
def test_what_stands_in_a_column_that_is_not_read(version: str, what: str) -> None:
    value, reason = NOT_READ[what]
    with reading(project_with(version, **{UNREAD[version]: value})) as source:
        assert what_is_read(source) == (not reason, {reason: 1} if reason else {})


READ: dict[str, tuple[str, bytes, str]] = {
    "a map nested 1,100 levels": ("usageDetails", deep_objects(1100), "too_deep"),
    "a map with a deep value": ("usageDetails", b'{"input":' + deep(1100) + b"}", "too_deep"),
    "a map with a very deep value": ("costDetails", b'{"total":' + deep(600_000) + b"}", "too_deep"),
    "a map of 100,000": ("usageDetails", b"{" + NUMBERS + b"}", "too_wide"),
    "a map of 1,000": ("costDetails", b"{" + b",".join(b'"k%d":1' % at for at in range(1000)) + b"}", "too_wide"),
    "a map with a wide value": ("usageDetails", b'{"input":[' + b"[]," * 1_000_000 + b"1]}", "too_wide"),
    "a map with a long value": ("usageDetails", b'{"input":"' + b"x" * (20 << 20) + b'"}', ""),
    "a list of a million": ("totalCost", b"[" + b"1," * 1_000_000 + b"1]", "too_wide"),
    "a name nested": ("name", deep(1100), "too_deep"),
    "20 MiB of a name": ("name", b'"' + b"x" * (20 << 20) + b'"', ""),
    "20 MiB of an id": ("id", b'"' + b"x" * (20 << 20) + b'"', "id_too_long"),
    "NaN": ("usageDetails", b'{"input":NaN}', "out_of_range"),
    "Infinity": ("usageDetails", b'{"input":Infinity}', "out_of_range"),
    "less than Infinity": ("costDetails", b'{"total":-Infinity}', "out_of_range"),
    "5,001 digits": ("usageDetails", b'{"input":' + HUGE + b"}", "out_of_range"),
    "350 digits": ("usageDetails", b'{"input":1' + b"0" * 349 + b"}", "out_of_range"),
    "5,001 digits below zero": ("usageDetails", b'{"input":-' + HUGE + b"}", "out_of_range"),
    "2 MiB of digits": ("totalCost", b"1" * (2 << 20), "out_of_range"),
    "1e999": ("usageDetails", b'{"input":1e999}', "out_of_range"),
    "a version of 5,001 digits": ("promptVersion", HUGE, "wrong_type"),
    "a lone surrogate": ("name", b'"\\ud800"', ""),
    "no UTF-8": ("name", b'"\xff\xfe\xc3"', ""),
    "a word": ("name", b"tru", "json"),
    "a text in the place of a map": ("usageDetails", b'"many"', "wrong_type"),
}


@each_surface
@pytest.mark.parametrize("what", READ)
def test_what_stands_in_a_column_that_is_read(version: str, what: str) -> None:
    column, value, reason = READ[what]
    if version == OLDER and column == "totalCost":
        column = "calculatedTotalCost"
    with reading(project_with(version, **{column: value})) as source:
        assert what_is_read(source) == (not reason, {reason: 1} if reason else {})


@pytest.mark.parametrize("value", [deep(1100), b'"' + b"x" * (20 << 20) + b'"', b"NaN", b"tru", HUGE])
def test_a_score_that_cannot_be_read_costs_itself_on_both_lists(value: bytes) -> None:
    for version in ("3.150.0", NEWER):
        project = Langfuse(version)
        project.validates = False
        project.clock = lambda: NOW
        project.scores = [score(id=f"score-{number}", start=NOW - 600 + number) for number in range(3)]
        project.scores[1]["value"] = "<value>"
        project.raw["<value>"] = value
        with reading(project, since=3600) as source:
            brought = source.on()
        assert {"score:score-0", "score:score-2"} <= set(brought.ids)
        # A text is no number, and a score without one is counted as such.
        assert len(brought.ids) + sum(brought.bad.values()) == 3
        assert all(span.score is None or math.isfinite(span.score) for span in brought.spans)


@pytest.mark.parametrize("value", [deep(1100), b'"' + b"x" * (20 << 20) + b'"', b"NaN", b"tru", b'"\\ud800"', b"1"])
def test_a_trace_that_cannot_be_read_costs_its_own_rows_their_name_and_no_others(value: bytes) -> None:
    project = project_with("3.50.0")
    project.traces = [trace(id=f"trace-{number}", start=NOW - 600, name="support") for number in range(20)]
    project.traces[5]["name"] = "<name>"
    project.raw["<name>"] = value
    for row in project.observations:
        row["type"] = "AGENT" if row["id"] == "hostile" else "SPAN"
    with reading(project, since=3600) as source:
        spans = {span.trace_id: span.agent for span in source.on().spans}
    assert len(spans) == 21
    assert {spans[f"trace-{number}"] for number in range(20) if number != 5} == {"support"}


@pytest.mark.parametrize(
    "beside",
    [
        b'"rest":' + deep(5000) + b",",
        b'"rest":NaN,',
        b'"data":[1],"meta":' + deep(2000) + b",",
        b'"rest":"' + b"x" * (20 << 20) + b'",',
        b'"r\\u0065st":tru,',
    ],
)
@pytest.mark.parametrize("rest", [b"1", deep(3000), b"NaN"])
def test_what_else_stands_in_a_reply_costs_no_row(beside: bytes, rest: bytes) -> None:
    meta = b'{"rest":' + rest + b',"cursor":"c"}'
    page = surfaces.parse(b"{" + beside + b'"data":[{"id":"a"},{"id":"b"}],"meta":' + meta + b"}")
    assert ([bytes(row) for row in page.rows], page.next) == ([b'{"id":"a"}', b'{"id":"b"}'], "c")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        deep(5000),
        b'{"data":' + deep(5000),
        b'{"data":' + deep_objects(5000) + b',"meta":{}}',
        b'{"data":[NaN],"meta":{"cursor":' + deep(2000) + b"}}",
        b'{"data":[NaN],"meta":' + b"[" * 2000 + b"}",
        b'{"data":[NaN],"meta":{}',
        b'{"data":[NaN],"meta":{}}}',
        b'{"data":[NaN],"meta":{}} {}',
        b'{"data":[NaN,"meta":{}}',
        b'{"data":[NaN","meta":{}}',
        b'{"data":{},"meta":{},"x":NaN}',
        b'{"data":[NaN]}',
        b'{"data":[NaN],"meta":{"totalPages":' + HUGE + b"}}",
        b'{"data":[],"meta":{"cursor":"' + b"c" * 100_000 + b'"}}',
        b'{"data":[' + b"1," * 20_000 + b'NaN],"meta":{}}',
        b'{"data":[' + b"1," * 10_000_000 + b'1],"meta":{}}',
    ],
    ids=range(17),
)
def test_a_reply_that_cannot_be_told_apart_is_said_in_one_line(body: bytes) -> None:
    with pytest.raises(RefusedError, match="no list in JSON") as caught:
        surfaces.parse(body)
    assert "\n" not in str(caught.value)


def test_a_cursor_with_numbered_pages_is_no_number() -> None:
    page = surfaces.parse(b'{"data":[],"meta":{"cursor":"abc","totalPages":7}}', "eyJh")
    assert page.next == "abc"


@given(st.data())
def test_the_parts_of_a_text_are_those_that_a_decoder_finds(data: st.DataObject) -> None:
    """Of JSON as others write it: with NaN and lone surrogates, with blanks or without, with brackets in texts."""
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text('ab,:"\\[]{}\ud800é', max_size=8)
    names = st.text('a":[}\\', max_size=4)
    value = st.recursive(leaf, lambda each: st.lists(each) | st.dictionaries(names, each), max_leaves=12)
    rows, meta = data.draw(st.lists(value)), data.draw(value)
    text = json.dumps(
        {"first": data.draw(value), "data": rows, "meta": meta, "last": "]}"},
        indent=data.draw(st.sampled_from([None, 1])),
        ensure_ascii=data.draw(st.booleans()),
    ).encode("utf-8", "surrogatepass")
    places = scanner.members(text, (b"data", b"meta"), most=4)
    rows_again = [again(text[start:end]) for start, end in scanner.elements(text, places[b"data"], most=1000)]
    assert rows_again == [json.dumps(row) for row in rows]
    assert again(text[slice(*places[b"meta"])]) == json.dumps(meta)
    with pytest.raises(scanner.MalformedError):
        scanner.members(text[: data.draw(st.integers(0, len(text) - 1))], (b"data",), most=4)


def again(text: bytes) -> str:
    """A value as it is written by the one decoder."""
    return json.dumps(json.loads(text.decode("utf-8", "surrogatepass")))


def test_a_page_of_millions_of_rows_is_refused_before_they_are_made() -> None:
    body = b'{"data":[' + b"1," * 10_000_000 + b'1],"meta":{}}'
    tracemalloc.start()
    with pytest.raises(RefusedError):
        surfaces.parse(body)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 << 20


def test_wide_rows_of_a_page_are_not_in_memory_together() -> None:
    """A map of 20,000 numbers takes 2 MB once it is decoded, and rows stay until the next page."""
    row = json.dumps(observation(usageDetails={f"k{number}": 1 for number in range(20_000)})).encode()
    page = surfaces.parse(b'{"data":[' + b",".join([row] * 8) + b'],"meta":{}}')
    kept = []
    tracemalloc.start()
    for body in page.rows:
        try:
            kept.append(observation_of(bytes(body)))
        except BadRowError as reason:
            assert str(reason) == "too_wide"
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 << 20, most


# Too large, alone.


def project_of(version: str, **columns: Any) -> Langfuse:
    """Ten calls, half a second apart, and among them one that differs in some columns."""
    project = Langfuse(version)
    project.clock = lambda: project.at  # type: ignore[attr-defined] # set in the next line
    project.at = NOW  # type: ignore[attr-defined]
    for number in range(10):
        project.add(id=f"good-{number}", traceId=f"trace-{number}", start=NOW - 600 + number / 2)
    project.add(**{"id": "hostile", "traceId": "trace-h", "start": NOW - 597.9, **columns})
    return project


GOOD = {f"good-{number}" for number in range(10)}
LARGE = "x" * 200_000


def read_in_less(source: Reading) -> tuple[set[str], dict[str, int]]:
    """What is read by a client that holds less than one row, at first and when it is all read again."""
    source.client._reply_bytes = 100_000
    brought = source.on()
    for _ in range(3):
        source.project.at += 601  # type: ignore[attr-defined]
        again = source.on()
        assert (again.ids, again.bad, again.late) == ([], {}, 0)
    return set(brought.ids), brought.bad


@pytest.mark.parametrize(
    ("version", "column"),
    [("3.50.0", "input"), (OLDER, "input"), (OLDER, "name"), (NEWER, "statusMessage"), (NEWER, "model")],
)
def test_a_row_that_is_too_large_alone_is_passed_and_counted_once(version: str, column: str) -> None:
    with reading(project_of(version, **{column: LARGE}), since=3600) as source:
        assert read_in_less(source) == (GOOD, {"too_large": 1})


@pytest.mark.parametrize("column", ["id", "traceId"])
def test_a_row_that_is_too_large_by_what_every_row_has_is_passed_too(column: str) -> None:
    with reading(project_of(NEWER, **{column: LARGE}), since=3600) as source:
        assert read_in_less(source) == (GOOD, {"too_large": 1})


@pytest.mark.parametrize("version", [OLDER, NEWER])
def test_many_rows_that_are_too_large_are_each_passed(version: str) -> None:
    project = project_of(version)
    column = "input" if version == OLDER else "statusMessage"
    for number in range(25):
        start = NOW - 598 + number / 100
        project.add(**{"id": f"hostile-{number}", "traceId": "trace-h", "start": start, column: LARGE})
    with reading(project, since=3600) as source:
        source.client._reply_bytes = 100_000
        ids, bad = set(), 0
        while True:
            batch = source.reader.poll()
            ids |= {span.span_id for span in translate(batch.records).spans}
            bad += batch.bad.get("too_large", 0)
            if not batch.more:
                break
    assert (ids, bad) == ({*GOOD, "hostile"}, 25)


@pytest.mark.parametrize("version", ["3.150.0", OLDER, NEWER])
def test_a_score_that_is_too_large_alone_is_passed_and_counted_once(version: str) -> None:
    project = project_of(version)
    project.observations = []
    for number in range(10):
        name = LARGE if number == 4 else "helpfulness"
        project.scores.append(score(id=f"score-{number}", start=NOW - 600 + number / 2, name=name))
    with reading(project, since=3600) as source:
        wanted = {f"score:score-{number}" for number in range(10) if number != 4}
        assert read_in_less(source) == (wanted, {"too_large": 1})


def test_a_trace_that_is_too_large_alone_costs_no_other_its_name_and_few_requests() -> None:
    project = Langfuse(OLDER)
    project.clock = lambda: NOW
    for number in range(430):
        start = NOW - 3000 + number
        project.add(id=f"root-{number}", traceId=f"trace-{number}", type="SPAN", start=start)
        project.traces.append(trace(id=f"trace-{number}", start=start, name=LARGE if number == 303 else "support"))
    with reading(project, since=3600) as source:
        source.client._reply_bytes = 100_000
        spans = {span.trace_id: span.agent for span in source.on().spans}
    assert len(spans) == 430
    assert [name for name, agent in spans.items() if agent != "support"] == ["trace-303"]
    asked = [request for request in project.requests if request.path == "/traces"]
    # Halved down to the one, and doubled again behind it: not one by one up to the end.
    assert len([request for request in asked if request.get("limit") == "1"]) < 8


@pytest.mark.parametrize(("version", "column"), [("3.50.0", "input"), (OLDER, "input"), (NEWER, "traceId")])
def test_the_newest_row_being_too_large_does_not_hide_where_history_begins(version: str, column: str) -> None:
    project = project_of(version, **{column: LARGE})
    project.observations[-1]["startTime"] = "2026-01-01T00:00:00.000Z"
    project.observations[-1]["endTime"] = "2026-01-01T00:00:01.000Z"
    with reading(project) as source:
        source.client._reply_bytes = 100_000
        brought = source.on()
    assert (set(brought.ids), brought.bad) == (GOOD, {"too_large": 1})


@pytest.mark.parametrize("version", ["3.150.0", OLDER, NEWER])
def test_a_server_whose_every_reply_is_too_large_is_told_and_not_taken_for_rows(version: str, tmp_path: Path) -> None:
    project = project_of(version)
    lists = ("/observations", "/v2/observations", "/v2/scores", "/v3/scores", "/traces")
    project.fault = lambda request: Fault(200, b" " * (33 << 20)) if request.path in lists else None
    with reading(project, since=3600) as source:
        source.client._reply_bytes = 100_000
        problems: list[str] = []
        until(lambda: bool(problems.append(source.reader.poll().problem) or problems[-1]), "it is told")
    assert "a reply of more than" in problems[-1]
    assert sum(bool(problem) for problem in problems) == 1


def test_a_server_whose_cursor_leads_nowhere_is_shown_and_not_asked_in_haste() -> None:
    project = project_of(NEWER)

    def circle(request: Request) -> Fault | None:
        if request.path != "/v2/observations" or (request.get("limit") == "1" and "filter" not in dict(request.params)):
            return None
        return Fault(200, b'{"data":[],"meta":{"cursor":"c"}}' if request.get("fields") == "core" else b" " * 200_000)

    project.fault = circle
    with reading(project, since=3600) as source:
        source.client._reply_bytes = 100_000
        until(lambda: "a reply of more than" in source.reader.poll().problem, "it is shown")
        asked = len(project.requests)
        source.reader._closed.set()
        source.reader.poll()
        assert len(project.requests) == asked


# As it shows.


def test_a_deep_row_is_counted_on_the_page_and_the_source_is_up(tmp_path: Path) -> None:
    project = project_with(OLDER, input=deep(1100))
    project.clock = time.time
    shift = time.time() - NOW
    for row in project.observations:
        row |= {name: iso(seconds(row[name]) + shift) for name in ("startTime", "endTime")}
    project.add(id="deep", traceId="trace-d", start=time.time() - 60, usageDetails="<usage>")
    project.raw["<usage>"] = deep_objects(1100)
    keys = {"LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET}
    with (
        served(project) as url,
        serving(tmp_path / "state", f"langfuse+{url}?wait=1s&settle=1s&since=1h", **keys) as exporter,
    ):
        exporter.await_ready()
        until(lambda: exporter.value("agentgauge_inference_calls_total", source="langfuse") == 21, "they are counted")
        assert exporter.value("agentgauge_bad_records_total", source="langfuse", reason="too_deep") == 1
        assert exporter.value("agentgauge_source_up", source="langfuse") == 1
        assert "Traceback" not in exporter.said()


def test_check_says_what_is_bad_and_why() -> None:
    project = project_with(OLDER, usageDetails=deep_objects(1100))
    project.add(id="wide", traceId="trace-w", start=NOW - 500, usageDetails="<wide>")
    project.raw["<wide>"] = b"{" + NUMBERS + b"}"
    with served(project) as url:
        done = run("check", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "20 model calls" in done.stdout
    assert "1 nested more deeply than can be read (too_deep)" in done.stdout
    assert "1 with too many columns, or too much in one that is read (too_wide)" in done.stdout


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "x" * 50_000])
def test_a_clock_that_cannot_be_is_not_believed(date: str) -> None:
    project = Langfuse(NEWER)
    project.add(start=time.time() - 60)
    project.dated = date
    with served(project) as url:
        done = run("check", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 model call" in done.stdout


NO_REPLY = [
    *(deep(5000), deep_objects(100_000), b'{"version":' + deep(3000) + b"}"),
    *(HUGE, b"NaN", b"\xff", b"", b'{"version":{}}'),
]


@pytest.mark.parametrize("body", [*NO_REPLY, b'{"version":"%s"}' % HUGE, b'{"version":"4"}'], ids=range(10))
def test_whatever_health_says_a_project_is_read(body: bytes) -> None:
    project = project_with(NEWER)
    project.fault = lambda request: Fault(200, body) if request.path == "/health" else None
    with served(project) as url:
        done = run("check", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "21 model calls" in done.stdout


@pytest.mark.parametrize("body", NO_REPLY, ids=range(8))
def test_check_says_in_one_line_that_a_list_is_none(body: bytes) -> None:
    project = Langfuse(NEWER)
    project.fault = lambda request: Fault(200, body) if request.path == "/v2/observations" else None
    with served(project) as url:
        done = run("check", url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no list in JSON" in done.stderr


@pytest.mark.parametrize("location", ["http://[", "http://[::1", "https://\xff", "http://" + "x" * 60_000, "//"])
def test_check_says_in_one_line_that_it_is_sent_elsewhere(location: str) -> None:
    project = Langfuse(NEWER)
    project.fault = lambda _: Fault(302, headers={"Location": location})
    with served(project) as url:
        done = run("check", url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert len(done.stderr) < 1000
