"""Numbers in a few characters."""

from __future__ import annotations


def compact(number: float) -> str:
    """A number in a few characters.

    >>> compact(0), compact(0.25), compact(42), compact(1234567)
    ('0', '0.25', '42', '1.2M')
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            unit_size = 1e3 if unit == "k" else size
            return f"{number / unit_size:.1f}".rstrip("0").rstrip(".") + unit
    return f"{number:.0f}" if number == int(number) or abs(number) >= 100 else f"{number:.2g}"
