"""Reading Langfuse on: what comes late, twice, changed or not at all, on the older lists and on the newer."""

import json
import time
from email.utils import formatdate
from itertools import pairwise

import pytest
from langfuse_reading import Reading, reading
from langfuse_server import (
    CONTRACTS,
    Fault,
    Langfuse,
    Request,
    authorization,
    iso,
    observation,
    score,
    seconds,
    trace,
)

from exporters.sources import SourceError
from exporters.sources.langfuse import memory
from exporters.sources.langfuse.surfaces import Surface
from exporters.sources.langfuse.walks import TIERS

NOW = 1_770_000_000.0
DAY = 86_400.0
OLDER, NEWER = "3.225.3", "4.35.0"
VERSIONS = tuple(CONTRACTS["versions"])
each_version = pytest.mark.parametrize("version", VERSIONS)
each_surface = pytest.mark.parametrize("version", [OLDER, NEWER])


class Clock:
    """The server's time, which its replies tell the client."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def project_at(version: str, clock: Clock) -> Langfuse:
    found = Langfuse(version)
    found.clock = clock
    return found


def lists_of(project: Langfuse, path: str) -> list[Request]:
    return [request for request in project.requests if request.path == path and request.get("limit") != "1"]


# Which surface is read.


@each_version
def test_the_surface_is_found_by_asking_the_newer_one(version: str) -> None:
    project = project_at(version, Clock())
    with reading(project) as found:
        found.on()
    newer = version.startswith("4")
    asked = {request.path for request in project.requests}
    assert ("/observations" in asked) is not newer
    assert ("/traces" in asked) is not newer
    scores = {"3.50.0": "/scores", "3.150.0": "/v2/scores"}.get(version, "/v3/scores")
    assert asked & {"/scores", "/v2/scores", "/v3/scores"} == {scores}


def test_that_the_older_list_answers_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of version 4 answers `/observations` with an empty list and status 200."""
    project = project_at(NEWER, Clock())
    project.add(id="call", start=NOW - 600)
    assert project.answer(Request("/observations", [], {"authorization": authorization()}))[0] == 200
    with reading(project) as found:
        assert found.on().ids == ["call"]


def test_the_older_lists_of_a_server_of_version_4_are_refused() -> None:
    with reading(project_at(NEWER, Clock()), api="v1") as found, pytest.raises(SourceError, match="leave the option"):
        found.on()


def test_a_server_that_is_not_well_is_told_and_asked_again() -> None:
    project = project_at(NEWER, Clock())
    project.add(start=NOW - 600)
    faults = [Fault(503)] * 3
    project.fault = lambda request: faults.pop() if request.path == "/health" and faults else None
    with reading(project) as found:
        with pytest.raises(SourceError, match="HTTP 503"):
            found.on()
        assert faults == []
        _wait_out(found)
        assert len(found.on().spans) == 1


# What is asked for.


def test_no_prompt_no_answer_and_no_metadata_is_fetched() -> None:
    project = project_at(NEWER, Clock())
    project.add(start=NOW - 600)
    with reading(project) as found:
        found.on()
    fields = {name for request in lists_of(project, "/v2/observations") for name in request.get("fields").split(",")}
    assert fields == {"core", "basic", "time", "model", "usage", "prompt", "metrics", "trace_context"}


@each_surface
def test_the_bounds_of_time_are_in_the_filter_which_wins_over_plain_parameters(version: str) -> None:
    project = project_at(version, Clock())
    project.add(start=NOW - 600)
    with reading(project, since=3600) as found:
        found.on()
    paths = ("/observations", "/v2/observations")
    for request in (request for path in paths for request in lists_of(project, path)):
        assert not {"fromStartTime", "toStartTime"} & dict(request.params).keys()
        columns = [(each["column"], each["operator"]) for each in json.loads(request.get("filter"))]
        assert ("startTime", ">=") in columns
        assert columns[0] in [("endTime", ">="), ("endTime", "is null")]


