"""Printing of values, JSON and tables."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

from . import colour


def print_bytes(output: bytes) -> None:
    """Prints bytes as they are, in their place among what was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def print_json(value: Any, *, spread: bool = False) -> None:
    """Prints one line of JSON; spread over several lines for people."""
    # ASCII alone: bytes that are not UTF-8 become lone surrogates, which a terminal does not take.
    text = json.dumps(value, indent=2) if spread else json.dumps(value, separators=(",", ":"))
    if spread and colour.is_wanted(sys.stdout):
        text = colour.paint_json(text)
    print_bytes(text.encode() + b"\n")


def value_text(value: Any, *, as_json: bool) -> bytes:
    """Return the result of a call for another program."""
    if isinstance(value, str) and not as_json:
        return value.encode("utf-8", "surrogateescape") + b"\n"
    return json.dumps(value, indent=None if as_json else 2).encode() + b"\n"


def shown_safely(text: str) -> str:
    """A text for a terminal: its lines and tabs stay, other control characters become escapes.

    >>> shown_safely("two\\nlines \\x1b[2J")
    'two\\nlines \\\\x1b[2J'
    """
    safe = "\n\t"
    return "".join(
        char if char in safe or char.isprintable() or not unicodedata.category(char).startswith("C") else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def print_value(value: Any, *, as_json: bool) -> None:
    """Prints what a call gave: a string as it is, everything else as JSON.

    A terminal gets control characters of a string as escapes, so that no server moves its cursor or types for it.
    """
    if isinstance(value, str) and not as_json:
        print_bytes(value_text(shown_safely(value) if sys.stdout.isatty() else value, as_json=False))
    else:
        print_json(value, spread=not as_json)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell.

    >>> print(table(["IRQ", "name"], [["57", "eth1"]]))
    IRQ  name
    57   eth1
    """
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join(lines)
