"""Money by the calendar: today and this month, as the exporter's own ledger has it, and the hours of a week."""

from exporters.catalogue.model import Signal

CALENDAR = (
    Signal(
        name="spend_today",
        title="Spend today",
        unit="currencyUSD",
        expr='sum(agentgauge_spend_usd{period="today",$where})',
        means="Cost of the model calls since midnight, of the calendar of the exporter's time zone, whatever the time "
        "range is. Unpriced calls are left out.",
        view="stat",
        over="now",
        decimals=2,
        better="lower",
        empty="Unknown",
        begins="day",
    ),
    Signal(
        name="spend_month",
        title="Spend this month",
        unit="currencyUSD",
        expr='sum(agentgauge_spend_usd{period="month",$where})',
        means="Cost of the model calls since the month began, of the calendar of the exporter's time zone, whatever "
        "the time range is. Unpriced calls are left out.",
        view="stat",
        over="now",
        decimals=2,
        better="lower",
        empty="Unknown",
        begins="month",
    ),
)
