"""Handlers that keep the processor busy: how much two processes gain, and how long a quick command waits beside one.

One and two workers take turns, a fresh server each round; a figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Callable

import sipmi

#: Seconds that a call costs its worker: far more than the client spends on it.
WORK_MS = 5.0
CLIENTS = 8

SERVER = """
import sys, time
import sipmi

server = sipmi.Server("scale")

def count(turns: int) -> int:
    total = 0
    for number in range(turns):
        total += number * number
    return total

turns = int(sys.argv[3])

@server.command(read_only=True)
def work() -> int:
    return count(turns)

@server.command(read_only=True)
def quick() -> str:
    return "here"

server.listen(f"unix:{sys.argv[1]}/sock")
server.listen(f"fifo:{sys.argv[1]}/fifo", reply_dir=sys.argv[1])
server.listen("udp:127.0.0.1:" + sys.argv[4])
server.listen("http://127.0.0.1:" + sys.argv[4])
server.run(processes=int(sys.argv[2]))
"""


def free_port() -> int:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


def turns_of_work() -> int:
    """How much is done in the processor time of a call: found once, so that both sides do the same."""
    began = time.process_time()
    total = 0
    for number in range(2_000_000):
        total += number * number
    return int(2_000_000 * WORK_MS / 1000 / (time.process_time() - began))


@contextlib.contextmanager
def serving(workers: int, turns: int) -> Iterator[dict[str, str]]:
    """A server of a number of processes, and its addresses."""
    with tempfile.TemporaryDirectory(prefix="mi") as directory:
        port = free_port()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{directory}/notify")
            manager.settimeout(20)
            environment = {**os.environ, "NOTIFY_SOCKET": f"{directory}/notify"}
            command = [sys.executable, "-c", SERVER, directory, str(workers), str(turns), str(port)]
            process = subprocess.Popen(command, env=environment)
            try:
                while b"READY=1" not in manager.recv(4096):
                    pass
                yield {
                    "unix": f"unix:{directory}/sock",
                    "fifo": f"fifo:{directory}/fifo?reply_dir={directory}",
                    "udp": f"udp:127.0.0.1:{port}",
                    "http": f"http://127.0.0.1:{port}/mi",
                }
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


def measure(transport: str, workers: int, turns: int, seconds: float) -> float:
    """Calls a second."""
    with serving(workers, turns) as addresses:
        return rate(lambda: sipmi.connect(addresses[transport], timeout=20.0, wire="jsonrpc"), seconds)


def waits(busy: int, workers: int, turns: int, calls: int) -> list[float]:
    """How long a quick command takes, in milliseconds, while others keep a number of slow ones running."""
    end = threading.Event()

    def keep_busy(address: str) -> None:
        with sipmi.connect(address, timeout=60.0, wire="jsonrpc") as client:
            while not end.is_set():
                client.call("work")

    with serving(workers, turns) as addresses, sipmi.connect(addresses["unix"], timeout=60.0, wire="jsonrpc") as client:
        client.call("quick")
        threads = [threading.Thread(target=keep_busy, args=(addresses["udp"],)) for _ in range(busy)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        found = []
        for _ in range(calls):
            began = time.perf_counter()
            client.call("quick")
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(0.003)
        end.set()
        for thread in threads:
            thread.join()
    return sorted(found)


def rate(connect: Callable[[], sipmi.Client], seconds: float) -> float:
    done = [0] * CLIENTS
    end = time.perf_counter() + seconds

    def call(place: int) -> None:
        with connect() as client:
            while time.perf_counter() < end:
                client.call("work")
                done[place] += 1

    threads = [threading.Thread(target=call, args=(place,)) for place in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--calls", type=int, default=300, help="of the quick command")
    options = parser.parse_args()
    turns = turns_of_work()
    print(f"| {CLIENTS} clients, {WORK_MS:g} ms of work a call | 1 process | 2 processes | ratio |")
    print("|---|---|---|---|")
    for transport in ("udp", "unix", "fifo", "http"):
        pairs = [
            (measure(transport, 1, turns, options.seconds), measure(transport, 2, turns, options.seconds))
            for _ in range(options.rounds)
        ]
        ratio = statistics.median(two / one for one, two in pairs)
        one, two = (statistics.median(side) for side in zip(*pairs))
        print(f"| {transport} | {one:.0f} | {two:.0f} | {ratio:.2f} |", flush=True)
    print(f"\n| a quick command beside slow ones of {10 * WORK_MS:g} ms | p50 | p99 |")
    print("|---|---|---|")
    for busy, workers in ((0, 1), (1, 1), (2, 1), (2, 2)):
        found = waits(busy, workers, 10 * turns, options.calls)
        middle, late = (found[int(len(found) * part)] for part in (0.5, 0.99))
        what = f"{busy} slow, {workers} process{'es' if workers > 1 else ''}"
        print(f"| {what} | {middle:.2f} ms | {late:.2f} ms |", flush=True)


if __name__ == "__main__":
    main()
