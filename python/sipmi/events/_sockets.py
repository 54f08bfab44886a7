"""The open sockets of an event receiver."""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import selectors
import socket
import struct
import time
import weakref
from collections.abc import Iterator
from typing import Any, Optional

from .._core import EventStream
from ..errors import CodecError
from ._route import SocketAddress

log = logging.getLogger("sipmi.events")

#: A burst of datagrams has to fit the socket while another thread holds the interpreter; the system may give less.
_SOCKET_BUFFER = 4 << 20
#: The largest datagram there is.
_DATAGRAM = 65_536
#: More servers than this do not send to one receiver over TCP.
_MOST_CONNECTIONS = 64
#: Replies that a server does not read wait up to this many bytes; then its connection is closed.
_MOST_UNREAD = 1 << 20
#: Seconds until a connection is accepted that found no file descriptor.
_NO_DESCRIPTORS_WAIT = 0.05
#: With each datagram, the kernel says how many it has dropped before (`SO_RXQ_OVFL`, which Python has no name for).
_SO_RXQ_OVFL = 40

#: Room for that number.
_COUNT = socket.CMSG_SPACE(4)

#: All open receivers: closed at exit, so that no socket file is left behind.
_open: weakref.WeakSet[Sources] = weakref.WeakSet()


class Source:
    """A source of events: the datagram socket for all of its peers, or a TCP connection."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.socket = sock
        self.name = name


class _Connection(Source):
    """A TCP connection with events back to back, and the replies that its peer has not read yet."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        super().__init__(sock, name)
        self.stream = EventStream()
        self.unread = bytearray()


class Sources:
    """The open sockets of a receiver, which one thread reads."""

    def __init__(self, at: SocketAddress) -> None:
        self.lost = 0
        """The number of datagrams that the kernel has dropped because the socket buffer was full."""
        self._selector = selectors.EpollSelector()
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
        self.address = str(at) if at.scheme == "unix" else str(SocketAddress(at.scheme, host=bound[0], port=bound[1]))
        for sock in (self._main, self._ear):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        _open.add(self)

    def _open(self, at: SocketAddress) -> socket.socket:
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
                with contextlib.suppress(OSError):  # then drops are not counted
                    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
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

    def fileno(self) -> int:
        """Return the descriptor that an event loop watches: readable when an event can be received."""
        return self._selector.fileno()

    def receive(self, timeout: Optional[float] = None, *, most: int = 1024) -> Iterator[tuple[Source, bytes]]:
        """Wait for messages and yield them; ``most`` limits the number of datagrams."""
        for key, ready in self._selector.select(timeout):
            sock: Any = key.fileobj
            if sock is self._main and self._is_stream:
                self._accept()
            elif sock is self._main:
                yield from self._datagrams(most)
            elif sock is self._ear:
                self._ear.recv(64)
            elif sock in self._connections:
                if ready & selectors.EVENT_WRITE:
                    self._write(self._connections[sock])
                if ready & selectors.EVENT_READ and sock in self._connections:
                    yield from self._values(self._connections[sock])

    def _datagrams(self, most: int) -> Iterator[tuple[Source, bytes]]:
        # A busy socket must not starve the others.
        for _ in range(most):
            try:
                datagram, ancillary, _, peer = self._main.recvmsg(_DATAGRAM, _COUNT)
            except (BlockingIOError, InterruptedError):
                return
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                    (self.lost,) = struct.unpack("=I", value[:4])
            if self._scheme == "udp":
                name = str(SocketAddress("udp", host=peer[0], port=peer[1]))
            else:
                path = os.fsdecode(peer or b"")
                name = "unix:" + ("@" + path[1:] if path.startswith("\0") else path)
            yield Source(self._main, name), datagram

    def _accept(self) -> None:
        try:
            sock, peer = self._main.accept()
        except OSError as error:
            # The peer closed it before it was accepted, or no file descriptor is free.
            log.debug("a connection was not accepted: %s", error)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # It stays in the backlog, and epoll would report it again at once.
                time.sleep(_NO_DESCRIPTORS_WAIT)
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            log.warning("more than %d connections: that of %s is closed", _MOST_CONNECTIONS, peer)
            sock.close()
            return
        sock.setblocking(False)
        self._connections[sock] = _Connection(sock, str(SocketAddress("tcp", host=peer[0], port=peer[1])))
        self._selector.register(sock, selectors.EVENT_READ)

    def _values(self, source: _Connection) -> Iterator[tuple[Source, bytes]]:
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

    def reply(self, source: Source, reply: bytes) -> None:
        """Confirm an event; datagrams want no reply."""
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
        """Wake up the thread that reads."""
        self._bell.send(b"\0")

    def close(self) -> None:
        """Close all sockets; no thread may read any more."""
        _open.discard(self)
        self._selector.close()
        for sock in (*self._connections, self._main, self._bell, self._ear):
            sock.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


@atexit.register
def _close_all() -> None:
    for sources in list(_open):
        sources.close()
