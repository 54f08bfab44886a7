"""Under fire: workers are killed and the server is told to reload, while clients call on all transports.

Every request has exactly one answer: its own, an error that says so, or a closed connection; and nothing is left
behind. It runs for a few seconds here; SIPMI_PROVE_SECONDS sets how long.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Optional

import pytest

from endpoints import DatagramPeer, FifoPeer, read_reply
from processes import PATIENCE, Group, is_alive
from waiting import eventually

SECONDS = float(os.environ.get("SIPMI_PROVE_SECONDS", "3"))

BODY = """
@server.command
def echo(token: str) -> str:
    return token

@server.command
def slow(token: str) -> str:
    time.sleep(0.01)
    return token

@server.command
async def later(token: str) -> str:
    await asyncio.sleep(0.005)
    return token

server.run(processes=3)
"""
KINDS = ["echo", "echo", "slow", "later"]
FAILED = -32000


class Tally:
    """The outcomes of requests, over all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.wrong: list[tuple[str, object]] = []

    def count(self, transport: str, token: str, reply: Optional[bytes]) -> None:
        what = judge(token, reply)
        with self.lock:
            self.counts[f"{transport} {what or 'wrong'}"] += 1
            if what is None:
                self.wrong.append((token, reply))


def judge(token: str, reply: Optional[bytes]) -> Optional[str]:
    """Return whether a reply is this request's: its result, that its command failed, or the end of the connection."""
    if reply is None:
        return None
    if reply == b"":
        return "closed"
    try:
        answer = json.loads(reply)
    except ValueError:
        return None
    if answer.get("id") != token:
        return None
    if answer.get("result") == token:
        return "answered"
    return "failed" if answer.get("error", {}).get("code") == FAILED else None


def request(kind: str, token: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": kind, "params": [token], "id": token}).encode()


def call_by_datagram(address: str, name: str, stop: threading.Event, tally: Tally) -> None:
    peer = DatagramPeer(address)
    peer.socket.settimeout(PATIENCE)
    number = 0
    while not stop.is_set():
        number += 1
        token = f"{name}-{number}"
        peer.socket.sendto(request(random.choice(KINDS), token), peer.target)
        try:
            reply: Optional[bytes] = peer.socket.recv(65536)
        except (socket.timeout, TimeoutError):
            reply = None
        tally.count(name.split("-")[0], token, reply)
    # A second answer to the last would come by now.
    peer.socket.settimeout(0.3)
    with pytest.raises(socket.timeout):
        peer.socket.recv(65536)
    peer.close()


def call_by_fifo(fifo: FifoPeer, name: str, stop: threading.Event, tally: Tally) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        token = f"{name}-{number}"
        reply_name = fifo.make_reply()
        path = os.path.join(fifo.reply_dir, reply_name)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # One atomic write, as all that is shorter than 4096 bytes.
        fifo.write(f":{reply_name}:".encode() + request(random.choice(KINDS), token))
        tally.count("fifo", token, read_reply(fd, PATIENCE))
        os.close(fd)
        os.unlink(path)


def call_by_http(port: int, name: str, stop: threading.Event, tally: Tally) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    number = 0
    while not stop.is_set():
        number += 1
        token = f"{name}-{number}"
        reply: Optional[bytes]
        try:
            body = request(random.choice(KINDS), token)
            connection.request("POST", "/mi", body, {"Content-Type": "application/json"})
            reply = connection.getresponse().read()
        except (socket.timeout, TimeoutError):
            reply = None
        except (ConnectionError, http.client.HTTPException):
            reply = b""
            connection.close()
        tally.count("http", token, reply)
    connection.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.timeout(90 + 3 * SECONDS)
def test_workers_may_be_killed_and_reloaded_under_load(directory: str) -> None:
    with Group(directory, BODY) as many:
        many.await_state("READY=1")
        parent = many.process.pid
        before = descriptors(parent)
        stop, tally = threading.Event(), Tally()
        fifo = FifoPeer(f"{directory}/fifo", directory)
        callers: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        for seed in range(2):
            callers += [
                (call_by_datagram, (many.addresses["udp"], f"udp-{seed}")),
                (call_by_datagram, (many.addresses["unix"], f"unix-{seed}")),
                (call_by_fifo, (fifo, f"fifo-{seed}")),
                (call_by_http, (many.port, f"http-{seed}")),
            ]
        threads = [threading.Thread(target=call, args=(*args, stop, tally)) for call, args in callers]
        for thread in threads:
            thread.start()
        kills, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            stop.wait(0.4)
            os.kill(random.choice(eventually(lambda: children(parent))), signal.SIGKILL)
            kills += 1
            if kills % 2:
                many.signal(signal.SIGHUP)
        stop.set()
        for thread in threads:
            thread.join(2 * PATIENCE)
            assert not thread.is_alive()
        assert tally.wrong == [], (tally.wrong, tally.counts)
        for transport in ("udp", "unix", "fifo", "http"):
            assert tally.counts[f"{transport} answered"] > 10 * SECONDS, tally.counts
        workers = eventually(lambda: len(pids := many.workers()) == 3 and pids)
        with many.connect(wire="jsonrpc") as client:
            groups = ["mi_fifo", "mi_datagram", "mi_datagram_unix", "mi_http"]
            names = [f"{group}:in_progress" for group in groups]
            # One is the question itself.
            eventually(lambda: sum(client.call("get_statistics", names).values()) == 1)
        assert sorted(children(parent)) == sorted(workers), "no zombies, and no extra processes"
        assert descriptors(parent) <= before
        code, _, errors = many.stop()
        assert code == 0
        assert errors.count("was ended by SIGKILL") == kills
        assert many.left_files() == []
        assert not any(is_alive(pid) for pid in workers)
