"""Card, panel, table: how a signal is shown, in slots that never move."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd  # type: ignore[import-untyped]
import streamlit as st

from exporters.catalogue.model import Signal, spoken
from exporters.catalogue.signals import SIGNALS
from exporters.catalogue.tables import Table
from streamlit_portal import charts, grafana, lines, prometheus, units
from streamlit_portal.axes import Look
from streamlit_portal.prometheus import Answer, Query
from streamlit_portal.scope import Scope, moment_before
from streamlit_portal.settings import Settings

# A panel of Grafana that is eight grid units high.
HEIGHT = 296
# The room of a row on a phone and on a small laptop, and what a slot and an axis take of it.
_PHONE, _NARROW, _FRAME = 360, 1140, 80
# Pixels of a column of names in a table, and of each of two on a phone.
_NAME, _NARROW_NAME = 150, 100
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in r"\`*_{}[]()<>#+-.!|~$:&"})
_COLOUR: dict[str, Literal["normal", "inverse", "off"]] = {"lower": "inverse", "higher": "normal", "": "off"}
# What is said, on a card and where there is more room, while an answer is still to come.
_NOT_YET, _AWAITED = "Not yet", "Not known yet: after a start it takes some minutes"
_LEAST_POINTS = 3
_AGAINST = {"day": "than yesterday by now", "month": "than last month by now"}


@dataclass(frozen=True, kw_only=True)
class Page:
    """What every widget of a page shares. `grafana` is its address, empty while panels are drawn here."""

    settings: Settings
    scope: Scope
    board: str
    grafana: str

    @property
    def beat(self) -> float | None:
        """Seconds between two refreshes of what is drawn here, None while refreshing is off."""
        return float(self.settings.refresh) if self.scope.live else None

    @property
    def calm(self) -> float | None:
        """As `beat`, for a table: a minute at least, because each column asks for all of the range, some twice."""
        return None if self.beat is None else max(self.beat, 60.0)

    def now(self) -> float:
        """The moment that all queries of one beat share, so that they are asked once for everybody."""
        return prometheus.beat(self.settings.refresh)

    def ask(self, queries: Sequence[Query]) -> tuple[Answer, ...]:
        """Answer queries in their order; see `prometheus.ask`."""
        return prometheus.ask(self.settings.prometheus, tuple(queries))

    def awaits(self, signal: Signal, now: float) -> bool:
        """Whether a signal that has no answer will have one."""
        return bool(signal.awaits) and bool(self.ask([Query(expr=self.scope.awaited(signal), end=now)])[0].series)

    def names(self, label: str, now: float) -> tuple[str, ...]:
        """Every value that Prometheus knows of a label; none while it does not answer."""
        return prometheus.label_values(self.settings.prometheus, label, now) or ()


def plain(text: str) -> str:
    """Escape text for a place where Streamlit reads Markdown."""
    return text.replace("\n", " ").translate(_MARKDOWN)


def clock(moment: float, zone: str) -> str:
    """Return HH:MM:SS in a zone that a browser named; in UTC, and saying so, if it is none."""
    try:
        return datetime.fromtimestamp(moment, ZoneInfo(zone)).strftime("%H:%M:%S")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.fromtimestamp(moment, ZoneInfo("UTC")).strftime("%H:%M:%S UTC")


def cards(names: Sequence[str], page: Page) -> None:
    """Draw a line of cards that renews itself without touching the rest of the page."""
    with st.container(key="cards"):
        st.fragment(_cards, run_every=page.beat)(tuple(names), page)


def _cards(names: tuple[str, ...], page: Page) -> None:
    signals = [SIGNALS[name] for name in names]
    now = page.now()
    answers = page.ask([query for signal in signals for query in _card_queries(signal, page.scope, now)])
    with st.container(key="moment"):
        if any(answer.problem == prometheus.SILENT for answer in answers):
            address = plain(prometheus.shown_address(page.settings.prometheus))
            st.markdown(
                f":red[:material/error: {prometheus.SILENT} at {address}. Tried again every {page.settings.refresh} s.]"
            )
        else:
            when = plain(clock(now, page.scope.zone))
            st.caption(f"As of {when} · change against the {page.scope.span.words} before")
    halves = [range(at, min(at + 4, len(signals))) for at in range(0, len(signals), 4)]
    # Eight in a line where there is room, else four and four, on a phone two and two.
    with st.grid(len(halves), min_column_width=560, gap="small"):
        for half in halves:
            with st.grid(4, min_column_width=130, gap="small", height="stretch"):
                for at in half:
                    _card(signals[at], answers[3 * at : 3 * at + 3], page, now)


def _card_queries(signal: Signal, scope: Scope, now: float) -> tuple[Query, Query, Query]:
    """The value of the range, that of the range before, and the range in coarse steps."""
    span = scope.span
    expr = scope.expression(signal, span.seconds)
    trend = scope.expression(signal, span.coarse)
    return (
        Query(expr=expr, end=now),
        Query(expr=expr, end=moment_before(signal, now, span)),
        Query(expr=trend, start=now - span.seconds + span.coarse, end=now, step=span.coarse),
    )


def _card(signal: Signal, answers: Sequence[Answer], page: Page, now: float) -> None:
    current, before, trend = answers
    problem = current.problem
    value: str = plain(signal.empty)
    delta: str | float | None = None
    notable = False
    if problem:
        value = "No answer" if problem == prometheus.SILENT else "Refused"
    elif current.value is not None:
        value = plain(units.of(signal, current.value))
        if before.value is not None:
            delta, notable = units.change(signal, current.value, before.value)
    elif page.awaits(signal, now):
        value, problem = _NOT_YET, f"{_AWAITED}."
    st.metric(
        plain(signal.title),
        value,
        delta,
        delta_color=_COLOUR[signal.better] if notable else "off",
        help=_help(signal, page.scope, problem),
        delta_description=None if delta is None else "no change" if delta == 0 else _AGAINST.get(signal.begins),
        border=True,
        height="stretch",
        chart_data=_sparkline(trend),
        chart_type="area",
    )


def _sparkline(trend: Answer) -> list[float] | None:
    """The points of a sparkline. It goes from edge to edge however few there are, so one or two say something wrong."""
    points = trend.series[0].points if trend.series else ()
    return [value for _, value in points] if len(points) >= _LEAST_POINTS else None


def _help(signal: Signal, scope: Scope, problem: str = "") -> str:
    """The signal's meaning, what the pickers do not narrow, and what went wrong."""
    ignored = [f"Not narrowed by {word}: this is not known per {word}." for word in scope.ignored(signal)]
    return plain(" ".join([signal.means, *ignored, problem])).strip()


