"""Servers that answer what a test tells them to, on a socket or a command FIFO of their own."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterable
from typing import Any, Callable, Optional

#: What came, and how a server answers it.
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
        """The requests, once there are so many."""
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
    """Answers each datagram with those that `answer` gives, at once or from wherever `send` is called."""

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
            self.socket.sendto(reply, peer)

    def close(self) -> None:
        self.socket.close()


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
