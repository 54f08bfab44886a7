"""Proxies that stand between a client and a server and do what networks, kernels and dying servers do.

Each forwards real bytes over real sockets and FIFOs, and now and then, by chance from a seed, does one of these:

delay       passes it on later
cut         passes on the first half and ends (a datagram is lost)
split       passes it on in pieces
duplicate   passes it on twice
reorder     passes it on after the one that follows it
garbage     passes on something else
half close  ends without a word, where the other side may still speak
flood       passes on very much of something else

A proxy counts what it did in ``done``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import sys
import termios
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Callable, Optional

from rogue import reply_name

STREAM_FAULTS = ("delay", "cut", "split", "duplicate", "garbage", "half close", "flood")
DATAGRAM_FAULTS = ("delay", "cut", "duplicate", "reorder", "garbage", "flood")
FIFO_FAULTS = ("delay", "cut", "split", "duplicate", "garbage", "half close", "flood")

#: Bytes that are no reply on any wire.
GARBAGE = b"\x00\xff\x16\x03garbage"
#: How much a flood is, in bytes of a stream and in datagrams.
FLOOD_BYTES = 1 << 18
FLOOD_DATAGRAMS = 20
#: The longest delay, in seconds.
LATE = 0.01


class Proxy:
    """Runs on a thread of its own, as a context manager. Its ``address`` is for clients."""

    address: str

    def __init__(self, faults: tuple[str, ...], *, rate: float = 0.2, seed: int = 1) -> None:
        self.faults = faults
        self.rate = rate
        self.done: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faults", daemon=True)
        #: Errors of the proxy itself.
        self.errors: list[BaseException] = []

    def draw(self) -> Optional[str]:
        """Return the fault to apply to the next message; None for no fault."""
        if not self.faults or self._chance.random() >= self.rate:
            return None
        fault = self._chance.choice(self.faults)
        self.done[fault] += 1
        return fault

    def late(self) -> float:
        return self._chance.random() * LATE

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, OSError):
            self.errors.append(error)

    async def open(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Closes what is open, on the loop."""

    def __enter__(self) -> Any:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self.close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        assert not self.errors, self.errors


