"""Fleets: many servers asked at once, with one deadline, a quorum, in batches, and what each answered."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pexpect
import pytest
from dnslib import QTYPE as RECORD
from dnslib import RR, SRV
from dnslib.server import BaseResolver, DNSServer

import sipmi
from descriptors import descriptors
from endpoints import PATIENCE
from server_group import ServerGroup
from sipmi.fleet import AsyncFleet, Fleet, FleetError, FleetResult, NodeResult, Unhealthy, _policy
from sipmi.testing import FakeOpenSIPS

VERSIONS = ["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"]


class Billing(ServerGroup):
    """A number of servers. Their commands return the name of the server and record their calls."""

    def __init__(self, count: int) -> None:
        self.called: list[str] = []
        self.broken: set[str] = set()
        self.sick: dict[str, int] = {}
        self.running = self.most_running = 0
        self._lock = threading.Lock()
        self.servers = {f"edge{number}": self._serve(f"edge{number}") for number in range(1, count + 1)}

    def _serve(self, name: str) -> sipmi.Server:
        server = sipmi.Server("billing")

        @server.command
        def whoami() -> dict:
            """Return the name of the server."""
            self.called.append(name)
            if name in self.broken:
                raise sipmi.Fault(404, "Broken")
            return {"name": name}

        @server.command(read_only=True)
        def health() -> int:
            """Fail the first calls."""
            self.called.append(f"{name}?")
            self.sick[name] = self.sick.get(name, 0) - 1
            if self.sick[name] >= 0:
                raise sipmi.Fault(503, "Still loading")
            return 100

        @server.command
        def slow() -> None:
            """Takes a while."""
            with self._lock:
                self.running += 1
                self.most_running = max(self.most_running, self.running)
            time.sleep(0.02)
            with self._lock:
                self.running -= 1

        server.listen("udp:127.0.0.1:0")
        server.start()
        return server


@pytest.fixture
def billing() -> Iterator[Callable[[int], Billing]]:
    started: list[Billing] = []

    def start(count: int) -> Billing:
        started.append(Billing(count))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def silent() -> Iterator[Callable[[], str]]:
    """Yield addresses where no server answers."""
    with contextlib.ExitStack() as sockets:

        def open_one() -> str:
            sock = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            return f"udp:127.0.0.1:{sock.getsockname()[1]}"

        yield open_one


# -- all at once ----------------------------------------------------------------------------------


def test_every_node_gives_its_value_or_its_own_error(billing: Callable[[int], Billing]) -> None:
    servers = billing(3)
    servers.broken = {"edge2"}
    with Fleet({**servers.nodes, "gone": "udp:127.0.0.1:1"}) as fleet:
        result = fleet.call("whoami")
    assert result.ok == {"edge1": {"name": "edge1"}, "edge3": {"name": "edge3"}}
    assert list(result.failed) == ["edge2", "gone"]
    assert isinstance(result.failed["edge2"], sipmi.Fault)
    assert isinstance(result.failed["gone"], sipmi.TransportError)
    assert result["edge1"] == {"name": "edge1"}
    with pytest.raises(sipmi.Fault, match="404 Broken"):
        result["edge2"]
    with pytest.raises(KeyError):
        result["nosuch"]
    assert [(node.name, node.ok) for node in result] == [
        ("edge1", True), ("edge2", False), ("edge3", True), ("gone", False)
    ]  # fmt: skip
    assert all(0 < node.elapsed < PATIENCE for node in result)
    assert (len(result), bool(result), "edge1" in result) == (4, False, True)
    assert repr(result) == "<FleetResult of whoami: 2 ok, 2 failed>"
    edge2 = servers.nodes["edge2"]
    assert f"  edge2: {edge2}: whoami: 404 Broken" in str(result).splitlines()
    with pytest.raises(
        FleetError, match=r"whoami: 2 of 4 nodes succeeded; edge2: .*: 404 Broken, gone: .*connection refused"
    ):
        result.check()


def test_when_all_succeed_the_result_is_true(billing: Callable[[int], Billing]) -> None:
    with Fleet(billing(2).nodes) as fleet:
        result = fleet.call("whoami")
        assert result
        assert result.check() is result
        assert result.map(lambda value: value["name"]).ok == {"edge1": "edge1", "edge2": "edge2"}
        assert list(result.map(lambda value: value["nosuch"]).failed) == ["edge1", "edge2"]


@pytest.mark.parametrize("transport", ["fifo", "udp", "unix", "http"])
def test_a_fleet_of_all_versions_is_asked_over_every_transport(transport: str) -> None:
    with contextlib.ExitStack() as started:
        fakes = {version: started.enter_context(FakeOpenSIPS(version)) for version in VERSIONS}
        fleet = started.enter_context(Fleet({name: fake.address(transport) for name, fake in fakes.items()}))
        result = fleet.call("ps")
        assert result, str(result)
        assert all("Processes" in value for value in result.ok.values())
        readings = fleet.statistics("core:rcv_requests", "nosuch:")
    assert all(value["core:rcv_requests"].unit == "requests" for value in readings.ok.values()), str(readings)
    assert all(value.missing == ("nosuch:",) and value.uptime is not None for value in readings.ok.values())


def test_one_deadline_is_for_all_nodes_together(billing: Callable[[int], Billing], silent: Callable[[], str]) -> None:
    nodes = {**{f"silent{number}": silent() for number in range(5)}, **billing(1).nodes}
    began = time.monotonic()
    with Fleet(nodes, timeout=1.0) as fleet:
        result = fleet.call("whoami")
    assert time.monotonic() - began < 1.0 * 4
    assert list(result.ok) == ["edge1"]
    assert {type(error) for error in result.failed.values()} == {sipmi.CallTimeout}


def test_no_more_nodes_are_asked_at_once_than_was_said(billing: Callable[[int], Billing]) -> None:
    servers = billing(6)
    with Fleet(servers.nodes, concurrency=2) as fleet:
        assert fleet.call("slow")
        assert servers.most_running <= 2
        assert fleet.with_options(concurrency=6).call("slow")


def test_a_node_whose_turn_comes_after_the_deadline_is_not_called(
    billing: Callable[[int], Billing], silent: Callable[[], str]
) -> None:
    servers = billing(1)
    with Fleet({"silent": silent(), **servers.nodes}, concurrency=1, timeout=0.3) as fleet:
        result = fleet.call("whoami")
    assert "not asked: the time was over" in str(result.failed["edge1"])
    assert isinstance(result.failed["edge1"], sipmi.CallTimeout)
    assert servers.called == []


def test_parameters_and_replies_are_those_of_a_client(billing: Callable[[int], Billing]) -> None:
    servers = billing(2)
    servers.broken = {"edge1"}
    with Fleet(servers.nodes) as fleet:
        assert fleet.call("which", command="uptime").ok == {"edge1": [[]], "edge2": [[]]}
        assert fleet.call("which", "uptime", timeout=2.0).ok == {"edge1": [[]], "edge2": [[]]}
        replies = fleet.request("whoami").ok
    assert (replies["edge1"].code, replies["edge2"].value) == (404, {"name": "edge2"})
    assert isinstance(replies["edge1"], sipmi.Reply)


def test_a_fleet_can_be_selected_from_by_name_and_tag_and_shares_connections(billing: Callable[[int], Billing]) -> None:
    nodes = billing(3).nodes
    tagged: dict[str, Any] = {**nodes, "edge3": {"address": nodes["edge3"], "tags": ["eu", "test"], "wire": "jsonrpc"}}
    with Fleet(tagged) as fleet:
        assert fleet.select("edge[12]").names == ("edge1", "edge2")
        assert fleet.select(tag="eu").names == fleet.select(tag=["test", "eu"]).names == ("edge3",)
        assert fleet.select("core*", tag="eu").names == ()
        assert fleet["edge3"] is fleet.select(tag="eu")["edge3"]
        assert fleet["edge3"].call("whoami") == {"name": "edge3"}
        assert not Fleet([]).call("whoami").failed
    assert (list(fleet), len(fleet), "edge1" in fleet) == (["edge1", "edge2", "edge3"], 3, True)
    assert repr(fleet) == "<Fleet of 3 nodes: edge1, edge2, edge3>"
    with pytest.raises(RuntimeError, match="the fleet is closed"):
        fleet.call("whoami")


@pytest.mark.parametrize(
    ("nodes", "options", "why"),
    [
        ({"a": "upd:192.0.2.1:8080"}, {}, "node 'a': .*upd"),
        ({"a": {"addres": "udp:192.0.2.1:8080"}}, {}, "node 'a': expected an address, found None"),
        ({"a": {"address": "udp:192.0.2.1:8080", "wires": "text"}}, {}, "node 'a': unknown option 'wires'"),
        ({"a": {"address": "http://192.0.2.1", "token": {"vault": "x"}}}, {}, "node 'a': expected a secret as"),
        ({"a": {"address": "http://192.0.2.1", "retries": "3"}}, {}, "node 'a': expected retries of type int, got str"),
        ({"a": {"address": "http://192.0.2.1", "auth": ["ann"]}}, {}, r"node 'a': expected auth of type .*, got list"),
        (["udp:192.0.2.1:8080", "udp:192.0.2.1:8080"], {}, "there are two nodes 'udp:192.0.2.1:8080'"),
    ],
)
def test_nodes_that_no_client_can_be_made_of_are_refused_by_name(nodes: Any, options: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Fleet(nodes, **options)


def test_a_secret_that_is_not_there_is_the_error_of_its_node_alone(billing: Callable[[int], Billing]) -> None:
    secret = {"address": "http://127.0.0.1:1/mi", "token": {"env": "SIPMI_NO_SUCH_VARIABLE"}}
    with Fleet({"edge0": secret, **billing(1).nodes}) as fleet:
        result = fleet.call("whoami")
    assert list(result.ok) == ["edge1"]
    assert "SIPMI_NO_SUCH_VARIABLE is not set" in str(result.failed["edge0"])


def test_ctrl_c_ends_a_call() -> None:
    main = threading.main_thread().ident
    assert main is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))

        def interrupt() -> None:
            silent.recv(65536)
            signal.pthread_kill(main, signal.SIGINT)

        asked = threading.Thread(target=interrupt)
        asked.start()
        address = f"udp:127.0.0.1:{silent.getsockname()[1]}"
        with Fleet([address], timeout=30.0) as fleet, pytest.raises(KeyboardInterrupt):
            fleet.call("whoami")
        asked.join()


def test_results_are_tables() -> None:
    nodes = [
        NodeResult("edge1", "udp:192.0.2.1:8080", {"Up": 5, "Now": "x"}, elapsed=0.1),
        NodeResult("edge2", "udp:192.0.2.2:8080", 7, elapsed=0.2),
        NodeResult("edge3", "udp:192.0.2.3:8080", error=sipmi.Fault(404, "Broken"), elapsed=0.3),
    ]
    table = FleetResult("x", nodes, skipped={"edge4": "not asked"}).to_frame()
    assert list(table.index) == ["edge1", "edge2", "edge3", "edge4"]
    assert list(table.columns) == ["Up", "Now", "value", "error", "elapsed"]
    assert table.loc["edge1", "Up"] == 5
    assert table.loc["edge2", "value"] == 7
    assert list(table["error"][2:]) == ["404 Broken", "not asked"]
    assert list(FleetResult("x", []).to_frame().columns) == ["error", "elapsed"]


# -- enough of them -------------------------------------------------------------------------------


@pytest.mark.parametrize(("quorum", "needed"), [(2, 2), (0.5, 2), (0.4, 2), (9, 3)])
def test_a_quorum_is_a_number_or_a_part_of_the_nodes(
    quorum: Any, needed: int, billing: Callable[[int], Billing]
) -> None:
    with Fleet(billing(3).nodes) as fleet:
        result = fleet.with_options(quorum=quorum).call("whoami")
    assert result.needed == needed
    assert result
    assert len(result.ok) >= needed


def test_a_quorum_waits_for_no_others(billing: Callable[[int], Billing], silent: Callable[[], str]) -> None:
    began = time.monotonic()
    with Fleet({"silent": silent(), **billing(2).nodes}, timeout=30.0) as fleet:
        result = fleet.with_options(quorum=2).call("whoami")
        assert time.monotonic() - began < PATIENCE
        assert result
        assert result.skipped == {"silent": "not waited for: the quorum was reached"}
        with pytest.raises(KeyError, match="the quorum was reached"):
            result["silent"]
        gone = {"gone1": "udp:127.0.0.1:1", "gone2": "udp:127.0.0.1:1", "silent": silent()}
        failed = Fleet(gone, timeout=30.0).with_options(quorum=2).call("whoami")
    assert time.monotonic() - began < PATIENCE
    assert not failed
    assert failed.skipped == {"silent": "not waited for: the quorum cannot be reached"}
    assert repr(failed) == "<FleetResult of whoami: 2 failed, 1 skipped, 2 needed>"


# -- one batch after the other --------------------------------------------------------------------


def test_a_rollout_goes_in_batches_and_stops_when_a_node_fails(billing: Callable[[int], Billing]) -> None:
    servers = billing(5)
    servers.broken = {"edge3"}
    with Fleet(servers.nodes) as fleet:
        result = fleet.with_options(batch=2).call("whoami")
        assert result.batches == [["edge1", "edge2"], ["edge3", "edge4"], ["edge5"]]
        assert sorted(servers.called) == ["edge1", "edge2", "edge3", "edge4"]
        assert result.skipped == {"edge5": "not asked: the rollout stopped when edge3 failed"}
        assert not result
        assert not fleet.with_options(batch=0.4, max_failures=1).call("whoami").skipped


def test_a_rollout_waits_until_a_batch_is_healthy(billing: Callable[[int], Billing]) -> None:
    servers = billing(2)
    servers.sick = {"edge1": 1}
    with Fleet(servers.nodes) as fleet:
        result = fleet.with_options(batch=1, check="health", healthy=lambda value: value == 100).call("whoami")
    assert result, str(result)
    assert servers.called == ["edge1", "edge1?", "edge1?", "edge2", "edge2?"]


def test_a_rollout_stops_when_a_node_does_not_become_healthy(billing: Callable[[int], Billing]) -> None:
    servers = billing(2)
    servers.sick = {"edge1": 99}
    with Fleet(servers.nodes) as fleet:
        result = fleet.with_options(batch=1, check="health", check_within=0.2).call("whoami")
        assert isinstance(result.failed["edge1"], Unhealthy)
        assert re.search("not healthy within 0.2 s after whoami: .*: health: 503 Still", str(result.failed["edge1"]))
        assert list(result.skipped) == ["edge2"]
        picky = fleet.with_options(
            batch=2, check=("which", "uptime"), healthy=lambda value: value == [], check_within=0.2
        )
        assert "healthy= says so" in str(picky.call("whoami").failed["edge2"])


def test_a_dry_run_calls_no_server(billing: Callable[[int], Billing]) -> None:
    servers = billing(3)
    with Fleet(servers.nodes) as fleet:
        result = fleet.with_options(batch=2, check="health", dry_run=True).call("whoami")
    assert servers.called == []
    assert result
    assert str(result) == ("FleetResult of whoami: a dry run, 3 nodes in 2 batches\n  1. edge1 edge2\n  2. edge3")
    assert set(result.skipped.values()) == {"not asked: a dry run"}


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"timeout": 0}, "more than 0 seconds"),
        ({"concurrency": 0}, "expected concurrency from 1 to "),
        ({"quorum": 0}, "expected a quorum of nodes"),
        ({"batch": 1.5}, "expected a batch of nodes"),
        ({"batch": 1, "quorum": 1}, "found both"),
        ({"check": "uptime"}, "between batches"),
        ({"batch": 1, "healthy": bool}, "belong to a health check"),
    ],
)
def test_contradictory_options_are_rejected(policy: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Fleet(["udp:192.0.2.1:8080"]).with_options(**policy)


# -- where fleets are written down ----------------------------------------------------------------

TOML = """
timeout = 2.5
batch = 2
check = ["which", "uptime"]