def test_a_server_without_filters_is_read_by_the_start_up_to_a_fixed_time() -> None:
    project = project_at("3.50.0", Clock())
    for number in range(250):
        project.add(id=f"call-{number}", traceId=f"trace-{number}", start=NOW - 600 + number)
    with reading(project, since=3600) as found:
        assert len(found.on().spans) == 250
    pages = lists_of(project, "/observations")
    assert [request.get("page") for request in pages[:3]] == ["1", "2", "3"]
    assert len({(request.get("fromStartTime"), request.get("toStartTime")) for request in pages[:3]}) == 1


@pytest.mark.parametrize(("version", "most"), [(OLDER, 100), (NEWER, 1000)])
def test_pages_are_as_large_as_the_server_gives_them_and_no_larger(version: str, most: int) -> None:
    project = project_at(version, Clock())
    with reading(project, since=3600) as found:
        found.on()
    path = "/v2/observations" if most == 1000 else "/observations"
    assert {request.get("limit") for request in lists_of(project, path)} == {str(most)}
    assert {request.get("limit") for request in lists_of(project, "/v3/scores")} == {"100"}


# Pages.


@pytest.mark.parametrize("length", [0, 1, 3])
def test_short_and_empty_pages_with_a_cursor_are_not_the_end(length: int) -> None:
    """Only a missing cursor is (Langfuse's changelog of 2026-11-03)."""
    project = project_at(NEWER, Clock())
    for number in range(20):
        project.add(id=f"call-{number:02}", traceId=f"trace-{number}", start=NOW - 600 + number)
    asked = []

    def short(rows: int) -> int:
        asked.append(rows)
        return min(length, rows) if len(asked) % 2 else min(2, rows)

    project.short = short
    with reading(project, since=3600) as found:
        assert sorted(found.on().ids) == [f"call-{number:02}" for number in range(20)]


@each_surface
def test_slices_are_read_the_oldest_first(version: str) -> None:
    project = project_at(version, Clock())
    for day in range(40):
        project.add(id=f"call-{day}", traceId=f"trace-{day}", start=NOW - DAY * (40 - day))
    with reading(project) as found:
        assert len(found.on().spans) == 40
    path = "/observations" if version == OLDER else "/v2/observations"
    windows = [_window(request) for request in lists_of(project, path) if "is null" not in request.get("filter")]
    assert len(windows) > 5
    assert windows == sorted(windows)
    assert all(earlier[1] in (later[0], later[1]) for earlier, later in pairwise(windows))


def test_rows_that_move_to_another_page_while_it_is_read_are_not_lost() -> None:
    """The older lists have numbered pages: a row that goes moves those behind it past us."""
    project = project_at(OLDER, Clock())
    for number in range(250):
        project.add(id=f"call-{number:03}", traceId=f"trace-{number}", start=NOW - 600 + number)

    def vanish(request: Request) -> None:
        if request.path == "/observations" and request.get("page") == "2":
            # The newest is deleted between two pages: the first of page 2 is now the last of page 1.
            project.observations = [row for row in project.observations if row["id"] != "call-249"]

    project.fault = vanish
    with reading(project, since=3600) as found:
        brought = found.on()
    assert set(brought.ids) >= {f"call-{number:03}" for number in range(249)}
    assert brought.bad == {}


# Late, twice, changed.


@each_version
def test_a_span_that_lasted_an_hour_is_found_though_what_began_after_it_was_read_long_ago(version: str) -> None:
    clock = Clock()
    project = project_at(version, clock)
    project.add(id="short", traceId="other", start=NOW - 300)
    with reading(project, since=3600) as found:
        assert found.on().ids == ["short"]
        clock.at += 3600
        # Spans are exported when they end: seen an hour after it began.
        project.add(id="long", start=NOW - 60, end=NOW + 3540)
        assert found.on().ids == ["long"]


@each_surface
@pytest.mark.parametrize("late", [100, 600, 900])
def test_a_row_that_comes_up_to_15_minutes_late_is_found(version: str, late: float) -> None:
    clock = Clock()
    project = project_at(version, clock)
    project.add(id="late", start=NOW + 60, end=NOW + 61, _at=NOW + 61 + late)
    ids: list[str] = []
    with reading(project, since=3600) as found:
        for _ in range(60):
            ids += found.on().ids
            clock.at += 30
    assert ids == ["late"]


