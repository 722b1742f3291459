"""What one reading remembers of closed traces: in the log, in runs and in runs that were put together."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest

from exporters.open_traces import Closed
from exporters.passing import Passing


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passing]:
    """A memory whose log takes two traces, whose rows take two and of whose runs two are put together."""
    for bound in ("_LATELY", "_ROW", "_RUNS"):
        monkeypatch.setattr(f"exporters.passing.{bound}", 2)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        yield Passing(db)


def rows(passing: Passing) -> list[tuple[int, str, str]]:
    return passing._db.execute("SELECT run, source, first FROM passed ORDER BY run, source, first").fetchall()


def test_a_log_that_has_grown_is_put_behind_in_order_some_traces_a_row(passing: Passing) -> None:
    passing.write("s", {"c": Closed(["c1"], complete=True), "a": Closed(['a"1', "a2"], complete=True)})
    assert rows(passing) == []
    passing.write("s", {"b": Closed(["b1"], complete=True), "é": Closed((), complete=True)})
    assert rows(passing) == [(1, "s", "a"), (1, "s", "c")]
    assert [passing.spans("s", trace) for trace in "abcdé"] == [['a"1', "a2"], ["b1"], ["c1"], None, None]
    assert passing.spans("other", "a") is None


def test_later_spans_come_behind_unless_they_are_all(passing: Passing) -> None:
    def close(complete: bool, **traces: str) -> None:
        passing.write("s", {trace: Closed(spans.split(), complete) for trace, spans in traces.items()})

    close(False, a="a1", b="b1", c="c1")
    close(False, a="a2")
    close(True, b="b2")
    assert [passing.spans("s", trace) for trace in "abc"] == [["a1", "a2"], ["b2"], ["c1"]]
    close(False, d="d1")
    # The second run of the smallest size: both are one of the next size now.
    assert {run for run, _, _ in rows(passing)} == {3}
    assert [passing.spans("s", trace) for trace in "abcd"] == [["a1", "a2"], ["b2"], ["c1"], ["d1"]]
    close(False, a="a3", b="b3", e="e1")
    assert [passing.spans("s", trace) for trace in "abe"] == [["a1", "a2", "a3"], ["b2", "b3"], ["e1"]]
    assert {run for run, _, _ in rows(passing)} == {3, 4}


def test_many_traces_of_two_sources_are_remembered_as_a_dictionary_would(passing: Passing) -> None:
    random, known = Random(7), dict[tuple[str, str], list[str]]()
    for number in range(400):
        source, trace, complete = random.choice("st"), str(random.randrange(60)), random.random() < 0.5
        known[source, trace] = [*([] if complete else known.get((source, trace), [])), f"i{number}"]
        passing.write(source, {trace: Closed([f"i{number}"], complete)})
        assert passing.spans(source, trace) == known[source, trace]
    for source in "st":
        for trace in map(str, range(70)):
            assert passing.spans(source, trace) == known.get((source, trace))
    # One run a size at most is not put together yet.
    assert len({run for run, _, _ in rows(passing)}) <= 8
