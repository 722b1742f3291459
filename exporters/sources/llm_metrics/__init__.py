"""llm_metrics: the calls of a Langfuse project as rows of a database, SQLite or PostgreSQL, in two layouts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from exporters.sources import Options, Source, SourceError, Translated, seconds_of
from exporters.sources.llm_metrics.generations import translate
from exporters.sources.sqlite import file_of, first_look, look

if TYPE_CHECKING:
    from exporters.sources.llm_metrics.reader import Connect

# How many make a second.
_UNITS = {"ms": 1000.0, "s": 1.0, "auto": None}


def open_file(url: SplitResult, options: Options) -> Source:
    """Open `llm-metrics:///path/llm_metrics.db`. Raises SourceError."""
    options.only(url, "latency", "lookback", "settle")
    file = file_of(url)
    with first_look(options):
        look(file, "llm_metrics")
    sqlite = _library("sqlite")
    return _source(options, lambda: sqlite.Database(file))


def open_server(url: SplitResult, options: Options) -> Source:
    """Open `llm-metrics+postgresql://user@host/db`; it is connected to when it is read. Raises SourceError."""
    options.only(url, "latency", "lookback", "settle", "password_file")
    postgresql = _library("postgresql")
    place = postgresql.place_of(url, options.own.get("password_file", ""))
    return _source(options, lambda: postgresql.Database(place))


def _source(options: Options, connect: "Connect") -> Source:
    # Imported late: SQLAlchemy is installed only where such a source is read.
    from exporters.sources.llm_metrics.reader import Rows  # noqa: PLC0415
    from exporters.sources.llm_metrics.sums import sums_of  # noqa: PLC0415

    unit = options.own.get("latency", "auto")
    if unit not in _UNITS:
        raise SourceError(f"{options.name}: latency: '{unit}' should be one of {', '.join(_UNITS)}")
    reader = Rows(
        connect,
        lambda page: translate(page, options.environment),
        since=options.since,
        lookback=_duration(options, "lookback", "2d"),
        settle=_duration(options, "settle", "35m"),
        unit=_UNITS[unit],
    )

    return Source(name=options.name, reader=reader, spans=_together, sums=sums_of(connect))


def _together(pages: Sequence[Translated]) -> Translated:
    """Return what pages became as they were read."""
    found = Translated([], 0, {})
    for page in pages:
        found.spans += page.spans
        found.records += page.records
        for reason, count in page.bad.items():
            found.bad[reason] = found.bad.get(reason, 0) + count
    return found


def _duration(options: Options, name: str, default: str) -> float:
    try:
        return seconds_of(options.own.get(name, default))
    except ValueError as error:
        raise SourceError(f"{options.name}: {name}: {error}") from None


def _library(database: str) -> Any:
    """Return the module of a database. Raises SourceError when what it needs is not installed."""
    from importlib import import_module  # noqa: PLC0415

    try:
        return import_module(f"exporters.sources.llm_metrics.{database}")
    except ImportError as error:
        raise SourceError(
            f"llm_metrics needs {error.name}, which is not installed: pip install 'agentgauge[llm-metrics]'"
        ) from None
