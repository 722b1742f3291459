"""Langfuse: a project's observations and scores over its public API, older servers and newer ones."""

from collections.abc import Sequence
from typing import Literal
from urllib.parse import SplitResult

from exporters.sources import Options, Source, SourceError, Translated, seconds_of
from exporters.sources.langfuse.keys import keys_for, origin_of
from exporters.sources.langfuse.rows import Row, translate


def open_project(url: SplitResult, options: Options) -> Source:
    """Open a project such as `langfuse+https://cloud.langfuse.com`; nothing is asked yet. Raises SourceError.

    Options: `public_key_file` and `secret_key_file`, `api` (auto, v1, v2), `wait` between two looks (30s), `timeout` of
    a request (60s), `longest` a span may last (1d), and how long one may wait for its trace to `settle` (5m): rows
    come when their span has ended, so that a run's own comes last.
    """
    try:
        # Only who reads Langfuse needs its HTTP client.
        from exporters.sources.langfuse.client import Client  # noqa: PLC0415
        from exporters.sources.langfuse.reader import Project, Settings  # noqa: PLC0415
        from exporters.sources.langfuse.totals import Totals  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SourceError(f"{url.scheme}: needs {error.name}; pip install 'agentgauge[langfuse]'") from None
    origin = origin_of(url)
    # Without its query: who writes a key there shall not find it in a log.
    options.only(
        url._replace(query=""), "public_key_file", "secret_key_file", "api", "wait", "timeout", "longest", "settle"
    )
    keys, timeout = keys_for(origin, options.own), _seconds(origin, options, "timeout", "60s", least=1)
    settings = Settings(
        api=_api(origin, options),
        since=options.since,
        wait=_seconds(origin, options, "wait", "30s", least=1),
        age=_seconds(origin, options, "longest", "1d", least=3600),
        follows=options.follows,
    )
    project = Project(Client(origin, keys, timeout), settings)
    # A client of its own: it is asked from another thread, and from another budget of requests.
    totals = Totals(Client(origin, keys, timeout), settings.api, settings.age)

    def spans(rows: Sequence[Row]) -> Translated:
        return translate(rows, options.environment)

    settles = _seconds(origin, options, "settle", "5m", least=1)
    return Source(options.name, project, spans, settles=settles, sums=totals, gauges=project.gauges)


def _api(origin: str, options: Options) -> Literal["auto", "v1", "v2"]:
    match options.own.get("api", "auto"):
        case "auto" | "v1" | "v2" as found:
            return found
        case other:
            raise SourceError(f"{origin}: api={other} should be auto, v1 or v2")


def _seconds(origin: str, options: Options, name: str, otherwise: str, *, least: float) -> float:
    try:
        found = seconds_of(options.own.get(name, otherwise))
    except ValueError as error:
        raise SourceError(f"{origin}: {name}: {error}") from None
    if found < least:
        raise SourceError(f"{origin}: {name}: should be at least {least:.0f}s")
    return found
