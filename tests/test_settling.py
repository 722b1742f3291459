"""Spans of tree-shaped stores wait for their trace: until it is whole, or for so long, also over a crash."""

import random
import time

import pytest
from settling_stage import SETTLES, START, Stage, agents, call, part, run, score, span, taken, tool

from exporters import places
from exporters.runs import IDLE_SECONDS
from exporters.settling import SPANS, TRACES
from exporters.span import Span
from exporters.waiting_rows import decode_row

TRACE = (
    call("c", "p", tokens=7),
    tool("x", "c"),
    part("p", "r"),
    run("r", agent="planner", agent_version="2"),
)


# A trace that is whole.


def test_a_trace_is_settled_when_it_is_whole_and_was_quiet() -> None:
    stage = Stage()
    assert stage.read(*TRACE, at=0) == []
    assert stage.read(at=0.9) == []
    counted = stage.read(at=1.0)
    assert agents(counted) == {"c": "planner", "x": "planner", "r": "planner"}
    assert taken(counted) == {"r": (1, 1, 7)}
    assert (stage.settling.waiting, stage.settling.spans, stage.runs.traces.open, stage.rows) == ({}, 0, {}, {})
    assert (stage.repeated, stage.adrift, stage.wrappers) == (0, 0, 0)


def test_a_root_that_comes_first_is_waited_with_for_what_is_below_it() -> None:
    stage = Stage()
    stage.read(TRACE[3], at=0)
    stage.read(TRACE[2], at=0.6)
    stage.read(TRACE[1], TRACE[0], at=1.2)
    assert taken(stage.read(at=2.2)) == {"r": (1, 1, 7)}


def test_a_trace_that_the_end_of_a_batch_cuts_in_two_is_one_while_a_backlog_is_read() -> None:
    stage = Stage()
    for one in (run("r"), part("p", "r"), call("c", "p", tokens=7)):
        assert stage.read(one, live=False) == []
    other = call("other", trace_id="t2")
    assert taken(stage.read(other, live=False)) == {"r": (1, 0, 7)}
    assert agents(stage.read(live=False)) == {"other": ""}


def test_nothing_is_due_while_a_backlog_is_read_for_the_rest_may_be_in_it() -> None:
    stage = Stage()
    stage.read(call("c", "r", tokens=7), at=0, live=False)
    stage.read(at=5 * SETTLES, live=False)
    assert taken(stage.read(run("r"), at=6 * SETTLES, live=False) + stage.read(at=7 * SETTLES)) == {"r": (1, 0, 7)}


def test_the_newest_of_what_a_store_says_of_a_waiting_span_is_counted() -> None:
    """A row that is replaced, as msgtrace and Langfuse do, has more in it."""
    stage = Stage()
    stage.read(call("c", "r"), at=0)
    stage.restart()
    stage.read(call("c", "r", tokens=7), run("r"), at=0.5)
    stage.restart()
    assert taken(stage.read(at=1.5)) == {"r": (1, 0, 7)}
    assert (stage.repeated, stage.rows) == (0, {})


def test_a_waiting_span_that_is_told_of_again_does_not_wait_anew() -> None:
    stage = Stage()
    stage.read(call("c", "gone"), at=0)
    stage.read(call("c", "gone", tokens=7), at=9)
    assert [s.input_tokens for s in stage.read(at=10)] == [7]


def test_an_open_trace_that_was_not_asked_after_is_when_something_older_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "REMEMBERED", 0)
    stage = Stage()
    stage.whole(call("c", at=2.0))
    stage.restart()
    # Newer than all that was counted; and it keeps the trace open, for what it hangs on has not come.
    stage.read(call("d", "gone", at=50.0, duration=0.5), at=60)
    stage.read(at=70)
    assert (list(stage.runs.traces.open), stage.runs.traces.open["t"].unasked) == (["t"], START + 49.5)
    assert stage.whole(call("c", at=2.0)) == []
    assert stage.repeated == 1