def row(names: Sequence[str], page: Page) -> None:
    """Draw panels side by side, below each other on a narrow screen."""
    for place, name in zip(st.columns(len(names)), names, strict=True):
        with place:
            panel(SIGNALS[name], page, len(names))


def panel(signal: Signal, page: Page, beside: int) -> None:
    """Draw a signal in its slot: Grafana's own panel, or the same from Prometheus while there is none.

    The slot is keyed and unconditional and the frame's address does not change with time, so a
    frame stays loaded whatever happens around it.
    """
    with st.container(key=f"slot-{signal.name}", border=True, gap="xxsmall"):
        if page.grafana:
            st.iframe(grafana.panel(page.grafana, page.board, signal, page.scope), height=HEIGHT, alt=signal.title)
            address = grafana.link(page.grafana, page.board, page.scope, signal)
            st.markdown(f"[{plain(signal.title)} in Grafana :material/open_in_new:]({address})")
        else:
            st.header(plain(signal.title), anchor=False, help=_help(signal, page.scope))
            st.fragment(_drawing, run_every=page.beat)(signal, page, beside)


def _asked(signal: Signal, scope: Scope, now: float, end: float) -> tuple[tuple[float, ...], Query]:
    """The moments of a chart whose last step ends at `end`, and the query for them."""
    if signal.view in ("bargauge", "matrix", "scatter"):
        return (now,), Query(expr=scope.expression(signal, scope.span.seconds), end=now)
    moments = lines.grid(end - scope.span.seconds, end, scope.span.step)
    query = Query(expr=scope.expression(signal, scope.span.step), start=moments[0], end=end, step=scope.span.step)
    return moments, query


