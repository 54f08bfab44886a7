"""Calls as a Python programmer writes them: names as a mapping, any parameter name, errors that say where and what."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import pytest

import sipmi
from sipmi.errors import MiError
from sipmi.events import EventOptions, Listener, Receiver
from sipmi.testing import FakeOpenSIPS


@pytest.fixture
def server() -> Iterator[sipmi.Server]:
    server = sipmi.Server("billing", version="1.4")

    @server.command(read_only=True)
    def sub_add(**said: Any) -> dict[str, Any]:
        return said

    @server.command
    def refuse() -> None:
        raise sipmi.Fault(404, "No such subscriber", {"user": "alice"})

    for address in ("udp:127.0.0.1:0", "http://127.0.0.1:0"):
        server.listen(address)
    with server:
        yield server


def test_commands_are_a_mapping_of_names(server: sipmi.Server) -> None:
    with sipmi.connect(server.addresses[0], timeout=5) as mi:
        assert isinstance(mi.cmd, Mapping)
        names = list(mi.cmd)
        assert len(mi.cmd) == len(names) == len(set(names))
        assert {"sub_add", "uptime"} <= set(names)
        assert "sub_add" in mi.cmd
        assert "sub_ad" not in mi.cmd
        assert dict(mi.cmd)["sub_add"](user="alice") == {"user": "alice"}
        server.command(lambda: 1, name="later")
        assert "later" in mi.cmd
        for wrong in (5, None, b"uptime"):
            with pytest.raises(TypeError, match="expected the name of a command, got"):
                mi.cmd[wrong]  # type: ignore[index]
            with pytest.raises(TypeError, match="expected the name of a command, got"):
                assert wrong in mi.cmd
        one = mi.cmd
        assert {one: 1}[one] == 1
    with pytest.raises(MiError):
        list(sipmi.connect("udp:127.0.0.1:1", timeout=0.2).cmd)


def test_names_of_older_versions_are_among_the_commands_of_a_4_0_server() -> None:
    with FakeOpenSIPS("4.0") as opensips, opensips.connect() as mi:
        assert "usrloc:dump" in mi.cmd
        assert "ul_dump" in mi.cmd
        assert "ul_dumps" not in mi.cmd


def test_parameters_may_be_called_as_options_of_a_call(server: sipmi.Server) -> None:
    said = {"timeout": 7, "force": "yes", "typed": "no", "params": [1], "command": "c"}
    expected = {"user": "alice", **said}

    async def awaited() -> list[Any]:
        async with sipmi.AsyncClient(server.addresses[0]) as mi, sipmi.AsyncFleet({"a": server.addresses[0]}) as fleet:
            return [
                await mi.call("sub_add", user="alice", params=said),
                (await mi.request("sub_add", user="alice", params=said)).value,
                (await fleet.call("sub_add", user="alice", params=said)).ok["a"],
            ]

    with sipmi.connect(server.addresses[0], timeout=5) as mi, sipmi.Fleet({"a": server.addresses[0]}) as fleet:
        values = [
            mi.call("sub_add", user="alice", params=said),
            mi.request("sub_add", user="alice", params=said).value,
            mi.cmd.sub_add(user="alice", params=said),
            fleet.call("sub_add", user="alice", params=said).ok["a"],
            fleet.request("sub_add", user="alice", params=said).ok["a"].value,
            *asyncio.run(awaited()),
        ]
        assert values == [expected] * len(values)
        # A list is the parameter of this name, which raise_event of 3.2 and later has.
        assert mi.call("sub_add", params=["a", "b"]) == {"params": ["a", "b"]}
        with pytest.raises(TypeError, match="expected each parameter once, got user as keyword and in params"):
            mi.call("sub_add", user="alice", params={"user": "bob"})


def test_a_fault_names_address_and_command(server: sipmi.Server) -> None:
    for address in server.addresses:
        with sipmi.connect(address, timeout=5) as mi, pytest.raises(sipmi.Fault) as caught:
            mi.call("refuse")
        fault = caught.value
        assert str(fault) == f"{address}: refuse: 404 No such subscriber"
        assert (fault.code, fault.message, fault.data) == (404, "No such subscriber", {"user": "alice"})
        assert str(pickle.loads(pickle.dumps(fault))) == str(fault)
    assert str(sipmi.Fault(404, "No such subscriber")) == "404 No such subscriber"


def test_an_unknown_command_is_answered_with_the_nearest(server: sipmi.Server) -> None:
    address = server.addresses[0]

    def unknown(mi: sipmi.Client, command: str) -> sipmi.MethodNotFound:
        with pytest.raises(sipmi.MethodNotFound) as caught:
            mi.call(command)
        return caught.value

    async def awaited() -> sipmi.MethodNotFound:
        async with sipmi.AsyncClient(address) as mi:
            await mi.commands()
            with pytest.raises(sipmi.MethodNotFound) as caught:
                await mi.call("sub_ad")
            return caught.value

    with sipmi.connect(address, timeout=5) as mi:
        # Without a question more, only the commands of OpenSIPS are known.
        assert str(unknown(mi, "get_statistic")).endswith(" (did you mean get_statistics?)")
        assert unknown(mi, "sub_ad").nearest is None
        list(mi.cmd)
        for error in (unknown(mi, "sub_ad"), asyncio.run(awaited())):
            assert str(error) == f"{address}: sub_ad: -32601 Method not found (did you mean sub_add?)"
            assert (error.code, error.message, error.nearest) == (-32601, "Method not found", "sub_add")
        # It is a command of OpenSIPS, which this server lacks.
        assert unknown(sipmi.connect(address, timeout=5), "ul_dump").nearest is None


@pytest.mark.parametrize("version", ["2.4", "4.0"])
def test_both_clients_tell_the_facts_of_a_server(version: str) -> None:
    with FakeOpenSIPS(version) as opensips, opensips.connect() as mi:
        address = mi.address

        async def awaited() -> sipmi.ServerInfo:
            async with sipmi.AsyncClient(address) as awaited:
                return await awaited.server_info()

        info = mi.server_info()
        assert info == (mi.generation, mi.version, mi.wire) == asyncio.run(awaited())
        assert (info.generation, info.wire) == (f"{version[0]}.x", "text" if version == "2.4" else "jsonrpc")


def test_events_drop_the_oldest_by_default_at_every_entry_point(server: sipmi.Server) -> None:
    mi = sipmi.connect(server.addresses[0])
    made: list[Callable[..., Any]] = [
        lambda **options: mi.events("E_X", **options),
        lambda **options: sipmi.AsyncClient(server.addresses[0]).events("E_X", **options),
        lambda **options: sipmi.events.listen(mi, "E_X", **options),
        lambda **options: Listener(mi, ("E_X",), **options),
        lambda **options: Receiver("udp:127.0.0.1:0", **options),
    ]
    waits: EventOptions = {"overflow": "wait"}
    assert [make()._inbox.drops for make in made] == [True] * len(made)
    assert [make(**waits)._inbox.drops for make in made] == [False] * len(made)


_FAILING = """
import asyncio
import sipmi

def test_value(address="{address}"):
    with sipmi.connect(address) as mi:
        mi.request("refuse").value  # line of the caller

def test_call(address="{address}"):
    with sipmi.connect(address) as mi:
        mi.cmd.refuse()  # line of the caller

def test_statistics(address="{address}"):
    with sipmi.connect(address) as mi:
        mi.statistics("nosuch:")  # line of the caller

def test_awaited(address="{address}"):
    async def ask():
        async with sipmi.AsyncClient(address) as mi:
            await mi.call("refuse")  # line of the caller
    asyncio.run(ask())
"""


def test_a_failing_call_shows_the_line_of_the_test(server: sipmi.Server, tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(_FAILING.replace("{address}", server.addresses[0]))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert "4 failed" in done.stdout
    shown = [line for line in done.stdout.splitlines() if line.startswith(">")]
    assert sum("# line of the caller" in line for line in shown) == 4, done.stdout
    frames = [line for line in done.stdout.splitlines() if ".py:" in line and "sipmi" in line.split(".py:")[0]]
    assert [line for line in frames if "python/sipmi/" in line or "site-packages/sipmi/" in line] == []
