"""The event loop of coroutine handlers: one thread per process, which the first of them starts."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import AsyncIterator
from typing import Any, Callable, Optional

from .._core import AsyncHandler, RequestContext

_request: contextvars.ContextVar[Optional[RequestContext]] = contextvars.ContextVar("sipmi_request", default=None)


def request_of_task() -> Optional[RequestContext]:
    """Return the request that the running task is answering."""
    return _request.get()


class LoopThread:
    """An event loop on a thread of its own, while a server uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread: Optional[threading.Thread] = None
        self._users: dict[int, set[asyncio.Task[None]]] = {}

    def submit(self, user: int, job: Callable[[], Any], responder: AsyncHandler) -> None:
        """Run a coroutine on the loop. It is cancelled when its caller no longer waits for the answer."""

        def begin() -> None:
            task = loop.create_task(job())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            responder.on_cancel(lambda: _call(loop, task.cancel))

        with self._lock:
            loop = self._running_loop()
            tasks = self._users.setdefault(user, set())
            loop.call_soon_threadsafe(begin)

    def leave(self, user: int) -> None:
        """Cancel the tasks of a server, and end the thread if it was the last server."""
        with self._lock:
            tasks = self._users.pop(user, None)
            loop, thread = self._loop, self._thread
            if tasks is None or loop is None or thread is None:
                return
            is_last = not self._users
            if is_last:
                self._loop = self._thread = None
        _call(loop, _cancel, loop, tasks, is_last)
        if is_last and thread is not threading.current_thread():
            thread.join(5.0)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name="sipmi-loop", daemon=True)
            self._thread.start()
        return self._loop


_thread = LoopThread()


def _forget() -> None:
    """Forget the thread in a forked process, which does not have it."""
    global _thread
    _thread = LoopThread()


os.register_at_fork(after_in_child=_forget)


class Coroutines:
    """The coroutine handlers of one server."""

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Optional[dict[str, Any]],
        responder: AsyncHandler,
        request: RequestContext,
    ) -> None:
        """Run a handler on the loop; the responder gets its result or exception."""
        job = _answer(function, args, kwargs or {}, responder, request)
        _thread.submit(id(self), lambda: job, responder)

    def stop(self) -> None:
        """Cancel all running handlers."""
        _thread.leave(id(self))


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *args: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and all of its tasks have ended
        loop.call_soon_threadsafe(function, *args)


def _cancel(loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[None]], is_last: bool) -> None:
    running = list(tasks)
    for task in running:
        task.cancel()
    if is_last:
        done = asyncio.gather(*running, return_exceptions=True)
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
    responder: AsyncHandler,
    request: RequestContext,
) -> None:
    _request.set(request)
    try:
        result = function(*args, **kwargs)
        if hasattr(result, "__aiter__"):
            await _stream(result, responder)
            return
        result = await result
    except asyncio.CancelledError:
        responder.cancelled()
    except BaseException as error:
        # Also SystemExit: one handler must not stop the loop of all others.
        responder.exception(error)
    else:
        responder.result(result)


async def _stream(items: AsyncIterator[Any], responder: AsyncHandler) -> None:
    """Send a streamed reply as fast as the client reads it. The task is cancelled when the client is gone."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    feeder = responder.stream(lambda: _call(loop, task.cancel))
    if feeder is None:
        return
    try:
        async for item in items:
            room = feeder.put(item)
            if room == "full":
                has_room = asyncio.Event()
                feeder.on_room(functools.partial(_call, loop, has_room.set))
                await has_room.wait()
            elif room == "closed":
                break
    except asyncio.CancelledError:
        pass
    except BaseException as error:
        feeder.exception(error)
    else:
        feeder.end()
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