@each_version
def test_a_row_is_brought_once_however_often_it_is_read_again(version: str) -> None:
    clock = Clock()
    project = project_at(version, clock)
    for number in range(10):
        project.add(id=f"call-{number}", start=NOW - 600 + number)
    with reading(project, since=3600) as found:
        assert len(found.on().spans) == 10
        for _ in range(20):
            clock.at += 90
            brought = found.on()
            assert (brought.spans, brought.late) == ([], 0)
        # The whole stretch once more after a restart, which finds nothing new either.
        found.killed()
        assert found.on().spans == []


def test_rows_that_are_sent_again_are_duplicates_in_the_list_and_brought_once() -> None:
    """Version 4 does not deduplicate on read."""
    project = project_at(NEWER, Clock())
    project.observations += [observation(start=NOW - 600)] * 3
    with reading(project, since=3600) as found:
        brought = found.on()
    assert (len(brought.spans), brought.late) == (1, 0)


@each_surface
@pytest.mark.parametrize(
    "change", [{"usageDetails": {"input": 9}}, {"costDetails": {"total": 2.0}}, {"level": "ERROR"}]
)
def test_a_row_that_changes_after_it_was_counted_is_counted_as_such_and_once(version: str, change: dict) -> None:
    clock = Clock()
    project = project_at(version, clock)
    row = project.add(start=NOW - 600, usageDetails={"input": 7}, costDetails={"total": 1.0})
    with reading(project, since=3600) as found:
        assert len(found.on().spans) == 1
        row.update(change)
        # After a restart too: what was brought is remembered with the cursor.
        found.killed()
        clock.at += 60
        brought = found.on()
        assert (brought.spans, brought.late) == ([], 1)
        clock.at += 700
        assert found.on().late == 0


def test_a_duplicate_that_says_something_else_is_a_change_once_not_at_every_reading() -> None:
    clock = Clock()
    project = project_at(NEWER, clock)
    project.add(start=NOW - 600, usageDetails={"input": 7})
    project.add(start=NOW - 600, usageDetails={"input": 8})
    with reading(project, since=3600) as found:
        brought = found.on()
        assert (len(brought.spans), brought.late) == (1, 1)
        for _ in range(3):
            clock.at += 601
            brought = found.on()
            assert (brought.spans, brought.late) == ([], 0)


@pytest.mark.parametrize("version", ["3.50.0", OLDER])
def test_a_row_without_an_end_is_counted_when_it_has_one(version: str) -> None:
    """A server of version 3 replaces rows: one may be seen before its end and its usage are known."""
    clock = Clock()
    project = project_at(version, clock)
    row = project.add(start=NOW - 60, end=None)
    with reading(project, since=3600) as found:
        assert found.on().spans == []
        row |= {"endTime": iso(NOW + 20), "usageDetails": {"input": 5, "output": 1, "total": 6}}
        clock.at += 60
        brought = found.on()
    assert [(span.span_id, span.input_tokens, span.duration) for span in brought.spans] == [("obs-1", 5, 80.0)]
    assert brought.late == 0


@each_version
def test_a_row_that_never_ends_is_given_up_after_the_longest_a_span_may_last(version: str) -> None:
    clock = Clock()
    project = project_at(version, clock)
    project.add(start=NOW - 60, end=None)
    brought = []
    with reading(project, since=3600, age=7200.0) as found:
        for _ in range(10):
            brought += [(clock.at - NOW, span) for span in found.on().spans]
            clock.at += 1200
    assert [(span.span_id, span.error, span.duration) for _, span in brought] == [("obs-1", "no_response", None)]
    assert brought[0][0] >= 7140


def test_a_row_that_was_given_up_and_ends_after_all_is_a_change() -> None:
    clock = Clock()
    project = project_at(NEWER, clock)
    row = project.add(start=NOW - 60, end=None)
    with reading(project, since=3600, age=7200.0) as found:
        assert found.on().spans == []
        clock.at += 7200
        assert [span.error for span in found.on().spans] == ["no_response"]
        row["endTime"] = iso(clock.at)
        clock.at += 60
        brought = found.on()
    assert (brought.spans, brought.late) == ([], 1)


