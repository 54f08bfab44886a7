"""Statistics on the client's side: readings with units, changes, restarts, watches, tables, for every generation."""

from __future__ import annotations

import asyncio
import pickle
import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any, Optional

import pandas
import pytest

import sipmi
from endpoints import PATIENCE
from ports import free_udp_address
from sipmi.statistics import Change, Meaning, Reading, Sample, Value, _meanings, to_frame
from sipmi.testing import FakeOpenSIPS

VERSIONS = ["1.11", "2.4", "3.2", "3.4", "3.6", "4.0"]


def reading(at: float, uptime: Any = None, **numbers: int) -> Reading:
    """Return a reading at a moment; all numbers are counters, except for ``in_use``."""
    meanings = {name: Meaning("gauge" if name == "in_use" else "counter", "calls") for name in numbers}
    values = {f"x:{name}": Value(number, f"x:{name}", meanings[name]) for name, number in numbers.items()}
    return Reading(values, address="udp:192.0.2.1:8080", time=at, uptime=uptime)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", ["udp", "http"])
def test_a_reading_of_every_version_has_numbers_with_kinds_and_units(version: str, transport: str) -> None:
    with FakeOpenSIPS(version) as opensips, opensips.connect(transport) as mi:
        opensips.statistics["core:rcv_requests"] = 7
        found = mi.statistics("core:", ["shmem:used_size", "nosuch:name"])
    requests, used = found["core:rcv_requests"], found["shmem:used_size"]
    assert (requests, requests.kind, requests.unit, requests.group) == (7, "counter", "requests", "core")
    assert (used.kind, used.unit) == ("gauge", "bytes")
    assert found.missing == ("nosuch:name",)
    assert found.uptime is not None
    assert found.uptime < 60


@pytest.mark.parametrize("version", VERSIONS)
def test_every_statistic_of_every_version_is_known_and_agrees_with_what_the_server_says(version: str) -> None:
    with FakeOpenSIPS(version) as opensips, opensips.connect("udp") as mi:
        found = mi.statistics()
        assert [name for name in found if _meanings.meaning_of(name).kind == "unknown"] == []
        assert all(value.unit for value in found.values())
        if version != "1.11":
            kinds = {"incremental": "counter", "non-incremental": "gauge"}
            said = {name: kinds[kind] for name, kind in mi.call("list_statistics").items()}
            assert {name: value.kind for name, value in found.items()} == said


def test_a_server_is_asked_once_for_the_kinds_that_the_table_does_not_have() -> None:
    asked: list[Any] = []
    server = sipmi.Server("billing")
    server.statistic("calls").inc(3)
    server.unregister("list_statistics")

    @server.command(read_only=True)
    def list_statistics(statistics: list) -> dict:
        """Kinds."""
        asked.append(statistics)
        return {"billing:calls": "incremental", "billing:lines": "non-incremental"}

    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        assert [mi.statistics("billing:calls", "evi:")["billing:calls"].kind for _ in range(2)] == ["counter"] * 2
        assert asked == [["billing:"]]
        server.statistic("lines").set(1)
        assert mi.statistics("billing:")["billing:lines"].kind == "gauge"
        assert asked == [["billing:"]] * 2


def test_a_statistic_of_unknown_kind_has_no_rate() -> None:
    with FakeOpenSIPS("1.11") as opensips, opensips.connect("udp") as mi:
        opensips.statistics.add("custom:calls", 3)
        first = mi.statistics("custom:")
        opensips.statistics["custom:calls"] = 1
        change = mi.statistics("custom:") - first
    assert first["custom:calls"].kind == "unknown"
    assert dict(change) == {"custom:calls": -2}
    assert change.rates == {}


def test_names_that_are_too_many_for_one_request_are_asked_for_in_several() -> None:
    with FakeOpenSIPS("4.0", hazards=True) as opensips, opensips.connect("http") as mi:
        names = list(mi.statistics())
        assert len(str(names)) > 1024, "what one body may hold"
        found = mi.statistics(names)
    assert list(found) == names


def test_counters_change_by_what_they_counted_and_states_by_their_difference() -> None:
    change = reading(102.0, calls=30, in_use=4) - reading(100.0, calls=10, in_use=9)
    assert dict(change) == {"x:calls": 20, "x:in_use": -5}
    assert change.rates == {"x:calls": 10.0}
    assert (change.seconds, change.restarted, change.reset) == (2.0, False, ())


