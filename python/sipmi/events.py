"""Receive events: ``mi.events(...)``, or :func:`listen`, subscribes at a server and gives what it sends."""

from __future__ import annotations

import atexit
import collections
import contextlib
import dataclasses
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Callable, Optional, Union

from . import _core
from ._calling import Blocking, finish
from ._event_sockets import Place, Route, Source, Sources, parse
from ._event_subscription import Subscription, patience_after
from .client import Client
from .errors import CodecError

log: logging.Logger = logging.getLogger("sipmi.events")

#: So many datagrams at most are read before anything else is looked at.
_AT_ONCE = 1024

#: Every receiver that listens: closed at exit, so that the server is told.
_listening: weakref.WeakSet[Receiver] = weakref.WeakSet()


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened at a server.

    >>> event = Event("E_UL_AOR_INSERT", {"aor": "alice"}, "udp:192.0.2.1:5060", 1700000000.0)
    >>> event.params["aor"]
    'alice'
    """

    name: str
    """``E_UL_AOR_INSERT``; over TCP, the method that the socket was subscribed with, if there is one."""
    params: Union[dict[str, Any], list[Any]]
    """By name; a list when none has a name. As text all values are ``str``, in JSON they have types."""
    source: str
    """Who sent it: ``udp:host:port``, ``tcp:host:port``, ``unix:`` and a path if the sender has one."""
    received: float
    """When it came, in seconds since the epoch."""


def listen(
    mi: Client,
    *events: str,
    expire: int = 3600,
    at: str = "udp",
    advertise: Optional[str] = None,
    most_waiting: int = 10_000,
    on_full: str = "wait",
    check: Optional[float] = 10.0,
    within: Optional[float] = None,
) -> Listener:
    """Subscribes to events for as long as the result is entered or iterated (``event_subscribe``), and gives them.

    The subscriptions are renewed when half of their time has passed, made again when the server began again, and ended
    when the block or loop is left.

    :param mi: a client of the server.
    :param events: their names, or patterns as "E_UL_*", at least one.
    :param expire: seconds that the server keeps sending after a listener that dies.
    :param at: where to receive: "udp", "unix" or "tcp" pick a free address that the server can reach;
        "udp:host:port", "unix:/path" and "tcp:host:port" name it. OpenSIPS sends over TCP with event_stream
        (3.1 and later), and knows IPv4 only. UNIX loses nothing while events come slower than they are taken.
    :param advertise: what to tell the server instead, where an address is translated on its way.
    :param most_waiting: how many events wait to be taken at most.
    :param on_full: what happens then. "wait": no more are read; the system and the server then hold some, and drop
        what is beyond. "drop": the oldest one is dropped. ``dropped`` of the result counts, as far as anybody knows.
    :param check: each so many seconds, at least 1, the server is asked for its uptime; None to leave it alone.
    :param within: iterating ends after so many seconds; never by default.
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
    options: dict[str, Any] = {"advertise": advertise, "most_waiting": most_waiting, "on_full": on_full}
    return Listener(mi, events, expire=expire, at=at, check=check, within=within, **options)


class Inbox:
    """Events that wait to be taken, and what was lost before."""

    def __init__(self, most: int, on_full: str) -> None:
        if most < 1:
            raise ValueError(f"expected room for at least one event, found {most}")
        if on_full not in ("wait", "drop"):
            raise ValueError(f"expected on_full of 'wait' or 'drop', found {on_full!r}")
        self.waiting: collections.deque[Event] = collections.deque()
        self.most = most
        self.drops: bool = on_full == "drop"
        self.dropped: int = 0
        self.unreadable: int = 0

    @property
    def is_full(self) -> bool:
        """Whether no more should be read."""
        return len(self.waiting) >= self.most and not self.drops

    @property
    def room(self) -> int:
        """How many more may be read at once."""
        return _AT_ONCE if self.drops else min(_AT_ONCE, max(1, self.most - len(self.waiting)))

    def read(self, source: Source, found: bytes) -> tuple[Optional[Event], Optional[bytes]]:
        """What came, as an event, and the reply that its sender wants."""
        try:
            name, params, _, reply = _core.decode_event(found)
        except CodecError as error:
            self.unreadable += 1
            log.warning("%s sent what is no event: %s", source.name, error)
            return None, None
        return Event(name, params, source.name, time.time()), reply

    def add(self, event: Event) -> None:
        """Keeps an event until it is taken, in the place of the oldest one when there is no other."""
        if len(self.waiting) >= self.most and self.drops:
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append(event)


