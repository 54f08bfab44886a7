"""`sipmi irq` and `sipmi pin`, as typed."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

import sipmi
from affinity_fixtures import hosts
from sipmi import affinity
from sipmi.cli import main


def run(*words: str) -> int:
    return main(words)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(hosts.build("612", tmp_path / "machine"))


def test_irq_shows_interrupts_with_names_and_cpus(root: str, capsys) -> None:
    assert run("irq", "show", "--root", root, "--device", "eth1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["IRQ", "name", "device", "chip", "node", "allowed", "arrives", "managed", "count"]
    assert lines[1].split() == ["57", "eth1-rx-0", "eth1", "PCI-MSIX-0000:00:05.0", "-", "0-1", "1", "2"]
    assert len(lines) == 4
    assert run("irq", "show", "--root", root, "--device", "nvme0n1", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["managed"] for row in rows] == [False] + [True] * 8


def test_irq_alone_shows_this_machine(capsys) -> None:
    assert run("irq") == 0
    assert capsys.readouterr().out.startswith("IRQ")


def test_three_is_a_cpu_in_a_list_and_two_cpus_in_a_mask(root: str, capsys) -> None:
    assert run("irq", "set", "57", "--cpus", "3", "--root", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["now"] == "3"
    assert run("irq", "set", "57", "--mask", "3", "--root", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["now"] == "0-1"
    assert run("pin", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "(3 is CPU 3)" in said
    assert "3 is CPUs 0 and 1, as in taskset" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["irq", "set", "9999", "--cpus", "1"], 1, "no IRQ 9999"),
        (["irq", "set", "57", "--cpus", "8"], 2, "below 8, found 8"),
        (["irq", "set", "57", "--mask", "0x3"], 2, "without 0x"),
        (["irq", "show", "--device", "nosuch0"], 1, 'no network or block device "nosuch0"'),
        (["pin", "--device", "eth1", "--process", "nosuch"], 1, 'no process "nosuch"'),
        (["pin"], 2, "a device, a process, or both"),
        (["pin", "--undo"], 1, "no plan to look back at"),
    ],
)
def test_mistakes_have_an_exit_code_and_a_line_that_says_why(root: str, capsys, words, code: int, said: str) -> None:
    assert run(*words, "--root", root) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_pin_plans_applies_shows_drift_and_undoes(root: str, capsys) -> None:
    words = ["pin", "--device", "eth1", "--device", "sdb", "--process", "opensips", "--cpus", "2-3", "--root", root]
    assert run(*words, "--dry-run") == 0
    assert "ahci[0000:00:1f.2]" in capsys.readouterr().out
    assert run(*words, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["irq_cpus"] == "2-3"
    assert run("pin", "--undo", "--root", root) == 1, "a dry run leaves nothing to undo"
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert "irq 57 eth1-rx-0 applied" in said
    assert "sipmi pin --undo --journal" in said
    assert run("pin", "--drift", "--root", root) == 0
    assert "nothing has moved" in capsys.readouterr().out
    assert run("irq", "set", "57", "--cpus", "5", "--root", root) == 0
    assert run("pin", "--drift", "--root", root) == 1
    assert run("pin", "--undo", "--root", root, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["done"] is True
    assert Path(root, "proc/irq/57/smp_affinity_list").read_text() == "5\n", "another program has moved it since"
    assert Path(root, "proc/irq/58/smp_affinity_list").read_text() == "0-1\n"


def test_pin_lists_its_plans_applies_again_what_has_moved_and_forgets(root: str, capsys) -> None:
    assert run("pin", "--list", "--root", root) == 0
    assert capsys.readouterr().out == "no plan is applied\n"
    for device, cpus in (("eth1", "2"), ("sdb", "3")):
        assert run("pin", "--device", device, "--cpus", cpus, "--root", root) == 0
    capsys.readouterr()
    assert run("pin", "--list", "--root", root) == 0
    said = capsys.readouterr().out
    assert "--device eth1 --cpus 2 --policy auto" in said
    assert "  IRQ 57 eth1-rx-0: CPUs 0-1 to 2\n" in said
    assert run("irq", "set", "57", "--cpus", "5", "--root", root) == 0
    capsys.readouterr()
    assert run("pin", "--drift", "--root", root) == 1, "the older plan is looked at, too"
    assert "IRQ 57 eth1-rx-0" in capsys.readouterr().out
    assert run("pin", "--fix", "--root", root, "--json") == 0
    fixed = json.loads(capsys.readouterr().out)
    assert [[outcome["subject"] for outcome in each["outcomes"]] for each in fixed["journals"]] == [["IRQ 57"], []]
    assert Path(root, "proc/irq/57/smp_affinity_list").read_text() == "2\n"
    assert run("pin", "--drift", "--root", root) == 0
    assert run("pin", "--forget", "--root", root) == 2, "which one is not guessed"
    assert "--journal FILE" in capsys.readouterr().err
    assert run("pin", "--forget", "--journal", fixed["journal"], "--root", root) == 0
    assert run("pin", "--undo", "--root", root) == 0
    assert run("pin", "--undo", "--root", root) == 1
    assert Path(root, "proc/irq/57/smp_affinity_list").read_text() == "2\n", "forgotten, not undone"


def test_a_plan_that_cannot_be_undone_does_not_keep_an_older_one_from_it(root: str, capsys, monkeypatch) -> None:
    for device, cpus in (("eth1", "2"), ("sdb", "3")):
        assert run("pin", "--device", device, "--cpus", cpus, "--root", root) == 0
    [number] = [row["irq"] for row in rows_of("sdb", root, capsys)]
    faults = {f"/proc/irq/{number}/smp_affinity_list": "EIO", f"/proc/irq/{number}/smp_affinity": "EIO"}
    broken = affinity.Host(root, faults=faults)
    monkeypatch.setattr("sipmi.cli.commands.pin.open_host", lambda options: broken)
    assert run("pin", "--undo", "--root", root) == 1
    assert "the journal stays" in capsys.readouterr().out
    assert Path(root, "proc/irq/57/smp_affinity_list").read_text() == "0-1\n"
    assert len(broken.journals()) == 1


def rows_of(device: str, root: str, capsys) -> list[dict]:
    capsys.readouterr()
    assert run("irq", "show", "--root", root, "--device", device, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_pidfile_names_the_whole_server(root: str, capsys) -> None:
    pidfile = "/run/opensips/opensips.pid"
    assert run("pin", "--pidfile", pidfile, "--cpus", "1", "--dry-run", "--json", "--root", root) == 0
    assert [item["subject"] for item in json.loads(capsys.readouterr().out)["items"]] == [
        str(pid) for pid in range(19904, 19909)
    ]


def test_a_machine_is_captured_into_a_file_that_the_command_reads(tmp_path: Path, root: str, capsys) -> None:
    file = str(tmp_path / "machine.tar.gz")
    assert run("irq", "capture", file, "--root", root) == 0
    assert "files" in capsys.readouterr().out
    assert run("irq", "show", "--root", file, "--device", "eth2") == 0
    assert "eth2-rxtx-7" in capsys.readouterr().out


def test_top_prints_a_frame_a_person_can_read_and_json_for_others(capsys) -> None:
    assert run("irq", "top", "--interval", "0.1", "--count", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "interrupts/s in" in lines[0]
    assert lines[2].split() == ["IRQ", "per", "second", "name", "where"]
    assert "/s" in lines[3]
    assert "CPU" in lines[3]
    assert run("irq", "top", "--interval", "0.1", "--count", "2", "--json") == 0
    frames = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(frames) == 2
    assert all(row["rate"] > 0 for frame in frames for row in frame)


def test_top_redraws_in_place_on_a_terminal_and_ends_at_ctrl_c() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sipmi", "irq", "top", "--interval", "0.05"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    seen = b""
    try:
        while seen.count(b"\x1b[H") < 3:
            assert select.select([leader], [], [], 20)[0], seen
            seen += os.read(leader, 65536)
        process.send_signal(2)
        while select.select([leader], [], [], 20)[0]:
            try:
                if not os.read(leader, 65536):
                    break
            except OSError:  # the other side is closed
                break
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert b"\x1b[J" in seen
    assert b"Traceback" not in seen


def test_the_mi_of_a_server_tells_the_jobs_of_its_processes(capsys) -> None:
    server = sipmi.Server("edge")
    server.listen("udp:127.0.0.1:0")
    with server:
        assert run("pin", "--mi", server.addresses[0], "--dry-run", "--json") == 0
    [item] = [item for item in json.loads(capsys.readouterr().out)["items"] if item["kind"] == "process"]
    assert item["subject"] == str(os.getpid())
    assert ": " in item["label"]
    assert run("pin", "--mi", "udp:127.0.0.1:9", "--dry-run") == 3
