"""What a row of the table `generations` says, as a span: pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from exporters.sources import Translated
from exporters.sources.llm_metrics.names import NOTHING, agent_of, model_of, name
from exporters.sources.llm_metrics.rows import EPOCH, OF_TRACE, Row, identity, moment, row_of, rows_of, seconds, time_of
from exporters.sources.records import LATEST, RecordError
from exporters.span import Span, error_type

# Rows that are looked at in one go; more of them would not stay in the processor's cache until they are spans.
_TOGETHER = 64
# Latencies of calls to models: the middle one of many is below this in seconds, and above it in milliseconds.
_SECONDS_OR_MILLISECONDS = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Rows as they were read. `zeros` says that unknown numbers are stored as 0, and that a completion
    starts with its first token (layout B); `unit` is how many of `latency_ms` make a second."""

    rows: list[tuple[Any, ...]]
    zeros: bool
    unit: float
    # Name, metadata and time of the rows' traces, by id, where they do not stand in the rows.
    traces: Mapping[Any, tuple[Any, ...]] | None = None


def unit_of(latencies: list[Any]) -> float:
    """Say by the size of latencies how many make a second: one writer of layout B puts seconds into
    `latency_ms`, another milliseconds."""
    known = [value for value in latencies if isinstance(value, int | float) and value > 0]
    return 1.0 if known and median(known) < _SECONDS_OR_MILLISECONDS else 1000.0


def translate(page: Page, environment: str) -> Translated:
    """Return the spans of a page: a call for each row, after the run that its trace is.

    The trace says when it began and never that it ended. Rows that cannot be used are counted by reason.
    """
    found = Translated([], len(page.rows), {})
    begun: dict[str, _Trace] = {}
    # The same names come again and again in a page.
    agent, model = cache(agent_of), cache(model_of)
    spans = found.spans
    for start in range(0, len(page.rows), _TOGETHER):
        rows = page.rows[start : start + _TOGETHER]
        for columns, known in zip(rows, rows_of(rows), strict=True):
            try:
                trace = begun.get(columns[1])
                if trace is None:
                    said = columns[OF_TRACE] if page.traces is None else page.traces[columns[1]]
                    trace = begun[columns[1]] = _begun(columns[1], said, agent, environment, spans)
                row = known or row_of(columns)
                spans.append(_call(row, trace, (agent(row.metadata), model(row.model)), page, environment))
            except (RecordError, TypeError) as reason:  # a column of another type, such as a blob
                why = str(reason) if isinstance(reason, RecordError) else "wrong_type"
                found.bad[why] = found.bad.get(why, 0) + 1
    return found


# The id of a trace, the id of the run that it is, or nothing, and its agent.
_Trace = tuple[str, str, str]


def _begun(
    trace: Any, said: tuple[Any, ...], agent_of: Callable[[str], str], environment: str, spans: list[Span]
) -> _Trace:
    """Put down that a trace began, if an agent's name stands on it."""
    trace_id = identity(trace)
    trace_name, metadata, created = said
    agent = (agent_of(metadata) if isinstance(metadata, str) else "") or name(trace_name).removesuffix("_task")
    began = moment(created)
    if not agent or began is None or not 0.0 <= (time := seconds(began)) < LATEST:
        return trace_id, "", agent
    run = Span("run", False, trace_id, f"trace:{trace_id}", "", time, agent, "", "", "", "", "", environment)
    run.ends_when_idle = True
    spans.append(run)
    return trace_id, run.span_id, agent


def _call(row: Row, trace: _Trace, names: tuple[str, tuple[str, str]], page: Page, environment: str) -> Span:
    trace_id, run_id, agent_of_trace = trace
    agent, (provider, model) = names
    zeros = page.zeros
    began, first, ended = row.created_at, row.completion_start_time, row.completion_end_time
    time = (ended - EPOCH).total_seconds() if ended is not None else -1.0
    if not 0.0 <= time < LATEST:
        time = time_of(began, ended)
    error, level, message = "", row.level, row.status_message
    if level == "ERROR" or (message is not None and message not in NOTHING and level not in ("WARNING", "DEBUG")):
        error = error_type(message if isinstance(message, str) else None)
    given, taken, total, cost = row.input_tokens, row.output_tokens, row.total_tokens, row.total_cost
    # Unknown numbers are stored as 0 there. A total of tokens may differ from its parts, and is used
    # only where they are not known.
    if zeros and not given and not taken:
        given = taken = None
        total = total or None
    if not cost and row.input_cost is not None and row.output_cost is not None:
        cost = row.input_cost + row.output_cost
    # How long a call took its times say where they do so, for the unit of `latency_ms` may lie. In layout A a
    # completion starts with the call, and `created_at` is when the row was exported; in layout B the
    # call was created when it began, and its completion starts with the first token.
    start, duration, waited = began if zeros else first, None, None
    if ended is not None and start is not None and ended >= start:
        duration = (ended - start).total_seconds()
    elif row.latency_ms is not None:
        duration = row.latency_ms / page.unit
    if zeros and first is not None and began is not None and first > began and not error:
        waited = (first - began).total_seconds() if ended is None or first <= ended else None
    return Span(
        # By their places, in one call: this is made of each row.
        "inference", True, trace_id, row.id, run_id, time, agent or agent_of_trace, model, provider, "chat", "", "",
        environment, error, duration, waited, given, taken, None, None, None,
        total if given is None and taken is None else None,
        cost if cost or not zeros else None,
    )  # fmt: skip
