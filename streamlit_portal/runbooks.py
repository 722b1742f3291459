"""Runbooks: what to do about each alert, on one page that messages link into."""

import streamlit as st

from exporters.catalogue.alerts import alerts
from exporters.catalogue.build import runbook
from exporters.catalogue.signals import SIGNALS

TITLE, PATH = "Runbooks", "runbooks"
QUESTION = "An alert fires: what does it mean, and what is to be done first?"


def show() -> None:
    """Draw the section of the alert that the address names by its anchor in docs/runbooks.md, else all of them."""
    st.title(TITLE, anchor=False, help=QUESTION)
    every = {alert.anchor: alert for alert in alerts(SIGNALS.values())}
    named = st.query_params.get("alert")
    picked = st.selectbox(
        "Alert",
        list(every),
        index=list(every).index(named) if named in every else None,
        format_func=lambda anchor: f"{every[anchor].name}: {every[anchor].limit.says}",
        placeholder="All alerts: pick one, or type a part of its name",
        label_visibility="collapsed",
    )
    if picked != named:
        # A link to what is shown.
        st.query_params.from_dict({"alert": picked} if picked else {})
    for alert in [every[picked]] if picked else every.values():
        st.header(alert.name, anchor=alert.anchor)
        st.markdown(_without_formulas(runbook(alert)))


def _without_formulas(markdown: str) -> str:
    """Escape dollars, between which Streamlit would read a formula; those of a block of code are as they are."""
    parts = markdown.split("```")
    return "```".join(part if at % 2 else part.replace("$", r"\$") for at, part in enumerate(parts))