class TcpFaults(Proxy):
    """Between a client and an HTTP server; what the server says is what suffers, and connections are."""

    def __init__(self, address: str, faults: tuple[str, ...] = STREAM_FAULTS, **options: Any) -> None:
        super().__init__(faults, **options)
        scheme, _, rest = address.partition("://")
        place, slash, path = rest.partition("/")
        self.host, _, port = place.rpartition(":")
        self.port = int(port)
        self._shape = f"{scheme}://127.0.0.1:{{}}{slash}{path}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.address = self._shape.format(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.spawn(self._connect(reader, writer))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        both = [
            asyncio.ensure_future(self._requests(reader, up_writer)),
            asyncio.ensure_future(self._replies(up_reader, writer)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in both:
                half.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (writer, up_writer):
                end.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In one piece: real servers serve no other.
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            fault = self.draw()
            if fault == "delay":
                await asyncio.sleep(self.late())
            elif fault == "cut":
                writer.write(data[: len(data) // 2])
                await writer.drain()
                return
            elif fault == "split":
                for at in range(0, len(data), 7):
                    writer.write(data[at : at + 7])
                    await writer.drain()
                    await asyncio.sleep(0)
                continue
            elif fault == "duplicate":
                data += data
            elif fault == "garbage":
                data = GARBAGE + data
            elif fault == "half close":
                writer.write_eof()
                await asyncio.sleep(self.late())
                return
            elif fault == "flood":
                with contextlib.suppress(ConnectionError):
                    for _ in range(FLOOD_BYTES // len(GARBAGE) // 64):
                        writer.write(GARBAGE * 64)
                        await writer.drain()
                return
            writer.write(data)
            await writer.drain()


class UdpFaults(Proxy):
    """Between a client and a datagram server; requests and replies suffer alike."""

    def __init__(self, address: str, faults: tuple[str, ...] = DATAGRAM_FAULTS, **options: Any) -> None:
        super().__init__(faults, **options)
        host, _, port = address.removeprefix("udp:").rpartition(":")
        self.upstream = (host, int(port))
        self._ways: dict[Any, asyncio.DatagramTransport] = {}

    async def open(self) -> None:
        self._transport, _ = await self._loop.create_datagram_endpoint(
            lambda: _Datagrams(self._request), local_addr=("127.0.0.1", 0)
        )
        self.address = f"udp:127.0.0.1:{self._transport.get_extra_info('sockname')[1]}"

    def close(self) -> None:
        for transport in (self._transport, *self._ways.values()):
            transport.close()

    def _request(self, data: bytes, peer: Any) -> None:
        self.spawn(self._forward(data, peer))

    async def _forward(self, data: bytes, peer: Any) -> None:
        way = self._ways.get(peer)
        if way is None:
            pass_back = _Faulty(self, lambda reply: self._transport.sendto(reply, peer))
            way, _ = await self._loop.create_datagram_endpoint(
                lambda: _Datagrams(lambda reply, _: pass_back(reply)), remote_addr=self.upstream
            )
            self._ways[peer] = way
        # A request that is not the client's is not the client's fault: garbage and floods come from the other side.
        fault = self.draw() if self._chance.random() < 0.3 else None
        if fault == "cut":
            return
        if fault in ("delay", "reorder"):
            await asyncio.sleep(self.late())
        for _ in range(2 if fault == "duplicate" else 1):
            way.sendto(data)


class _Faulty:
    """Passes datagrams of one way on, with faults."""

    def __init__(self, proxy: Proxy, send: Callable[[bytes], None]) -> None:
        self.proxy = proxy
        self.send = send
        self.held: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        fault = self.proxy.draw()
        loop = asyncio.get_running_loop()
        if fault == "cut":
            return
        if fault == "delay":
            loop.call_later(self.proxy.late(), self.send, data)
            return
        if fault == "reorder":
            self.held.append(data)
            loop.call_later(LATE, self.release)
            return
        if fault == "garbage":
            data = GARBAGE
        if fault == "flood":
            for _ in range(FLOOD_DATAGRAMS):
                self.send(GARBAGE)
        self.send(data)
        if fault == "duplicate":
            loop.call_later(self.proxy.late() / 4, self.send, data)
        self.release()

    def release(self) -> None:
        held, self.held = self.held, []
        for data in held:
            self.send(data)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, Any], None]) -> None:
        self.take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.take(data, addr)

    def error_received(self, exc: Exception) -> None:
        """The other side has closed its socket, as sockets do after a timeout."""


def unread(fd: int) -> int:
    """How many bytes are in a FIFO."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4), sys.byteorder)


class FifoFaults(Proxy):
    """Between a client and the FIFO of a server, each with its own directory for reply FIFOs."""

    def __init__(self, address: str, directory: str, faults: tuple[str, ...] = FIFO_FAULTS, **options: Any) -> None:
        super().__init__(faults, **options)
        path, _, query = address.removeprefix("fifo:").partition("?")
        self.upstream = path
        self.reply_dir = query.removeprefix("reply_dir=") or "/tmp"
        self.directory = directory
        self.path = os.path.join(directory, "faulty_fifo")
        self.address = f"fifo:{self.path}?reply_dir={directory}"
        self._names = 0

    async def open(self) -> None:
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._turn = asyncio.Lock()
        self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        os.unlink(self.path)

    def _read(self) -> None:
        request = os.read(self._fd, 1 << 16)
        # An empty line alone brings a server back in step.
        if request.strip():
            self.spawn(self._serve(request))

    async def _serve(self, request: bytes) -> None:
        name = reply_name(request)
        fault = self.draw()
        if fault == "delay":
            await asyncio.sleep(self.late())
        self._names += 1
        ours = f"faulty_{os.getpid()}_{self._names}"
        reply = await self._exchange(request.replace(name.encode(), ours.encode(), 1), ours)
        await self._pass_on(reply, os.path.join(self.directory, name), fault)

    async def _exchange(self, request: bytes, name: str) -> bytes:
        """The server's reply, to its end."""
        path = os.path.join(self.reply_dir, name)
        os.mkfifo(path)
        os.chmod(path, 0o666)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            # One at a time, as clients do it: what falls into one read may cost the server its FIFO.
            async with self._turn:
                to_server = os.open(self.upstream, os.O_WRONLY)
                try:
                    os.write(to_server, request)
                    while unread(to_server):
                        await asyncio.sleep(0.0005)
                finally:
                    os.close(to_server)
            return await self._read_reply(fd)
        finally:
            os.close(fd)
            os.unlink(path)

    async def _read_reply(self, fd: int) -> bytes:
        reply, ready = b"", asyncio.Event()
        self._loop.add_reader(fd, ready.set)
        try:
            # A server that does not understand says nothing.
            while await asyncio.wait_for(ready.wait(), 1.0):
                piece = os.read(fd, 1 << 16)
                if not piece:
                    return reply
                reply += piece
                ready.clear()
        except asyncio.TimeoutError:
            pass
        finally:
            self._loop.remove_reader(fd)
        return reply

    async def _pass_on(self, reply: bytes, path: str, fault: Optional[str]) -> None:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENXIO):
                raise
            return  # the client has given up
        try:
            if fault == "half close" or not reply:
                return
            if fault == "cut":
                reply = reply[: len(reply) // 2]
            elif fault == "duplicate" and reply.startswith(b"{"):
                # Of text the end is the end of the file: twice would be one that is longer.
                reply += reply
            elif fault == "garbage":
                reply = GARBAGE + reply
            elif fault == "flood":
                reply = GARBAGE * (FLOOD_BYTES // len(GARBAGE))
            size = 5 if fault == "split" else len(reply)
            for at in range(0, len(reply), size):
                await self._write(fd, reply[at : at + size])
        except BrokenPipeError:
            pass
        finally:
            os.close(fd)

    async def _write(self, fd: int, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)
