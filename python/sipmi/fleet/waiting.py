"""How a fleet waits for its calls: on the calling thread, or on an event loop. What is above knows no difference."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import select
import socket
import time
from typing import Any, Optional, Protocol

from .. import _core
from .._drivers import driver_of

#: A signal that comes just before the wait begins does not end it; its handler runs after so many seconds.
_WAKE = 0.05


class Waiter(Protocol):
    """Waits for what comes in, which its driver's calls or other threads put there."""

    @property
    def driver(self) -> _core.Driver:
        """On which calls are begun."""

    def put(self, item: Any) -> None:
        """Something has come in. From any thread."""

    async def get(self, timeout: Optional[float] = None) -> list[Any]:
        """All that came in; waits until something has. Nothing when the time is over first."""

    async def sleep(self, seconds: float) -> None:
        """Waits for so long."""

    def close(self) -> None:
        """Gives up what is still going on."""


class BlockingWaiter:
    """Waits on the calling thread; Ctrl-C ends it."""

    def __init__(self) -> None:
        self.driver: _core.Driver = _core.Driver()
        self._items: collections.deque[Any] = collections.deque()
        self._bell, self._ear = socket.socketpair()
        for end in (self._bell, self._ear):
            end.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self.driver.fileno(), select.POLLIN)
        self._poll.register(self._ear, select.POLLIN)
        self._is_waiting = False

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._is_waiting:
            # When it is full it rings already; when it is closed nobody waits any more.
            with contextlib.suppress(OSError):
                self._bell.send(b"\0")

    async def get(self, timeout: Optional[float] = None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            self._is_waiting = True
            left = _WAKE if deadline is None else min(_WAKE, max(0.0, deadline - time.monotonic()))
            ready = [] if self._items else self._poll.poll(left * 1000)
            self._is_waiting = False
            if any(fd == self._ear.fileno() for fd, _ in ready):
                self._ear.recv(4096)
            self.driver.turn()
            if deadline is not None and time.monotonic() >= deadline:
                break
        return [self._items.popleft() for _ in range(len(self._items))]

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self.driver.close()
        self._bell.close()
        self._ear.close()


class LoopWaiter:
    """Waits on the running event loop, whose driver it shares with all clients there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.driver: _core.Driver = driver_of(self._loop)
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
        pass  # whoever began calls has given them up