[defaults]
wire = "jsonrpc"

[nodes]
edge1 = "{edge1}"
edge2 = {{ address = "{edge2}", tags = ["eu"] }}
web = {{ address = "http://127.0.0.1:1/mi", auth = ["admin", {{ env = "SIPMI_FLEET_PASSWORD" }}] }}
"""

YAML = """
timeout: 2.5
batch: 2
check: [which, uptime]
defaults: {{wire: jsonrpc}}
nodes:
  edge1: "{edge1}"
  edge2: {{address: "{edge2}", tags: [eu]}}
  web: {{address: "http://127.0.0.1:1/mi", auth: [admin, {{env: SIPMI_FLEET_PASSWORD}}]}}
"""


@pytest.mark.parametrize(("name", "text"), [("f.toml", TOML), ("f.yaml", YAML), ("f.json", "")])
def test_a_file_says_nodes_and_how_they_are_asked(
    name: str, text: str, tmp_path: Path, billing: Callable[[int], Billing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPMI_FLEET_PASSWORD", "s3cret")
    nodes = billing(2).nodes
    if not text:
        web = {"address": "http://127.0.0.1:1/mi", "auth": ["admin", {"env": "SIPMI_FLEET_PASSWORD"}]}
        said = {"edge1": nodes["edge1"], "edge2": {"address": nodes["edge2"], "tags": ["eu"]}, "web": web}
        whole = {"timeout": 2.5, "batch": 2, "check": ["which", "uptime"], "defaults": {"wire": "jsonrpc"}}
        text = json.dumps({**whole, "nodes": said}).replace("{", "{{").replace("}", "}}")
    path = tmp_path / name
    path.write_text(text.format(**nodes))
    with Fleet.from_file(path) as fleet:
        assert fleet.select(tag="eu").names == ("edge2",)
        result = fleet.call("whoami")
    assert result.batches == [["edge1", "edge2"], ["web"]]
    assert list(result.ok) == ["edge1", "edge2"]
    assert fleet.nodes["web"].options["auth"] == ("admin", sipmi.Secret.env("SIPMI_FLEET_PASSWORD"))
    assert "s3cret" not in repr(fleet.nodes)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("f.ini", "", r"f\.ini: expected a file that ends in \.toml"),
        ("f.toml", "timeout = 1", r"f\.toml: expected nodes by name"),
        ("f.toml", "tiemout = 1\n[nodes]", r"f\.toml: there is no setting 'tiemout'"),
        ("f.toml", "timeout = 0\n[nodes]", r"f\.toml: .*expected a timeout of more than 0"),
        ("f.toml", "timeout = 'x'\n[nodes]", r"f\.toml: "),
        ("f.json", '{"nodes": {"a": "x"}}', "node 'a': "),
    ],
)
def test_a_file_that_is_no_fleet_says_why(name: str, text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=why):
        Fleet.from_file(tmp_path / name)


class Zone(BaseResolver):  # type: ignore[misc]
    """SRV records of one name."""

    def __init__(self, records: dict[str, list[SRV]]) -> None:
        self.records = records

    def resolve(self, request: Any, handler: Any) -> Any:
        reply = request.reply()
        name = str(request.q.qname)
        if name not in self.records:
            reply.header.rcode = 3
        for record in self.records.get(name, []):
            reply.add_answer(RR(name, RECORD.SRV, rdata=record, ttl=0))
        return reply


@pytest.fixture
def name_server() -> Iterator[Callable[[dict[str, list[SRV]]], str]]:
    """Starts a real DNS server; gives its address."""
    servers: list[DNSServer] = []

    def start(records: dict[str, list[SRV]]) -> str:
        server = DNSServer(Zone(records), address="127.0.0.1", port=0)
        servers.append(server)
        server.start_thread()
        return f"127.0.0.1:{server.server.server_address[1]}"

    yield start
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


def test_a_fleet_is_found_by_the_srv_records_of_a_name(
    name_server: Callable[[dict[str, list[SRV]]], str], billing: Callable[[int], Billing]
) -> None:
    ports = [int(address.rpartition(":")[2]) for address in billing(2).nodes.values()]
    at = name_server({
        "_mi._udp.example.org.": [SRV(20, 0, ports[1], "localhost."), SRV(10, 5, ports[0], "localhost.")],
        "_mi._tcp.example.org.": [SRV(0, 0, 8888, "edge1.example.org.")],
        "_none._udp.example.org.": [SRV(0, 0, 0, ".")],
        "_empty._udp.example.org.": [],
    })  # fmt: skip
    with Fleet.from_srv("_mi._udp.example.org", nameserver=at) as fleet:
        assert fleet.names == (f"localhost:{ports[0]}", f"localhost:{ports[1]}")
        assert [value["name"] for value in fleet.call("whoami").ok.values()] == ["edge1", "edge2"]
    web = Fleet.from_srv("_mi._tcp.example.org", nameserver=at)
    assert web.nodes["edge1.example.org:8888"].address == "http://edge1.example.org:8888/mi"
    udp = Fleet.from_srv("_mi._tcp.example.org", nameserver=at, address="udp:{host}:{port}", wire="text")
    assert udp.nodes["edge1.example.org:8888"].address == "udp:edge1.example.org:8888"
    for name, why in [("_none", "no such service"), ("_empty", "no SRV records"), ("_nosuch", "there is no name")]:
        with pytest.raises(LookupError, match=why):
            Fleet.from_srv(f"{name}._udp.example.org", nameserver=at)
    with pytest.raises(ValueError, match="expected a name as _mi"):
        Fleet.from_srv("example.org", nameserver=at)
    with pytest.raises(ValueError, match="expected a name server as host or host:port"):
        Fleet.from_srv("_mi._udp.example.org", nameserver="127.0.0.1:dns")


def test_a_name_server_that_does_not_answer_is_an_error_in_time(silent: Callable[[], str]) -> None:
    with pytest.raises(OSError, match="were not found"):
        Fleet.from_srv("_mi._udp.example.org", nameserver=silent().removeprefix("udp:"), timeout=0.3)


# -- on an event loop -----------------------------------------------------------------------------


def test_a_fleet_can_be_awaited(billing: Callable[[int], Billing]) -> None:
    servers = billing(3)
    servers.broken = {"edge2"}

    async def ask() -> tuple[FleetResult, ...]:
        async with AsyncFleet(servers.nodes) as fleet:
            return (
                *await asyncio.gather(fleet.call("whoami"), fleet.request("whoami")),
                await fleet.statistics("mi_datagram:"),
                await fleet.with_options(batch=1, pause=0.01).call("whoami"),
            )

    called, requested, counted, rolled = asyncio.run(ask())
    assert list(called.ok) == ["edge1", "edge3"]
    assert requested.ok["edge2"].code == 404
    assert all(value["mi_datagram:requests"] > 0 for value in counted.ok.values())
    assert list(rolled.skipped) == ["edge3"]


def test_a_call_that_is_cancelled_gives_up_all_nodes(silent: Callable[[], str]) -> None:
    async def ask() -> set[tuple[str, str]]:
        async with AsyncFleet([silent() for _ in range(20)], timeout=30.0) as fleet:
            await asyncio.wait([asyncio.ensure_future(fleet.select("nothing").call("whoami"))])
            before = descriptors()
            task = asyncio.ensure_future(fleet.call("whoami"))
            while len(descriptors() - before) < 20:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return descriptors() - before

    assert asyncio.run(asyncio.wait_for(ask(), 2 * PATIENCE)) == set()


def test_a_blocking_call_may_be_made_where_a_loop_is_running(billing: Callable[[int], Billing]) -> None:
    servers = billing(2)

    async def ask() -> FleetResult:
        with Fleet(servers.nodes) as fleet:
            return fleet.call("whoami")

    assert asyncio.run(ask())


# -- how far it is --------------------------------------------------------------------------------


def test_progress_is_told_node_by_node(billing: Callable[[int], Billing]) -> None:
    told: list[tuple[int, int, str]] = []
    with Fleet(billing(3).nodes, progress=lambda done, total, last: told.append((done, total, last.name))) as fleet:
        fleet.call("whoami")
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert sorted(name for *_, name in told) == ["edge1", "edge2", "edge3"]


WATCHED = """
import sys
import sipmi
server = sipmi.Server("billing")
server.listen("udp:127.0.0.1:0")
with server:
    nodes = {"edge1": server.addresses[0], "edge2": server.addresses[0], "gone": "udp:127.0.0.1:1"}
    result = sipmi.Fleet(nodes, progress=True).with_options(batch=1, max_failures=9, pause=0.15).call("uptime")
