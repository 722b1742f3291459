"""Charts of two dimensions: a matrix of two labels, and points by two numbers, drawn with Altair."""

from typing import Any

import altair as alt

from exporters.catalogue.model import Signal, spoken
from streamlit_portal import axes, lines, units
from streamlit_portal.axes import Look
from streamlit_portal.lines import Line
from streamlit_portal.prometheus import Answer

# From few to many on Grafana's ground, both ends visible on it.
HEAT = {False: ("#D0E2FB", "#0B3D91"), True: ("#1D3A63", "#B9D4FF")}
# So many columns leave room for a number in each cell.
_ROOMY = 12

Rows = list[dict[str, Any]]


def matrix(signal: Signal, answer: Answer, look: Look) -> alt.LayerChart | alt.FacetChart | None:
    """A cell for each value of the two labels, the deeper in colour the more; with its number where there is room."""
    columns = dict(signal.columns)
    rows: Rows = []
    for series in answer.series:
        row, column = lines.names(signal, series)
        if column in columns:
            value = series.points[-1][1]
            words = dict(signal.rows).get(row, row)
            shown = units.of(signal, value)
            rows.append({"row": words, "column": columns[column], "value": value, "words": shown})
    if not rows:
        return None
    order = [words for _, words in signal.rows] or sorted({row["row"] for row in rows})
    names = [spoken(label).capitalize() for label in signal.by]
    most = max(row["value"] for row in rows)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X(
            "column:N",
            sort=list(columns.values()),
            title=None,
            scale=alt.Scale(domain=list(columns.values()), paddingInner=0.04),
            axis=alt.Axis(labelAngle=0, ticks=False, domain=False, orient="top", labelOverlap=True),
        ),
        y=alt.Y(
            "row:N",
            sort=order,
            title=None,
            scale=alt.Scale(domain=order, paddingInner=0.04),
            axis=alt.Axis(labelLimit=axes.NAME, ticks=False, domain=False),
        ),
        tooltip=[
            alt.Tooltip("row:N", title=names[0]),
            alt.Tooltip("column:N", title=names[1] if signal.rows else signal.title),
            alt.Tooltip("words:N", title="Value"),
        ],
    )
    heat = alt.Scale(domain=[0, most], range=list(HEAT[look.dark]))
    legend = None if len(columns) <= _ROOMY else _legend(signal, most)
    layers: list[Any] = [base.mark_rect().encode(color=alt.Color("value:Q", scale=heat, legend=legend, title=None))]
    if len(columns) <= _ROOMY:
        # Dark on what is light and the other way round, in both themes.
        deep, shallow = ("#FFFFFF", "#111217") if not look.dark else ("#111217", "#FFFFFF")
        ink = alt.when(alt.datum.value > most / 2).then(alt.value(deep)).otherwise(alt.value(shallow))
        layers.append(base.mark_text(fontSize=11, aria=False).encode(text="words:N", color=ink))
    return alt.layer(*layers)


def _legend(signal: Signal, most: float) -> alt.Legend:
    """What the colours of cells without numbers mean."""
    marks = [0.0, most / 2, most]
    return alt.Legend(
        orient="bottom",
        direction="horizontal",
        values=marks,
        labelExpr=f"{[units.of(signal, mark) for mark in marks]}[round(2 * datum.value / {most or 1})]",
        offset=4,
        gradientLength=240,
        gradientThickness=8,
    )


def scatter(signal: Signal, answer: Answer, look: Look) -> alt.Chart | None:
    """A point for each value of the first label, in its colour, by the three numbers of the second."""
    points: dict[str, dict[str, float]] = {}
    for series in answer.series:
        name, stat = lines.names(signal, series)
        points.setdefault(name, {})[stat] = series.points[-1][1]
    along, high, size = (stat for stat, _ in signal.columns)
    titles = dict(signal.columns)
    rows: Rows = [
        {
            "name": name,
            "high": found[high],
            **{stat: found[stat] for stat in (along, size)},
            "words": units.of(signal, found[high]),
            "seconds": units.text(found[along], "s"),
            "count": units.text(found[size], "short", 0),
        }
        for name, found in sorted(points.items())
        if found.keys() == titles.keys()
    ]
    if not rows:
        return None
    named = [Line(name=row["name"], values=(row["high"],)) for row in rows]
    reach = units.ticks(1.1 * max(row[along] for row in rows), "s")
    labels = [units.tick(mark, "s") for mark in reach]
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(opacity=0.75)
        .encode(
            x=alt.X(
                f"{along}:Q",
                title=titles[along],
                scale=alt.Scale(domain=[0, reach[-1]], nice=False),
                axis=alt.Axis(
                    values=reach,
                    tickCount=len(reach),
                    labelExpr=f"{labels}[round(datum.value / {reach[1]})]",
                    labelFlush=True,
                    grid=False,
                ),
            ),
            y=axes.values(signal, 1.1 * max(row["high"] for row in rows)).title(titles[high]),
            size=alt.Size(f"{size}:Q", scale=alt.Scale(range=[60, 900]), legend=None),
            color=axes.colour(signal, named, look, "circle"),
            tooltip=[
                alt.Tooltip("name:N", title=spoken(signal.by[0]).capitalize()),
                alt.Tooltip("seconds:N", title=titles[along]),
                alt.Tooltip("words:N", title=titles[high]),
                alt.Tooltip("count:N", title=titles[size]),
            ],
        )
    )
    return drawn
