"""Waiting for the parts: each is asked at its health URL until it answers 200."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from urllib.parse import quote


def is_well(url: str) -> bool:
    """Say whether `url` answers 200 within two seconds. Redirects count as their end does."""
    return _body(url) is not None


def trouble(url: str) -> str:
    """Return why a part that runs cannot do its work, as `url` says it; nothing if it can.

    A trouble is asked about again for some seconds: it may be over with the part's next attempt.
    """
    end = time.monotonic() + _NEXT_ATTEMPT
    while True:
        try:
            why = _reason(url)
        except (OSError, ValueError, HTTPException):
            why = "does not answer"
        if not why:
            return ""
        if time.monotonic() > end:
            return why
        time.sleep(0.2)  # it announces nothing


def _reason(url: str) -> str:
    """Return what `url` answers with another status than 200; nothing for that."""
    try:
        with _OPENER.open(url, timeout=2):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(_LONGEST_REASON).decode("utf-8", "replace")
        return "; ".join(text.splitlines()) or f"HTTP {error.code}"


def wait(urls: Mapping[str, str], *, patience: float, dead: Callable[[], str | None]) -> str | None:
    """Ask every part until all are well; return None then, or the name of a part that is not.

    `dead` names a part that will never be well, so that nobody waits for it. `patience` is in seconds.
    """
    missing = dict(urls)
    end = time.monotonic() + patience
    while missing:
        missing = {name: url for name, url in missing.items() if not is_well(url)}
        if given_up := dead():
            return given_up
        if missing and time.monotonic() > end:
            return next(iter(missing))
        if missing:
            time.sleep(0.2)  # other processes announce nothing: they can only be asked
    return None


def wait_for_scrape(prometheus: str) -> None:
    """Wait until Prometheus has the exporter's numbers, so that who looks at a page finds them: 45 s at most.

    If it has none even then, or cannot be asked, the pages say why.
    """
    end = time.monotonic() + 3 * _BEAT
    while time.monotonic() < end:
        # As of the moment that the portal's pages are of.
        at = time.time() // _BEAT * _BEAT
        body = _body(f"{prometheus}/api/v1/query?query={quote(_SCRAPED)}&time={at}")
        try:
            if body is None or json.loads(body)["data"]["result"]:
                return
        except (ValueError, KeyError, TypeError):
            return
        time.sleep(0.2)  # it announces nothing either


# Seconds between two scrapes, and between two looks of the portal.
_BEAT = 15
_SCRAPED = 'up{job="agentgauge"} == 1'


# Never through a proxy: these are addresses of this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_LONGEST_REASON = 4096
# The exporter tries a source and its state again every two seconds.
_NEXT_ATTEMPT = 5.0


def _body(url: str) -> bytes | None:
    """Return what `url` answers with 200 within two seconds; None for anything else."""
    try:
        with _OPENER.open(url, timeout=2) as answer:
            return bytes(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, HTTPException):
        return None
