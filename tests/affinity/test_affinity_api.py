"""The affinity API as its users write it, on captured machines."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from affinity_fixtures import hosts
from sipmi.affinity import CpuSet, DriftCollector, Evidence, Host, InterruptTable, roles_of


@pytest.fixture
def captured(tmp_path: Path):
    return lambda name: hosts.build(name, tmp_path / name)


def test_a_cpu_set_is_made_from_a_list_a_mask_or_numbers() -> None:
    assert CpuSet("0-3,8") == CpuSet.from_mask("10f") == CpuSet([0, 1, 2, 3, 8])
    assert CpuSet.from_mask("ff,00000001").list == "0,32-39"
    assert (CpuSet("0-3,8").mask, str(CpuSet("8,0-3")), len(CpuSet("0-8191"))) == ("10f", "0-3,8", 8192)
    assert CpuSet("all", count=4) == CpuSet("0-3")
    assert CpuSet("7").padded_mask(72) == "00,00000000,00000080"


def test_cpu_sets_have_the_algebra_of_sets() -> None:
    a, b = CpuSet("0-3"), CpuSet("2-5")
    assert (str(a | b), str(a & b), str(a - b), str(a ^ b)) == ("0-5", "2-3", "0-1", "0-1,4-5")
    assert CpuSet("1") < a
    assert a >= CpuSet("0-3")
    assert a & "2" == CpuSet([2])
    assert 2 in a
    assert "2" not in a
    assert a != "0-3"
    assert not CpuSet()
    assert list(a) == [0, 1, 2, 3]
    assert pickle.loads(pickle.dumps(a)) == a
    assert hash(a) == hash(CpuSet([3, 2, 1, 0]))


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (lambda: CpuSet.from_mask("0x3"), ValueError, "without 0x"),
        (lambda: CpuSet("3-1"), ValueError, "rising range"),
        (lambda: CpuSet("all"), ValueError, "number of CPUs"),
        (lambda: CpuSet(3), TypeError, "one CPU is [3]"),
        (lambda: CpuSet([-1]), ValueError, "from 0, found -1"),
        (lambda: CpuSet([1 << 40]), ValueError, "below 65536"),
        (lambda: CpuSet(["1"]), TypeError, "iterable of CPU numbers"),
        (lambda: CpuSet("0") | 3, TypeError, "one CPU is [3]"),
    ],
)
def test_an_invalid_cpu_set_is_rejected_with_the_expected_form(wrong, error, said: str) -> None:
    with pytest.raises(error) as caught:
        wrong()
    assert said in str(caught.value)


@given(st.sets(st.integers(0, 8191)))
def test_every_set_comes_back_from_both_spellings(cpus: set[int]) -> None:
    made = CpuSet(cpus)
    assert set(made) == cpus
    assert CpuSet(made.list) == CpuSet.from_mask(made.mask) == made


def test_the_articles_script_runs(captured) -> None:
    """The lines of the API page, on the machine of the article: its NIC p4p1 has IRQ 30."""
    host = Host(root=captured("article"))
    table = host.interrupts()
    row = table[30]
    assert (row.irq, row.counts, row.chip, row.trigger, row.actions) == (
        30,
        [36650, 16711, 62175, 18490],
        "PCI-MSI",
        "edge",
        ["p4p1"],
    )
    assert [row.irq for row in table.for_device("p4p1")] == [30]
    irq = host.irq(30)
    assert (irq.affinity, irq.effective, irq.managed) == (CpuSet("0-3"), CpuSet("2"), False)
    assert irq.set_affinity("0-1").state == "applied"
    assert [outcome.state for outcome in host.process(19904).set_affinity("0-1", threads=True)] == ["applied"]
    assert len(host.processes("opensips")) == 5
    host.irqbalance.ban_cpus("0-1")
    assert host.irqbalance.banned_cpus == CpuSet("0-1")
    plan = host.plan(device="p4p1", process="opensips", cpus="2-3")
    assert "30" in str(plan)
    with plan.apply() as applied:
        assert applied.complete
        assert {item["state"] for item in applied.report} == {"applied"}
        assert host.irq(30).affinity == CpuSet("2-3")
    assert host.irq(30).affinity == CpuSet("0-1")


def test_leaving_the_block_by_an_error_undoes_the_plan(captured) -> None:
    host = Host(root=captured("612"))
    plan = host.plan(device="eth1", process=19904, cpus="3")

    def fail_within() -> None:
        with plan.apply():
            assert host.irq(57).affinity == CpuSet("3")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_within()
    assert host.irq(57).affinity == CpuSet("0-1")
    assert host.process(19904).affinity == CpuSet("0-7")
    assert host.journals() == []


def test_devices_and_tables_are_chosen_by_familiar_names(captured) -> None:
    host = Host(root=captured("612"))
    table = host.interrupts()
    assert host.device("sdb").driver == "ahci"
    assert [row.irq for row in table.for_device("eth0")] == [24, 25, 26]
    assert [row.irq for row in table.for_device("sdb")] == [56]
    assert [row.irq for row in table.select_rows(driver="vmxnet3")] == list(range(60, 69))
    assert [row.irq for row in table.select_rows(device="eth2", queue=3)] == [63]
    assert [row.irq for row in table.select_rows(action="nvme0q1")] == [48]
    assert all(host.irq(row.irq).node == 1 for row in table.select_rows(node=1))
    assert table[26].queue == ("tx", 0)
    assert table["NMI"].irq is None
    assert table["NMI"].description == "Non-maskable interrupts"
    with pytest.raises(KeyError, match="4711"):
        table[4711]
    assert "<td" in table._repr_html_()


def test_errors_are_of_the_kind_that_python_programmers_catch(captured) -> None:
    host = Host(root=captured("612"), faults={"/proc/irq/57/smp_affinity_list": "read:EACCES"})
    with pytest.raises(LookupError, match="nosuch0"):
        host.device("nosuch0")
    with pytest.raises(LookupError, match="9999"):
        host.irq(9999)
    with pytest.raises(ProcessLookupError, match="4711"):
        host.process(4711)
    with pytest.raises(PermissionError) as denied:
        host.irq(57)
    assert denied.value.filename == "/proc/irq/57/smp_affinity_list"
    with pytest.raises(ValueError, match="policy"):
        host.plan(device="eth1", policy="best")
    with pytest.raises(ValueError, match="below 8"):
        host.plan(device="eth1", cpus="8")
    with pytest.raises(ValueError, match="a device, a process, or both"):
        host.plan()
    with pytest.raises(FileNotFoundError):
        Host(root="/no/such/folder")
    with pytest.raises(ValueError, match="EWHAT"):
        Host(root="/", faults={"/x": "EWHAT"})


def test_hostile_files_are_errors_that_say_where_and_what(captured) -> None:
    root = captured("612")
    (root / "proc/irq/57/smp_affinity_list").write_text("0-\xff\x00zz")
    (root / "proc/irq/58/node").write_text("many")
    host = Host(root=root)
    with pytest.raises(ValueError, match="/proc/irq/57/smp_affinity_list: expected"):
        host.irq(57)
    with pytest.raises(ValueError, match="/proc/irq/58/node: expected a decimal number, found"):
        host.irq(58)
    with pytest.raises(ValueError, match="/proc/interrupts: expected a first line"):
        InterruptTable.parse(b"\x00\xff\n")


def test_a_plan_is_a_table_json_and_html(captured) -> None:
    plan = Host(root=captured("612")).plan(device=["eth2", "sdb"], process="opensips", policy="spread")
    assert json.loads(plan.to_json()) == plan.to_dict()
    assert {item["kind"] for item in plan.items} == {"irq", "xps", "process"}
    assert str(plan).splitlines()[1].split() == ["what", "which", "name", "now", "planned"]
    assert plan._repr_html_().count("<tr>") == len(plan.items) + 1
    assert plan.irq_cpus == plan.process_cpus == CpuSet("0-7"), "four CPUs of a domain are too few for five processes"


def test_a_plan_is_taken_back_by_another_process(captured) -> None:
    root = captured("612")
    script = """
        import sys
        from sipmi.affinity import Host
        Host(root=sys.argv[1]).plan(device="eth1", process="opensips", cpus="2").apply()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(root)], check=True)
    host = Host(root=root)
    [journal] = host.journals()
    assert host.drift(journal) == []
    host.irq(57).set_affinity("4")
    assert [outcome.subject for outcome in host.drift(journal)] == ["IRQ 57 eth1-rx-0"]
    assert {outcome.state for outcome in host.undo(journal)} == {"applied"}
    assert host.irq(57).affinity == CpuSet("4"), "what another program has moved since is left there"
    assert host.irq(58).affinity == CpuSet("0-1")
    assert host.journals() == []


