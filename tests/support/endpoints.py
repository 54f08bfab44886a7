"""Raw peers of a server's endpoints, recorded pairs, and how long tests wait."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import time
from pathlib import Path
from typing import Any, Callable, Optional

import sipmi

WIRE = Path(__file__).parents[1] / "wire"

#: Longer than any answer of a healthy server on a loaded machine.
PATIENCE = 5.0
#: A server that is going to answer has begun to after this long.
SILENCE = 0.5


def recorded(name: str) -> list[dict[str, Any]]:
    """The pairs of one file, requests and replies as bytes."""
    pairs = [json.loads(line) for line in (WIRE / f"{name}.jsonl").read_text().splitlines()]
    for pair in pairs:
        pair["request"] = pair["request"].encode("latin-1")
        pair["replies"] = [reply.encode("latin-1") for reply in pair["replies"]]
    return pairs


class FifoPeer:
    """A client of a command FIFO that writes bytes as they are."""

    _names = itertools.count()

    def __init__(self, command: str, reply_dir: str) -> None:
        self.command = command
        self.reply_dir = reply_dir

    def make_reply(self, name: Optional[str] = None) -> str:
        name = name or f"peer_{os.getpid()}_{next(self._names)}"
        path = os.path.join(self.reply_dir, name)
        os.mkfifo(path)
        os.chmod(path, 0o666)
        return name

    def write(self, data: bytes, *, timeout: float = PATIENCE) -> None:
        """Writes all of it, also what a pipe does not take at once."""
        fd = os.open(self.command, os.O_WRONLY | os.O_NONBLOCK)
        deadline = time.monotonic() + timeout
        try:
            while data:
                _, ready, _ = select.select([], [fd], [], max(0.0, deadline - time.monotonic()))
                assert ready, "the server does not read its FIFO"
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)

    def exchange(
        self,
        make_request: Callable[[str], bytes],
        *,
        name: Optional[str] = None,
        silence: float = PATIENCE,
        writers: int = 1,
    ) -> Optional[bytes]:
        """Send a request and return its complete reply; None if the reply FIFO was not opened.

        A request that names its reply FIFO more than once has as many ``writers`` of it.
        """
        name = self.make_reply(name)
        path = os.path.join(self.reply_dir, name)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self.write(make_request(name))
            return read_reply(fd, silence, writers)
        finally:
            os.close(fd)
            os.unlink(path)


def read_reply(fd: int, silence: float = PATIENCE, writers: int = 1) -> Optional[bytes]:
    """Reads a FIFO to its end; None when no writer came within ``silence`` seconds.

    Writers that follow each other closely can be seen as one, so a second one is waited for a short while only.
    """
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    reply = b""
    if not poller.poll(silence * 1000):
        return None
    while poller.poll(PATIENCE * 1000):
        piece = os.read(fd, 1 << 16)
        if not piece:
            writers -= 1
            if writers == 0 or not writer_within(fd, 1.0):
                return reply
        reply += piece
    raise AssertionError(f"the reply did not end; so far {reply[:200]!r}")


def writer_within(fd: int, seconds: float) -> bool:
    """Return whether a writer opens a FIFO that was read to its end.

    The end keeps ``poll`` ready, so only its edge tells of another writer.
    """
    with select.epoll() as watch:
        watch.register(fd, select.EPOLLIN | select.EPOLLET)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if any(event & select.EPOLLIN for _, event in watch.poll(left)):
                return True
    return False


class DatagramPeer:
    """A client of a datagram socket that sends bytes as they are."""

    def __init__(self, address: str) -> None:
        scheme, _, rest = address.partition(":")
        if scheme == "udp":
            host, _, port = rest.rpartition(":")
            self.target: Any = (host.strip("[]"), int(port))
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
        else:
            self.target = rest
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind("")  # autobind: an abstract name
        self.socket.settimeout(PATIENCE)

    def exchange(self, request: bytes, *, silence: float = PATIENCE) -> Optional[bytes]:
        self.socket.sendto(request, self.target)
        self.socket.settimeout(silence)
        try:
            return self.socket.recv(1 << 17)
        except (socket.timeout, TimeoutError):
            return None

    def close(self) -> None:
        self.socket.close()


class Endpoints:
    """A server on a FIFO, a UDP port and a UNIX socket of its own."""

    def __init__(self, server: sipmi.Server, directory: str, **options: Any) -> None:
        self.server = server
        self.directory = directory
        self.fifo_path = os.path.join(directory, "mi_fifo")
        self.unix_path = os.path.join(directory, "mi.sock")
        server.listen(f"fifo:{self.fifo_path}", reply_dir=directory, **options)
        server.listen("udp:127.0.0.1:0", **options)
        server.listen(f"unix:{self.unix_path}", **options)

    @property
    def fifo(self) -> FifoPeer:
        return FifoPeer(self.fifo_path, self.directory)

    @property
    def udp_address(self) -> str:
        return next(address for address in self.server.addresses if address.startswith("udp:"))

    def peer(self, transport: str) -> DatagramPeer:
        return DatagramPeer(self.udp_address if transport == "udp" else f"unix:{self.unix_path}")

    def ask(self, transport: str, request: bytes, **waits: Any) -> Optional[bytes]:
        """One request in one datagram."""
        peer = self.peer(transport)
        try:
            return peer.exchange(request, **waits)
        finally:
            peer.close()
