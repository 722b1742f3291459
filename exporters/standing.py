"""How the sources are doing, as the page and the log say it: whether each is read, how far, and why not."""

import logging

from exporters.health import Health
from exporters.sources import Batch, Source, SourceError

log = logging.getLogger("agentgauge")


class Standing:
    """What was last known of each source's reading."""

    def __init__(self, health: Health) -> None:
        self._health = health
        # Of each source, as the log says it and as the page may.
        self._problems: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        # When each source was last read without a problem.
        self.read: dict[str, float] = {}
        # How old the newest counted record of each is while there is more to read, in seconds.
        self.behind: dict[str, float] = {}

    def problem_of(self, source: str) -> str:
        """Return why a source, or a part of it, could not be read at the last attempt; empty if it could."""
        return self._shown.get(source, "")

    def warn(self, source: Source, batch: Batch) -> None:
        """Say in the log that a part of a source could not be read, once for each reason."""
        if batch.problem and self._problems.get(source.name) != batch.problem:
            log.warning("source=%s cannot read all of it: %s", source.name, batch.problem)

    def tell(self, source: Source, batch: Batch, *, newest: float, now: float) -> None:
        """Say how the reading went of which a batch came; `newest` is the time of the newest record counted."""
        name, tell = source.name, self._health.set
        self._problems[name] = self._shown[name] = batch.problem
        self._health.failed(name, batch.retries)
        for gauge, value in source.gauges().items() if source.gauges is not None else ():
            tell(gauge, value, name)
        tell("agentgauge_source_up", 0 if batch.problem else 1, name)
        tell(f"agentgauge_source_backlog_{source.reader.unit}", source.reader.backlog(), name)
        self.behind[name] = max(0.0, now - newest) if batch.more and newest else 0.0
        tell("agentgauge_source_lag_seconds", self.behind[name], name)
        if newest:
            tell("agentgauge_source_newest_record_timestamp_seconds", newest, name)
        if not batch.problem:
            self.read[name] = now
            tell("agentgauge_source_last_success_timestamp_seconds", now, name)

    def troubled(self, source: Source, error: Exception) -> None:
        """Say that a source could not be read, once for each reason."""
        self._health.set("agentgauge_source_up", 0, source.name)
        self._health.failed(source.name)
        expected = isinstance(error, SourceError | OSError)
        said = str(error) if expected else f"{type(error).__name__}: {error}"
        if self._problems.get(source.name) != said:
            log.error("source=%s cannot be read: %s", source.name, said, exc_info=None if expected else error)
        self._problems[source.name] = said
        # What other people's clients say may quote what they sent, which not everybody is to see.
        own = isinstance(error, SourceError) or (isinstance(error, OSError) and error.strerror is not None)
        self._shown[source.name] = said if own else f"{type(error).__name__}; the exporter's log says more"
