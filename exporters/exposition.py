"""The page: committed totals as Prometheus text 0.0.4 or OpenMetrics 1.0.

Written by hand because a page of 10,000 series takes prometheus_client about 30 times as long. What
is told apart by process, not by store, is prometheus_client's and comes last.
"""

from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of
from prometheus_client.utils import floatToGoString

from exporters.aggregate import Aggregate, Cell, Counter
from exporters.catalogue.model import Metric
from exporters.feed import PLANS
from exporters.span import Span

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# OpenMetrics allows 128 characters for an exemplar's labels, names included.
_EXEMPLAR_CHARACTERS = 128 - len("trace_id") - len("span_id")


def negotiate(accept: str) -> str:
    """Return the content type to answer with: OpenMetrics to who asks for it, else text.

    Media ranges and `q` values as in RFC 9110, section 12.5.1.
    """
    best, quality_of_best = TEXT, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        given = {key.lower(): value.strip('"') for key, _, value in (piece.partition("=") for piece in parameters)}
        try:
            quality = float(given.get("q", "1"))
        except ValueError:
            quality = 0.0
        if name.lower() == "application/openmetrics-text" and given.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
            offered = OPENMETRICS
        elif name.lower() in ("text/plain", "text/*", "*/*"):
            offered = TEXT
        else:
            continue
        if quality > quality_of_best:
            best, quality_of_best = offered, quality
    return best


def page(
    aggregate: Aggregate,
    health: CollectorRegistry,
    *,
    openmetrics: bool,
    seen: int | None = None,
    created: bool = False,
) -> bytes:
    """Return the page, UTF-8, in the order of the catalogue.

    A series born after birth `seen` is shown at 0 (None: all at their value), so that who computes
    `increase()` sees it rise. `created` adds the `_created` lines of OpenMetrics, which
    Prometheus 2.x would store as a series each.
    """
    cells = sorted(
        (cell for cell in aggregate.cells.values() if cell.key[1] in aggregate.caught_up), key=lambda cell: cell.key
    )
    shown = aggregate.born if seen is None else seen
    lines: list[str] = []
    for kind, plan in PLANS.items():
        of_kind = [cell for cell in cells if cell.key[0] == kind]
        for place, metric in enumerate(plan.metrics):
            if any(cell.children[place] for cell in of_kind):
                lines += _head(metric, openmetrics=openmetrics)
            for cell in of_kind:
                for own, child in cell.children[place].items():
                    lines += sample(metric, cell, (place, own), child.born <= shown, openmetrics=openmetrics)
                    if openmetrics and created:
                        lines.append(f"{metric.name}_created{{{_labels(metric, cell, own)}}} {child.created}")
    lines.append("")
    own_health = openmetrics_of(health) if openmetrics else text_of(health)  # type: ignore[no-untyped-call] # typed in part
    return "\n".join(lines).encode() + bytes(own_health)


def _head(metric: Metric, *, openmetrics: bool) -> list[str]:
    name = metric.name if openmetrics or metric.type != "counter" else f"{metric.name}_total"
    return [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.type}"]


def sample(metric: Metric, cell: Cell, at: tuple[int, str], shown: bool, *, openmetrics: bool) -> list[str]:
    """The lines of one counter or histogram; all zero when its birth is yet to be shown."""
    child = cell.children[at[0]][at[1]]
    prefixes = cell.prefixes.get(at)
    if prefixes is None:
        prefixes = cell.prefixes[at] = _prefixes(metric, cell, at[1])
    if isinstance(child, Counter):
        return [f"{prefixes[0]}{child.value if shown else 0}"]
    if not shown:
        return [*(f"{prefix}0" for prefix in prefixes[:-1]), f"{prefixes[-1]}0.0"]
    running = list(accumulate(child.counts))
    lines = [f"{prefix}{count}" for prefix, count in zip(prefixes, running, strict=False)]
    exemplars = cell.exemplars[at[0]].get(at[1]) if openmetrics else None
    if exemplars is not None:
        for bucket, span in enumerate(exemplars):
            if span is not None:
                lines[bucket] += _exemplar(span, metric.field)
    lines += (f"{prefixes[-2]}{running[-1]}", f"{prefixes[-1]}{child.sum}")
    return lines


def _prefixes(metric: Metric, cell: Cell, own: str) -> list[str]:
    """What stands before the value in each line of a child: buckets, then count and sum."""
    labels = _labels(metric, cell, own)
    if metric.type == "counter":
        return [f"{metric.name}_total{{{labels}}} "]
    # As Go writes floats, 1.048576e+06: Prometheus 3 makes them so, and 2.x keeps what it is given.
    bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
    return [
        *(f'{metric.name}_bucket{{{labels},le="{bound}"}} ' for bound in bounds),
        f"{metric.name}_count{{{labels}}} ",
        f"{metric.name}_sum{{{labels}}} ",
    ]


def _labels(metric: Metric, cell: Cell, own: str) -> str:
    """The label pairs of a child; an empty value is no label."""
    kind, source, values = cell.key
    filled = zip(PLANS[kind].labels, values, strict=True)
    pairs = [("source", source), *filled, (metric.by, own)]
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs if label and value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _exemplar(span: Span, field: str) -> str:
    """Point from a bucket to its newest span; nothing if the ids are longer than an exemplar may be, or
    hold characters on which a scraper would refuse the page, as Prometheus does on NUL."""
    if len(span.trace_id) + len(span.span_id) > _EXEMPLAR_CHARACTERS:
        return ""
    if not (span.trace_id.isprintable() and span.span_id.isprintable()):
        return ""
    ids = f'trace_id="{_escaped(span.trace_id)}",span_id="{_escaped(span.span_id)}"'
    return f" # {{{ids}}} {getattr(span, field)} {span.time}"
