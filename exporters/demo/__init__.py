"""The demo: lifelike createagents traces, a past and then the present, written as they would happen; on request
a little of the same in every other kind of store."""

import argparse
import heapq
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from operator import itemgetter
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from exporters.demo import budgets, writer
from exporters.demo.asked import incident
from exporters.demo.chat import Line
from exporters.demo.framework import Entry
from exporters.demo.operations import Operation, operations
from exporters.demo.stores import STORES, Store
from exporters.demo.traffic import lines
from exporters.demo.weather import Incident, Weather
from exporters.sources import seconds_of

# What the other stores get: a part of the chats, and of the past.
_SHARE = 0.5
_PAST = timedelta(days=1)


class Stop(Protocol):
    """What ends the demo: a threading.Event."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool: ...


def run(
    directory: Path,
    *,
    history: timedelta,
    rate: float,
    speed: float,
    seed: int,
    forever: bool,
    now: Callable[[], float],
    stop: Stop,
    stores: Sequence[Store] = (),
    asked: Sequence[Incident] = (),
) -> int:
    """Write the past, then the present line by line as it happens; return how many lines were written.

    `stores` get chats of their own, fewer of them, and a day of the past where they can keep one.
    `asked` are incidents of the present besides those of the story.

    A folder that already holds traces gets no second past. `rate` is chats a minute of the
    present and of the height of a past day; the present runs `speed` times as fast; `now` gives
    Unix seconds. Without `forever`, or once `stop` is set, it returns. The same seed and the same
    start give the same bytes.
    Raises OSError when the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    live = now()
    start = live if writer.holds_traces(directory) else live - history.total_seconds()
    weather = Weather(seed=seed, live=live, speed=speed, asked=tuple(asked))
    told = heapq.merge(
        _files(directory, lines(start=start, rate=rate, weather=weather)),
        *(
            _store(store, live - min(history, _PAST).total_seconds() if store.has_past else live, rate * _SHARE,
                   replace(weather, seed=seed + number))
            for number, store in enumerate(stores, 1)
        ),
        key=itemgetter(0),
    )  # fmt: skip
    at, write = next(told)
    written = 0
    with tqdm(total=round(live - start), desc="past", unit="s", disable=None, leave=False) as bar:
        while at <= live and not stop.is_set():
            written += write()
            bar.update(round(at - start) - bar.n)
            at, write = next(told)
    if forever:
        print(f"agentgauge demo: {written:,} lines of the past; now the present, until Ctrl-C", file=sys.stderr)
    while forever and not stop.wait(max(0.0, at - now())):
        written += write()
        at, write = next(told)
    return written


# What happens at a time, and what writes it: it returns how many lines of a file that made.
_Told = Iterator[tuple[float, Callable[[], int]]]


def _files(directory: Path, told: Iterator[Line]) -> _Told:
    for at, entry in told:

        def write(at: float = at, entry: Entry = entry) -> int:
            writer.write(directory, at, entry)
            return 1

        yield at, write


def _store(store: Store, start: float, rate: float, weather: Weather) -> _Told:
    for at, ended in operations(lines(start=start, rate=rate, weather=weather)):

        def write(ended: Operation | None = ended) -> int:
            if ended is not None:
                store.take(ended)
            return 0

        yield at, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `agentgauge demo`."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder to write to; made when there is none")
    parser.add_argument(
        "--history",
        type=_duration,
        default=timedelta(days=7),
        metavar="TIME",
        help="length of the past written first, such as 7d or 12h; 0s for none (default: 7d)",
    )
    parser.add_argument(
        "--rate",
        type=_positive,
        default=2.0,
        metavar="N",
        help="chats a minute, now and at the height of a past day (default: 2)",
    )
    parser.add_argument(
        "--speed",
        type=_positive,
        default=1.0,
        metavar="N",
        help="how many times as fast chats, days and incidents follow each other (default: 1)",
    )
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="another number, another story (default: 7)")
    parser.add_argument("--once", action="store_true", help="write the past and stop")
    parser.add_argument(
        "--budgets",
        type=Path,
        metavar="FILE",
        help="with --once: write budgets for what the past cost, if there is no such file: "
        "one is well, one nearly spent, one overspent",
    )
    parser.add_argument(
        "--store",
        action="append",
        type=_named,
        default=[],
        metavar="NAME[=WHERE]",
        help="another store to write to as well: msgtrace and llm-metrics (databases in DIR), otlp=URL of a receiver, "
        "langfuse=HOST:PORT to serve its API on; may be given several times",
    )
    parser.add_argument(
        "--incident",
        action="append",
        type=_incident,
        default=[],
        metavar="KIND:WHOM:in=TIME,for=TIME",
        help="trouble to come, so that an alert can be seen to fire: deploy:support:in=30s,for=10m for a bad deploy of "
        "an agent, slow:openai for a provider, flaky:web_search for a tool; failing=0.9 is the chance of a call to "
        "fail; may be given several times",
    )


def command(arguments: argparse.Namespace) -> int:
    """Run `agentgauge demo` until SIGTERM or Ctrl-C; return the exit code."""
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        arguments.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            stores = [STORES[name](arguments.directory, where) for name, where in arguments.store]
            for store in stores:
                opened.enter_context(closing(store))
            written = run(
                arguments.directory,
                history=arguments.history,
                rate=arguments.rate,
                speed=arguments.speed,
                seed=arguments.seed,
                forever=not arguments.once,
                now=time.time,
                stop=stop,
                stores=stores,
                asked=arguments.incident,
            )
        if arguments.budgets is not None and arguments.once:
            budgets.write(arguments.budgets, arguments.directory)
    except (OSError, sqlite3.Error) as error:
        print(f"agentgauge demo: {error}; name a folder that can be written", file=sys.stderr)
        return 2
    print(f"agentgauge demo: wrote {written:,} lines to {arguments.directory}", file=sys.stderr)
    return 0


def _duration(text: str) -> timedelta:
    try:
        return timedelta(seconds=seconds_of(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _incident(text: str) -> Incident:
    try:
        return incident(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _named(text: str) -> tuple[str, str]:
    name, _, where = text.partition("=")
    if name not in STORES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(STORES)}")
    return name, where


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
