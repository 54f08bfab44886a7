"""The nodes of a fleet: their names, and what it takes to be a client of each. They travel without secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Union

from .._options import check_options, unknown_option
from ..client import Client, ClientOptions, Secret, check_portable, connect

#: The nodes of a fleet: addresses by name, or with options of their own, or addresses alone.
Nodes = Union[Mapping[str, Union[str, Mapping[str, Any], "FleetNode"]], Iterable[str]]

#: The options of a client.
_OPTIONS = frozenset(ClientOptions.__annotations__)


@dataclasses.dataclass(frozen=True)
class FleetNode:
    """One server of a fleet."""

    name: str
    """The name of the node."""
    address: str
    """The address, as :func:`sipmi.connect` takes it."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    """Further options of :func:`sipmi.connect`."""
    tags: tuple[str, ...] = ()
    """Words by which :meth:`sipmi.Fleet.select` finds it."""

    def connect(self) -> Client:
        """Make a client of the node."""
        return connect(self.address, **self.options)

    def __reduce__(self) -> tuple[Any, ...]:
        check_portable(f"the node {self.name!r}", self.address, self.options)
        return FleetNode, (self.name, self.address, dict(self.options), self.tags)


def read_nodes(nodes: Nodes, defaults: Mapping[str, Any]) -> dict[str, FleetNode]:
    """Read the nodes of a fleet.

    :raises ValueError: an address or an option that no client takes, with the name of its node.
    """
    if isinstance(nodes, str):
        raise TypeError(f"Fleet(): expected addresses by name, or a list of addresses, got the str {nodes!r}")
    given = nodes.items() if isinstance(nodes, Mapping) else ((address, address) for address in nodes)
    read: dict[str, FleetNode] = {}
    for name, node in given:
        if not isinstance(name, str) or not name:
            raise ValueError(f"expected the name of a node, found {name!r}")
        if name in read:
            raise ValueError(f"there are two nodes {name!r}")
        if isinstance(node, FleetNode):
            node = {"address": node.address, "tags": node.tags, **node.options}
        own = {"address": node} if isinstance(node, str) else dict(node)
        address, tags = own.pop("address", None), own.pop("tags", ())
        if not isinstance(address, str):
            raise ValueError(f"node {name!r}: expected an address, found {address!r}")
        options = {key: _read_option(name, key, value) for key, value in {**defaults, **own}.items()}
        try:
            check_options(f"node {name!r}", options, ClientOptions, also=("address", "tags"))
        except TypeError as error:
            raise ValueError(str(error)) from error
        words = (tags,) if isinstance(tags, str) else tuple(map(str, tags))
        read[name] = FleetNode(name, address, options, words)
        try:
            check_address(read[name])
        except ValueError as error:
            raise ValueError(f"node {name!r}: {error}") from error
    return read


def check_address(node: FleetNode) -> None:
    """Check that a client can be made of an address; secrets and certificates are not read."""
    shown = {key: value for key, value in node.options.items() if key in ("wire", "reply_dir")}
    connect(node.address, **shown).close()


def _read_option(node: str, key: str, value: Any) -> Any:
    if key not in _OPTIONS:
        raise ValueError(unknown_option(f"node {node!r}", key, _OPTIONS))
    if key == "token":
        return _read_secret(node, value)
    if key == "auth" and isinstance(value, (tuple, list)) and len(value) == 2:
        user, password = value
        return user, _read_secret(node, password)
    if key == "cert" and isinstance(value, list):
        return tuple(value)
    return value


def _read_secret(node: str, value: Any) -> Any:
    """Read a secret as files have it: ``{env = "NAME"}`` or ``{file = "/path"}``."""
    if not isinstance(value, Mapping):
        return value
    if len(value) != 1 or not set(value) <= {"env", "file"}:
        raise ValueError(f"node {node!r}: expected a secret as {{env = 'NAME'}} or {{file = '/path'}}")
    [(kind, place)] = value.items()
    return Secret(kind, str(place))
