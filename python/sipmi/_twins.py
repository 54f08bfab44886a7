"""Logic that is written once, as coroutines, for clients that block and for those that are awaited.

A coroutine takes a driver for a client. That of a blocking client never suspends, so :func:`finish` runs the
coroutine to its end without an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .client import Client

T = TypeVar("T")


class Driver(Protocol):
    """What such a coroutine may do."""

    @property
    def address(self) -> str:
        """Whom it calls."""

    @property
    def timeout(self) -> float:
        """Seconds that a call may take, unless it says otherwise."""

    async def call(self, command: str, /, *args: Any, timeout: float, **kwargs: Any) -> Any:
        """As that of the client."""

    async def sleep(self, seconds: float) -> None:
        """Waits."""


class Blocking:
    """Drives coroutines of a :class:`Client`: each call is over when it returns."""

    def __init__(self, mi: Client) -> None:
        self._mi = mi
        self.address = mi.address
        self.timeout = mi.timeout

    async def call(self, command: str, /, *args: Any, timeout: float, **kwargs: Any) -> Any:
        return self._mi.call(command, *args, timeout=timeout, **kwargs)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Awaiting:
    """Drives coroutines of an :class:`AsyncClient`, on its event loop."""

    def __init__(self, mi: AsyncClient) -> None:
        self._mi = mi
        self.address = mi.address
        self.timeout = mi.timeout

    async def call(self, command: str, /, *args: Any, timeout: float, **kwargs: Any) -> Any:
        return await self._mi.call(command, *args, timeout=timeout, **kwargs)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that has a blocking driver.

    >>> async def double(number):
    ...     return 2 * number
    >>> finish(double(21))
    42
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine with a blocking driver waited for an event loop")
