"""Under fire: all transports and wires, every kind of handler, malformed requests and vanishing clients at once.

Every well-formed request has exactly one answer, its own, and nothing is left behind. It runs for a few seconds
here; SIPMI_PROVE_SECONDS sets how long.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import socket
import threading
import time
import xmlrpc.client
from typing import Any, Callable, Optional

import pytest

import sipmi
from descriptors import descriptors
from endpoints import Endpoints, FifoPeer, read_reply
from waiting import eventually

SECONDS = float(os.environ.get("SIPMI_PROVE_SECONDS", "3"))

GARBAGE = [
    b"", b"\n", b"abc", b"::::", b":nope:\n", b'{"jsonrpc":', b"[" * 500, b"[]", b"\0\xff", b':echo:\n"open\n',
    b'{"jsonrpc":"2.0","id":1}', b":echo:\r\nx\r\n", b"x" * 5000,
]  # fmt: skip
#: On a FIFO whatever does not end is a part of what the next client writes, which is then no well-formed request.
FIFO_GARBAGE = [b"\n", b"version:x\n\n", b":nosuch\n", b"::::\n\n", b":echo:gone\nx\n\n", b'::{"jsonrpc":"2.0"}\n']


def firing_server() -> sipmi.Server:
    server = sipmi.Server("fire")
    server.command(lambda token: token, name="echo")
    server.command(lambda token: time.sleep(0.02) or token, name="slow")

    @server.command
    async def later(token: str) -> str:
        await asyncio.sleep(0.001)
        return token

    @server.command
    def stream(token: str):
        yield sipmi.Node("token", token)

    @server.command
    async def feed(token: str):
        await asyncio.sleep(0)
        yield sipmi.Node("token", token)

    @server.command
    def flood(token: str):
        for number in range(4000):
            yield sipmi.Node("token", f"{token}{number}")

    server.command(lambda token: time.sleep(0.005) or token, name="wait", blocking=True)
    server.command(lambda token: token, name="turn", serial=True)
    server.command(lambda token: time.sleep(0.05) or token, name="late", timeout=0.01)

    def begin(root: sipmi.Tree, param: Any) -> Any:
        handler, token = root.async_handler, root.children[0].value
        assert handler is not None
        threading.Timer(0.002, handler.reply, [token]).start()
        return sipmi.ASYNC

    server.register_module("fire", [sipmi.Export("begin", "", begin, flags=sipmi.Flags.ASYNC)])

    @server.command
    def fail(token: str) -> None:
        raise sipmi.Fault(404, token)

    return server


class Tally:
    """The requests and replies of all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answered = 0
        self.wrong: list[tuple[str, Any]] = []

    def count(self, kind: str, token: str, reply: Any) -> None:
        refusal = REFUSALS.get(kind, b"\0")
        with self.lock:
            self.answered += 1
            if reply is None or (token.encode() not in reply and refusal not in reply):
                self.wrong.append((kind, reply and reply[:200]))


def request_for(kind: str, token: str, wire: str, reply: str = "") -> bytes:
    call = json.dumps({"jsonrpc": "2.0", "method": kind, "params": [token], "id": token}).encode()
    if wire == "json":
        return f":{reply}:".encode() + call if reply else call
    return f":{kind}:{reply}\n{token}\n".encode() + (b"\n" if reply else b"")


KINDS = ["echo", "slow", "later", "stream", "fail", "feed", "flood", "wait", "turn", "late", "begin"]
#: The error that takes the place of a reply, by command.
REFUSALS = {"late": b"equest timeout", "flood": b"eply too large"}


def datagram_caller(endpoints: Endpoints, transport: str, stop: threading.Event, tally: Tally, seed: int) -> None:
    chance = random.Random(seed)
    peer = endpoints.peer(transport)
    number = 0
    while not stop.is_set():
        number += 1
        token = f"token-{transport}-{seed}-{number}-"
        if chance.random() < 0.2:
            vanishing = endpoints.peer(transport)
            with contextlib.suppress(BlockingIOError):
                vanishing.socket.sendto(chance.choice(GARBAGE), socket.MSG_DONTWAIT, vanishing.target)
            vanishing.close()
        kind = chance.choice(KINDS)
        tally.count(kind, token, peer.exchange(request_for(kind, token, chance.choice(["text", "json"]))))
    peer.close()


