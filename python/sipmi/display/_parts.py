"""The parts of which all pictures are made: tables and shortened text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

#: The maximum number of nodes of a tree, rows of a table, or nodes of a fleet that are shown.
MOST = 200


def short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], *, more: int = 0) -> str:
    """A table of cells that are HTML."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    rest = f'<div class="d">… {more:,} more rows</div>' if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
