"""The portal: the list of tabs, and the frame that is the same around each."""

from functools import partial
from pathlib import Path

import streamlit as st

from streamlit_portal import filters, findings, firing, grafana, notice, panel, runbooks, settings, widgets
from streamlit_portal.settings import Settings
from streamlit_portal.tab import Tab
from streamlit_portal.tabs import (
    agents,
    anomalies,
    budgets,
    cost,
    errors,
    evaluations,
    exporter_health,
    models,
    overview,
    reliability,
    tools,
)

TABS = {
    "Watch": (overview.TAB, agents.TAB, errors.TAB, reliability.TAB, anomalies.TAB),
    "Money": (cost.TAB, budgets.TAB),
    "Understand": (models.TAB, tools.TAB, evaluations.TAB),
    "Govern": (exporter_health.TAB,),
}
# What Streamlit has no setting for. In a line of eight cards each four are a grid of their own, which does not stretch
# although it is told to. And what is drawn anew fades after half a second: numbers need not wink on a busy machine.
_STYLE = """<style>
.st-key-cards [data-testid=stGrid] [data-testid=stGrid] {flex-grow: 1}
[data-stale=true] {transition-delay: 2.5s !important}
</style>"""
# Seconds between two looks at the browser's theme, which Streamlit does not report as it changes.
_LOOK = 2.0


def show(tab: Tab, chosen: Settings) -> None:
    """Draw a page: title, filters, cards, notice, panels, tables and foot, each in a slot of its own."""
    st.html(_STYLE)
    title = st.container(key="title", horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
    scope = filters.bar(chosen)
    healthy = grafana.answers(chosen.grafana_internal, chosen.probe)
    address = grafana.absolute(chosen.grafana, st.context.url) if chosen.grafana else ""
    page = widgets.Page(
        settings=chosen, scope=scope, board=tab.board, grafana=address if healthy and not scope.phone else ""
    )
    with title:
        st.title(tab.title, anchor=False, help=tab.question)
        if healthy:
            st.markdown(
                f"[Open in Grafana :material/open_in_new:]({grafana.link(address, tab.board, scope)})", width="content"
            )
    if tab.cards:
        widgets.cards(tab.cards, page)
    notice.show(page, healthy)
    for at, names in enumerate(tab.rows):
        with st.container(key=f"row-{at}"):
            widgets.row(names, page)
        if at == 0:
            for number, table in enumerate(tab.tables):
                widgets.table(table, page, number)
            if tab.finding:
                findings.show(tab.finding, page)
    notice.trust(page)
    st.fragment(_watch, run_every=_LOOK)(chosen, scope.dark, healthy)


def show_panel(chosen: Settings) -> None:
    """Draw the panel that the address names by its id."""
    if found := panel.tab(st.query_params.get("id", "")):
        show(found, chosen)
    else:
        st.title("No such panel", anchor=False)
        st.markdown("No alert has the panel of this address. It may be of another version.")


def _watch(chosen: Settings, dark: bool, healthy: bool) -> None:
    """Draw the page again when the theme was switched or when Grafana came or went."""
    theme = st.context.theme.type
    switched = theme is not None and (theme == "dark") != dark
    if switched or grafana.answers(chosen.grafana_internal, chosen.probe) != healthy:
        st.rerun()


def main() -> None:
    """Run the open tab; the others cost nothing.

    Pages have no icon: the browser would fetch it as the favicon from fonts.gstatic.com.
    """
    chosen = settings.from_environment()
    pages = {
        group: [
            st.Page(
                partial(show, tab, chosen),
                title=tab.title,
                url_path=tab.path or None,
                default=not tab.path,
                help=tab.question,
            )
            for tab in tabs
        ]
        for group, tabs in TABS.items()
    }
    pages["Watch"].append(
        st.Page(partial(firing.show, chosen), title=firing.TITLE, url_path=firing.PATH, help=firing.QUESTION)
    )
    pages["Govern"].append(st.Page(runbooks.show, title=runbooks.TITLE, url_path=runbooks.PATH, help=runbooks.QUESTION))
    pages["Govern"].append(
        st.Page(partial(show_panel, chosen), title="Panel", url_path=panel.PATH, visibility="hidden")
    )
    page = st.navigation(pages, position="top")
    st.set_page_config(
        page_title=f"{page.title} · Agentgauge",
        page_icon=str(Path(__file__).parent / "static" / "icon.svg"),
        layout="wide",
        menu_items={"About": "Agentgauge: what LLM agents cost, how fast they are and how often they fail."},
    )
    page.run()


if __name__ == "__main__":
    main()