def fifo_caller(endpoints: Endpoints, stop: threading.Event, tally: Tally, lock: threading.Lock, seed: int) -> None:
    chance = random.Random(seed)
    fifo: FifoPeer = endpoints.fifo
    number = 0
    while not stop.is_set():
        number += 1
        token = f"token-fifo-{seed}-{number}-"
        name = fifo.make_reply()
        path = os.path.join(endpoints.directory, name)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # One writer at a time, as clients must: what is larger than a pipe's atomic write would be mixed.
        with lock:
            if chance.random() < 0.2:
                fifo.write(chance.choice(FIFO_GARBAGE))
            kind = chance.choice(KINDS)
            fifo.write(request_for(kind, token, chance.choice(["text", "json"]), name))
        if chance.random() < 0.1:
            os.close(fd)  # this one does not wait for its answer
        else:
            tally.count(kind, token, read_reply(fd))
            os.close(fd)
        os.unlink(path)


HTTP_GARBAGE = [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"POST /mi HTTP/1.1\r\nContent-Le", b"POST /mi HTTP/9\r\n\r\n"]


def http_request(kind: str, token: str, wire: str) -> tuple[str, str, Optional[bytes], dict[str, str]]:
    if wire == "mi_json":
        return "GET", f"/json/{kind}?params={token}", None, {}
    if wire == "xmlrpc":
        return "POST", "/RPC2", xmlrpc.client.dumps((token,), kind).encode(), {"Content-Type": "text/xml"}
    return "POST", "/mi", request_for(kind, token, "json"), {"Content-Type": "application/json"}


def http_caller(place: tuple[str, int], stop: threading.Event, tally: Tally, seed: int) -> None:
    chance = random.Random(seed)
    connection = http.client.HTTPConnection(*place, timeout=20)
    number = 0
    while not stop.is_set():
        number += 1
        token, kind = f"token-http-{seed}-{number}-", chance.choice(KINDS)
        method, path, body, head = http_request(kind, token, chance.choice(["json", "mi_json", "xmlrpc"]))
        if chance.random() < 0.2:
            with socket.create_connection(place, timeout=20) as vanishing:
                vanishing.sendall(chance.choice(HTTP_GARBAGE))
        if chance.random() < 0.1:
            gone = http.client.HTTPConnection(*place, timeout=20)
            gone.request(method, path, body, head)
            gone.close()  # this one does not wait for its answer
        connection.request(method, path, body, head)
        tally.count(kind, token, connection.getresponse().read())
    connection.close()


def own_threads() -> int:
    """Python's threads. One of Rust that made a timer is listed for good, as a dummy."""
    return sum(not isinstance(thread, threading._DummyThread) for thread in threading.enumerate())


@pytest.mark.timeout(60 + 10 * SECONDS)
def test_every_request_has_its_own_answer_and_nothing_leaks(serve: Callable[..., Endpoints]) -> None:
    server = firing_server()
    before = descriptors()
    threads_before = own_threads()
    server.listen("http://127.0.0.1:0", write_timeout=1.0)
    endpoints = serve(server, write_timeout=1.0)
    host, port = server.addresses[0].split("/")[2].split(":")
    stop, tally, lock = threading.Event(), Tally(), threading.Lock()
    callers = [
        threading.Thread(target=datagram_caller, args=(endpoints, transport, stop, tally, seed))
        for seed in range(2)
        for transport in ("udp", "unix")
    ]
    callers += [threading.Thread(target=fifo_caller, args=(endpoints, stop, tally, lock, seed)) for seed in range(2)]
    callers += [threading.Thread(target=http_caller, args=((host, int(port)), stop, tally, seed)) for seed in range(2)]
    for caller in callers:
        caller.start()
    stop.wait(SECONDS)
    stop.set()
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()
    assert tally.wrong == []
    assert tally.answered > 50 * SECONDS
    for group in ("mi_fifo", "mi_datagram", "mi_datagram_unix", "mi_http"):
        name = f"{group}:in_progress"
        eventually(lambda name=name: server.call("get_statistics", [name]) == {name: 0}, name)  # type: ignore[misc]
    server.stop()
    assert [name for name in os.listdir(endpoints.directory) if not name.startswith("peer")] == []
    assert len(descriptors() - before) <= 1  # the queue of the log, begun with the first server
    assert own_threads() <= threads_before
