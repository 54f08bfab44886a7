"""`Host.check` and `sipmi irq check`: what is wrong on a machine, with remedies; and the device of each interrupt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from affinity_fixtures import hosts
from sipmi.affinity import Host
from sipmi.cli import main

GUEST = Path(__file__).resolve().parents[1] / "hosts/captures/guest-6.1.tar.gz"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A captured machine with eight CPUs in two nodes, on which nothing is wrong."""
    root = hosts.build("612", tmp_path / "machine")
    (root / "proc/net/snmp").unlink()
    assert Host(root).check() == []
    return root


def findings(root: Path) -> dict[str, tuple[str, str]]:
    """Return fault and remedy by kind."""
    return {finding["what"]: (finding["detail"], finding["remedy"]) for finding in Host(root).check()}


def all_queues_on_one_cpu(root: Path) -> None:
    for irq in range(60, 68):
        Host(root).irq(irq).set_affinity("2")


def on_another_node(root: Path) -> None:
    device = root / "sys/class/net/eth2/device"
    (device / "numa_node").write_text("1\n")
    (device / "local_cpulist").write_text("4-7\n")
    for irq in (60, 62):
        Host(root).irq(irq).set_affinity("4-7")


def isolated_cpu_takes_an_interrupt(root: Path) -> None:
    (root / "sys/devices/system/cpu/isolated").write_text("6-7\n")
    (root / "proc/irq/default_smp_affinity").write_text("3f\n")
    Host(root).irq(61).set_affinity("6")


def new_interrupts_begin_on_an_isolated_cpu(root: Path) -> None:
    (root / "proc/irq/default_smp_affinity").write_text("ff\n")
    (root / "sys/devices/system/cpu/isolated").write_text("6-7\n")


def packets_are_steered_once_more(root: Path) -> None:
    for queue in range(8):
        (root / f"sys/class/net/eth2/queues/rx-{queue}/rps_cpus").write_text("0f\n")


def packets_are_steered_to_isolated_cpus(root: Path) -> None:
    (root / "sys/devices/system/cpu/isolated").write_text("6-7\n")
    (root / "proc/irq/default_smp_affinity").write_text("3f\n")
    (root / "sys/class/net/eth1/queues/rx-0/rps_cpus").write_text("f0\n")


def a_plan_does_not_hold(root: Path) -> None:
    Host(root).plan(device="eth1", cpus="2").apply()
    Host(root).irq(57).set_affinity("5")


def irqbalance_fights_a_plan(root: Path) -> None:
    Host(root).plan(device="eth1", cpus="2").apply()
    (root / "proc/301").mkdir()
    (root / "proc/301/stat").write_text("301 (irqbalance) S 1 301 301 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 78 0\n")


def datagrams_were_lost(root: Path) -> None:
    (root / "proc/net/snmp").write_text("Udp: InDatagrams RcvbufErrors\nUdp: 100 3\n")


def a_backlog_was_full(root: Path) -> None:
    lines = [f"{100:08x} {dropped:08x} {0:08x} " + f"{0:08x} " * 9 for dropped in (0, 9)]
    (root / "proc/net/softnet_stat").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("harm", "what", "detail", "remedy"),
    [
        (all_queues_on_one_cpu, "queues", "queues of eth2 arrive on CPU 2", "sipmi pin --device eth2"),
        (on_another_node, "node", "eth2 is on node 1 (CPUs 4-7), its interrupts", "--device eth2 --cpus 4-7"),
        (isolated_cpu_takes_an_interrupt, "isolated", "interrupts: 61 eth2-rxtx-1", "irq set 61 --cpus 0-5"),
        (new_interrupts_begin_on_an_isolated_cpu, "default", "on the isolated CPUs 6-7", "echo 3f > /proc/irq/default"),
        (packets_are_steered_once_more, "steering", "once more, to CPUs 0-3", "eth2/queues/rx-*/rps_cpus"),
        (packets_are_steered_to_isolated_cpus, "steering", "6-7 are isolated", "eth1/queues/rx-*/rps_cpus"),
        (a_plan_does_not_hold, "drift", "IRQ 57 eth1-rx-0", "sipmi pin --fix --journal /"),
        (irqbalance_fights_a_plan, "irqbalance", "irqbalance (pid 301) may move", "--banirq=57"),
        (datagrams_were_lost, "drops", "3 datagrams were lost", "rmem_max"),
        (a_backlog_was_full, "drops", "9 on CPU 1", "netdev_max_backlog"),
    ],
)
def test_a_fault_is_found_with_its_remedy(
    machine: Path, harm: Callable[[Path], None], what: str, detail: str, remedy: str
) -> None:
    harm(machine)
    found = findings(machine)
    assert detail in found[what][0]
    assert remedy in found[what][1]


def test_the_exit_code_tells_of_faults_that_can_be_mended_now(machine: Path, capsys) -> None:
    words = ["irq", "check", "--root", str(machine)]
    assert main(words) == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    datagrams_were_lost(machine)
    assert main(words) == 0, "what was lost stays lost"
    all_queues_on_one_cpu(machine)
    capsys.readouterr()
    assert main(words) == 1
    assert "\n  remedy: sipmi pin --device eth2\n" in capsys.readouterr().out
    assert main([*words, "--json"]) == 1
    assert {finding["what"] for finding in json.loads(capsys.readouterr().out)} == {"queues", "drops"}


def test_the_remedy_of_queues_on_one_cpu_mends_it(machine: Path, capsys) -> None:
    all_queues_on_one_cpu(machine)
    assert main(["pin", "--device", "eth2", "--root", str(machine)]) == 0
    assert "queues" not in findings(machine)


def test_each_interrupt_has_its_device() -> None:
    devices = Host(GUEST).devices_by_irq()
    named = {irq: devices[irq] for irq in (24, 37, 40, 45, 56, 69, 73, 77)}
    assert named == {
        24: ["0000:00:05.0"], 37: ["ens2"], 40: ["sdb"], 45: ["nvme0c0n1"], 56: ["vda"], 69: ["sda"],
        73: ["enp0s2"], 77: ["ens1"],
    }  # fmt: skip


def test_this_machine_can_be_checked(capsys) -> None:
    assert main(["irq", "check"]) in (0, 1)
    assert capsys.readouterr().out
