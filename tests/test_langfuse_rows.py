"""What a row of Langfuse says as a span: types, tokens, costs, errors, names, and rows that say nonsense."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langfuse_server import observation, score

from exporters.sources import Translated
from exporters.sources.langfuse.reader import Project, Settings
from exporters.sources.langfuse.rows import Row, TraceFacts, translate
from exporters.sources.langfuse.usage import Tokens, tokens_of
from exporters.span import Span

START = 1_770_000_000.0


def translated(row: Any, *, environment: str = "", **beside: Any) -> Translated:
    body = row if isinstance(row, bytes) else json.dumps(row).encode()
    return translate([Row(body, **beside)], environment)


def span_of(row: Any, **beside: Any) -> Span:
    made = translated(row, **beside)
    assert (made.bad, made.records) == ({}, 1)
    [span] = made.spans
    return span


@pytest.mark.parametrize(
    ("type_", "parent", "kind"),
    [
        ("GENERATION", "root", "inference"),
        ("GENERATION", None, "inference"),
        ("EMBEDDING", "root", "inference"),
        ("TOOL", "root", "tool"),
        ("TOOL", None, "tool"),
        ("AGENT", "root", "run"),
        ("AGENT", None, "run"),
        ("SPAN", None, "run"),
        ("CHAIN", None, "run"),
        ("SPAN", "root", "part"),
        ("CHAIN", "root", "part"),
        ("RETRIEVER", "root", "part"),
        ("EVALUATOR", "root", "part"),
        ("GUARDRAIL", "root", "part"),
        ("EVENT", "root", "part"),
        ("EVENT", None, "part"),
        ("SOMETHING_NEW", "root", "part"),
    ],
)
def test_a_type_is_a_kind_of_span(type_: str, parent: str | None, kind: str) -> None:
    span = span_of(observation(type=type_, parentObservationId=parent, start=START))
    assert (span.kind, span.ended, span.parent_id) == (kind, True, parent or "")
    assert (span.time, span.duration) == (START + 1, 1.0)


def test_a_root_whose_parent_is_elsewhere_is_a_root() -> None:
    """A caller's span may be the parent, which Langfuse never saw; the newer surface says so."""
    span = span_of(observation(type="SPAN", parentObservationId="at-the-caller", isRootObservation=True))
    assert (span.kind, span.parent_id) == ("run", "")


def test_an_agent_has_its_own_name_and_a_root_that_of_its_trace() -> None:
    assert span_of(observation(type="AGENT", name="planner", traceName="support")).agent == "planner"
    assert span_of(observation(type="SPAN", name="turn", traceName="support")).agent == "support"
    assert span_of(observation(type="SPAN", name="turn"), trace=TraceFacts("support", "1.2")).agent == "support"
    assert span_of(observation(type="SPAN", name="turn")).agent == "turn"
    # Whose call it is, the stage that knows the whole trace says.
    assert span_of(observation(parentObservationId="root", traceName="support")).agent == ""


def test_the_release_is_the_agents_version() -> None:
    assert span_of(observation(type="AGENT", release="1.2", version="7")).agent_version == "1.2"
    assert span_of(observation(type="AGENT"), trace=TraceFacts("support", "1.3")).agent_version == "1.3"
    assert span_of(observation(type="AGENT", version="7")).agent_version == "7"


def test_the_rows_environment_wins_over_the_option() -> None:
    assert span_of(observation(environment="staging"), environment="production").environment == "staging"
    assert span_of(observation(environment=None), environment="production").environment == "production"


def test_the_model_is_under_either_name() -> None:
    assert span_of(observation(model="gpt-4o")).model == "gpt-4o"
    assert span_of(observation(providedModelName="gpt-4o")).model == "gpt-4o"


def test_a_tool_a_prompt_and_the_first_token() -> None:
    assert span_of(observation(type="TOOL", name="search")).tool == "search"
    call = span_of(observation(promptName="greeting", promptVersion=3, timeToFirstToken=0.25))
    assert (call.prompt, call.prompt_version, call.time_to_first_chunk, call.streaming) == ("greeting", "3", 0.25, True)
    call = span_of(observation(start=START, completionStartTime="2026-02-02T02:40:00.500Z"))
    assert call.time_to_first_chunk == 0.5
    assert span_of(observation()).streaming is False