def test_what_is_read_again_is_not_counted_again() -> None:
    stage = Stage()
    stage.whole(*TRACE)
    before = stage.totals()
    for _ in range(2):
        assert stage.whole(*TRACE) == []
        stage.restart()
    assert (stage.totals(), stage.repeated, stage.runs.traces.open) == (before, 6, {})


def test_a_trace_without_a_run_is_let_go_at_once() -> None:
    stage = Stage()
    counted = stage.whole(call("a", tokens=1), call("b", tokens=2, trace_id="t2"))
    assert {s.span_id: s.parent_id for s in counted} == {"a": "", "b": ""}
    assert (stage.runs.traces.open, stage.counted) == ({}, {"t": ["a"], "t2": ["b"]})


# A trace that does not become whole.


def test_a_span_whose_ancestor_does_not_come_waits_as_long_as_is_allowed() -> None:
    stage = Stage()
    assert stage.read(call("c", "r", tokens=7), at=0) == []
    assert stage.read(at=SETTLES - 0.1) == []
    assert agents(stage.read(at=SETTLES)) == {"c": ""}
    assert stage.adrift == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_long_run_has_what_its_calls_took_that_were_counted_before_it_came(restart: bool) -> None:
    stage = Stage()
    counted = []
    for at, late in ((0, call("c1", "p", tokens=7)), (20, tool("x", "r")), (40, part("p", "r")), (55, call("c2", "r"))):
        counted += stage.read(late, at=at) + stage.read(at=at + SETTLES)
        if restart:
            stage.restart()
    counted += stage.read(run("r", agent="planner"), call("c3", "r", tokens=2), at=70) + stage.read(at=71)
    assert agents(counted) == {"c1": "", "x": "", "c2": "", "c3": "planner", "r": "planner"}
    # Three calls and a tool; c2 has no usage, so nobody knows what the run took.
    assert taken(counted) == {"r": (3, 1, None)}
    assert stage.runs.traces.open == {}
    # The calls and the tool that did not wait for it; the part is not counted.
    assert stage.adrift == 3


def test_what_two_long_runs_of_a_trace_took_is_not_mixed() -> None:
    stage = Stage()
    stage.read(call("a1", "a", tokens=1), call("b1", "b", tokens=10), at=0)
    stage.read(at=10)
    stage.read(run("b", "top", agent="B"), call("a2", "a", tokens=2), at=12)
    stage.read(at=22)
    counted = stage.read(run("a", "top", agent="A"), run("top", agent="Top"), at=30) + stage.read(at=31)
    assert taken(stage.spans) == {"b": (1, 0, 10), "a": (2, 0, 3), "top": (0, 0, 0)}
    assert agents(counted) == {"a": "A", "top": "Top"}


def test_only_what_hangs_together_with_a_span_that_is_due_is_settled_with_it() -> None:
    stage = Stage()
    stage.read(call("c1", "p1"), at=0)
    stage.read(part("p1", "gone", agent="A"), call("c2", "gone"), at=8)
    assert agents(stage.read(at=10)) == {"c1": "A"}
    assert set(stage.settling.waiting["t"].arrived) == {"c2"}
    stage.restart()
    assert set(stage.settling.waiting["t"].arrived) == {"c2"}
    assert stage.read(at=17.9) == []
    assert agents(stage.read(at=18)) == {"c2": ""}
    assert (stage.rows, stage.settling.spans) == ({}, 0)


def test_what_is_adrift_in_a_trace_whose_root_came_belongs_to_its_outermost_run() -> None:
    stage = Stage()
    stage.read(call("c", "lost", tokens=7), at=0)
    counted = stage.read(run("r", agent="planner"), call("d", "r", tokens=1), at=5) + stage.read(at=10)
    assert taken(counted) == {"r": (2, 0, 8)}
    assert agents(counted) == {"c": "planner", "d": "planner", "r": "planner"}
    assert stage.adrift == 1


