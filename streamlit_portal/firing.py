"""Firing: which alerts fire now, for whom, since when, and what is to be done first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

import streamlit as st

from exporters.catalogue.alerts import DRILL
from streamlit_portal import panel, prometheus, runbooks, units
from streamlit_portal.scope import PICKERS
from streamlit_portal.settings import Settings
from streamlit_portal.widgets import plain

TITLE, PATH = "Alerts", "alerts"
QUESTION = "Which alerts fire now, for whom, since when, and what is to be done first?"
# Of one alert, so many of those whom it fires for are named.
MOST = 5

Rules = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One alert that fires for one subject. `since` is in Unix seconds."""

    name: str
    critical: bool
    since: float
    labels: Mapping[str, str]
    said: Mapping[str, str]


def firing(rules: Rules, state: str = "firing") -> list[Firing]:
    """Return what fires, or is `pending`: what is critical first, then what began last. A drill is no alert."""
    found = [
        Firing(
            name=rule["name"],
            critical=one["labels"].get("severity") == "critical",
            since=datetime.fromisoformat(one["activeAt"]).timestamp(),
            labels=one["labels"],
            said=one["annotations"],
        )
        for rule in rules
        if rule["name"] != DRILL
        for one in rule.get("alerts") or ()
        if one["state"] == state
    ]
    return sorted(found, key=lambda one: (not one.critical, -one.since))


def headline(rules: Rules | None) -> str:
    """Say in a few words how many alerts fire; nothing where none does, or where that is not known."""
    names = {one.name for one in firing(rules or [])}
    return f"{len(names)} alert{'s fire' if len(names) > 1 else ' fires'}" if names else ""


def show(settings: Settings) -> None:
    """Draw what fires, and what may soon, anew on each beat."""
    st.title(TITLE, anchor=False, help=QUESTION)
    with st.container(key="firing"):
        st.fragment(_shown, run_every=float(settings.refresh))(settings)


def _shown(settings: Settings) -> None:
    now = prometheus.beat(settings.refresh)
    rules = prometheus.alert_rules(settings.prometheus, now)
    if rules is None:
        st.markdown(f":red[:material/error: {prometheus.SILENT}.]")
        return
    fires = firing(rules)
    if not fires:
        st.markdown(_quiet(rules))
    for name, group in groupby(sorted(fires, key=_order(fires)), key=lambda one: one.name):
        _alert(name, list(group), now)
    if soon := dict.fromkeys(one.name for one in firing(rules, "pending")):
        st.caption(f"Past the limit, but not for long enough yet: {plain(', '.join(soon))}.")
    st.markdown(f"[What each alert means, and what to do]({runbooks.PATH})")


def _quiet(rules: Rules) -> str:
    """Say why nothing fires: that all is well is another thing than that nobody looks."""
    judged = [rule for rule in rules if rule["health"] != "unknown"]
    if not rules:
        return ":orange[:material/warning: Prometheus has no alert rules.] They are in prometheus/rules."
    if not judged:
        return ":material/hourglass: Not judged yet: after a start it takes a minute."
    return f":green[:material/check_circle: Nothing fires.] {len(judged)} alerts are watched."


def _order(fires: Iterable[Firing]) -> Any:
    """Return the key that keeps those of one name together, where the first of them stands."""
    places = {name: place for place, name in enumerate(dict.fromkeys(one.name for one in fires))}
    return lambda one: places[one.name]


def _alert(name: str, fires: list[Firing], now: float) -> None:
    """Draw one alert and whom it fires for."""
    said = fires[0].said
    with st.container(key=f"alert-{name}", border=True, gap="xxsmall"):
        icon = ":red[:material/error:]" if fires[0].critical else ":orange[:material/warning:]"
        st.header(f"{icon} {plain(said.get('summary', name))}", anchor=False)
        st.markdown("\n".join(_lines(fires, now)))
        anchor = said.get("runbook_url", "").partition("#")[2]
        runbook = [f"[Runbook]({runbooks.PATH}?alert={quote(anchor)})"] if anchor else []
        first = [f"**First:** {plain(said['first'])}"] if "first" in said else []
        st.markdown(" · ".join([*first, *runbook]))
        st.caption(f"{plain(name)} · {'critical' if fires[0].critical else 'warning'}")


def _lines(fires: list[Firing], now: float) -> Iterator[str]:
    for one in fires[:MOST]:
        words = [one.said.get("who", ""), one.said.get("description", "").rstrip(".")]
        words.append(f"for {units.text(max(now - one.since, 0), 's', 0)}")
        link = f" · [Panel]({_panel(one)})" if "panel_id" in one.said else ""
        yield f"- {plain(' · '.join(filter(None, words)))}{link}"
    if len(fires) > MOST:
        yield f"- and {len(fires) - MOST} more"


def _panel(one: Firing) -> str:
    """Return the address of its panel, of whom it fires for."""
    picked = [(name, one.labels[label]) for name, label in PICKERS.items() if one.labels.get(label)]
    return f"{panel.PATH}?{urlencode([('id', one.said['panel_id']), *picked], quote_via=quote)}"
