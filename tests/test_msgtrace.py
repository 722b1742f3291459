"""msgtrace: what its rows mean, every pitfall of the store, its own sums, and rows that mean harm."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgtrace_store import CHAT, START, Store
from settling_stage import SETTLES, Stage

from exporters.sources import Source, SourceError, Sums, open_source
from exporters.sources.msgtrace.sums import sums_of
from exporters.sources.msgtrace.translation import translate
from exporters.span import ERROR_TYPES, Span

AGENT = {"gen_ai.operation.name": "agent", "gen_ai.agent.name": "planner"}
# The names that msgtrace's own pages read.
MODULE = {
    "msgflux.nn.module.name": "Predictor",
    "llm.model": "gpt-4o-mini",
    "llm.usage.prompt_tokens": 412,
    "llm.usage.completion_tokens": 96,
    "llm.cost.total": 0.0021,
}
WORKFLOW = {"msgflux.workflow.name": "Predictor", "msgflux.version": "0.1.0a19"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "msgtrace.db")
    yield found
    found.close()


@pytest.fixture
def source(store: Store) -> Iterator[Source]:
    found = open_source(f"msgtrace://{store.path}")
    found.reader.seek({})
    yield found
    found.reader.close()


def spans(source: Source) -> list[Span]:
    """What is new, as the source tells it; all of it is fine."""
    found = source.spans(source.reader.poll().records)
    assert found.bad == {}
    return found.spans


def one(source: Source) -> Span:
    [span] = spans(source)
    return span


# What a row means.


def test_the_rows_of_the_published_server_mean_what_they_say(store: Store, source: Source) -> None:
    store.span("m", MODULE, parent="w", name="Module Initialized", times=(0.1, 1.3), status="ERROR",
               description="RateLimitError: 429", resource={"service.name": "msgflux-telemetry"})  # fmt: skip
    store.span("w", WORKFLOW, name="Workflow Initialized", times=(0.0, 1.375))
    store.span("c", CHAT, trace="u", name="chat_completion", times=(0.0, 0.85), events=[
        {"name": "gen_ai.tool.call", "timestamp": 1, "attributes": {"tool_name": "search"}}])  # fmt: skip
    assert spans(source) == [
        Span("inference", True, "t", "m", "w", START + 1.3, "Predictor", "gpt-4o-mini", operation="chat", duration=1.2,
             error="rate_limited", input_tokens=412, output_tokens=96, cost=0.0021),
        Span("run", True, "t", "w", "", START + 1.375, "Predictor", duration=1.375),
        Span("inference", True, "u", "c", "", START + 0.85, "", "gpt-5", operation="chat", duration=0.85,
             input_tokens=100, output_tokens=50, cost=0.375),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "attributes", "kind", "named"),
    [
        # msgflux 0.1.0a19
        ("Workflow Initialized", WORKFLOW, "run", "Predictor"),
        ("Module Initialized", {"msgflux.nn.module.name": "Agent"}, "part", "Agent"),
        ("Prepare Model Execution", {}, "part", ""),
        ("Tool Usage", {"msgflux.nn.tool.callings": '[{"id":"1","name":"search","parameters":{}}]'}, "tool", "search"),
        # msgtrace-sdk 1.x
        ("chat", {"gen_ai.operation.name": "chat"}, "inference", ""),
        ("embed", {"gen_ai.operation.name": "embedding"}, "inference", ""),
        ("search", {"gen_ai.operation.name": "tool", "gen_ai.tool.name": "search"}, "tool", "search"),
        ("planner", AGENT, "run", "planner"),
        ("trip", {"span.type": "flow"}, "run", "trip"),
        ("step", {"span.type": "module", "module.name": "step"}, "part", "step"),
        # All that is left of spans whose attributes the SDK lost: names and durations.
        ("anything", {}, "part", ""),
    ],
)
def test_spans_of_every_generation_of_clients_are_told_apart(
    store: Store, source: Source, name: str, attributes: Any, kind: str, named: str
) -> None:
    store.span("s", attributes, parent="p", name=name)
    span = one(source)
    assert (span.kind, span.tool if kind == "tool" else span.agent, span.duration) == (kind, named, 1.5)


def test_durations_are_exact_to_the_nanosecond(store: Store, source: Source) -> None:
    store.span("s")
    store.execute("UPDATE spans SET start_time = 1760531001300000001, end_time = 1760531001300000004")
    assert one(source).duration == 3e-9


def test_exceptions_and_evaluations_among_the_events_are_told(store: Store, source: Source) -> None:
    exception = {"name": "exception", "timestamp": 1, "attributes": {"exception.type": "TimeoutError"}}
    score = {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 0.5}
    evaluation = {"name": "gen_ai.evaluation.result", "timestamp": 1, "attributes": score}
    store.span("s", status="ERROR", events=[exception, evaluation, {"name": "exception"}, "exception", 7])
    call, tone = spans(source)
    assert (call.error, tone.kind, tone.score_name, tone.score, tone.parent_id) == (
        "timeout",
        "score",
        "tone",
        0.5,
        "s",
    )


def test_the_environment_is_that_of_the_resource_or_the_option(store: Store) -> None:
    store.span("a", resource={"deployment.environment.name": "prod"})
    store.span("b")
    source = open_source(f"msgtrace://{store.path}?environment=lab")
    source.reader.seek({})
    assert [span.environment for span in spans(source)] == ["prod", "lab"]
    source.reader.close()


# The pitfalls of the store, by their numbers; 1, 5 and 11 are those of reading it: test_msgtrace_rows.py.


def counted(source: Source, stage: Stage, *, at: float = 0.0) -> list[Span]:
    """Read what is new `at` seconds after the beginning; return what is counted then."""
    batch = source.reader.poll()
    found = source.spans(batch.records)
    assert found.bad == {}
    return stage.read(*found.spans, at=at)


def brief(found: list[Span]) -> set[tuple[str, str, str]]:
    return {(span.kind, span.span_id, span.agent) for span in found}


def test_pitfall_2_totals_of_a_trace_are_made_of_its_spans_once_its_root_came_and_it_is_quiet(
    store: Store, source: Source
) -> None:
    stage = Stage()
    store.span("c1", parent="r")
    store.span("c2", parent="r", status="ERROR")
    # The row of the trace says 2 spans, 1 error, and will say something else.
    assert store.execute("SELECT span_count, error_count, root_span_id FROM traces") == [(2, 1, None)]
    assert counted(source, stage) == []
    store.span("r", AGENT, times=(0.0, 4.0))
    counted(source, stage, at=1.0)
    [run] = [span for span in [*stage.spans, *stage.read(at=5.0)] if span.kind == "run" and span.ended]
    assert (run.inference_calls, run.total_tokens, run.duration, run.cost) == (2, 300, 4.0, 0.75)


def test_pitfall_3_children_that_come_before_their_root_get_its_name(store: Store, source: Source) -> None:
    stage = Stage()
    store.span("c", parent="m")
    store.span("m", {"msgflux.nn.module.name": "Writer"}, parent="w", name="Module Initialized")
    store.span("d", parent="w")
    assert counted(source, stage) == []
    store.span("w", WORKFLOW, name="Workflow Initialized", times=(0.0, 3.0))
    found = counted(source, stage, at=3.0) + stage.read(at=5.0)
    assert brief(found) == {("inference", "c", "Writer"), ("inference", "d", "Predictor"), ("run", "w", "Predictor")}


def test_pitfall_4_orphans_of_a_deleted_trace_are_counted_without_a_name(store: Store, source: Source) -> None:
    stage = Stage()
    store.span("c", parent="gone")
    # What the server's DELETE does: the spans stay.
    store.execute("DELETE FROM traces")
    assert counted(source, stage) == []
    assert brief(stage.read(at=SETTLES + 1)) == {("inference", "c", "")}
    # A later span revives the trace, with the old ones counted in it: not by us.
    store.span("d", parent="gone")
    assert store.execute("SELECT span_count FROM traces") == [(2,)]
    assert counted(source, stage, at=20.0) == []
    assert brief(stage.read(at=20.0 + SETTLES + 1)) == {("inference", "d", "")}


def test_pitfall_6_spans_of_two_traces_with_one_id_are_two(store: Store, source: Source) -> None:
    stage = Stage()
    store.span("same", trace="t")
    first = counted(source, stage) + stage.read(at=1.0)
    store.span("same", trace="u")
    assert store.execute("SELECT count(*) FROM spans") == [(1,)]
    second = counted(source, stage, at=2.0) + stage.read(at=3.0)
    assert [span.trace_id for span in (*first, *second)] == ["t", "u"]


@pytest.mark.parametrize(
    ("status", "error"),
    [("UNSET", ""), ("OK", ""), (None, ""), ("error", ""), ("ERROR", "_OTHER")],
)
def test_pitfall_7_only_the_status_of_an_error_is_one(
    store: Store, source: Source, status: str | None, error: str
) -> None:
    store.span("s", status=status)
    assert one(source).error == error


def test_pitfall_8_zero_is_a_number(store: Store, source: Source) -> None:
    store.span("s", {**CHAT, "gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": "0",
                     "gen_ai.usage.cost.input_tokens": 0, "gen_ai.usage.cost.output_tokens": 0})  # fmt: skip
    span = one(source)
    assert (span.input_tokens, span.output_tokens, span.cost) == (0, 0, 0.0)


def test_pitfall_9_usage_that_parents_repeat_is_counted_where_it_was_used(store: Store, source: Source) -> None:
    stage = Stage()
    store.span("leaf", CHAT, parent="wrapper")
    store.span("wrapper", CHAT, parent="agent")
    store.span("agent", {**CHAT, **AGENT})
    found = counted(source, stage) + stage.read(at=1.0)
    used = [(span.kind, span.span_id, span.input_tokens) for span in found if span.kind == "inference"]
    assert [use for use in used if use[2]] == [("inference", "leaf", 100)]
    [run] = [span for span in found if span.kind == "run"]
    assert (run.inference_calls, run.total_tokens) == (1, 150)


def test_pitfall_9_usage_that_only_a_run_has_is_counted(store: Store, source: Source) -> None:
    stage = Stage()
    store.span("agent", {**CHAT, **AGENT})
    found = counted(source, stage) + stage.read(at=1.0)
    assert sum(span.input_tokens or 0 for span in found if span.kind == "inference") == 100


def test_pitfall_10_cost_is_that_of_the_spans_for_the_server_sums_none(store: Store, source: Source) -> None:
    stage = Stage()
    store.span("c", parent="r")
    store.span("d", parent="r")
    store.span("r", AGENT)
    found = counted(source, stage) + stage.read(at=1.0)
    assert [span.cost for span in found if span.kind == "run"] == [0.75]


def test_pitfall_12_a_clients_clock_that_was_set_back_leaves_a_call_without_a_duration(
    store: Store, source: Source
) -> None:
    store.span("s", times=(10.0, 9.0))
    # Ten days behind the server's: still the span's time.
    store.span("u", times=(-864000.0, -863999.0))
    back, behind = spans(source)
    assert (back.duration, back.time, back.input_tokens) == (None, START + 9.0, 100)
    assert (behind.duration, behind.time) == (1.0, START - 863999.0)


def test_pitfall_13_ids_are_whatever_a_bridge_made_of_them(store: Store, source: Source) -> None:
    store.span("7uGbfsPBsXU=", trace="W47/95gDgQPSabYzgT/GDA==", parent="7uGbfsPBsXQ=")
    span = one(source)
    assert (span.trace_id, span.span_id, span.parent_id) == (
        "W47/95gDgQPSabYzgT/GDA==", "7uGbfsPBsXU=", "7uGbfsPBsXQ=",
    )  # fmt: skip


# What cannot be used is counted by its reason, and the rest goes on.


ROW: dict[str, Any] = {
    "number": 1, "span_id": b"s", "trace_id": b"t", "parent_id": None, "name": b"chat", "start": START * 10**9,
    "end": (START + 1) * 10**9, "attributes": json.dumps(CHAT).encode(), "events": b"[]", "status": b"UNSET",
    "description": None, "resource": b"{}",
}  # fmt: skip


def row(**fields: Any) -> tuple[Any, ...]:
    return tuple({**ROW, **fields}.values())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"span_id": None}, "missing_field"),
        ({"trace_id": b""}, "missing_field"),
        ({"trace_id": b"t" * 1025}, "id_too_long"),
        ({"end": None}, "timestamp"),
        ({"end": b"then"}, "timestamp"),
        ({"end": 0}, "timestamp"),
        ({"end": -5}, "timestamp"),
        ({"end": 2**63 - 1}, "timestamp"),
        ({"end": math.nan}, "timestamp"),
        ({"attributes": b"{"}, "json"),
        ({"attributes": b"[" * 100_000}, "json"),
        ({"attributes": b"[]"}, "not_an_object"),
        ({"attributes": b"null7"}, "json"),
        ({"attributes": 7}, "wrong_type"),
        ({"attributes": b'{"gen_ai.usage.input_tokens": -1}'}, "out_of_range"),
        ({"attributes": b'{"gen_ai.usage.input_tokens": NaN}'}, "non_finite"),
        ({"attributes": b'{"gen_ai.usage.input_tokens": 1e400}'}, "non_finite"),
        ({"attributes": b'{"gen_ai.usage.input_tokens": "x"}'}, "wrong_type"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_by_its_reason(fields: dict[str, Any], reason: str) -> None:
    found = translate([row(**fields), row()])
    assert (found.bad, found.records, [span.span_id for span in found.spans]) == ({reason: 1}, 2, ["s"])


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": None},
        {"attributes": b""},
        {"attributes": b"null"},
        {"attributes": b'{"gen_ai.prompt": "\xff\xfe", "x": NaN, "y": "\\ud800"}'},
        {"start": None},
        {"start": "then"},
        {"events": b"exception {"},
        {"events": b'{"exception": 1}'},
        {"events": 7},
        {"resource": b"deployment.environment {"},
        {"resource": b"\xff"},
        {"name": None},
        {"status": 7},
        {"description": 7.5},
        {"parent_id": 12},
        {"end": float((START + 1) * 10**9)},
        {"end": str((START + 1) * 10**9).encode()},
    ],
)
def test_what_is_odd_beside_what_is_needed_costs_no_call(fields: dict[str, Any]) -> None:
    found = translate([row(**fields)])
    assert (found.bad, [span.time for span in found.spans]) == ({}, [START + 1.0])


CELLS = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=20),
    st.sampled_from([b"", b"ERROR", b"s", b"{}", b"[]", b"[" * 5000, START * 10**9, b'{"exception":[', b"Tool Usage"]),
)  # fmt: skip
NAMES = st.sampled_from(
    [
        *CHAT,
        *MODULE,
        *WORKFLOW,
        *AGENT,
        "span.type",
        "msgflux.nn.tool.callings",
        "gen_ai.usage.cost.total",
        "error.type",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["chat", "agent"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@for_all(said=st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=8))
def test_attributes_say_the_same_beside_a_prompt_that_is_long(said: dict[str, Any]) -> None:
    short = translate([row(attributes=json.dumps(said).encode())])
    long = translate([row(attributes=json.dumps({"gen_ai.prompt": "x" * 70_000, **said, "a": [[]]}).encode())])
    assert (long.bad, long.spans) == (short.bad, short.spans)


def test_ids_that_are_no_text_stay_apart() -> None:
    found = translate([row(span_id=b"\xff"), row(span_id=b"\xfe"), row(span_id=7)])
    assert [span.span_id for span in found.spans] == ["\\xff", "\\xfe", "7"]


OBJECTS = st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=8).map(lambda found: json.dumps(found).encode())
EVENTS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["exception", "gen_ai.evaluation.result"]), "attributes": JSON}),
    max_size=2,
).map(lambda found: json.dumps(found).encode())
ROWS = st.fixed_dictionaries(
    {
        "number": st.integers(0),
        "span_id": st.just(b"s") | CELLS,
        "trace_id": st.just(b"t") | CELLS,
        "parent_id": CELLS,
        "name": CELLS,
        "start": CELLS,
        "end": st.just((START + 1) * 10**9) | CELLS,
        "attributes": OBJECTS | CELLS,
        "events": EVENTS | CELLS,
        "status": CELLS,
        "description": CELLS,
        "resource": OBJECTS | CELLS,
    }
)


@settings(max_examples=300)
@for_all(found=ROWS)
def test_whatever_is_in_a_row_it_is_spans_or_one_bad_record(found: dict[str, Any]) -> None:
    translated = translate([tuple(found.values())], "lab")
    assert translated.records == 1
    assert bool(translated.spans) != bool(translated.bad)
    assert sum(translated.bad.values()) in (0, 1)
    for span in translated.spans:
        assert span.ended
        assert 0 < span.time < 4102444800
        assert span.duration is None or span.duration >= 0
        assert span.error == "" or span.error in ERROR_TYPES
        assert all(
            amount is None or 0 <= amount < 2**53 for amount in (span.input_tokens, span.output_tokens, span.cost)
        )
        json.dumps([span.agent, span.model, span.tool, span.trace_id, span.span_id]).encode()


# The store's own sums.


def test_the_stores_own_sums_are_of_the_calls_that_ended_in_a_period(store: Store, source: Source) -> None:
    assert source.sums is not None
    store.span("before", times=(0.0, 9.9))
    store.span("began before", times=(0.0, 10.0))
    store.span("within", MODULE, name="Module Initialized", times=(11.0, 12.0))
    store.span("ends after", times=(19.0, 20.0))
    assert source.sums(START + 10.0, START + 20.0) == Sums(calls=2, input_tokens=512, output_tokens=146, cost=0.3771)
    assert source.sums(START + 30.0, START + 40.0) == Sums(calls=0, input_tokens=0, output_tokens=0, cost=None)


def test_the_stores_own_sums_take_usage_where_it_was_used(store: Store, source: Source) -> None:
    assert source.sums is not None
    store.span("leaf", CHAT, parent="wrapper")
    store.span("wrapper", CHAT, parent="agent")
    store.span("agent", {**CHAT, **AGENT})
    # A call that says nothing of its usage, in one that does.
    store.span("silent", {"gen_ai.operation.name": "chat"}, parent="says it", trace="u")
    store.span("says it", CHAT, trace="u")
    # A run whose calls are not there.
    store.span("alone", {**CHAT, **AGENT}, trace="v")
    # No calls.
    store.span("tool", {"gen_ai.tool.name": "search"}, trace="w")
    store.span("used", {"msgflux.nn.tool.callings": "[]"}, trace="w", name="Tool Usage")
    store.span("http", {"http.request.method": "GET"}, trace="w")
    assert source.sums(START, START + 10.0) == Sums(calls=2, input_tokens=300, output_tokens=150, cost=1.125)


def test_the_stores_own_sums_leave_out_what_is_no_number_and_no_dollar(store: Store, source: Source) -> None:
    assert source.sums is not None
    store.span("euro", {**CHAT, "gen_ai.usage.cost.currency": "EUR"})
    store.span("broken", '{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 1')
    store.span("text", {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": "7"})
    assert source.sums(START, START + 10.0) == Sums(calls=2, input_tokens=107, output_tokens=50, cost=None)


def chat(**said: Any) -> str:
    return json.dumps({"gen_ai.operation.name": "chat", **said})


def test_the_stores_own_sums_are_not_failed_by_attributes_of_any_kind(store: Store, source: Source) -> None:
    assert source.sums is not None
    many = {"gen_ai.usage.input_tokens": 9223372036854775807}
    store.span("one past 64 bits", chat(**many))
    store.span("another, so that their sum is", chat(**many))
    store.span("infinite", '{"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 1e999}')
    store.span("nested", chat(x=0)[:-2] + "[" * 1_100 + "]" * 1_100 + "}")
    store.span("an object for a number", chat(**{"gen_ai.usage.input_tokens": {"a": [1]}}))
    store.span("long", chat(**{"gen_ai.prompt": "x" * 1_000_000, "gen_ai.usage.input_tokens": 5}))
    wide = "".join(f', "a{number}": 0' for number in range(1_000_000))
    store.span("wide", chat(**{"gen_ai.usage.input_tokens": 7})[:-1] + wide + "}")
    # What SQLite does not read as JSON is no call to it.
    store.span("deep", "[" * 100_000 + "]" * 100_000)
    store.span("broken", '{"gen_ai.operation.name": "chat", "x": NaN}')
    store.span("bytes", b"\xff\x00")
    store.span("nothing", "")
    store.execute("UPDATE spans SET attributes = 7 WHERE span_id = 'nothing'")
    store.span("usual")
    assert source.sums(START, START + 10.0) == Sums(calls=8, input_tokens=112, output_tokens=50, cost=0.375)


@pytest.mark.parametrize("column", ["attributes", "name", "trace_id", "parent_span_id", "end_time"])
def test_the_stores_own_sums_leave_out_a_row_that_is_too_long(store: Store, source: Source, column: str) -> None:
    assert source.sums is not None
    store.span("before")
    store.span("long", parent="wrapper")
    store.span("beside it", parent="wrapper")
    store.span("wrapper")
    store.span("alone", {**CHAT, **AGENT}, trace="u")
    store.execute(f"UPDATE spans SET {column} = 'x' || hex(zeroblob(9000000)) WHERE span_id = 'long'")
    # A call, one in a wrapper, and the usage of a run of which nothing else is there.
    assert source.sums(START, START + 10.0) == Sums(calls=2, input_tokens=300, output_tokens=150, cost=1.125)


def test_the_stores_own_sums_of_a_slow_file_are_given_up(store: Store) -> None:
    store.span("s")
    with pytest.raises(SourceError, match=r"msgtrace\.db: its sums took longer than 0 s; copy it to a faster disk"):
        sums_of(store.path, seconds=0.0)(START, START + 10.0)
    assert sums_of(store.path)(START, START + 10.0).calls == 1


@settings(max_examples=40, deadline=None)
@for_all(
    spans_of_store=st.lists(
        st.tuples(
            st.sampled_from([CHAT, MODULE, AGENT, {}, {"gen_ai.tool.name": "x"}, {"gen_ai.operation.name": "chat"}]),
            st.integers(0, 4),
        ),
        max_size=8,
    )
)
def test_what_is_counted_and_what_the_store_sums_agree(
    tmp_path_factory: pytest.TempPathFactory, spans_of_store: list[tuple[dict[str, Any], int]]
) -> None:
    """Chains of one span under another, one trace each, in which a call is right below the call that wraps it."""
    store = Store(tmp_path_factory.mktemp("store") / "msgtrace.db")
    source = open_source(f"msgtrace://{store.path}")
    source.reader.seek({})
    for number, (attributes, depth) in enumerate(spans_of_store):
        store.span(f"{number}.0", AGENT, trace=str(number), times=(0, 2))
        for level in range(1, depth + 1):
            store.span(f"{number}.{level}", attributes, trace=str(number), parent=f"{number}.{level - 1}")
    stage = Stage()
    found = stage.read(*spans(source)) + stage.end()
    calls = [span for span in found if span.kind == "inference"]
    assert source.sums is not None
    sums = source.sums(START, START + 10.0)
    assert sums.calls == sum(not span.usage_only for span in calls)
    assert sums.input_tokens == sum(span.input_tokens or 0 for span in calls)
    assert sums.output_tokens == sum(span.output_tokens or 0 for span in calls)
    reported = sum(span.cost or 0.0 for span in calls if span.cost_source == "reported")
    assert (sums.cost or 0.0) == pytest.approx(reported)
    source.reader.close()
    store.close()