def test_a_trace_whose_root_is_in_another_store_is_settled_when_it_is_due() -> None:
    stage = Stage()
    stage.read(call("c", "r", tokens=7), run("r", "browser", agent="A"), at=0)
    counted = stage.read(at=10)
    assert (agents(counted), taken(counted)) == ({"c": "A", "r": "A"}, {"r": (1, 0, 7)})
    assert stage.adrift == 1
    # Whether the browser is a run that repeats the usage is not known until it is given up.
    stage.sweep(11 + IDLE_SECONDS)
    assert stage.runs.traces.open == {}


# What comes late.


@pytest.mark.parametrize("restart", [False, True])
def test_a_late_child_finds_the_agent_of_the_trace_that_was_settled(restart: bool) -> None:
    stage = Stage()
    stage.whole(*TRACE)
    if restart:
        stage.restart()
    counted = stage.read(call("late", "p", tokens=1), at=5) + stage.read(at=6)
    assert agents(counted) == {"late": "planner"}
    assert (stage.adrift, stage.runs.traces.open) == (0, {})


def test_a_late_child_finds_all_that_is_said_above_it_also_after_a_restart() -> None:
    stage = Stage()
    said = {"environment": "production", "prompt": "greeting", "prompt_version": "3"}
    stage.whole(part("p", "r"), run("r", agent="planner", agent_version="2", **said))
    stage.restart()
    # What comes late is itself something to come late below.
    stage.read(part("q", "p"), at=5)
    assert stage.read(at=6) == []
    stage.restart()
    (late,) = stage.read(call("late", "q", tokens=1), at=7) + stage.read(at=8)
    assert (late.agent, late.agent_version, late.environment) == ("planner", "2", "production")
    assert (late.prompt, late.prompt_version) == ("greeting", "3")
    assert stage.adrift == 0


@pytest.mark.parametrize("restarts", [(), (20,), (30,), (40,), (20, 30, 40)])
def test_calls_around_and_within_each_other_are_told_apart_however_late_they_come(restarts: tuple[int, ...]) -> None:
    """A call is counted before the wrapper around it comes; one that is within another, after that was counted; and
    a third within the same, of whose usage the second has told."""
    stage = Stage()
    for at, *spans in (
        (0, call("inner", "wrapper", tokens=7), call("outer", "r"), run("r", agent="planner")),
        (20, call("wrapper", "r", tokens=7)),
        (30, call("second", "outer", tokens=5)),
        (40, call("third", "outer", tokens=5)),
    ):
        if at in restarts:
            stage.restart()
        stage.read(*spans, at=at)
        stage.read(at=at + 10)
    calls = sorted((s.span_id, s.agent, s.usage_only, s.input_tokens) for s in stage.spans if s.kind == "inference")
    assert calls == [
        ("inner", "planner", False, 7),
        ("outer", "planner", False, None),
        ("second", "planner", True, 5),
    ]
    assert stage.wrappers == 3


def test_a_long_trace_that_comes_bit_by_bit_is_written_bit_by_bit() -> None:
    stage = Stage()
    stage.whole(*TRACE)
    written = len(stage.settled)
    for number in range(100):
        stage.read(call(f"late{number}", "p", tokens=1), at=5 + 2 * number)
        stage.read(at=6 + 2 * number)
    assert max(map(len, stage.settled[written:])) < 100


def test_a_late_child_waits_for_its_ancestor_when_the_links_were_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REMEMBERED", 0)
    stage = Stage()
    stage.whole(*TRACE)
    assert stage.read(call("late", "p", tokens=1), at=5) + stage.read(at=14) == []
    assert agents(stage.read(at=15)) == {"late": ""}
    assert stage.adrift == 1


def test_a_late_child_of_a_run_that_was_counted_is_nobody_s_also_when_the_links_were_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "REMEMBERED", 0)
    stage = Stage()
    stage.whole(*TRACE)
    stage.read(call("late", "r", tokens=1), at=5)
    assert agents(stage.read(at=15)) == {"late": ""}
    assert stage.runs.traces.open == {}


def test_links_of_many_traces_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REMEMBERED", 4)
    stage = Stage()
    for number in range(3):
        stage.whole(run("r", trace_id=f"t{number}", agent="A"), call("c", "r", trace_id=f"t{number}"))
    late = [call("late", "r", trace_id=f"t{number}") for number in range(3)]
    assert agents(stage.read(late[0], at=5) + stage.read(at=6)) == {}
    assert agents(stage.read(late[1], at=5) + stage.read(at=6)) == {"late": "A"}


