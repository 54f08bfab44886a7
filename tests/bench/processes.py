"""How much faster two processes are than one where handlers keep the processor busy, on every transport.

One and two workers take turns, a fresh server each round; a figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable

import sipmi

#: What a call costs its worker: far more than the client spends on it.
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


def measure(transport: str, workers: int, turns: int, seconds: float) -> float:
    """Calls a second."""
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
                address = {
                    "unix": f"unix:{directory}/sock",
                    "fifo": f"fifo:{directory}/fifo?reply_dir={directory}",
                    "udp": f"udp:127.0.0.1:{port}",
                    "http": f"http://127.0.0.1:{port}/mi",
                }[transport]
                return rate(lambda: sipmi.connect(address, timeout=20.0, wire="jsonrpc"), seconds)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


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


if __name__ == "__main__":
    main()
