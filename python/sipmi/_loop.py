"""The event loop on which coroutine handlers run: one thread, begun by the first of them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any, Callable, Optional

from . import _core

_request: contextvars.ContextVar[Optional[_core.RequestContext]] = contextvars.ContextVar("sipmi_request", default=None)


def request_of_task() -> Optional[_core.RequestContext]:
    """The request that the running task is answering."""
    return _request.get()


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread: Optional[threading.Thread] = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Optional[dict[str, Any]],
        responder: _core.Responder,
        request: _core.RequestContext,
    ) -> None:
        """Runs a handler on the loop; the responder gets its result or exception."""

        def begin() -> None:
            task = loop.create_task(_answer(function, args, kwargs or {}, responder, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop = self._running_loop()
        loop.call_soon_threadsafe(begin)

    def stop(self) -> None:
        """Cancels what still runs and ends the thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(self._cancel_all, loop)
        if thread is not threading.current_thread():
            thread.join(5.0)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="sipmi-loop", daemon=True)
                self._thread.start()
            return self._loop

    def _cancel_all(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        done = asyncio.gather(*tasks, return_exceptions=True)
        done.add_done_callback(lambda _: loop.stop())


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _answer(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    responder: _core.Responder,
    request: _core.RequestContext,
) -> None:
    _request.set(request)
    try:
        result = function(*args, **kwargs)
        result = [item async for item in result] if hasattr(result, "__aiter__") else await result
    except asyncio.CancelledError:
        responder.cancelled()
    except BaseException as error:
        # Also SystemExit: one handler must not take the loop, and with it all others, down.
        responder.exception(error)
    else:
        responder.result(result)
