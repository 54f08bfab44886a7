"""Measures a fleet of many servers beside ``asyncio.gather`` of the same calls by as many clients.

Both ask the same servers, in turns, with kept connections. A figure is the median over the turns of the ratio within
each. `--help` lists the options.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import sipmi

SERVERS = """
import sys, sipmi
server = sipmi.Server("edge")
for _ in range(int(sys.argv[1])):
    server.listen("udp:127.0.0.1:0")
server.start()
print(" ".join(server.addresses), flush=True)
sys.stdin.read()
"""
#: Threads of the pool that is compared with, too.
THREADS = 32


@contextlib.contextmanager
def servers(count: int) -> Iterator[list[str]]:
    """A number of endpoints, in a process of their own."""
    command = [sys.executable, "-c", SERVERS, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()
        finally:
            process.stdin.close()


def seconds(work: Callable[[], int], expected: int) -> float:
    """How long it takes to have all answers."""
    began = time.perf_counter()
    answered = work()
    took = time.perf_counter() - began
    if answered != expected:
        raise SystemExit(f"{answered} of {expected} nodes answered")
    return took


def measure(addresses: list[str], turns: int) -> dict[str, list[float]]:
    """Seconds of each side and turn."""
    loop = asyncio.new_event_loop()
    fleet = sipmi.Fleet(addresses, timeout=60.0)
    awaited_fleet = sipmi.AsyncFleet(addresses, timeout=60.0)
    awaited = [sipmi.AsyncClient(address, timeout=60.0) for address in addresses]
    clients = [sipmi.Client(address, timeout=60.0) for address in addresses]
    pool = ThreadPoolExecutor(THREADS)

    async def gather() -> int:
        return len(await asyncio.gather(*(mi.call("uptime") for mi in awaited)))

    async def fleet_awaited() -> int:
        return len((await awaited_fleet.call("uptime")).ok)

    sides: dict[str, Callable[[], int]] = {
        "asyncio.gather of AsyncClient": lambda: loop.run_until_complete(gather()),
        f"{THREADS} threads of Client": lambda: len(list(pool.map(lambda mi: mi.call("uptime"), clients))),
        "Fleet.call": lambda: len(fleet.call("uptime").ok),
        "await AsyncFleet.call": lambda: loop.run_until_complete(fleet_awaited()),
    }
    try:
        found: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(-1, turns):
            for name in list(sides) if turn % 2 else reversed(list(sides)):
                took = seconds(sides[name], len(addresses))
                if turn >= 0:  # the first finds out what the servers speak
                    found[name].append(took)
        return found
    finally:
        pool.shutdown()
        fleet.close()
        awaited_fleet.close()
        loop.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    with servers(options.nodes) as addresses:
        found = measure(addresses, options.turns)
    baseline = found["asyncio.gather of AsyncClient"]
    print(f"`uptime` of {options.nodes} servers over UDP, one call of all of them")
    for name, taken in found.items():
        ratio = statistics.median(base / own for base, own in zip(baseline, taken))
        print(f"  {name:32} {statistics.median(taken) * 1000:8.1f} ms   {ratio:5.2f} times gather's speed")


if __name__ == "__main__":
    main()
