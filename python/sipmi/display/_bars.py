"""Charts of characters for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int, *, from_zero: bool = True) -> str:
    """Return the last values as a line of bars, with the newest at the right and gaps for missing ones.

    The highest bar leaves an eighth of the line free, so that adjacent lines do not touch.

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


def bar_chart(values: Sequence[float | None], width: int, height: int, *, from_zero: bool = True) -> list[str]:
    """Return the last values as columns of a chart, from the top line to the bottom one.

    >>> bar_chart([0, 4, 8], 3, 2)
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
