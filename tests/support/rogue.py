"""Servers that answer what a test tells them to, on sockets or a command FIFO of their own."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Any, Callable, Optional, Union

#: A function from a request to the server's answer.
Answer = Callable[[bytes], Iterable[bytes]]


class Rogue:
    """A thread that waits for requests until the block ends. `requests` are all that came."""

    address: str

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.arrived = threading.Condition()
        self._error: Optional[BaseException] = None
        self._stop_reader, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def fileno(self) -> int:
        raise NotImplementedError

    def take(self) -> None:
        """Reads what is there and answers it."""
        raise NotImplementedError

    def note(self, request: bytes) -> None:
        with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()

    def wait_for(self, count: int) -> list[bytes]:
        """Return the requests, once there are ``count``."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, 10), f"only {self.requests} came"
            return list(self.requests)

    def _run(self) -> None:
        try:
            while True:
                ready, _, _ = select.select([self.fileno(), self._stop_reader], [], [])
                if self._stop_reader in ready:
                    return
                self.take()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stop)
        self._thread.join(10)
        os.close(self._stop_reader)
        self.close()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        raise NotImplementedError


class RogueDatagram(Rogue):
    """Answers each datagram with those that `answer` gives, at once or from wherever `send` is called.

    Over UNIX it answers from a second, unnamed socket, as every OpenSIPS does (``tx_sock`` of mi_datagram).
    """

    def __init__(self, answer: Answer, path: Optional[str] = None) -> None:
        super().__init__()
        self.answer = answer
        self.peers: list[Any] = []
        if path is None:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 0))
            self.address = f"udp:127.0.0.1:{self.socket.getsockname()[1]}"
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(path)
            self.address = f"unix:{path}"
        self.answering = self.socket if path is None else socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def fileno(self) -> int:
        return self.socket.fileno()

    def take(self) -> None:
        request, peer = self.socket.recvfrom(1 << 17)
        self.peers.append(peer)
        self.note(request)
        for reply in self.answer(request):
            self.send(reply, peer)

    def send(self, reply: bytes, peer: Any) -> None:
        # A client that gave up has closed its socket.
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            self.answering.sendto(reply, peer)

    def close(self) -> None:
        self.socket.close()
        self.answering.close()


class RogueFifo(Rogue):
    """Reads a command FIFO and has `answer` deal with each read: it gets the request and its reply FIFO's path."""

    def __init__(self, directory: str, answer: Callable[[bytes, str], None], *, reads: bool = True) -> None:
        super().__init__()
        self.path = os.path.join(directory, "rogue_fifo")
        self.directory = directory
        self.answer = answer
        self.address = f"fifo:{self.path}?reply_dir={directory}"
        os.mkfifo(self.path)
        self.reads = reads
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def fileno(self) -> int:
        return self.fd if self.reads else self._stop_reader

    def take(self) -> None:
        request = os.read(self.fd, 1 << 16)
        self.note(request)
        # An empty line alone asks for nothing.
        if request.strip():
            self.answer(request, os.path.join(self.directory, reply_name(request)))

    def close(self) -> None:
        os.close(self.fd)
        os.unlink(self.path)


def reply_name(request: bytes) -> str:
    """The reply FIFO that a request names."""
    _, first, second = request.split(b"\n")[0].split(b":", 2)
    return (first if second.startswith(b"{") else second).decode()


def write_reply(path: str, *pieces: bytes) -> None:
    """Opens the reply FIFO for each piece, writes it and closes."""
    for piece in pieces:
        fd = os.open(path, os.O_WRONLY)
        try:
            while piece:
                piece = piece[os.write(fd, piece) :]
        finally:
            os.close(fd)


class Connection:
    """One connection to a :class:`RogueHttp`, as a test sees it."""

    def __init__(self, server: RogueHttp, stream: socket.socket, number: int) -> None:
        self.server = server
        self.socket = stream
        #: Counted from 0.
        self.number = number
        self._rest = b""
        #: The bytes of each read of the last request.
        self.pieces: list[bytes] = []

    def read_request(self) -> Optional[bytes]:
        """Head and body of the next request; None at the end."""
        request, self._rest = self._rest, b""
        self.pieces = [request] if request else []
        while (size := whole_message(request)) is None:
            piece = self.socket.recv(1 << 16)
            if not piece:
                return None
            self.pieces.append(piece)
            request += piece
        self._rest = request[size:]
        self.server.note(request[:size])
        return request[:size]

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def reset(self) -> None:
        """Ends it without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class RogueHttp(Rogue):
    """Has `serve` deal with each connection, on a thread of its own; it is closed when that returns."""

    def __init__(
        self, serve: Callable[[Connection], None], *, path: str = "/mi", context: Optional[Any] = None
    ) -> None:
        super().__init__()
        self.serve = serve
        self.context = context
        self.connections: list[Connection] = []
        self.threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        self.address = f"{'https' if context else 'http'}://127.0.0.1:{self.port}{path}"

    def fileno(self) -> int:
        return self.socket.fileno()

    def take(self) -> None:
        stream, _ = self.socket.accept()
        thread = threading.Thread(target=self._serve, args=(stream, len(self.threads)), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _serve(self, stream: socket.socket, number: int) -> None:
        try:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.settimeout(20)
            if self.context is not None:
                stream = self.context.wrap_socket(stream, server_side=True)
            connection = Connection(self, stream, number)
            self.connections.append(connection)
            self.serve(connection)
        except OSError:
            pass  # the client has gone, which some tests want
        except BaseException as error:
            self.errors.append(error)
        finally:
            stream.close()

    def close(self) -> None:
        self.socket.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        if self.errors:
            raise self.errors[0]


def whole_message(message: bytes) -> Optional[int]:
    """The size of the HTTP request that a message begins with; None when it is not all there."""
    head, separator, _ = message.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", head.lower())
    size = len(head) + 4 + (int(length[1]) if length else 0)
    return size if len(message) >= size else None


def body_of(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


def http_reply(body: Union[bytes, str], *, status: str = "200 OK", headers: str = "") -> bytes:
    """An answer with its length."""
    body = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answering(answer: Callable[[bytes], bytes]) -> Callable[[Connection], None]:
    """Answers every request on a connection, until the client closes it or the answer is empty."""

    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            reply = answer(request)
            if not reply:
                return
            connection.send(reply)

    return serve