print("END", repr(result))
"""


def test_on_a_terminal_progress_is_a_bar() -> None:
    child = pexpect.spawn(sys.executable, ["-c", WATCHED], encoding="utf-8", timeout=4 * PATIENCE)
    child.expect("END.*2 ok, 1 failed")
    assert re.search(r"uptime \[#{10}\.{20}\] 1 of 3 nodes", child.before), child.before
    assert re.search(r"uptime \[#{30}\] 3 of 3 nodes, 1 failed", child.before), child.before
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_progress_writes_no_output_without_a_terminal() -> None:
    ended = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, timeout=8 * PATIENCE)
    assert (ended.returncode, ended.stderr) == (0, "")


# -- a thousand of them ---------------------------------------------------------------------------

MANY = """
import sys, sipmi
server = sipmi.Server("edge")
for _ in range(int(sys.argv[1])):
    server.listen("udp:127.0.0.1:0")
server.start()
print(" ".join(server.addresses), flush=True)
sys.stdin.read()
"""

ASK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
import sipmi, os
addresses = sys.stdin.read().split()
with sipmi.Fleet(addresses, timeout=30.0) as fleet:
    for _ in range(2):
        result = fleet.call("uptime")
        print(len(result.ok), len(result.failed), len(os.listdir("/proc/self/fd")) < 900, flush=True)
        for error in list(result.failed.values())[:3]:
            print(error, file=sys.stderr)
"""


