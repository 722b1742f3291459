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


# After how long an alert that is `once` would be told again: the longest month. Alertmanager has to keep that it told
# for longer: --data.retention.
ONCE = "744h"


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
    def once(self) -> bool:
        """Whether it is told once, by itself: a budget is, in its period."""
        return self.limit.dashboard == "agents-budgets"

    @property
    def breach(self) -> str:
        """The PromQL whose result is the signal's values that are past the limit, or nothing.

        Where the limit `clears` at another value, what fires goes on until that one is passed:
        Prometheus keeps what fires in the series ALERTS. KeyError on an unknown series.
        """
        limit = self.limit
        expr = self._past(limit.bound)
        if limit.clears is not None:
            fires = f'ALERTS{{alertname="{self.name}",alertstate="firing"}}'
            still = f"{self._past(limit.clears)}\nand on ({', '.join(self.signal.by)}) {fires}"
            expr = f"({expr}\nor {still})"
        return f"{expr}\n{self.condition}" if self.condition else expr

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

    def _past(self, bound: float) -> str:
        return f"(\n{self.value}\n) {'>' if self.limit.above is not None else '<'} {bound:g}"

    def annotations(self, value: str) -> Mapping[str, str]:
        """Return what messages are made of, as templates that are filled where the alert is evaluated.

        `value` is how the template language there names the signal's value. `summary` is the same for
        all alerts of a group; `headline`, `who` and `value` are of one. `rank` is the value as a text
        of a fixed width, behind the word for which end is the worst one, for messages to find it by.
        A label value may be empty, where a store does not say; then it reads "unknown".
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
        }


def first(do: str) -> str:
    """Return the first of the things to do, as a sentence."""
    return _END.split(do, maxsplit=1)[0] + "."


def alerts(signals: Iterable[Signal]) -> list[Alert]:
    """Return one alert for each limit of each signal, in their order."""
    return [Alert(signal=signal, limit=limit) for signal in signals for limit in signal.limits]
