"""A machine's files as a tarball, and back: what `Host` reads, and nothing more."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Union

FILES = (
    "proc/interrupts",
    "proc/mounts",
    "proc/net/softnet_stat",
    "proc/net/snmp",
    "proc/net/snmp6",
    "proc/net/udp",
    "proc/net/udp6",
    "proc/sys/kernel/osrelease",
    "proc/sys/kernel/random/boot_id",
    "proc/sys/net/core/rps_sock_flow_entries",
    "etc/os-release",
    "etc/tuned/active_profile",
    "etc/default/irqbalance",
    "etc/sysconfig/irqbalance",
    "usr/lib/irqbalance/defaults.env",
)
GLOBS = (
    "proc/irq/default_smp_affinity",
    "proc/irq/[0-9]*/*",
    "sys/kernel/irq/[0-9]*/*",
    "sys/devices/system/cpu/*",
    "sys/devices/system/cpu/cpu[0-9]*/topology/*",
    "sys/devices/system/cpu/cpu[0-9]*/cache/index*/*",
    "sys/devices/system/node/node[0-9]*/cpulist",
    "sys/fs/cgroup/cpuset.cpus*",
    "sys/fs/cgroup/cpuset/cpuset.*cpus",
    "sys/fs/cgroup/*/cpuset.cpus.effective",
    "sys/fs/cgroup/*/*/cpuset.cpus.effective",
    *(
        f"{folder}/systemd/system/irqbalance.service{rest}"
        for folder in ("etc", "run", "usr/lib", "lib")
        for rest in ("", ".d/*.conf")
    ),
)
PROCESS_FILES = ("stat", "comm", "cgroup", "status")
DEVICE_FILES = ("numa_node", "local_cpulist", "irq", "partition", "bonding/slaves")
LOWER_FILES = (
    "lower_*",
    "statistics/rx_*",
    "queues/*",
    "queues/*/rps_*",
    "queues/*/xps_cpus",
    "slaves/*",
    "brif/*",
)
MOST_BYTES = 8 << 20  # one file; /proc/interrupts of 4,096 CPUs and 2,000 rows would be 90 MB and is refused
MOST_FILES = 1_000_000


class Captured:
    """Collects members of the tarball; what vanishes or may not be read is left out."""

    def __init__(self, root: Path, tar: tarfile.TarFile) -> None:
        self.root, self.tar = root, tar
        self.seen: set[str] = set()

    def add(self, path: Path) -> None:
        name = str(path.relative_to(self.root))
        if name in self.seen:
            return
        info = tarfile.TarInfo(name)
        try:
            if path.is_symlink():
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
                if info.linkname.startswith("/"):
                    return
                self.seen.add(name)
                self.tar.addfile(info)
                return
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                self.seen.add(name)
                self.tar.addfile(info)
                return
            info.mode = path.stat().st_mode & 0o777
            with path.open("rb") as file:
                content = file.read(MOST_BYTES)
        except OSError:
            return
        info.size = len(content)
        self.seen.add(name)
        self.tar.addfile(info, io.BytesIO(content))

    def file(self, path: Path) -> None:
        """A file's content also where the path is a link: `/proc/mounts`, `/etc/os-release`."""
        try:
            if path.is_symlink():
                with path.open("rb") as file:
                    self.add_bytes(path, file.read(MOST_BYTES))
            elif path.is_file():
                self.add(path)
        except OSError:
            return

    def add_bytes(self, path: Path, content: bytes) -> None:
        info = tarfile.TarInfo(str(path.relative_to(self.root)))
        info.size = len(content)
        if info.name not in self.seen:
            self.seen.add(info.name)
            self.tar.addfile(info, io.BytesIO(content))

    def device(self, name: str) -> None:
        """A class link, the folder it leads to, and the way up to the PCI function."""
        link = self.root / name
        self.add(link)
        home = Path(os.path.realpath(link))
        while self.root in home.parents and home != self.root / "sys/devices":
            self.add(home)
            for entry in ("device", "driver", "subsystem", *DEVICE_FILES):
                if (home / entry).exists() or (home / entry).is_symlink():
                    self.add(home / entry)
            for vector in (home / "msi_irqs").glob("*"):
                self.add(vector)
            for pattern in (
                "lower_*",
                "statistics/rx_*",
                "queues/*",
                "queues/*/rps_*",
                "queues/*/xps_cpus",
                "slaves/*",
                "brif/*",
            ):
                for found in home.glob(pattern):
                    self.add(found)
            for target in ("device", "driver", "subsystem"):
                if (home / target).is_symlink():
                    goal = Path(os.path.realpath(home / target))
                    if self.root in goal.parents:
                        self.add(goal)
            home = home.parent

    def process(self, folder: Path) -> None:
        for name in PROCESS_FILES:
            self.add(folder / name)
        for pattern in ("task/*/status", "task/*/comm", "task/*/stat"):
            for found in folder.glob(pattern):
                self.add(found)
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0", 1)[0]
        except OSError:
            return
        self.add_bytes(folder / "cmdline", command + b"\0")  # arguments may hold passwords


