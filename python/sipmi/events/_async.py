"""Receive events on an event loop: the result of ``mi.events(...)`` of an :class:`sipmi.AsyncClient`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional

from .._calling import AsyncCaller, Awaiting
from .._numbers import Seconds
from .._options import check_option, check_options
from ._inbox import Event, Inbox
from ._options import MAX_QUEUE, OVERFLOW, EventOptions, subscription_options
from ._receiving import FAILED_WAIT, Endpoint, Subscribed, call_one
from ._sockets import Sources
from ._subscription import Subscription, patience_after

if TYPE_CHECKING:
    from typing_extensions import Unpack

log: logging.Logger = logging.getLogger("sipmi.events")


class AsyncListener(Subscribed):
    """Events of one server, for ``async for``; ``mi.events(...)`` of an :class:`sipmi.AsyncClient` makes it.

    It is a :class:`Listener` without threads: the event loop reads.
    """

    def __init__(
        self,
        mi: AsyncCaller,
        events: tuple[str, ...],
        *,
        callback: Optional[Callable[[Event], Any]] = None,
        **options: Unpack[EventOptions],
    ) -> None:
        check_options("events()", options, EventOptions, also=("callback",))
        self._subscription = Subscription(events, **subscription_options(options))
        self._inbox = Inbox(options.get("max_queue", MAX_QUEUE), options.get("overflow", OVERFLOW))
        self._mi = mi
        self._endpoint = Endpoint.for_server(mi.address, options.get("at", "udp"), options.get("advertise"))
        self._duration = options.get("duration")
        self._callback = callback
        self._was_entered = False
        self._failure: Optional[Exception] = None
        self._is_reading = False
        self._tasks: list[asyncio.Task[None]] = []

    async def get(self, timeout: Optional[float] = None) -> Event:
        """Wait for the next event.

        :param timeout: the seconds to wait; None, the default, waits without end.
        :raises TimeoutError: no event came in time.
        :raises RuntimeError: the listener was closed.
        :raises MiError: the subscription could not be renewed and has ended.
        """
        check_option("get()", "timeout", timeout, Optional[Seconds])
        event = await self._next(timeout)
        if event is not None:
            return event
        if self._sources is None:
            raise RuntimeError("the listener is closed")
        raise TimeoutError(f"no event within {timeout} seconds")

    async def within(self, seconds: float) -> AsyncIterator[Event]:
        """Yield all events that come within a number of seconds."""
        check_option("within()", "seconds", seconds, Seconds)
        async with contextlib.AsyncExitStack() as entered:
            if not self._was_entered:
                await entered.enter_async_context(self)
            deadline = time.monotonic() + seconds
            while (event := await self._next(max(0.0, deadline - time.monotonic()))) is not None:
                yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        async with contextlib.AsyncExitStack() as entered:
            if not self._was_entered:
                await entered.enter_async_context(self)
            deadline = None if self._duration is None else time.monotonic() + self._duration
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                event = await self._next(left)
                if event is None:
                    return
                yield event

    async def __aenter__(self) -> AsyncListener:
        if self._sources is not None:
            raise RuntimeError("the listener is entered already")
        self._was_entered = True
        self._sources = Sources(self._endpoint.at)
        self._inbox.waiting.clear()
        self._failure = None
        # Before Python 3.10, an event belongs to the loop in which it is made.
        self._changed = asyncio.Event()
        self._read_on()
        try:
            await self._subscription.begin(Awaiting(self._mi), self.socket)
        except BaseException:
            self._stop_reading()
            raise
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._subscription.keep(Awaiting(self._mi), self._fail))]
        if self._callback is not None:
            self._tasks.append(loop.create_task(self._call(self._callback)))
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self._leave(patience_after(error))

    async def close(self) -> None:
        """End the subscriptions, if the server can be reached, and stop listening. A second call does nothing."""
        await self._leave(None)

    async def _leave(self, within: Optional[float]) -> None:
        """Close, and wait for the server for a limited number of seconds."""
        tasks, self._tasks = self._tasks, []
        others = [task for task in tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
        if tasks:
            try:
                await self._subscription.end(Awaiting(self._mi), within=within)
            finally:
                self._stop_reading()
                self._changed.set()

    # -- reading, by the event loop -------------------------------------------------------------------

    async def _next(self, timeout: Optional[float]) -> Optional[Event]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._inbox.waiting:
            if self._sources is None:
                return None
            if self._failure is not None:
                raise self._failure
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                return None
        event = self._inbox.waiting.popleft()
        self._read_on()
        return event

    def _read_on(self) -> None:
        """Have the loop read, unless it does already or the queue is full."""
        if self._sources is not None and not self._is_reading and not self._inbox.is_full:
            self._is_reading = True
            asyncio.get_running_loop().add_reader(self._sources.fileno(), self._take)

    def _stop_reading(self) -> None:
        sources, self._sources = self._sources, None
        if sources is not None:
            asyncio.get_running_loop().remove_reader(sources.fileno())
            self._is_reading = False
            self._lost = sources.lost
            sources.close()

    def _take(self) -> None:
        sources = self._sources
        if sources is None:
            return
        try:
            for source, found in sources.receive(0, most=self._inbox.room):
                event, reply = self._inbox.read(source, found)
                if event is not None:
                    self._inbox.add(event)
                    if reply is not None:
                        sources.reply(source, reply)
        except Exception as error:
            log.exception("receiving events failed")
            self._fail(error)
        if self._inbox.is_full:
            asyncio.get_running_loop().remove_reader(sources.fileno())
            self._is_reading = False
        self._changed.set()

    def _fail(self, error: Optional[Exception]) -> None:
        self._failure = error
        self._changed.set()

    async def _call(self, function: Callable[[Event], Any]) -> None:
        while True:
            try:
                async for event in self:
                    outcome = call_one(function, event)
                    if inspect.isawaitable(outcome):
                        await outcome
                return
            except Exception as error:
                log.warning("no events of %s come: %s", self._mi.address, error)
                await asyncio.sleep(FAILED_WAIT)
