"""Fifty kills at random moments, while two databases are written, rewritten and restarted: exact totals."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from crash_exporter import Exporter, Ledger, live_and_die, until
from crash_recount import Samples, series
from llm_metrics_store import POSTGRES, OnPostgresql, OnSqlite, Server, Store, postgresql, put_call, put_trace

KILLS = 50
RESTARTS = 3
AGENTS = ("planner", "writer")
MODELS = ("model-a", "model-b")
# What does not depend on how often a row was read.
EXACT = (
    "agentgauge_inference_calls_total",
    "agentgauge_inference_without_usage_total",
    "agentgauge_runs_total",
    "agentgauge_cost_usd_total",
    "gen_ai_client_inference_usage_input_tokens_total",
    "gen_ai_client_inference_usage_output_tokens_total",
    "gen_ai_client_inference_duration_seconds_count",
    "gen_ai_client_inference_duration_seconds_sum",
)

pytestmark = pytest.mark.skipif(POSTGRES is None, reason="PostgreSQL is not installed")


class Writer:
    """Writes calls into a store from a thread until `stop`, late ones, unfinished ones, and the last ones again;
    and what they add up to.

    Numbers are multiples of powers of two, so that sums are the same in whatever order they are made.
    """

    def __init__(self, store: Store, source: str, seed: int, server: Server | None = None) -> None:
        self.store = store
        self.source = source
        self.totals: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._server = server
        self._random = Random(seed)
        self._number = 0
        self._last: list[tuple[str, str, dict[str, Any]]] = []
        self._unfinished: list[tuple[str, str, dict[str, Any]]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name=f"writer of {source}")

    def start(self) -> None:
        for _ in range(600):
            self._trace()
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way, and end."""
        self._stop.set()
        self._thread.join()
        while self._unfinished:
            self._finish()

    def restart(self) -> None:
        """Have the server restarted between two writes."""
        self.done["asked"] += 1

    def _write(self) -> None:
        while not self._stop.wait(self._random.random() * 0.06):
            if self._server is not None and self.done["asked"] > self.done["restarted"]:
                self._server.stop()
                self._server.start()
                self.done["restarted"] += 1
            what = self._random.random()
            if what < 0.1 and self._last:
                self._export_again()
            elif what < 0.2:
                self._begin()
            elif what < 0.3 and self._unfinished:
                self._finish()
            else:
                self._trace()

    def _export_again(self) -> None:
        """Write the rows of late once more, as the export does with those of a day."""
        self.store.run("BEGIN")
        for id_, trace, row in self._last:
            put_call(self.store, id_, trace, again=True, **row)
        self.store.run("COMMIT")
        self.done["exported again"] += 1

    def _begin(self) -> None:
        """Write a call that is under way, in a trace of its own that is no run."""
        self._number += 1
        trace, created = f"u{self._number}", _stamp(time.time())
        put_call(self.store, f"{trace}-0", trace, again=True, model="model-c", created_at=created)
        row: dict[str, Any] = {
            "model": "model-c",
            "created_at": created,
            "input_tokens": 8,
            "output_tokens": 4,
            "latency_ms": 500.0,
        }
        row["total_cost"] = 0.25  # a price that has to be looked up takes a third of a second of each start
        self._unfinished.append((f"{trace}-0", trace, row))
        labels = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "model-c"}
        self._add("agentgauge_inference_calls_total", outcome="ok", **labels)
        self._add("gen_ai_client_inference_usage_input_tokens_total", 8, **labels)
        self._add("gen_ai_client_inference_usage_output_tokens_total", 4, **labels)
        self._add("agentgauge_cost_usd_total", 0.25, cost_source="reported", **labels)
        self._add("gen_ai_client_inference_duration_seconds_count", **labels)
        self._add("gen_ai_client_inference_duration_seconds_sum", 0.5, **labels)

    def _finish(self) -> None:
        id_, trace, row = self._unfinished.pop(self._random.randrange(len(self._unfinished)))
        put_call(self.store, id_, trace, again=True, **row)
        self.done["finished"] += 1

    def _trace(self) -> None:
        """A trace of up to three calls, as of some time of the last day."""
        random, self._number = self._random, self._number + 1
        trace, agent = f"t{self._number}", random.choice(AGENTS)
        begin = time.time() - random.randint(2 * 3600, 22 * 3600)
        put_trace(self.store, trace, name=f"{agent}_task", created_at=_stamp(begin))
        for call in range(random.randint(1, 3)):
            self._call(f"{trace}-{call}", trace, agent, begin + call)
        self._add("agentgauge_runs_total", gen_ai_agent_name=agent)

    def _call(self, id_: str, trace: str, agent: str, at: float) -> None:
        random = self._random
        model = random.choice(MODELS)
        row: dict[str, Any] = {"model": model, "created_at": _stamp(at)}
        labels = {"gen_ai_operation_name": "chat", "gen_ai_request_model": model, "gen_ai_agent_name": agent}
        what = random.random()
        failed = what < 0.1
        if failed:
            row |= {"level": "ERROR", "status_message": "429"}
        elif what < 0.2:
            # It never ends, as far as the store knows, and is old enough not to be waited for.
            self._add("agentgauge_inference_without_usage_total", **labels)
        else:
            given, taken, cost, took = (random.randint(1, 4096) for _ in range(4))
            row |= {"input_tokens": given, "output_tokens": taken, "total_tokens": given + taken}
            row |= {"total_cost": cost / 1024, "latency_ms": took * 125.0}
            self._add("gen_ai_client_inference_usage_input_tokens_total", given, **labels)
            self._add("gen_ai_client_inference_usage_output_tokens_total", taken, **labels)
            self._add("agentgauge_cost_usd_total", cost / 1024, cost_source="reported", **labels)
            self._add("gen_ai_client_inference_duration_seconds_count", **labels)
            self._add("gen_ai_client_inference_duration_seconds_sum", took / 8, **labels)
        self._add("agentgauge_inference_calls_total", outcome="error" if failed else "ok", **labels)
        put_call(self.store, id_, trace, again=True, **row)
        self._last = [*self._last[-30:], (id_, trace, row)]

    def _add(self, name: str, by: float = 1, **labels: str) -> None:
        self.totals[series(name, source=self.source, **labels)] += by  # type: ignore[assignment]


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def totals(page: Samples) -> Samples:
    """The samples that the writers speak of; a run may have ended before its last call came, so not how it ended."""
    found: Counter[str] = Counter()
    for name, value in page.items():
        if value and name.split("{")[0] in EXACT:
            if name.startswith("agentgauge_runs_total"):
                name = name.replace(',outcome="ok"', "").replace(',outcome="error"', "")  # noqa: PLW2901
            found[name] += value  # type: ignore[assignment]
    return dict(found)


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[list[Writer]]:
    with postgresql() as server:
        stores: list[Store] = [OnSqlite(tmp_path / "llm_metrics.db", "b"), OnPostgresql(server, "killed", "a")]
        found = [Writer(stores[0], "file", seed=1), Writer(stores[1], "server", seed=2, server=server)]
        for writer in found:
            writer.start()
        yield found
        for writer in found:
            writer.stop()
            writer.store.close()


