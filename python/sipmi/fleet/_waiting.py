"""How a fleet waits for its calls: on the calling thread, or on an event loop. Its callers see no difference."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from typing import Any, Optional, Protocol

from .._core import Driver
from ..client import driver_of

#: Seconds until the handler of a signal runs that comes just before the wait.
_WAKE = 0.05


class Waiter(Protocol):
    """Waits for what comes in, which its driver's calls or other threads put there."""

    @property
    def driver(self) -> Driver:
        """On which calls are begun."""

    def put(self, item: Any) -> None:
        """Something has come in. From any thread."""

    async def get(self, timeout: Optional[float] = None) -> list[Any]:
        """All that came in; waits until something has. Nothing when the time is over first."""

    async def sleep(self, seconds: float) -> None:
        """Sleep."""

    def close(self) -> None:
        """Cancel all pending calls."""


class BlockingWaiter:
    """Waits on the calling thread; Ctrl-C ends it."""

    def __init__(self) -> None:
        self.process: int = os.getpid()
        self.driver: Driver = Driver()
        self._items: collections.deque[Any] = collections.deque()
        self._poll = select.poll()
        self._poll.register(self.driver.fileno(), select.POLLIN)

    def put(self, item: Any) -> None:
        self._items.append(item)

    @property
    def is_idle(self) -> bool:
        """True if no item waits to be taken."""
        return not self._items

    async def get(self, timeout: Optional[float] = None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            left = _WAKE if deadline is None else min(_WAKE, max(0.0, deadline - time.monotonic()))
            self._wait(left)
            if deadline is not None and time.monotonic() >= deadline:
                break
        return [self._items.popleft() for _ in range(len(self._items))]

    def _wait(self, seconds: float) -> None:
        self._poll.poll(seconds * 1000)
        self.driver.turn()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self.driver.close()


class QueueWaiter(BlockingWaiter):
    """Waits on the calling thread for what other threads put there."""

    def __init__(self) -> None:
        super().__init__()
        self._came = threading.Event()

    def put(self, item: Any) -> None:
        super().put(item)
        self._came.set()

    def _wait(self, seconds: float) -> None:
        self._came.wait(seconds)
        self._came.clear()


class Waiters:
    """The idle waiters of a fleet: the kernel already watches the descriptors of their drivers."""

    def __init__(self) -> None:
        self._idle: list[BlockingWaiter] = []

    @contextlib.contextmanager
    def one(self) -> Iterator[BlockingWaiter]:
        """Lend a waiter to a call, and keep it if the call ends normally."""
        try:
            waiter = self._idle.pop()
        except IndexError:
            waiter = BlockingWaiter()
        if waiter.process != os.getpid():
            waiter = BlockingWaiter()  # that of a parent has its descriptors, and its calls
        try:
            yield waiter
        except BaseException:
            waiter.close()
            raise
        if waiter.is_idle:
            self._idle.append(waiter)
        else:
            waiter.close()

    def close(self) -> None:
        """Close all waiters."""
        while self._idle:
            self._idle.pop().close()


class LoopWaiter:
    """Waits on the running event loop, whose driver it shares with all clients there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.driver: Driver = driver_of(self._loop)
        self._items: collections.deque[Any] = collections.deque()
        self._came = asyncio.Event()

    def put(self, item: Any) -> None:
        self._items.append(item)
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._came.set()
        else:
            self._loop.call_soon_threadsafe(self._came.set)

    async def get(self, timeout: Optional[float] = None) -> list[Any]:
        if not self._items:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), timeout)
            except asyncio.TimeoutError:
                return []
        return [self._items.popleft() for _ in range(len(self._items))]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        pass  # the caller has cancelled its calls