@pytest.mark.parametrize("remembered", [50_000, 0])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_call_that_is_told_again_with_a_later_end_counts_once(
    monkeypatch: pytest.MonkeyPatch, restarted: bool, remembered: int
) -> None:
    """As by a store that writes a row anew, of a trace whose place in the tree is still known, or no longer."""
    monkeypatch.setattr(places, "REMEMBERED", remembered)
    stage = Stage()
    stage.whole(run("r"), call("c", "r", at=2.0, duration=0.5, tokens=5))
    if restarted:
        stage.restart()
    assert stage.whole(call("c", "r", at=52.0, duration=50.5, tokens=5)) == []
    assert (len(stage.spans), stage.repeated) == (2, 1)


# Scores.


def test_a_score_has_the_agent_of_what_it_judges_or_of_the_root() -> None:
    stage = Stage()
    stage.whole(run("r", agent="A"), run("r2", "r", agent="B"), call("c", "r2", tokens=1))
    of_trace, of_call = score("s1"), score("s2", "c")
    counted = stage.read(of_trace, of_call, at=100) + stage.read(at=101)
    assert [(s.kind, s.span_id, s.agent, s.score) for s in counted] == [
        ("score", "s1", "A", 0.5),
        ("score", "s2", "B", 0.5),
    ]
    assert (stage.runs.traces.open, stage.adrift) == ({}, 0)
    assert stage.whole(of_trace, of_call) == []
    assert stage.repeated == 2


def test_a_score_whose_trace_is_not_known_is_counted_without_an_agent() -> None:
    stage = Stage()
    stage.read(score("s1"), score("s2", "c"), at=0)
    assert stage.read(at=9) == []
    assert agents(stage.read(at=10)) == {"s1": "", "s2": ""}
    assert (stage.adrift, stage.runs.traces.open) == (2, {})


def test_scores_make_no_run_s_call() -> None:
    counted = Stage().whole(run("r", agent="A"), score("s", "r"), score("s2"))
    assert taken(counted) == {"r": (0, 0, 0)}
    assert agents(counted) == {"s": "A", "s2": "A", "r": "A"}


# A crash.


@pytest.mark.parametrize("crash", range(9))
def test_a_crash_neither_loses_nor_doubles(crash: int) -> None:
    """Two traces and a late span come in batches; one batch is read, and the process dies before the commit."""
    batches = [
        (0.0, [TRACE[0], call("o", "gone", trace_id="t2", tokens=3)]),
        (0.2, [TRACE[1]]),
        (0.4, [TRACE[2], TRACE[3]]),
        (1.5, []),
        (5.0, [call("late", "r", tokens=1), tool("y", "gone", trace_id="t2")]),
        (10.0, []),
        (15.0, []),
        (16.0, [run("gone", trace_id="t2", agent="B")]),
        (17.5, []),
    ]
    stage = Stage()
    for number, (at, spans) in enumerate(batches):
        if number == crash:
            stage.read(*spans, at=at, commit=False)
            stage.restart()
        stage.read(*spans, at=at)
    assert sorted((s.span_id, s.agent) for s in stage.spans) == [
        ("c", "planner"), ("gone", "B"), ("late", "planner"), ("o", ""), ("r", "planner"), ("x", "planner"), ("y", ""),
    ]  # fmt: skip
    assert taken(stage.spans) == {"r": (1, 1, 7), "gone": (1, 1, 3)}
    assert (stage.repeated, stage.rows, stage.runs.traces.open) == (0, {}, {})


def test_only_what_came_is_written_of_a_trace_that_waits() -> None:
    stage = Stage()
    stage.read(call("c1", "r"), call("c2", "r"), at=0, commit=False)
    assert [len(spans) for spans in stage.settling.changes().new.values()] == [2]
    stage.read(call("c3", "r"), at=1, commit=False)
    assert [len(spans) for spans in stage.settling.changes().new.values()] == [1]
    assert not stage.settling.changed
    stage.read(at=2, commit=False)
    assert not stage.settling.changed


