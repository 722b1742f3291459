"""Charts: a signal drawn from PromQL with Altair, with the title, unit and colours that Grafana has."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import altair as alt

from exporters.catalogue.model import Signal
from streamlit_portal import axes, colours, lines, planes, units
from streamlit_portal.axes import Look
from streamlit_portal.lines import Line
from streamlit_portal.prometheus import Answer

Drawn = alt.Chart | alt.LayerChart | alt.FacetChart

_WHEN = "%a %d %b %H:%M"
_STATES = (("Down", "red"), ("Up", "green"))
_GAPS: Literal["break-paths-show-path-domains"] = "break-paths-show-path-domains"


def draw(signal: Signal, answer: Answer, moments: Sequence[float], look: Look) -> Drawn | None:
    """Return the chart of a signal, or None when there is nothing to draw.

    `moments` is the grid of the range query; for a bar gauge, which is one moment, it has one.
    """
    chart: Drawn | None = None
    height = look.height
    if signal.view == "heatmap":
        chart = _heatmap(signal, lines.buckets(answer, moments), moments, look)
    elif signal.view == "matrix":
        chart = planes.matrix(signal, answer, look)
    elif signal.view == "scatter":
        chart = planes.scatter(signal, answer, look)
    elif found := lines.lines(signal, answer, moments):
        if signal.view == "bargauge":
            chart = _bars(signal, found, look)
        elif signal.view == "state":
            chart = _states(signal, found, moments, look)
        else:
            chart, height = _series(signal, found, moments, look), axes.height(found, look)
    if chart is None:
        return None
    return chart.properties(height=height, padding={"left": 4, "right": 8, "top": 6, "bottom": 2})


def _series(signal: Signal, found: Sequence[Line], moments: Sequence[float], look: Look) -> Drawn:
    """Lines over a faint ground, stacked where they are parts of a whole, and a rule that reads them."""
    stacked = signal.view == "stacked"
    rows = _rows(lines.stacked(found) if stacked else found, moments, stacked)
    top = max(row["high"] for row in rows if row["high"] is not None)
    bottom = min(row["high"] for row in rows if row["high"] is not None) if signal.below_zero else 0.0
    # One far above the lines would press them flat.
    limits = [limit.above for limit in signal.drawn if limit.above is not None and limit.above <= 2 * top]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=axes.time(moments),
        y=axes.values(signal, max(top, *limits, 0.0), bottom),
        color=axes.colour(signal, found, look),
    )
    layers: list[Any] = [
        base.mark_area(opacity=0.25 if stacked else 0.1 if len(found) == 1 else 0.04, invalid=_GAPS).encode(y2="low:Q"),
        base.mark_line(strokeWidth=1.5, invalid=_GAPS),
    ]
    if any(row["alone"] for row in rows):
        layers.append(base.transform_filter("datum.alone").mark_point(size=18, filled=True, opacity=1, aria=False))
    layers += [_limit(signal, limit, look) for limit in limits]
    if signal.needs and signal.needs not in (line.name for line in found):
        layers.append(_missing(signal, look))
    return alt.layer(*layers, _reading(signal, found, moments, look))


def _rows(found: Sequence[Line], moments: Sequence[float], stacked: bool) -> list[dict[str, Any]]:
    """One row a line and moment. `alone` marks a point between two gaps, which a line does not show."""
    rows = []
    ground = [0.0] * len(moments)
    for line in found:
        around = (None, *line.values, None)
        for index, (moment, value) in enumerate(zip(moments, line.values, strict=True)):
            low = ground[index]
            rows.append(
                {
                    "time": int(moment * 1000),
                    "name": line.name,
                    "low": None if value is None else low,
                    "high": None if value is None else low + value,
                    "alone": value is not None and around[index] is None and around[index + 2] is None,
                }
            )
            if stacked and value is not None:
                ground[index] = low + value
    return rows


def _reading(signal: Signal, found: Sequence[Line], moments: Sequence[float], look: Look) -> alt.Chart:
    """A rule under the pointer that names the moment and every line's value there.

    The columns are numbered, because a name may hold anything, and Vega reads dots and brackets.
    """
    rows = []
    for index, moment in enumerate(moments):
        shown = {f"v{at}": units.of(signal, line.values[index]) for at, line in enumerate(found)}
        rows.append({"time": int(moment * 1000), **shown})
    hover = alt.selection_point(
        name="hover", fields=["time"], nearest=True, on="pointerover", clear="pointerout", empty=False
    )
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows), name="reading")
        .mark_rule(color=colours.TEXT[look.dark])
        .encode(
            x=alt.X("time:T"),
            opacity=alt.when(hover).then(alt.value(0.5)).otherwise(alt.value(0)),
            tooltip=[
                alt.Tooltip("time:T", title="Time", format=_WHEN),
                *(alt.Tooltip(f"v{at}:N", title=line.name) for at, line in enumerate(found)),
            ],
        )
        .add_params(hover)
    )
    return drawn


def _missing(signal: Signal, look: Look) -> alt.Chart:
    """What is said beside the lines that there are, while the one that they are to be held against is not known."""
    words = alt.Chart(alt.InlineData(values=[{"words": signal.empty}]))
    text = words.mark_text(align="left", baseline="top", color=colours.TEXT[look.dark], fontSize=12)
    drawn: alt.Chart = text.encode(x=alt.value(8), y=alt.value(8), text="words:N")
    return drawn


def _limit(signal: Signal, limit: float, look: Look) -> Drawn:
    """The alert's own number, dashed and named."""
    row = [{"high": limit, "words": f"limit {units.tick(limit, signal.unit)}"}]
    base = alt.Chart(alt.InlineData(values=row)).encode(y="high:Q")
    colour = colours.named("dark-red" if not look.dark else "light-red", look.dark)
    words = base.encode(x=alt.value("width"), text="words:N")
    text = partial(words.mark_text, align="right", baseline="bottom", dx=-2, dy=-2, fontSize=11)
    return alt.layer(
        base.mark_rule(strokeDash=[6, 4], color=colour),
        # Behind the words the ground, or lines run through them.
        text(stroke=colours.GROUND[look.dark], strokeWidth=4, aria=False),
        text(color=colour),
    )


