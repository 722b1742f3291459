"""The exporter's own health, of this process: prometheus_client's part of the page."""

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from exporters import __version__
from exporters.catalogue.metrics import METRICS


class Health:
    """The families of the catalogue that are of the exporter itself, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # typed in part
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            if metric.of != "exporter":
                continue
            name, text, labels = metric.name, metric.help, metric.own_labels
            if metric.type == "gauge":
                self._gauges[name] = Gauge(name, text, labels, registry=self.registry)
            elif metric.type == "counter":
                self._counters[name] = Counter(name, text, labels, registry=self.registry)
            elif metric.type == "histogram":
                self._histograms[name] = Histogram(name, text, labels, buckets=metric.buckets, registry=self.registry)
            else:
                Info(name, text, registry=self.registry).info({"version": __version__})

    def set(self, name: str, value: float, source: str = "") -> None:
        """Set a gauge of the catalogue, of one source or of the exporter."""
        family = self._gauges[name]
        (family.labels(source) if source else family).set(value)

    def replace(self, name: str, values: Mapping[tuple[str, ...], float | None]) -> None:
        """Set a gauge anew to one value for each set of its labels; None is unknown, and not shown."""
        family = self._gauges[name]
        family.clear()
        for labels, value in values.items():
            if value is not None:
                family.labels(*labels).set(value)

    def failed(self, source: str, attempts: int = 1, name: str = "agentgauge_source_errors") -> None:
        """Count failed attempts to read a source, or others."""
        family = self._counters[name]
        family.labels(source).inc(attempts)

    def took(self, name: str, seconds: float, source: str = "") -> None:
        """Observe a duration of the catalogue."""
        family = self._histograms[name]
        (family.labels(source) if source else family).observe(seconds)
