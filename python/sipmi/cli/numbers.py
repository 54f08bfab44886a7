"""Numbers for people: bytes, rates, and lines of little bars."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def amount(value: float, unit: str = "") -> str:
    """A number as a person reads it.

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
    """A time that passed.

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


def sparkline(values: Sequence[float | None], width: int, *, from_zero: bool = True) -> str:
    """The last values as bars, the newest at the right; a gap where there was none.

    The highest bar leaves an eighth free, so that lines below each other stay apart.

    >>> sparkline([0, 1, None, 4, 8], 8)
    '   ▁▁ ▄▇'
    >>> sparkline([100, 101, 102], 3, from_zero=False)
    '▁▄▇'
    """
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    if from_zero:
        low = min(low, 0.0)
    reach = high - low

    def bar(value: float | None) -> str:
        if value is None:
            return " "
        return BARS[0] if reach <= 0 else BARS[min(int((value - low) / reach * 7), 6)]

    return "".join(map(bar, shown)).rjust(width)


def chart(values: Sequence[float | None], width: int, height: int, *, from_zero: bool = True) -> list[str]:
    """The last values as columns of a chart, from the top line to the bottom one.

    >>> chart([0, 4, 8], 3, 2)
    ['  █', ' ██']
    """
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    if from_zero:
        low = min(low, 0.0)
    reach = (high - low) or 1.0
    eighths = [0 if value is None else round((value - low) / reach * height * 8) for value in shown]
    lines = []
    for level in range(height - 1, -1, -1):
        cells = (min(max(count - level * 8, 0), 8) for count in eighths)
        lines.append("".join(" " if cell == 0 else BARS[cell - 1] for cell in cells).rjust(width))
    return lines
