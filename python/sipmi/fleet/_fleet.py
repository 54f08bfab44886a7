"""Many servers asked at once, by calls that block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Optional, Union

from .._calling import finish
from ..client import Client, named
from ._base import FleetBase, Read, value_of
from ._progress import shown
from ._result import FleetResult
from ._waiting import BlockingWaiter, QueueWaiter

if TYPE_CHECKING:
    pass


class Fleet(FleetBase):
    """Servers that are asked together, at the same time and with one deadline.

    :param nodes: addresses by name; or options of :func:`sipmi.connect` by name, with the ``address`` and ``tags``
        among them; or addresses alone.
    :param timeout: the seconds that a call may take for all nodes together, or for each batch of a rollout; 5 by
        default.
    :param concurrency: the number of nodes that are asked at the same time; None, the default, asks as many as there
        are file descriptors for. Nodes not contacted before the deadline fail with CallTimeout.
    :param executor: a ``concurrent.futures.Executor`` or a ``dask.distributed.Client``, whose workers ask groups of
        nodes. Tokens and passwords must then be :class:`sipmi.Secret`; dask runs a group again when its worker dies,
        unless the command may change something.
    :param options: those of :func:`sipmi.connect`, for nodes without their own.
    :raises ValueError: no client takes an address or option; the message names the node.
    :raises TypeError: an option has an unknown name, or a value of another type; or a literal password or token would
        be sent to a worker.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.Fleet({"edge1": server.addresses[0], "edge2": "udp:127.0.0.1:1"}) as fleet:
    ...     result = fleet.call("which", "uptime")
    >>> result.ok, list(result.failed)
    ({'edge1': [[]]}, ['edge2'])
    """

    def call(
        self, command: str, /, *args: Any, timeout: Optional[float] = None, params: Any = None, **kwargs: Any
    ) -> FleetResult:
        """Run a command on every node, as :meth:`sipmi.Client.call` does, and return all results.

        The error of a node is in the result, never raised.

        :param timeout: the seconds for all nodes; never a parameter of the command.
        :param params: further named parameters, as :meth:`sipmi.Client.call` takes them.
        """
        return self._run(command, args, kwargs if params is None else named(kwargs, params), timeout, value_of)

    def request(
        self, command: str, /, *args: Any, timeout: Optional[float] = None, params: Any = None, **kwargs: Any
    ) -> FleetResult:
        """As :meth:`call`, with a :class:`sipmi.Reply` for each node, also of an error answer.

        :raises TypeError: the fleet has an executor: replies stay in the process that got them.
        """
        return self._run(command, args, kwargs if params is None else named(kwargs, params), timeout, self._reply())

    def statistics(self, *selectors: Union[str, Iterable[str]], timeout: Optional[float] = None) -> FleetResult:
        """Read the statistics of every node, each as a :class:`sipmi.statistics.Reading`; all when none is named.

        A node that has none of them fails with :exc:`sipmi.StatisticNotFound`.
        """
        from ..statistics import Selection, reading_of, selected

        # By group: one round is right for all nodes, whatever else has such a name on one of them.
        selection = Selection(selected(selectors))
        result = self._run("get_statistics", (selection.by_group(),), {}, timeout, value_of)
        return result.each(lambda one: reading_of(one.value, one.error, selection, one.address, one.ended))

    def __getitem__(self, name: str) -> Client:
        """Return the client of one node; the fleet closes it."""
        return self._connections.client(self._nodes[name])

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(
        self, command: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: Optional[float], read: Read
    ) -> FleetResult:
        rollout = self._rollout(command, args, kwargs, timeout, read)
        with contextlib.ExitStack() as entered:
            if self._workers is None:
                waiter: BlockingWaiter = entered.enter_context(self._connections.waiters.one())
            else:
                # Of its own: what workers answer late must not come into another call.
                waiter = entered.enter_context(contextlib.closing(QueueWaiter()))
            progress = entered.enter_context(shown(rollout.policy.progress, command))
            return finish(rollout.run(waiter, progress))
