"""Differences between two replies, for people: line by line, a node a line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any, Optional, Union

from .. import _core
from .._core import Node, Tree
from ..client import Reply


def lines(tree: Union[Tree, Node]) -> list[str]:
    """A tree, a node a line: indented by its level, with quotes around strings, so that ``"7"`` is not ``7``.

    >>> tree = Tree(200, "OK")
    >>> tree.add_child("Domain", "example.org").add_attr("records", 1).add_child("AOR", "alice")
    <Node AOR: "alice">
    >>> print("\\n".join(lines(tree)))
    200 OK
    Domain: "example.org" records=1
      AOR: "alice"
    """
    if isinstance(tree, Tree):
        return [f"{tree.code} {tree.reason}", *(line for node in tree.children for line in _of_node(node, 0))]
    return list(_of_node(tree, 0))


def _of_node(node: Node, level: int) -> Iterator[str]:
    name = node.name or "-"
    value = "" if node.value is None else f" {_scalar(node.value)}"
    attributes = "".join(f" {attr.name}={_scalar(attr.value)}" for attr in node.attributes)
    mark = " []" if node.flags & 1 else ""
    yield f"{'  ' * level}{name}:{value}{attributes}{mark}"
    for child in node.children:
        yield from _of_node(child, level + 1)


def _scalar(value: Any) -> str:
    return repr(value) if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)


def _lines_of(value: Any) -> Optional[list[str]]:
    """The lines of what can be told line by line; None for all else."""
    if isinstance(value, Reply):
        value = value.tree
    if isinstance(value, (Tree, Node)):
        return lines(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, indent=2, ensure_ascii=False, default=repr).splitlines()
    return None


def differences(left: Any, right: Any) -> Optional[list[str]]:
    """The lines of two replies, those of the left after ``-``, of the right after ``+``; None when they have none.

    Of long replies only what differs is shown, with three lines around it.

    >>> differences({"Q": "0.5"}, {"Q": "1"})
    [' {', '-  "Q": "0.5"', '+  "Q": "1"', ' }']
    """
    ours, theirs = _lines_of(left), _lines_of(right)
    if ours is None or theirs is None:
        return None
    return list(difflib.unified_diff(ours, theirs, n=3, lineterm=""))[3:] or None


def compared(operator: str, left: Any, right: Any) -> Optional[list[str]]:
    """Return the explanation of an assertion on unequal trees, nodes or CPU sets; None for other types."""
    if operator != "==":
        return None
    sets = getattr(_core, "CpuSet", ())  # Linux only
    if isinstance(left, sets) and isinstance(right, sets):
        return [
            f"CPUs {left.list or 'none'} == {right.list or 'none'}",
            f"only on the left: {(left - right).list or 'none'}; only on the right: {(right - left).list or 'none'}",
        ]
    trees = [side for side in (left, right) if isinstance(side, (Tree, Node, Reply))]
    if len(trees) == 2:
        body = differences(left, right) or ["the nodes look alike; their flags or types differ"]
        return [f"{left!r} == {right!r}", "left is -, right is +", *body]
    if trees and isinstance(left if trees[0] is right else right, (dict, list, str)):
        say = ".to_value()" if isinstance(trees[0], Node) else ".value"
        return [f"{left!r} == {right!r}", f"a {type(trees[0]).__name__} is never equal to a value: compare its {say}"]
    return None
