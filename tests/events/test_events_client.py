"""Events as a client takes them: patterns, loops, callbacks, restarts, what is dropped, awaited and not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, Callable, cast

import pytest

import sipmi
from endpoints import PATIENCE
from ports import free_udp_address
from rogue import RogueDatagram
from sipmi.events import AsyncListener, Event, Listener
from sipmi.testing import FakeOpenSIPS
from waiting import eventually, eventually_async

VERSIONS = ["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"]


def make_server(address: str = "udp:127.0.0.1:0") -> sipmi.Server:
    """A server that raises an event for each number that it is told."""
    server = sipmi.Server("billing")
    server.event("E_SUB_ADDED")
    server.event("E_SUB_REMOVED")
    server.event("E_OTHER")

    @server.command
    def sub_add(first: int, count: int = 1) -> None:
        """Raises events."""
        for number in range(first, first + count):
            server.raise_event("E_SUB_ADDED", {"number": number})

    server.listen(address)
    return server


@pytest.fixture
def server() -> Iterator[sipmi.Server]:
    with make_server() as started:
        yield started


def ttls(server: sipmi.Server) -> list[Any]:
    """How long the subscriptions hold that have not ended."""
    return [subscriber.ttl for subscriber in server.subscribers if subscriber.ttl]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("at", ["udp", "unix"])
def test_a_pattern_means_the_events_of_the_version_and_they_come(version: str, at: str) -> None:
    with FakeOpenSIPS(version) as opensips, opensips.connect("fifo") as mi:
        published = [name for name in opensips.events.names if name.startswith("E_UL_")]
        with mi.events("E_UL_*", at=at) as events:
            assert events.events == tuple(published)
            opensips.events.publish("E_UL_AOR_INSERT", {"domain": "location", "aor": "alice"})
            event = events.get(PATIENCE)
        assert (event.name, event.params["aor"]) == ("E_UL_AOR_INSERT", "alice")
        assert all(s.ttl == "expired" for name in published for s in opensips.events.subscribers(name))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_on_an_event_loop(version: str) -> None:
    async def receive(opensips: FakeOpenSIPS) -> Event:
        async with sipmi.AsyncClient(opensips.address("udp")) as mi, mi.events("E_UL_AOR_*", "E_DISP*") as events:
            assert events.events == ("E_UL_AOR_INSERT", "E_UL_AOR_DELETE", "E_DISPATCHER_STATUS")
            opensips.events.publish("E_UL_AOR_DELETE", {"domain": "location", "aor": "alice"})
            return await events.get(PATIENCE)

    with FakeOpenSIPS(version) as opensips:
        event = asyncio.run(receive(opensips))
        assert (event.name, event.params["aor"]) == ("E_UL_AOR_DELETE", "alice")
        assert all(s.ttl == "expired" for s in opensips.events.subscribers("E_UL_AOR_INSERT"))


def test_a_loop_subscribes_and_leaving_it_ends_the_subscription(server: sipmi.Server) -> None:
    with sipmi.connect(server.addresses[0]) as mi:
        events = mi.events("E_SUB_ADDED", expire=60)
        assert ttls(server) == []
        adding = threading.Thread(target=lambda: (eventually(lambda: ttls(server)), mi.call("sub_add", 1, 3)))
        adding.start()
        numbers = []
        for event in events:
            numbers.append(event.params["number"])
            if len(numbers) == 3:
                break
        adding.join()
        assert numbers == [1, 2, 3]
        eventually(lambda: ttls(server) == [])
        assert list(events) == [], "it has been left"


def test_iterating_may_end_after_a_time(server: sipmi.Server) -> None:
    with sipmi.connect(server.addresses[0]) as mi:
        began = time.monotonic()
        assert list(mi.events("E_SUB_ADDED", duration=0.1)) == []
        assert list(mi.events("E_SUB_ADDED").within(0.1)) == []
        assert 0.2 <= time.monotonic() - began < PATIENCE
        assert ttls(server) == []


def test_a_callback_is_called_until_it_is_closed_and_may_raise(
    server: sipmi.Server, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def note(event: Event) -> None:
        seen.append(event.params["number"])
        if len(seen) == 1:
            raise RuntimeError("not this one")

    with sipmi.connect(server.addresses[0]) as mi:
        listening = mi.events("E_SUB_*", callback=note)
        mi.call("sub_add", 1, 3)
        eventually(lambda: seen == [1, 2, 3])
        listening.close()
        mi.call("sub_add", 4)
        with mi.events("E_SUB_*", callback=note):
            mi.call("sub_add", 5)
            eventually(lambda: seen == [1, 2, 3, 5])
    assert ttls(server) == []
    assert "the callback for E_SUB_ADDED failed" in caplog.text


def test_a_callback_on_an_event_loop_may_be_a_coroutine(server: sipmi.Server) -> None:
    seen: list[int] = []

    async def note(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append(event.params["number"])

    async def receive() -> None:
        async with sipmi.AsyncClient(server.addresses[0]) as mi:
            async with mi.events("E_SUB_*", callback=note):
                await mi.call("sub_add", 1, 3)
                await eventually_async(lambda: seen == [1, 2, 3])
            await mi.call("sub_add", 4)

    asyncio.run(receive())
    assert seen == [1, 2, 3]
    assert ttls(server) == []


def test_a_server_that_began_again_is_subscribed_to_again() -> None:
    address = free_udp_address()
    with contextlib.ExitStack() as running:
        first = make_server(address)
        first.unregister("uptime")

        @first.command(read_only=True)
        def uptime() -> dict:
            """Report a long uptime."""
            return {"Now": "now", "Up since": "long ago", "Up time": "100000 [sec]"}

        running.callback(first.stop)
        first.start()
        mi = running.enter_context(sipmi.connect(address, timeout=0.5))
        events = running.enter_context(mi.events("E_SUB_*", restart_poll=1.0))
        mi.call("sub_add", 1)
        assert events.get(PATIENCE).params["number"] == 1
        first.stop()
        second = running.enter_context(make_server(address))
        eventually(lambda: len(ttls(second)) == 2)
        mi.call("sub_add", 2)
        assert events.get(PATIENCE).params["number"] == 2
        assert events.restarts == 1


def test_the_same_restart_on_an_event_loop() -> None:
    address = free_udp_address()

    async def receive() -> tuple[int, int]:
        server = make_server(address)
        server.start()
        async with sipmi.AsyncClient(address, timeout=0.5) as mi, mi.events("E_SUB_*", restart_poll=1.0) as events:
            server.stop()
            # It says since when it is up in whole seconds.
            await asyncio.sleep(1.0)
            with make_server(address) as second:
                await eventually_async(lambda: len(ttls(second)) == 2)
                await mi.call("sub_add", 2)
                return (await events.get(PATIENCE)).params["number"], events.restarts

    assert asyncio.run(receive()) == (2, 1)


def test_on_an_event_loop_subscriptions_are_renewed_and_a_failure_is_told(server: sipmi.Server) -> None:
    address = server.addresses[0]

    async def receive() -> None:
        async with sipmi.AsyncClient(address, timeout=0.3) as mi, mi.events("E_SUB_ADDED", expire=1) as events:
            ends = time.monotonic() + 1.5
            while time.monotonic() < ends:
                assert ttls(server), "it was not renewed in time"
                await asyncio.sleep(0.02)
            server.stop()
            with pytest.raises(sipmi.TransportError):
                await events.get(2 * PATIENCE)

    asyncio.run(receive())


@pytest.mark.parametrize("kind", ["blocking", "awaited"])
def test_the_oldest_events_are_dropped_and_counted_when_the_queue_is_full(kind: str, server: sipmi.Server) -> None:
    def told(events: Any) -> tuple[int, list[int]]:
        return events.dropped, [event.params["number"] for event in events._inbox.waiting]

    async def receive() -> tuple[int, list[int]]:
        async with sipmi.AsyncClient(server.addresses[0]) as mi, mi.events("E_SUB_ADDED", max_queue=5) as events:
            await mi.call("sub_add", 0, 100)
            await eventually_async(lambda: events.dropped == 95)
            return told(events)

    if kind == "awaited":
        assert asyncio.run(receive()) == (95, [95, 96, 97, 98, 99])
        return
    with sipmi.connect(server.addresses[0]) as mi, mi.events("E_SUB_ADDED", max_queue=5) as events:
        mi.call("sub_add", 0, 100)
        eventually(lambda: events.dropped == 95)
        assert told(events) == (95, [95, 96, 97, 98, 99])


def test_events_that_the_kernel_drops_are_counted(server: sipmi.Server) -> None:
    with contextlib.ExitStack() as entered:
        mi = entered.enter_context(sipmi.connect(server.addresses[0]))
        events = entered.enter_context(mi.events("E_SUB_ADDED", max_queue=1, overflow="wait"))
        assert events._sources is not None
        events._sources._main.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        mi.call("sub_add", 0, 500)
        taken = []
        with contextlib.suppress(TimeoutError):
            while True:
                taken.append(events.get(0.3).params["number"])
        # It tells with the next that comes.
        mi.call("sub_add", 500)
        assert events.get(PATIENCE).params["number"] == 500
        assert 0 < events.dropped == 500 - len(taken)


def test_on_an_event_loop_one_that_waits_reads_no_more_than_it_was_told(server: sipmi.Server, directory: str) -> None:
    async def receive() -> list[int]:
        async with sipmi.AsyncClient(server.addresses[0]) as mi:
            at = f"unix:{directory}/few"
            async with mi.events("E_SUB_ADDED", at=at, max_queue=5, overflow="wait") as events:
                await mi.call("sub_add", 0, 100)
                await eventually_async(lambda: len(events._inbox.waiting) == 5)
                await asyncio.sleep(0.02)
                assert len(events._inbox.waiting) == 5
                return [(await events.get(PATIENCE)).params["number"] for _ in range(100)]

    assert asyncio.run(receive()) == list(range(100))


def test_over_tcp_a_reliable_server_is_answered_by_the_event_loop() -> None:
    server = sipmi.Server("billing", reliable_events=True)
    server.event("E_SUB_ADDED")
    server.listen("udp:127.0.0.1:0")

    async def receive() -> list[int]:
        async with sipmi.AsyncClient(server.addresses[0]) as mi, mi.events("E_SUB_ADDED", at="tcp") as events:
            for number in range(3):
                server.raise_event("E_SUB_ADDED", {"number": number})
            numbers = [(await events.get(PATIENCE)).params["number"] for _ in range(3)]
            await eventually_async(lambda: [s.sent for s in server.subscribers] == [3])
            return numbers

    with server:
        assert asyncio.run(receive()) == [0, 1, 2]


def test_leaving_a_loop_of_awaited_events_ends_the_subscription(server: sipmi.Server) -> None:
    async def receive() -> list[int]:
        numbers = []
        async with sipmi.AsyncClient(server.addresses[0]) as mi:
            events = mi.events("E_SUB_ADDED", duration=30.0)

            async def add() -> None:
                await eventually_async(lambda: ttls(server))
                await mi.call("sub_add", 1, 2)

            adding = asyncio.ensure_future(add())
            async for event in events:
                numbers.append(event.params["number"])
                if len(numbers) == 2:
                    break
            await adding
            await eventually_async(lambda: ttls(server) == [])
            assert [event async for event in mi.events("E_SUB_*", duration=0.05)] == []
            async with mi.events("E_SUB_ADDED") as again:
                assert [event async for event in again.within(0.05)] == []
                with pytest.raises(TimeoutError):
                    await again.get(0.05)
            with pytest.raises(RuntimeError, match="the listener is closed"):
                await again.get(0.05)
        return numbers

    assert asyncio.run(receive()) == [1, 2]
    assert ttls(server) == []


def test_a_listener_made_before_its_event_loop_receives_events(server: sipmi.Server) -> None:
    listener = sipmi.AsyncClient(server.addresses[0]).events("E_SUB_ADDED")

    async def receive() -> list[int]:
        async with listener:
            waiting = asyncio.ensure_future(listener.get(PATIENCE))
            await asyncio.sleep(0)  # it waits before the event is raised
            server.raise_event("E_SUB_ADDED", {"number": 7})
            event = await waiting
        return [event.params["number"]]

    assert [asyncio.run(receive()), asyncio.run(receive())] == [[7], [7]]


def test_a_listener_names_the_reason_of_an_impossible_subscription(server: sipmi.Server) -> None:
    async def awaited(*events: str) -> None:
        async with sipmi.AsyncClient(server.addresses[0]) as mi, mi.events(*events):
            pass

    with sipmi.connect(server.addresses[0]) as mi:
        with pytest.raises(LookupError, match=r"has no event 'E_UL_\*'; it has E_OTHER, E_SUB_ADDED, E_SUB_REMOVED"):
            list(mi.events("E_UL_*"))
        with pytest.raises(LookupError, match="has no event"):
            asyncio.run(awaited("E_UL_*"))
        with pytest.raises(sipmi.Fault):
            list(mi.events("E_SUB_ADDED", "E_NOSUCH"))
        with pytest.raises(sipmi.Fault):
            asyncio.run(awaited("E_SUB_ADDED", "E_NOSUCH"))
        for wrong, why in [
            ({"restart_poll": 0.5}, "restart_poll in seconds from 1 to "),
            ({"overflow": "panic"}, "'wait' or 'drop'"),
        ]:
            with pytest.raises(ValueError, match=why):
                mi.events("E_SUB_ADDED", **wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one event"):
            mi.events()
    assert ttls(server) == []
    assert isinstance(mi.events("E_X"), Listener)
    assert isinstance(sipmi.AsyncClient(server.addresses[0]).events("E_X"), AsyncListener)


# -- Ctrl-C ---------------------------------------------------------------------------------------

LISTENING = """
import asyncio, sys
import sipmi

