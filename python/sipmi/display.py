"""How things look in a notebook: small HTML without resources from elsewhere, for light and dark themes.

Objects show themselves; this is what they call. :func:`chart` draws what a watch gives, while it gives it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from . import _core

if TYPE_CHECKING:
    from ._chart import Chart
    from .client import Reply

#: What is shown of something long: nodes of a tree, rows of a table, nodes of a fleet.
MOST = 200
#: Heat maps print numbers in their cells up to so many CPUs.
_WIDE = 16

_STYLE = f"<style>{Path(__file__).with_name('_notebook.css').read_text()}</style>"


def html(thing: Any) -> str:
    """What a notebook shows of a thing: a Tree, Reply, FleetResult, CpuSet, InterruptTable, Topology or Plan.

    :raises TypeError: of other things nothing is known.

    >>> "example.org" in html(_core.Tree.from_value({"Domain": "example.org"}))
    True
    """
    for kind in type(thing).__mro__:
        if kind.__name__ in _SHOWN:
            return f'{_STYLE}<div class="sipmi">{_SHOWN[kind.__name__](thing)}</div>'
    raise TypeError(f"expected one of {', '.join(_SHOWN)}, found {type(thing).__name__}")


def bundle(thing: Any) -> dict[str, str]:
    """The forms from which a notebook picks one: HTML and plain text.

    >>> sorted(bundle(_core.CpuSet("0-3")))
    ['text/html', 'text/plain']
    """
    return {"text/plain": str(thing), "text/html": html(thing)}


def chart(watch: Any, *, title: Optional[str] = None) -> Chart:
    """A live chart of what ``mi.watch([...])`` or ``host.watch_interrupts()`` gives; it does not hold up the kernel.

    Shown by itself when a watch is the last thing in a cell. With anywidget (``pip install 'sipmi[notebook]'``) it has
    a button to pause; without, its picture is renewed in place. When it ends, its last picture stays in the notebook.

    :param title: shown above it; the address by default.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     drawn = chart(mi.watch(["core:"], count=1)).run()
    >>> drawn
    <Chart of udp:...: 1 sample>
    """
    from ._chart import Chart

    return Chart(watch, title=title)


# -- replies --------------------------------------------------------------------------------------


def _badge(code: Optional[int], reason: str) -> str:
    kind = "i" if code is None else "" if 200 <= code < 300 else "e"
    return f'<span class="b {kind}">{"?" if code is None else code} {escape(reason)}</span>'


def _tree(tree: _core.Tree) -> str:
    return _badge(tree.code, tree.reason) + _nodes(tree.children)


def _nodes(nodes: Sequence[_core.Node]) -> str:
    left = [MOST]
    shown = "".join(_node(node, left) for node in nodes if left[0] > 0)
    count = sum(_count(node) for node in nodes) if left[0] <= 0 else 0
    more = f'<div class="d">… {count - MOST:,} more nodes</div>' if count > MOST else ""
    return f'<div class="m" style="margin-top:3px">{shown}{more}</div>'


def _count(node: _core.Node) -> int:
    return 1 + sum(_count(child) for child in node.children)


def _node(node: _core.Node, left: list[int]) -> str:
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
    count = f' <span class="d">({len(node.children)})</span>'
    head = f"<summary>{name}{value}{attributes}{count}</summary>"
    return f'<details{is_open}>{head}<div class="t">{"".join(children)}</div></details>'


def _scalar(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = value if isinstance(value, str) else json.dumps(value)
    colour = "" if isinstance(value, str) else ' style="color:#2f7de1"'
    return f"<span{colour}>{escape(_short(text, 300))}</span>"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def _reply(reply: Reply) -> str:
    facts = [escape(reply.address), reply.wire, f"{reply.elapsed * 1000:.1f} ms", f"{len(reply.raw):,} bytes"]
    raw = escape(_short(reply.raw.decode("utf-8", "backslashreplace"), 4000))
    return (
        f"{_badge(reply.code, reply.reason)} <b>{escape(reply.command)}</b> "
        f'<span class="d">{" · ".join(facts)}</span>{_nodes(reply.tree.children)}'
        f'<details><summary class="d">as it came</summary><pre>{raw}</pre></details>'
    )


def _fleet(result: Any) -> str:
    from .fleet import UNCLEAR

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
            told = escape(_short(str(one.error), 300))
        time = f"{one.elapsed * 1000:.1f} ms"
        rows.append([f"<b>{escape(one.name)}</b>", badge, time, told, f'<span class="d">{escape(one.address)}</span>'])
    for name, why in list(result.skipped.items())[:MOST]:
        rows.append([f"<b>{escape(name)}</b>", '<span class="b i">left out</span>', "", escape(why), ""])
    return head + _table(["node", "", "time", "answer", "address"], rows, more=len(result) - len(rows))


def _value(value: Any) -> str:
    """A value in little space: scalars and short dicts in a line, the rest to be opened."""
    if isinstance(value, dict) and 0 < len(value) <= 6 and not any(isinstance(v, (dict, list)) for v in value.values()):
        return " ".join(f'<span class="d">{escape(str(k))}=</span>{_scalar(v)}' for k, v in value.items())
    if not isinstance(value, (dict, list)):
        return _scalar(value)
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if len(text) <= 80:
        return escape(text)
    what = f"{len(value)} {'members' if isinstance(value, dict) else 'items'}"
    full = escape(_short(json.dumps(value, indent=2, ensure_ascii=False, default=repr), 8000))
    return f"<details><summary>{what}</summary><pre>{full}</pre></details>"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], *, more: int = 0) -> str:
    """A table of cells that are HTML."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    rest = f'<div class="d">… {more:,} more rows</div>' if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


