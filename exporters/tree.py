"""Trees of spans: what those above a span say, which calls only wrap others, and in which order they count."""

from collections.abc import Container
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from exporters.span import Kind, Span


class Group(msgspec.Struct):
    """Spans of one trace that are counted together: runs, the outer ones first, and the others in the order of time.

    The parent of each is the run of this group that it belongs to, or the span above it that has not
    come, or nothing. `again` says whether it is known that some of the trace were settled before, `adrift` are the ids
    of those that nothing is known above of although there should be, `amended` those of model calls that were settled
    before, of which now is known that they have usage in them.
    """

    trace_id: str
    runs: list[Span]
    others: list[Span]
    again: bool = False
    adrift: set[str] = set()
    amended: set[str] = set()


class Link(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a span that was settled: what stands above it, and what it says to those below."""

    kind: Kind
    parent: str
    agent: str
    agent_version: str
    environment: str
    prompt: str
    prompt_version: str
    # Of a model call: whether it was counted as one, and whether its usage is known.
    counted: bool = False
    used: bool = False


class Known(msgspec.Struct, array_like=True):
    """What is remembered of one trace. `inner` are spans that have not come and have model calls in them,
    and whether those had usage."""

    links: dict[str, Link] = {}
    inner: dict[str, bool] = {}
    root: str = ""


class Above(msgspec.Struct, gc=False):
    """What a span finds above it: of each the nearest that there is."""

    agent: str = ""
    agent_version: str = ""
    environment: str = ""
    prompt: str = ""
    prompt_version: str = ""
    run: str = ""
    # A model call, or a span that has not come and may be one, with nothing but parts between.
    call: str = ""
    # The span above that has not come.
    missing: str = ""


@dataclass(slots=True)
class _Inner:
    """The model calls within another: whether one has usage, and the one, if there is only one."""

    used: bool
    only: Span | None


_TOP = Above()


def settle(trace_id: str, spans: dict[str, Span], known: Known, awaited: Container[str]) -> Group:
    """Make of spans of a trace, by id, what is to be counted; what is `known` of the trace grows by them.

    Parts are left out but for those that are `awaited`, under which something was counted before.
    Takes time in proportion to the spans and to what is known, also where they are each other's parents.
    """
    again = bool(known.links)
    _remember(spans, known)
    above = _look_up(spans, known)
    amended = _unwrap(spans, above, known)
    group = _in_order(trace_id, spans, above, known, awaited)
    group.again, group.amended = again, amended
    return group


def _remember(spans: dict[str, Span], known: Known) -> None:
    links, root = known.links, known.root
    if not root:
        for span_id, span in spans.items():
            if not span.parent_id and span.kind != "score":
                root = known.root = span_id
                break
    if links:
        for span_id in spans:
            before = links.get(span_id)
            if before is not None and before.kind == "inference" and not before.counted:
                known.inner[span_id] = before.used
    for span_id, span in spans.items():
        links[span_id] = Link(
            span.kind,
            span.parent_id or (root if span.kind == "score" else ""),
            span.agent,
            span.agent_version,
            span.environment,
            span.prompt,
            span.prompt_version,
        )


def _look_up(spans: dict[str, Span], known: Known) -> dict[str, Above]:
    """Return what stands above each span, in an order in which parents come before their children."""
    links = known.links
    # By span: what those below it find; and what it finds itself.
    below: dict[str, Above] = {}
    found: dict[str, Above] = {}
    for span_id in spans:
        if span_id in below:
            continue
        # What spans below this one find is only made for them: most have none.
        above = below.get(links[span_id].parent)
        if above is not None:
            found[span_id] = above
            continue
        path: dict[str, Link] = {}
        at = span_id
        while at in links and at not in below and at not in path:
            path[at] = links[at]
            at = links[at].parent
        above = below.get(at)
        if above is None:
            above = _TOP if not at or at in path else Above(call=at, missing=at)
        for way, link in reversed(path.items()):
            if way in spans:
                found[way] = above
            if way != span_id:
                above = below[way] = _below(above, way, link)
    return found


def _below(above: Above, span_id: str, link: Link) -> Above:
    """Return what the spans below one find, from what that one finds and says."""
    run = span_id if link.kind == "run" else above.run
    call = span_id if link.kind == "inference" else above.call if link.kind == "part" else ""
    if not (link.agent or link.environment or link.prompt) and run == above.run and call == above.call:
        return above
    named, prompted = (link if link.agent else above), (link if link.prompt else above)
    return Above(
        named.agent,
        named.agent_version,
        link.environment or above.environment,
        prompted.prompt,
        prompted.prompt_version,
        run,
        call,
        above.missing,
    )


def _unwrap(spans: dict[str, Span], above: dict[str, Above], known: Known) -> set[str]:
    """Mark model calls that only wrap others by `usage_only`, with the usage that is not said within them.

    Return those around them that were settled before.
    """
    amended = set()
    links = known.links
    within = {span_id: _Inner(used, None) for span_id, used in known.inner.items()}
    for span_id, up in reversed(above.items()):
        span, outer_id, inner = spans[span_id], up.call, None
        if within:
            inner = within.pop(span_id, None)
            known.inner.pop(span_id, None)
        if span.kind == "inference":
            if inner is None and not outer_id:
                # As nearly all are: neither in another nor around one.
                link = links[span_id]
                link.counted, link.used = True, has_usage(span)
                continue
            inner = _judged(span, inner, links[span_id], links.get(outer_id))
            if outer_id in links and outer_id not in spans:
                amended.add(outer_id)
        elif span.kind != "part":
            continue
        if inner is not None and outer_id:
            others = within.get(outer_id)
            within[outer_id] = inner if others is None else _Inner(inner.used or others.used, None)
    if within:
        known.inner.update((span_id, inner.used) for span_id, inner in within.items() if span_id not in links)
    return amended


def _judged(span: Span, inner: _Inner | None, link: Link, outer: Link | None) -> _Inner:
    """Say whether a model call with others in it, or within another, is one; return what is in those around it."""
    link.used = has_usage(span)
    if inner is not None:
        _wrap(span, inner)
        link.used = link.used or inner.used
        return _Inner(link.used, inner.only)
    if outer is not None and outer.counted:
        # What it is within was counted before it came.
        _wrap(span, _Inner(outer.used, None))
        outer.used = outer.used or link.used
        return _Inner(link.used, None)
    link.counted = True
    return _Inner(link.used, span)


def _wrap(span: Span, inner: _Inner) -> None:
    """Leave of a call that wraps others only the usage that they do not say; the only one within takes it."""
    only = inner.only
    if only is not None and not inner.used and has_usage(span):
        for name in _USAGE:
            setattr(only, name, getattr(span, name))
        only.model, only.provider = only.model or span.model, only.provider or span.provider
    if inner.used or only is not None:
        for name in _USAGE:
            setattr(span, name, None)
    span.usage_only = True


_USAGE = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "unsplit_tokens",
    "cost",
)  # fmt: skip


def has_usage(span: Span) -> bool:
    """Whether a span says what it took."""
    return not (
        span.input_tokens is None and span.output_tokens is None and span.unsplit_tokens is None and span.cost is None
    )


def _in_order(
    trace_id: str, spans: dict[str, Span], above: dict[str, Above], known: Known, awaited: Container[str]
) -> Group:
    runs: list[Span] = []
    lost_runs: list[Span] = []
    others: list[Span] = []
    group = Group(trace_id, runs, others)
    # The run that what is adrift belongs to, once something is.
    outermost: str | None = None
    for span_id, up in above.items():
        span = spans[span_id]
        kind = span.kind
        if kind == "part" and span_id not in awaited:
            continue
        if up is not _TOP:
            _inherit(span, up)
        parent = ""
        if up.run:
            # A run that was settled before has ended: the span is nobody's.
            parent = up.run if up.run in spans else ""
        elif up.missing:
            if outermost is None:
                outermost = _outermost(spans, above)
            group.adrift.add(span_id)
            parent = outermost or up.missing
        elif kind == "score" and not known.root:
            group.adrift.add(span_id)
        # Nearly always it is already, and to set a field takes longer than to look.
        if span.parent_id != parent:
            span.parent_id = parent
        (others if kind != "run" else lost_runs if up.missing else runs).append(span)
    runs += lost_runs
    if len(others) > 1:
        others.sort(key=_TIME)
    return group


_TIME = attrgetter("time")


def _outermost(spans: dict[str, Span], above: dict[str, Above]) -> str:
    """Return the run that what is adrift belongs to in a trace whose root has come, as far as can be known."""
    tops = (id_ for id_, up in above.items() if spans[id_].kind == "run" and not up.run and not up.missing)
    return next(tops, "")


def _inherit(span: Span, above: Above) -> None:
    """Give a span what only those above it say. A run has a name of its own or none."""
    if not span.environment:
        span.environment = above.environment
    if span.kind == "run":
        return
    if above.agent and not span.agent:
        span.agent = above.agent
        if above.agent_version and not span.agent_version:
            span.agent_version = above.agent_version
    if above.prompt and span.kind == "inference" and not span.prompt:
        span.prompt, span.prompt_version = above.prompt, above.prompt_version
