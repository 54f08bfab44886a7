"""The HTML form of an object, by its class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._machine import show_cpus, show_interrupts, show_plan, show_topology
from ._replies import show_fleet, show_node, show_reply, show_tree
from ._tables import show_change, show_diagnosis, show_diff, show_reading, show_schema

_STYLE = f"<style>{Path(__file__).with_name('notebook.css').read_text()}</style>"


def html(thing: Any) -> str:
    """Show a value in a notebook: what a call, a diagnosis or a look at the machine returned.

    :raises TypeError: of other things nothing is known.

    >>> from sipmi import Tree
    >>> "example.org" in html(Tree.from_value({"Domain": "example.org"}))
    True
    """
    for kind in type(thing).__mro__:
        if kind.__name__ in _SHOWN:
            return f'{_STYLE}<div class="sipmi">{_SHOWN[kind.__name__](thing)}</div>'
    raise TypeError(f"expected one of {', '.join(_SHOWN)}, found {type(thing).__name__}")


def bundle(thing: Any) -> dict[str, str]:
    """The forms from which a notebook picks one: HTML and plain text.

    >>> from sipmi._core import CpuSet
    >>> sorted(bundle(CpuSet("0-3")))
    ['text/html', 'text/plain']
    """
    return {"text/plain": str(thing), "text/html": html(thing)}


_SHOWN: dict[str, Callable[[Any], str]] = {
    "Tree": show_tree,
    "Node": show_node,
    "Reply": show_reply,
    "FleetResult": show_fleet,
    "Reading": show_reading,
    "Change": show_change,
    "Schema": show_schema,
    "SchemaDiff": show_diff,
    "Diagnosis": show_diagnosis,
    "CpuSet": show_cpus,
    "InterruptTable": show_interrupts,
    "Topology": show_topology,
    "Plan": show_plan,
}
