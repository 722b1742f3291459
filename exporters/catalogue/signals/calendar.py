"""Money by the calendar: today and this month, as the exporter's own ledger has it, and the hours of a week."""

from exporters.catalogue.model import Signal

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

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
    Signal(
        name="spend_month_by_agent",
        title="Spend this month by agent",
        unit="currencyUSD",
        expr='topk(10, sum by (gen_ai_agent_name) (agentgauge_spend_usd{period="month",$where}) > 0)',
        means="Cost of the model calls since the month began, of the ten dearest agents, whatever the time range is. "
        "Unpriced calls are left out.",
        by=("gen_ai_agent_name",),
        view="bargauge",
        over="now",
        decimals=2,
        empty="Unknown",
    ),
    Signal(
        name="tokens_month_by_model",
        title="Tokens this month by model",
        unit="short",
        expr='topk(10, sum by (gen_ai_request_model) (agentgauge_spend_tokens{period="month",$where}) > 0)',
        means="Tokens of the model calls since the month began, of the ten models with most of them, whatever the time "
        "range is.",
        by=("gen_ai_request_model",),
        view="bargauge",
        over="now",
        decimals=1,
        empty="Unknown",
    ),
    Signal(
        name="spend_by_hour",
        title="Spend by weekday and hour (UTC)",
        unit="currencyUSD",
        # At the end of each whole hour, what it cost, labelled with the hour that it was.
        expr="avg_over_time((sum(increase(agentgauge_cost_usd_total{$where}[1h]))"
        '\n* on () group_right () count_values("hour", hour(vector(time() - 3600)))'
        '\n* on () group_left (day) count_values("day", (day_of_week(vector(time() - 3600)) + 6) % 7))[$window:1h])',
        means="What such an hour cost on average in the time range. Hours of which nothing is known are left out, and so "
        "are unpriced calls.",
        by=("day", "hour"),
        view="matrix",
        over="range",
        decimals=2,
        empty="Unknown",
        rows=tuple((str(day), name) for day, name in enumerate(_DAYS)),
        columns=tuple((str(hour), f"{hour:02}") for hour in range(24)),
    ),
)
