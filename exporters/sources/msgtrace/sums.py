"""The store's own sums, for reconciliation: counted by SQLite in words of its own, not by our translation."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from exporters.sources import SourceError, Sums
from exporters.sources.msgtrace.database import connect
from exporters.sources.sqlite import SUM_SECONDS, TooLongError

_NANOSECONDS = 10**9
# The table has an index of starts and none of ends: of what ended in a period, what began up to this
# long before it is looked for. A model call that took longer is not in the sums.
_LONGEST_CALL = 6 * 3600 * _NANOSECONDS
# What is asked at once begins within so long, so that whoever writes the file does not wait for long.
_SLICE = 600 * _NANOSECONDS

# What is needed of spans, which is short: attributes may be as long as any value, and are read once.
_EXTRACTED = """
CREATE TEMP TABLE extracted (
    number INTEGER PRIMARY KEY, span_id, trace_id, parent_span_id, name, start_time, end_time, fields TEXT
)
"""
_NEEDED = "CREATE TEMP TABLE needed (number INTEGER PRIMARY KEY)"
# Ids longer than `records.LONGEST` make a bad record. JSON that is nested deeper than SQLite reads it is none, nor is
# one of more than two million values, which fill the memory.
_FILL = """
INSERT INTO extracted
SELECT rowid, span_id, trace_id, parent_span_id, substr(name, 1, 64), start_time + 0, end_time + 0,
       CASE WHEN length(attributes) - length(replace(attributes, ',', '')) > 2000000 THEN NULL
            WHEN json_valid(attributes) THEN json_extract(attributes,
                '$."gen_ai.operation.name"', '$."openinference.span.kind"', '$."langfuse.observation.type"',
                '$."traceloop.span.kind"', '$."llm.request.type"', '$."span.type"',
                '$."gen_ai.request.model"', '$."gen_ai.response.model"', '$."llm.model"', '$."llm.model_name"',
                '$."gen_ai.tool.name"', '$."tool.name"',
                '$."gen_ai.usage.input_tokens"', '$."gen_ai.usage.prompt_tokens"', '$."llm.usage.prompt_tokens"',
                '$."llm.token_count.prompt"',
                '$."gen_ai.usage.output_tokens"', '$."gen_ai.usage.completion_tokens"',
                '$."llm.usage.completion_tokens"', '$."llm.token_count.completion"',
                '$."gen_ai.usage.cost"', '$."llm.cost.total"',
                '$."gen_ai.usage.cost.input_tokens"', '$."llm.cost.input"',
                '$."gen_ai.usage.cost.output_tokens"', '$."llm.cost.output"',
                '$."gen_ai.usage.cost.currency"')
       END
FROM spans
WHERE rowid IN (SELECT number FROM needed) AND length(span_id) <= 1024 AND length(trace_id) <= 1024
  AND coalesce(length(parent_span_id), 0) <= 1024
"""
# What is longer is no name and no number.
_SHORTEN = "UPDATE extracted SET fields = NULL WHERE number IN (SELECT number FROM needed) AND length(fields) > 65536"
# Which rows are needed: those of a slice; what is right below its calls; and of a run with a usage of its own the first
# that were written of its trace, among which are calls with theirs, if there are any.
_OF_SLICE = "INSERT INTO needed SELECT rowid FROM spans WHERE start_time >= ? AND start_time < ?"
_BELOW = """
INSERT INTO needed SELECT rowid FROM spans
WHERE parent_span_id IN (SELECT span_id FROM facts WHERE call) AND rowid NOT IN (SELECT number FROM extracted)
"""
_OF_RUNS = """
INSERT INTO needed SELECT rowid FROM spans
WHERE trace_id IN (SELECT trace_id FROM facts WHERE run AND coalesce(input, output, cost) IS NOT NULL)
  AND rowid NOT IN (SELECT number FROM extracted)
LIMIT 10000
"""

# In which words spans say what they are and took, of those that msgtrace's clients use and the conventions. A number
# past `records.MOST` is no count.
_FACTS = """
CREATE TEMP VIEW facts AS
SELECT span_id, trace_id, parent_span_id, start_time, end_time,
       CASE WHEN input > -9007199254740992 AND input < 9007199254740992 THEN input END AS input,
       CASE WHEN output > -9007199254740992 AND output < 9007199254740992 THEN output END AS output,
       CASE WHEN cost > -9007199254740992 AND cost < 9007199254740992 THEN cost END AS cost,
       (what IN ('agent', 'invoke_agent', 'workflow', 'invoke_workflow', 'flow')
        OR name = 'Workflow Initialized') AS run,
       (what IN ('chat', 'completion', 'text_completion', 'generate_content', 'embedding', 'embeddings', 'llm',
                 'generation')
        OR (what NOT IN ('agent', 'invoke_agent', 'workflow', 'invoke_workflow', 'flow', 'tool', 'execute_tool', 'plan',
                         'retrieval', 'create_agent', 'fetch_response')
            AND tool IS NULL AND name NOT IN ('Tool Usage', 'Workflow Initialized')
            AND (model IS NOT NULL OR input IS NOT NULL OR output IS NOT NULL))) AS call
