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
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._families: dict[str, Gauge | Counter | Histogram | Info] = {}
        for metric in METRICS:
            if metric.of != "exporter":
                continue
            name, text, labels = metric.name, metric.help, metric.own_labels
            if metric.type == "gauge":
                self._families[name] = Gauge(name, text, labels, registry=self.registry)
            elif metric.type == "counter":
                self._families[name] = Counter(name, text, labels, registry=self.registry)
            elif metric.type == "histogram":
                self._families[name] = Histogram(name, text, labels, buckets=metric.buckets, registry=self.registry)
            else:
                Info(name, text, registry=self.registry).info({"version": __version__})

    def set(self, name: str, value: float, source: str = "") -> None:
        """Set a gauge of the catalogue, of one source or of the exporter."""
        family = self._families[name]
        assert isinstance(family, Gauge)  # noqa: S101 -- the catalogue says which it is
        (family.labels(source) if source else family).set(value)

    def replace(self, name: str, values: Mapping[tuple[str, ...], float | None]) -> None:
        """Set a gauge anew to one value for each set of its labels; None is unknown, and not shown."""
        family = self._families[name]
        assert isinstance(family, Gauge)  # noqa: S101
        family.clear()
        for labels, value in values.items():
            if value is not None:
                family.labels(*labels).set(value)

    def failed(self, source: str, attempts: int = 1, name: str = "agentgauge_source_errors") -> None:
        """Count failed attempts to read a source, or others."""
        family = self._families[name]
        assert isinstance(family, Counter)  # noqa: S101
        family.labels(source).inc(attempts)

    def took(self, name: str, seconds: float, source: str = "") -> None:
        """Observe a duration of the catalogue."""
        family = self._families[name]
        assert isinstance(family, Histogram)  # noqa: S101
        (family.labels(source) if source else family).observe(seconds)
