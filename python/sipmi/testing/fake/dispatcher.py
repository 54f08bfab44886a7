"""Gateways in sets: ds_list, ds_set_state, ds_reload (``dispatcher``)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..._core import Tree
from ...errors import Fault
from .commands import IS_ARRAY, LEGACY, MODERN, Module, mi

if TYPE_CHECKING:
    from .deployment import Deployment
    from .events import Events

STATES = {"a": "Active", "i": "Inactive", "p": "Probing"}


@dataclasses.dataclass
class Destination:
    """One gateway of a set."""

    uri: str
    state: str = "Active"
    attr: str = ""
    weight: int = 1
    priority: int = 0
    description: str = ""

    @property
    def address(self) -> str:
        """Where it is: the URI without its scheme."""
        return self.uri.partition(":")[2]


class Dispatcher(Module):
    """Sets of gateways in the partition ``default``; ``fake.dispatcher.add(1, "sip:192.0.2.1:5060")`` seeds one."""

    def __init__(self, fake: Deployment, events: Events) -> None:
        super().__init__(fake)
        self._events = events
        self.sets: dict[int, list[Destination]] = {}

    def add(self, set_id: int, uri: str, **fields: Any) -> Destination:
        """Adds a gateway to a set; ``fields`` are those of :class:`Destination`."""
        destination = Destination(uri, **fields)
        self.sets.setdefault(set_id, []).append(destination)
        return destination

    @mi("ds_set_state")
    def set_state(self, state: str, group: str, address: str) -> None:
        """sets the state of a destination"""
        if state[:1].lower() not in STATES:
            raise Fault(500, "Bad state value")
        number = group.rpartition(":")[2]
        if not number.isdigit():
            raise Fault(500, "Bad group value")
        found = [d for d in self.sets.get(int(number), []) if d.uri == address]
        if not found:
            raise Fault(404, "destination not found")
        for destination in found:
            destination.state = STATES[state[0].lower()]
        status = found[0].state.lower()
        values = {"group": int(number), "address": address, "status": status}
        self._events.publish("E_DISPATCHER_STATUS", values if self.legacy else {**values, "reason": "MI"})

    @mi("ds_list", ("1.8",), no_input=True, read_only=True)
    def list_1_8(self) -> Tree:
        """lists all destinations"""
        tree = Tree()
        if self.sets:
            tree.add_child("SET_NO", len(self.sets))
        for number, destinations in self.sets.items():
            node = tree.add_child("SET", number)
            for destination in destinations:
                node.add_child("URI", destination.uri).add_attr("flag", destination.state[0])
        return tree

    @mi("ds_list", ("1.11",), no_input=True, read_only=True)
    def list_1_11(self) -> Tree:
        """lists all destinations"""
        tree = Tree()
        tree.flags = IS_ARRAY
        self._add_sets(tree, full=False)
        return tree

    @mi("ds_list", ("2.4",), read_only=True)
    def list_2_4(self, full: str = "") -> Tree:
        """lists all destinations"""
        tree = Tree()
        tree.flags = IS_ARRAY
        partition = tree.add_child("PARTITION", "default")
        partition.flags = IS_ARRAY
        self._add_sets(partition, full=full == "full")
        return tree

    @mi("ds_list", MODERN, recipes=[[], ["partition"], ["full"], ["full", "partition"]], read_only=True)
    def list_json(self, full: int = 0, partition: str = "") -> dict[str, Any]:
        """lists all destinations"""
        if partition not in ("", "default"):
            raise Fault(500, "Unknown partition")
        shown = []
        for number, destinations in self.sets.items():
            listed = [self._object(destination, full=bool(full)) for destination in destinations]
            shown.append({"id": number, "Destinations": listed})
        return {"PARTITIONS": [{"name": "default", "SETS": shown}]}

    @mi("ds_reload", LEGACY)
    def reload_text(self, *partition: str) -> None:
        """reloads the destinations from the database"""

    @mi("ds_reload", MODERN, recipes=[[], ["inherit_state"], ["partition"], ["inherit_state", "partition"]])
    def reload_json(self, inherit_state: str = "1", partition: str = "") -> None:
        """reloads the destinations from the database"""
        if inherit_state in ("0", "n", "N"):
            for destination in (d for destinations in self.sets.values() for d in destinations):
                destination.state = "Active"

    @staticmethod
    def _object(destination: Destination, *, full: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"URI": destination.uri, "state": destination.state, "first_hit_counter": 0}
        if destination.attr:
            shown["attr"] = destination.attr
        if full:
            shown.update(weight=destination.weight, priority=destination.priority)
            shown.update({"description": destination.description} if destination.description else {})
        return {**shown, "resolved_addresses": [destination.address]}

    def _add_sets(self, parent: Any, *, full: bool) -> None:
        for number, destinations in self.sets.items():
            node = parent.add_child("SET", number)
            node.flags = IS_ARRAY
            for destination in destinations:
                child = node.add_child("URI", destination.uri).add_attr("state", destination.state)
                if self.fake.version == "2.4":
                    child.add_attr("first_hit_counter", 0)
                if destination.attr:
                    child.add_child("attr", destination.attr)
                for name in ("weight", "priority", "description") if full else ():
                    child.add_child(name, getattr(destination, name))