def test_a_journal_tells_its_request_and_changes_is_applied_again_and_forgotten(captured) -> None:
    host = Host(root=captured("612"))
    applied = host.plan(device="eth1", process="opensips", cpus="2").apply()
    record = host.journal(applied.journal)
    assert (record["request"]["devices"], record["request"]["cpus"]) == (["eth1"], "2")
    assert "IRQ 57 eth1-rx-0: CPUs 0-1 to 2" in record["changes"]
    assert (record["rebooted"], record["torn"]) == (False, 0)
    host.irq(57).set_affinity("4")
    again = host.apply_again(applied.journal)
    assert (again.journal, again.complete, host.drift(applied.journal)) == (applied.journal, True, [])
    assert host.irq(57).affinity == CpuSet("2")
    host.forget(applied.journal)
    assert (host.journals(), host.irq(57).affinity) == ([], CpuSet("2"))


def test_a_plan_moves_several_servers_and_threads_by_name(captured) -> None:
    root = captured("612")
    for tid, name in ((701, "poller0"), (702, "poller1"), (703, "http")):
        hosts_process(root, 700, "rtpengine", tid, name)
    host = Host(root=root)
    pollers = host.processes("rtpengine", threads="poller*")
    assert [process.threads() for process in pollers] == [[701, 702]]
    plan = host.plan(process=["opensips", 1, *pollers], cpus="3")
    assert [item["subject"] for item in plan.items] == ["19904", "19905", "19906", "19907", "19908", "1", "700"]
    applied = plan.apply()
    assert [str(pollers[0].thread_affinity(tid)) for tid in (700, 701, 702, 703)] == ["0-7", "3", "3", "0-7"]
    assert host.journal(applied.journal)["request"]["processes"][-1] == {"name": "rtpengine", "threads": "poller*"}
    assert host.drift(applied.journal) == []
    pollers[0].set_affinity("0-7")
    assert [outcome.subject for outcome in host.drift(applied.journal)] == ["thread 701 of 700", "thread 702 of 700"]
    with pytest.raises(LookupError, match=r'no thread "nosuch"'):
        host.processes("rtpengine", threads="nosuch")[0].threads()


