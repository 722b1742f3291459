"""The other stores that the demo can write to: a little of the same story, so that every kind of source shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from exporters.demo.operations import Operation
from exporters.demo.stores.langfuse import Project
from exporters.demo.stores.llm_metrics import Generations
from exporters.demo.stores.msgtrace import Spans
from exporters.demo.stores.otlp import Sender


class Store(Protocol):
    """A store that operations are written to when they have ended."""

    @property
    def has_past(self) -> bool:
        """Whether a past can be written: not to what holds one, and not to what keeps nothing."""

    def take(self, operation: Operation) -> None:
        """Write an operation. Raises OSError."""

    def close(self) -> None:
        """Let go of the store."""


# Name -> what opens it, given the demo's folder and what stands after the `=`.
STORES: dict[str, Callable[[Path, str], Store]] = {
    "msgtrace": lambda folder, _: Spans(folder / "msgtrace.db"),
    "llm-metrics": lambda folder, _: Generations(folder / "llm_metrics.db"),
    "otlp": lambda _, url: Sender(url or "http://127.0.0.1:4318"),
    "langfuse": lambda _, listen: Project(listen or "127.0.0.1:4319"),
}