@pytest.fixture
def exporter(tmp_path: Path, writers: list[Writer]) -> Iterator[Exporter]:
    url = " ".join(f"{writer.store.url}?name={writer.source}" for writer in writers)
    # A run of these stores ends when nothing came of it for so long, and rows that are read as they are written
    # are of now, whatever their times say.
    found = Exporter(tmp_path, url=url, options=("--idle-limit", "5s"))
    yield found
    found.kill()


def test_after_fifty_kills_every_total_of_two_databases_is_the_truth(exporter: Exporter, writers: list[Writer]) -> None:
    random, ledger = Random(3), Ledger()
    began = time.monotonic()
    exporter.start().awaited()
    start_up = time.monotonic() - began
    exporter.kill()
    for kill in range(KILLS):
        if kill % (KILLS // RESTARTS) == 1:
            writers[1].restart()
        start_up, _ = live_and_die(exporter, start_up, random, ledger)
    for writer in writers:
        writer.stop()
    truth = dict(writers[0].totals + writers[1].totals)
    exporter.start()

    def arrived() -> bool:
        page = exporter.scrape()
        if page is not None:
            ledger.note(page)
        return page is not None and totals(page) == truth

    def differences() -> str:
        found = totals(exporter.awaited())
        wrong = {name for name in truth.keys() | found.keys() if truth.get(name) != found.get(name)}
        return "\n".join(f"{name}: {found.get(name)} should be {truth.get(name)}" for name in sorted(wrong))

    until(arrived, 120, differences)
    # Another look: it stays so.
    assert totals(exporter.awaited()) == truth
    assert ledger.falls == []
    # That much did happen.
    assert ledger.pages >= KILLS / 2
    assert writers[1].done["restarted"] >= RESTARTS
    for writer in writers:
        assert min(writer.done["exported again"], writer.done["finished"]) >= 5, writer.done
    assert "Traceback" not in exporter.log.read_text()