def test_what_waited_before_a_restart_is_not_written_again() -> None:
    stage = Stage()
    stage.read(call("c1", "r"), at=0)
    stage.restart()
    stage.read(call("c2", "r"), at=1, commit=False)
    changes = stage.settling.changes()
    assert (changes.gone, [[a.span.span_id for a in row] for row in changes.new.values()]) == ([], [["c2"]])


def in_rows(stage: Stage) -> list[list[tuple[str, str]]]:
    """Trace and id of the spans in each row of the state."""
    return [[(a.span.trace_id, a.span.span_id) for a in decode_row(row)] for row in stage.rows.values()]


@pytest.mark.parametrize("restart", [False, True])
def test_traces_that_seem_whole_share_a_row_and_what_stays_behind_in_it_is_written_once_more(restart: bool) -> None:
    stage = Stage()
    stage.read(*(span(kind, id_, parent, trace_id=trace) for trace in "uvw" for kind, id_, parent in (
        ("tool", "x", "r"), ("run", "r", "")
    )), tool("y", "gone", trace_id="t"))  # fmt: skip
    # One lacks its root.
    assert in_rows(stage) == [[("t", "y")], [(trace, id_) for trace in "uvw" for id_ in "xr"]]
    stage.read(tool("x", "r", trace_id="w", tool="told again"), tool("q", "r", trace_id="w"), at=0.5)
    assert in_rows(stage)[2:] == [[("w", "x"), ("w", "q")]]
    if restart:
        stage.restart()
    assert {s.trace_id for s in stage.read(at=1.0)} == {"u", "v"}
    assert in_rows(stage) == [[("t", "y")], [("w", "x"), ("w", "q")], [("w", "x"), ("w", "r")]]
    if restart:
        stage.restart()
    stage.read(tool("z", "r", trace_id="w"), *TRACE, at=1.2)
    assert sorted(in_rows(stage)[3:]) == [[("t", s.span_id) for s in TRACE], [("w", "z")]]
    counted = stage.read(at=2.3)
    assert {(s.span_id, s.tool) for s in counted if s.trace_id == "w" and s.kind == "tool"} == {
        ("x", "told again"), ("q", "search"), ("z", "search"),
    }  # fmt: skip
    stage.read(at=11)
    assert (stage.rows, stage.repeated, stage.settling.changed) == ({}, 0, False)


