"""What the value of a label may be: they are written by strangers, and read by people and machines."""

VALUE_BYTES = 256
# Control characters, and line and paragraph separators, become a space. What turns the direction of the
# text around it, cannot be seen, or hides letters in it goes: with these a name passes for another.
_CONTROL: dict[int, str | None] = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")
_CONTROL |= dict.fromkeys(
    (0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC)),
)
_CONTROL |= dict.fromkeys(range(0xE0000, 0xE0080))


def clean(value: str) -> str:
    """Return a label value as UTF-8 without control characters, of at most VALUE_BYTES bytes."""
    if value.isprintable() and len(value) * 4 <= VALUE_BYTES:
        return value.strip()
    value = value[:VALUE_BYTES].translate(_CONTROL).strip()
    return value.encode("utf-8", "replace")[:VALUE_BYTES].decode("utf-8", "ignore").rstrip()