def test_a_counter_that_was_reset_has_what_it_counted_since() -> None:
    change = reading(110.0, 70, calls=3, errors=9) - reading(100.0, 60, calls=10, errors=8)
    assert dict(change) == {"x:calls": 3, "x:errors": 1}
    assert (change.restarted, change.reset) == (False, ("x:calls",))


@pytest.mark.parametrize(
    ("before", "after", "seconds", "restarted"),
    [
        (1000, 1010, 10.0, False),
        (1000, 1008, 10.0, False),
        (0, 0, 0.5, False),
        (1000, 3, 10.0, True),
        (5, 6, 60.0, True),
    ],
)
def test_a_restart_is_known_by_the_uptime(before: int, after: int, seconds: float, restarted: bool) -> None:
    change = reading(100.0 + seconds, after, calls=12) - reading(100.0, before, calls=10)
    assert change.restarted is restarted
    assert dict(change) == {"x:calls": 12 if restarted else 2}


def test_without_an_uptime_a_restart_is_known_by_all_counters_having_gone_back() -> None:
    before = reading(100.0, calls=10, errors=4, never=0)
    assert (reading(101.0, calls=1, errors=2, never=0) - before).restarted
    assert not (reading(101.0, calls=1, errors=5, never=0) - before).restarted


def test_a_real_restart_between_two_readings_is_recognised() -> None:
    address = free_udp_address()
    found = []
    for calls in (20, 3):
        server = sipmi.Server("billing")
        server.listen(address)
        with server, sipmi.connect(address) as mi:
            for _ in range(calls):
                mi.call("uptime")
            found.append(mi.statistics("mi_datagram:requests", "mi_datagram:replies"))
    change = found[1] - found[0]
    assert change.restarted
    assert change["mi_datagram:replies"] == found[1]["mi_datagram:replies"]


def test_readings_of_different_servers_or_in_the_wrong_order_are_no_change() -> None:
    other = Reading({}, address="udp:192.0.2.2:8080", time=200.0)
    with pytest.raises(ValueError, match=r"one server, found udp:192\.0\.2\.1:8080 and udp:192\.0\.2\.2:8080"):
        Change(reading(100.0), other)
    with pytest.raises(ValueError, match=r"minus the earlier one, found -1\.000 seconds"):
        Change(reading(101.0), reading(100.0))


def test_a_reading_and_its_numbers_can_be_pickled() -> None:
    before = reading(100.0, 60, calls=10)
    again = pickle.loads(pickle.dumps(before))
    assert (again.address, again.time, again.uptime, dict(again)) == (before.address, 100.0, 60, dict(before))
    assert (again["x:calls"].kind, again["x:calls"].unit) == ("counter", "calls")
    assert (reading(102.0, 62, calls=14) - again).rates == {"x:calls": 2.0}


def test_a_watch_polls_once_a_second_and_stops_when_its_loop_is_left() -> None:
    asked: list[tuple[float, Any]] = []
    server = sipmi.Server("billing")
    server.unregister("get_statistics")

    @server.command(read_only=True)
    def get_statistics(statistics: list) -> dict:
        """Record the selectors and answer with numbers."""
        asked.append((time.monotonic(), statistics))
        return {"core:rcv_requests": 10 * len(asked), "core:timestamp": len(asked)}

    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        samples: list[Sample] = []
        for sample in mi.watch(["core:rcv_requests"]):
            samples.append(sample)
            if len(samples) == 3:
                break
    assert [names for _, names in asked] == [["rcv_requests", "timestamp"]] * 3
    assert all(later - earlier >= 0.99 for (earlier, _), (later, _) in zip(asked, asked[1:]))
    assert [dict(sample) for sample in samples] == [{"core:rcv_requests": number} for number in (10, 20, 30)]
    assert samples[0].change is None
    assert samples[1].change is not None
    assert samples[1].change["core:rcv_requests"] == 10
    assert samples[1].rates["core:rcv_requests"] > 0


