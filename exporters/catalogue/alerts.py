"""Alerts: what the limits of signals become, in PromQL and in words, whoever evaluates and sends them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporters.catalogue.metrics import labels_by_series
from exporters.catalogue.model import Limit, Signal, Unit, fill, spoken

# How the templates of Prometheus and of Grafana print a number of a unit; the value and the limit look the same.
_HUMAN: dict[Unit, str] = {
    "s": "{{ %s | humanizeDuration }}",
    "percentunit": "{{ %s | humanizePercentage }}",
    # The dollar within the braces: Grafana would take `${` for the name of a variable.
    "currencyUSD": '{{ printf "$%%.2f" %s }}',
    "reqps": "{{ %s | humanize }} per second",
    "short": "{{ %s | humanize }}",
    "bytes": "{{ %s | humanize1024 }}B",
    "none": "{{ %s | humanize }}",
}
# Where the first thing to do ends, and what it is about or what comes next begins.
_END = re.compile(r"[.:;](?=\s|$)")


# The alert that says that alerts arrive: it is told as what is critical is.
DRILL = "WeeklyDrill"
# After how long an alert that is `once` would be told again: the longest month. Alertmanager has to keep that it told
# for longer: --data.retention.
ONCE = "744h"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Alerts that explain others: while one of them fires, those are not told besides.

    Of the same values of the labels `of`; without labels, of whichever.
    """

    alerts: tuple[str, ...]
    explains: tuple[str, ...]
    of: tuple[str, ...] = ()