class _Receiving:
    """Where events are received, and what was lost of them."""

    _inbox: Inbox
    _sources: Optional[Sources] = None
    _lost = 0

    @property
    def address(self) -> str:
        """Where it really listens, as ``event_subscribe`` takes it.

        :raises RuntimeError: it is not entered.
        """
        if self._sources is None:
            raise RuntimeError("it has no address before it is entered")
        return self._sources.address

    @property
    def unreadable(self) -> int:
        """How much came that is no event."""
        return self._inbox.unreadable

    @property
    def dropped(self) -> int:
        """How many events were lost here: dropped for want of room, by it or (over UDP) by the kernel.

        The kernel tells with the next event that comes.
        """
        return self._inbox.dropped + (self._lost if self._sources is None else self._sources.lost)


class _Subscribed(_Receiving):
    """What a server was told to send, and where."""

    _subscription: Subscription
    _way: Way

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the events that it is subscribed to; those that patterns mean when it is entered."""
        return self._subscription.names

    @property
    def socket(self) -> str:
        """What the server was told: ``udp:host:port``, ``unix:/path`` or ``tcp:host:port``.

        :raises RuntimeError: it is not entered.
        """
        return self._way.advertise or self._way.route.seen_from_server(self.address)

    @property
    def restarts(self) -> int:
        """How many times the server began again, and was subscribed to again."""
        return self._subscription.restarts


class Receiver(_Receiving):
    """A socket that receives events, without a subscription: for servers whose configuration names it.

    Entered, it listens; left, it is gone. Events are taken with :meth:`get`, :meth:`within` or by iterating.

    :param at: "udp:host:port", "unix:/path" or "tcp:host:port"; port 0 picks a free one.
    :param most_waiting: how many events wait to be taken at most.
    :param on_full: "wait": no more are read then; "drop": the oldest one is dropped.
    :raises ValueError: the address cannot be read.

    >>> with Receiver("udp:127.0.0.1:0") as receiver:
    ...     receiver.address.startswith("udp:127.0.0.1:")
    True
    """

    def __init__(self, at: str, *, most_waiting: int = 10_000, on_full: str = "wait") -> None:
        self._inbox = Inbox(most_waiting, on_full)
        self._at = parse(at)
        self._changed = threading.Condition()
        self._closed = True
        self._failure: Optional[Exception] = None
        self._reader: Optional[threading.Thread] = None

    def get(self, timeout: Optional[float] = None) -> Event:
        """The next event.

        :param timeout: seconds to wait for it; None waits until there is one. Ctrl-C ends the wait.
        :raises TimeoutError: none came in time.
        :raises RuntimeError: it was left, by this thread or another.
        :raises MiError: the subscription could not be renewed and has ended.
        """
        event = self._next(timeout)
        if event is not None:
            return event
        if self._closed:
            raise RuntimeError("the receiver is closed")
        raise TimeoutError(f"no event within {timeout} seconds")

    def within(self, seconds: float) -> Iterator[Event]:
        """All events that come within so many seconds.

        >>> with Receiver("udp:127.0.0.1:0") as receiver:
        ...     list(receiver.within(0.01))
        []
        """
        deadline = time.monotonic() + seconds
        while (event := self._next(max(0.0, deadline - time.monotonic()))) is not None:
            yield event

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until it is left. Ctrl-C ends the wait."""
        while (event := self._next(None)) is not None:
            yield event

    def _next(self, timeout: Optional[float]) -> Optional[Event]:
        """The next event; None when none came in time, or none will."""
        waiting = self._inbox.waiting
        with self._changed:
            self._changed.wait_for(lambda: waiting or self._closed or self._failure, timeout)
            if waiting:
                event = waiting.popleft()
                if len(waiting) == self._inbox.most - 1:
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

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening. Whoever waits for an event stops waiting. Twice does no harm."""
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
        """Puts events where they wait to be taken, until it is closed."""
        while not self._closed:
            try:
                for source, datagram in sources.receive():
                    self._take(source, datagram, sources)
            except Exception as error:
                # Whoever waits for events must learn that none will come.
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


class Listener(_Subscribed, Receiver):
    """Events of one server; ``mi.events(...)`` and :func:`listen` make it and say what it is made of.

    A loop over it subscribes and ends the subscriptions when it is left; so does a ``with`` block around it.
    """

    def __init__(
        self,
        mi: Client,
        events: tuple[str, ...],
        *,
        expire: int = 3600,
        at: str = "udp",
        advertise: Optional[str] = None,
        most_waiting: int = 10_000,
        on_full: str = "wait",
        check: Optional[float] = 10.0,
        within: Optional[float] = None,
    ) -> None:
        self._subscription = Subscription(events, expire=expire, check=check)
        self._mi = mi
        self._way = Way.to(mi.address, at, advertise)
        super().__init__(str(self._way.at), most_waiting=most_waiting, on_full=on_full)
        self._within = within
        self._was_entered = False
        self._keeping: Optional[threading.Thread] = None
        self._calling: Optional[threading.Thread] = None
        self._left = threading.Event()

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
        self._keeping = threading.Thread(target=self._keep, name="sipmi-events-keep", daemon=True)
        self._keeping.start()
        return self

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until it is left, or for as long as was said. Ctrl-C ends the wait."""
        with self if not self._was_entered else contextlib.nullcontext():
            yield from super().__iter__() if self._within is None else self.within(self._within)

    def within(self, seconds: float) -> Iterator[Event]:
        """All events that come within so many seconds."""
        with self if not self._was_entered else contextlib.nullcontext():
            yield from super().within(seconds)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._leave(patience_after(error))

    def close(self) -> None:
        """Ends the subscriptions, as far as the server can be reached, and stops listening."""
        self._leave(None)

    def _leave(self, within: Optional[float]) -> None:
        """As :meth:`close`; each of the two waits for the server takes so many seconds at most."""
        self._left.set()
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            if keeping is not threading.current_thread():
                keeping.join(within)
            finish(self._subscription.end(Blocking(self._mi), within=within))
        super().close()
        if self._calling is not None and self._calling is not threading.current_thread():
            self._calling.join()

    def call_back(self, function: Callable[[Event], object]) -> None:
        """Enters it, and calls a function with each event, on a thread of its own, until it is closed.

        What the function raises is logged.
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
                # The subscription has ended; it is tried to renew it, and events may come again.
                log.warning("no events of %s come: %s", self._mi.address, error)
                if self._left.wait(FAILED_WAIT):
                    return

    def _keep(self) -> None:
        with contextlib.suppress(_Left):
            finish(self._subscription.keep(_Interruptible(self._mi, self._left), self._fail))


#: When a subscription could not be renewed, callbacks wait so many seconds before they ask again whether it was.
FAILED_WAIT = 1.0


def call_one(function: Callable[[Event], Any], event: Event) -> Any:
    try:
        return function(event)
    except Exception:
        log.exception("the callback for %s failed", event.name)
        return None


@dataclasses.dataclass(frozen=True)
class Way:
    """Where events are received, and what the server is told of it."""

    at: Place
    route: Route
    advertise: Optional[str]

    @classmethod
    def to(cls, mi_address: str, at: str, advertise: Optional[str]) -> Way:
        route = Route.to(mi_address)
        place = parse(route.own_address(at))
        if advertise is None:
            route.check(place)
        return cls(place, route, advertise)


class _Left(Exception):
    """The listener was left while its subscriptions were kept."""


class _Interruptible(Blocking):
    """Drives what keeps subscriptions, until its listener is left."""

    def __init__(self, mi: Client, left: threading.Event) -> None:
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


#: Seconds that each listener waits for its server at exit.
_AT_EXIT = 1.0


@atexit.register
def _close_all() -> None:
    for receiver in list(_listening):
        if isinstance(receiver, Listener):
            receiver._leave(_AT_EXIT)
        else:
            receiver.close()