def test_an_error_is_of_a_closed_set_and_its_text_goes_nowhere() -> None:
    span = span_of(observation(level="ERROR", statusMessage="RateLimitError: canary"))
    assert span.error == "rate_limited"
    assert "canary" not in str(span)
    assert span_of(observation(level="WARNING", statusMessage="429")).error == ""
    assert span_of(observation(level="ERROR")).error == "_OTHER"


def test_prompts_answers_and_users_are_in_no_span() -> None:
    assert "canary" not in str(span_of(observation()))
    assert "canary" not in str(span_of(score(), is_score=True))


@pytest.mark.parametrize(
    ("details", "tokens"),
    [
        ({"input": 100, "output": 20, "total": 120}, Tokens(100, 20)),
        ({"input": 100, "output": 20}, Tokens(100, 20)),
        # Keys that are apart from each other, as they should be: 100 fresh, 80 cached.
        ({"input": 100, "output": 20, "input_cached_tokens": 80, "total": 200}, Tokens(180, 20, 80)),
        ({"input": 100, "output": 20, "input_cached_tokens": 80}, Tokens(180, 20, 80)),
        # The total says that the cached ones are among the 100 (issues 5312, 5568, 10592 of Langfuse).
        ({"input": 100, "output": 20, "input_cached_tokens": 80, "total": 120}, Tokens(100, 20, 80)),
        ({"input": 100, "output": 20, "output_reasoning_tokens": 15, "total": 120}, Tokens(100, 20, reasoning=15)),
        ({"input": 100, "output": 5, "output_reasoning": 15, "total": 120}, Tokens(100, 20, reasoning=15)),
        (
            {"input": 100, "output": 20, "input_cache_read": 80, "output_reasoning_tokens": 15, "total": 120},
            Tokens(100, 20, 80, reasoning=15),
        ),
        # Anthropic's own names do not begin with `input`, and are input all the same.
        (
            {"input": 10, "output": 5, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200},
            Tokens(1210, 5, 1000, 200),
        ),
        (
            {"input": 10, "output": 5, "input_cache_creation_5m": 7, "input_cache_creation_1h": 8},
            Tokens(25, 5, cache_write=15),
        ),
        ({"input_cache_read": 30, "output": 5}, Tokens(30, 5, 30)),
        ({"input": 10, "output": 5, "input_audio_tokens": 4, "output_audio_tokens": 2}, Tokens(14, 7)),
        ({"input": 10, "output": 5, "cached_content_token_count": 90}, Tokens(100, 5, 90)),
        # The same number under two names, and once more below `details` (issue 16489).
        ({"input": 10, "prompt_tokens": 10, "output": 5, "completion_tokens": 5}, Tokens(10, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Tokens(10, 5)),
        ({"input": 10, "output": 5, "prompt_tokens_details.cached_tokens": 8}, Tokens(10, 5)),
        ({"total": 50}, Tokens(unsplit=50)),
        ({"input": 10}, Tokens(10)),
        ({"seconds": 3, "images": 1}, Tokens()),
        ({"input": "10", "output": 5.0}, Tokens(10, 5)),
        ({"input": None, "output": "many"}, Tokens()),
        ({}, Tokens()),
        (None, Tokens()),
    ],
)
def test_usage_keys_are_sorted_into_tokens(details: dict[str, Any] | None, tokens: Tokens) -> None:
    assert tokens_of(details) == tokens


def test_what_older_servers_write_for_unknown_is_not_nothing() -> None:
    old = {"promptTokens": 0, "completionTokens": 0, "totalTokens": 0}
    unknown = span_of(observation(usageDetails={}, **old))
    assert (unknown.input_tokens, unknown.output_tokens, unknown.unsplit_tokens) == (None, None, None)
    known = span_of(observation(usageDetails={}, promptTokens=7, completionTokens=2, totalTokens=9))
    assert (known.input_tokens, known.output_tokens) == (7, 2)
    # Said as such, nothing is nothing.
    nothing = span_of(observation(usageDetails={"input": 0, "output": 0, "total": 0}))
    assert (nothing.input_tokens, nothing.output_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("columns", "cost"),
    [
        ({"costDetails": {"input": 0.25, "output": 0.5, "total": 0.75}}, 0.75),
        ({"costDetails": {"input": 0.25, "output": 0.5}}, 0.75),
        ({"costDetails": {"total": 0.0}}, 0.0),
        ({"costDetails": {}, "totalCost": 0.5}, 0.5),
        ({"costDetails": {}, "calculatedTotalCost": "0.5"}, 0.5),
        # A row without a price: unknown, not free.
        ({"costDetails": {}, "totalCost": 0, "calculatedTotalCost": None}, None),
        ({"costDetails": None}, None),
    ],
)
def test_a_cost_is_what_was_reported_and_unknown_is_not_free(columns: dict[str, Any], cost: float | None) -> None:
    assert span_of(observation(**columns)).cost == cost


def test_prices_that_are_written_as_text_do_no_harm() -> None:
    assert span_of(observation(inputPrice="0.0001", outputPrice="0.0002", totalPrice=None)).kind == "inference"


@pytest.mark.parametrize(
    ("row", "value"),
    [
        (score(value=0.75), 0.75),
        (score(value=True, dataType="BOOLEAN"), 1.0),
        (score(value=0, dataType="BOOLEAN", stringValue="False"), 0.0),
        # A category is no number, whatever the older list maps it to.
        (score(value="good", dataType="CATEGORICAL"), None),
        (score(value=0, dataType="CATEGORICAL", stringValue="good"), None),
        (score(value="text", dataType="TEXT"), None),
        (score(value="", dataType="CORRECTION"), None),
    ],
)
def test_a_score_is_a_number_or_none(row: Any, value: float | None) -> None:
    span = span_of(row, is_score=True)
    assert (span.kind, span.score_name, span.score) == ("score", "helpfulness", value)


def test_a_score_below_zero_is_counted_as_one_that_is_left_out() -> None:
    """The sum of a histogram may not fall."""
    assert translated(score(value=-1), is_score=True).bad == {"negative_score": 1}


@pytest.mark.parametrize(
    ("columns", "place"),
    [
        ({"traceId": "t", "observationId": "o"}, ("t", "o")),
        ({"traceId": None, "subject": {"kind": "trace", "id": "t"}}, ("t", "")),
        ({"traceId": None, "subject": {"kind": "observation", "id": "o", "traceId": "t"}}, ("t", "o")),
        ({"traceId": None, "subject": {"kind": "session", "id": "s"}}, ("score:s", "")),
        ({"traceId": None, "sessionId": "s"}, ("score:s", "")),
        ({"traceId": None}, ("score:score-1", "")),
    ],
)
def test_a_score_is_of_a_trace_a_call_a_session_or_nothing(columns: dict[str, Any], place: tuple[str, str]) -> None:
    span = span_of(score(**columns), is_score=True)
    assert (span.trace_id, span.parent_id, span.span_id) == (*place, "score:score-1")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{", "json"),
        (b"[]", "not_an_object"),
        (b"17", "not_an_object"),
        (b"{}", "missing_field"),
        ({"id": "a", "startTime": "yesterday"}, "timestamp"),
        ({"id": "a", "startTime": "1969-12-31T23:59:59Z"}, "timestamp"),
        ({"id": "a", "startTime": "2100-01-01T00:00:00Z"}, "timestamp"),
        ({"id": 5, "startTime": "2026-01-01T00:00:00Z"}, "wrong_type"),
        (observation(id="i" * 2000), "id_too_long"),
        (observation(usageDetails={"input": -1}), "out_of_range"),
        (observation(usageDetails={"input": 2**60}), "out_of_range"),
        (observation(costDetails={"total": -0.5}), "out_of_range"),
        (
            b'{"id":"a","startTime":"2026-01-01T00:00:00Z","type":"GENERATION","usageDetails":{"input":1e400}}',
            "out_of_range",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_with_its_reason(row: Any, reason: str) -> None:
    made = translated(row)
    assert (made.spans, made.bad) == ([], {reason: 1})


def test_a_prompt_that_is_no_text_does_not_cost_its_row() -> None:
    row = json.dumps(observation(name="call")).replace('"prompt-canary"', '"\\ud800"').encode()
    assert span_of(row).span_id == "obs-1"
    row = json.dumps(observation(type="TOOL", name="NAME")).replace("NAME", "\\ud83d tool").encode()
    assert span_of(row).tool == "? tool"


_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(["1950-01-01T00:00:00Z", "2500-01-01T00:00:00.000Z", "\ud800", "x" * 3000, "NaN", "-1", "ERROR"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=8,
)
_columns = st.sampled_from(
    [*observation(), *score(), "providedModelName", "calculatedTotalCost", "subject", "promptTokens"]
)


# The first text takes a while to make where other processes are at work.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(_columns, _anything, max_size=6), st.lists(_columns, max_size=3), st.booleans())
def test_hostile_rows_are_spans_or_counted_and_nothing_is_raised(
    columns: dict[str, Any], missing: list[str], is_score: bool
) -> None:
    row = {**(score() if is_score else observation()), **columns}
    for name in missing:
        row.pop(name, None)
    made = translated(json.dumps(row).encode(), is_score=is_score)
    assert len(made.spans) + sum(made.bad.values()) == made.records == 1
    for span in made.spans:
        assert 0 <= span.time < 4_102_444_800
        assert max(len(span.trace_id), len(span.span_id), len(span.agent), len(span.model)) <= 1024
        assert all(number is None or number >= 0 for number in (span.input_tokens, span.output_tokens, span.cost))
        assert span.duration is None or span.duration >= 0
        span.model.encode()


class OnePage:
    """A client whose server has one page of rows, whatever is asked."""

    origin = "http://nowhere"
    skew, remaining, limit = 0.0, None, None

    def __init__(self, rows: list[Any]) -> None:
        self._page = json.dumps({"data": rows, "meta": {}}).encode()
        self._asked = 0

    def now(self) -> float:
        return START

    def get(self, path: str, params: Any = (), *, keyed: bool = True) -> bytes:
        if path == "/health":
            return b'{"status":"OK","version":"4.35.0"}'
        self._asked += "filter" in dict(params) and "is null" not in dict(params)["filter"]
        return self._page if "filter" in dict(params) and self._asked == 1 else b'{"data":[],"meta":{}}'

    def close(self) -> None:
        """Nothing is open."""


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(_columns, _anything, max_size=4) | _anything, max_size=5))
def test_a_page_of_hostile_rows_is_read_whole(hostile: list[Any]) -> None:
    rows = [{**observation(), **row} if isinstance(row, dict) else row for row in hostile]
    rows.append(observation(id="sound"))
    reader = Project(OnePage(rows), Settings(since=60.0))  # type: ignore[arg-type]
    reader.seek({})
    made = Translated(spans=[], records=0, bad={})
    for _ in range(20):
        batch = reader.poll()
        found = translate(batch.records)
        made.spans += found.spans
        made.records += found.records
        for reason, count in found.bad.items():
            made.bad[reason] = made.bad.get(reason, 0) + count
        if not batch.more:
            break
    else:
        pytest.fail("it is never read whole")
    assert len(made.spans) + sum(made.bad.values()) == made.records
    # What is left out has no end yet, or is there twice.
    assert made.records <= len(rows)
    assert "sound" in {span.span_id for span in made.spans}


@given(st.binary(max_size=200))
def test_bytes_that_are_no_row_are_counted(body: bytes) -> None:
    made = translated(body)
    assert len(made.spans) + sum(made.bad.values()) == 1


def test_a_row_that_is_nested_deeply_is_a_row() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    row = json.dumps(observation(input="DEEP")).replace('"DEEP"', deep).encode()
    made = translated(row)
    assert len(made.spans) + sum(made.bad.values()) == 1
