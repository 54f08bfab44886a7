"""HTML of trees, replies and results of a fleet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any, Optional, Protocol

from .._core import Node, Tree
from ..errors import UNCLEAR
from ._counts import count_members, count_nodes, noun
from ._parts import MOST, short, table


class Shown(Protocol):
    """A reply of a client."""

    address: str
    wire: str
    elapsed: float
    raw: bytes
    code: Optional[int]
    reason: str
    command: str
    tree: Tree


def _badge(code: Optional[int], reason: str) -> str:
    kind = "i" if code is None else "" if 200 <= code < 300 else "e"
    return f'<span class="b {kind}">{"?" if code is None else code} {escape(reason)}</span>'


def show_tree(tree: Tree) -> str:
    counts = count_nodes(tree.children)
    told = f' <span class="d">{escape(counts)}</span>' if counts else ""
    return _badge(tree.code, tree.reason) + told + _nodes(tree.children)


def show_node(node: Node) -> str:
    return _nodes([node])


def _nodes(nodes: Sequence[Node]) -> str:
    left = [MOST]
    shown = "".join(_node(node, left) for node in nodes if left[0] > 0)
    count = sum(_count(node) for node in nodes) if left[0] <= 0 else 0
    more = f'<div class="d">… {count - MOST:,} more nodes</div>' if count > MOST else ""
    return f'<div class="m" style="margin-top:3px">{shown}{more}</div>'


def _count(node: Node) -> int:
    return 1 + sum(_count(child) for child in node.children)


def _node(node: Node, left: list[int]) -> str:
    left[0] -= 1
    name = f'<span class="k">{escape(node.name) or "·"}</span>'
    value = "" if node.value is None else f" {_scalar(node.value)}"
    attributes = "".join(
        f' <span class="d">{escape(attr.name)}=</span>{_scalar(attr.value)}' for attr in node.attributes
    )
    children = [_node(child, left) for child in node.children if left[0] > 0]
    if not node.children:
        return f"<div>{name}{value}{attributes}</div>"
    is_open = " open" if len(node.children) <= 20 else ""
    count = f' <span class="d">({escape(count_nodes(node.children) or noun("node", len(node.children)))})</span>'
    head = f"<summary>{name}{value}{attributes}{count}</summary>"
    return f'<details{is_open}>{head}<div class="t">{"".join(children)}</div></details>'


def _scalar(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = value if isinstance(value, str) else json.dumps(value)
    colour = "" if isinstance(value, str) else ' style="color:#2f7de1"'
    return f"<span{colour}>{escape(short(text, 300))}</span>"


def show_reply(reply: Shown) -> str:
    facts = [escape(reply.address), reply.wire, f"{reply.elapsed * 1000:.1f} ms", f"{len(reply.raw):,} bytes"]
    facts += [escape(counts)] if (counts := count_nodes(reply.tree.children)) else []
    raw = escape(short(reply.raw.decode("utf-8", "backslashreplace"), 4000))
    return (
        f"{_badge(reply.code, reply.reason)} <b>{escape(reply.command)}</b> "
        f'<span class="d">{" · ".join(facts)}</span>{_nodes(reply.tree.children)}'
        f'<details><summary class="d">as it came</summary><pre>{raw}</pre></details>'
    )


def show_fleet(result: Any) -> str:
    count = len(result.ok)
    kind = "" if not result.failed and not result.unclear else "w" if result.ok else "e"
    head = f'<span class="b {kind}">{count} of {len(result)} ok</span> <b>{escape(result.command)}</b>'
    rows = []
    for one in list(result)[:MOST]:
        if one.unclear:
            badge, told = '<span class="b w">unclear</span>', escape(UNCLEAR)
        elif one.error is None:
            badge, told = '<span class="b">ok</span>', _value(one.value)
        else:
            badge = f'<span class="b e">{type(one.error).__name__}</span>'
            told = escape(short(str(one.error), 300))
        time = f"{one.elapsed * 1000:.1f} ms"
        rows.append([f"<b>{escape(one.name)}</b>", badge, time, told, f'<span class="d">{escape(one.address)}</span>'])
    for name, why in list(result.skipped.items())[:MOST]:
        rows.append([f"<b>{escape(name)}</b>", '<span class="b i">left out</span>', "", escape(why), ""])
    return head + table(["node", "", "time", "answer", "address"], rows, more=len(result) - len(rows))


def _value(value: Any) -> str:
    """A value in little space: scalars and short dicts in a line, the rest to be opened."""
    if isinstance(value, dict) and 0 < len(value) <= 6 and not any(isinstance(v, (dict, list)) for v in value.values()):
        return " ".join(f'<span class="d">{escape(str(k))}=</span>{_scalar(v)}' for k, v in value.items())
    if not isinstance(value, (dict, list)):
        return _scalar(value)
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if len(text) <= 80:
        return escape(text)
    what = escape(count_members(value))
    full = escape(short(json.dumps(value, indent=2, ensure_ascii=False, default=repr), 8000))
    return f"<details><summary>{what}</summary><pre>{full}</pre></details>"
