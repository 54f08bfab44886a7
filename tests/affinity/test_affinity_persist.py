"""Plans that last: `Applied.persist` and `sipmi pin --persist`, `--reapply`, `--list`, `--forget`."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from affinity_fixtures import hosts
from sipmi.affinity import Host
from sipmi.cli import main


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(hosts.build("612", tmp_path / "machine"))


PIN = ["pin", "--device", "eth1", "--process", "opensips", "--cpus", "2-3", "--persist", "edge"]


def written(root: str) -> dict[str, str]:
    """Return the files below /etc but the distribution's, by path."""
    etc = Path(root, "etc")
    files = [path for path in etc.rglob("*") if path.is_file() and path.name not in ("irqbalance", "os-release")]
    return {f"/{path.relative_to(root)}": path.read_text() for path in files}


def affinities(root: str) -> tuple[str, str]:
    host = Host(root)
    return str(host.irq(57).affinity), str(host.process(19905).affinity)


def test_a_dry_run_shows_the_files_and_writes_none(root: str, capsys) -> None:
    assert main([*PIN, "--dry-run", "--root", root]) == 0
    said = capsys.readouterr().out
    assert "/etc/systemd/system/sipmi-pin-edge.service:\n    [Unit]\n" in said
    assert written(root) == {}


def test_a_lasting_plan_is_applied_by_its_unit_and_taken_back_with_all_its_files(root: str, capsys) -> None:
    assert main([*PIN, "--root", root]) == 0
    said = capsys.readouterr().out
    files = written(root)
    assert sorted(files) == [
        "/etc/sipmi/pins/edge.json",
        "/etc/systemd/system/multi-user.target.d/50-sipmi-pin-edge.conf",
        "/etc/systemd/system/opensips.service.d/50-sipmi-pin-edge.conf",
        "/etc/systemd/system/sipmi-pin-edge.service",
        "/etc/udev/rules.d/90-sipmi-pin-edge.rules",
    ]
    for path, content in files.items():
        if path.startswith("/etc/s") and "pins" not in path:
            assert f"{path}:\n    {content.splitlines()[0]}\n" in said, "shown before it is written"
    assert "CPUAffinity=2-3" in files["/etc/systemd/system/opensips.service.d/50-sipmi-pin-edge.conf"]
    assert 'KERNEL=="eth1"' in files["/etc/udev/rules.d/90-sipmi-pin-edge.rules"]
    unit = files["/etc/systemd/system/sipmi-pin-edge.service"]
    assert "After=network.target irqbalance.service opensips.service\n" in unit

    # A restart of the machine: the kernel has its defaults, the server other pids.
    Path(root, "proc/sys/kernel/random/boot_id").write_text("99999999-2222-3333-4444-555555555555\n")
    Host(root).irq(57).set_affinity("0-7")
    restart(root, 19905, 29905)
    [line] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    command = [*shlex.split(line.removeprefix("ExecStart=")), "--root", root]
    assert command[0] == sys.executable
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    assert (str(Host(root).irq(57).affinity), str(Host(root).process(29905).affinity)) == ("2-3", "2-3")
    [journal] = Host(root).journals()
    capsys.readouterr()

    assert main(["pin", "--list", "--root", root]) == 0
    assert "; lasting, as edge\n" in capsys.readouterr().out
    assert main(["pin", "--forget", "edge", "--root", root]) == 0
    assert f"sipmi pin --undo --journal {journal}" in capsys.readouterr().out
    assert written(root) == {}
    assert not Path(root, "etc/systemd/system/opensips.service.d").exists()
    assert main(["pin", "--undo", "--root", root]) == 0
    assert str(Host(root).irq(57).affinity) == "0-7"


def restart(root: str, pid: int, new: int) -> None:
    """Give a process of a captured machine another pid."""
    shutil.move(f"{root}/proc/{pid}", f"{root}/proc/{new}")
    for path in Path(root, f"proc/{new}").rglob("stat"):
        path.write_text(path.read_text().replace(str(pid), str(new)))
    shutil.rmtree(f"{root}/proc/{new}/task", ignore_errors=True)
    status = Path(root, f"proc/{new}/status")
    lines = status.read_text().splitlines()
    anew = {"Cpus_allowed": "ff", "Cpus_allowed_list": "0-7"}
    keep = [line for line in lines if line.partition(":")[0] not in anew]
    status.write_text("\n".join([*keep, *(f"{name}:\t{value}" for name, value in anew.items())]) + "\n")


def test_a_lasting_plan_whose_journal_is_undone_is_listed_and_can_be_applied_again(root: str, capsys) -> None:
    host = Host(root)
    before = affinities(root)
    applied = host.plan(device="eth1", process="opensips", cpus="2-3").apply()
    applied.persist("edge")
    applied.undo()
    assert affinities(root) == before
    assert main(["pin", "--list", "--root", root]) == 0
    assert capsys.readouterr().out == (
        "edge\n  lasting, not applied now: --device eth1 --process opensips --cpus 2-3 --policy auto\n"
    )
    assert main(["pin", "--reapply", "edge", "--root", root]) == 0
    assert affinities(root) == ("2-3", "2-3")
    assert [pin["journal"] for pin in host.pins()] == host.journals()


def test_a_file_that_was_edited_since_stays(root: str, capsys) -> None:
    assert main([*PIN, "--root", root]) == 0
    rules = Path(root, "etc/udev/rules.d/90-sipmi-pin-edge.rules")
    rules.write_text("# mine\n")
    capsys.readouterr()
    assert main(["pin", "--forget", "edge", "--root", root, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["changed_since"] == ["/etc/udev/rules.d/90-sipmi-pin-edge.rules"]
    assert list(written(root)) == ["/etc/udev/rules.d/90-sipmi-pin-edge.rules"]


def test_a_name_is_replaced_with_the_files_of_its_former_plan(root: str) -> None:
    assert main([*PIN, "--root", root]) == 0
    assert main(["pin", "--device", "sdb", "--cpus", "3", "--persist", "edge", "--root", root]) == 0
    assert "/etc/systemd/system/opensips.service.d/50-sipmi-pin-edge.conf" not in written(root)
    assert 'KERNEL=="sdb"' in written(root)["/etc/udev/rules.d/90-sipmi-pin-edge.rules"]


@pytest.mark.parametrize("name", ["", "../x", "a b", "ä", "x" * 65, "a%i"])
def test_a_name_that_is_no_unit_is_refused_before_anything_is_changed(root: str, name: str, capsys) -> None:
    before = affinities(root)
    assert main([*PIN[:-1], name, "--root", root]) == 2
    assert "expected a name of 1 to 64 letters" in capsys.readouterr().err
    assert (affinities(root), written(root)) == (before, {})


def test_an_unknown_name_is_an_error(root: str, capsys) -> None:
    for option in ("--reapply", "--forget"):
        assert main(["pin", option, "nosuch", "--root", root]) == 1
        assert 'no lasting plan "nosuch"' in capsys.readouterr().err
