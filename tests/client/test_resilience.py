"""A client retries failed calls, opens its circuit breaker, and detects the server's version again."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Union

import pytest

import sipmi
from rogue import Connection, RogueDatagram, RogueFifo, RogueHttp, body_of, http_reply, write_reply
from sipmi import _core
from sipmi.testing import FakeOpenSIPS
from waiting import eventually


def answer_to(request: bytes, result: Any = "OK") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": json.loads(request)["id"]}).encode()


def call_both_ways(address: str, *args: Any, **options: Any) -> Iterator[Callable[[], Any]]:
    """The same call, once by a client that waits and once awaited."""

    def waits() -> Any:
        with sipmi.connect(address, **options) as mi:
            return mi.call(*args)

    async def awaits() -> Any:
        async with sipmi.AsyncClient(address, **options) as mi:
            return await mi.call(*args)

    yield waits
    yield lambda: asyncio.run(awaits())


def test_a_read_that_is_lost_is_asked_again_and_a_write_is_not() -> None:
    for way in range(2):
        seen: dict[str, int] = {}

        def lossy(request: bytes, seen: dict[str, int] = seen) -> list[bytes]:
            method = json.loads(request)["method"]
            seen[method] = seen.get(method, 0) + 1
            return [answer_to(request)] if seen[method] == 3 else []

        with RogueDatagram(lossy) as rogue:
            options: dict[str, Any] = {"wire": "jsonrpc", "timeout": 3.0, "retries": 2}
            assert list(call_both_ways(rogue.address, "get_statistics", ["core:"], **options))[way]() == "OK"
            options["timeout"] = 0.3
            with pytest.raises(sipmi.CallTimeout):
                list(call_both_ways(rogue.address, "cache_store", "local", "k", "v", **options))[way]()
        assert seen == {"get_statistics": 3, "cache_store": 1}


@pytest.mark.parametrize("method", ["uptime", "kill"])
def test_a_request_that_cannot_have_run_is_retried_for_every_command(directory: str, method: str) -> None:
    path = f"unix:{directory}/late.sock"

    def serve_late() -> None:
        time.sleep(0.15)  # the first attempts fail
        with RogueDatagram(lambda request: [answer_to(request)], f"{directory}/late.sock") as rogue:
            rogue.wait_for(1)
        os.unlink(f"{directory}/late.sock")

    for call in call_both_ways(path, method, wire="jsonrpc", timeout=5.0, retries=8):
        thread = threading.Thread(target=serve_late)
        thread.start()
        assert call() == "OK"
        thread.join(10)


def test_a_connection_that_is_lost_costs_a_read_nothing_and_a_write_its_answer() -> None:
    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            if connection.number % 2 == 0:
                connection.reset()
                return
            connection.send(http_reply(answer_to(body_of(request))))

    for way in range(2):
        for method, is_answered in [("uptime", True), ("cache_store", False)]:
            with RogueHttp(serve) as rogue:
                call = list(call_both_ways(rogue.address, method, wire="jsonrpc", retries=1))[way]
                if is_answered:
                    assert call() == "OK"
                else:
                    with pytest.raises(sipmi.TransportError):
                        call()
                assert len(rogue.requests) == 1 + is_answered


def test_the_circuit_breaker_opens_for_a_failing_server_and_closes_when_it_is_back(directory: str) -> None:
    address = f"unix:{directory}/mi.sock"

    with sipmi.connect(address, wire="jsonrpc", failure_threshold=3) as mi:
        for _ in range(3):
            with pytest.raises(sipmi.TransportError, match="no such socket"):
                mi.call("uptime")
        with pytest.raises(sipmi.TransportError, match="circuit breaker open after 3 failures"):
            mi.call("uptime")
        with RogueDatagram(lambda request: [answer_to(request)], f"{directory}/mi.sock"):

            def is_called() -> bool:
                with contextlib.suppress(sipmi.TransportError):
                    return bool(mi.call("uptime") == "OK")
                return False

            eventually(is_called, "the circuit breaker closes")
            assert mi.call("uptime") == "OK"


def test_the_version_is_detected_again_after_a_restart(directory: str) -> None:
    def serve(version: str) -> sipmi.Server:
        server = sipmi.Server("opensips", emulate=version)
        server.listen(f"unix:{directory}/mi.sock")
        return server

    address = f"unix:{directory}/mi.sock"
    with sipmi.connect(address, retries=3) as mi:
        with serve("2.4"):
            assert (mi.generation, mi.wire) == ("2.x", "text")
        with pytest.raises(sipmi.TransportError):
            mi.call("uptime", timeout=0.2)
        with serve("4.0"):
            assert mi.call("which")
            assert (mi.generation, mi.wire) == ("4.x", "jsonrpc")


def test_a_fifo_that_is_made_again_is_used(directory: str) -> None:
    def answer(request: bytes, path: str) -> None:
        write_reply(path, answer_to(request[request.index(b"{") :]))

    with sipmi.connect(f"fifo:{directory}/rogue_fifo", reply_dir=directory, wire="jsonrpc") as mi:
        for _ in range(2):
            with RogueFifo(directory, answer):
                # So often that the command FIFO is kept open from one call to the next.
                assert [mi.call("uptime") for _ in range(20)] == ["OK"] * 20
            with pytest.raises(sipmi.TransportError, match=r"no such FIFO|no server reads it"):
                mi.call("uptime")


def test_a_real_server_is_given_one_request_at_a_time_and_ours_many() -> None:
    inside = most = 0
    lock = threading.Lock()

    def register(server: sipmi.Server) -> None:
        @server.command(name="busy", read_only=True)
        async def busy() -> str:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            await asyncio.sleep(0.02)
            with lock:
                inside -= 1
            return "OK"

    async def calls(address: str, **options: Any) -> None:
        async with sipmi.AsyncClient(address, **options) as mi:
            assert await asyncio.gather(*[mi.call("busy") for _ in range(8)]) == ["OK"] * 8

    with FakeOpenSIPS("3.6") as fake:
        register(fake.server)
        for transport in ("fifo", "http"):
            most = 0
            asyncio.run(calls(fake.address(transport)))
            assert most == 1, transport
            most = 0
            asyncio.run(calls(fake.address(transport), max_in_flight=4))
            assert most > 1, transport
    server = sipmi.Server("ours")
    register(server)
    server.listen("http://127.0.0.1:0")
    with server:
        most = 0
        asyncio.run(calls(server.addresses[0]))
        assert most > 4


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("max_in_flight", 0, "expected max_in_flight from 1 to "),
        ("failure_threshold", 0, "expected failure_threshold from 1 to "),
        ("tz", "No/Where", "time zone"),
    ],
)
def test_options_that_make_no_sense_are_refused(option: str, value: Union[int, str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        sipmi.connect("udp:127.0.0.1:1", **{option: value})  # type: ignore[arg-type]


def test_a_harmless_limit_can_be_exceeded_with_force() -> None:
    with FakeOpenSIPS("3.4") as fake:
        for call in [
            lambda **options: fake_call(fake.address("http"), **options),
            lambda **options: asyncio.run(fake_call_async(fake.address("http"), **options)),
        ]:
            with pytest.raises(sipmi.RequestRefused, match=r"16384.*modparam.*force=True") as refused:
                call()
            assert refused.value.can_be_forced
            # It is sent, and the server does what it does.
            with pytest.raises(sipmi.MiError) as failed:
                call(force=True)
            assert not isinstance(failed.value, sipmi.RequestRefused)


def fake_call(address: str, **options: Any) -> Any:
    with sipmi.connect(address, timeout=1.0) as mi:
        return mi.call("cache_fetch", "local", "k" * 17_000, **options)


async def fake_call_async(address: str, **options: Any) -> Any:
    async with sipmi.AsyncClient(address, timeout=1.0) as mi:
        return await mi.call("cache_fetch", "local", "k" * 17_000, **options)


@pytest.mark.parametrize(
    ("version", "transport", "command", "args"),
    [
        ("4.0", "fifo", "cache_store", ["local", "k", "v" * 4096]),
        ("4.0", "http", "cache_store", ["local", "k", "v" * 1024]),
        ("4.0", "fifo", "t_uac_dlg", []),
        ("2.4", "fifo", "cache_store", ["local", "k", "v" * 8192]),
        ("2.4", "fifo", "cache_store", ["local", "k", "a\n\n:kill:\n"]),
    ],
)
def test_requests_that_inject_truncate_or_crash_are_never_sent(
    version: str, transport: str, command: str, args: list[str]
) -> None:
    with FakeOpenSIPS(version, hazards=True) as fake, fake.connect(transport) as mi:
        for force in (False, True):
            with pytest.raises(sipmi.RequestRefused) as refused:
                mi.call(command, *args, force=force)
            assert not refused.value.can_be_forced
            assert refused.value.sent is None
        assert mi.call("version")


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"])
def test_times_are_typed_on_every_version(version: str) -> None:
    vienna = datetime.timezone(datetime.timedelta(hours=2))
    with FakeOpenSIPS(version) as fake:
        fake.dialog.add("call@192.0.2.1")
        for transport in ("fifo", "http"):
            with sipmi.connect(fake.address(transport), typed=True, tz=vienna) as mi:
                up = mi.call("uptime")
                assert isinstance(up["Up time"], datetime.timedelta)
                assert up["Now"].tzinfo is vienna
                assert datetime.timedelta() <= up["Now"] - up["Up since"] < datetime.timedelta(minutes=5)
                (dialog,) = mi.call("dlg_list")["Dialogs"]
                begun, ends = dialog["timestart"], dialog["timeout"]
                assert begun.tzinfo is vienna
                assert abs(begun.timestamp() - time.time()) < 300
                assert ends > begun
                assert isinstance(dialog["datestart"], datetime.datetime)
                # The raw value is always there.
                reply = mi.request("uptime", typed=False)
                assert isinstance(reply.value["Now"], str)
                assert b"[sec]" in reply.raw
                assert isinstance(mi.request("uptime").value["Now"], datetime.datetime)


def test_times_are_in_the_zone_of_this_machine_unless_it_is_said() -> None:
    with FakeOpenSIPS("4.0") as fake, fake.connect("udp") as mi:
        now = mi.call("uptime", typed=True)["Now"]
        assert now.tzinfo is not None
        assert abs(now - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=5)
        assert isinstance(mi.call("uptime")["Now"], str)

    async def work() -> Any:
        async with sipmi.AsyncClient(fake.address("udp"), tz="UTC") as mi:
            return await mi.call("uptime", typed=True)

    with FakeOpenSIPS("2.4") as fake:
        assert str(asyncio.run(work())["Now"].tzinfo) == "UTC"


#: Where real servers were asked what they have.
RECORDED = {"3.2": "3.2-core", "3.4": "3.4-fifo", "3.6": "3.6-core", "4.0": "4.0-fifo"}


def which(version: str) -> list[str]:
    """Return the commands that a real server listed."""
    first = (Path(__file__).parents[1] / "wire" / f"{RECORDED[version]}.jsonl").read_text().splitlines()[0]
    pair = json.loads(first)
    assert pair["case"] == "which"
    return [str(name) for name in json.loads(pair["replies"][0])["result"]]


@pytest.mark.parametrize("version", ["3.2", "3.4", "3.6"])
def test_commands_of_recorded_servers_are_found_by_the_names_of_other_versions(version: str) -> None:
    new_names = {_core.flat_command_name(name): name for name in which("4.0")}
    old_names = which(version)
    assert not [name for name in old_names if name not in new_names]

    def is_found(mi: sipmi.Client, name: str) -> bool:
        # No command has such a parameter, so none is run, not even one that would do harm.
        return mi.request(name, no_such_parameter="x", force=True).code not in (-32601, -32001)

    with FakeOpenSIPS(version) as old, old.connect("unix") as mi:
        assert [new_names[name] for name in old_names if not is_found(mi, new_names[name])] == []
    with FakeOpenSIPS("4.0") as new, new.connect("unix") as mi:
        assert [name for name in old_names if not is_found(mi, name)] == []


@pytest.mark.parametrize("version", ["1.11", "2.4"])
def test_commands_of_text_servers_are_found_by_the_names_of_4_0(version: str) -> None:
    with FakeOpenSIPS(version) as fake, fake.connect("udp") as mi:
        for name in (
            "core:uptime",
            "core:ps",
            "core:log_level",
            "usrloc:dump",
            "dialog:list",
            "evi:list",
            "dispatcher:list",
        ):
            assert mi.request(name).ok, name
        assert mi.call("cache:store", "local", "k", "v") == "OK"
        assert mi.call("cache:fetch", "local", "k") == {"key": "k", "value": "v"}
        assert mi.call("statistics:get", ["core:"])
