"""The client against servers that never finish their reply: its deadline, its limit and Ctrl-C hold all the same."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import sipmi
from rogue import Connection, RogueFifo, RogueHttp, answering, body_of, http_reply
from sipmi.gateway import make_gateway

#: The deadline of a call that can only time out.
DEADLINE = 0.5
#: The machine may be busy: a call that ends this long after its deadline has still ended by it.
SLACK = 2.0
#: A limit of replies that is soon reached.
LIMIT = 4 << 20

PIECE = 1 << 16
JSON_BEGIN = b'{"jsonrpc": "2.0", "result": ["'


def endless(head: bytes, piece: bytes) -> Callable[[Connection], None]:
    """Answers with a head, and then with the same piece until the client closes the connection."""

    def serve(connection: Connection) -> None:
        if connection.read_request() is not None:
            connection.send(head)
            while True:
                connection.send(piece)

    return serve


#: The start of an HTTP server's answer, and the bytes that it then repeats endlessly.
HTTP_FLOODS = {
    "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "head": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 1000),
    "chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000000\r\n", b" " * PIECE),
    "large chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"100000\r\n%b\r\n" % (b" " * (1 << 20)),
    ),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b" " * PIECE),
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b" " * PIECE),
}
#: Floods that exceed no limit of size, so that only the deadline ends them.
SLOW_FLOODS = ["interim", "head", "chunks", "chunk", "trailers", "body"]


def slow(head: bytes, piece: bytes) -> Callable[[Connection], None]:
    """As :func:`endless`, a few bytes at a time."""

    def serve(connection: Connection) -> None:
        if connection.read_request() is not None:
            connection.send(head)
            for byte in itertools.cycle(piece):
                connection.send(bytes([byte]))
                time.sleep(0.001)

    return serve


def flood_fifo(request: bytes, path: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, JSON_BEGIN)
            while True:
                os.write(fd, b"x" * PIECE)
        finally:
            os.close(fd)


@contextlib.contextmanager
def flood_of_wrong_ids(stop: threading.Event) -> Iterator[str]:
    """A UDP server that answers the first request with answers to others, without a pause."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def serve() -> None:
            _, peer = server.recvfrom(1 << 16)
            wrong = json.dumps({"jsonrpc": "2.0", "result": "OK", "id": 999_999_999}).encode()
            while not stop.is_set():
                with contextlib.suppress(ConnectionRefusedError):
                    server.sendto(wrong, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"udp:127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(10)


@contextlib.contextmanager
def endless_server(kind: str) -> Iterator[str]:
    """The address of a server whose reply has no end."""
    if kind == "udp":
        with flood_of_wrong_ids(threading.Event()) as address:
            yield address
    elif kind == "fifo":
        with tempfile.TemporaryDirectory() as directory, RogueFifo(directory, flood_fifo) as rogue:
            yield rogue.address
    else:
        with RogueHttp(endless(*HTTP_FLOODS[kind])) as rogue:
            yield rogue.address


@contextlib.contextmanager
def slow_server(kind: str) -> Iterator[str]:
    """As :func:`endless_server`, but slow where the client has a limit, so that the deadline comes first."""
    if kind in HTTP_FLOODS:
        with RogueHttp(slow(*HTTP_FLOODS[kind])) as rogue:
            yield rogue.address
    else:
        with endless_server(kind) as address:
            yield address


@pytest.mark.parametrize("kind", [*SLOW_FLOODS, "udp"])
@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_a_reply_that_drips_without_end_times_out_at_the_deadline(kind: str, way: str) -> None:
    async def call_async(address: str) -> None:
        async with sipmi.AsyncClient(address, wire="jsonrpc", timeout=DEADLINE) as mi:
            await mi.call("uptime")

    def call(address: str) -> None:
        with sipmi.Client(address, wire="jsonrpc", timeout=DEADLINE) as mi:
            mi.call("uptime")

    with slow_server(kind) as address:
        begun = time.monotonic()
        with pytest.raises(sipmi.CallTimeout):
            call(address) if way == "blocking" else asyncio.run(call_async(address))
        assert DEADLINE <= time.monotonic() - begun < DEADLINE + SLACK


@pytest.mark.parametrize("kind", ["chunks", "large chunks", "body", "fifo", "udp"])
@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_a_flood_below_the_limit_times_out_at_the_deadline(kind: str, way: str) -> None:
    limit = 1 << 40

    async def call_async(address: str) -> None:
        async with sipmi.AsyncClient(address, wire="jsonrpc", timeout=0.2, reply_limit=limit) as mi:
            await mi.call("uptime")

    def call(address: str) -> None:
        with sipmi.Client(address, wire="jsonrpc", timeout=0.2, reply_limit=limit) as mi:
            mi.call("uptime")

    with endless_server(kind) as address:
        begun = time.monotonic()
        with pytest.raises(sipmi.CallTimeout) as error:
            call(address) if way == "blocking" else asyncio.run(call_async(address))
        assert time.monotonic() - begun < 0.2 + SLACK
        assert len(getattr(error.value, "received", None) or b"") <= 1 << 20


@pytest.mark.parametrize("kind", ["interim", "head", "trailers"])
def test_heads_without_end_are_an_error_of_the_answer(kind: str) -> None:
    with endless_server(kind) as address, sipmi.Client(address, wire="jsonrpc", timeout=10) as mi:
        with pytest.raises(sipmi.TransportError, match="the answer cannot be read") as error:
            mi.call("uptime")
        assert error.value.errno == errno.EPROTO


@pytest.mark.parametrize("kind", ["chunks", "chunk", "large chunks", "body", "length", "fifo"])
def test_a_reply_over_the_limit_is_an_error_that_says_so(kind: str) -> None:
    with endless_server(kind) as address, sipmi.Client(address, wire="jsonrpc", timeout=30, reply_limit=LIMIT) as mi:
        with pytest.raises(sipmi.TransportError, match=f"larger than {LIMIT} bytes.*reply_limit") as error:
            mi.call("uptime")
        assert (error.value.errno, error.value.command) == (errno.EMSGSIZE, "uptime")


def test_a_reply_of_exactly_the_limit_is_read() -> None:
    def answer(request: bytes) -> bytes:
        call = json.loads(body_of(request))
        body = json.dumps({"jsonrpc": "2.0", "result": "OK", "id": call["id"]}).encode()
        return http_reply(body.ljust(1000))

    with RogueHttp(answering(answer)) as rogue:
        with sipmi.Client(rogue.address, wire="jsonrpc", reply_limit=1000) as mi:
            assert mi.call("uptime") == "OK"
        mi = sipmi.Client(rogue.address, wire="jsonrpc", reply_limit=999)
        with mi, pytest.raises(sipmi.TransportError, match="larger than 999 bytes"):
            mi.call("uptime")


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_zero_is_rejected(limit: int) -> None:
    with pytest.raises(ValueError, match="expected reply_limit from 1 to "):
        sipmi.Client("udp:127.0.0.1:8080", reply_limit=limit)


USES_MEMORY = """
import resource, sys
import sipmi
address, limit = sys.argv[1], int(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    sipmi.Client(address, wire="jsonrpc", timeout=30, reply_limit=limit).call("uptime")
except sipmi.TransportError:
    print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.parametrize("kind", ["large chunks", "body", "fifo"])
def test_a_reply_without_end_takes_no_more_memory_than_the_limit(kind: str) -> None:
    limit = 64 << 20
    with endless_server(kind) as address:
        program = [sys.executable, "-c", USES_MEMORY, address, str(limit)]
        used = int(subprocess.run(program, capture_output=True, check=True, timeout=60).stdout)
    assert used < limit + (8 << 20)


@pytest.mark.parametrize("kind", ["chunks", "large chunks", "body", "fifo", "udp"])
def test_calls_to_other_servers_go_on_beside_a_reply_without_end(kind: str) -> None:
    """Both calls are on one event loop: the honest server is answered many times before the other call ends."""

    async def run(rogue: str, honest: str) -> None:
        async with (
            sipmi.AsyncClient(rogue, wire="jsonrpc", timeout=1, reply_limit=1 << 40) as bad,
            sipmi.AsyncClient(honest, timeout=30) as good,
        ):
            assert await good.call("ping") == "pong"
            endless_call = asyncio.ensure_future(bad.call("uptime"))
            for _ in range(5):
                assert await good.call("ping") == "pong"
            assert not endless_call.done()
            with pytest.raises(sipmi.CallTimeout):
                await endless_call

    server = sipmi.Server("honest")
    server.command(lambda: "pong", name="ping")
    server.listen("udp:127.0.0.1:0")
    with server, endless_server(kind) as address:
        asyncio.run(run(address, server.addresses[0]))


def test_an_event_loop_goes_on_while_a_large_parameter_is_encoded() -> None:
    async def run(listener: socket.socket) -> None:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/mi"
        async with sipmi.AsyncClient(address, wire="jsonrpc", timeout=30) as mi:
            call = asyncio.ensure_future(mi.call("uptime", '"' * (32 << 20)))
            await asyncio.sleep(0)
            # The call has begun; a call whose parameter was encoded on this thread has connected by now.
            with pytest.raises(BlockingIOError):
                listener.accept()
            call.cancel()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        asyncio.run(run(listener))


class Interrupted(Exception):
    """Raised by a signal handler, as Ctrl-C raises KeyboardInterrupt."""


def interrupt(*_: Any) -> None:
    raise Interrupted


@pytest.mark.parametrize("kind", [*SLOW_FLOODS, "udp"])
def test_a_signal_ends_a_call_whose_reply_has_no_end(kind: str) -> None:
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with slow_server(kind) as address, sipmi.Client(address, wire="jsonrpc", timeout=60) as mi:
            begun = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Interrupted):
                mi.call("uptime")
            assert time.monotonic() - begun < 0.2 + SLACK
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_the_reading_of_a_large_list() -> None:
    class Last:
        was_read = False

        def __index__(self) -> int:
            Last.was_read = True
            return 0

    numbers = [*[0] * (8 << 20), Last()]
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with sipmi.Client("udp:127.0.0.1:9", wire="jsonrpc", timeout=60) as mi:
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            with pytest.raises(Interrupted):
                mi.call("uptime", numbers)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not Last.was_read


@pytest.mark.parametrize("kind", ["chunks", "fifo", "udp"])
def test_a_gateway_answers_its_caller_though_the_reply_of_the_server_has_no_end(kind: str) -> None:
    with endless_server(kind) as address:
        gateway = make_gateway(address, ["udp:127.0.0.1:0"], timeout=DEADLINE)
        with gateway, sipmi.Client(gateway.addresses[0], wire="jsonrpc", timeout=DEADLINE + 5) as mi:
            # A FIFO may reach the limit of a reply before the deadline.
            answered = pytest.raises(sipmi.Fault, match=f"no answer within {DEADLINE} s|reply_limit")
            with answered:
                mi.call("uptime")
