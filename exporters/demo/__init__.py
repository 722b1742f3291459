"""The demo: lifelike createagents traces, a past and then the present, written as they would happen."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from exporters.demo import writer
from exporters.demo.traffic import lines
from exporters.demo.weather import Weather
from exporters.sources import seconds_of


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
) -> int:
    """Write the past, then the present line by line as it happens; return how many lines were written.

    A folder that already holds traces gets no second past. `rate` is chats a minute of the
    present and of the height of a past day; the present runs `speed` times as fast; `now` gives
    Unix seconds. Without `forever`, or once `stop` is set, it returns. The same seed and the same
    start give the same bytes.
    Raises OSError when the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    live = now()
    start = live if writer.holds_traces(directory) else live - history.total_seconds()
    told = lines(start=start, rate=rate, weather=Weather(seed=seed, live=live, speed=speed))
    at, entry = next(told)
    written = 0
    with tqdm(total=round(live - start), desc="past", unit="s", disable=None, leave=False) as bar:
        while at <= live and not stop.is_set():
            writer.write(directory, at, entry)
            written += 1
            bar.update(round(at - start) - bar.n)
            at, entry = next(told)
    if forever:
        print(f"agentgauge demo: {written:,} lines of the past; now the present, until Ctrl-C", file=sys.stderr)
    while forever and not stop.wait(max(0.0, at - now())):
        writer.write(directory, at, entry)
        written += 1
        at, entry = next(told)
    return written


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


def command(arguments: argparse.Namespace) -> int:
    """Run `agentgauge demo` until SIGTERM or Ctrl-C; return the exit code."""
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        written = run(
            arguments.directory,
            history=arguments.history,
            rate=arguments.rate,
            speed=arguments.speed,
            seed=arguments.seed,
            forever=not arguments.once,
            now=time.time,
            stop=stop,
        )
    except OSError as error:
        print(f"agentgauge demo: {error}; name a folder that can be written", file=sys.stderr)
        return 2
    print(f"agentgauge demo: wrote {written:,} lines to {arguments.directory}", file=sys.stderr)
    return 0


def _duration(text: str) -> timedelta:
    try:
        return timedelta(seconds=seconds_of(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
