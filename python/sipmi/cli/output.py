"""Printing of values, JSON and tables."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import colour
from .ending import Failure

if TYPE_CHECKING:
    from ..client import Reply


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


#: The forms of a value that ``-o`` chooses.
FORMS = ("table", "json", "yaml", "text")


def print_in(form: str, reply: Reply) -> None:
    """Print the value of a reply in a form; ``text`` is the reply as the FIFO of OpenSIPS 2.x writes it.

    :raises Failure: YAML without its library.
    """
    value = reply.value
    if form == "json":
        print_json(value)
    elif form == "yaml":
        print_bytes(yaml_of(value).encode("utf-8", "surrogateescape"))
    elif form == "table":
        print_bytes(table_of(value).encode("utf-8", "surrogateescape") + b"\n")
    else:
        print_bytes(reply.text)


def yaml_of(value: Any) -> str:
    try:
        import yaml
    except ImportError:
        raise Failure("YAML needs a library", "pip install 'sipmi[cli]'") from None
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


def table_of(value: Any) -> str:
    """Return a value as a table: records as rows, members as lines.

    >>> print(table_of({"Contacts": [{"URI": "sip:a@h", "Q": 1}, {"URI": "sip:b@h"}]}))
    URI      Q
    sip:a@h  1
    sip:b@h
    >>> print(table_of({"load:load": 3, "load:load1m": 2}))
    name         value
    load:load    3
    load:load1m  2
    """
    if isinstance(value, dict) and len(value) == 1 and is_records(*value.values()):
        value = next(iter(value.values()))
    if is_records(value):
        head = list(dict.fromkeys(name for record in value for name in record))
        return table(head, [[cell_of(record.get(name, "")) for name in head] for record in value])
    if isinstance(value, dict):
        return table(["name", "value"], [[str(name), cell_of(member)] for name, member in value.items()])
    if isinstance(value, list):
        return table(["value"], [[cell_of(element)] for element in value])
    return cell_of(value)


def is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(record, dict) for record in value)


def cell_of(value: Any) -> str:
    return shown_safely(value).replace("\n", " ") if isinstance(value, str) else json.dumps(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell.

    >>> print(table(["IRQ", "name"], [["57", "eth1"]]))
    IRQ  name
    57   eth1
    """
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join(lines)
