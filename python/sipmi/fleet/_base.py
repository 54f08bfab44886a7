"""The common part of the blocking and the awaited fleet."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

from .._core import Reply as CoreReply
from .._options import check_options
from ..client import ClientOptions, Reply
from ._nodes import FleetNode, Nodes, read_nodes
from ._policy import Policy, PolicyOptions, Progress
from ._rollout import Rollout
from ._round import Connections, Round, Tell
from ._waiting import Waiter

if TYPE_CHECKING:
    from typing_extensions import Unpack


F = TypeVar("F", bound="FleetBase")


class FleetBase:
    """The common part of the blocking and the awaited fleet: its nodes, options and connections."""

    def __init__(
        self,
        nodes: Nodes,
        *,
        timeout: float = 5.0,
        concurrency: Optional[int] = None,
        executor: Any = None,
        progress: Union[bool, Progress] = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        own = ("timeout", "concurrency", "executor", "progress")
        check_options(f"{type(self).__name__}()", options, ClientOptions, also=own)
        self._begin(
            read_nodes(nodes, options),
            Policy(timeout=timeout, concurrency=concurrency, progress=progress),
            executor,
            Connections(),
        )

    def _begin(self, nodes: dict[str, FleetNode], policy: Policy, executor: Any, connections: Connections) -> None:
        self._nodes = nodes
        self._policy = policy
        self._executor = executor
        self._connections = connections
        self._workers: Any = None
        if executor is not None:
            from ._workers import Workers

            self._workers = Workers(executor, nodes.values(), policy.concurrency)

    # -- where fleets come from -----------------------------------------------------------------------

    @classmethod
    def from_file(cls: type[F], path: Union[str, os.PathLike[str]], *, executor: Any = None) -> F:
        """Make the fleet of a TOML, YAML or JSON file: ``nodes``, ``defaults``, and options of :meth:`with_options`.

        Secrets are written as ``token = {env = "NAME"}`` or ``auth = ["user", {file = "/path"}]``.

        :raises ValueError: the file describes no fleet; the message names the file or the node.
        :raises ImportError: YAML needs PyYAML, and TOML before Python 3.11 tomli.
        """
        from ._sources import read_file

        said = read_file(path)
        nodes, defaults = said.pop("nodes"), said.pop("defaults", {})
        try:
            policy = Policy(**said)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        return cls._made(read_nodes(nodes, defaults), policy, executor, Connections())

    @classmethod
    def from_srv(
        cls: type[F],
        name: str,
        *,
        address: Optional[str] = None,
        nameserver: Optional[str] = None,
        timeout: float = 5.0,
        concurrency: Optional[int] = None,
        executor: Any = None,
        **options: Unpack[ClientOptions],
    ) -> F:
        """Make the fleet of the SRV records of a name, all priorities, with ``host:port`` as names of nodes.

        :param name: ``_mi._udp.example.org``; ``_tcp`` means HTTP.
        :param address: the form of addresses: "udp:{host}:{port}" for ``_udp``, "http://{host}:{port}/mi" for
            ``_tcp``, by default.
        :param nameserver: "host" or "host:port", by numbers; those of the system by default.
        :param timeout: the seconds that DNS may take, and then each call; 5 by default.
        :raises LookupError: the name or the service does not exist.
        :raises OSError: no name server answered.
        :raises ImportError: dnspython is not installed.
        """
        from ._sources import read_srv

        nodes = read_srv(name, address=address, nameserver=nameserver, timeout=timeout)
        return cls(nodes, timeout=timeout, concurrency=concurrency, executor=executor, **options)

    @classmethod
    def _made(cls: type[F], nodes: dict[str, FleetNode], policy: Policy, executor: Any, connections: Connections) -> F:
        fleet = cls.__new__(cls)
        fleet._begin(nodes, policy, executor, connections)
        return fleet

    # -- derived fleets ----------------------------------------------------------

    def select(self: F, *patterns: str, tag: Union[str, Iterable[str], None] = None) -> F:
        """Return the fleet of the nodes that match one of the patterns and have all the tags. It shares connections.

        >>> fleet = Fleet({"edge1": {"address": "udp:192.0.2.1:8080", "tags": ["eu"]}, "core": "udp:192.0.2.2:8080"})
        >>> fleet.select("edge*"), fleet.select(tag="eu").names
        (<Fleet of 1 node: edge1>, ('edge1',))
        """
        tags = {tag} if isinstance(tag, str) else set(tag or ())
        return self._only(
            name
            for name, node in self._nodes.items()
            if (not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
            and tags <= set(node.tags)
        )

    def _only(self: F, names: Iterable[str]) -> F:
        return self._made({name: self._nodes[name] for name in names}, self._policy, self._executor, self._connections)

    def with_options(self: F, **policy: Unpack[PolicyOptions]) -> F:
        """Return a fleet of the same nodes with other options. It shares connections.

        :param timeout: the seconds for all nodes, or for each batch of a rollout.
        :param concurrency: the number of nodes that are asked at the same time.
        :param quorum: the number of nodes that have to succeed, as 3, or their share, as 0.5. The call returns as soon
            as it is reached, or cannot be reached any more; it does not wait for the other nodes.
        :param batch: the number of nodes of a batch, or their share. A rollout asks batch after batch while they
            succeed.
        :param max_failures: the number of failed nodes that does not stop a rollout; 0 by default.
        :param unclear: "failed", the default, or "ok": the meaning of an empty reply, which OpenSIPS 1.x sends over
            mi_json and /xmlrpc for success and for some errors.
        :param check: a health check after each batch: a command, or a command with its parameters,
            ``("get_statistics", ["load:"])``. It is asked once a second until it succeeds.
        :param healthy: a function that takes the result of the check and returns whether the node is healthy.
        :param check_within: the seconds until an unhealthy node has failed; the timeout by default.
        :param pause: the seconds between batches; 0 by default.
        :param dry_run: True asks no node; the result has the batches.
        :param progress: True shows a bar on standard error, if that is a terminal; a function is called with the
            number of nodes that are done, the number of all nodes, and the last :class:`NodeResult`.
        :raises TypeError: an option has an unknown name, or a value of another type.
        :raises ValueError: the options contradict each other.

        >>> fleet = Fleet({"a": "udp:192.0.2.1:8080", "b": "udp:192.0.2.2:8080", "c": "udp:192.0.2.3:8080"})
        >>> print(fleet.with_options(batch=2, check="uptime", dry_run=True).call("dr_reload"))
        FleetResult of dr_reload: a dry run, 3 nodes in 2 batches
          1. a b
          2. c
        """
        check_options("with_options()", policy, PolicyOptions)
        changed = dataclasses.replace(self._policy, **policy)
        return self._made(self._nodes, changed, self._executor, self._connections)

    # -- what it consists of --------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its nodes."""
        return tuple(self._nodes)

    @property
    def nodes(self) -> Mapping[str, FleetNode]:
        """Its nodes by name."""
        return dict(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def close(self) -> None:
        """Close the connections, also those of derived fleets. An executor stays open."""
        self._connections.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), tuple(self._nodes.values()), self._policy)

    def __repr__(self) -> str:
        names = ", ".join(list(self._nodes)[:4]) + (", ..." if len(self) > 4 else "")
        return f"<{type(self).__name__} of {len(self)} node{'' if len(self) == 1 else 's'}{': ' * bool(names)}{names}>"

    # -- how --------------------------------------------------------------------------------------------

    def _rollout(
        self, command: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: Optional[float], read: Read
    ) -> Rollout:
        self._connections.check()
        policy = self._policy if timeout is None else dataclasses.replace(self._policy, timeout=timeout)
        ask = (
            self._workers.ask
            if self._workers is not None
            else _LocalNodes(self._connections, policy.concurrency, read).ask
        )
        return Rollout(self._nodes, policy, command, args, kwargs, ask)

    def _reply(self) -> Read:
        if self._workers is not None:
            raise TypeError("a reply stays in the process that got it: a fleet with an executor has call()")
        return Reply


#: Makes the result of a reply.
Read = Callable[[CoreReply], Any]


class _LocalNodes:
    """Asks nodes from this process."""

    def __init__(self, connections: Connections, concurrency: Optional[int], read: Read) -> None:
        self._connections = connections
        self._concurrency = concurrency
        self._read = read

    async def ask(
        self,
        waiter: Waiter,
        nodes: list[FleetNode],
        command: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        timeout: float,
        tell: Tell,
    ) -> None:
        deadline = time.monotonic() + timeout
        await Round(
            self._connections,
            waiter,
            nodes,
            command,
            args,
            kwargs,
            deadline=deadline,
            concurrency=self._concurrency,
            read=self._read,
        ).run(tell)


def value_of(reply: CoreReply) -> Any:
    return reply.value


def _again(kind: type[F], nodes: tuple[FleetNode, ...], policy: Policy) -> F:
    return kind._made({node.name: node for node in nodes}, policy, None, Connections())
