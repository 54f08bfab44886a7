"""Counts of the nodes of a tree and of the members of a value, by the names of the counted things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._core import Node

#: Levels of a tree or value whose lists are counted: "1 domain, 23 AORs", without the contacts of each.
_LEVELS = 2
#: Names that are told.
_MOST = 4


def noun(name: str, count: int) -> str:
    """Return a count and a name, which is a plural in some replies and a singular in others.

    >>> noun("Domain", 1), noun("AORs", 23), noun("AOR", 1), noun("Process", 2), noun("Processes", 1)
    ('1 domain', '23 AORs', '1 AOR', '2 processes', '1 process')
    """
    one = name[:-2] if name.endswith("sses") else name[:-1] if name.endswith("s") and not name.endswith("ss") else name
    word = one if one.isupper() else one.lower()
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"


def count_nodes(nodes: Sequence[Node]) -> str:
    """Return the counts of nodes that have nodes below them or a name that repeats, and of those one level below.

    >>> from sipmi import Tree
    >>> count_nodes(Tree.from_value({"Domain": {"records": 2, "AOR": [{"Contact": "a"}, {"Contact": "b"}]}}).children)
    '1 domain, 2 AORs'
    """
    return _joined(_groups(nodes, _LEVELS))


def _groups(nodes: Sequence[Node], levels: int) -> Iterator[tuple[str, int]]:
    by_name: dict[str, list[Node]] = {}
    for node in nodes:
        by_name.setdefault(node.name, []).append(node)
    for name, group in by_name.items():
        children = [child for node in group for child in node.children]
        if len(group) > 1 or children:
            yield name or "item", len(group)
            if levels > 1:
                yield from _groups(children, levels - 1)


def count_members(value: Any) -> str:
    """Return the counts of the lists of a value, or else of its members or items.

    >>> count_members({"Domains": [{"name": "location", "AORs": [1, 2, 3]}]})
    '1 domain, 3 AORs'
    >>> count_members({"a": 1}), count_members([1])
    ('1 member', '1 item')
    """
    if isinstance(value, Mapping):
        return _joined(_lists(value, _LEVELS)) or noun("member", len(value))
    return noun("item", len(value))


def _lists(value: Mapping[str, Any], levels: int) -> Iterator[tuple[str, int]]:
    for name, member in value.items():
        if isinstance(member, list):
            yield name, len(member)
            below = [item for item in member if isinstance(item, Mapping)]
            if levels > 1:
                yield from (pair for item in below for pair in _lists(item, levels - 1))


def _joined(groups: Iterator[tuple[str, int]]) -> str:
    counts: dict[str, int] = {}
    for name, count in groups:
        counts[name] = counts.get(name, 0) + count
    told = [noun(name, count) for name, count in list(counts.items())[:_MOST]]
    return ", ".join(told) + (f" and {len(counts) - _MOST:,} more names" if len(counts) > _MOST else "")
