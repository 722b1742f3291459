"""The filter bar: one line above every page, kept in the address so that a link shows the same."""

import time
from contextlib import AbstractContextManager

import streamlit as st

from exporters.catalogue.model import spoken
from streamlit_portal import prometheus
from streamlit_portal.scope import DEFAULT_RANGE, PICKERS, RANGES, Scope
from streamlit_portal.settings import Settings


def bar(settings: Settings) -> Scope:
    """Draw the pickers and return what they say, with what the browser says of itself."""
    phone = "Mobile" in (st.context.headers.get("User-Agent") or "")
    with st.container(key="filters", horizontal=True, vertical_alignment="center"):
        span = st.segmented_control(
            "Time range",
            list(RANGES),
            default=DEFAULT_RANGE,
            required=True,
            key="range",
            bind="query-params",
            label_visibility="collapsed",
        )
        with _pickers(phone):
            picked = [(name, value) for name in PICKERS if (value := _picker(name, settings))]
        live = st.toggle("Auto-refresh", value=True, key="live", bind="query-params")
    return Scope(
        span=RANGES[span or DEFAULT_RANGE],
        picked=tuple(picked),
        live=live,
        dark=st.context.theme.type == "dark",
        phone=phone,
        zone=st.context.timezone or "UTC",
    )


def _pickers(phone: bool) -> AbstractContextManager[object]:
    """The pickers stand in the bar, on a phone behind one button of it."""
    if phone:
        return st.popover("Filters", icon=":material/filter_list:")
    return st.container(key="pickers", horizontal=True, vertical_alignment="center")


def _picker(name: str, settings: Settings) -> str | None:
    """Return the picked value, None for all.

    Streamlit drops what stands in the address but not among the options, so that only a value
    that Prometheus knows reaches a query. While Prometheus does not answer, the value in the
    address is an option, so that a link outlives the outage.
    """
    known = prometheus.label_values(settings.prometheus, PICKERS[name], time.time())
    if known is None:
        kept = st.session_state.get(name) or st.query_params.get(name)
        known = (kept,) if kept else ()
    word = spoken(PICKERS[name])
    return st.selectbox(
        word.capitalize(),
        known,
        index=None,
        placeholder=f"All {word}s",
        key=name,
        bind="query-params",
        label_visibility="collapsed",
    )
