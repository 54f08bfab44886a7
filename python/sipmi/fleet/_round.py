"""One command to many nodes at the same time, on one thread: as many at once as there are file descriptors for."""

from __future__ import annotations

import collections
import errno
import os
import resource
import time
from collections.abc import Iterable
from typing import Any, Callable, Optional

from .._core import Reply
from ..client import Client
from ..errors import CallTimeout
from ._nodes import FleetNode
from ._result import NodeResult
from ._waiting import Waiter, Waiters

#: Descriptors that are left to the rest of the program.
_RESERVE = 64
#: Where the system lists those of this process.
_DIRECTORY = "/proc/self/fd"
#: A FIFO takes its reply FIFO, twice while it begins, the command FIFO and a lock; all else is a socket.
_DESCRIPTORS = {"fifo": 4}

#: Takes the result of a node; returns False when no more are wanted.
Tell = Callable[[NodeResult], bool]


class Connections:
    """The clients of a fleet's nodes, made when they are first called."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self.held: int = 0
        """How many descriptors its clients keep at most when they have nothing to do."""
        self.waiters: Waiters = Waiters()
        self._is_closed = False

    def check(self) -> None:
        """Check that the fleet is open.

        :raises RuntimeError: the fleet was closed.
        """
        if self._is_closed:
            raise RuntimeError("the fleet is closed")

    def client(self, node: FleetNode) -> Client:
        """Return the client of a node."""
        client = self._clients.get(node.name)
        if client is None:
            self.check()
            made = node.connect()
            client = self._clients.setdefault(node.name, made)
            # Another thread may have made one at the same time.
            self.held += _weight(node.address) if client is made else 0
        return client

    def close_idle(self, node: FleetNode) -> None:
        """Close the idle connections of a client."""
        client = self._clients.get(node.name)
        if client is not None:
            client._core.rest()

    def close_all_idle(self) -> None:
        """Close the idle connections of all clients."""
        for client in list(self._clients.values()):
            client._core.rest()

    def close(self) -> None:
        """Close all clients."""
        self._is_closed = True
        for client in list(self._clients.values()):
            client.close()
        self.waiters.close()


class _Call:
    """A call of one node, which its driver takes for the future that it tells."""

    __slots__ = ("began", "id", "node", "round")

    def __init__(self, round: Round, node: FleetNode) -> None:
        self.round = round
        self.node = node
        self.began = time.monotonic()
        self.id: Optional[int] = None

    def done(self) -> bool:
        return self.round.is_over

    def set_result(self, reply: Reply) -> None:
        self.round.waiter.put((self, reply, None))

    def set_exception(self, error: Exception) -> None:
        self.round.waiter.put((self, None, error))


class Round:
    """A command on its way to many nodes."""

    def __init__(
        self,
        connections: Connections,
        waiter: Waiter,
        nodes: Iterable[FleetNode],
        command: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        deadline: float,
        concurrency: Optional[int] = None,
        read: Callable[[Reply], Any],
    ) -> None:
        self.waiter = waiter
        self.is_over: bool = False
        self._connections = connections
        self._waiting = collections.deque(nodes)
        self._pending: set[_Call] = set()
        self._command = (command, args, kwargs)
        self._deadline = deadline
        self._read = read
        weights = [_weight(node.address) for node in self._waiting]
        room, wanted = _room() + connections.held, sum(weights)
        # Kept connections make the next round faster; but the program needs descriptors, too.
        self._keeps = wanted <= room // 2
        self._most = max(
            1, min(concurrency or len(self._waiting), room if self._keeps else room // max(weights, default=1))
        )

    async def run(self, tell: Tell) -> None:
        """Ask all nodes and report each result, until all are done or no more are wanted."""
        try:
            while self._waiting or self._pending:
                self._begin(tell)
                if not self._pending:
                    return
                for call, reply, error in await self.waiter.get():
                    if not self._finish(call, reply, error, tell):
                        return
        finally:
            self.is_over = True
            for call in self._pending:
                if call.id is not None:
                    self.waiter.driver.cancel(call.id)

    def _begin(self, tell: Tell) -> None:
        command, args, kwargs = self._command
        request = self.waiter.driver.request
        while self._waiting and len(self._pending) < self._most:
            node = self._waiting.popleft()
            left = self._deadline - time.monotonic()
            if left <= 0:
                late = CallTimeout(f"{node.address}: {command}: not asked: the time was over before its turn came")
                late.address, late.command = node.address, command
                if not tell(NodeResult(node.name, node.address, error=late)):
                    self._waiting.clear()
                continue
            call = _Call(self, node)
            self._pending.add(call)
            try:
                core = self._connections.client(node)._core
                call.id = request(call, core, command, args, kwargs, left)
            except (ValueError, TypeError, LookupError, OSError) as error:
                # No client can be made of it: a certificate or a secret that is not there; or no wire says the value.
                self.waiter.put((call, None, error))

    def _finish(self, call: _Call, reply: Optional[Reply], error: Optional[Exception], tell: Tell) -> bool:
        self._pending.discard(call)
        node = call.node
        is_crowded = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
        if is_crowded and (self._pending or self._keeps):
            # Nothing was sent: other code took the descriptors. The node is asked again when another call is done.
            if self._keeps:
                self._keeps = False
                self._connections.close_all_idle()
            self._most = max(1, len(self._pending))
            self._waiting.append(node)
            return True
        value, unclear = None, False
        if reply is not None:
            try:
                unclear = reply.code is None
                value = self._read(reply)
            except Exception as fault:
                error = fault
        if not self._keeps:
            self._connections.close_idle(node)
        elapsed = time.monotonic() - call.began
        return tell(NodeResult(node.name, node.address, value, error, elapsed, unclear=unclear))


def _weight(address: str) -> int:
    return _DESCRIPTORS.get(address.partition(":")[0], 1)


def _room() -> int:
    """How many more descriptors this process may open, but for a reserve."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 1 << 20
    # Since Linux 6.2 the size of the directory is their number.
    used = os.stat(_DIRECTORY).st_size or len(os.listdir(_DIRECTORY))
    return max(1, limit - used - min(_RESERVE, limit // 8))
