"""Fleets asked from other processes: what travels, and what happens when a worker dies."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import distributed
import pytest

import sipmi
from endpoints import PATIENCE
from server_group import ServerGroup
from sipmi.fleet import Fleet, FleetError

#: Starting processes and connecting them takes longer than any call.
LONG = 6 * PATIENCE


class Nodes(ServerGroup):
    """Servers whose command waits for an event, and that count their calls."""

    def __init__(self, count: int) -> None:
        self.called: dict[str, int] = {}
        self.first_called, self.half_called = threading.Event(), threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self._lock = threading.Lock()
        self.servers = {f"edge{number}": self._serve(f"edge{number}") for number in range(count)}

    def _serve(self, name: str) -> sipmi.Server:
        server = sipmi.Server("billing")

        def count() -> str:
            with self._lock:
                self.called[name] = self.called.get(name, 0) + 1
                if 2 * len(self.called) >= len(self.servers):
                    self.half_called.set()
            self.first_called.set()
            self.go_on.wait(LONG)
            return name

        server.command(name="write", read_only=False)(count)
        # Clients know this name as that of a command that changes nothing.
        server.command(name="ul_dump", read_only=True)(count)
        server.listen("udp:127.0.0.1:0")
        server.start()
        return server

    def reset(self) -> None:
        self.called.clear()
        self.first_called.clear()
        self.half_called.clear()

    def stop(self) -> None:
        self.go_on.set()
        super().stop()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    started = Nodes(8)
    yield started
    started.stop()


def process_pool() -> ProcessPoolExecutor:
    # A fork of a process with threads is not safe.
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(3), process_pool], ids=["threads", "processes"])
def test_the_workers_of_an_executor_ask_groups_of_nodes(make: Any, nodes: Nodes) -> None:
    everyone = {**nodes.nodes, "gone": "udp:127.0.0.1:1"}

    async def awaited() -> Any:
        async with sipmi.AsyncFleet(everyone, executor=executor, timeout=LONG) as fleet:
            return await fleet.call("write")

    with make() as executor, Fleet(everyone, executor=executor, timeout=LONG) as fleet:
        results = [fleet.call("write"), asyncio.run(awaited())]
        rolled = fleet.with_options(batch=4, max_failures=1).call("write")
        counted = fleet.statistics("mi_datagram:requests")
        with pytest.raises(TypeError, match="a fleet with an executor has call"):
            fleet.request("write")
    for result in [*results, rolled]:
        assert result.ok == {name: name for name in nodes.nodes}, str(result)
        assert isinstance(result.failed["gone"], sipmi.TransportError)
        assert result.failed["gone"].address == "udp:127.0.0.1:1"
    assert all(reading["mi_datagram:requests"] >= 3 for reading in counted.ok.values())
    assert set(nodes.called.values()) == {3}


def test_an_object_without_submit_is_no_executor() -> None:
    with pytest.raises(TypeError, match=r"expected a concurrent\.futures\.Executor or a dask\.distributed\.Client"):
        Fleet(["udp:192.0.2.1:8080"], executor=42)


def test_when_a_worker_of_a_pool_dies_its_nodes_have_an_error_that_says_so(nodes: Nodes) -> None:
    nodes.go_on.clear()
    with process_pool() as executor, ThreadPoolExecutor(1) as aside:
        called = aside.submit(Fleet(nodes.nodes, executor=executor, timeout=LONG).call, "write")
        assert nodes.first_called.wait(LONG)
        victim = next(iter(executor._processes.values())).pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        result = called.result(LONG)
    assert not result.ok
    assert all("its worker failed: BrokenProcessPool" in str(error) for error in result.failed.values())
    assert all(isinstance(error, sipmi.TransportError) for error in result.failed.values())


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.Client]:
    """Two real worker processes of dask."""
    local = {"host": "127.0.0.1", "dashboard_address": None}
    made = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **local)
    with made as started, distributed.Client(started) as client:
        yield client


@pytest.mark.timeout(120)
def test_dask_workers_call_servers_and_reads_are_retried_when_a_worker_is_killed(
    cluster: distributed.Client, nodes: Nodes
) -> None:
    with Fleet(nodes.nodes, executor=cluster, timeout=LONG) as fleet:
        assert fleet.call("write").ok == {name: name for name in nodes.nodes}
        for command, survives in [("ul_dump", True), ("write", False)]:
            cluster.wait_for_workers(2, timeout=LONG)
            nodes.reset()
            nodes.go_on.clear()
            with ThreadPoolExecutor(1) as aside:
                called = aside.submit(fleet.call, command)
                # Each of the two workers asks one of four groups.
                assert nodes.half_called.wait(LONG)
                kill_a_worker(cluster)
                nodes.go_on.set()
                result = called.result(LONG)
            if survives:
                assert result.ok == {name: name for name in nodes.nodes}, str(result)
                assert max(nodes.called.values()) > 1
            else:
                # At most once: what may have run is an error, and what had not begun went to another worker.
                assert set(nodes.called.values()) <= {1}
                assert len(result.failed) == 2, str(result)
                assert all("the worker that asked it died" in str(error) for error in result.failed.values())


def kill_a_worker(cluster: distributed.Client) -> None:
    """As the kernel does when memory is short."""
    os.kill(next(iter(cluster.run(os.getpid, nanny=False).values())), signal.SIGKILL)


# -- what travels ---------------------------------------------------------------------------------


def test_a_client_travels_as_its_address_and_options() -> None:
    server = sipmi.Server("billing")
    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0], timeout=2.5, wire="jsonrpc") as mi:
        mi.call("which")
        for again in (pickle.loads(pickle.dumps(mi)), copy.copy(mi)):
            with again:
                assert (again.address, again.timeout, again.wire) == (mi.address, 2.5, "jsonrpc")
                assert again.call("which", "uptime") == [[]]
        assert isinstance(pickle.loads(pickle.dumps(sipmi.AsyncClient(mi.address))), sipmi.AsyncClient)


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("http://127.0.0.1:1/mi", {"token": "s3cret"}),
        ("http://127.0.0.1:1/mi", {"auth": ("admin", "s3cret")}),
        ("http://admin:s3cret@127.0.0.1:1/mi", {}),
    ],
)
def test_a_secret_in_clear_does_not_travel(address: str, options: dict[str, Any]) -> None:
    with process_pool() as executor:
        for attempt in (
            lambda: pickle.dumps(sipmi.connect(address, **options)),
            lambda: pickle.dumps(Fleet({"edge1": address}, **options)),
            lambda: Fleet({"edge1": address}, executor=executor, **options),
        ):
            with pytest.raises(TypeError, match=r"cannot be pickled: .*name it instead: sipmi\.Secret") as refused:
                attempt()
            assert "s3cret" not in str(refused.value)


def test_a_secret_by_reference_is_read_where_it_is_used(monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    path = os.path.join(directory, "token")
    with open(path, "w") as file:
        file.write("s3cret\n")
    monkeypatch.setenv("SIPMI_FLEET_TOKEN", "s3cret")
    secrets = [sipmi.Secret.env("SIPMI_FLEET_TOKEN"), sipmi.Secret.file(path)]
    server = sipmi.Server("billing")
    server.listen("http://127.0.0.1:0", token="s3cret")
    with server, contextlib.ExitStack() as opened:
        for secret in secrets:
            mi = opened.enter_context(sipmi.connect(server.addresses[0], token=secret))
            carried = pickle.dumps(mi)
            assert b"s3cret" not in carried
            assert opened.enter_context(pickle.loads(carried)).call("which", "uptime") == [[]]
        nodes = {
            f"edge{number}": {"address": server.addresses[0], "token": secret} for number, secret in enumerate(secrets)
        }
        executor = opened.enter_context(process_pool())
        fleet = opened.enter_context(Fleet(nodes, executor=executor, timeout=LONG))
        assert b"s3cret" not in pickle.dumps(fleet)
        assert fleet.call("which", "uptime").check()
        assert opened.enter_context(pickle.loads(pickle.dumps(fleet))).call("which", "uptime").check()


def test_results_and_errors_can_be_pickled() -> None:
    with Fleet({"gone": "udp:127.0.0.1:1"}) as fleet:
        result = pickle.loads(pickle.dumps(fleet.call("uptime")))
    error = result.failed["gone"]
    assert isinstance(error, sipmi.TransportError)
    assert (error.address, error.command) == ("udp:127.0.0.1:1", "uptime")
    again = pickle.loads(pickle.dumps(FleetError(result)))
    assert list(again.result.failed) == ["gone"]
