"""The trace stores that can be read: what a source is, and which there are."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pkgutil import resolve_name
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from exporters.span import Span

# A name rather than a class, so that a store's client library is needed only by those who use it.
SOURCES = {
    "createagents": "exporters.sources.createagents:open_folder",
    "langfuse+https": "exporters.sources.langfuse:open_project",
    "langfuse+http": "exporters.sources.langfuse:open_project",
    "llm-metrics": "exporters.sources.llm_metrics:open_file",
    "llm-metrics+postgresql": "exporters.sources.llm_metrics:open_server",
    "msgtrace": "exporters.sources.msgtrace:open_file",
    "otlp": "exporters.sources.otlp.opening:open_receiver",
    "otlp+file": "exporters.sources.otlp.folder:open_folder",
}


class SourceError(Exception):
    """A source, or a file that is given with it, that cannot be read, in one line that says what and how to mend it."""


@dataclass(slots=True)
class Batch:
    """What one poll of a source brought.

    `records` are as the reader found them: blocks of lines, rows, pages; or what it was told to make of
    these as it read them. They are good until the next poll. `cursor` holds the parts of the cursor that
    moved (an empty value forgets a part), `bad` the records that the reading itself had to give up, by
    reason, `more` whether there is more to read right now, and `problem` what could not be read although
    the rest could.
    """

    records: list[Any]
    cursor: dict[str, bytes]
    # How much of the store was read, in the reader's unit.
    size: int = 0
    more: bool = False
    bad: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    late: int = 0
    retries: int = 0


class Reader(Protocol):
    """The half of a source that does I/O: reads records on from a cursor."""

    @property
    def unit(self) -> str:
        """What the size of a batch and the backlog are counted in: `bytes` or `records`."""

    def seek(self, cursor: Mapping[str, bytes]) -> None:
        """Go to a committed cursor; an empty one is the beginning."""

    def poll(self) -> Batch:
        """Read the next records and move past them. Raises SourceError or OSError.

        Without a `seek` in between, this says that what the last poll brought is committed.
        """

    def backlog(self) -> int:
        """Return how much is still to be read, as of the last poll."""

    def wait(self, seconds: float) -> None:
        """Return when there may be something to read, or after `seconds`."""

    def close(self) -> None:
        """Let go of everything; a `wait` under way returns."""


@dataclass(slots=True)
class Translated:
    """What records say: spans, how many records there were, and how many of them were bad, by reason."""

    spans: list[Span]
    records: int
    bad: dict[str, int]


# Takes a batch, because a call for each record would cost a third of the hot path. Never raises.
Translate = Callable[[Sequence[Any]], Translated]


@dataclass(frozen=True, kw_only=True)
class Sums:
    """A store's own totals of the model calls that ended in a period; None is unknown."""

    calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Source:
    """A trace store: a reader, and the pure translation of its records.

    `settles` is how many seconds a span may wait for the rest of its trace, where what it lacks may
    stand on another span of the trace; None where every record says all. `sums` asks the store for
    its own totals of what ended from one Unix time up to another, where it can be asked. `gauges`
    returns what else the store tells of itself, by the names of the catalogue.
    """

    name: str
    reader: Reader
    spans: Translate
    settles: float | None = None
    sums: Callable[[float, float], Sums] | None = None
    # Seconds: what was older when the store was first seen has not been read. `open_source` sets it.
    since: float | None = None
    gauges: Callable[[], Mapping[str, float]] | None = None
    # Sets the cost of a model call; None for list prices.
    price: Callable[[Span], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What stands after the `?` of a source's URL: what every source takes, and in `own` the rest."""

    name: str
    environment: str = ""
    # Seconds: what is older when the store is first seen is not read.
    since: float | None = None
    # Whether the store is followed as it grows, and not only read to its end.
    follows: bool = False
    own: Mapping[str, str] = field(default_factory=dict)

    def only(self, url: SplitResult, *names: str) -> None:
        """Raise SourceError when the URL has an option that neither every source nor this one takes."""
        unknown = self.own.keys() - set(names)
        if unknown:
            known = ", ".join((*_OPTIONS, *names))
            raise SourceError(f"{shown(url.geturl())}: unknown option '{min(unknown)}'; there are {known}")


_OPTIONS = ("name", "environment", "since")


# A password may hold what ends a host, and then a URL is not what it seems; a port is no password.
_PASSWORD = re.compile(r"(?<=//)(?P<user>[^/?#:@\[]*):(?!\d*(?:[/?#]|$))(?P<password>.*)@", re.S)
_OPTION = re.compile(r"(?P<option>[?&][^=&]*(?:password|secret|token|key)=)[^&#]*", re.I)


def shown(url: str) -> str:
    """Return a URL as it may be shown: without a password, wherever somebody has put one."""
    return _OPTION.sub(r"\g<option>***", _PASSWORD.sub(r"\g<user>:***@", url))


_SPAN_OF_TIME = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds_of(text: str) -> float:
    """Return the seconds of a duration such as `90s`, `15m`, `6h`, `7d` or `2w`. Raises ValueError."""
    found = _SPAN_OF_TIME.fullmatch(text)
    if not found:
        raise ValueError(f"'{text}' is not a duration such as 30d, 12h or 15m")
    return float(found[1]) * _SECONDS[found[2]]


def _options(url: SplitResult, follows: bool) -> Options:
    given = dict(parse_qsl(url.query, keep_blank_values=True))
    try:
        since = seconds_of(given["since"]) if "since" in given else None
    except ValueError as error:
        raise SourceError(f"{shown(url.geturl())}: since: {error}") from None
    name = given.get("name") or url.scheme.partition("+")[0]
    if not name.isprintable() or len(name) > 64:
        raise SourceError(f"{shown(url.geturl())}: name: should be up to 64 characters that can be printed")
    if url.fragment:
        raise SourceError(f"{shown(url.geturl())}: write '#' in a path as %23")
    own = {option: value for option, value in given.items() if option not in _OPTIONS}
    return Options(name=name, environment=given.get("environment", ""), since=since, follows=follows, own=own)


def open_source(url: str, *, follows: bool = False) -> Source:
    """Open the source that a URL such as `createagents:///var/traces?name=prod` names.

    `follows`: it is to be followed as it grows, and not only read to its end.
    Raises SourceError when the scheme is unknown, an option is, or the store cannot be read.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SourceError(f"{shown(url)}: {error}; check the URL") from None
    if parts.scheme not in SOURCES:
        known = ", ".join(f"{scheme}://" for scheme in SOURCES)
        raise SourceError(f"{shown(url)}: not the URL of a trace store; it should begin with {known}")
    if _PASSWORD.search(url) and not parts.password:
        raise SourceError(
            f"{shown(url)}: a password does not belong into a URL, where logs and process lists show it; take it out"
        )
    options = _options(parts, follows)
    try:
        source: Source = resolve_name(SOURCES[parts.scheme])(parts, options)
    except SourceError as error:
        # To a folder or a file, what stands before the @ is a part of its name.
        said = str(error)
        for secret in (parts.password, unquote(parts.password)) if parts.password else ():
            said = said.replace(secret, "***")
        raise SourceError(said) from None
    return replace(source, since=options.since)


def open_sources(urls: Sequence[str], *, follows: bool = False) -> list[Source]:
    """Open several sources. Raises SourceError also when two of them share a name."""
    sources: list[Source] = []
    for url in urls:
        source = open_source(url, follows=follows)
        if any(other.name == source.name for other in sources):
            raise SourceError(f"{shown(url)}: two sources are named '{source.name}'; add ?name=... to one of them")
        sources.append(source)
    return sources
