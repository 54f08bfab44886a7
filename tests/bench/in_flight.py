"""The client beside others on the same server: one caller that waits, and many calls in flight that are awaited.

    python tests/bench/in_flight.py [--seconds S] [--rounds N] [--in-flight N]

Sides run in turns (A B, B A, ...), each round in a process of its own against a server in another. A figure is the
median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).resolve().parent

#: Gives the call, and what ends the client.
Caller = Callable[[str], Awaitable[tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]]]

BODY = {"jsonrpc": "2.0", "method": "account", "id": 1}


async def sipmi_caller(address: str) -> Any:
    import sipmi

    mi = sipmi.AsyncClient(address, timeout=10.0)
    await mi.wire
    return lambda: mi.call("account"), mi.close


async def aiohttp_caller(address: str) -> Any:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def call() -> Any:
        async with session.post(address, json=BODY) as reply:
            return (await reply.json())["result"]

    return call, session.close


async def httpx_caller(address: str) -> Any:
    import httpx

    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=10.0)

    async def call() -> Any:
        return (await client.post(address, json=BODY)).json()["result"]

    return call, client.aclose


CALLERS: dict[str, Caller] = {"sipmi": sipmi_caller, "aiohttp": aiohttp_caller, "httpx": httpx_caller}


async def measure(kind: str, address: str, in_flight: int, seconds: float) -> dict[str, float]:
    """Closed loops, a number of them at a time."""
    call, close = await CALLERS[kind](address)
    expected = await call()
    times: list[float] = []
    clock = time.perf_counter
    begin = clock() + 0.3
    end = begin + seconds

    async def loop() -> None:
        while (begun := clock()) < end:
            assert await call() == expected
            if begun >= begin:
                times.append(clock() - begun)

    await asyncio.gather(*[loop() for _ in range(in_flight)])
    took = clock() - begin
    await close()
    times.sort()
    return {"rate": len(times) / took, "p99_ms": times[len(times) * 99 // 100] * 1e3}


def run_loop(work: Any, loop: str) -> Any:
    if loop == "uvloop":
        import uvloop

        runner = uvloop.new_event_loop()
        try:
            return runner.run_until_complete(work)
        finally:
            runner.close()
    return asyncio.run(work)


# -- rounds ---------------------------------------------------------------------------------------


def one_round(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--round", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if result.returncode:
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


def one_caller(side: str, address: str, seconds: str) -> dict[str, float]:
    """A closed loop of a client that waits."""
    command = [sys.executable, str(HERE / "client.py"), side, address, "account", "--seconds", seconds]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (figures,) = json.loads(result.stdout)
    assert (figures["errors"], figures["wrong"]) == (0, 0), figures
    return {"rate": figures["rates"][0], "p99_ms": figures["p99_us"] / 1e3}


def in_turns(sides: list[str], rounds: int, play: Callable[[str], dict[str, float]]) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            found[side].append(play(side))
    names = ("rate", "p99_ms")
    return {
        side: {name: statistics.median(f[name] for f in figures) for name in names} for side, figures in found.items()
    }


def show(title: str, figures: dict[str, dict[str, float]]) -> None:
    ours = figures["sipmi"]
    for side, found in figures.items():
        ratio = "" if side == "sipmi" else f"   sipmi is {ours['rate'] / found['rate']:.1f} times as fast"
        print(f"{title:34} {side:8} {found['rate']:9,.0f} calls/s   p99 {found['p99_ms']:7.2f} ms{ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--round", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.round:
        kind, loop, address, in_flight, seconds = options.round
        print(json.dumps(run_loop(measure(kind, address, int(in_flight), float(seconds)), loop)))
        return
    with tempfile.TemporaryDirectory(prefix="mi") as directory:
        server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            addresses = json.loads(server.stdout.readline())
            count, seconds = str(options.in_flight), str(options.seconds)
            http = addresses["http"].rstrip("/")
            http = http if http.endswith("/mi") else http + "/mi"
            for transport, to in {"udp": addresses["udp"], "fifo": addresses["fifo"], "http": http}.items():
                play = lambda side, to=to: one_caller(side, to, seconds)  # noqa: E731
                show(
                    f"{transport.upper()}, one caller that waits", in_turns(["sipmi", "opensips"], options.rounds, play)
                )
            for loop in ("asyncio", "uvloop"):
                play = lambda side, loop=loop: one_round(side, loop, http, count, seconds)  # noqa: E731
                show(f"HTTP, {count} in flight, {loop}", in_turns(["sipmi", "aiohttp", "httpx"], options.rounds, play))
            for transport in ("udp", "unix", "fifo"):
                play = lambda side, to=addresses[transport]: one_round(side, "asyncio", to, count, seconds)  # noqa: E731
                show(f"{transport.upper()}, {count} in flight, asyncio", in_turns(["sipmi"], options.rounds, play))
        finally:
            server.communicate()


if __name__ == "__main__":
    main()
