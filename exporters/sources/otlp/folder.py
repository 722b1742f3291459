"""A folder of OTLP's JSON, as it is opened; and what every source of OTLP's URL may say."""

import re
from collections.abc import Sequence
from urllib.parse import SplitResult

from exporters.sources import Options, Source, SourceError, Translated, seconds_of
from exporters.sources.files import Files
from exporters.sources.folder import folder_of
from exporters.sources.otlp.translation import lines

# As the Collector's file exporter names what it writes and rotates, and what others make of a name when they rotate.
FILE_NAME = re.compile(r".*\.jsonl?(\.\d+|-\d{8})?")
# How long a call waits for the span that names its agent: it ends after the call, and comes later.
_SETTLES = "10s"


def open_folder(url: SplitResult, options: Options) -> Source:
    """Open the folder of a URL such as `otlp+file:///folder`: OTLP's JSON, one request a line.

    The Collector's file exporter writes such files. The cursor has one part a file. Option: `wait`, as
    a receiver has it. Raises SourceError.
    """
    options.only(url, "wait")
    settles = settles_of(url, options)

    def spans(records: Sequence[bytes | memoryview]) -> Translated:
        return lines(records, options.environment)

    return Source(options.name, Files(folder_of(url, options), FILE_NAME, since=options.since), spans, settles)


def settles_of(url: SplitResult, options: Options) -> float:
    """Return how many seconds a span may wait for the rest of its trace. Raises SourceError."""
    try:
        return seconds_of(options.own.get("wait", _SETTLES))
    except ValueError as error:
        raise SourceError(f"{url.geturl()}: wait: {error}") from None