def hosts_process(root: Path, pid: int, name: str, tid: int, thread: str) -> None:
    """Add a thread of a process to a captured machine."""
    example = root / "proc/19904"
    status = (example / "status").read_text()
    for folder, number, comm in ((root / f"proc/{pid}", pid, name), (root / f"proc/{pid}/task/{pid}", pid, name),
                                 (root / f"proc/{pid}/task/{tid}", tid, thread)):  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "status").write_text(status)
        (folder / "stat").write_text(f"{number} ({comm}) S 1 {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n")


def test_drift_is_a_gauge_for_prometheus(captured) -> None:
    host = Host(root=captured("612"))
    journals = [host.plan(device=device, cpus="2").apply().journal for device in ("eth1", "sdb")]
    host.irq(57).set_affinity("4")
    registry = CollectorRegistry()
    registry.register(DriftCollector(host))
    drift = [registry.get_sample_value("sipmi_affinity_drift", {"journal": journal}) for journal in journals]
    assert (registry.get_sample_value("sipmi_affinity_plans"), drift) == (2, [1, 0])


def test_a_journal_that_others_may_write_is_not_obeyed(captured) -> None:
    host = Host(root=captured("612"))
    applied = host.plan(device="eth1", cpus="2").apply()
    os.chmod(applied.journal, 0o666)
    for refused in (host.undo, host.drift, host.apply_again, host.forget, host.journal):
        with pytest.raises(PermissionError, match="its owner alone may write"):
            refused(applied.journal)
    assert host.irq(57).affinity == CpuSet("2")


