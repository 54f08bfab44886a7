"""The affinity commands of a server: off by default, read-only by default."""

from __future__ import annotations

from pathlib import Path

import pytest

import sipmi
from affinity_fixtures import hosts
from sipmi.affinity import CpuSet, Host
from sipmi.server._affinity import register_affinity


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(root=hosts.build("612", tmp_path / "machine"))


def served(host: Host, **options: bool) -> sipmi.Server:
    server = sipmi.Server("edge")
    register_affinity(server, host=host, **options)
    return server


def test_the_commands_are_there_only_when_registered(host: Host) -> None:
    names = {"irq_list", "irq_affinity", "cpu_affinity", "affinity_plan"}
    assert not names & set(sipmi.Server("edge").call("which"))
    assert names <= set(served(host).call("which"))
    server = sipmi.Server("edge")
    server.register_affinity()
    assert names <= set(server.call("which"))


def test_read_only_is_the_default_and_changes_are_answered_403(host: Host) -> None:
    server = served(host)
    assert len(server.call("irq_list", device="eth1")["Interrupts"]) == 3
    assert server.call("irq_affinity", irq=57)["Affinity"] == "0-1"
    assert server.call("cpu_affinity", pid=19904)["Threads"] == [{"TID": 19904, "Affinity": "0-7"}]
    plan = server.call("affinity_plan", device="eth1,sdb", process="opensips", cpus="2-3")["Plan"]
    assert plan["irq_cpus"] == "2-3"
    for name, arguments in (
        ("irq_affinity", {"irq": 57, "cpus": "2"}),
        ("cpu_affinity", {"pid": 19904, "cpus": "2"}),
        ("affinity_plan", {"device": "eth1", "apply": True}),
        ("affinity_plan", {"undo": "x"}),
    ):
        with pytest.raises(sipmi.Fault) as refused:
            server.call(name, **arguments)
        assert refused.value.code == 403
    assert host.irq(57).affinity == CpuSet("0-1")
    assert all(
        server.lookup(name).flags & sipmi.Flags.READ_ONLY for name in ("irq_list", "irq_affinity", "affinity_plan")
    )


def test_with_allow_write_interrupts_and_processes_move_and_plans_are_undone(host: Host) -> None:
    server = served(host, allow_write=True)
    assert server.call("irq_affinity", irq=57, cpus="2")["Outcome"]["state"] == "applied"
    assert server.call("cpu_affinity", pid=19908, cpus="2")["Outcomes"][1]["now"] == "2"
    applied = server.call("affinity_plan", device="eth1", process="opensips", cpus="4", apply=True)["Applied"]
    assert applied["complete"] is True
    assert host.irq(57).affinity == CpuSet("4")
    name = applied["journal"].rsplit("/", 1)[1]
    outcomes = server.call("affinity_plan", undo=name)["Outcomes"]
    assert {outcome["state"] for outcome in outcomes} == {"applied"}
    assert host.irq(57).affinity == CpuSet("2")
    assert not server.lookup("irq_affinity").flags & sipmi.Flags.READ_ONLY


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("irq_list", {"device": "nosuch0"}, 404),
        ("irq_affinity", {"irq": 9999}, 404),
        ("irq_affinity", {"irq": 57, "cpus": "900"}, 400),
        ("cpu_affinity", {"pid": 4711}, 404),
        ("affinity_plan", {"device": "eth1", "policy": "best"}, 400),
        ("affinity_plan", {}, 400),
        ("affinity_plan", {"undo": "/etc/passwd"}, 404),
    ],
)
def test_bad_input_is_a_fault_with_its_reason(host: Host, name: str, arguments: dict, code: int) -> None:
    with pytest.raises(sipmi.Fault) as fault:
        served(host, allow_write=True).call(name, **arguments)
    assert fault.value.code == code


def test_the_commands_answer_a_client_over_a_socket(host: Host) -> None:
    server = served(host)
    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        rows = mi.call("irq_list", device="eth1")["Interrupts"]
        assert [row["IRQ"] for row in rows] == [57, 58, 59]
        assert mi.call("affinity_plan", device="eth1", cpus="2")["Plan"]["irq_cpus"] == "2"
        with pytest.raises(sipmi.Fault) as refused:
            mi.call("irq_affinity", irq=57, cpus="2")
        assert refused.value.code == 403
    assert host.irq(57).affinity == CpuSet("0-1")