address, way = sys.argv[1:]
options = {"expire": 1, "restart_poll": None}

async def listen():
    async with sipmi.AsyncClient(address, timeout=60.0, wire="jsonrpc") as mi:
        async with mi.events("E_SUB_ADDED", "E_SUB_REMOVED", **options) as events:
            async for event in events:
                pass

def wait():
    with sipmi.connect(address, timeout=60.0, wire="jsonrpc") as mi:
        with mi.events("E_SUB_ADDED", "E_SUB_REMOVED", **options) as events:
            for event in events:
                pass

wait() if way == "waits" else asyncio.run(listen())
"""


@pytest.mark.parametrize("way", ["waits", "awaits"])
@pytest.mark.parametrize("answered", [0, 1, 2], ids=["while-subscribing", "half-subscribed", "while-renewing"])
def test_ctrl_c_ends_a_listener_whose_server_says_nothing(way: str, answered: int) -> None:
    def answer(request: bytes) -> list[bytes]:
        if len(server.requests) > answered:
            return []
        identity = json.loads(request)["id"]
        return [json.dumps({"jsonrpc": "2.0", "result": "OK", "id": identity}).encode()]

    with RogueDatagram(answer) as server:
        child = subprocess.Popen([sys.executable, "-c", LISTENING, server.address, way], stderr=subprocess.PIPE)
        try:
            server.wait_for(answered + 1)
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
        assert b"KeyboardInterrupt" in said
        # The end of a subscription is asked for all the same, and its answer is not waited for.
        asked = [json.loads(request)["params"] for request in server.requests]
        assert 0 in [params["expire"] if isinstance(params, dict) else params[-1] for params in asked]


# -- loops without a block ------------------------------------------------------------------------

LOOPING = """
import sys, time
import sipmi

