"""Spans of tree-shaped stores wait for their trace: names come down, wrappers fall out, runs get what is theirs."""

import pytest
from settling_stage import SETTLES, Stage, agents, call, part, run, span, taken, tool

TRACE = (
    call("c", "p", tokens=7),
    tool("x", "c"),
    part("p", "r"),
    run("r", agent="planner", agent_version="2"),
)


def test_a_trace_is_settled_when_it_is_whole_and_was_quiet() -> None:
    stage = Stage()
    assert stage.read(*TRACE, at=0) == []
    assert stage.read(at=0.9) == []
    counted = stage.read(at=1.0)
    assert agents(counted) == {"c": "planner", "x": "planner", "r": "planner"}
    assert taken(counted) == {"r": (1, 1, 7)}
    assert (stage.settling.waiting, stage.settling.spans, stage.runs.open, stage.rows) == ({}, 0, {}, {})
    assert (stage.repeated, stage.adrift, stage.wrappers) == (0, 0, 0)


def test_a_span_whose_ancestor_does_not_come_waits_as_long_as_is_allowed() -> None:
    stage = Stage()
    assert stage.read(call("c", "r", tokens=7), at=0) == []
    assert stage.read(at=SETTLES - 0.1) == []
    assert agents(stage.read(at=SETTLES)) == {"c": ""}
    assert stage.adrift == 1
    # When the run comes after all, it has what its call took.
    counted = stage.read(run("r", agent="planner"), at=60) + stage.read(at=61)
    assert taken(counted) == {"r": (1, 0, 7)}
    assert (stage.adrift, stage.runs.open) == (1, {})


def test_what_is_read_again_is_not_counted_again() -> None:
    stage = Stage()
    stage.whole(*TRACE)
    before = stage.totals()
    stage.restart()
    assert stage.whole(*TRACE) == []
    assert (stage.totals(), stage.repeated) == (before, 3)


def test_a_late_child_finds_the_agent_of_the_trace_that_was_settled() -> None:
    stage = Stage()
    stage.whole(*TRACE)
    counted = stage.whole(call("late", "p", tokens=1))
    assert agents(counted) == {"late": "planner"}
    assert (stage.adrift, stage.runs.open) == (0, {})


def test_a_trace_without_a_run_is_let_go_at_once() -> None:
    stage = Stage()
    counted = stage.whole(call("a", tokens=1), call("b", tokens=2, trace_id="t2"))
    assert {s.span_id: s.parent_id for s in counted} == {"a": "", "b": ""}
    assert (stage.runs.open, stage.counted) == ({}, {"t": ["a"], "t2": ["b"]})


def test_a_call_that_only_wraps_another_is_not_counted() -> None:
    stage = Stage()
    wrapped = (call("w", "r", tokens=7), part("p", "w"), call("c", "p", tokens=7), run("r", agent="a"))
    counted = stage.whole(*wrapped)
    assert agents(counted) == {"c": "a", "r": "a"}
    assert taken(counted) == {"r": (1, 0, 7)}
    assert stage.wrappers == 1


@pytest.mark.parametrize("kind", ["tool", "run"])
def test_a_call_with_a_tool_or_a_run_between_is_a_call_of_its_own(kind: str) -> None:
    counted = Stage().whole(call("w", "r", tokens=7), span(kind, "b", "w"), call("c", "b", tokens=5), run("r"))
    assert sorted(s.span_id for s in counted if s.kind == "inference") == ["c", "w"]