def _bars(signal: Signal, found: Sequence[Line], look: Look) -> Drawn:
    """The largest first, each with its name before and its value behind."""
    largest = sorted(found, key=lambda line: line.size, reverse=True)
    rows = [
        {
            "name": line.name,
            "high": line.size,
            "words": units.of(signal, line.size),
            "colour": _judged(signal, line.size, look),
        }
        for line in largest
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y(
            "name:N",
            sort=[line.name for line in largest],
            title=None,
            axis=alt.Axis(labelLimit=axes.NAME, ticks=False, domain=False),
        ),
        tooltip=[alt.Tooltip("name:N", title=signal.title), alt.Tooltip("words:N", title="Value")],
    )
    bounds = [limit.bound for limit in signal.drawn]
    reach = max(*(line.size for line in found), *bounds, 0.0) * 1.18 or 1.0
    colour = axes.colour(signal, found, look).legend(None) if not bounds else alt.Color("colour:N", scale=None)
    limits = alt.Chart(alt.InlineData(values=[{"high": bound} for bound in bounds]))
    dashed = limits.mark_rule(strokeDash=[6, 4], color=colours.TEXT[look.dark], opacity=0.6)
    across = alt.X("high:Q", axis=None, scale=alt.Scale(domain=[0, reach], nice=False))
    return alt.layer(
        base.mark_bar(size=18, cornerRadiusEnd=2).encode(x=across, color=colour),
        *([dashed.encode(x=across)] if bounds else []),
        base.mark_text(align="left", dx=5, fontSize=12, color=colours.TEXT[look.dark]).encode(x=across, text="words:N"),
    )


def _judged(signal: Signal, value: float, look: Look) -> str:
    """The colour of a value: of the worst limit that it is past."""
    past = [limit.severity for limit in signal.drawn if limit.above is not None and value > limit.above]
    return colours.named("red" if "critical" in past else "orange" if past else "green", look.dark)


def _heatmap(signal: Signal, found: Sequence[Line], moments: Sequence[float], look: Look) -> alt.Chart | None:
    """How many in each bucket and step; empty cells stay empty."""
    if not found:
        return None
    names = [_bucket(signal, line.name) for line in found]
    step = int((moments[1] - moments[0]) * 1000)
    rows = [
        {"time": int(moment * 1000) - step, "until": int(moment * 1000), "name": name, "count": round(value, 2)}
        for name, line in zip(names, found, strict=True)
        for moment, value in zip(moments, line.values, strict=True)
        if value is not None and value >= 0.01
    ]
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect()
        .encode(
            x=axes.time(moments),
            x2="until:T",
            y=alt.Y("name:N", sort=names[::-1], title=None, scale=alt.Scale(domain=names[::-1])),
            color=alt.Color(
                "count:Q",
                title="count",
                scale=alt.Scale(type="sqrt", range=list(planes.HEAT[look.dark])),
                legend=alt.Legend(
                    orient="bottom",
                    direction="horizontal",
                    titleOrient="left",
                    offset=4,
                    gradientLength=160,
                    gradientThickness=8,
                ),
            ),
            tooltip=[
                alt.Tooltip("time:T", title="From", format=_WHEN),
                alt.Tooltip("until:T", title="To", format=_WHEN),
                alt.Tooltip("name:N", title=signal.title),
                alt.Tooltip("count:Q", title="Count", format=",.0f"),
            ],
        )
    )
    return drawn


def _bucket(signal: Signal, bound: str) -> str:
    return "more" if bound == "+Inf" else f"up to {units.tick(float(bound), signal.unit)}"


def _states(signal: Signal, found: Sequence[Line], moments: Sequence[float], look: Look) -> alt.Chart:
    """A band a line, in the state's colour, with the states named in the legend; a gap is no scrape."""
    states = signal.states or _STATES
    step = int((moments[1] - moments[0]) * 1000)
    rows: list[dict[str, Any]] = []
    for line in found:
        for moment, value in zip(moments, line.values, strict=True):
            if value is None:
                continue
            state = states[min(int(value), len(states) - 1)][0]
            start = int(moment * 1000) - step
            if rows and rows[-1]["name"] == line.name and rows[-1]["state"] == state and rows[-1]["until"] == start:
                rows[-1]["until"] = start + step
            else:
                rows.append({"name": line.name, "state": state, "time": start, "until": start + step})
    shades = [colours.named(colour, look.dark) for _, colour in states]
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(height=28 if len(found) < 5 else {"band": 0.8})
        .encode(
            x=axes.time(moments),
            x2="until:T",
            y=alt.Y("name:N", title=None, axis=alt.Axis(labelLimit=axes.NAME, ticks=False, domain=False)),
            color=alt.Color(
                "state:N",
                title=None,
                scale=alt.Scale(domain=[state for state, _ in states], range=shades),
                legend=alt.Legend(orient="bottom", symbolType="square", aria=False, columns=max(2, look.width // 130)),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="Name"),
                alt.Tooltip("state:N", title="State"),
                alt.Tooltip("time:T", title="From", format=_WHEN),
                alt.Tooltip("until:T", title="To", format=_WHEN),
            ],
        )
    )
    return drawn