mi = sipmi.connect(sys.argv[1], timeout=60.0, wire="jsonrpc")
for event in mi.events("E_SUB_ADDED", "E_SUB_REMOVED", expire=60, restart_poll=None):
    print("an event", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def silent_after(answered: int) -> Iterator[RogueDatagram]:
    """A server that answers a number of requests, and then reads and says nothing."""

    def answer(request: bytes) -> list[bytes]:
        if len(server.requests) > answered:
            return []
        return [json.dumps({"jsonrpc": "2.0", "result": "OK", "id": json.loads(request)["id"]}).encode()]

    with RogueDatagram(answer) as server:
        yield server


def subscribed(server: RogueDatagram) -> list[tuple[str, int]]:
    """The socket and the expiry of each request."""
    params = [json.loads(request)["params"] for request in server.requests]
    listed = [list(each.values()) if isinstance(each, dict) else each for each in params]
    return [(each[1], each[2]) for each in listed]


def send_event(server: RogueDatagram) -> None:
    """Send an event to the socket that has subscribed."""
    host, port = subscribed(server)[0][0].removeprefix("udp:").rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"E_SUB_ADDED\nnumber::1\n\n", (host, int(port)))


def test_ctrl_c_in_the_body_of_a_loop_ends_it_though_the_server_says_nothing() -> None:
    with silent_after(2) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", LOOPING, server.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            server.wait_for(2)
            send_event(server)
            assert child.stdout is not None
            assert child.stdout.readline() == b"an event\n"
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
        assert b"KeyboardInterrupt" in said
        assert b"ignored" not in said
        server.wait_for(3)
        assert subscribed(server)[2][1] == 0


