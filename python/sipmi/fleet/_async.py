"""Many servers asked at once, by awaited calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional, Union

from ..client import named
from ._base import FleetBase, Read, value_of
from ._progress import shown
from ._result import FleetResult
from ._waiting import LoopWaiter


class AsyncFleet(FleetBase):
    """A :class:`Fleet` for an event loop: its calls are awaited. A call that is cancelled gives up all its nodes.

    >>> import asyncio
    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> async def main():
    ...     async with sipmi.AsyncFleet({"edge1": server.addresses[0]}) as fleet:
    ...         return (await fleet.call("which", "uptime")).ok
    >>> with server:
    ...     asyncio.run(main())
    {'edge1': [[]]}
    """

    async def call(
        self, command: str, /, *args: Any, timeout: Optional[float] = None, params: Any = None, **kwargs: Any
    ) -> FleetResult:
        """As :meth:`Fleet.call`, awaited. Cancelled, it gives up all calls."""
        return await self._run(command, args, kwargs if params is None else named(kwargs, params), timeout, value_of)

    async def request(
        self, command: str, /, *args: Any, timeout: Optional[float] = None, params: Any = None, **kwargs: Any
    ) -> FleetResult:
        """As :meth:`Fleet.request`, awaited."""
        return await self._run(
            command, args, kwargs if params is None else named(kwargs, params), timeout, self._reply()
        )

    async def statistics(self, *selectors: Union[str, Iterable[str]], timeout: Optional[float] = None) -> FleetResult:
        """As :meth:`Fleet.statistics`, awaited."""
        from ..statistics import Selection, reading_of, selected

        # By group: one round is right for all nodes, whatever else has such a name on one of them.
        selection = Selection(selected(selectors))
        result = await self._run("get_statistics", (selection.by_group(),), {}, timeout, value_of)
        return result.each(lambda one: reading_of(one.value, one.error, selection, one.address, one.ended))

    async def __aenter__(self) -> AsyncFleet:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    async def _run(
        self, command: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: Optional[float], read: Read
    ) -> FleetResult:
        rollout = self._rollout(command, args, kwargs, timeout, read)
        with shown(rollout.policy.progress, command) as progress:
            return await rollout.run(LoopWaiter(), progress)