def test_readings_and_watches_can_be_awaited() -> None:
    server = sipmi.Server("billing")
    server.statistic("sub_adds").inc(3)
    server.listen("udp:127.0.0.1:0")

    async def ask(address: str) -> tuple[Reading, list[Sample]]:
        async with sipmi.AsyncClient(address) as mi:
            samples = []
            async for sample in mi.watch(["billing:"]):
                samples.append(sample)
                if len(samples) == 2:
                    break
            return await mi.statistics("billing:", "nosuch:"), samples

    with server:
        found, samples = asyncio.run(ask(server.addresses[0]))
    assert (dict(found), found.missing) == ({"billing:sub_adds": 3}, ("nosuch:",))
    assert found["billing:sub_adds"].kind == "counter"
    assert samples[1].rates == {"billing:sub_adds": 0.0}


def test_a_reading_that_is_not_answered_is_a_gap_and_the_next_one_changes_from_before_it() -> None:
    address = free_udp_address()
    server = sipmi.Server("billing")
    server.listen(address)
    added = server.statistic("sub_adds")
    with server, sipmi.connect(address) as mi:
        added.inc(5)
        samples = iter(mi.watch("billing:sub_adds", timeout=0.5))
        first = next(samples)
        server.stop()
        gap = next(samples)
        server.start()
        added.inc(3)
        last = next(samples)
    assert not first.is_gap
    assert (gap.is_gap, bool(gap), dict(gap), gap.rates, gap.change) == (True, False, {}, {}, None)
    assert isinstance(gap.error, sipmi.TransportError)
    assert last.change is not None
    assert last.change["billing:sub_adds"] == 3
    assert last.change.seconds > 1.5


def test_a_server_that_never_answers_gives_gaps_at_their_deadlines() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with sipmi.connect(f"udp:127.0.0.1:{silent.getsockname()[1]}", wire="jsonrpc") as mi:
            began = time.monotonic()
            samples = list(mi.watch(["core:"], timeout=0.2, count=2))
    assert [type(sample.error) for sample in samples] == [sipmi.CallTimeout] * 2
    assert time.monotonic() - began < 1.0 + 2 * 0.2 + PATIENCE / 2


def test_a_permanent_error_ends_a_watch() -> None:
    server = sipmi.Server("billing")
    server.unregister("get_statistics")
    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        with pytest.raises(sipmi.MethodNotFound):
            next(iter(mi.watch(["core:"])))
        mi.close()
        with pytest.raises(sipmi.TransportError):
            next(iter(mi.watch(["core:"])))


def test_a_watch_more_often_than_once_a_second_is_refused() -> None:
    with (
        sipmi.connect("udp:192.0.2.1:8080") as mi,
        pytest.raises(ValueError, match=r"interval in seconds from 1 to .*, got 0\.2"),
    ):
        mi.watch(["core:"], interval=0.2)


def test_ctrl_c_ends_a_watch_between_two_samples() -> None:
    server = sipmi.Server("billing")
    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        main = threading.main_thread().ident
        assert main is not None
        samples = iter(mi.watch(["mi_datagram:"], interval=3600.0))
        next(samples)
        timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            next(samples)
        timer.join()


def sample(plain: Reading, *, after: Optional[Sample] = None, error: Optional[sipmi.MiError] = None) -> Sample:
    found = Sample({} if error else plain, address=plain.address, time=plain.time)
    found.error, found.change = error, None if after is None else found - after
    return found


def test_tables_have_a_row_for_each_statistic_or_for_each_sample() -> None:
    first, later = reading(100.0, calls=10, in_use=2), reading(102.0, calls=14, in_use=1)
    assert first.to_frame().loc["x:calls"].to_list() == [10, "calls", "counter"]
    assert (later - first).to_frame().loc["x:calls"].to_list() == [14, 4, 2.0, "calls", "counter"]
    before = sample(first)
    samples = [before, sample(reading(101.0), error=sipmi.CallTimeout("late")), sample(later, after=before)]
    table = to_frame(samples)
    assert table["x:calls"].isna().to_list() == [False, True, False]
    assert table.index[2] == pandas.Timestamp(102.0, unit="s", tz="UTC")
    assert to_frame(samples, rates=True)["x:calls"].to_list()[2] == 2.0


def test_the_examples_of_the_page_about_statistics_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    names: dict[str, Any] = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(snippet, names)
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", page)
