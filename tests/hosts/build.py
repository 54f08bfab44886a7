#!/usr/bin/env python3
"""Make a tree of /proc, /sys and /etc from the captures beside this file: build.py NAME FOLDER."""

from __future__ import annotations

import os
import re
import sys
import tarfile
from pathlib import Path

CAPTURES = Path(__file__).resolve().parent / "captures"
NAMES = ("61", "612", "612ir", "72", "firecracker", "arm64", "article", "guest")
TABLES = {
    "firecracker": "live_6.18_firecracker.interrupts",
    "arm64": "node_exporter_aarch64.interrupts",
}
RELEASES = {
    "61": "6.1.0-50-amd64",
    "612": "6.12.100+deb12-amd64",
    "612ir": "6.12.100+deb12-amd64",
    "72": "6.12.100+deb12-amd64",
    "firecracker": "6.18.44",
    "arm64": "5.15.0",
    "article": "2.6.32",
}
PF_NO_SETAFFINITY = 0x04000000


class Tree:
    """Writes below a folder with the paths of a machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text if text.endswith("\n") or not text else text + "\n")
        target.chmod(mode)

    def folder_at(self, path: str) -> None:
        (self.folder / path.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def link(self, path: str, target: str) -> None:
        """A relative link, as sysfs makes them."""
        source = self.folder / path.lstrip("/")
        source.parent.mkdir(parents=True, exist_ok=True)
        goal = self.folder / target.lstrip("/")
        goal.mkdir(parents=True, exist_ok=True)
        if not source.is_symlink():
            source.symlink_to(os.path.relpath(goal, source.parent))


def extract(capture: Path, folder: Path) -> None:
    """Unpack what `sipmi irq capture` wrote on a guest with many devices."""
    with tarfile.open(capture) as tar:
        for member in tar.getmembers():
            # Captured files are writable here: tests write masks into them.
            member.mode |= 0o600 if member.isfile() else 0
        tar.extractall(folder)


def cpu_list(cpus: list[int]) -> str:
    return ",".join(map(str, cpus)) if cpus != list(range(len(cpus))) else f"0-{len(cpus) - 1}"


def expand(text: str) -> list[int]:
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def mask(cpus: list[int], width: int) -> str:
    """As the kernel prints it for `width` possible CPUs."""
    number = sum(1 << cpu for cpu in cpus)
    groups = [f"{(number >> shift) & 0xFFFFFFFF:08x}" for shift in range(0, width, 32)]
    top = (width - 1) % 32 // 4 + 1
    groups[-1] = groups[-1][-top:]
    return ",".join(reversed(groups))


def sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("@@@ "):
            lines = found.setdefault(line[4:], [])
        else:
            lines.append(line)
    return found


def irq_folder(
    tree: Tree,
    number: int,
    width: int,
    *,
    allowed: str,
    effective: str,
    hint: str = "",
    node: str = "-1",
    mode: int = 0o644,
    actions: list[str] | None = None,
) -> None:
    folder = f"/proc/irq/{number}"
    tree.file(f"{folder}/smp_affinity", mask(expand(allowed), width), mode)
    tree.file(f"{folder}/smp_affinity_list", allowed, mode)
    tree.file(f"{folder}/effective_affinity", mask(expand(effective), width), 0o444)
    tree.file(f"{folder}/effective_affinity_list", effective + "\n", 0o444)
    tree.file(f"{folder}/affinity_hint", hint or mask([], width), 0o444)
    tree.file(f"{folder}/node", node, 0o444)
    tree.file(f"{folder}/spurious", "count 7\nunhandled 1\nlast_unhandled 389948 ms\n", 0o444)
    for action in actions or []:
        if "/" not in action:
            tree.folder_at(f"{folder}/{action}")


def mask_to_list(text: str) -> str:
    number = int(text.replace(",", ""), 16)
    return ",".join(str(bit) for bit in range(number.bit_length()) if number >> bit & 1)


def is_managed(action: str) -> bool:
    return bool(re.fullmatch(r"nvme\d+q[1-9]\d*|virtio\d+-req\.\d+|virtio\d+-request", action))


def irqs_from_capture(tree: Tree, lines: list[str], width: int, table: str) -> set[int]:
    """Lines such as `25 mode=644 smp=ff list=0-7 eff=20 hint=ff node=-1 actions=a/b/  sk=chip|hwirq|type|name|a,b|`."""
    done = set()
    names = {words[0].rstrip(":"): words[-1] for words in map(str.split, table.splitlines()[1:]) if words}
    for line in lines:
        if line.startswith("default="):
            tree.file("/proc/irq/default_smp_affinity", line.split()[0].partition("=")[2])
            continue
        number, _, rest = line.partition(" ")
        if not number.isdigit():
            continue
        fields = dict(re.findall(r"(\w+)=((?:(?! \w+=).)*)", rest))
        kernel = fields.get("sk", "").rstrip("|").split("|")
        actions = [name for name in fields.get("actions", "").strip().split("/") if name]
        mode = "444" if is_managed(names.get(number, "")) else "644"  # one capture does not say
        irq_folder(
            tree,
            int(number),
            width,
            allowed=fields["list"].strip(),
            hint=fields["hint"].strip(),
            effective=mask_to_list(fields["eff"].strip()),
            node=fields.get("node", "-1").strip(),
            mode=int(fields.get("mode", mode).strip(), 8),
            actions=actions,
        )
        if len(kernel) > 1:
            sys_folder = f"/sys/kernel/irq/{number}"
            tree.file(f"{sys_folder}/chip_name", kernel.pop(0))
            tree.file(f"{sys_folder}/hwirq", kernel.pop(0) if kernel[0].isdigit() else "")
            tree.file(f"{sys_folder}/type", kernel.pop(0) if kernel else "")
            tree.file(f"{sys_folder}/name", kernel.pop(0) if kernel else "")
            tree.file(f"{sys_folder}/actions", kernel.pop(0) if kernel else "")
        done.add(int(number))
    return done


def level(tree: Tree, path: str, driver: str, vectors: str, line: str, numa: str) -> None:
    """One folder of /sys/devices with its driver, subsystem and interrupts."""
    name = path.rsplit("/", 1)[1]
    tree.folder_at(path)
    pci = re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]", name)
    bus = "pci" if pci else "virtio" if name.startswith("virtio") else "scsi" if ":" in name else ""
    if bus:
        tree.link(f"{path}/subsystem", f"/sys/bus/{bus}")
    if driver:
        tree.link(f"{path}/driver", f"/sys/bus/{bus or 'nvme'}/drivers/{driver}")
    if pci:
        tree.link(f"/sys/bus/pci/devices/{name}", path)
        tree.file(f"{path}/numa_node", numa or "-1")
        for vector in vectors.split():
            tree.file(f"{path}/msi_irqs/{vector}", "msix")
        if line.isdigit():
            tree.file(f"{path}/irq", line)


def devices(tree: Tree, lines: list[str], width: int) -> None:
    disk = ""
    for line in lines:
        words = line.split()
        if line.startswith("net "):
            fields = dict(re.findall(r"(\w+)=((?:(?! \w+=).)*)", line))
            path = fields["dev"].strip()
            driver = fields["driver"].strip().rsplit("/", 1)[-1]
            numa = fields["numa"].strip()
            numa = numa if re.fullmatch(r"-?\d+", numa) else ""
            if fields["parentmsi"].strip():
                level(tree, path.rsplit("/", 1)[0], "virtio-pci", fields["parentmsi"], "", "-1")
            level(tree, path, driver, fields["msi"], fields["irq"].strip(), numa)
            interface(tree, words[1], path, fields["queues"].split(), width)
        elif line.startswith("blk "):
            disk, path = words[1], words[2].partition("=")[2]
            tree.folder_at(path)
            tree.link(f"{path}/block/{disk}/device", path)
            tree.link(f"/sys/class/block/{disk}", f"{path}/block/{disk}")
            tree.file(f"{path}/block/{disk}/{disk}1/partition", "1")
            tree.link(f"/sys/class/block/{disk}1", f"{path}/block/{disk}/{disk}1")
        elif line.startswith("   /sys/"):
            fields = dict(re.findall(r"(\w+)=((?:(?! \w+=).)*)", line))
            level(tree, words[0], fields["driver"].strip(), fields["msi"], fields["irq"].strip(), "-1")


def interface(tree: Tree, name: str, path: str, queues: list[str], width: int) -> None:
    home = f"{path}/net/{name}"
    tree.link(f"{home}/device", path)
    tree.link(f"/sys/class/net/{name}", home)
    for queue in queues:
        if queue.startswith("rx"):
            tree.file(f"{home}/queues/{queue}/rps_cpus", mask([], width))
            tree.file(f"{home}/queues/{queue}/rps_flow_cnt", "0")
        elif len([other for other in queues if other.startswith("tx")]) > 1:
            tree.file(f"{home}/queues/{queue}/xps_cpus", mask([], width))
        else:
            tree.folder_at(f"{home}/queues/{queue}")  # with one queue, reading xps_cpus is ENOENT


def stacked(tree: Tree) -> None:
    """Not captured: a bond of eth1 and eth2, a VLAN on it, and a bridge over the VLAN."""
    for name, lower in (("bond0", ["eth1", "eth2"]), ("bond0.100", ["bond0"]), ("br0", ["bond0.100"])):
        home = f"/sys/devices/virtual/net/{name}"
        tree.folder_at(f"{home}/queues/rx-0")
        tree.link(f"/sys/class/net/{name}", home)
        for port in lower:
            goal = os.path.realpath(tree.folder / "sys/class/net" / port)
            tree.link(f"{home}/lower_{port}", "/" + os.path.relpath(goal, os.path.realpath(tree.folder)))
    tree.folder_at("/sys/devices/virtual/net/lo")
    tree.link("/sys/class/net/lo", "/sys/devices/virtual/net/lo")


def topology(tree: Tree, lines: list[str], online: list[int], nodes: list[list[int]], width: int) -> None:
    """`cpu0 pkg=0 core=0 thr=0 l3=0-3 node=node0`; CPUs that a capture leaves out are made like their neighbours."""
    root = "/sys/devices/system/cpu"
    tree.file(f"{root}/online", cpu_list(online))
    tree.file(f"{root}/possible", f"0-{width - 1}")
    tree.file(f"{root}/present", f"0-{width - 1}")
    tree.file(f"{root}/isolated", "\n")
    tree.file(f"{root}/nohz_full", "(null)")
    known = {}
    for line in lines:
        if found := re.match(r"cpu(\d+) (.*)", line):
            known[int(found[1])] = dict(pair.split("=", 1) for pair in found[2].split())
    for number, cpus in enumerate(nodes):
        tree.file(f"/sys/devices/system/node/node{number}/cpulist", f"{cpus[0]}-{cpus[-1]}")
    for cpu in online:
        node = next(number for number, cpus in enumerate(nodes) if cpu in cpus)
        first = nodes[node][0]
        domain = f"{first}-{nodes[node][-1]}"
        facts = known.get(cpu, {})
        if not facts and cpu - first in known:  # the capture shows one node; the others are alike
            facts = {"core": known[cpu - first]["core"], "thr": shifted(known[cpu - first]["thr"], first)}
        folder = f"{root}/cpu{cpu}"
        tree.file(f"{folder}/topology/physical_package_id", facts.get("pkg", str(node)))
        tree.file(f"{folder}/topology/core_id", facts.get("core", str(cpu)))
        tree.file(f"{folder}/topology/thread_siblings_list", facts.get("thr", str(cpu)))
        tree.file(f"{folder}/cache/index0/level", "1")
        tree.file(f"{folder}/cache/index0/shared_cpu_list", str(cpu))
        tree.file(f"{folder}/cache/index3/level", "3")
        tree.file(f"{folder}/cache/index3/shared_cpu_list", facts.get("l3", domain))


def shifted(cpus: str, by: int) -> str:
    return "-".join(str(int(cpu) + by) for cpu in cpus.split("-"))


def process(
    tree: Tree,
    pid: int,
    name: str,
    parent: int,
    width: int,
    *,
    tids: tuple[int, ...] = (),
    flags: int = 0x400100,
    command: str = "",
    allowed: str = "",
    group: str = "/",
) -> None:
    """A process as /proc shows it (not captured, but in the kernel's forms)."""
    allowed = allowed or f"0-{width - 1}"
    fields = [
        str(pid),
        f"({name})",
        "S",
        str(parent),
        str(pid),
        str(pid),
        "0",
        "-1",
        str(flags),
        *["0"] * 12,
        str(1000 + pid),
    ]
    status = (
        f"Name:\t{name}\nState:\tS (sleeping)\nPid:\t{pid}\nPPid:\t{parent}\n"
        f"Cpus_allowed:\t{mask(expand(allowed), width)}\nCpus_allowed_list:\t{allowed}\n"
        "voluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t3\n"
    )
    folder = f"/proc/{pid}"
    tree.file(f"{folder}/stat", " ".join([*fields, *["0"] * 30]))
    tree.file(f"{folder}/comm", name)
    tree.file(f"{folder}/cmdline", command.replace(" ", "\0"))
    tree.file(f"{folder}/cgroup", f"0::{group}")
    tree.file(f"{folder}/status", status)
    for tid in (pid, *tids):
        tree.file(f"{folder}/task/{tid}/status", status)


def server(tree: Tree, width: int) -> None:
    """Not captured: an opensips of five processes in a group of its own, and a kernel thread."""
    tree.file("/proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0")
    tree.file("/proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555")
    tree.file("/sys/fs/cgroup/cpuset.cpus.effective", f"0-{width - 1}")
    tree.file("/sys/fs/cgroup/system.slice/opensips.service/cgroup.procs", "\n".join(map(str, range(19904, 19909))))
    process(tree, 1, "systemd", 0, width, command="/sbin/init")
    process(tree, 17, "ksoftirqd/0", 2, width, flags=0x208040 | PF_NO_SETAFFINITY, allowed="0")
    group = "/system.slice/opensips.service"
    process(tree, 19904, "opensips", 1, width, command="/usr/sbin/opensips -f /etc/opensips/opensips.cfg", group=group)
    for pid in range(19905, 19909):
        process(
            tree,
            pid,
            "opensips",
            19904,
            width,
            command="/usr/sbin/opensips",
            group=group,
            tids=(pid + 1000,) if pid == 19908 else (),
        )
    tree.file("/run/opensips/opensips.pid", "19904")
    tree.file(
        "/proc/net/softnet_stat",
        "\n".join(
            f"{cpu:08x} 00000000 00000001 " + "00000000 " * 9 + f"{cpu:08x} 00000000 00000000" for cpu in range(width)
        ),
    )
    tree.file(
        "/proc/net/snmp",
        "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 100 2 3 90 3 0\n",
    )
    tree.file("/etc/os-release", 'ID=debian\nVERSION_ID="12"')
    tree.file(
        "/etc/default/irqbalance",
        "# local notes\nIRQBALANCE_ONESHOT=\n#IRQBALANCE_BANNED_CPULIST=\nIRQBALANCE_ARGS=--deepestcache=2\n",
    )


def from_table(tree: Tree, table: str, online: list[int], width: int, done: set[int]) -> None:
    """Add interrupts that are in the table but in no capture: allowed anywhere, managed ones where they fired."""
    for line in table.splitlines()[1:]:
        label, _, rest = line.partition(":")
        if not label.strip().isdigit() or int(label) in done:
            continue
        words = rest.split()
        counts = [int(word) for word in words[: len(online)]]
        busiest = str(online[counts.index(max(counts))])
        action = words[-1]
        managed = is_managed(action)
        irq_folder(
            tree,
            int(label),
            width,
            effective=busiest,
            actions=[action],
            allowed=busiest if managed else cpu_list(online),
            mode=0o444 if managed else 0o644,
        )


def build(name: str, folder: Path) -> Path:
    """Make the tree of `name` (one of NAMES) in `folder`."""
    if name not in NAMES:
        raise SystemExit(f"expected one of {' '.join(NAMES)}, found {name!r}")
    if name == "guest":
        extract(CAPTURES / "guest-6.1.tar.gz", folder)
        return folder
    tree = Tree(folder)
    table = (CAPTURES / TABLES.get(name, f"{name}.interrupts")).read_text()
    tree.file("/proc/interrupts", table)
    tree.file("/proc/sys/kernel/osrelease", RELEASES[name])
    online = [int(word[3:]) for word in table.splitlines()[0].split()]
    width = online[-1] + 1
    facts = CAPTURES / f"{name}.irqfiles_sysfs_writes.txt"
    parts = sections(facts.read_text()) if facts.exists() else {}
    nodes = [expand(line) for line in parts.get("topo", []) if re.fullmatch(r"\d+-\d+", line)] or [online]
    topology(tree, parts.get("topo", []), online, nodes, width)
    irq_lines = parts.get("irqfiles", [])
    if name == "firecracker":
        irq_lines = (CAPTURES / "live_6.18_firecracker.irq.txt").read_text().splitlines()
    done = irqs_from_capture(tree, irq_lines, width, table)
    from_table(tree, table, online, width, done)
    if not (folder / "proc/irq/default_smp_affinity").exists():
        tree.file("/proc/irq/default_smp_affinity", mask(online, width))
    if "sysfs" in parts:
        devices(tree, parts["sysfs"], width)
        stacked(tree)
    server(tree, width)
    return folder


if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2]))
