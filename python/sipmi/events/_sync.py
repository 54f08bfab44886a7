"""Receive events with threads: :func:`listen`, :class:`Listener` and :class:`Receiver`."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, Optional

from .._calling import Blocking, Caller, finish
from .._numbers import Seconds
from .._options import check_option, check_options
from ._inbox import Event, Inbox
from ._options import MAX_QUEUE, OVERFLOW, EventOptions, subscription_options
from ._receiving import FAILED_WAIT, Endpoint, Receiving, Subscribed, call_one
from ._route import parse
from ._sockets import Source, Sources
from ._subscription import Subscription, patience_after

if TYPE_CHECKING:
    from typing_extensions import Unpack

log: logging.Logger = logging.getLogger("sipmi.events")

#: Every receiver that listens: closed at exit, so that the server is told.
_listening: weakref.WeakSet[Receiver] = weakref.WeakSet()


def listen(mi: Caller, *events: str, **options: Unpack[EventOptions]) -> Listener:
    """Subscribe to events while the result is entered or iterated (``event_subscribe``).

    The subscriptions are renewed after half of their time, repeated after a restart of the server, and ended when the
    block or loop is left.

    :param mi: a client of the server.
    :param events: their names, or patterns as "E_UL_*", at least one.
    :param expire: the seconds of a subscription, after which the server forgets a dead listener; 3600 by default.
    :param at: the address to receive at: "udp", the default, "unix" or "tcp" pick one that the server can reach;
        "udp:host:port", "unix:/path" and "tcp:host:port" name it. OpenSIPS sends over TCP with event_stream
        (3.1 and later), and knows IPv4 only. UNIX loses no event while they are taken faster than they come.
    :param advertise: the address to tell the server where addresses are translated; None, the default, tells ``at``.
    :param max_queue: the number of events that may wait to be taken; 10,000 by default.
    :param overflow: "drop", the default, drops the oldest event when the queue is full. "wait" stops reading: the
        kernel and the server hold some more events and drop the rest. ``dropped`` of the result counts the drops on
        this machine.
    :param restart_poll: the seconds between two questions for the server's uptime, at least 1; 10 by default. None
        asks no such question.
    :param duration: the seconds after which iterating ends; None, the default, has no end.
    :raises ValueError: no event; or the address is one that only this machine can reach and the server is remote.

    >>> import sipmi
    >>> server = sipmi.Server("billing")
    >>> server.event("E_SUB_ADDED")
    >>> server.listen("udp:127.0.0.1:0")
    >>> with server, sipmi.connect(server.addresses[0]) as mi, sipmi.events.listen(mi, "E_SUB_ADDED") as added:
    ...     subscribers = server.raise_event("E_SUB_ADDED", {"user": "alice", "credit": 2.5})
    ...     event = added.get(timeout=5.0)
    >>> event.name, event.params
    ('E_SUB_ADDED', {'user': 'alice', 'credit': 2.5})
    """
    return Listener(mi, events, **options)


class Receiver(Receiving):
    """A socket that receives events, without a subscription: for servers whose configuration names it.

    It listens while it is entered. Events are taken with :meth:`get`, :meth:`within` or by iterating.

    :param at: "udp:host:port", "unix:/path" or "tcp:host:port"; port 0 picks a free one.
    :param max_queue: the number of events that may wait to be taken; 10,000 by default.
    :param overflow: "drop", the default, drops the oldest event when the queue is full; "wait" stops reading.
    :raises ValueError: the address cannot be read.

    >>> with Receiver("udp:127.0.0.1:0") as receiver:
    ...     receiver.address.startswith("udp:127.0.0.1:")
    True
    """

    def __init__(self, at: str, *, max_queue: int = MAX_QUEUE, overflow: str = OVERFLOW) -> None:
        self._inbox = Inbox(max_queue, overflow)
        self._at = parse(at)
        self._changed = threading.Condition()
        self._closed = True
        self._failure: Optional[Exception] = None
        self._reader: Optional[threading.Thread] = None

    def get(self, timeout: Optional[float] = None) -> Event:
        """Wait for the next event.

        :param timeout: the seconds to wait; None, the default, waits without end. Ctrl-C ends the wait.
        :raises TimeoutError: no event came in time.
        :raises RuntimeError: this or another thread has closed the receiver.
        :raises MiError: the subscription could not be renewed and has ended.
        """
        check_option("get()", "timeout", timeout, Optional[Seconds])
        event = self._next(timeout)
        if event is not None:
            return event
        if self._closed:
            raise RuntimeError("the receiver is closed")
        raise TimeoutError(f"no event within {timeout} seconds")

    def within(self, seconds: float) -> Iterator[Event]:
        """Yield all events that come within a number of seconds.

        >>> with Receiver("udp:127.0.0.1:0") as receiver:
        ...     list(receiver.within(0.01))
        []
        """
        check_option("within()", "seconds", seconds, Seconds)
        deadline = time.monotonic() + seconds
        while (event := self._next(max(0.0, deadline - time.monotonic()))) is not None:
            yield event

    def __iter__(self) -> Iterator[Event]:
        """Yield events until the receiver is closed. Ctrl-C ends the wait."""
        while (event := self._next(None)) is not None:
            yield event

    def _next(self, timeout: Optional[float]) -> Optional[Event]:
        """Return the next event; None when none came in time, or the receiver was closed."""
        waiting = self._inbox.waiting
        with self._changed:
            self._changed.wait_for(lambda: waiting or self._closed or self._failure, timeout)
            if waiting:
                event = waiting.popleft()
                if len(waiting) == self._inbox.max_queue - 1:
                    self._changed.notify_all()
                return event
            if self._failure is not None and not self._closed:
                raise self._failure
            return None

    def __enter__(self) -> Receiver:
        if not self._closed:
            raise RuntimeError("the receiver is entered already")
        self._sources = Sources(self._at)
        self._inbox.waiting.clear()
        self._failure = None
        self._closed = False
        self._reader = threading.Thread(target=self._read, args=(self._sources,), name="sipmi-events", daemon=True)
        self._reader.start()
        _listening.add(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. Threads that wait for an event stop waiting. A second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        sources, self._sources = self._sources, None
        if sources is None:
            return
        sources.wake()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
        self._lost = sources.lost
        sources.close()
        _listening.discard(self)

    def _read(self, sources: Sources) -> None:
        """Queue events until the receiver is closed."""
        while not self._closed:
            try:
                for source, datagram in sources.receive():
                    self._take(source, datagram, sources)
            except Exception as error:
                # Threads that wait for events must learn that none will come.
                log.exception("receiving events failed")
                self._fail(error)
                return

    def _take(self, source: Source, found: bytes, sources: Sources) -> None:
        event, reply = self._inbox.read(source, found)
        if event is None:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._inbox.is_full)
            if self._closed:
                return
            self._inbox.add(event)
            self._changed.notify_all()
        if reply is not None:
            sources.reply(source, reply)

    def _fail(self, error: Optional[Exception]) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


class Listener(Subscribed, Receiver):
    """Events of one server; made by ``mi.events(...)`` and :func:`listen`.

    A loop over it, or a ``with`` block around it, subscribes, and ends the subscriptions when it is left. A loop that
    is left does not wait for a silent server: a thread ends the subscriptions.
    """

    def __init__(
        self,
        mi: Caller,
        events: tuple[str, ...],
        **options: Unpack[EventOptions],
    ) -> None:
        check_options("events()", options, EventOptions, also=("callback",))
        self._subscription = Subscription(events, **subscription_options(options))
        self._mi = mi
        self._endpoint = Endpoint.for_server(mi.address, options.get("at", "udp"), options.get("advertise"))
        overflow = options.get("overflow", OVERFLOW)
        super().__init__(str(self._endpoint.at), max_queue=options.get("max_queue", MAX_QUEUE), overflow=overflow)
        self._duration = options.get("duration")
        self._was_entered = False
        self._keeping: Optional[threading.Thread] = None
        self._calling: Optional[threading.Thread] = None
        self._left = threading.Event()
        self._ends_by_thread = False

    def __enter__(self) -> Listener:
        if self._calling is not None and not self._closed:
            return self
        super().__enter__()
        self._was_entered = True
        try:
            finish(self._subscription.begin(Blocking(self._mi), self.socket))
        except BaseException:
            super().close()
            raise
        self._left.clear()
        self._ends_by_thread = False
        self._keeping = threading.Thread(target=self._keep, name="sipmi-events-keep", daemon=True)
        self._keeping.start()
        return self

    def __iter__(self) -> Iterator[Event]:
        """Yield events until it is closed, or its duration is over. Ctrl-C ends the wait."""
        with self if not self._was_entered else contextlib.nullcontext():
            yield from super().__iter__() if self._duration is None else self.within(self._duration)

    def within(self, seconds: float) -> Iterator[Event]:
        """Yield all events that come within a number of seconds."""
        with self if not self._was_entered else contextlib.nullcontext():
            yield from super().within(seconds)

    def __exit__(self, *exc_info: object) -> None:
        error = exc_info[1] if isinstance(exc_info[1], BaseException) else None
        if isinstance(error, GeneratorExit):
            self._hand_over()
        else:
            self._leave(patience_after(error))

    def close(self) -> None:
        """End the subscriptions, if the server can be reached, and stop listening."""
        self._leave(None)

    def _leave(self, within: Optional[float]) -> None:
        """Close, and limit each of the waits for the server and the callback to a number of seconds."""
        self._left.set()
        keeping, self._keeping = self._keeping, None
        try:
            if keeping is not None:
                _join(keeping, within)
                finish(self._subscription.end(Blocking(self._mi), within=within))
        finally:
            super().close()
        _join(self._calling, within)

    def _hand_over(self) -> None:
        """Close, and have the thread that renews the subscriptions end them.

        A generator is closed by a break, by the garbage collector, and by Ctrl-C in the body of a loop. It cannot know
        by which, and Ctrl-C must not wait for a silent server.
        """
        self._ends_by_thread = True
        self._left.set()
        keeping, self._keeping = self._keeping, None
        try:
            _join(keeping, _LOOP_LEFT)
        finally:
            super().close()

    def call_back(self, function: Callable[[Event], object]) -> None:
        """Enter the listener, and call a function with each event, on a thread of its own, until it is closed.

        An exception of the function is logged.
        """
        self.__enter__()
        self._calling = threading.Thread(target=self._call, args=(function,), name="sipmi-events-call", daemon=True)
        self._calling.start()

    def _call(self, function: Callable[[Event], object]) -> None:
        while True:
            try:
                for event in self:
                    call_one(function, event)
                return
            except Exception as error:
                # The subscription has ended. Renewals go on, so events may come again.
                log.warning("no events of %s come: %s", self._mi.address, error)
                if self._left.wait(FAILED_WAIT):
                    return

    def _keep(self) -> None:
        with contextlib.suppress(_Left):
            finish(self._subscription.keep(_Interruptible(self._mi, self._left), self._fail))
        if self._ends_by_thread:
            finish(self._subscription.end(Blocking(self._mi)))


def _join(thread: Optional[threading.Thread], within: Optional[float]) -> None:
    if thread is not None and thread is not threading.current_thread():
        thread.join(within)


class _Left(Exception):
    """The listener was left while its subscriptions were renewed."""


class _Interruptible(Blocking):
    """Drives the renewal of subscriptions until the listener is left."""

    def __init__(self, mi: Caller, left: threading.Event) -> None:
        super().__init__(mi)
        self._left = left

    async def call(self, command: str, /, *args: Any, timeout: float, **kwargs: Any) -> Any:
        if self._left.is_set():
            raise _Left
        return await super().call(command, *args, timeout=timeout, **kwargs)

    async def sleep(self, seconds: float) -> None:
        # Infinity is too long for a thread.
        if self._left.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise _Left


#: Seconds that a loop that is left waits for the end of its subscriptions.
_LOOP_LEFT = 0.05
#: Seconds that each listener waits for its server at exit.
_AT_EXIT = 1.0


@atexit.register
def _close_all() -> None:
    for receiver in list(_listening):
        if isinstance(receiver, Listener):
            receiver._leave(_AT_EXIT)
        else:
            receiver.close()
