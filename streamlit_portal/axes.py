"""Axes, legends and size: what every chart of the portal has alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import altair as alt

from exporters.catalogue.model import Signal
from streamlit_portal import colours, units
from streamlit_portal.lines import Line

# Pixels of a name beside a bar or in a legend; longer ones end in three dots and are whole under the pointer.
NAME = 170
# Pixels of a line of a legend.
_LEGEND_ROW = 16


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a chart is to look: the theme, its size in pixels, of which the width is the least to expect,
    every name of the label that it is coloured by, so that a name has one colour on every tab, and whether
    it stands alone in its row, where it may be as high as it needs."""

    dark: bool
    width: int
    height: int
    names: tuple[str, ...] = ()
    alone: bool = False


def time(moments: Sequence[float]) -> alt.X:
    """The time axis, in the browser's zone: Vega reads a number as milliseconds and shows local time."""
    length = moments[-1] - moments[0]
    form = "%H:%M" if length <= 90_000 else "%a %d" if length <= 700_000 else "%d %b"
    ends = [_moment(moments[0]), _moment(moments[-1])]
    return alt.X(
        "time:T",
        title=None,
        scale=alt.Scale(domain=ends, nice=False),
        axis=alt.Axis(format=form, tickCount=8, grid=False, labelOverlap=True, labelFlush=True),
    )


def _moment(seconds: float) -> alt.DateTime:
    """A bound of the time axis; Vega-Lite takes none as a number."""
    at = datetime.fromtimestamp(seconds, UTC)
    return alt.DateTime(
        year=at.year, month=at.month, date=at.day, hours=at.hour, minutes=at.minute, seconds=at.second, utc=True
    )


def values(signal: Signal, top: float, bottom: float = 0.0) -> alt.Y:
    """The value axis from 0, or below it where values are, labelled as Grafana labels it, which Vega's own formats
    cannot."""
    marks = units.ticks(max(top, -bottom), signal.unit)
    step = marks[1]
    if bottom < 0:
        below, above = math.ceil(-bottom / step - 1e-9), math.ceil(top / step - 1e-9)
        marks = [round(step * index, 12) for index in range(-below, above + 1)]
    labels = [units.tick(mark, signal.unit) for mark in marks]
    return alt.Y(
        "high:Q",
        title=None,
        scale=alt.Scale(domain=[marks[0], marks[-1]], nice=False),
        axis=alt.Axis(
            # Of values that it finds too many Vega leaves some out, so a label goes by the value.
            values=marks,
            tickCount=len(marks),
            labelExpr=f"{labels}[round((datum.value - {marks[0]}) / {step})]",
            labelLimit=90,
            labelFlush=False,
        ),
    )


def colour(
    signal: Signal, found: Sequence[Line], look: Look, symbol: Literal["stroke", "circle"] = "stroke"
) -> alt.Color:
    """One colour a name; a legend only where there are several, at the bottom, in lines of whole names."""
    names = [line.name for line in found]
    known = colours.assigned(signal, [*look.names, *names], look.dark)
    shades = [known[name] for name in names]
    legend = alt.Legend(
        orient="bottom",
        # Vega gives its symbols a role without a name; the chart as a whole has one.
        aria=False,
        symbolType=symbol,
        symbolStrokeWidth=3,
        symbolOpacity=1,
        labelLimit=NAME,
        columns=_columns(names, look),
        columnPadding=12,
        rowPadding=2,
        offset=6,
    )
    return alt.Color(
        "name:N",
        title=None,
        scale=alt.Scale(domain=names, range=shades),
        legend=legend if len(names) > 1 else None,
    )


def height(found: Sequence[Line], look: Look) -> int:
    """Return the height of a chart with a legend: where nothing stands beside it, a long legend takes nothing of it."""
    rows = math.ceil(len(found) / _columns([line.name for line in found], look)) if len(found) > 1 else 0
    return look.height + (_LEGEND_ROW * max(0, rows - 2) if look.alone else 0)


def _columns(names: Sequence[str], look: Look) -> int:
    """How many whole names of the longest fit side by side."""
    return max(1, look.width // (min(7 * max(map(len, names)), NAME) + 36))
