"""Panel: the signal of one alert alone, which messages link to."""

from exporters.catalogue.alerts import alerts
from exporters.catalogue.signals import SIGNALS
from streamlit_portal.tab import Tab

PATH = "panel"


def tab(panel_id: str) -> Tab | None:
    """Return a page with nothing but the panel of an alert; None when no alert has that panel."""
    for alert in alerts(SIGNALS.values()):
        if str(alert.signal.panel_id) == panel_id:
            return Tab(
                title=alert.signal.title,
                path=PATH,
                question=alert.limit.says,
                board=alert.limit.dashboard,
                cards=(),
                rows=((alert.signal.name,),),
            )
    return None
