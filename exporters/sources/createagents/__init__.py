"""createagents: JSONL files of trace events, one folder, a file a day."""

import re
from collections.abc import Sequence
from functools import partial
from urllib.parse import SplitResult

from exporters.sources import Options, Source, Translated
from exporters.sources.createagents.sums import sums
from exporters.sources.createagents.translation import translate
from exporters.sources.files import Files
from exporters.sources.folder import folder_of

# The framework names a file by day and, past 100 MiB, by second; a rotation by hand adds `.1`.
FILE_NAME = re.compile(r"traces_.*\.jsonl(\.\d+|-\d{8})?")


def open_folder(url: SplitResult, options: Options) -> Source:
    """Open a folder of `traces_*.jsonl`; the cursor has one part a file. Raises SourceError."""
    options.only(url)
    folder = folder_of(url, options)
    files = Files(folder, FILE_NAME, since=options.since)

    def spans(records: Sequence[bytes | memoryview]) -> Translated:
        return translate(records, options.environment)

    return Source(options.name, files, spans, sums=partial(sums, folder, FILE_NAME))