FROM (
    SELECT span_id, trace_id, parent_span_id, name, start_time, end_time,
           lower(coalesce(fields ->> 0, fields ->> 1, fields ->> 2, fields ->> 3, fields ->> 4, fields ->> 5,
                          '')) AS what,
           coalesce(fields ->> 6, fields ->> 7, fields ->> 8, fields ->> 9) AS model,
           coalesce(fields ->> 10, fields ->> 11) AS tool,
           coalesce(fields ->> 12, fields ->> 13, fields ->> 14, fields ->> 15) + 0.0 AS input,
           coalesce(fields ->> 16, fields ->> 17, fields ->> 18, fields ->> 19) + 0.0 AS output,
           usd * coalesce(fields ->> 20, fields ->> 21,
                          coalesce(fields ->> 22, fields ->> 23) + coalesce(fields ->> 24, fields ->> 25, 0),
                          coalesce(fields ->> 24, fields ->> 25)) AS cost
    FROM (SELECT *, CASE upper(coalesce(fields ->> 26, 'USD')) WHEN 'USD' THEN 1 END AS usd FROM extracted)
)
"""
# A call that wraps calls is none; its usage counts where they have none, and a run's where its trace has none.
_SUMS = """
SELECT sum(call AND NOT EXISTS (
           SELECT 1 FROM facts AS inside
           WHERE inside.parent_span_id = outside.span_id AND inside.trace_id = outside.trace_id AND inside.call)),
       sum(CASE WHEN counts THEN input END), sum(CASE WHEN counts THEN output END), sum(CASE WHEN counts THEN cost END)
FROM (
    SELECT *, CASE
        WHEN call THEN NOT EXISTS (
            SELECT 1 FROM facts AS inside
            WHERE inside.parent_span_id = whole.span_id AND inside.trace_id = whole.trace_id AND inside.call
              AND coalesce(inside.input, inside.output, inside.cost) IS NOT NULL)
        WHEN run THEN NOT EXISTS (
            SELECT 1 FROM facts AS inside
            WHERE inside.trace_id = whole.trace_id AND inside.call
              AND coalesce(inside.input, inside.output, inside.cost) IS NOT NULL)
        END AS counts
    FROM facts AS whole
    WHERE start_time >= ? AND start_time < ? AND end_time >= ? AND end_time < ?
) AS outside
"""
_SETTING_UP = (
    # What a slice of many spans takes; past it a file is written to the system's folder for such.
    "PRAGMA temp.cache_size = -32768",
    _EXTRACTED,
    "CREATE INDEX temp.extracted_parents ON extracted (parent_span_id)",
    "CREATE INDEX temp.extracted_traces ON extracted (trace_id)",
    _NEEDED,
    _FACTS,
)


def sums_of(file: Path, *, seconds: float = SUM_SECONDS) -> Callable[[float, float], Sums]:
    """Return what asks the store for its totals of the calls that ended in a period of Unix seconds.

    Cost is what spans report, in dollars; of calls that report none the store knows none. A call that
    wraps others is known as such when they are right below it. A row with a value that is too long is a bad
    record, and left out. Raises SourceError, also when all of this takes longer than `seconds`.
    """

    def sums(since: float, until: float) -> Sums:
        first, last = int(since * _NANOSECONDS), int(until * _NANOSECONDS)
        deadline = time.monotonic() + seconds
        database = connect(file)

        def ask(statement: str, *parameters: int) -> _Rows:
            if time.monotonic() > deadline:
                raise SourceError(
                    f"{file}: its sums took longer than {seconds:g} s; copy it to a faster disk, or look for what makes"
                    " it slow"
                )
            return database.fetch(statement, parameters)

        try:
            for statement in _SETTING_UP:
                ask(statement)
            # A slice more: where a clock was set back, a call begins after its end.
            starts = range(first - _LONGEST_CALL, last + _SLICE, _SLICE)
            rows = [row for start in starts for row in _of_slice(ask, start, first, last)]
        finally:
            database.close()
        calls, inputs, outputs, costs = zip(*rows, strict=True)
        return Sums(
            calls=sum(filter(None, calls)),
            input_tokens=int(sum(filter(None, inputs))),
            output_tokens=int(sum(filter(None, outputs))),
            cost=None if all(cost is None for cost in costs) else sum(filter(None, costs)),
        )

    return sums


_Rows = list[tuple[Any, ...]]


def _of_slice(ask: Callable[..., _Rows], start: int, first: int, last: int) -> _Rows:
    """Return the sums of what began in a slice, and ended in the period."""
    end = start + _SLICE
    for statement, parameters in ((_OF_SLICE, (start, end)), (_BELOW, ()), (_OF_RUNS, ())):
        ask(statement, *parameters)
        try:
            ask(_FILL)
        except TooLongError:
            _fill_one_by_one(ask)
        ask(_SHORTEN)
        ask("DELETE FROM needed")
    sums = ask(_SUMS, start, end, first, last)
    ask("DELETE FROM extracted")
    return sums


def _fill_one_by_one(ask: Callable[..., _Rows]) -> None:
    """Extract what is needed of all rows but those with a value that is too long."""
    for (number,) in ask("SELECT number FROM needed"):
        ask("DELETE FROM needed")
        ask("INSERT INTO needed VALUES (?)", number)
        with suppress(TooLongError):
            ask(_FILL)
            ask(_SHORTEN)
