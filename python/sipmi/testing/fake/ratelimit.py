"""Pipes of traffic: rl_list, rl_reset_pipe, rl_set_pid, rl_get_pid, rl_dump_pipe (``ratelimit``)."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from ..._core import Node, Tree
from ...errors import Fault
from .commands import MODERN, Module, array, mi

if TYPE_CHECKING:
    from .deployment import Deployment


@dataclasses.dataclass
class Pipe:
    """One pipe."""

    id: str
    algorithm: str = "TAILDROP"
    limit: int = 10
    counter: int = 0


class Ratelimit(Module):
    """The pipes; ``fake.ratelimit.add("gw1", limit=20)`` seeds one.

    :ivar drop_rate: what the feedback algorithm drops of a hundred requests.
    """

    def __init__(self, fake: Deployment) -> None:
        super().__init__(fake)
        self.pipes: dict[str, Pipe] = {}
        self.pid: dict[str, str] = {"ki": "0.050", "kp": "0.500", "kd": "0.500"}
        self.drop_rate = 0

    def add(self, id: str, **fields: Any) -> Pipe:
        """Adds a pipe; ``fields`` are those of :class:`Pipe`."""
        self.pipes[id] = Pipe(id, **fields)
        return self.pipes[id]

    @mi("rl_list", ("1.8",), read_only=True)
    def list_1_8(self, pipe: str = "") -> Tree:
        """lists the parameters and variables in the ratelimit module"""
        nodes = self._nodes(pipe)
        return array(*nodes) if pipe else array(*nodes, Node("DROP_RATE", str(self.drop_rate)))

    @mi("rl_list", ("1.11", "2.4"), read_only=True)
    def list_text(self, pipe: str = "") -> Tree:
        """lists the parameters and variables in the ratelimit module"""
        nodes = self._nodes(pipe)
        return array(*nodes) if pipe else array(*nodes, Node("PIPE").add_attr("drop_rate", self.drop_rate))

    @mi("rl_list", MODERN, recipes=[[], ["pipe"], ["filter"], ["filter_out"]], read_only=True)
    def list_json(self, pipe: str = "", filter: str = "", filter_out: str = "") -> dict[str, Any]:
        """lists the parameters and variables in the ratelimit module"""
        if pipe:
            return {"Pipe": dataclasses.asdict(self._named(pipe))}
        shown = [p for p in self.pipes.values() if filter in p.id and (not filter_out or filter_out not in p.id)]
        return {"Pipes": [dataclasses.asdict(p) for p in shown], "drop_rate": self.drop_rate}

    @mi("rl_reset_pipe")
    def reset_pipe(self, pipe: str) -> None:
        """resets the counter of a pipe"""
        if pipe not in self.pipes:
            raise Fault(400, "Bad parameter") if self.legacy else Fault(500, "Internal error")
        self.pipes[pipe].counter = 0

    @mi("rl_set_pid")
    def set_pid(self, ki: str, kp: str, kd: str) -> None:
        """sets the PID controller parameters for the feedback algorithm"""
        self.pid = {name: f"{number(text):.3f}" for name, text in (("ki", ki), ("kp", kp), ("kd", kd))}

    @mi("rl_get_pid", no_input=True, read_only=True)
    def get_pid(self) -> Any:
        """gets the list of in-use PID controller parameters"""
        if not self.legacy:
            return {"PID": dict(self.pid)}
        tree = Tree()
        node = tree.add_child("PID")
        for name, value in self.pid.items():
            node.add_attr(name, value)
        return tree

    @mi("rl_dump_pipe", MODERN, read_only=True)
    def dump_pipe(self, pipe: str) -> dict[str, Any]:
        """shows the counter of a pipe"""
        if pipe not in self.pipes:
            raise Fault(404, "Pipe not found")
        shown = self.pipes[pipe]
        return {
            "Pipe": pipe, "Algorithm": shown.algorithm, "Counter": shown.counter, "Replication Nodes": [],
            "Total": shown.counter,
        }  # fmt: skip

    def _nodes(self, pipe: str) -> list[Node]:
        """The pipe of this name, or all, as 1.x and 2.x list them."""
        nodes = []
        for shown in [self._named(pipe)] if pipe else self.pipes.values():
            node = Node("PIPE")
            for name, value in dataclasses.asdict(shown).items():
                node.add_attr(name, value)
            nodes.append(node)
        return nodes

    def _named(self, pipe: str) -> Pipe:
        if pipe in self.pipes:
            return self.pipes[pipe]
        if self.legacy:
            raise RuntimeError(f"no pipe {pipe!r}")  # the original's handler fails
        raise Fault(404, "Pipe Not Found")


def number(text: str) -> int:
    """A parameter of the controller as the original reads it: the whole number that the text begins with, or 0.

    >>> number("2.5y"), number("-25"), number("x")
    (2, -25, 0)
    """
    found = re.match(r"\s*[-+]?\d+", text)
    return int(found[0]) if found else 0