@pytest.mark.parametrize("writes", [0, 1, 5, 8])
def test_killed_in_the_middle_the_next_process_takes_it_back(captured, writes: int) -> None:
    root = captured("612")
    script = f"""
        import sys
        from sipmi.affinity import Host
        Host(root=sys.argv[1], kill_after={writes}).plan(device="eth1", process="opensips", cpus="2").apply()
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(root)])
    assert killed.returncode == -9
    host = Host(root=root)
    host.undo(host.journals()[0])
    assert host.irq(57).affinity == CpuSet("0-1")
    assert {str(process.affinity) for process in host.processes("opensips")} == {"0-7"}


def test_a_capture_is_read_back_as_the_same_machine(captured, tmp_path: Path) -> None:
    first = Host(root=captured("612"))
    file = tmp_path / "machine.tar.gz"
    assert first.capture(file) > 500
    second = Host(root=file)
    assert not second.live
    assert str(second.topology()) == str(first.topology())
    names = [name for name in first.devices() if not name.startswith("nvme0n1")]
    for name in names:
        assert second.device(name).irqs == first.device(name).irqs
        assert second.device(name).chain == first.device(name).chain
    assert [irq.managed for irq in second.irqs()] == [irq.managed for irq in first.irqs()]
    ours, theirs = (host.plan(device="bond0", process="opensips", cpus="1").items for host in (first, second))
    assert ours == theirs
    with second.plan(device="eth1", cpus="2").apply() as applied:
        assert applied.complete


def test_command_lines_are_not_captured(captured, tmp_path: Path) -> None:
    root = captured("612")
    (root / "proc/19904/cmdline").write_bytes(b"/usr/sbin/opensips\0--password\0secret\0")
    Host(root=root).capture(tmp_path / "machine.tar.gz")
    with tarfile.open(tmp_path / "machine.tar.gz") as tar:
        command = tar.extractfile("proc/19904/cmdline")
        assert command is not None
        assert command.read() == b"/usr/sbin/opensips\0"


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../outside", tarfile.REGTYPE, ""),
        ("/etc/outside", tarfile.REGTYPE, ""),
        ("proc/x", tarfile.SYMTYPE, "../../../etc"),
        ("proc/fifo", tarfile.FIFOTYPE, ""),
        ("dev/sda", tarfile.BLKTYPE, ""),
    ],
)
def test_a_hostile_capture_is_refused(tmp_path: Path, name: str, kind: bytes, link: str) -> None:
    file = tmp_path / "hostile.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        tar.addfile(member)
    with pytest.raises(ValueError, match="expected"):
        Host(root=file)


def test_a_servers_ps_gives_each_process_its_role(captured) -> None:
    class Mi:
        """A client whose server answers ps as OpenSIPS 4.0 does."""

        def call(self, method: str) -> object:
            assert method == "ps"
            rows = [(0, 19904, "attendant"), (1, 19905, "SIP receiver udp:127.0.0.1:5060"), (2, 19906, "timer")]
            return {"Processes": [{"ID": row, "PID": pid, "Type": role} for row, pid, role in rows]}

    host = Host(root=captured("612"))
    processes = host.processes(mi=Mi())
    assert [(process.pid, process.role) for process in processes] == [
        (19904, "attendant"),
        (19905, "SIP receiver udp:127.0.0.1:5060"),
        (19906, "timer"),
    ]
    assert host.processes("opensips", mi=Mi())[4].role is None
    spread = host.plan(process=processes, cpus="4-7", policy="spread", reuse_port=True)
    assert [item["target"] for item in spread.items] == ["4-7", "4", "4-7"]
    with pytest.raises(ValueError, match="expected PID and Type"):
        roles_of("nonsense")


def test_evidence_compares_before_and_after() -> None:
    def evidence(rate: float, drops: int, *latencies: float) -> Evidence:
        row = {"irq": 30, "name": "eth0", "rate": rate, "per_cpu": {"2": rate}}
        line = {"cpu": 2, "processed": 5, "dropped": drops, "squeezed": 0, "received_rps": 0}
        counters = {
            "seconds": 2.0,
            "interrupts": [row],
            "softnet": [line],
            "udp_rcvbuf_errors": 4,
            "voluntary_switches": 6,
            "forced_switches": 2,
        }
        parts = tuple(Evidence({**counters, "interrupts": [{**row, "rate": rate + part}]}) for part in range(5))
        return Evidence(counters, latencies, parts)

    before, after = evidence(100.0, 8, 0.001, 0.002, 0.010), evidence(50.0, 0, 0.001, 0.001, 0.001)
    assert before.latency(50) == 0.002
    assert before.latency(99) == 0.010
    assert before.summary["softnet dropped/s"] == 4.0
    table = before.compare(after)
    assert "interrupts/s                 100.000      50.000     -50%" in table
    # No part of the spans has latencies, so nothing shows that they are more than noise.
    assert "MI call p99 ms                10.000       1.000    noise" in table
    assert "UDP RcvbufErrors/s             2.000       2.000         " in table
    assert "interrupts/s                 100.000      98.000    noise" in before.compare(evidence(98.0, 8))
    assert "CPU2 100/s" in str(before)


def test_only_a_live_machine_runs_commands(captured) -> None:
    with pytest.raises(ValueError, match="expected a live machine"):
        Host(root=captured("612")).run(["true"], cpus="0")