# -- CPUs and interrupts --------------------------------------------------------------------------


def strip(cpus: _core.CpuSet, count: int) -> str:
    """CPUs as a row of little boxes."""
    boxes = "".join(f'<span class="c{" on" if cpu in cpus else ""}" title="CPU {cpu}"></span>' for cpu in range(count))
    return f'<span style="white-space:nowrap">{boxes}</span>'


def _cpuset(cpus: _core.CpuSet) -> str:
    last = max(cpus, default=-1)
    count = 8 * math.ceil((last + 1) / 8) or 8
    boxes = strip(cpus, count) if count <= 256 else ""
    return (
        f'{boxes} <code>{cpus.list or "no CPU"}</code> <span class="d">mask {cpus.mask} · {_plural(len(cpus))}</span>'
    )


def _plural(cpus: int) -> str:
    return f"{cpus} CPU" if cpus == 1 else f"{cpus} CPUs"


def heat(share: float) -> str:
    """The background of a cell by how much of the most it has, 0 to 1: orange, which tells on white and on black."""
    return f"background:rgba(240,120,30,{0.12 + 0.78 * share:.2f})" if share > 0 else ""


def compact(number: float) -> str:
    """A number in a few characters.

    >>> compact(0), compact(0.25), compact(42), compact(1234567)
    ('0', '0.25', '42', '1.2M')
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            unit_size = 1e3 if unit == "k" else size
            return f"{number / unit_size:.1f}".rstrip("0").rstrip(".") + unit
    return f"{number:.0f}" if number == int(number) or abs(number) >= 100 else f"{number:.2g}"


def heat_map(cpus: Sequence[int], rows: Iterable[tuple[str, str, Sequence[float]]], *, more: int = 0) -> str:
    """Rows of numbers per CPU: label, name, numbers. The warmer a cell, the more; each tenfold is as much warmer."""
    rows = list(rows)
    most = max((number for _, _, numbers in rows for number in numbers), default=0)
    wide = len(cpus) > _WIDE
    head = "".join(
        f'<th style="padding:2px 3px;text-align:right">{"" if wide and cpu % 8 else cpu}</th>' for cpu in cpus
    )
    body = []
    for label, name, numbers in rows:
        cells = []
        for cpu, number in zip(cpus, numbers):
            shade = heat(math.log1p(number) / math.log1p(most)) if most and number > 0 else ""
            text = "" if wide else compact(number) if number else '<span class="d">·</span>'
            size = "padding:0;min-width:5px;height:14px" if wide else "padding:2px 6px"
            cells.append(f'<td class="n" style="{size};{shade}" title="CPU {cpu}: {number:,.10g}">{text}</td>')
        total = f'<td class="n">{compact(sum(numbers))}</td>'
        body.append(f"<tr><td><b>{escape(label)}</b></td><td>{escape(name)}</td>{total}{''.join(cells)}</tr>")
    rest = f'<div class="d">… {more:,} more rows</div>' if more > 0 else ""
    return (
        f'<table><thead><tr><th></th><th></th><th style="text-align:right">all</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>{rest}"
    )


def _interrupts(table: _core.InterruptTable) -> str:
    rows = [row for row in table.rows if row.total]
    silent = len(table) - len(rows)
    shown = rows[:MOST]
    cpus = list(table.cpus)
    named = [(row.label, _short(", ".join(row.actions) or row.description, 40), row.counts) for row in shown]
    skipped = f"; {silent} rows of nothing left out" if silent else ""
    return f'<span class="d">interrupts since boot, by CPU{skipped}</span>' + heat_map(
        cpus, named, more=len(rows) - len(shown)
    )


def _topology(topology: _core.Topology) -> str:
    told = topology.to_dict()
    packages: dict[Any, dict[Any, dict[str, dict[Any, list[int]]]]] = {}
    for cpu in told["cpus"]:
        node = packages.setdefault(cpu["package"], {}).setdefault(cpu["node"], {})
        node.setdefault(cpu["cache"] or "", {}).setdefault(cpu["core"], []).append(cpu["cpu"])
    isolated = topology.isolated

    def core(cpus: list[int]) -> str:
        threads = "".join(f'<span class="cpu{" i" if cpu in isolated else ""}">{cpu}</span>' for cpu in cpus)
        return f'<span class="box" style="padding:1px;margin:2px">{threads}</span>'

    def boxed(label: str, inside: str) -> str:
        return f'<div class="box"><div class="d" style="font-size:11px">{escape(label)}</div>{inside}</div>'

    drawn = ""
    for package, nodes in packages.items():
        inner = ""
        for node, caches in nodes.items():
            shared = "".join(
                boxed(f"last-level cache {cache}", "".join(core(cpus) for cpus in cores.values()))
                for cache, cores in caches.items()
            )
            inner += boxed(f"node {node}", shared) if len(nodes) > 1 or len(topology.nodes) > 1 else shared
        drawn += boxed(f"package {package}", inner)
    facts = [f"{len(topology.online)} of {len(topology.possible)} CPUs online"]
    facts += [f"cpuset {topology.cpuset.list}"] if topology.cpuset is not None else []
    facts += [f"isolated {isolated.list} (orange)"] if isolated else []
    return f'<span class="d">{" · ".join(facts)}</span><div>{drawn}</div>'


def _plan(plan: _core.Plan) -> str:
    told = plan.to_dict()
    sets = [_core.CpuSet(text) for item in told["items"] for text in (item["now"], item["target"]) if _is_list(text)]
    count = 4 * math.ceil((max((max(cpus, default=0) for cpus in sets), default=0) + 1) / 4)
    boxes = count <= 128

    def side(text: Any) -> str:
        if not _is_list(text):
            return escape(str(text)) if text else '<span class="d">none</span>'
        return f"{strip(_core.CpuSet(text), count) if boxes else ''} {escape(text)}"

    rows = [
        [escape(item["kind"]), f"<b>{escape(str(item['subject']))}</b>", escape(item["label"]), side(item["now"]), "→",
         side(item["target"]), f'<span class="d">{escape(item["note"])}</span>']
        for item in told["items"][:MOST]
    ]  # fmt: skip
    conflicts = "".join(
        f'<div><span class="b {_SEVERITY.get(one["severity"], "w")}">{escape(one["severity"])}</span> '
        f"<b>{escape(one['what'])}</b> {escape(one['detail'])}</div>"
        for one in told["conflicts"]
    )
    devices = ", ".join(f"{device['name']} ({device['driver']})" for device in told["devices"])
    head = [f"interrupts of {devices} on CPUs {told['irq_cpus']}"] if devices else []
    head += [f"processes on CPUs {told['process_cpus']}", f"policy {told['policy']}", "nothing has changed yet"]
    table = _table(["what", "which", "name", "now", "", "planned", ""], rows, more=len(told["items"]) - len(rows))
    return f'<span class="d">{escape("; ".join(head))}</span>{conflicts}{table}'


_SEVERITY = {"handled": "i", "warns": "w", "blocks": "e"}


def _is_list(text: Any) -> bool:
    return isinstance(text, str) and text[:1].isdigit()


_SHOWN: dict[str, Callable[[Any], str]] = {
    "Tree": _tree,
    "Reply": _reply,
    "FleetResult": _fleet,
    "CpuSet": _cpuset,
    "InterruptTable": _interrupts,
    "Topology": _topology,
    "Plan": _plan,
}