def device_links(root: Path) -> Iterator[str]:
    for folder in ("sys/class/net", "sys/class/block", "sys/bus/pci/devices"):
        for link in sorted((root / folder).glob("*")):
            yield str(link.relative_to(root))


def write(machine: str, file: Union[str, os.PathLike[str]]) -> int:
    """Capture the machine below a folder, and return the number of files."""
    root = Path(machine)
    with tarfile.open(file, "w:gz") as tar:
        captured = Captured(root, tar)
        for name in FILES:
            captured.file(root / name)
        for pattern in GLOBS:
            for path in sorted(root.glob(pattern)):
                if path.is_file():
                    captured.file(path)
                elif pattern.startswith("proc/irq"):
                    captured.add(path)  # the folders of actions
        for link in device_links(root):
            captured.device(link)
        for folder in sorted((root / "proc").glob("[0-9]*")):
            captured.process(folder)
    return len(captured.seen)


def extract(file: Union[str, os.PathLike[str]]) -> str:
    """A captured machine in a temporary folder, which the caller removes.

    Members that would lie, or lead, outside of it are an error.
    """
    root = os.path.realpath(tempfile.mkdtemp(prefix="sipmi-host-"))
    try:
        unpack(file, root)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return root


def unpack(file: Union[str, os.PathLike[str]], root: str) -> None:
    with tarfile.open(file, "r:*") as tar:
        for number, member in enumerate(tar):
            target = os.path.normpath(os.path.join(root, member.name))
            goal = os.path.normpath(os.path.join(os.path.dirname(target), member.linkname))
            inside = target.startswith(root + os.sep) or target == root
            if number >= MOST_FILES or member.size > MOST_BYTES:
                limits = f"at most {MOST_FILES} files of {MOST_BYTES} bytes"
                raise ValueError(f"{os.fspath(file)}: expected {limits}, found {member.name!r}")
            if not inside or not (member.isfile() or member.isdir() or member.issym()):
                raise ValueError(
                    f"{os.fspath(file)}: expected files, folders and links of a machine, found {member.name!r}"
                )
            if member.issym() and not goal.startswith(root + os.sep):
                found = f"{member.name!r} -> {member.linkname!r}"
                raise ValueError(f"{os.fspath(file)}: expected links within the machine, found {found}")
            place(tar, member, target, root)


def place(tar: tarfile.TarFile, member: tarfile.TarInfo, target: str, root: str) -> None:
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    if not (os.path.realpath(parent) + os.sep).startswith(root + os.sep):
        raise ValueError(f"expected {member.name!r} within the machine, found a link on its way")
    if member.isdir():
        os.makedirs(target, exist_ok=True)
    elif member.issym():
        # The goal must exist for the walk upwards, also where nothing of it was captured.
        os.makedirs(os.path.normpath(os.path.join(parent, member.linkname)), exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(member.linkname, target)
    else:
        content = tar.extractfile(member)
        if os.path.lexists(target) or content is None:
            return
        with content, open(target, "xb") as file:
            file.write(content.read())
        os.chmod(target, member.mode & 0o777)