@pytest.mark.parametrize("seed", range(25))
def test_a_crash_at_any_commit_leaves_in_the_rows_what_waits(seed: int) -> None:
    """Traces of a root and calls, told in batches that cut them anywhere, some spans twice."""
    rng = random.Random(seed)
    spans = [
        (call if id_ else run)(f"{id_}", "0" if id_ else "", trace_id=f"t{trace}")
        for trace in range(12)
        for id_ in range(rng.randrange(1, 5))
    ]
    order = sorted((*spans, *rng.sample(spans, 5)), key=lambda told: (told.trace_id, rng.random()))
    batches: list[list[Span]] = [[] for _ in range(20)]
    for number, told in enumerate(order):
        batches[min(19, number // 4 + rng.choice((0, 0, 0, 1, 3)))].append(told)
    stage = Stage()
    for number, batch in enumerate([*batches, [], [], []]):
        at = 0.6 * number + (number > 20) * 10
        if rng.random() < 0.4:
            stage.read(*batch, at=at, commit=False)
            stage.restart()
        stage.read(*batch, at=at)
        waiting = {(id_, span_id) for id_, trace in stage.settling.waiting.items() for span_id in trace.arrived}
        assert {place for row in in_rows(stage) for place in row} == waiting
    assert sorted((s.trace_id, s.span_id) for s in stage.spans) == sorted((s.trace_id, s.span_id) for s in spans)
    assert (stage.rows, stage.settling.waiting) == ({}, {})


# Bounds.


def test_past_the_bound_of_traces_the_first_is_settled_at_once() -> None:
    stage = Stage()
    stage.read(*(call("c", "r", trace_id=f"t{number}") for number in range(TRACES + 3)))
    assert [s.trace_id for s in stage.spans] == ["t0", "t1", "t2"]
    assert len(stage.settling.waiting) == TRACES


def test_past_the_bound_of_spans_the_first_trace_is_settled_at_once() -> None:
    stage = Stage()
    stage.read(call("c", "r", trace_id="first"), *(call(f"c{number}", "r") for number in range(SPANS - 1)))
    assert (stage.spans, stage.settling.spans) == ([], SPANS)
    stage.read(call("one more", "r"))
    assert [s.trace_id for s in stage.spans] == ["first"]
    assert stage.settling.spans == SPANS


def _shapes(size: int) -> dict[str, list[Span]]:
    """Traces that could take a time that grows faster than they do."""
    below = range(1, size)
    return {
        "wide": [run("0"), *(call(str(n), "0") for n in below)],
        "a chain of parts": [run("0"), *(part(str(n), str(n - 1)) for n in below), call("c", str(size - 1))],
        "a chain of runs": [run(str(n), str(n - 1) if n else "", tokens=1) for n in range(size)],
        "a chain of calls": [call(str(n), str(n - 1) if n else "", tokens=1) for n in range(size)],
        "a circle": [part(str(n), str((n + 1) % size)) for n in range(size)],
        "all in one that did not come": [call(str(n), "gone") for n in range(size)],
    }


@pytest.mark.parametrize("shape", _shapes(1))
@pytest.mark.parametrize("backwards", [False, True])
def test_a_trace_takes_time_in_proportion_to_its_spans(shape: str, backwards: bool) -> None:
    def seconds(size: int) -> float:
        spans = _shapes(size)[shape]
        stage, best = Stage(), float("inf")
        for _ in range(3):
            stage = Stage()
            began = time.process_time()
            stage.read(*(reversed(spans) if backwards else spans), at=0)
            stage.read(at=SETTLES)
            best = min(best, time.process_time() - began)
        assert stage.settling.waiting == {}
        return best

    seconds(500)
    # Ten times as much; were it the square, it would be a hundred times.
    assert seconds(5000) < 30 * seconds(500)


@pytest.mark.parametrize("backwards", [False, True])
def test_spans_that_are_each_other_s_parents_are_counted_when_they_are_due(backwards: bool) -> None:
    spans = [call("self", "self", trace_id="t1"), tool("a", "b"), run("b", "c", agent="B"), tool("c", "a")]
    stage = Stage()
    stage.read(*(reversed(spans) if backwards else spans), at=0)
    assert stage.read(at=9) == []
    assert sorted(s.span_id for s in stage.read(at=10)) == ["a", "b", "c", "self"]
    assert stage.runs.traces.open == {}


def test_a_clock_that_is_put_back_keeps_nothing_waiting() -> None:
    stage = Stage()
    stage.read(*TRACE, call("c", "gone", trace_id="t2"), at=0)
    assert sorted(s.span_id for s in stage.read(at=-3600)) == ["c", "c", "r", "x"]
    assert stage.settling.waiting == {}


def test_a_span_is_known_by_its_trace_and_its_own_id() -> None:
    """msgtrace, 6: ids of 64 bits may be those of other traces too."""
    stage = Stage()
    stage.whole(call("c", "r"), run("r", agent="A"), call("c", "r", trace_id="t2"), run("r", trace_id="t2", agent="B"))
    assert sorted((s.trace_id, s.span_id, s.agent) for s in stage.spans) == [
        ("t", "c", "A"), ("t", "r", "A"), ("t2", "c", "B"), ("t2", "r", "B"),
    ]  # fmt: skip


def test_times_are_those_of_the_store_and_waiting_is_by_our_clock() -> None:
    stage = Stage()
    early = span("inference", "c", "gone", at=-86400.0)
    assert stage.read(early, at=0) + stage.read(at=9) == []
    assert [s.time for s in stage.read(at=10)] == [START - 86400.0]