@contextlib.contextmanager
def many(count: int) -> Iterator[list[str]]:
    """Yield the addresses of `count` endpoints in a process of their own."""
    command = [sys.executable, "-c", MANY, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()
        finally:
            process.kill()


def test_a_thousand_nodes_answer_in_one_call_within_1024_file_descriptors() -> None:
    with many(500) as first, many(500) as second:
        addresses = [*first, *second]
        assert len(set(addresses)) == 1000
        asked = subprocess.run(
            [sys.executable, "-c", ASK], input=" ".join(addresses), capture_output=True, text=True, timeout=50
        )
    assert asked.stdout.splitlines() == ["1000 0 True"] * 2, asked.stderr


CROWDED = """
import resource, sys
import sipmi.fleet._round
addresses = sys.stdin.read().split()
with sipmi.Fleet(addresses, timeout=30.0) as fleet:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    # As if others took what there was after it had looked.
    sipmi.fleet._round._room = lambda: 10_000
    result = fleet.call("uptime")
    print(result)
"""


def test_nodes_for_which_there_was_no_file_descriptor_have_their_turn_later() -> None:
    with many(200) as addresses:
        asked = subprocess.run(
            [sys.executable, "-c", CROWDED], input=" ".join(addresses), capture_output=True, text=True, timeout=50
        )
    assert (asked.stdout, asked.stderr) == ("FleetResult of uptime: 200 ok\n", "")


def test_the_examples_of_the_page_about_fleets_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
    names: dict[str, Any] = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(snippet, names)
    promised = re.findall(r"print\(.*\)  # (.*)", page)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [
        "FleetResult of get_statistics: 2 ok, 1 failed",
        "  gone: [Errno 111] udp:127.0.0.1:1: get_statistics: connection refused",
    ]
    assert printed[2:] == promised


def test_the_file_of_the_page_about_fleets_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "fleet.toml").write_text(text)
    fleet = Fleet.from_file(tmp_path / "fleet.toml")
    assert fleet.select("edge*", tag="eu").names == ("edge2",)
    assert fleet.nodes["edge1"].options["token"] == sipmi.Secret.env("SIPMI_TOKEN")


