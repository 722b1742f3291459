"""Waiting for the parts: each is asked at its health URL until it answers 200."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping


def is_well(url: str) -> bool:
    """Say whether `url` answers 200 within two seconds. Redirects count as their end does."""
    # Never through a proxy: these are addresses of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


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
            time.sleep(0.2)
    return None
