"""Shared parts of the modules: marking methods as commands, and the trees of 1.x and 2.x."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..._core import Node, Tree
from ...errors import Fault
from .names import LEGACY, MODERN, MODULAR, SINCE_1_11, SINCE_3_4, VERSIONS

if TYPE_CHECKING:
    from .deployment import Deployment

Method = TypeVar("Method", bound=Callable[..., Any])

#: ``Tree.flags`` and ``Node.flags``: the children are a list.
IS_ARRAY = 1


@dataclasses.dataclass(frozen=True)
class Marked:
    """That a method is a command: its name before 4.0, the versions that have it so, and options of ``command``."""

    name: str
    versions: tuple[str, ...]
    options: dict[str, Any]


def mi(name: str, versions: tuple[str, ...] = VERSIONS, **options: Any) -> Callable[[Method], Method]:
    """Marks a method as a command; ``options`` are those of :meth:`sipmi.Server.command`."""

    def mark(method: Method) -> Method:
        marked: list[Marked] = [*getattr(method, "marked", []), Marked(name, versions, options)]
        method.marked = marked  # type: ignore[attr-defined]
        return method

    return mark


class Module:
    """A module of OpenSIPS: state, and the commands that show and change it."""

    def __init__(self, fake: Deployment) -> None:
        self.fake = fake

    @property
    def legacy(self) -> bool:
        """True if replies have the shapes of 1.x and 2.x."""
        return self.fake.version in LEGACY

    @property
    def modular(self) -> bool:
        """True if commands are called ``module:name`` (4.x)."""
        return self.fake.version in MODULAR

    @property
    def before_2(self) -> bool:
        """True if it is a version of 1.x."""
        return self.fake.version.startswith("1.")

    def is_lost(self, value: str) -> bool:
        """Return whether 1.x and 2.x lose a node with this value: they print it to a buffer of 2,048 bytes."""
        return self.fake.hazards and len(value.encode("utf-8", "surrogateescape")) > 2047

    def commands(self) -> Iterator[tuple[Marked, Callable[..., Any]]]:
        """The methods that are commands of the fake's version."""
        for name in dir(type(self)):
            method = getattr(type(self), name)
            for marked in getattr(method, "marked", ()):
                if self.fake.version in marked.versions:
                    yield marked, getattr(self, name)


def array(*nodes: Node) -> Tree:
    """A reply whose top nodes are a list."""
    tree = Tree()
    tree.flags = IS_ARRAY
    for node in nodes:
        tree.append(node)
    return tree


def texts(values: Iterable[str]) -> Tree:
    """A reply of nameless values, marked as a list."""
    return array(*(Node("", value) for value in values))


def nameless(*values: str) -> Tree:
    """A reply of nameless values that is not marked as a list."""
    tree = Tree()
    for value in values:
        tree.add_child("", value)
    return tree


def null() -> Tree:
    """A reply that is JSON null: a handler's None says ``"OK"``."""
    tree = Tree()
    tree.add_child("", None)
    return tree


def invalid_params(why: str) -> Fault:
    """The error of a parameter that has the right type and still cannot be."""
    return Fault(-32602, "Invalid params", why)


def core_hash(text: str, size: int) -> int:
    """The slot of a text in a table of ``size`` slots (a power of two, 0 for all 32 bits) (``core_hash``).

    It shows on the wire: users and dialogs are listed slot by slot.

    >>> core_hash("alice", 512)
    477
    """
    word, total, length = 0, 0, 0
    for byte in text.encode("utf-8", "surrogateescape"):
        signed = byte - 256 if byte > 127 else byte
        word, length = ((word << 8) + signed) & 0xFFFFFFFF, length + 1
        if length % 4 == 0:
            total, word = total + (word ^ (word >> 3)), 0
    total = (total + (word ^ (word >> 3))) & 0xFFFFFFFF
    total = (total + (total >> 11) + (total >> 13) + (total >> 23)) & 0xFFFFFFFF
    return total & (size - 1) if size else total


__all__ = [
    "LEGACY",
    "MODERN",
    "MODULAR",
    "SINCE_1_11",
    "SINCE_3_4",
    "Module",
    "array",
    "core_hash",
    "invalid_params",
    "mi",
    "nameless",
    "null",
    "texts",
]
