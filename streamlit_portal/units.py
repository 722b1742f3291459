"""Numbers as people read them: each unit of the catalogue, printed as Grafana prints it."""

import math
import re

from exporters.catalogue.model import Signal, Unit

NONE = "–"  # noqa: RUF001 (the dash is meant)
_SHORT = ("", " K", " Mil", " Bil", " Tri", " Quadr", " Quint", " Sext", " Sept")
_MONEY = ("", "K", "M", "B", "T")
_BYTES = (" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", " ZiB", " YiB")
# Steps of an axis of time, in seconds, from a minute to some days.
_STEPS = (15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
_DAYS = 5 * 86_400.0
# From this size in seconds on, divided by this, called this.
_SECONDS = (
    (31_536_000.0, 31_556_900.0, " year"),
    (604_800.0, 604_800.0, " week"),
    (86_400.0, 86_400.0, " day"),
    (3_600.0, 3_600.0, " hour"),
    (60.0, 60.0, " min"),
    (1.0, 1.0, " s"),
    (1e-3, 1e-3, " ms"),
    (1e-6, 1e-6, " µs"),
    (0.0, 1e-9, " ns"),
)


def text(value: float, unit: Unit, decimals: int | None = None) -> str:
    """Return `value` with its unit, as a stat panel of Grafana 12 shows it.

    The rules are those of packages/grafana-data/src/valueFormats: without `decimals` three
    significant digits, whole numbers without a point. One rule is ours: `decimals=0` says that a
    count has no fractions, and Grafana goes on to print 1,449 runs as "1 K"; a count that is
    scaled keeps its three digits here.
    """
    if unit == "s":
        return _seconds(value, decimals)
    if unit == "percentunit":
        return f"{_fixed(100 * value, decimals)}%"
    if unit == "currencyUSD":
        return f"{'-' if value < 0 else ''}${_scaled(abs(value), 1000, _MONEY, decimals)}"
    if unit == "bytes":
        return _scaled(value, 1024, _BYTES, decimals)
    if unit in ("short", "reqps"):
        return _scaled(value, 1000, _SHORT, decimals) + (" req/s" if unit == "reqps" else "")
    return _fixed(value, decimals)


def of(signal: Signal, value: float | None) -> str:
    """Return `value` in the signal's unit and decimals, a dash for None and NaN.

    A difference has its sign, and one of shares is in points.
    """
    if value is None or math.isnan(value):
        return NONE
    if not signal.signed:
        return text(value, signal.unit, signal.decimals)
    size = abs(value)
    points = signal.unit == "percentunit"
    shown = f"{_fixed(100 * size, signal.decimals)} pp" if points else text(size, signal.unit, signal.decimals)
    # What is too small to show has no direction.
    return f"{'+' if value > 0 else '-'}{shown}" if re.search("[1-9]", shown) else shown


def tick(value: float, unit: Unit) -> str:
    """Return an axis label: as short as it can be without changing the number."""
    return re.sub(r"(\.\d*?)0+(?=\D|$)", r"\1", text(value, unit)).replace(".%", "%").replace(". ", " ").rstrip(".")


def ticks(top: float, unit: Unit) -> list[float]:
    """Return four to six round values from 0 past `top`, which may be 0."""
    if top <= 0 or not math.isfinite(top):
        return [0.0, 1.0]
    scale = 1.0
    if unit == "bytes":
        scale = 1024.0 ** max(0, math.floor(math.log(top, 1024)))
    elif unit == "s" and top > _DAYS:
        scale = 86_400.0
    rough = top / scale / 5
    if unit == "s" and 60 < top <= _DAYS:
        step = float(next(step for step in _STEPS if step >= rough))
    else:
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((s for s in (1.0, 2.0, 2.5, 5.0) if s * power >= rough * 0.999), 10.0) * power * scale
    count = math.ceil(top / step - 1e-9)
    return [round(step * index, 12) for index in range(count + 1)]


def change(signal: Signal, now: float, before: float) -> tuple[str | float, bool]:
    """Return the change from `before` to `now` as text, and whether it is worth a colour.

    Shares change in points, from 0 the difference is given, everything else changes in percent, of
    which more than a tenfold says nothing: the earlier period was hardly in use.
    Below a point, or a twentieth of what was, a change is noise. One too small to show is the
    number 0, which a card prints without an arrow.
    """
    difference = now - before
    if signal.unit == "percentunit":
        shown, notable = f"{_fixed(abs(100 * difference), 1)} pp", abs(difference) >= 0.01
    elif before == 0:
        shown, notable = of(signal, abs(now)), True
    else:
        part = abs(difference / before)
        shown, notable = (f"{_fixed(100 * part, 1)}%", part >= 0.05) if part < 10 else ("1,000%+", False)
    if not re.search("[1-9]", shown):
        return 0, False
    return f"{'+' if difference > 0 else '-'}{shown}", notable


def _seconds(value: float, decimals: int | None) -> str:
    if value == 0:
        return "0 s"
    divisor, suffix = next((by, name) for least, by, name in _SECONDS if abs(value) >= least)
    return _fixed(value / divisor, decimals) + suffix


def _scaled(value: float, factor: int, suffixes: tuple[str, ...], decimals: int | None) -> str:
    power = math.floor(math.log(abs(value), factor) + 1e-12) if value else 0
    power = min(max(power, 0), len(suffixes) - 1)
    if power and decimals == 0:
        decimals = None
    return _fixed(value / factor**power, decimals) + suffixes[power]


def _fixed(value: float, decimals: int | None) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞"
    if decimals is None:
        decimals = 0 if value % 1 == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    factor = 10**decimals
    # JavaScript rounds halves up, Python to even.
    return f"{math.floor(value * factor + 0.5) / factor:.{decimals}f}"