def test_the_options_of_a_policy_are_its_fields() -> None:
    fields = {field.name for field in dataclasses.fields(_policy.Policy)}
    assert fields == set(_policy.PolicyOptions.__annotations__)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fleet("udp:192.0.2.1:8080"), r"^Fleet\(\): expected addresses .*, got the str 'udp:192.0.2.1:8080'$"),
        (lambda: Fleet([], wrie="text"), r"^Fleet\(\): unknown option 'wrie' \(did you mean 'wire'\?\)$"),
        (lambda: Fleet([], retries="3"), r"^Fleet\(\): expected retries of type int, got str$"),
        (
            lambda: Fleet([]).with_options(batc=3),
            r"^with_options\(\): unknown option 'batc' \(did you mean 'batch'\?\)$",
        ),
        (lambda: Fleet([]).with_options(batch="3"), r"^with_options\(\): expected batch of type int or float or None"),
    ],
)
def test_a_fleet_names_an_unknown_or_wrongly_typed_option(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_a_node_takes_user_and_password_in_one_string() -> None:
    server = sipmi.Server("billing")
    server.listen("http://127.0.0.1:0", auth={"ann": "secret"})
    with server, Fleet({"a": {"address": server.addresses[0], "auth": "ann:secret"}}) as fleet:
        assert fleet.call("which", "uptime").ok == {"a": [[]]}