def test_a_score_that_is_given_anew_is_a_change() -> None:
    clock = Clock()
    project = project_at(NEWER, clock)
    given = score(start=NOW - 600, value=0.25)
    project.scores.append(given)
    with reading(project, since=3600) as found:
        assert [span.score for span in found.on().spans] == [0.25]
        given["value"] = 1.0
        clock.at += 601
        brought = found.on()
    assert (brought.spans, brought.late) == ([], 1)


def test_what_is_remembered_of_rows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_ROWS", 5000)
    kept = memory.Memory()
    cursor: dict[str, bytes] = {}
    for second in range(300):
        for row in range(100):
            kept.look(f"{second}/{row}", "mark", NOW + second)
        cursor |= kept.moved(NOW - 3600)
    cursor = {part: value for part, value in cursor.items() if value}
    assert sum(map(len, cursor.values())) == 16 * len(kept._where) <= 16 * 5000
    assert max(map(len, cursor.values())) <= 16 * 2148
    again = memory.Memory()
    again.restore(cursor)
    assert again.look("299/99", "mark", NOW + 300) == "same"
    assert again.look("299/99", "other", NOW + 300) == "changed"
    assert again.look("0/0", "mark", NOW + 300) == "new"


# History.


@pytest.mark.parametrize("version", ["3.50.0", OLDER, NEWER])
def test_a_year_of_history_is_read_in_slices_and_a_kill_costs_at_most_one(version: str) -> None:
    project = project_at(version, Clock())
    for day in range(0, 365, 2):
        project.add(id=f"call-{day:03}", traceId=f"trace-{day}", start=NOW - DAY * (365 - day) + 1)
        project.traces.append(trace(id=f"trace-{day}", start=NOW - DAY * (365 - day)))
    with reading(project) as found:
        ids: list[str] = []
        backlogs: list[int] = []
        for _ in range(100):
            brought = found.on(polls=3)
            ids += brought.ids
            backlogs += brought.backlogs
            if not brought.backlogs[-1] and ids:
                break
            before = len(project.requests)
            found.killed()
        else:
            pytest.fail("no end")
    assert set(ids) == {f"call-{day:03}" for day in range(0, 365, 2)}
    # Read again after a kill: what had come since the last commit, and not more.
    assert len(ids) < 1.5 * len(set(ids))
    assert before < 400
    assert max(backlogs) > 0
    assert backlogs[-1] == 0


@each_version
def test_what_is_older_than_since_is_not_read(version: str) -> None:
    project = project_at(version, Clock())
    for days in (1, 5, 20, 100):
        project.add(id=f"call-{days}", traceId=f"trace-{days}", start=NOW - DAY * days)
        project.scores.append(score(id=f"score-{days}", start=NOW - DAY * days))
    with reading(project, since=10 * DAY) as found:
        assert sorted(found.on().ids) == ["call-1", "call-5", "score:score-1", "score:score-5"]
    times = [value for request in project.requests for name, value in request.params if name.startswith("from")]
    assert all(seconds(value) >= NOW - 11 * DAY for value in times)


def test_the_backlog_falls_while_history_is_read() -> None:
    project = project_at(NEWER, Clock())
    for hour in range(2000):
        project.add(id=f"call-{hour}", traceId=f"trace-{hour}", start=NOW - 3600 * (2000 - hour))
    with reading(project) as found:
        backlogs = found.on().backlogs
    assert max(backlogs) > 500
    assert backlogs[-1] == 0


# Joined with their traces.


@pytest.mark.parametrize("version", [version for version in VERSIONS if version.startswith("3")])
def test_older_rows_take_name_and_release_from_their_trace(version: str) -> None:
    project = project_at(version, Clock())
    project.add(id="root", type="SPAN", name="turn", start=NOW - 600, environment="")
    project.traces.append(trace(start=NOW - 600, name="support", release="1.2", environment="production"))
    with reading(project, since=3600) as found:
        [span] = found.on().spans
    assert (span.kind, span.agent, span.agent_version, span.environment) == ("run", "support", "1.2", "production")


