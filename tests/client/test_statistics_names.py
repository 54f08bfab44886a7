"""`group:name` is our own form of a statistic: real servers know `group:`, a bare name and `all`, and nothing else.

The scripted servers answer as OpenSIPS 1.11.11, 2.4.11, 4.0.1 and master do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import sipmi
from rogue import RogueDatagram
from sipmi.testing import FakeOpenSIPS

#: As `get_statistics all` lists them. Two groups have a statistic of the same name: the first one is found by it.
STATISTICS = {
    "shmem:total_size": 134217728,
    "core:rcv_requests": 7,
    "core:rcv_replies": 2,
    "core:timestamp": 390,
    "load:load": 3,
    "dialog:create_sent": 1,
    "presence:create_sent": 5,
}
VERSIONS = ["1.11", "2.4", "4.0"]


def found(selectors: list[str]) -> Iterator[tuple[str, int]]:
    """The pairs of a reply, in its order."""
    for selector in selectors:
        if selector.endswith(":"):
            yield from ((name, value) for name, value in STATISTICS.items() if name.startswith(selector))
        elif selector == "all":
            yield from STATISTICS.items()
        else:
            yield from [(name, value) for name, value in STATISTICS.items() if name.endswith(f":{selector}")][:1]


class Real(RogueDatagram):
    """A server that answers `version` and `get_statistics` byte for byte as a real one does."""

    def __init__(self, version: str) -> None:
        super().__init__(lambda request: [self.reply(request)])
        self.version = version
        self.asked: list[list[str]] = []
        self.end = b"" if version == "1.11" else b"\n"

    def reply(self, request: bytes) -> bytes:
        if self.version == "4.0":
            return self.json(json.loads(request))
        if request.startswith(b"{"):
            return b"500 command not available\n"
        command, *params = request.decode().splitlines()
        if command == ":version:":
            return f"200 OK\nServer:: OpenSIPS ({self.version}.11 (x86_64/linux))\n".encode() + self.end
        if command != ":get_statistics:":
            return b"500 command not available\n"
        self.asked.append(params)
        lines = "".join(f"{name}:: {value}\n" for name, value in found(params))
        return (b"200 OK\n" + lines.encode() if lines else b"404 Statistics Not Found\n") + self.end

    def json(self, request: dict[str, Any]) -> bytes:
        result: Any = {"Server": "OpenSIPS (4.0.1 (x86_64/linux))"}
        if request["method"] == "get_statistics":
            params = request["params"]
            self.asked.append(params[0] if isinstance(params, list) else params["statistics"])
            result = dict(found(self.asked[-1]))
        return json.dumps({"jsonrpc": "2.0", "result": result, "id": request["id"]}).encode()


@pytest.fixture(params=VERSIONS)
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    with Real(request.param) as server:
        yield server


def sipmi_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sipmi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_statistic_is_asked_for_by_its_name_and_found_by_its_key(real: Real) -> None:
    with sipmi.connect(real.address) as mi:
        reading = mi.statistics("core:rcv_requests", "load:")
    assert dict(reading) == {"core:rcv_requests": 7, "load:load": 3}
    assert (reading.missing, reading.uptime) == ((), 390)
    assert real.asked == [["rcv_requests", "load:", "timestamp"]]


def test_a_name_that_another_group_has_too_is_asked_for_by_its_group(real: Real) -> None:
    with sipmi.connect(real.address) as mi:
        assert [dict(mi.statistics("presence:create_sent")) for _ in range(2)] == [{"presence:create_sent": 5}] * 2
    assert real.asked == [["create_sent", "timestamp"], ["presence:", "timestamp"], ["presence:", "timestamp"]]


def test_statistics_that_are_not_there_are_listed_or_an_error_if_nothing_is_there(real: Real) -> None:
    with sipmi.connect(real.address) as mi:
        assert mi.statistics("core:rcv_requests", "core:nosuch", "nosuch").missing == ("core:nosuch", "nosuch")
        for selectors in (["core:nosuch"], ["nosuch:"], ["nosuch", "core:nosuch"]):
            with pytest.raises(sipmi.StatisticNotFound) as caught:
                mi.statistics(selectors)
            assert str(caught.value) == (
                f"{real.address}: get_statistics: 404 Statistics Not Found: {', '.join(selectors)}"
            )
            assert (caught.value.code, caught.value.address, caught.value.command) == (
                404,
                real.address,
                "get_statistics",
            )


def test_a_call_is_sent_as_it_is(real: Real) -> None:
    with sipmi.connect(real.address) as mi:
        if real.version == "4.0":
            assert mi.call("get_statistics", ["core:rcv_requests"]) == {}
        else:
            reply = mi.request("get_statistics", ["core:rcv_requests"])
            assert (reply.code, reply.reason) == (404, "Statistics Not Found")
    assert real.asked == [["core:rcv_requests"]]


def test_a_watch_of_a_statistic_gives_it_and_one_of_nothing_ends_with_an_error(real: Real) -> None:
    async def first(selector: str) -> dict[str, int]:
        async with sipmi.AsyncClient(real.address) as mi:
            async for sample in mi.watch([selector], count=1):
                return dict(sample)
        return {}

    with sipmi.connect(real.address) as mi:
        assert [dict(sample) for sample in mi.watch(["core:rcv_requests"], count=1)] == [{"core:rcv_requests": 7}]
        with pytest.raises(sipmi.StatisticNotFound):
            next(iter(mi.watch(["core:nosuch"])))
    assert asyncio.run(first("core:rcv_requests")) == {"core:rcv_requests": 7}
    with pytest.raises(sipmi.StatisticNotFound):
        asyncio.run(first("core:nosuch"))


def test_statistics_that_were_there_before_are_a_gap_of_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    with Real("4.0") as server, sipmi.connect(server.address) as mi:
        samples = iter(mi.watch(["dialog:create_sent"]))
        assert dict(next(samples)) == {"dialog:create_sent": 1}
        with monkeypatch.context() as changed:
            changed.delitem(STATISTICS, "dialog:create_sent")
            gap = next(samples)
        assert isinstance(gap.error, sipmi.StatisticNotFound)
        assert dict(next(samples)) == {"dialog:create_sent": 1}


def test_a_fleet_reads_statistics_of_every_version_in_one_round() -> None:
    with Real("1.11") as old, Real("2.4") as middle, Real("4.0") as new:
        nodes = {"old": old.address, "middle": middle.address, "new": new.address}
        with sipmi.Fleet(nodes) as fleet:
            result = fleet.statistics("presence:create_sent", "core:rcv_requests")
            wanted = {"core:rcv_requests": 7, "presence:create_sent": 5}
            assert {name: dict(value) for name, value in result.ok.items()} == dict.fromkeys(nodes, wanted)
            nothing = fleet.statistics("core:nosuch")
        assert {type(error) for error in nothing.failed.values()} == {sipmi.StatisticNotFound}
        assert old.asked[0] == middle.asked[0] == new.asked[0] == ["presence:", "core:"]


@pytest.mark.parametrize("of_a_fleet", [False, True])
def test_the_exporter_shows_the_server_as_up_and_warns_once_of_a_statistic_that_is_not_there(
    real: Real, of_a_fleet: bool, caplog: pytest.LogCaptureFixture
) -> None:
    from prometheus_client import CollectorRegistry

    from sipmi import exporter

    mi: Any = sipmi.Fleet({"edge1": real.address}) if of_a_fleet else sipmi.connect(real.address)
    labels = {"node": "edge1"} if of_a_fleet else {}
    with mi, caplog.at_level(logging.WARNING, "sipmi.exporter"):
        registry = CollectorRegistry()
        registry.register(exporter.Collector(mi, "core:rcv_requests", "core:nosuch"))
        assert registry.get_sample_value("opensips_core_rcv_requests_total", labels) == 7
        registry = CollectorRegistry()
        registry.register(exporter.Collector(mi, "core:nosuch"))
        assert registry.get_sample_value("opensips_up", labels) == 1
    told = f"{real.address}: get_statistics: no such statistics: core:nosuch"
    assert [record.getMessage() for record in caplog.records] == [told, told]


def test_watch_and_top_say_which_statistic_is_not_there(real: Real) -> None:
    for command in (["watch", real.address], ["top", real.address, "--only", "core:rcv_requests", "--only"]):
        done = sipmi_command(
            *command, *(["core:rcv_requests"] * (command[0] == "watch")), "core:nosuch", "--count", "1"
        )
        assert done.returncode == 0
        assert "core:rcv_requests" in done.stdout
        assert done.stderr == f"sipmi: {real.address}: get_statistics: no such statistics: core:nosuch\n"
    done = sipmi_command("watch", real.address, "core:nosuch")
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error == f"sipmi: {real.address}: get_statistics: 404 Statistics Not Found: core:nosuch"
    assert hint.endswith("get_statistics all")


# -- servers of ours ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"])
@pytest.mark.parametrize("fake", [True, False])
def test_servers_that_answer_as_opensips_know_no_statistic_by_group_and_name(version: str, fake: bool) -> None:
    server: Any
    if fake:
        server = FakeOpenSIPS(version, transports=["udp"])
    else:
        server = sipmi.Server("opensips", emulate=version)
        server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        by_key = mi.request("get_statistics", ["core:rcv_requests"])
        if version in ("1.11", "2.4"):
            assert (by_key.code, by_key.reason) == (404, "Statistics Not Found")
        else:
            assert by_key.value == {}
        assert list(mi.call("get_statistics", ["rcv_requests"])) == ["core:rcv_requests"]
        assert mi.request("reset_statistics", ["core:rcv_requests"]).code == 404
        assert mi.call("reset_statistics", ["rcv_requests"]) == "OK"
        if version == "1.11":
            return
        assert mi.call("list_statistics", ["rcv_requests"]) == {"rcv_requests": "incremental"}
        assert mi.call("list_statistics", ["core:"])["core:rcv_requests"] == "incremental"
        unknown = mi.request("list_statistics", ["core:rcv_requests"])
        assert (unknown.code == 404) if version == "2.4" else (unknown.value == {})


def test_a_server_counts_its_requests_its_uptime_and_its_load_as_opensips_calls_them() -> None:
    server = sipmi.Server("billing")
    server.listen("udp:127.0.0.1:0")
    server.listen("http://127.0.0.1:0")
    with server:
        for address in server.addresses:
            with sipmi.connect(address) as mi:
                mi.call("uptime")
        with sipmi.connect(server.addresses[0]) as mi:
            core, load = mi.statistics("core:"), mi.statistics("load:load")
            transports = mi.statistics("mi_datagram:requests", "mi_http:requests")
            assert mi.call("get_statistics", ["core:timestamp"]) == {"core:timestamp": core.uptime}
    assert 4 <= core["core:rcv_requests"] < sum(transports.values())
    assert (core["core:rcv_requests"].kind, core["core:timestamp"].kind) == ("counter", "gauge")
    assert core.uptime is not None
    assert core.uptime < 60
    assert 0 <= load["load:load"] <= 100
