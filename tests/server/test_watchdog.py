"""A worker whose handler keeps the interpreter lock is killed and replaced, and no other worker is."""

from __future__ import annotations

import os
import signal
import threading
from typing import Callable

import pytest

import sipmi
from endpoints import FifoPeer, read_reply
from processes import PATIENCE, Group, is_alive
from sipmi.server._child import Child
from sipmi.server._watchdog import Watchdog
from waiting import eventually

HANGS = """
import ctypes

@server.command
def hang() -> None:
    open(f"{directory}/asleep_{os.getpid()}_", "w").close()
    ctypes.PyDLL(None).sleep(60)

@server.command
def compute(seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return os.getpid()

server.run(processes=2, watchdog=1.0)
"""
KILLED = "has run no Python for 1 s (watchdog), and is killed"


@pytest.mark.parametrize("transport", ["unix", "udp"])
def test_a_worker_that_keeps_the_interpreter_lock_is_replaced_and_its_caller_is_told(
    group: Callable[..., Group], transport: str
) -> None:
    many = group(HANGS)
    with many.connect(transport, wire="jsonrpc") as client:
        with pytest.raises(sipmi.Fault) as caught:
            client.call("hang")
        assert caught.value.code == -32000
    hung = many.await_asleep()[0]
    assert not is_alive(hung)
    eventually(lambda: len(pids := many.workers()) == 2 and hung not in pids)
    errors = many.stop()[2]
    assert f"(MI worker, pid {hung}) {KILLED}" in errors
    assert f"(MI worker, pid {hung}) was ended by SIGKILL" in errors


def test_another_worker_reads_the_fifo_after_its_reader_hung(group: Callable[..., Group]) -> None:
    many = group(HANGS)
    peer = FifoPeer(f"{many.directory}/fifo", many.directory)
    names = [peer.make_reply() for _ in range(2)]
    fds = [os.open(f"{many.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK) for name in names]
    peer.write(f":hang:{names[0]}\n\n".encode())
    hung = many.await_asleep()[0]
    peer.write(f":pid:{names[1]}\n\n".encode())
    assert read_reply(fds[0]) == b"", "the end of the process ends the reply"
    reply = read_reply(fds[1])
    assert reply is not None
    # The worker may have had that request in hand, too, waiting for the interpreter lock.
    assert reply == b"" or reply.startswith(b"200 OK")
    with many.connect("fifo", wire="text") as client:
        assert int(client.call("pid")) != hung
    for fd in fds:
        os.close(fd)


def test_handlers_that_compute_or_wait_are_not_killed(group: Callable[..., Group]) -> None:
    many = group(HANGS)
    workers = many.workers()
    with many.connect("http") as client:
        assert client.call("compute", 2.5) in workers
        assert client.call("sleep", 2.5) in workers
    assert many.workers() == workers
    assert many.stop()[2] == ""


def test_a_worker_that_drains_is_not_killed_before_its_drain_timeout(group: Callable[..., Group]) -> None:
    many = group(HANGS.replace("watchdog=1.0", "watchdog=0.5, drain_timeout=20"))
    answers: list[int] = []

    def call() -> None:
        with many.connect() as client:
            answers.append(client.call("sleep", 3.0))

    thread = threading.Thread(target=call)
    thread.start()
    worker = many.await_asleep()[0]
    os.kill(worker, signal.SIGTERM)
    thread.join(PATIENCE)
    assert answers == [worker]
    assert "watchdog" not in many.stop()[2]


class Worker(Child):
    def __init__(self) -> None:
        super().__init__(1, "MI worker", None)
        self.pid = 42


def test_a_silent_worker_is_late_after_the_period_and_a_draining_one_after_its_drain_timeout() -> None:
    watchdog, worker = Watchdog(4.0, 10.0), Worker()
    now = watchdog._last_look

    def looks(count: int) -> list[bool]:
        nonlocal now
        found = []
        for _ in range(count):
            now += 1
            found.append(watchdog.hung([worker], now) == [worker])
        return found

    assert looks(5) == [False] * 4 + [True], "four seconds after it was seen first"
    watchdog.beat(1)
    assert looks(4) == [False] * 4
    watchdog.beat(1)
    assert looks(4) == [False] * 4
    watchdog.drain(1)
    assert looks(15) == [False] * 14 + [True]
    watchdog.reset(1)
    worker.pid = 43
    assert looks(4) == [False] * 4, "its successor is another"
    now += 60
    assert looks(4) == [False] * 4, "the supervisor was suspended, and the worker with it"


def test_a_watchdog_needs_processes_and_a_period_that_can_be_kept() -> None:
    server = sipmi.Server("many")
    with pytest.raises(ValueError, match="expected processes=, too"):
        server.run(watchdog=5)
    for seconds in (0.0, -1.0, 0.01, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"expected watchdog in seconds from 0\.1 to 1e\+09"):
            server.run(processes=2, watchdog=seconds)