def test_a_trace_that_is_not_found_costs_its_rows_nothing_but_the_name() -> None:
    project = project_at(OLDER, Clock())
    project.add(id="root", type="SPAN", name="turn", start=NOW - 600)
    with reading(project, since=3600) as found:
        [span] = found.on().spans
    assert (span.kind, span.agent) == ("run", "turn")


# Limits and faults.


@pytest.mark.parametrize("header", ["7200", "date"])
def test_a_server_that_asks_for_hours_is_not_asked_again_and_stops_nobody(header: str) -> None:
    clock = Clock(time.time())
    project = project_at(NEWER, clock)
    after = iso_date(clock.at + 7200) if header == "date" else header
    project.fault = lambda _: Fault(429, b"429 - rate limit exceeded", {"Retry-After": after})
    with reading(project) as found:
        assert found.reader.poll().retries == 1
        asked = len(project.requests)
        began = time.monotonic()
        found.client._closed.set()
        found.reader._closed.set()
        batch = found.reader.poll()
        assert time.monotonic() - began < 0.5
        assert "rate limited for another 7" in batch.problem
        assert batch.more  # else half of its history would be taken for all
        assert len(project.requests) == asked
        assert 7000 < found.reader._patience.until - time.monotonic() <= 7201


def test_a_short_pause_is_the_budget_at_work_and_no_trouble() -> None:
    project = project_at(NEWER, Clock())
    project.add(start=NOW - 600)
    faults = [Fault(429, b'{"code":"rate_limited"}', {"Retry-After": "1"})]
    project.fault = lambda _: faults.pop() if faults else None
    with reading(project, since=3600) as found:
        brought = found.on()
    assert (len(brought.spans), brought.retries) == (1, 1)


def test_the_last_request_of_a_window_is_refused_already_and_what_is_left_is_told() -> None:
    """The limiter rejects when nothing remains; the reset is a text of JavaScript's, which is not read."""
    clock = Clock()
    project = project_at(NEWER, clock)
    project.limit_a_minute = 6
    project.add(start=NOW - 600)
    with reading(project, since=3600) as found:
        ids = found.on(polls=2).ids
        assert found.reader.gauges()["agentgauge_source_rate_limit"] == 6
        assert found.reader.gauges()["agentgauge_source_rate_limit_remaining"] == 3
        for _ in range(6):
            ids += found.on(polls=4).ids
            if found.reader._patience.until > time.monotonic():
                clock.at += 61
                found.reader._patience.until = 0.0
        assert ids == ["obs-1"]


@each_surface
@pytest.mark.parametrize("status", [422, 413, 524, 504])
def test_a_server_that_is_asked_for_too_much_is_asked_for_less(version: str, status: int) -> None:
    project = project_at(version, Clock())
    for number in range(300):
        project.add(id=f"call-{number}", traceId=f"trace-{number}", start=NOW - 3000 + 10 * number)

    def overloaded(request: Request) -> Fault | None:
        since, until = _window(request)
        return Fault(status) if until - since > 500 else None

    project.fault = overloaded
    with reading(project, since=3600) as found:
        brought = found.on()
    assert len(set(brought.ids)) == 300
    assert brought.retries >= 3