# A source that is not read, because that fails, or neither fails nor ends.
_UNREAD = ("SourceUp", "SourceLastSuccessAge")
_SILENT = ("ExporterUp", *_UNREAD, "StateUp")
_OBJECTIVE = ("gen_ai_agent_name", "objective")
CAUSES = (
    # What hangs may fail in the end, and what failed has not been read for long: the first of both is told.
    Cause(alerts=("SourceLastSuccessAge",), explains=("SourceUp",), of=("source",)),
    Cause(alerts=("SourceUp",), explains=("SourceLastSuccessAge",), of=("source",)),
    Cause(
        alerts=_UNREAD,
        explains=(
            "SourceLagBySource",
            "RateLimitUsed",
            "BadRecordsByReason",
            "ReconcileDrift",
            "OpenRuns",
            "TrafficAgainstUsual",
        ),
        of=("source",),
    ),
    # Where nothing is counted any more, whoever is missed has no label that says why.
    Cause(alerts=_SILENT, explains=("RunsAgainstUsual", "BudgetStale")),
    Cause(alerts=("StateUp",), explains=("SourceLastSuccessAge", "SourceLagBySource", "TrafficAgainstUsual")),
    # Of what says the same of an objective, the fastest.
    Cause(alerts=("BurnRate1h",), explains=("BurnRate6h",), of=_OBJECTIVE),
    Cause(alerts=("BurnRate1h", "BurnRate6h"), explains=("BurnRate1d",), of=_OBJECTIVE),
    Cause(alerts=("BurnRate1h", "BurnRate6h", "BurnRate1d"), explains=("BurnRate3d",), of=_OBJECTIVE),
)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A signal and one of its limits."""

    signal: Signal
    limit: Limit

    @property
    def name(self) -> str:
        """The name, in CamelCase as Prometheus users expect: of the signal, and of the limit if it has several."""
        return "".join(word.capitalize() for word in self.signal.name.split("_")) + self.limit.name

    @property
    def anchor(self) -> str:
        """Where its runbook stands in docs/runbooks.md, and its uid in Grafana."""
        return "_".join(filter(None, (self.signal.name, self.limit.name.lower())))

    @property
    def breach(self) -> str:
        """The PromQL whose result is the signal's values that are past the limit, or nothing.

        Where the limit `clears` at another value, what fires goes on until that one is passed.
        KeyError on an unknown series.
        """
        limit = self.limit
        expr = self._past(limit.bound)
        if limit.clears is not None:
            still = f"{self._past(limit.clears)}\nand on ({', '.join(self.signal.by)}) {_firing(self.name)}"
            expr = f"({expr}\nor {still})"
        return "\n".join([expr, *self.besides])

    @property
    def value(self) -> str:
        """The signal's PromQL over the limit's window, whatever its value; KeyError on an unknown series."""
        return fill(self.signal.judged, {}, self.limit.window, labels_by_series())

    @property
    def condition(self) -> str:
        """The condition besides, to stand behind the value or the breach; "" where there is none."""
        if not self.limit.when:
            return ""
        when = fill(self.limit.when, {}, self.limit.window, labels_by_series())
        return f"and on ({', '.join(self.signal.by)}) (\n{when}\n)"

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What explains it."""
        return tuple(cause for cause in CAUSES if self.name in cause.explains)

    @property
    def unexplained(self) -> tuple[str, ...]:
        """What takes those away that another alert explains, as PromQL to stand behind the condition.

        Prometheus evaluates the rules wherever it runs, so that Grafana's too find in it what fires. That a
        critical alert has ended is told, so one that fires already goes on beside its cause.
        """
        found = []
        for cause in self.causes:
            on = f"on ({', '.join(cause.of)})"
            fires = _firing(*cause.alerts)
            if self.limit.severity == "critical":
                fires = f"(\n{fires}\nunless {on} {_firing(self.name)}\n)"
            found.append(f"unless {on} {fires}")
        return tuple(found)

    @property
    def besides(self) -> tuple[str, ...]:
        """What has to hold besides the limit, in the order in which it stands behind it."""
        return (*filter(None, [self.condition]), *self.unexplained)

    def _past(self, bound: float) -> str:
        return f"(\n{self.value}\n) {'>' if self.limit.above is not None else '<'} {bound:g}"

    def annotations(self, value: str) -> Mapping[str, str]:
        """Return what messages are made of, as templates that are filled where the alert is evaluated.

        `value` is how the template language there names the signal's value. `summary` is the same for
        all alerts of a group; `headline`, `who` and `value` are of one. `rank` is the value as a text
        of a fixed width, behind the word for which end is the worst one, for messages to find it by.
        `stale` is there where the limit is. A label value may be empty, where a store does not say; then
        it reads "unknown".
        """
        limit, human = self.limit, _HUMAN[self.signal.unit]
        said, bound = human % value, human % repr(limit.bound)
        over = f", over {limit.window}" if "$window" in self.signal.expr else ""
        return {
            "summary": limit.says,
            "description": f"{self.signal.title}: {said}, limit {bound}{over}.",
            "headline": limit.headline.replace("{}", said),
            "who": ", ".join(f'{spoken(label)} {{{{ or $labels.{label} "unknown" }}}}' for label in self.signal.by),
            "value": said,
            "rank": f'{"highest" if limit.above is not None else "lowest"} {{{{ printf "%020.6f" {value} }}}}',
            "first": first(limit.do),
            "runbook_url": f"docs/runbooks.md#{self.anchor}",
            "dashboard_uid": limit.dashboard,
            "panel_id": str(self.signal.panel_id),
            **({"stale": "yes"} if limit.stale else {}),
        }


def _firing(*names: str) -> str:
    """Return the PromQL of the alerts of these names that fire: Prometheus keeps them in the series ALERTS."""
    return f'ALERTS{{alertname{"=" if len(names) == 1 else "=~"}"{"|".join(names)}",alertstate="firing"}}'


def first(do: str) -> str:
    """Return the first of the things to do, as a sentence."""
    return _END.split(do, maxsplit=1)[0] + "."


def alerts(signals: Iterable[Signal]) -> list[Alert]:
    """Return one alert for each limit of each signal, in their order."""
    return [Alert(signal=signal, limit=limit) for signal in signals for limit in signal.limits]
