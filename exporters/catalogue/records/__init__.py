"""RECORDS: series that Prometheus computes from the exporters' and keeps, for what is heavy or asked for often.

A signal's own recorded value is said with the signal. These are the others: what several signals
build on, such as the usual value of an hour, or a ratio over each window of an objective.
"""

from collections.abc import Sequence

from exporters.catalogue.model import Record
from exporters.catalogue.records.anomalies import ANOMALIES
from exporters.catalogue.records.burn_rates import BURN_RATES

RECORDS: Sequence[Record] = (*ANOMALIES, *BURN_RATES)
