"""msgtrace: the spans of msgflux and of whatever else sends it OTLP, as rows of one SQLite file."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult

from exporters.sources import Options, Source, SourceError, Translated, seconds_of
from exporters.sources.msgtrace.database import connect
from exporters.sources.msgtrace.rows import Rows
from exporters.sources.msgtrace.sums import sums_of
from exporters.sources.msgtrace.translation import translate
from exporters.sources.sqlite import file_of, first_look

_WAIT = "10s"


def open_file(url: SplitResult, options: Options) -> Source:
    """Open `msgtrace:///var/msgtrace.db?wait=10s`. Raises SourceError.

    `wait` is how long a span waits for those above it: children are written before their roots.
    """
    options.only(url, "wait")
    try:
        settles = seconds_of(options.own.get("wait", _WAIT))
    except ValueError as error:
        raise SourceError(f"{options.name}: wait: {error}") from None
    file = file_of(url)
    with first_look(options):
        connect(file).close()

    def spans(records: Sequence[Any]) -> Translated:
        return translate(records, options.environment)

    return Source(options.name, Rows(file, since=options.since), spans, settles, sums_of(file))
