"""Calls through proxies that lose, cut, repeat and garble: each has its own answer or a typed error, in time.

5,000 calls here; SIPMI_PROVE_CALLS sets how many.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any, Optional, Union

import pytest

import sipmi
from faults import DATAGRAM_FAULTS, FIFO_FAULTS, STREAM_FAULTS, FifoFaults, Proxy, TcpFaults, UdpFaults
from sipmi.testing import FakeOpenSIPS

CALLS = int(os.environ.get("SIPMI_PROVE_CALLS", "5000"))

#: Seconds that a call may take, and how much later than that a loaded machine may say so.
TIMEOUT = 0.5
SLACK = 5.0

#: A FIFO that speaks text takes 0.4 s to say so.
TEXT_FIFO_TIMEOUT = 1.5

#: Servers, the way to each, and the form of HTTP.
CASES = [
    (version, transport, root)
    for version, roots in [
        ("1.11", ["/json"]),
        ("2.4", ["/json", "/RPC2"]),
        ("3.4", ["/mi"]),
        ("3.6", ["/mi", "/RPC2"]),
        ("4.0", ["/mi"]),
        (None, ["/mi"]),
    ]
    for transport, root in [("udp", ""), ("fifo", ""), *(("http", root) for root in roots)]
]
EACH = max(1, CALLS // len(CASES))

Server = Union[FakeOpenSIPS, sipmi.Server]


def make_server(version: Optional[str], directory: str, hazards: bool) -> tuple[Server, sipmi.Server]:
    """One to start, and one on which commands are registered."""
    if version is None:
        own = sipmi.Server("faults")
        own.listen(f"fifo:{directory}/upstream", reply_dir=directory)
        own.listen("udp:127.0.0.1:0")
        own.listen("http://127.0.0.1:0")
        return own, own
    fake = FakeOpenSIPS(version, transports=("fifo", "udp", "http"), hazards=hazards)
    return fake, fake.server


def proxy_to(server: sipmi.Server, transport: str, root: str, directory: str, seed: int) -> Proxy:
    address = next(address for address in server.addresses if address.startswith(transport))
    if transport == "udp":
        return UdpFaults(address, DATAGRAM_FAULTS, seed=seed)
    if transport == "fifo":
        return FifoFaults(address, directory, FIFO_FAULTS, seed=seed)
    base = address.rpartition("/")[0] if address.count("/") > 2 else address
    # Of replies without an id nothing tells the second from the next but that it comes at once.
    return TcpFaults(base + root, STREAM_FAULTS, seed=seed)


class Tally:
    """The outcomes of calls."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.answered = 0
        self.failed: dict[str, int] = {}
        self.wrong: list[Any] = []
        self._lock = threading.Lock()

    def note(self, value: str, outcome: Any, seconds: float) -> None:
        with self._lock:
            if seconds > self.timeout + SLACK:
                self.wrong.append((value, f"took {seconds} s", outcome))
            elif outcome == value:
                self.answered += 1
            elif isinstance(outcome, sipmi.MiError):
                name = type(outcome).__name__
                self.failed[name] = self.failed.get(name, 0) + 1
            else:
                self.wrong.append((value, outcome))


async def call_awaiting(address: str, timeout: float, count: int, tally: Tally) -> None:
    async with sipmi.AsyncClient(address, timeout=timeout, max_in_flight=8) as mi:
        room = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            value = f"awaited-{number}-{os.urandom(4).hex()}"
            async with room:
                begun = time.monotonic()
                try:
                    outcome: Any = await mi.call("fault_echo", value)
                except Exception as error:
                    outcome = error
                tally.note(value, outcome, time.monotonic() - begun)

        await asyncio.gather(*[one(number) for number in range(count)])


def call_waiting(address: str, timeout: float, count: int, tally: Tally) -> None:
    with sipmi.connect(address, timeout=timeout, max_in_flight=4) as mi:

        def work(thread: int) -> None:
            for number in range(thread, count, 4):
                value = f"waited-{number}-{os.urandom(4).hex()}"
                begun = time.monotonic()
                try:
                    outcome: Any = mi.call("fault_echo", value)
                except Exception as error:
                    outcome = error
                tally.note(value, outcome, time.monotonic() - begun)

        threads = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(count * (timeout + SLACK))
            assert not thread.is_alive()


@pytest.mark.parametrize(("version", "transport", "root"), CASES)
def test_each_call_has_its_own_answer_or_a_typed_error_in_time(
    version: Optional[str], transport: str, root: str, directory: str
) -> None:
    hazards = version is not None and CASES.index((version, transport, root)) % 2 == 0
    server, commands = make_server(version, directory, hazards)

    @commands.command(name="fault_echo")
    def fault_echo(value: str) -> str:
        return value

    is_text_fifo = transport == "fifo" and version in ("1.11", "2.4")
    timeout = TEXT_FIFO_TIMEOUT if is_text_fifo else TIMEOUT
    tally = Tally(timeout)
    with server, proxy_to(commands, transport, root, directory, seed=EACH) as proxy:
        waiting = EACH // 4
        asyncio.run(call_awaiting(proxy.address, timeout, EACH - waiting, tally))
        call_waiting(proxy.address, timeout, waiting, tally)
        assert not tally.wrong, tally.wrong[:5]
        assert tally.answered + sum(tally.failed.values()) == EACH
        # Of what was let through most is answered, and the proxy did what it is for.
        assert tally.answered > EACH * 0.4, (tally.answered, tally.failed, proxy.done)
        assert sum(proxy.done.values()) > EACH * 0.05
        # Nothing did the server any harm.
        address = next(address for address in commands.addresses if address.startswith("udp"))
        with sipmi.connect(address) as mi:
            assert mi.call("fault_echo", "alive") == "alive"
    left = [name for name in os.listdir(directory) if name.startswith("sipmi_")]
    assert not left
