"""Receive events: :func:`listen` subscribes at a server and gives what it sends, for as long as it is entered."""

from __future__ import annotations

import atexit
import collections
import contextlib
import dataclasses
import errno
import ipaddress
import logging
import os
import secrets
import selectors
import socket
import tempfile
import threading
import time
import urllib.parse
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Optional, Union

from . import _core
from .client import Client
from .errors import CodecError, MiError

log = logging.getLogger("sipmi.events")

#: A burst of datagrams has to fit the socket while another thread holds the interpreter; the system may give less.
_SOCKET_BUFFER = 4 << 20
#: The largest datagram there is.
_DATAGRAM = 65_536
#: More servers than this do not send to one receiver over TCP.
_MOST_CONNECTIONS = 64
#: Replies that a server does not read wait up to this many bytes; then its connection is closed.
_MOST_UNREAD = 1 << 20
#: A renewal that failed is tried again after this part of the time, and after this many seconds at least.
_RETRY_PART, _SHORTEST_RETRY = 0.1, 0.2
#: Seconds until a connection is accepted that found no file descriptor.
_NO_DESCRIPTORS_WAIT = 0.05

#: Every receiver that listens: closed at exit, so that no socket file is left behind.
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
) -> Listener:
    """Subscribes to events for as long as the result is entered (``event_subscribe``), and gives them.

    The subscriptions are renewed when half of their time has passed, and ended when the block is left.

    :param mi: a client of the server.
    :param events: their names, at least one.
    :param expire: seconds that the server keeps sending after a listener that dies.
    :param at: where to receive: "udp", "unix" or "tcp" pick a free address that the server can reach;
        "udp:host:port", "unix:/path" and "tcp:host:port" name it. OpenSIPS sends over TCP with event_stream
        (3.x, 4.x), and knows IPv4 only. UNIX loses nothing while events come slower than they are taken.
    :param advertise: what to tell the server instead, where an address is translated on its way.
    :param most_waiting: when so many events wait to be taken, no more are read: the system and the server then hold
        some, and drop what is beyond.
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
    return Listener(mi, events, expire=expire, at=at, advertise=advertise, most_waiting=most_waiting)


class Receiver:
    """A socket that receives events, without a subscription: for servers whose configuration names it.

    Entered, it listens; left, it is gone. Events are taken with :meth:`get`, :meth:`within` or by iterating.

    :param at: "udp:host:port", "unix:/path" or "tcp:host:port"; port 0 picks a free one.
    :param most_waiting: when so many events wait to be taken, no more are read.
    :raises ValueError: the address cannot be read.

    >>> with Receiver("udp:127.0.0.1:0") as receiver:
    ...     receiver.address.startswith("udp:127.0.0.1:")
    True
    """

    def __init__(self, at: str, *, most_waiting: int = 10_000) -> None:
        if most_waiting < 1:
            raise ValueError(f"expected room for at least one event, found {most_waiting}")
        self._at = _parse(at)
        self._most_waiting = most_waiting
        self._waiting: collections.deque[Event] = collections.deque()
        self._changed = threading.Condition()
        self._closed = True
        self._failure: Optional[Exception] = None
        self._unreadable = 0
        self._sources: Optional[_Sources] = None
        self._reader: Optional[threading.Thread] = None

    @property
    def address(self) -> str:
        """Where it really listens, as ``event_subscribe`` takes it.

        :raises RuntimeError: it is not entered.
        """
        if self._sources is None:
            raise RuntimeError("the receiver has no address before it is entered")
        return self._sources.address

    @property
    def unreadable(self) -> int:
        """How much came that is no event."""
        return self._unreadable

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
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or self._failure, timeout)
            if self._waiting:
                event = self._waiting.popleft()
                if len(self._waiting) == self._most_waiting - 1:
                    self._changed.notify_all()
                return event
            if self._failure is not None and not self._closed:
                raise self._failure
            return None

    def __enter__(self) -> Receiver:
        if not self._closed:
            raise RuntimeError("the receiver is entered already")
        self._sources = _Sources(self._at)
        self._waiting.clear()
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
        sources.close()
        _listening.discard(self)

    def _read(self, sources: _Sources) -> None:
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

    def _take(self, source: _Source, found: bytes, sources: _Sources) -> None:
        try:
            name, params, _, reply = _core.decode_event(found)
        except CodecError as error:
            self._unreadable += 1
            log.warning("%s sent what is no event: %s", source.name, error)
            return
        event = Event(name, params, source.name, time.time())
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._most_waiting)
            if self._closed:
                return
            self._waiting.append(event)
            self._changed.notify_all()
        if reply is not None:
            sources.reply(source, reply)

    def _fail(self, error: Optional[Exception]) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


class Listener(Receiver):
    """Events of one server; :func:`listen` makes it and says what it is made of."""

    def __init__(
        self,
        mi: Client,
        events: tuple[str, ...],
        *,
        expire: int = 3600,
        at: str = "udp",
        advertise: Optional[str] = None,
        most_waiting: int = 10_000,
    ) -> None:
        if not events:
            raise ValueError("expected the name of at least one event, found none")
        if expire < 1:
            raise ValueError(f"expected a subscription of at least 1 second, found {expire}")
        self._mi = mi
        self._events = events
        self._expire = expire
        self._advertise = advertise
        self._route = _Route.to(mi.address)
        super().__init__(self._route.own_address(at), most_waiting=most_waiting)
        if advertise is None:
            self._route.check(self._at)
        self._renewing: Optional[threading.Thread] = None
        self._left = threading.Event()

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the events that it is subscribed to."""
        return self._events

    @property
    def socket(self) -> str:
        """What the server was told: ``udp:host:port``, ``unix:/path`` or ``tcp:host:port``.

        :raises RuntimeError: it is not entered.
        """
        return self._advertise or self._route.seen_from_server(self.address)

    def __enter__(self) -> Listener:
        super().__enter__()
        try:
            for event in self._events:
                self._subscribe(event, self._expire)
        except BaseException:
            self._end_subscriptions()
            super().close()
            raise
        self._left.clear()
        self._renewing = threading.Thread(target=self._renew, name="sipmi-events-renew", daemon=True)
        self._renewing.start()
        return self

    def close(self) -> None:
        """Ends the subscriptions, as far as the server can be reached, and stops listening."""
        self._left.set()
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            if renewing is not threading.current_thread():
                renewing.join()
            self._end_subscriptions()
        super().close()

    def _subscribe(self, event: str, expire: int) -> None:
        self._mi.call("event_subscribe", event, self.socket, expire)

    def _end_subscriptions(self) -> None:
        try:
            for event in self._events:
                self._subscribe(event, 0)
        except MiError as error:
            # They end by themselves when their time is over.
            log.debug("the subscriptions at %s were not ended: %s", self._mi.address, error)

    def _renew(self) -> None:
        """Subscribes again at half time; after a failure soon again, and for as long as it is entered."""
        retry = max(self._expire * _RETRY_PART, _SHORTEST_RETRY)
        ends = time.monotonic() + self._expire
        wait = self._expire / 2
        while not self._left.wait(wait):
            began = time.monotonic()
            try:
                for event in self._events:
                    self._subscribe(event, self._expire)
            except MiError as error:
                log.warning("the subscription at %s was not renewed: %s", self._mi.address, error)
                wait = retry
                if time.monotonic() >= ends:
                    self._fail(error)
            else:
                ends, wait = began + self._expire, self._expire / 2
                self._fail(None)


