"""What a tree of spans becomes: names come down, wrappers fall out, runs get what is theirs, in any order of coming."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from settling_stage import Stage, agents, call, part, run, score, span, taken, tool

from exporters.span import Span


def usage(spans: list[Span]) -> dict[str, int | None]:
    """The input tokens of each model call; of usage without a call too."""
    return {f"{s.span_id}{'*' * s.usage_only}": s.input_tokens for s in spans if s.kind == "inference"}


# Names.


def test_calls_and_tools_have_the_name_of_the_nearest_ancestor_that_has_one() -> None:
    counted = Stage().whole(
        run("top", agent="Top", agent_version="1", environment="production"),
        call("c1", "step", agent="Own"),
        part("step", "top"),
        tool("delegate", "step"),
        run("inner", "delegate", agent="Inner", agent_version="7"),
        tool("t2", "inner"),
        call("c2", "t2"),
        run("nameless", "inner"),
        call("c3", "nameless"),
        part("crew", "top", agent="Crew", environment="test"),
        call("c4", "crew"),
    )
    assert {s.span_id: (s.agent, s.agent_version, s.environment) for s in counted} == {
        "top": ("Top", "1", "production"),
        "c1": ("Own", "", "production"),
        "delegate": ("Top", "1", "production"),
        "inner": ("Inner", "7", "production"),
        "t2": ("Inner", "7", "production"),
        "c2": ("Inner", "7", "production"),
        # A run has a name of its own or none.
        "nameless": ("", "", "production"),
        "c3": ("Inner", "7", "production"),
        "c4": ("Crew", "", "test"),
    }


def test_a_call_has_the_prompt_of_the_nearest_ancestor_that_has_one() -> None:
    counted = Stage().whole(
        part("p", prompt="greet", prompt_version="3"),
        call("c1", "p"),
        call("c2", "p", prompt="part"),
        tool("t", "p"),
    )
    assert {s.span_id: (s.prompt, s.prompt_version) for s in counted} == {
        "c1": ("greet", "3"),
        "c2": ("part", ""),
        "t": ("", ""),
    }


def test_what_is_handed_on_hangs_on_the_nearest_run() -> None:
    counted = Stage().whole(
        run("top"),
        part("p", "top"),
        tool("t", "p"),
        run("inner", "t"),
        call("c", "inner"),
        tool("x", "c"),
        call("root"),
    )
    assert {s.span_id: s.parent_id for s in counted} == {
        "top": "", "t": "top", "inner": "top", "c": "inner", "x": "inner", "root": "",
    }  # fmt: skip


# Runs.


def test_a_call_belongs_to_the_nearest_run_above_it() -> None:
    counted = Stage().whole(
        run("outer"),
        call("c1", "outer", tokens=1),
        tool("delegate", "c1"),
        run("inner", "delegate"),
        call("c2", "inner", tokens=100),
        tool("t", "c2"),
        call("c3", "inner", tokens=1000),
        call("c4", "outer", tokens=10),
        run("beside", "outer"),
        call("c5", "beside", tokens=10000),
    )
    assert taken(counted) == {"inner": (2, 1, 1100), "beside": (1, 0, 10000), "outer": (2, 1, 11)}


def test_runs_end_innermost_first_after_calls_in_the_order_of_time() -> None:
    counted = Stage().whole(
        run("outer"),
        run("inner", "outer"),
        call("c2", "outer", at=3.0),
        tool("t", "inner", at=2.0),
        call("c1", "inner", at=1.0),
    )
    assert [s.span_id for s in counted] == ["c1", "t", "c2", "inner", "outer"]


def test_usage_that_a_run_repeats_of_its_calls_is_counted_once() -> None:
    """msgtrace, 9: parent and child may both carry usage."""
    counted = Stage().whole(
        run("top", tokens=30, cost=0.3),
        run("inner", "top", tokens=20),
        part("p", "inner"),
        call("c1", "p", tokens=20),
        call("c2", "top", tokens=10),
    )
    assert usage(counted) == {"c1": 20, "c2": 10}
    assert taken(counted) == {"inner": (1, 0, 20), "top": (1, 0, 10)}


def test_usage_that_only_a_run_has_is_counted_without_a_call() -> None:
    counted = Stage().whole(
        run("top", tokens=42, cost=0.4),
        # Both repeat in `top`.
        run("a", "top", tokens=12, model="gpt-4o-mini"),
        run("b", "top"),
        call("c", "b", tokens=30),
    )
    assert usage(counted) == {"c": 30, "*": 12}
    assert taken(counted) == {"a": (0, 0, 12), "b": (1, 0, 30), "top": (0, 0, 0)}


@pytest.mark.parametrize("restart", [False, True])
def test_usage_of_a_long_run_is_counted_once_though_what_is_within_was_counted_before(restart: bool) -> None:
    stage = Stage()
    stage.read(call("c", "inner", tokens=5), run("inner", "top", tokens=5), at=0)
    assert usage(stage.read(at=10)) == {"c": 5}
    if restart:
        stage.restart()
    counted = stage.read(run("top", tokens=5), at=100) + stage.read(at=101)
    assert usage(counted) == {}
    assert taken(counted) == {"top": (0, 0, 0)}


def test_usage_of_a_run_is_not_counted_when_there_may_be_some_of_it_adrift() -> None:
    stage = Stage()
    stage.read(call("c", "lost", tokens=5), run("top", tokens=5), at=0)
    assert usage(stage.read(at=10)) == {"c": 5}
    stage = Stage()
    stage.read(run("x", "lost", tokens=5), run("top", tokens=9), at=0)
    assert [s.input_tokens for s in stage.read(at=10) if s.usage_only] == [5]


# Calls that wrap calls.


@pytest.mark.parametrize("between", [7, None])
def test_of_calls_that_wrap_each_other_the_innermost_is_the_call(between: int | None) -> None:
    """OTLP: a framework's span of a call has the client library's span of the same call in it."""
    stage = Stage()
    counted = stage.whole(
        run("r", agent="A"),
        call("w1", "r", tokens=9),
        call("w2", "w1", tokens=between),
        part("http", "w2"),
        call("c", "http", tokens=7),
    )
    assert usage(counted) == {"c": 7}
    assert taken(counted) == {"r": (1, 0, 7)}
    assert (stage.wrappers, stage.counted) == (2, {"t": ["w1", "w2", "c", "r"]})
    # Read again, alone, a wrapper is no call either.
    stage.restart()
    assert stage.whole(call("w1", "r", tokens=7)) == []
    assert (stage.wrappers, stage.repeated) == (2, 1)


def test_a_call_that_wraps_several_is_none_of_them() -> None:
    stage = Stage()
    counted = stage.whole(run("r"), call("w", "r", tokens=9), call("c1", "w", tokens=4), call("c2", "w", tokens=5))
    assert usage(counted) == {"c1": 4, "c2": 5}
    assert taken(counted) == {"r": (2, 0, 9)}


@pytest.mark.parametrize("between", ["tool", "run"])
def test_a_call_with_a_tool_or_a_run_between_is_a_call_of_its_own(between: str) -> None:
    stage = Stage()
    counted = stage.whole(
        call("c1", "r", tokens=7), span(between, "b", "c1"), part("p", "b"), call("c2", "p", tokens=5), run("r")
    )
    assert usage(counted) == {"c1": 7, "c2": 5}
    assert stage.wrappers == 0


@pytest.mark.parametrize("wrapper", ["w1", "w2"])
def test_usage_that_only_a_wrapper_has_is_that_of_the_one_call_within(wrapper: str) -> None:
    stage = Stage()
    counted = stage.whole(
        run("r"),
        call("w1", "r", tokens=7 if wrapper == "w1" else None),
        call("w2", "w1", tokens=7 if wrapper == "w2" else None),
        call("c", "w2", model=""),
    )
    assert usage(counted) == {"c": 7}
    assert [s.model for s in counted if s.kind == "inference"] == ["gpt-4o-mini"]
    assert taken(counted) == {"r": (1, 0, 7)}


def test_usage_that_only_a_wrapper_of_several_has_is_counted_without_a_call() -> None:
    stage = Stage()
    counted = stage.whole(run("r"), call("w", "r", tokens=7), call("c1", "w"), call("c2", "w"))
    assert usage(counted) == {"w*": 7, "c1": None, "c2": None}
    # Each of its calls is without usage, so what the run took is not known for certain.
    assert taken(counted) == {"r": (2, 0, None)}
    assert stage.wrappers == 1
    stage.restart()
    before = stage.totals()
    stage.whole(call("w", "r", tokens=7), call("c1", "w"))
    assert stage.totals() == before


def test_a_wrapper_that_comes_late_is_no_call() -> None:
    stage = Stage()
    stage.read(call("c", "p", tokens=7), at=0)
    assert usage(stage.read(at=10)) == {"c": 7}
    stage.read(part("p", "w"), at=11)
    stage.read(at=21)
    counted = stage.read(call("w", "r", tokens=7), run("r"), at=22) + stage.read(at=23)
    assert usage(counted) == {}
    assert taken(counted) == {"r": (1, 0, 7)}
    assert (stage.wrappers, stage.runs.traces.open) == (1, {})


@pytest.mark.parametrize("known", [7, None])
def test_what_comes_late_within_a_call_that_was_counted_is_not_another(known: int | None) -> None:
    """As when a proxy tells of the call that it passed on after the client has told of it."""
    stage = Stage()
    assert usage(stage.whole(call("w", tokens=known))) == {"w": known}
    counted = stage.read(part("p", "w"), call("c", "p", tokens=7), at=3) + stage.read(at=4)
    assert usage(counted) == ({} if known else {"c*": 7})
    counted = stage.read(call("c2", "p", tokens=7), at=5) + stage.read(at=6)
    assert usage(counted) == {}
    assert stage.wrappers == 2


def test_a_wrapper_that_is_read_again_stays_one() -> None:
    stage = Stage()
    stage.whole(call("w", tokens=7), call("c", "w", tokens=7))
    stage.whole(call("w", tokens=7))
    counted = stage.read(call("c2", "w", tokens=1), at=3) + stage.read(at=4)
    assert usage(counted) == {"c2": 1}


# In any order.

SMALL = (
    run("r", agent="A", tokens=12),
    part("p", "r", agent="B"),
    call("w", "p", tokens=7),
    call("c", "w", tokens=7),
    run("inner", "p"),
    tool("x", "inner"),
)


def test_a_small_trace_is_the_same_in_every_order() -> None:
    whole = Stage()
    whole.whole(*SMALL)
    assert taken(whole.spans) == {"r": (1, 0, 7), "inner": (0, 1, 0)}
    for order in permutations(SMALL):
        stage = Stage()
        for one in order:
            stage.read(one, live=False)
        stage.end()
        assert (stage.totals(), agents(stage.spans)) == (whole.totals(), agents(whole.spans))


@st.composite
def traces(draw: st.DrawFn, kinds: tuple[str, ...] = ("inference", "tool", "run", "part", "score")) -> list[Span]:
    """The spans of a few whole traces, parents first."""
    spans: list[Span] = []
    for trace in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 9))
        for number in range(size):
            kind = draw(st.sampled_from([kind for kind in kinds if number or kind != "score"]))
            parent = str(draw(st.integers(0, number - 1))) if number else ""
            if parent and any(s.kind == "score" and s.span_id == parent and s.trace_id == f"t{trace}" for s in spans):
                parent = "0"
            tokens = draw(st.sampled_from([None, 1, 10])) if kind in ("inference", "run", "part") else None
            found = span(
                kind,
                str(number),
                parent,
                # Each at a time of its own: what ends at once may be counted in either order.
                at=float(100 * trace + size - number),
                trace_id=f"t{trace}",
                agent=draw(st.sampled_from(["", "", "A", "B"])),
                environment=draw(st.sampled_from(["", "", "test"])),
                duration=1.0,
            )
            if tokens is not None:
                found.input_tokens, found.output_tokens = tokens, 0
            if kind == "score":
                found.score_name, found.score = "quality", 0.5
            if kind == "tool":
                found.tool = "search"
            spans.append(found)
    return spans


def batches(draw: st.DrawFn, spans: list[Span]) -> list[list[Span]]:
    order = draw(st.permutations(spans))
    cuts = sorted(draw(st.sets(st.integers(0, len(order)), max_size=4)))
    return [order[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]


@settings(deadline=None)
@given(spans=traces(), data=st.data())
def test_any_order_and_any_batches_with_crashes_between_give_the_same_totals(
    spans: list[Span], data: st.DataObject
) -> None:
    whole = Stage()
    whole.whole(*spans)
    stage = Stage()
    for number, batch in enumerate(batches(data.draw, spans)):  # type: ignore[arg-type]
        at = 0.1 * number
        if data.draw(st.booleans()):
            stage.read(*batch, at=at, commit=False)
            stage.restart()
        stage.read(*batch, at=at)
        if data.draw(st.booleans()):
            stage.restart()
    stage.end()
    assert stage.totals() == whole.totals()
    assert (stage.wrappers, stage.adrift, stage.repeated) == (whole.wrappers, 0, 0)
    assert (stage.settling.waiting, stage.rows, stage.runs.traces.open) == ({}, {}, {})


@settings(deadline=None)
@given(spans=traces(kinds=("tool", "run", "part", "score")), data=st.data())
def test_whatever_comes_too_late_is_counted_and_once(spans: list[Span], data: st.DataObject) -> None:
    """Batches come so far apart that nothing waits for the next."""
    calls = [call(f"c{number}", s.span_id, trace_id=s.trace_id, tokens=1) for number, s in enumerate(spans[::2])]
    told = [s for s in spans if s.kind != "score"] + [c for c in calls if c.parent_id != "score"]
    for one in told:
        if one.kind in ("run", "part"):
            one.input_tokens = one.output_tokens = None
    stage, at = Stage(), 0.0
    for batch in batches(data.draw, told):  # type: ignore[arg-type]
        stage.read(*batch, at=at)
        if data.draw(st.booleans()):
            stage.restart()
        # Some of it again, as where a window overlaps the last.
        stage.read(*batch[:2], at=at)
        at += data.draw(st.sampled_from([0.5, 2.0, 20.0]))
    stage.end()
    counted = sorted((s.trace_id, s.span_id) for s in stage.spans)
    assert counted == sorted((s.trace_id, s.span_id) for s in told if s.kind != "part")
    assert sum(s.input_tokens or 0 for s in stage.spans if s.kind == "inference") == len(calls)
    assert stage.rows == {}


def test_what_was_counted_is_looked_up_for_a_run_that_began_before_the_newest_of_it() -> None:
    asked: list[str] = []

    class Asked(dict[str, list[str]]):
        def get(self, trace_id: str, *default: Any) -> Any:
            if not default:  # not by the stage itself
                asked.append(trace_id)
            return super().get(trace_id, *default)

    stage = Stage()
    stage.counted = Asked()
    stage.restart()
    stage.whole(run("a", at=5.0, trace_id="first"))
    stage.whole(run("b", at=9.0, duration=3.0, trace_id="behind it"))
    stage.whole(run("c", at=9.5, duration=3.0, trace_id="across"))
    assert asked == ["across"]


def test_a_part_with_usage_is_no_call() -> None:
    counted = Stage().whole(part("p", input_tokens=5), call("c", "p", tokens=5), score("s", "p"))
    assert usage(counted) == {"c": 5}
