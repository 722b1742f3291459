"""Fifty kills at random moments, while rows are written, resent and deleted: each call is counted once."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from crash_exporter import Exporter, Ledger, until
from msgtrace_store import Store
from test_otlp_kills import totals

KILLS = 50
AGENTS = ("planner", "support")


class Writer(threading.Thread):
    """Writes one trace after another, the root last, and now and then what else is done to such a table."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(name="writer")
        self._path = path
        self._store = Store(path)
        self._random = Random(seed)
        self._stopped = threading.Event()
        # Held while a trace is written.
        self.pause = threading.Lock()
        self.truth: Counter[tuple[str, str]] = Counter()
        self.done = {"resend": 0, "take_back": 0, "forget": 0, "hold": 0}

    def run(self) -> None:
        while not self._stopped.wait(self._random.random() * 0.03):
            with self.pause:
                self._write_trace()
                if self._random.random() < 0.3:
                    what = self._random.choice(list(self.done))
                    getattr(self, f"_{what}")()
                    self.done[what] += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def close(self) -> None:
        self._store.close()

    def _write_trace(self) -> None:
        spans = self._trace()
        while spans:
            many = self._random.randrange(1, 4)
            with self._store.transaction():
                for span in spans[:many]:
                    self._store.put(**span)
            spans = spans[many:]

    def _trace(self) -> list[dict[str, Any]]:
        """The spans of one trace, which are written from now on."""
        random, trace, root = self._random, self._id(), self._id()
        agent = random.choice(AGENTS)
        calls = [(random.randrange(1, 4000), random.randrange(1, 900)) for _ in range(random.randrange(1, 4))]
        spans: list[dict[str, Any]] = []
        for given, taken in calls:
            said = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": given,
                    "gen_ai.usage.output_tokens": taken, "gen_ai.request.model": "gpt-5"}  # fmt: skip
            parent = root
            if random.random() < 0.3:
                parent = self._id()
                spans.append({"span_id": parent, "attributes": said, "parent": root})
            spans.insert(0, {"span_id": self._id(), "attributes": said, "parent": parent})
        spans.append({"span_id": self._id(), "attributes": {"gen_ai.tool.name": "search"}, "parent": root})
        said = {"gen_ai.operation.name": "agent", "gen_ai.agent.name": agent}
        spans.append({"span_id": root, "attributes": said, "parent": None, "times": (0.0, 4.0)})
        given, taken = sum(given for given, _ in calls), sum(taken for _, taken in calls)
        for name, by in {
            "calls": len(calls), "input": given, "output": taken, "durations": len(calls), "tools": 1, "runs": 1,
            "calls of runs": len(calls), "tokens of runs": given + taken,
        }.items():  # fmt: skip
            self.truth[name, agent] += by
        return [{"trace": trace, **span} for span in spans]

    def _id(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def _resend(self) -> None:
        """What a client does that had no answer: the rows move to the end."""
        self._store.execute(
            "INSERT OR REPLACE INTO spans SELECT * FROM spans WHERE rowid IN"
            " (SELECT rowid FROM spans ORDER BY random() LIMIT ?)",
            self._random.randrange(1, 5),
        )

    def _take_back(self) -> None:
        """Delete the newest rows, give their numbers to those of a trace, and write them again behind these,
        when whoever reads has had the time to read them."""
        self._stopped.wait(1.2)
        with self._store.transaction() as connection:
            newest = connection.execute(
                "SELECT * FROM spans ORDER BY rowid DESC LIMIT ?", (self._random.randrange(1, 9),)
            ).fetchall()
            connection.executemany("DELETE FROM spans WHERE span_id = ?", [row[:1] for row in newest])
            for span in self._trace():
                self._store.put(**span)
            places = ",".join("?" * 14)
            connection.executemany(f"INSERT INTO spans VALUES ({places})", reversed(newest))

    def _forget(self) -> None:
        """What the server does when a trace is deleted: its spans stay."""
        self._store.execute("DELETE FROM traces WHERE rowid IN (SELECT rowid FROM traces ORDER BY random() LIMIT 1)")

    def _hold(self) -> None:
        """Keep everybody out for a while."""
        self._store.execute("BEGIN EXCLUSIVE")
        self._stopped.wait(0.1)
        self._store.execute("COMMIT")

    def replace(self) -> None:
        """Delete nine rows of ten, and put a compact copy of the file in its place."""
        self._store.execute("DELETE FROM spans WHERE rowid % 10 <> 0")
        copy = self._path.with_name("copy.db")
        self._store.execute("VACUUM INTO ?", str(copy))
        self._store.close()
        copy.replace(self._path)
        self._store = Store(self._path)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    found = Writer(tmp_path / "msgtrace.db", seed=20261121)
    yield found
    found.stop()
    found.close()


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    found = Exporter(tmp_path, url=f"msgtrace://{tmp_path / 'msgtrace.db'}?wait=20s")
    yield found
    found.kill()


def test_after_fifty_kills_each_call_is_counted_once(exporter: Exporter, writer: Writer) -> None:
    random, ledger = Random(7), Ledger()
    began = time.monotonic()
    exporter.start().awaited()
    start_up = time.monotonic() - began
    writer.start()
    answered = 0

    def arrived() -> bool:
        page = exporter.scrape()
        if page is not None:
            ledger.note(page)
        return page is not None and totals(page) == writer.truth

    def differences() -> str:
        return f"{totals(exporter.awaited())} should be {writer.truth}\n{exporter.log.read_text()}"

    for kill in range(KILLS):
        if kill % 2:
            # On a busy machine every other life would end before its first page.
            ledger.note(exporter.awaited())
            answered += 1
        end = time.monotonic() + min(1.5, start_up * 2.2) * random.random()
        while time.monotonic() < end:
            page = exporter.scrape()
            if page is not None:
                answered += 1
                ledger.note(page)
            time.sleep(min(0.05, max(0.0, end - time.monotonic())))
        if kill == KILLS // 2:
            # All that was written was counted: it may go.
            with writer.pause:
                until(arrived, 120, differences)
                writer.replace()
        exporter.kill()
        exporter.start()
    writer.stop()
    until(arrived, 120, differences)
    assert ledger.falls == []
    # That much did happen.
    assert answered >= KILLS / 4
    assert min(writer.done.values()) >= 3, writer.done
    assert "Traceback" not in exporter.log.read_text()
