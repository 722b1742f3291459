"""Colours: Grafana's names and its colour of a series name, so that both drawings agree."""

from collections.abc import Iterable

from exporters.catalogue.model import Signal

# Grafana's visualization colours by theme, packages/grafana-data/src/themes/createVisualizationColors.ts.
_SHADES = ("super-light-", "light-", "", "semi-dark-", "dark-")
_LIGHT = {
    "red": ("#FF7383", "#F2495C", "#E02F44", "#C4162A", "#AD0317"),
    "orange": ("#FFB357", "#FF9830", "#FF780A", "#FA6400", "#E55400"),
    "yellow": ("#FFEE52", "#FADE2A", "#F2CC0C", "#E0B400", "#CC9D00"),
    "green": ("#96D98D", "#73BF69", "#56A64B", "#37872D", "#19730E"),
    "blue": ("#8AB8FF", "#5794F2", "#3274D9", "#1F60C4", "#1250B0"),
    "purple": ("#CA95E5", "#B877D9", "#A352CC", "#8F3BB8", "#7C2EA3"),
}
_DARK = {
    "red": ("#FFA6B0", "#FF7383", "#F2495C", "#E02F44", "#C4162A"),
    "orange": ("#FFCB7D", "#FFB357", "#FF9830", "#FF780A", "#FA6400"),
    "yellow": ("#FFF899", "#FFEE52", "#FADE2A", "#F2CC0C", "#E0B400"),
    "green": ("#C8F2C2", "#96D98D", "#73BF69", "#56A64B", "#37872D"),
    "blue": ("#C0D8FF", "#8AB8FF", "#5794F2", "#3274D9", "#1F60C4"),
    "purple": ("#DEB6F2", "#CA95E5", "#B877D9", "#A352CC", "#8F3BB8"),
}
_HUES = ("green", "yellow", "blue", "orange", "red", "purple")
_PALETTE = (
    *_HUES,
    *(f"dark-{hue}" for hue in _HUES),
    *(f"super-light-{hue}" for hue in _HUES),
    "#447EBC", "#C15C17", "#890F02", "#0A437C", "#6D1F62", "#584477", "#B7DBAB", "#F4D598", "#70DBED", "#F9BA8F",
    "#F29191", "#82B5D8", "#E5A8E2", "#AEA2E0", "#629E51", "#E5AC0E", "#64B0C8", "#E0752D", "#BF1B00", "#0A50A1",
    "#962D82", "#614D93", "#9AC48A", "#F2C96D", "#65C5DB", "#F9934E", "#EA6460", "#5195CE", "#D683CE", "#806EB7",
    "#3F6833", "#967302", "#2F575E", "#99440A", "#58140C", "#052B51", "#511749", "#3F2B5B", "#E0F9D7", "#FCEACA",
    "#CFFAFF", "#F9E2D2", "#FCE2DE", "#BADFF4", "#F9D9F9", "#DEDAF7",
)  # fmt: skip
# The ground of a panel and the least contrast a series may have with it.
GROUND = {False: "#FFFFFF", True: "#181B1F"}
TEXT = {False: "#24292E", True: "#CCCCDC"}
_LEAST_CONTRAST = 3.0
# Below this distance two lines are taken for one.
_ALIKE = 120.0


def named(name: str, dark: bool) -> str:
    """Return the hex value of a Grafana colour name or of a hex value itself."""
    if name.startswith("#"):
        return name
    if name == "text":
        return TEXT[dark]
    prefix, hue = name.rsplit("-", 1) if "-" in name else ("", name)
    shade = _SHADES.index(f"{prefix}-" if prefix else "")
    return (_DARK if dark else _LIGHT)[hue][shade]


def assigned(signal: Signal, names: Iterable[str], dark: bool) -> dict[str, str]:
    """Return a colour for each name: the signal's own, else the name's, which is Grafana's where it can be.

    Grafana's colour of a name is a matter of chance, and four models in one yellow are of no use
    to anybody: a name whose colour looks like one that an earlier name has takes the next that
    does not. Given the same names the result is the same on every tab.
    """
    own = {name: named(colour, dark) for name, colour in signal.colours}
    found: dict[str, str] = {}
    for name in sorted(set(names)):
        candidates = by_name(name, dark)
        distinct = (c for c in candidates if all(_distance(c, taken) >= _ALIKE for taken in found.values()))
        found[name] = own.get(name) or next(distinct, candidates[0])
    return found


def by_name(name: str, dark: bool) -> tuple[str, ...]:
    """Return the palette from the colour on that Grafana's palette-classic-by-name gives a name.

    A string hash picks among the colours of the palette that stand out from the panel
    (packages/grafana-data/src/field/fieldColor.ts).
    """
    visible = _VISIBLE[dark]
    first = _hash(name) % len(visible)
    return visible[first:] + visible[:first]


def _hash(name: str) -> int:
    """Hash as npm's string-hash does: djb2 with xor, from the end, over UTF-16 units, 32 bits."""
    units = name.encode("utf-16-le", "surrogatepass")
    value = 5381
    for at in range(len(units) - 2, -1, -2):
        value = (value * 33 ^ int.from_bytes(units[at : at + 2], "little")) & 0xFFFFFFFF
    return value


def contrast(one: str, other: str) -> float:
    """Return the WCAG contrast ratio of two hex colours, 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _distance(one: str, other: str) -> float:
    """How different two colours look, 0 to 765: the "redmean" approximation of CompuPhase."""
    (r1, g1, b1), (r2, g2, b2) = _channels(one), _channels(other)
    mean = (r1 + r2) / 2
    red, green, blue = (r1 - r2) ** 2, (g1 - g2) ** 2, (b1 - b2) ** 2
    return float(((2 + mean / 256) * red + 4 * green + (2 + (255 - mean) / 256) * blue) ** 0.5)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    channels = [channel / 255 for channel in _channels(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


_VISIBLE = {
    dark: tuple(
        value for value in (named(name, dark) for name in _PALETTE) if contrast(value, GROUND[dark]) >= _LEAST_CONTRAST
    )
    for dark in (False, True)
}
