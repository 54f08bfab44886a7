"""The real irqbalance daemon: in one-shot mode and running, with bans that hold."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from affinity_fixtures import IS_ROOT, hosts, machine_left_as_it_was
from sipmi.affinity import CpuSet, Host
from waiting import eventually

DAEMON = shutil.which("irqbalance", path="/usr/sbin:/usr/bin:/sbin:/bin")

pytestmark = [
    pytest.mark.skipif(DAEMON is None, reason="NOT RUN: irqbalance is not installed (apt-get install irqbalance)"),
    pytest.mark.skipif(not IS_ROOT, reason="NOT RUN: irqbalance needs root"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="NOT RUN: one CPU has nothing to balance"),
]


@pytest.fixture(autouse=True)
def _machine() -> Iterator[None]:
    with machine_left_as_it_was():
        yield


def movable() -> int:
    """An interrupt that irqbalance would move: a NIC's or another virtio device's, not managed."""
    host = Host()
    for name in os.listdir("/sys/class/net"):
        for irq in host.device(name).irqs:
            if not host.irq(irq).managed and host.irq(irq).actions:
                return irq
    pytest.skip("NOT RUN: no interrupt of an interface that can be moved")


def one_shot(file: Path) -> str:
    """Balance once with the settings of a file, read as a SysV script reads them; what the daemon says."""
    script = f"set -a; . {file}; set +a; exec {DAEMON} --oneshot --foreground --debug --interval=1 $IRQBALANCE_ARGS"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@contextmanager
def running(*arguments: str) -> Iterator[Host]:
    """The daemon, looking every second, with its socket."""
    Path("/run/irqbalance").mkdir(exist_ok=True)
    daemon = subprocess.Popen(
        [str(DAEMON), "--foreground", "--interval=1", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    host = Host()
    try:
        eventually(lambda: host.irqbalance.pid == daemon.pid and host.irqbalance.socket)
        yield host
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)


def tree(tmp_path: Path) -> tuple[Host, Path]:
    """A captured machine, for its file alone: the daemon reads what was edited there."""
    root = hosts.build("article", tmp_path / "machine")
    return Host(root=root), root / "etc/default/irqbalance"


def test_cpus_banned_in_the_file_are_banned_by_the_daemon(tmp_path: Path) -> None:
    host, file = tree(tmp_path)
    host.irqbalance.ban_cpus([0])
    assert "Banned CPUs: 00000001" in one_shot(file)
    assert 0 not in (Host().irq(movable()).affinity or CpuSet())


def test_the_mask_that_an_administrator_wrote_is_read_as_the_daemon_reads_it(tmp_path: Path) -> None:
    host, file = tree(tmp_path)
    file.write_text("IRQBALANCE_BANNED_CPUS=1\n")
    assert host.irqbalance.banned_cpus == CpuSet("0")
    assert "Banned CPUs: 00000001" in one_shot(file)
    host.irqbalance.ban_cpus([0])
    assert "Banned CPUs: 00000001" in one_shot(file)


def test_an_interrupt_banned_in_the_file_stays_and_its_neighbour_moves(tmp_path: Path) -> None:
    host, file = tree(tmp_path)
    live = Host()
    irq = movable()
    others = [other for other in live.irqs() if other.actions and not other.managed and other.number != irq]
    before = live.irq(irq).affinity
    host.irqbalance.ban_cpus([0])
    host.irqbalance.ban_irqs({irq})
    said = one_shot(file)
    assert f"IRQ {irq} was BANNED" in said
    assert live.irq(irq).affinity == before
    assert any(live.irq(other.number).affinity != other.affinity for other in others), "the daemon did balance"


def test_bans_by_socket_are_made_read_and_lifted() -> None:
    with running() as host:
        irq = movable()
        balance = host.irqbalance
        assert balance.live()[0] == []
        balance.ban_irqs_live({irq})
        assert balance.live()[0] == [irq]
        balance.ban_irqs_live(set())
        assert balance.live()[0] == []


@pytest.mark.timeout(90)
def test_a_plan_bans_first_and_then_holds_against_the_running_daemon(tmp_path: Path) -> None:
    """The daemon would move everything off CPU 0, every second: what the plan has put there stays."""
    file = Path("/etc/default/irqbalance")
    original = file.read_bytes() if file.exists() else None
    os.environ["IRQBALANCE_BANNED_CPULIST"] = "0"
    try:
        with running() as host:
            nic = next(name for name in os.listdir("/sys/class/net") if host.device(name).irqs)
            plan = host.plan(device=nic, cpus=[0], steering=False)
            assert {conflict["what"]: conflict["severity"] for conflict in plan.conflicts}["irqbalance"] == "handled"
            with plan.apply(journal=tmp_path / "plan.journal", settle=0.2, watch=3.0) as applied:
                states = {item["state"] for item in applied.report}
                assert states <= {"applied", "pending", "managed"}, str(applied)
                assert applied.drift() == []
                assert set(plan.irqs) >= set(host.irqbalance.live()[0]) != set()
                assert f"--banirq={host.irqbalance.live()[0][0]}" in file.read_text()
            assert host.irqbalance.live()[0] == []
            assert (file.read_bytes() if file.exists() else None) == original
            # And the other way round: without the ban the daemon takes the interrupt away.
            irq = movable()
            host.irq(irq).set_affinity([0])
            eventually(lambda: host.irq(irq).affinity != CpuSet([0]), within=30.0)
    finally:
        del os.environ["IRQBALANCE_BANNED_CPULIST"]
        if original is None:
            file.unlink(missing_ok=True)
        elif file.read_bytes() != original:
            file.write_bytes(original)


def test_without_asking_for_a_ban_the_plan_warns_of_the_daemon() -> None:
    with running() as host:
        plan = host.plan(
            device=next(name for name in os.listdir("/sys/class/net") if host.device(name).irqs),
            cpus=[0],
            irqbalance=False,
        )
        [conflict] = [conflict for conflict in plan.conflicts if conflict["what"] == "irqbalance"]
        assert conflict["severity"] == "warns"
        assert "will move these interrupts again" in conflict["detail"]
        assert "irqbalance" not in {item["kind"] for item in plan.items}
