"""Numbers as text for people: short, with units, as times and as rates."""

from __future__ import annotations


def compact(number: float) -> str:
    """Return a number in a few characters.

    >>> compact(0), compact(0.25), compact(42), compact(1234567)
    ('0', '0.25', '42', '1.2M')
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            unit_size = 1e3 if unit == "k" else size
            return f"{number / unit_size:.1f}".rstrip("0").rstrip(".") + unit
    return f"{number:.0f}" if number == int(number) or abs(number) >= 100 else f"{number:.2g}"


def amount(value: float, unit: str = "") -> str:
    """Return a number with its unit.

    >>> amount(1234567), amount(5 * 1024 * 1024, "bytes"), amount(93784, "seconds"), amount(12, "percent")
    ('1,234,567', '5.0 MiB', '1d 02:03:04', '12 %')
    """
    if unit == "bytes":
        return _bytes(value)
    if unit == "seconds":
        return span(value)
    return f"{value:,.0f} %" if unit == "percent" else f"{value:,.0f}"


def _bytes(value: float) -> str:
    for name in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {name}" if name == "B" else f"{value:.1f} {name}"
        value /= 1024
    return f"{value:.1f} TiB"


def span(seconds: float) -> str:
    """Return a duration as days and a clock.

    >>> span(61), span(90061)
    ('00:01:01', '1d 01:01:01')
    """
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}d {clock}" if days else clock


def rate(value: float, unit: str = "") -> str:
    """Return a rate per second.

    >>> rate(0.25), rate(12.34), rate(1234.5), rate(2048, "bytes"), rate(0)
    ('0.25', '12.3', '1,234', '2.0 KiB', '0')
    """
    if unit == "bytes":
        return _bytes(value)
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 100 else f"{value:,.0f}"