# -- addresses ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Place:
    """An address to receive at: a path, or a host and a port."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}:{host}:{self.port}"


def _parse(address: str) -> _Place:
    scheme, _, rest = address.partition(":")
    if scheme == "unix" and rest:
        return _Place(scheme, path=rest)
    host, colon, port = rest.rpartition(":")
    if scheme in ("udp", "tcp") and colon and host and port.isdigit() and int(port) < 1 << 16:
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"cannot read the address {address!r}: expected an IPv6 host in brackets")
        return _Place(scheme, host=host, port=int(port))
    raise ValueError(f"cannot read the address {address!r}: expected udp:host:port, tcp:host:port or unix:/path")


@dataclasses.dataclass(frozen=True)
class _Route:
    """The way between this machine and a server, as far as addresses go."""

    server: Optional[str]
    """The server's address; None when it is on this machine."""
    own: str
    """This machine's address on that way."""

    @classmethod
    def to(cls, mi_address: str) -> _Route:
        scheme, _, rest = mi_address.partition(":")
        if scheme in ("fifo", "unix"):
            return cls(None, "127.0.0.1")
        if scheme == "udp":
            place = _parse(mi_address)
            host, port = place.host, place.port
        else:
            url = urllib.parse.urlsplit(f"{scheme}:{rest}")
            host, port = url.hostname or "", url.port or 80
        # OpenSIPS sends over IPv4 only, so that is used where the server has both.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, target = min(found, key=lambda one: one[0] != socket.AF_INET)
        with socket.socket(family, kind, protocol) as probe:
            # Sends nothing: the system only looks the way up.
            probe.connect(target)
            own, server = str(probe.getsockname()[0]), str(target[0])
        if _is_loopback(server):
            return cls(None, "127.0.0.1")
        return cls(None if own == server else server, own)

    def own_address(self, at: str) -> str:
        """The address that "udp", "tcp" or "unix" means; any other stays as it is."""
        if at in ("udp", "tcp"):
            return str(_Place(at, host=self.own))
        if at == "unix":
            name = f"sipmi_events_{os.getpid()}_{secrets.token_hex(4)}.sock"
            return str(_Place("unix", path=os.path.join(tempfile.gettempdir(), name)))
        return at

    def check(self, at: _Place) -> None:
        """Says so when the server cannot reach an address."""
        if self.server is None:
            return
        if at.scheme == "unix":
            raise ValueError(f"the server {self.server} is on another machine and cannot reach {at}; use at='udp'")
        if _is_loopback(at.host):
            raise ValueError(
                f"the server {self.server} is on another machine and cannot reach the loopback address {at}; "
                f"use at='{at.scheme}:{self.own}:0', or advertise= what is forwarded to it"
            )

    def seen_from_server(self, address: str) -> str:
        """What to tell the server: for all addresses of this machine, the one on the way to it."""
        place = _parse(address)
        if place.host in ("0.0.0.0", "::"):
            place = dataclasses.replace(place, host=self.own)
        return str(place)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


