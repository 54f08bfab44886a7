"""HTML of CPU sets, interrupts, topologies and plans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from .._core import CpuSet, InterruptTable, Plan, Topology
from ._numbers import compact
from ._parts import MOST, short, table

#: The maximum number of CPUs for which heat maps print numbers in their cells.
_WIDE = 16


def strip(cpus: CpuSet, count: int) -> str:
    """CPUs as a row of little boxes."""
    boxes = "".join(f'<span class="c{" on" if cpu in cpus else ""}" title="CPU {cpu}"></span>' for cpu in range(count))
    return f'<span style="white-space:nowrap">{boxes}</span>'


def show_cpus(cpus: CpuSet) -> str:
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


def show_interrupts(interrupts: InterruptTable) -> str:
    rows = [row for row in interrupts.rows if row.total]
    silent = len(interrupts) - len(rows)
    shown = rows[:MOST]
    cpus = list(interrupts.cpus)
    named = [(row.label, short(", ".join(row.actions) or row.description, 40), row.counts) for row in shown]
    skipped = f"; {silent} rows of nothing left out" if silent else ""
    return f'<span class="d">interrupts since boot, by CPU{skipped}</span>' + heat_map(
        cpus, named, more=len(rows) - len(shown)
    )


def show_topology(topology: Topology) -> str:
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


def show_plan(plan: Plan) -> str:
    told = plan.to_dict()
    sets = [CpuSet(text) for item in told["items"] for text in (item["now"], item["target"]) if _is_list(text)]
    count = 4 * math.ceil((max((max(cpus, default=0) for cpus in sets), default=0) + 1) / 4)
    boxes = count <= 128

    def side(text: Any) -> str:
        if not _is_list(text):
            return escape(str(text)) if text else '<span class="d">none</span>'
        return f"{strip(CpuSet(text), count) if boxes else ''} {escape(text)}"

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
    drawn = table(["what", "which", "name", "now", "", "planned", ""], rows, more=len(told["items"]) - len(rows))
    return f'<span class="d">{escape("; ".join(head))}</span>{conflicts}{drawn}'


_SEVERITY = {"handled": "i", "warns": "w", "blocks": "e"}


def _is_list(text: Any) -> bool:
    return isinstance(text, str) and text[:1].isdigit()