def test_a_row_that_is_too_large_for_any_page_is_counted_and_left_out() -> None:
    project = project_at(OLDER, Clock())
    for number in range(10):
        project.add(id=f"call-{number}", traceId=f"trace-{number}", start=NOW - 600 + number)
    project.observations[4]["input"] = "x" * 200_000
    with reading(project, since=3600) as found:
        found.client._reply_bytes = 100_000
        brought = found.on()
    assert sorted(brought.ids) == [f"call-{number}" for number in range(10) if number != 4]
    assert brought.bad == {"too_large": 1}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(500), "HTTP 500"),
        (Fault(502, b"<html>bad gateway</html>"), "HTTP 502"),
        (Fault(cut=True), "cut short|half of one"),
        (Fault(200, b"<!DOCTYPE html><title>Log in</title>"), "HTML"),
        (Fault(200, b'{"data": ['), "half of one"),
        (Fault(200, b'{"data": [1, 2], "meta"'), "half of one"),
        (Fault(200, b"[]"), "no list"),
        (Fault(200, b'{"data": [], "meta": {"cursor": 5}}'), "no list"),
        (Fault(200, b'{"data": 5, "meta": {}}'), "no list"),
        (Fault(hang=20), "took too long"),
    ],
)
def test_a_fault_is_tried_again_told_and_nothing_is_lost(fault: Fault, said: str) -> None:
    project = project_at(NEWER, Clock())
    for number in range(5):
        project.add(id=f"call-{number}", start=NOW - 600 + number)
    faults = [fault] * 3
    project.fault = lambda request: faults.pop() if request.path == "/v2/observations" and faults else None
    with reading(project, since=3600) as found:
        found.client._http.timeout = 0.3
        found.reader._surface = _newer_surface()
        with pytest.raises(SourceError, match=said):
            found.on()
        assert faults == []
        _wait_out(found)
        found.reader.seek(found.cursor)
        assert sorted(found.on().ids) == [f"call-{number}" for number in range(5)]


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_keys_are_one_clear_line(status: int) -> None:
    project = project_at(NEWER, Clock())
    project.fault = lambda request: Fault(status) if request.path != "/health" else None
    with reading(project) as found, pytest.raises(SourceError) as told:
        found.on()
    assert "the keys are not accepted" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_cursor_that_the_server_takes_no_longer_costs_its_slice_once_more() -> None:
    project = project_at(NEWER, Clock())
    for number in range(20):
        project.add(id=f"call-{number}", traceId=f"trace-{number}", start=NOW - 600 + number)
    project.short = lambda rows: min(rows, 5)
    refused = []

    def gone(request: Request) -> Fault | None:
        if request.get("cursor") and not refused:
            refused.append(request)
            return Fault(400, b'{"message":"Invalid cursor"}')
        return None

    project.fault = gone
    with reading(project, since=3600) as found:
        assert len(set(found.on().ids)) == 20
    assert len(refused) == 1


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
def test_a_clock_that_is_wrong_is_told_and_the_servers_is_used(skew: float) -> None:
    project = Langfuse(NEWER)
    project.skew = skew
    project.add(start=project.now() - 60)
    with reading(project, since=3600) as found:
        assert len(found.on().spans) == 1
        told = found.reader.gauges()["agentgauge_source_clock_skew_seconds"]
    assert told == pytest.approx(skew, abs=3)


@pytest.mark.parametrize("body", [b"1", b'"text"', b"null", b'{"id": 1}', b'{"id": "a", "startTime": 5}', b"[[]]"])
def test_a_row_that_is_none_is_counted_once_and_stops_nothing(body: bytes) -> None:
    clock = Clock()
    project = project_at(NEWER, clock)
    project.add(id="good", start=NOW - 600)
    page = json.dumps(project.answer(Request("/v2/observations", [], {"authorization": authorization()}))[2].decode())
    whole = json.loads(json.loads(page))
    spoilt = json.dumps({**whole, "data": [*whole["data"], json.loads(body)]}).encode()
    project.fault = lambda request: (
        Fault(200, spoilt) if request.path == "/v2/observations" and "is null" not in request.get("filter") else None
    )
    with reading(project, since=300) as found:
        brought = found.on()
        assert brought.ids == ["good"]
        assert sum(brought.bad.values()) == 1
        clock.at += 601
        assert found.on().bad == {}


def test_every_tier_reads_further_back_and_covers_what_langfuse_says_is_late() -> None:
    assert TIERS[-1].reach >= 20 * 60
    assert [tier.reach for tier in TIERS] == sorted(tier.reach for tier in TIERS)


def _newer_surface() -> Surface:
    return Surface(version=(4, 35, 0), paged=False, scores="/v3/scores")


def _wait_out(found: Reading) -> None:
    """The pause after a failure is over."""
    found.reader._patience.until = 0.0


def _window(request: Request) -> tuple[float, float]:
    if "filter" in dict(request.params):
        bounds = [seconds(each["value"]) for each in json.loads(request.get("filter")) if each["value"]]
        return bounds[0], bounds[1]
    return 0.0, 0.0


def iso_date(at: float) -> str:
    return formatdate(at, usegmt=True)
