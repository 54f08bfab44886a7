"""A fleet asked from other processes and machines: groups of its nodes go to the workers of an executor.

The tasks carry names, addresses and references to secrets one way, values and errors the other; never a socket.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import errno
import os
import time
import uuid
from collections.abc import Iterable
from typing import Any, Optional

from .._calling import finish
from .._core import is_read_only_command
from ..client import check_portable
from ..errors import CallTimeout, MiError, TransportError
from ._nodes import FleetNode
from ._result import NodeResult
from ._round import Connections, Round, Tell
from ._waiting import Waiter

#: Groups for each worker: a slow group leaves the others something to do.
_GROUPS = 2
#: Seconds beyond the deadline that answers may take on their way back.
_GRACE = 2.0
#: The number of fleets whose connections a worker keeps.
_MOST_FLEETS = 8

#: The connections that a worker keeps between tasks.
_connections: collections.OrderedDict[str, Connections] = collections.OrderedDict()


@dataclasses.dataclass(frozen=True)
class Task:
    """A command for a group of nodes, on its way to a worker."""

    fleet: str
    nodes: tuple[FleetNode, ...]
    command: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    timeout: float
    concurrency: Optional[int]
    claim: Optional[str]
    """Set where a task may be run again when its worker dies, and must not be."""


def answer(task: Task) -> list[NodeResult]:
    """Asks a group of nodes, on the worker."""
    if task.claim is not None and not _is_first(task.claim):
        why = "the worker that asked it died; it is not asked again, since it may have run"
        return [_failed(node, task.command, _lost(node, task.command, why)) for node in task.nodes]
    connections = _connections.setdefault(task.fleet, Connections())
    _connections.move_to_end(task.fleet)
    while len(_connections) > _MOST_FLEETS:
        _connections.popitem(last=False)[1].close()
    results: list[NodeResult] = []

    def tell(result: NodeResult) -> bool:
        results.append(result)
        return True

    deadline = time.monotonic() + task.timeout
    with connections.waiters.one() as waiter:
        finish(
            Round(
                connections,
                waiter,
                task.nodes,
                task.command,
                task.args,
                task.kwargs,
                deadline=deadline,
                concurrency=task.concurrency,
                read=lambda reply: reply.value,
            ).run(tell)
        )
    return results


class Workers:
    """Asks nodes from the workers of an executor."""

    def __init__(self, executor: Any, nodes: Iterable[FleetNode], concurrency: Optional[int]) -> None:
        self._is_dask = hasattr(executor, "get_executor")
        self._dask = executor if self._is_dask else None
        self._executor: Any = executor.get_executor(pure=False) if self._is_dask else executor
        if not hasattr(self._executor, "submit"):
            raise TypeError(f"expected a concurrent.futures.Executor or a dask.distributed.Client, found {executor!r}")
        self._concurrency = concurrency
        self._fleet = uuid.uuid4().hex
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            for node in nodes:
                check_portable(f"the node {node.name!r}", node.address, node.options)

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
        """Asks all nodes at once, and tells what each answered."""
        deadline = time.monotonic() + timeout
        waiting: dict[Any, Task] = {}
        claims: list[str] = []
        try:
            for group in self._groups(nodes):
                claim = f"sipmi-{uuid.uuid4().hex}" if self._is_dask and not is_read_only_command(command) else None
                claims += [claim] if claim else []
                left = max(deadline - time.monotonic(), 1e-3)
                task = Task(self._fleet, group, command, args, kwargs, left, self._concurrency, claim)
                future = self._executor.submit(answer, task)
                waiting[future] = task
                future.add_done_callback(waiter.put)
            while waiting:
                left = deadline + _GRACE - time.monotonic()
                came = await waiter.get(max(left, 0.0))
                if not came and left <= 0:
                    break
                for future in came:
                    task = waiting.pop(future)
                    told = [tell(result) for result in _read(future, task)]
                    if not all(told):
                        return
            for task in waiting.values():
                for node in task.nodes:
                    late = CallTimeout(f"{node.address}: {command}: its worker did not answer within {timeout:g} s")
                    tell(_failed(node, command, late))
        finally:
            for future in waiting:
                future.cancel()
            self._forget(claims)

    def _groups(self, nodes: list[FleetNode]) -> list[tuple[FleetNode, ...]]:
        if self._dask is not None:
            workers = len(self._dask.nthreads())
        else:
            workers = getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1
        count = min(len(nodes), max(1, workers) * _GROUPS)
        return [tuple(nodes[number::count]) for number in range(count)]

    def _forget(self, claims: list[str]) -> None:
        if self._dask is not None and claims:
            import distributed

            for claim in claims:
                distributed.Event(claim, client=self._dask).clear()


def _read(future: Any, task: Task) -> list[NodeResult]:
    """Return the results of a worker; if it failed, the same error for each of its nodes."""
    try:
        results: list[NodeResult] = future.result()
    except (Exception, concurrent.futures.CancelledError) as error:
        why = f"its worker failed: {type(error).__name__}: {error}"
        results = [_failed(node, task.command, _lost(node, task.command, why, error)) for node in task.nodes]
    return results


def _lost(node: FleetNode, command: str, why: str, cause: Optional[BaseException] = None) -> TransportError:
    lost = TransportError(errno.ECONNABORTED, f"{node.address}: {command}: {why}")
    lost.__cause__ = cause
    return lost


def _failed(node: FleetNode, command: str, error: MiError) -> NodeResult:
    error.address, error.command = node.address, command
    return NodeResult(node.name, node.address, error=error)


def _is_first(claim: str) -> bool:
    """Return whether no worker has started this task before: dask runs it again when a worker dies."""
    import distributed

    event = distributed.Event(claim)
    if event.is_set():
        return False
    event.set()
    return True
