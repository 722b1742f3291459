"""Notice: what every page says above its panels, and at its foot, about whether its numbers can be trusted."""

import streamlit as st

from exporters.catalogue.signals import SIGNALS
from streamlit_portal import firing, prometheus, units
from streamlit_portal.prometheus import Query
from streamlit_portal.settings import Settings
from streamlit_portal.widgets import Page, plain

# Stores whose past is still being read. Until it is, none of their totals is shown.
BEHIND = "count(agentgauge_source_caught_up == 0)"

# What of a page's numbers is old, left out, or not what the store says.
_TRUST = (
    ("source_lag", "read up to {} ago"),
    ("unpriced_share", "{} of the model calls have no price"),
    ("reconcile_drift", "at most {} off the stores' own totals"),
)


def show(page: Page, healthy: bool) -> None:
    """Draw the line, anew on each beat."""
    with st.container(key="notice"):
        st.fragment(_shown, run_every=page.beat)(page, healthy)


def _shown(page: Page, healthy: bool) -> None:
    now = page.now()
    rules = prometheus.alert_rules(page.settings.prometheus, now)
    with st.container(horizontal=True, vertical_alignment="center"):
        if fires := firing.headline(rules):
            st.markdown(f"[:red[:material/error: {fires}]]({firing.PATH})", width="content")
        if said := " ".join(filter(None, (_exporter(page, now), _untold(page.settings), _grafana(page, healthy)))):
            st.caption(plain(said), width="content")


def trust(page: Page) -> None:
    """Draw the line at the foot."""
    with st.container(key="trust"):
        st.fragment(_trusted, run_every=page.beat)(page)


def _trusted(page: Page) -> None:
    now = page.now()
    signals = [SIGNALS[name] for name, _ in _TRUST]
    answers = page.ask([Query(expr=page.scope.expression(one, page.scope.span.seconds), end=now) for one in signals])
    said = [
        words.format(units.of(signal, max(series.points[-1][1] for series in answer.series)))
        for (_, words), signal, answer in zip(_TRUST, signals, answers, strict=True)
        if answer.series
    ]
    if said:
        st.caption(plain(f"These numbers: {' · '.join(said)}."))


def _exporter(page: Page, now: float) -> str:
    """Say that numbers are old, or not there yet, where the exporter is the reason."""
    up, behind = page.ask([Query(expr=expr, end=now) for expr in (SIGNALS["exporter_up"].expr, BEHIND)])
    if up.problem:
        return ""
    if any(series.points[-1][1] == 0 for series in up.series):
        return "The exporter does not answer: until it does, numbers stand still or are not there yet."
    if behind.series:
        return "The past of a store is still being read: its numbers come when that is done."
    return ""


def _untold(settings: Settings) -> str:
    """Say that alerts go nowhere, if that is known."""
    return "Nobody is told of alerts: docs/alerts.md says how to set that up." if settings.notify == () else ""


def _grafana(page: Page, healthy: bool) -> str:
    """Say why panels are drawn here, or nothing when they are Grafana's."""
    if page.grafana:
        return ""
    if not page.settings.grafana:
        return "No Grafana is set up here: the portal draws the panels itself, from Prometheus."
    if healthy:
        return "On a phone the portal draws the panels itself, from Prometheus; Grafana has them too."
    return "Grafana does not answer: until it does, the portal draws the same panels itself, from Prometheus."
