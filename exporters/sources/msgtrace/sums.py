"""The store's own sums, for reconciliation: counted by SQLite in words of its own, not by our translation."""

from collections.abc import Callable
from pathlib import Path

from exporters.sources import Sums
from exporters.sources.msgtrace.database import Database

_NANOSECONDS = 10**9
# The table has an index of starts and none of ends: of what ended in a period, what began up to this
# long before it is looked for. A model call that took longer is not in the sums.
_LONGEST_CALL = 6 * 3600 * _NANOSECONDS
# What is asked at once begins within so long, so that whoever writes the file does not wait for long.
_SLICE = 600 * _NANOSECONDS

# In which words spans say what they are and took, of those that msgtrace's clients use and the conventions.
_SAID = """
CREATE TEMP VIEW said AS
SELECT span_id, trace_id, parent_span_id, start_time, end_time, input, output,
       coalesce(cost, input_cost + coalesce(output_cost, 0), output_cost) AS cost,
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
           lower(coalesce(said ->> '$."gen_ai.operation.name"', said ->> '$."openinference.span.kind"',
                          said ->> '$."langfuse.observation.type"', said ->> '$."traceloop.span.kind"',
                          said ->> '$."llm.request.type"', said ->> '$."span.type"', '')) AS what,
           coalesce(said ->> '$."gen_ai.request.model"', said ->> '$."gen_ai.response.model"', said ->> '$."llm.model"',
                    said ->> '$."llm.model_name"') AS model,
           coalesce(said ->> '$."gen_ai.tool.name"', said ->> '$."tool.name"') AS tool,
           coalesce(said ->> '$."gen_ai.usage.input_tokens"', said ->> '$."gen_ai.usage.prompt_tokens"',
                    said ->> '$."llm.usage.prompt_tokens"', said ->> '$."llm.token_count.prompt"') + 0 AS input,
           coalesce(said ->> '$."gen_ai.usage.output_tokens"', said ->> '$."gen_ai.usage.completion_tokens"',
                    said ->> '$."llm.usage.completion_tokens"',
                    said ->> '$."llm.token_count.completion"') + 0 AS output,
           usd * coalesce(said ->> '$."gen_ai.usage.cost"', said ->> '$."llm.cost.total"') AS cost,
           usd * coalesce(said ->> '$."gen_ai.usage.cost.input_tokens"', said ->> '$."llm.cost.input"') AS input_cost,
           usd * coalesce(said ->> '$."gen_ai.usage.cost.output_tokens"', said ->> '$."llm.cost.output"') AS output_cost
    FROM (
        SELECT *, CASE upper(coalesce(said ->> '$."gen_ai.usage.cost.currency"', 'USD')) WHEN 'USD' THEN 1 END AS usd
        FROM (SELECT *, CASE WHEN json_valid(attributes) THEN attributes END AS said FROM spans)
    )
)
"""
# A call that wraps calls is none; its usage counts where they have none, and a run's where its trace has none.
_SUMS = """
SELECT sum(call AND NOT EXISTS (
           SELECT 1 FROM said AS inside
           WHERE inside.parent_span_id = outside.span_id AND inside.trace_id = outside.trace_id AND inside.call)),
       sum(CASE WHEN counts THEN input END), sum(CASE WHEN counts THEN output END), sum(CASE WHEN counts THEN cost END)
FROM (
    SELECT *, CASE
        WHEN call THEN NOT EXISTS (
            SELECT 1 FROM said AS inside
            WHERE inside.parent_span_id = whole.span_id AND inside.trace_id = whole.trace_id AND inside.call
              AND coalesce(inside.input, inside.output, inside.cost) IS NOT NULL)
        WHEN run THEN NOT EXISTS (
            SELECT 1 FROM said AS inside
            WHERE inside.trace_id = whole.trace_id AND inside.call
              AND coalesce(inside.input, inside.output, inside.cost) IS NOT NULL)
        END AS counts
    FROM said AS whole
    WHERE start_time >= ? AND start_time < ? AND end_time >= ? AND end_time < ?
) AS outside
"""


def sums_of(file: Path) -> Callable[[float, float], Sums]:
    """Return what asks the store for its totals of the calls that ended in a period of Unix seconds.

    Cost is what spans report, in dollars; of calls that report none the store knows none. A call that
    wraps others is known as such when they are right below it. Raises SourceError.
    """

    def sums(since: float, until: float) -> Sums:
        first, last = int(since * _NANOSECONDS), int(until * _NANOSECONDS)
        found: list[tuple[int | None, int | None, int | None, float | None]] = []
        database = Database(file)
        try:
            database.fetch(_SAID)
            # A slice more: where a clock was set back, a call begins after its end.
            for start in range(first - _LONGEST_CALL, last + _SLICE, _SLICE):
                found += database.fetch(_SUMS, (start, start + _SLICE, first, last))
        finally:
            database.close()
        calls, given, taken, costs = zip(*found, strict=True) if found else ((), (), (), ())
        return Sums(
            calls=sum(filter(None, calls)),
            input_tokens=int(sum(filter(None, given))),
            output_tokens=int(sum(filter(None, taken))),
            cost=None if all(cost is None for cost in costs) else sum(filter(None, costs)),
        )

    return sums
