"""The protocols of a client, and logic that is written once, as coroutines, for blocking and for awaited clients.

A coroutine takes a driver for a client. The driver of a blocking client never suspends, so :func:`finish` runs the
coroutine to its end without an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Callable, Optional, Protocol, TypeVar

from .errors import is_of_a_call

T = TypeVar("T")

__tracebackhide__: Callable[[Any], bool] = is_of_a_call


class Caller(Protocol):
    """A client whose calls block."""

    @property
    def address(self) -> str:
        """The address of the server."""

    @property
    def timeout(self) -> float:
        """The default timeout of a call in seconds."""

    def call(self, command: str, /, *args: Any, timeout: Optional[float] = None, **kwargs: Any) -> Any:
        """Run a command and return its value."""


class AsyncCaller(Protocol):
    """A client whose calls are awaited."""

    @property
    def address(self) -> str:
        """The address of the server."""

    @property
    def timeout(self) -> float:
        """The default timeout of a call in seconds."""

    def call(
        self, command: str, /, *args: Any, timeout: Optional[float] = None, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """Run a command and return its value."""


class Driver(Protocol):
    """The operations that such a coroutine may await."""

    @property
    def address(self) -> str:
        """The address of the server."""

    @property
    def timeout(self) -> float:
        """The default timeout of a call in seconds."""

    async def call(self, command: str, /, *args: Any, timeout: float, **kwargs: Any) -> Any:
        """Run a command and return its value."""

    async def sleep(self, seconds: float) -> None:
        """Sleep."""


class Blocking:
    """Drives coroutines of a blocking client: each call has finished when it returns."""

    def __init__(self, mi: Caller) -> None:
        self._mi = mi
        self.address = mi.address
        self.timeout = mi.timeout

    async def call(self, command: str, /, *args: Any, timeout: float, **kwargs: Any) -> Any:
        return self._mi.call(command, *args, timeout=timeout, **kwargs)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Awaiting:
    """Drives coroutines of an awaited client, on its event loop."""

    def __init__(self, mi: AsyncCaller) -> None:
        self._mi = mi
        self.address = mi.address
        self.timeout = mi.timeout

    async def call(self, command: str, /, *args: Any, timeout: float, **kwargs: Any) -> Any:
        return await self._mi.call(command, *args, timeout=timeout, **kwargs)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has a blocking driver, and return its result.

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
