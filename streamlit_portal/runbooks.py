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
    named = st.query_params.get("alert")
    every = alerts(SIGNALS.values())
    chosen = [alert for alert in every if alert.anchor == named]
    for alert in chosen or every:
        st.header(alert.name, anchor=alert.anchor)
        st.markdown(_without_formulas(runbook(alert)))
    if chosen:
        st.markdown(f"[All runbooks]({PATH})")


def _without_formulas(markdown: str) -> str:
    """Escape dollars, between which Streamlit would read a formula; those of a block of code are as they are."""
    parts = markdown.split("```")
    return "```".join(part if at % 2 else part.replace("$", r"\$") for at, part in enumerate(parts))