def break_off(events: Listener) -> None:
    for event in events:
        assert event.name == "E_SUB_ADDED"
        break


def close_generator(events: Listener) -> None:
    loop = cast(Generator[Event, None, None], iter(events))
    assert next(loop).name == "E_SUB_ADDED"
    loop.close()


def leave_to_the_garbage_collector(events: Listener) -> None:
    loop = iter(events)
    assert next(loop).name == "E_SUB_ADDED"
    cycle: list[Any] = [loop]
    cycle.append(cycle)
    del cycle, loop
    gc.collect()


@pytest.mark.parametrize("leave", [break_off, close_generator, leave_to_the_garbage_collector])
def test_a_loop_that_is_left_is_closed_and_a_thread_ends_its_subscription(leave: Callable[[Listener], None]) -> None:
    with silent_after(2) as server, sipmi.connect(server.address, timeout=60.0, wire="jsonrpc") as mi:
        events = mi.events("E_SUB_ADDED", "E_SUB_REMOVED", expire=60, restart_poll=None)
        sending = threading.Thread(target=lambda: (server.wait_for(2), send_event(server)))
        sending.start()
        leave(events)
        sending.join()
        with pytest.raises(RuntimeError, match="before it is entered"):
            _ = events.address
        server.wait_for(3)
        assert subscribed(server)[2][1] == 0


def test_a_subscription_ends_when_the_server_does_not_tell_its_uptime() -> None:
    def answer(request: bytes) -> list[bytes]:
        asked = json.loads(request)
        reply = {"jsonrpc": "2.0", "result": "OK", "id": asked["id"]}
        return [] if asked["method"] == "uptime" else [json.dumps(reply).encode()]

    with RogueDatagram(answer) as server, sipmi.connect(server.address, timeout=0.2, wire="jsonrpc") as mi:
        with pytest.raises(sipmi.CallTimeout), mi.events("E_SUB_ADDED"):
            pytest.fail("it is not subscribed")
        methods = [json.loads(request)["method"] for request in server.requests]
    assert methods == ["event_subscribe", "uptime", "event_subscribe"]
