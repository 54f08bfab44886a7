"""Colour, where a person looks at a terminal and has not said NO_COLOR."""

from __future__ import annotations

import os
import re
from typing import Optional, TextIO

BOLD, DIM, RED, GREEN, YELLOW, BLUE, CYAN = "1", "2", "31", "32", "33", "34", "36"


def is_wanted(stream: Optional[TextIO]) -> bool:
    """Return whether the stream may be written in color (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()


def paint(text: str, *styles: str) -> str:
    """Text in colour; the caller knows that it is wanted.

    >>> paint("hint:", CYAN)
    '\\x1b[36mhint:\\x1b[0m'
    """
    return f"\x1b[{';'.join(styles)}m{text}\x1b[0m"


#: The parts of JSON as ``json.dumps`` writes it; a string that a colon follows is a name.
_PARTS = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)')


def paint_json(text: str) -> str:
    """JSON in colour: names blue, strings green, numbers cyan, words yellow."""

    def painted(part: re.Match[str]) -> str:
        string, colon, word, number = part.groups()
        if string is not None:
            return paint(string, BLUE) + colon if colon else paint(string, GREEN)
        return paint(word, YELLOW) if word else paint(number, CYAN)

    return _PARTS.sub(painted, text)