def _drawing(signal: Signal, page: Page, beside: int) -> None:
    scope, now = page.scope, page.now()
    step = scope.span.step
    # Whole steps keep a rate's line still. A level is that of a moment: shown at once, also on the first day.
    end = now if signal.over == "now" else now // step * step
    moments, query = _asked(signal, scope, now, end)
    (answer,) = page.ask([query])
    if end < now and not answer.problem and not answer.series:
        # No whole step is over since the first scrape, perhaps: steps that end now.
        moments, query = _asked(signal, scope, now, now)
        (answer,) = page.ask([query])
    width = _PHONE if scope.phone else _NARROW // beside
    names = page.names(signal.by[0], now) if len(signal.by) == 1 or signal.view == "scatter" else ()
    look = Look(dark=scope.dark, width=width - _FRAME, height=HEIGHT, names=names, alone=scope.phone)
    chart = None if answer.problem else charts.draw(signal, answer, moments, look)
    if chart is None:
        with st.container(height=HEIGHT, border=False, horizontal_alignment="center", vertical_alignment="center"):
            st.caption(plain(answer.problem or _nothing(signal, page, now)), width="content")
    else:
        st.altair_chart(chart, alt=f"{signal.title}. {signal.means}", key=f"chart-{signal.name}")


def _nothing(signal: Signal, page: Page, now: float) -> str:
    """Say why there is nothing to draw."""
    return _AWAITED if page.awaits(signal, now) else signal.empty


def table(table: Table, page: Page, number: int) -> None:
    """Draw signals that keep the same labels as the columns of one table, in the order that it says."""
    with st.container(key=f"table-{number}", border=True, gap="xxsmall"):
        st.header(plain(table.title), anchor=False)
        st.fragment(_table, run_every=page.calm)(table, page)


def _table(table: Table, page: Page) -> None:
    signals = table.signals
    now = page.now()
    answers = page.ask([Query(expr=page.scope.expression(s, page.scope.span.seconds), end=now) for s in signals])
    problem = next((answer.problem for answer in answers if answer.problem), "")
    subjects = [spoken(label).capitalize() for label in table.labels]
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for signal, answer in zip(signals, answers, strict=True):
        for series in answer.series:
            rows.setdefault(lines.names(signal, series), {})[signal.title] = series.points[-1][1]
    if problem or not rows:
        st.caption(plain(problem or _nothing(signals[0], page, now)))
    if not rows:
        return
    cells = [dict(zip(subjects, who, strict=True)) | values for who, values in rows.items()]
    frame = pd.DataFrame(cells, columns=[*subjects, *(signal.title for signal in signals)])
    by = SIGNALS[table.sort].title if table.sort else subjects[0]
    frame = frame.sort_values(by, ascending=False)
    narrow = page.scope.phone and len(subjects) > 1
    name = _NARROW_NAME if narrow else _NAME
    shown = {signal.title: lambda value, signal=signal: units.of(signal, value) for signal in signals}
    st.dataframe(
        frame.style.format(shown),
        placeholder=units.NONE,
        alt=table.title,
        hide_index=True,
        column_config={
            **{
                subject: st.column_config.Column(width=name, pinned=not narrow or subject == subjects[0])
                for subject in subjects
            },
            **{signal.title: st.column_config.Column(help=signal.means) for signal in signals},
        },
    )
