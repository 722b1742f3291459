"""Calendar days of a zone, as spans of Unix seconds: from one midnight to the next, however long that is."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

# A time outside of what a calendar is asked for is a broken clock, and must not stop the counting.
_LATEST = 4102444800.0


class ZoneError(ValueError):
    """There is no such zone, in one line that says how to mend it."""


def zone_of(name: str) -> ZoneInfo:
    """Return a zone of the tz database, such as `Europe/Berlin`. Raises ZoneError."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ZoneError(f"there is no time zone '{name}'; write it as in Europe/Berlin, or UTC") from None


@lru_cache(maxsize=4096)
def start_of(day: date, zone: ZoneInfo) -> float:
    """Return when a day begins, in Unix seconds.

    Where the clock skips midnight that is the moment of the skip, and where midnight comes twice, the first.
    """
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def day_of(time: float, zone: ZoneInfo) -> date:
    """Return the day that a time is of. Days do not interleave, also where a clock is set back past midnight."""
    time = time if 0.0 <= time < _LATEST else 0.0
    day = datetime.fromtimestamp(time, UTC).astimezone(zone).date()
    return day + timedelta(1) if time >= start_of(day + timedelta(1), zone) else day


def month_of(day: date) -> date:
    """Return the first day of a day's month."""
    return day.replace(day=1)


def month_before(time: float, zone: ZoneInfo) -> str:
    """Return the first day of the month before that of a time, such as 2026-10-01."""
    return month_of(month_of(day_of(time, zone)) - timedelta(1)).isoformat()
