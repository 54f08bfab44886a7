"""Affinity on this very machine: what is moved is moved back, also when a test fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import sipmi
from affinity_fixtures import IS_ROOT, irq_state, machine_left_as_it_was, movable_pci_device
from sipmi.affinity import CpuSet, Host, set_thread_affinity, thread_affinity
from waiting import eventually

needs_root = pytest.mark.skipif(not IS_ROOT, reason="NOT RUN: moving interrupts needs root")
several_cpus = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="NOT RUN: with one CPU there is nowhere to move to"
)

SPAWNER = """
import threading, time
def idle(): time.sleep(60)
def spawn():
    while True:
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
        time.sleep(0.002)
for _ in range(3): threading.Thread(target=idle, daemon=True).start()
threading.Thread(target=spawn, daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _machine() -> Iterator[None]:
    with machine_left_as_it_was():
        yield


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that gives birth to threads all the time."""
    process = subprocess.Popen([sys.executable, "-c", SPAWNER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def last_cpu() -> str:
    return str(max(os.sched_getaffinity(0)))


def in_a_child(script: str, *, before: str = "") -> dict:
    """Run a script in a process of its own, and read the JSON that it prints last."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    if before:
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            before + ' && exec "$@"',
            "sh",
            *command,
        ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_machines_own_files_are_read() -> None:
    host = Host()
    topology = host.topology()
    assert len(topology.online) == os.sysconf("SC_NPROCESSORS_ONLN")
    table = host.interrupts()
    assert table.cpus == topology.online
    for row in table:
        if row.irq is not None:
            assert len(row.counts) == len(table.cpus)
    for name in host.devices():
        assert set(host.device(name).irqs) <= {irq.number for irq in host.irqs()}
    measured = host.measure(seconds=0.05, process=os.getpid())
    assert measured.seconds >= 0.05
    assert {line["cpu"] for line in measured.counters["softnet"]} == set(topology.online)


def test_the_calling_thread_is_moved_and_no_other() -> None:
    before = thread_affinity()
    seen = {}

    def move() -> None:
        set_thread_affinity(last_cpu())
        seen["moved"] = thread_affinity()

    thread = threading.Thread(target=move)
    thread.start()
    thread.join()
    assert seen["moved"] == CpuSet(last_cpu())
    assert thread_affinity() == before
    with pytest.raises(ValueError, match="at least one CPU"):
        set_thread_affinity([])
    with pytest.raises(OSError, match="none of them is online"):
        set_thread_affinity("8000")


def test_masks_of_any_size_reach_the_kernel() -> None:
    before = thread_affinity()
    set_thread_affinity(before | CpuSet("1024,4096,8191"))
    assert thread_affinity() == before


def test_a_command_runs_where_it_is_told_and_the_caller_stays() -> None:
    before = thread_affinity()
    script = "import os; print(sorted(os.sched_getaffinity(0)))"
    done = Host().run([sys.executable, "-c", script], cpus=last_cpu(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[{last_cpu()}]"
    assert thread_affinity() == before
    with pytest.raises(subprocess.CalledProcessError):
        Host().run(["false"], cpus=last_cpu(), check=True)
    with pytest.raises(FileNotFoundError):
        Host().run(["/no/such/command"], cpus=last_cpu())
    with pytest.raises(subprocess.TimeoutExpired):
        Host().run(["sleep", "60"], cpus=last_cpu(), timeout=0.05)


@several_cpus
def test_threads_that_are_born_meanwhile_are_moved_too(child) -> None:
    process = Host().process(child.pid)
    outcomes = process.set_affinity(last_cpu())
    assert len(outcomes) >= 5
    assert {outcome.state for outcome in outcomes} <= {"applied"}
    strayed = []
    for tid in process.threads():
        try:
            if process.thread_affinity(tid) != CpuSet(last_cpu()):
                strayed.append(tid)
        except ProcessLookupError:
            continue  # it ended
    assert strayed == []


@several_cpus
def test_a_plan_for_a_process_holds_is_repeated_and_undone(child, tmp_path: Path) -> None:
    host = Host()
    before = host.process(child.pid).affinity
    plan = host.plan(process=child.pid, cpus=last_cpu())
    with plan.apply(journal=tmp_path / "first.journal") as applied:
        assert applied.complete, str(applied)
        assert applied.drift() == []
        again = host.plan(process=child.pid)
        assert again.process_cpus == host.plan(process=os.getpid()).process_cpus, "the narrowed mask is no base"
        os.sched_setaffinity(child.pid, set(before))
        assert [outcome.subject for outcome in applied.drift()] == [f"thread {child.pid} of {child.pid}"]
    assert host.process(child.pid).affinity == before
    assert not (tmp_path / "first.journal").exists()


def test_a_process_that_dies_is_told_from_one_that_never_was(child, tmp_path: Path) -> None:
    host = Host()
    process = host.process(child.pid)
    plan = host.plan(process=[process], cpus=last_cpu())
    child.kill()
    child.wait()
    assert not process.alive
    with pytest.raises(ProcessLookupError):
        process.set_affinity(last_cpu())
    with pytest.raises(ProcessLookupError):
        host.process(2**22 + 5)
    report = plan.apply(journal=tmp_path / "plan.journal").report
    assert {item["outcomes"][0]["reason"] for item in report} == {"vanished"}


@needs_root
@several_cpus
def test_a_harmless_interrupt_and_a_process_are_pinned_verified_and_restored(child, tmp_path: Path) -> None:
    host = Host()
    device = movable_pci_device()
    irqs = host.device(device).irqs
    before = irq_state()
    plan = host.plan(device=device, process=child.pid, cpus=last_cpu())
    with plan.apply(journal=tmp_path / "plan.journal", settle=0.2) as applied:
        # An idle device fires seldom: until then its interrupts are pending, and never refused.
        states = {item["state"] for item in applied.report}
        assert states <= {"applied", "pending"}, str(applied)
        assert {str(host.irq(irq).affinity) for irq in irqs} == {last_cpu()}
        assert host.process(child.pid).affinity == CpuSet(last_cpu())
        assert applied.drift() == []
    assert irq_state() == before


@needs_root
@several_cpus
def test_an_interrupt_that_fires_is_seen_to_arrive_where_it_was_sent() -> None:
    host = Host()
    nic = next((name for name in os.listdir("/sys/class/net") if host.device(name).irqs), None)
    if nic is None:
        pytest.skip("NOT RUN: no interface with interrupts")
    row = max(
        (row for row in host.interrupts().for_device(nic) if not host.irq(row.irq).managed), key=lambda row: row.total
    )
    irq = host.irq(row.irq)
    target = CpuSet([next(cpu for cpu in host.topology().online if cpu not in (irq.effective or CpuSet()))])
    outcome = irq.set_affinity(target)
    assert outcome.state in ("applied", "pending"), str(outcome)
    assert outcome.before == irq.affinity
    assert host.irq(row.irq).affinity == target


@needs_root
def test_a_managed_interrupt_of_this_machine_is_left_alone() -> None:
    host = Host()
    managed = [irq for irq in host.irqs() if irq.managed and irq.managed_known and irq.actions]
    if not managed:
        pytest.skip("NOT RUN: no managed interrupt on this machine")
    assert managed[0].set_affinity(last_cpu()).state == "managed"


@needs_root
def test_without_root_the_refusal_names_the_file_and_the_reason() -> None:
    answer = in_a_child("""
        import json, os
        from sipmi.affinity import Host
        host = Host()
        irq = next(irq for irq in host.irqs() if irq.actions and not irq.managed)
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        outcome = irq.set_affinity(str(max(host.topology().online)))
        plan = host.plan(process=1, cpus=[0])
        try:
            plan.apply(journal="/nowhere/x")
        except ValueError as error:
            blocked = str(error)
        print(json.dumps({"outcome": outcome.to_dict(), "blocked": blocked, "folder": host.journals("/tmp/none")}))
    """)
    assert (answer["outcome"]["state"], answer["outcome"]["reason"]) == ("refused", "denied")
    assert "smp_affinity_list" in answer["outcome"]["detail"]
    assert "EACCES" in answer["outcome"]["detail"]
    assert "CAP_SYS_NICE" in answer["blocked"]


@needs_root
def test_a_read_only_proc_is_said_before_any_write(tmp_path: Path) -> None:
    device = movable_pci_device()
    answer = in_a_child(
        f"""
        import json
        from sipmi.affinity import Host
        host = Host()
        plan = host.plan(device={device!r}, cpus=[0])
        outcome = host.irq(plan.irqs[0]).set_affinity([0])
        try:
            plan.apply(journal={str(tmp_path / "x.journal")!r})
        except ValueError as error:
            print(json.dumps({{"outcome": outcome.to_dict(), "blocked": str(error)}}))
        """,
        before="mount --bind /proc/irq /proc/irq && mount -o remount,ro,bind /proc/irq",
    )
    assert (answer["outcome"]["reason"], answer["outcome"]["state"]) == ("read-only", "refused")
    assert "/proc/irq is mounted read-only" in answer["blocked"]
    assert not (tmp_path / "x.journal").exists()


@needs_root
@several_cpus
def test_a_cpuset_of_this_machine_clamps_and_refuses(child) -> None:
    group = Path("/sys/fs/cgroup/cpuset/sipmi-test")
    if not (group.parent / "cpuset.cpus").exists():
        group = Path("/sys/fs/cgroup/sipmi-test")
        if "cpuset" not in (group.parent / "cgroup.subtree_control").read_text():
            pytest.skip("NOT RUN: no cpuset controller to make a group in")
    home = group.parent
    group.mkdir()
    try:
        if (home / "cpuset.mems").exists():
            (group / "cpuset.mems").write_text((home / "cpuset.mems").read_text())
        (group / "cpuset.cpus").write_text(last_cpu())
        (group / "cgroup.procs").write_text(str(child.pid))
        host = Host()
        process = host.process(child.pid)
        refused = process.set_affinity("0", threads=False)[0]
        assert (refused.state, refused.reason) == ("refused", "cpuset")
        clamped = process.set_affinity([0, int(last_cpu())], threads=False)[0]
        assert (clamped.state, str(clamped.cut), str(clamped.now)) == ("applied", "0", last_cpu())
        conflicts = {
            conflict["what"]: conflict["severity"] for conflict in host.plan(process=child.pid, cpus="0").conflicts
        }
        assert conflicts["cpuset"] == "blocks"
        assert host.plan(process=child.pid).process_cpus == CpuSet(last_cpu())
        found = [process.pid for process in host.processes(cgroup=str(group))]
        assert found == [child.pid]
    finally:
        child.kill()
        child.wait()
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_the_roles_of_a_servers_processes_come_from_its_own_ps() -> None:
    server = sipmi.Server("edge")
    server.listen("udp:127.0.0.1:0")
    with server:
        found = Host().processes(mi=server)
        assert {process.pid for process in found} == {os.getpid()}
        assert all(process.role for process in found)
        measured = Host().measure(process=found, seconds=0.05, mi=server)
    assert len(measured.latencies) > 1
    assert 0 < measured.latency(50) <= measured.latency(99) < 1
    assert "MI call p99 ms" in measured.compare(measured)


@needs_root
def test_a_kernel_thread_bound_to_its_cpu_says_so() -> None:
    host = Host()
    bound = next(
        (
            pid
            for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
            if Path(f"/proc/{pid}/comm").read_text().startswith("migration/")
        ),
        None,
    )
    if bound is None:
        pytest.skip("NOT RUN: no per-CPU kernel thread is visible here")
    [outcome] = host.process(bound).set_affinity(last_cpu(), threads=False)
    assert (outcome.state, outcome.reason) == ("refused", "kernel thread")


def test_this_machine_can_be_captured_and_rehearsed_on(tmp_path: Path) -> None:
    live = Host()
    assert live.capture(tmp_path / "me.tar.gz") > 100
    captured = Host(root=tmp_path / "me.tar.gz")
    assert str(captured.topology().online) == str(live.topology().online)
    for name in live.devices():
        assert captured.device(name).driver == live.device(name).driver, name
        assert captured.device(name).irqs == live.device(name).irqs, name


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_that_a_socket_loses_are_counted_with_its_address(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as full, socket.socket(family, socket.SOCK_DGRAM) as sender:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full.bind((host, 0))
        measured = Host()
        before = measured.sample()
        for _ in range(100):
            sender.sendto(b"x" * 1000, full.getsockname())
        counted = measured.sample().since(before)
        shown = f"[{host}]" if ":" in host else host
        [lost] = [
            drops for name, drops in counted["socket_drops"].items() if f"{shown}:{full.getsockname()[1]} " in name
        ]
        assert 0 < lost < 100
        errors = counted["udp6_rcvbuf_errors" if ":" in host else "udp_rcvbuf_errors"]
        assert errors >= lost


def test_a_busy_process_has_a_run_delay_and_late_wake_ups_are_measured() -> None:
    evidence = Host().measure(process=os.getpid(), seconds=0.2)
    assert evidence.counters["run_delay"] >= 0.0
    assert len(evidence.wakeups) > 10
    assert all(part.wakeups for part in evidence.parts)
    assert evidence.summary["wake-up p50 us"] is not None
    assert evidence.to_dict()["wakeup_p99"] >= evidence.to_dict()["wakeup_p50"] >= 0
