"""The SQLite file of msgtrace: its table of spans."""

from pathlib import Path

from exporters.sources import SourceError
from exporters.sources.sqlite import Database

# As long as a question lasts, whoever writes the file waits, and msgtrace gives up after ten seconds.
_SECONDS = 8.0
_COLUMNS = (
    "span_id", "trace_id", "parent_span_id", "name", "start_time", "end_time", "attributes", "events", "status_code",
    "status_description", "resource_attributes",
)  # fmt: skip


def connect(file: Path) -> Database:
    """Open the file at a path. Raises SourceError when it is not one of msgtrace's."""
    database = Database(file, writer="msgtrace", text=bytes, seconds=_SECONDS)
    try:
        columns = {column.lower() for column in database.columns("spans")}
        if not columns:
            raise SourceError(f"{file}: has no table 'spans'; name the database that msgtrace writes")
        missing = [column for column in _COLUMNS if column not in columns]
        if missing:
            raise SourceError(
                f"{file}: the table 'spans' stores no column '{missing[0]}'; name the database that msgtrace writes"
            )
    except SourceError:
        database.close()
        raise
    return database
