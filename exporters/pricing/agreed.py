"""Negotiated prices: a YAML file of one's own, which wins over every list and over what a store reports."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from fnmatch import translate
from pathlib import Path
from re import compile as pattern
from typing import Annotated, Any

import msgspec

from exporters.declarations import convert, read_entries
from exporters.pricing.names import candidates, provider_id
from exporters.pricing.rates import Rates
from exporters.sources import SourceError
from exporters.span import Span

# USD per million tokens, or per call. Past it somebody has mistaken the unit.
Usd = Annotated[float, msgspec.Meta(ge=0, le=100_000)]
_MILLION = 1e-6
_KNOWN = 10_000
_LONG = 1024


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One price, from one day (UTC) on. Names are globs, matched without regard to case; empty is any."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    provider: str = ""
    source: str = ""
    agent: str = ""
    environment: str = ""
    valid_from: date = date(1970, 1, 1)
    input: Usd | None = None
    output: Usd | None = None
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    reasoning: Usd | None = None
    call: Usd | None = None

    @property
    def begins(self) -> float:
        """Unix seconds of the first moment of its first day."""
        return datetime(self.valid_from.year, self.valid_from.month, self.valid_from.day, tzinfo=UTC).timestamp()

    @property
    def whose(self) -> tuple[str, ...]:
        """What the entry is a price of: entries that agree in this follow each other in time."""
        return self.provider, self.model, self.source, self.agent, self.environment

    @property
    def rates(self) -> Rates:
        """The prices in USD per token; a class without a price of its own costs what it is a part of."""
        fresh, answer = self.input or 0.0, self.output or 0.0
        return Rates(
            input=fresh * _MILLION,
            output=answer * _MILLION,
            cache_read=(fresh if self.cache_read is None else self.cache_read) * _MILLION,
            cache_write=(fresh if self.cache_write is None else self.cache_write) * _MILLION,
            reasoning=(answer if self.reasoning is None else self.reasoning) * _MILLION,
            call=self.call or 0.0,
        )

    @property
    def by_call(self) -> bool:
        """Whether the price is of the call alone, whatever its tokens."""
        return self.input is None


def read_agreed(path: Path) -> list[Entry]:
    """Read a file of negotiated prices. Raises SourceError with one line that names file, entry and field."""
    entries = read_entries(path, under="prices", help_page="docs/prices.md")
    return [_entry(path, number, entry) for number, entry in enumerate(entries, 1)]


def _entry(path: Path, number: int, found: Any) -> Entry:
    model = found.get("model") if isinstance(found, dict) else None
    named = f"{path}: entry {number}" + (f" ({model})" if isinstance(model, str) else "")
    entry = convert(found, Entry, named)
    tokens = [name for name in ("input", "output") if getattr(entry, name) is None]
    parts = [name for name in ("cache_read", "cache_write", "reasoning") if getattr(entry, name) is not None]
    if len(tokens) == 1 or (tokens and (parts or entry.call is None)):
        raise SourceError(f"{named}: {tokens[0]}: is missing; give 'input' and 'output', or 'call' alone")
    return entry


# The moments at which a call's price changes, and from each on the entry that holds.
Course = tuple[tuple[float, ...], tuple[tuple[Entry, Rates] | None, ...]]


class Agreed:
    """The entries for one source. Of those that match a call, the first in the file decides; among
    entries that are of the same, the one that began last."""

    def __init__(self, entries: Sequence[Entry], source: str) -> None:
        self._entries = [(_matcher(entry), entry) for entry in entries if _glob(entry.source)(source.lower())]
        self._known: dict[tuple[str, str, str, str], Course] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __call__(self, span: Span) -> tuple[Entry, Rates] | None:
        """Return the entry that prices a model call, and its rates; None when none does."""
        key = (span.provider, span.model, span.agent, span.environment)
        course = self._known.get(key)
        if course is None:
            course = self._course(*key)
            # The names are written by strangers: neither their number nor their length is theirs to choose.
            if len(self._known) >= _KNOWN:
                self._known.clear()
            if sum(map(len, key)) <= _LONG:
                self._known[key] = course
        moments, entries = course
        return entries[bisect_right(moments, span.time)]

    def _course(self, provider: str, model: str, agent: str, environment: str) -> Course:
        names = {
            "provider": {provider.lower(), provider_id(provider), *(who for who, _ in candidates(provider, model))},
            "model": {model.lower(), *(what for _, what in candidates(provider, model))},
            "agent": {agent.lower()},
            "environment": {environment.lower()},
        }
        matching = [entry for matches, entry in self._entries if matches(names)]
        moments = tuple(sorted({entry.begins for entry in matching}))
        held = (_first_begun(matching, moment) for moment in moments)
        return moments, (None, *((entry, entry.rates) for entry in held))


def _first_begun(entries: Sequence[Entry], moment: float) -> Entry:
    begun = [entry for entry in entries if entry.begins <= moment]
    first = begun[0].whose
    return max((entry for entry in begun if entry.whose == first), key=lambda entry: entry.begins)


def _matcher(entry: Entry) -> Callable[[Mapping[str, set[str]]], bool]:
    globs = {name: _glob(getattr(entry, name)) for name in ("provider", "model", "agent", "environment")}
    return lambda names: all(any(map(globs[name], said)) for name, said in names.items())


def _glob(text: str) -> Callable[[str], object]:
    return pattern(translate(text.lower() or "*")).fullmatch