# -- sockets --------------------------------------------------------------------------------------


class _Source:
    """One who sends: the datagram socket for all of its peers, or a TCP connection."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.socket = sock
        self.name = name


class _Connection(_Source):
    """Events back to back, and replies that their sender did not read yet."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        super().__init__(sock, name)
        self.stream = _core.EventStream()
        self.unread = bytearray()


class _Sources:
    """The open sockets of a receiver, of which one thread reads."""

    def __init__(self, at: _Place) -> None:
        self._selector = selectors.DefaultSelector()
        self._path: Optional[str] = None
        self._is_stream = at.scheme == "tcp"
        self._bell, self._ear = socket.socketpair()
        self._connections: dict[socket.socket, _Connection] = {}
        try:
            self._main = self._open(at)
        except BaseException:
            self._bell.close()
            self._ear.close()
            self._selector.close()
            raise
        self._scheme = at.scheme
        bound = self._main.getsockname()
        self.address = str(at) if at.scheme == "unix" else str(_Place(at.scheme, host=bound[0], port=bound[1]))
        for sock in (self._main, self._ear):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)

    def _open(self, at: _Place) -> socket.socket:
        if at.scheme == "unix":
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            name = "\0" + at.path[1:] if at.path.startswith("@") else at.path
        else:
            kind = socket.SOCK_STREAM if self._is_stream else socket.SOCK_DGRAM
            found = socket.getaddrinfo(at.host, at.port, type=kind)
            family, _, protocol, _, name = min(found, key=lambda one: one[0] != socket.AF_INET)  # type: ignore[assignment]
            sock = socket.socket(family, kind, protocol)
        try:
            if self._is_stream:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
            sock.bind(name)
            if at.scheme == "unix" and not at.path.startswith("@"):
                self._path = at.path
                # The server may be another user.
                os.chmod(at.path, 0o666)
            if self._is_stream:
                sock.listen(_MOST_CONNECTIONS)
        except BaseException:
            sock.close()
            raise
        return sock

    def receive(self) -> Iterator[tuple[_Source, bytes]]:
        """Waits until something comes, and gives what may be events."""
        for key, ready in self._selector.select():
            sock: Any = key.fileobj
            if sock is self._main and self._is_stream:
                self._accept()
            elif sock is self._main:
                yield from self._datagrams()
            elif sock is self._ear:
                self._ear.recv(64)
            elif sock in self._connections:
                if ready & selectors.EVENT_WRITE:
                    self._write(self._connections[sock])
                if ready & selectors.EVENT_READ and sock in self._connections:
                    yield from self._values(self._connections[sock])

    def _datagrams(self) -> Iterator[tuple[_Source, bytes]]:
        # So many at most before the others are looked at.
        for _ in range(1024):
            try:
                datagram, peer = self._main.recvfrom(_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            if self._scheme == "udp":
                name = str(_Place("udp", host=peer[0], port=peer[1]))
            else:
                path = os.fsdecode(peer or b"")
                name = "unix:" + ("@" + path[1:] if path.startswith("\0") else path)
            yield _Source(self._main, name), datagram

    def _accept(self) -> None:
        try:
            sock, peer = self._main.accept()
        except OSError as error:
            # It left before it was accepted, or no file descriptor is left for it.
            log.debug("a connection was not accepted: %s", error)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # It stays to be accepted, and would be tried again at once.
                time.sleep(_NO_DESCRIPTORS_WAIT)
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            log.warning("more than %d connections: that of %s is closed", _MOST_CONNECTIONS, peer)
            sock.close()
            return
        sock.setblocking(False)
        self._connections[sock] = _Connection(sock, str(_Place("tcp", host=peer[0], port=peer[1])))
        self._selector.register(sock, selectors.EVENT_READ)

    def _values(self, source: _Connection) -> Iterator[tuple[_Source, bytes]]:
        try:
            piece = source.socket.recv(_DATAGRAM)
            values = source.stream.feed(piece)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, CodecError) as error:
            log.debug("the connection of %s ends: %s", source.name, error)
            self._hang_up(source)
            return
        if not piece:
            self._hang_up(source)
        for value in values:
            yield source, value

    def reply(self, source: _Source, reply: bytes) -> None:
        """Confirms an event; datagrams want no reply."""
        connection = self._connections.get(source.socket)
        if connection is not None:
            connection.unread += reply
            self._write(connection)

    def _write(self, source: _Connection) -> None:
        try:
            sent = source.socket.send(source.unread)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            log.debug("the connection of %s ends: %s", source.name, error)
            self._hang_up(source)
            return
        del source.unread[:sent]
        if len(source.unread) > _MOST_UNREAD:
            log.warning("%s does not read its replies: its connection is closed", source.name)
            self._hang_up(source)
            return
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.modify(source.socket, both if source.unread else selectors.EVENT_READ)

    def _hang_up(self, source: _Connection) -> None:
        self._selector.unregister(source.socket)
        del self._connections[source.socket]
        source.socket.close()

    def wake(self) -> None:
        """Ends the wait of the thread that reads."""
        self._bell.send(b"\0")

    def close(self) -> None:
        """Closes everything; nobody may read any more."""
        self._selector.close()
        for sock in (*self._connections, self._main, self._bell, self._ear):
            sock.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


@atexit.register
def _close_all() -> None:
    for receiver in list(_listening):
        receiver.close()
