"""Facts of this machine about files, processes, namespaces and users."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

#: Names of a server's processes.
SERVER = "opensips"


@dataclasses.dataclass(frozen=True)
class LocalProcess:
    """A process, with the facts that may be read."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    @property
    def root(self) -> Path:
        """The file system as it sees it."""
        return Path(f"/proc/{self.pid}/root")

    def is_in_other(self, namespace: str) -> bool:
        """Return whether it is known to be in another namespace ("mnt", "net") than this one."""
        try:
            return os.readlink(f"/proc/{self.pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
        except OSError:
            return False

    @property
    def user(self) -> Optional[tuple[int, set[int]]]:
        """Its effective user and groups."""
        try:
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        except OSError:
            return None
        groups = {int(fields["Gid"].split()[1]), *map(int, fields["Groups"].split())}
        return int(fields["Uid"].split()[1]), groups


def processes(name: Optional[str] = None) -> Iterator[LocalProcess]:
    """All processes, or those of a name."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                found = LocalProcess(int(entry), Path(f"/proc/{entry}/comm").read_text().strip())
                if name is None or found.name == name:
                    yield found


def holders(wanted: os.stat_result) -> list[LocalProcess]:
    """The processes that have a file open and may be read, without this one."""
    return [process for process in processes() if process.pid != os.getpid() and _holds(process, wanted)]


def _holds(process: LocalProcess, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{process.pid}/fd"):
            with contextlib.suppress(OSError):
                if is_same(os.stat(f"/proc/{process.pid}/fd/{number}"), wanted):
                    return True
    return False


def holders_of_deleted(path: str) -> list[LocalProcess]:
    """The processes that have a file open which was at a path, and was deleted."""
    found = []
    for process in processes():
        with contextlib.suppress(OSError):
            links = (f"/proc/{process.pid}/fd/{number}" for number in os.listdir(f"/proc/{process.pid}/fd"))
            if any(_link(link) == f"{path} (deleted)" for link in links):
                found.append(process)
    return found


def _link(link: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return ""


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether both are one file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def may(user: tuple[int, set[int]], found: os.stat_result, wanted: int) -> bool:
    """Return whether a user may read (4), write (2) or search (1) a file, by its owner and mode."""
    number, groups = user
    if number == 0:
        return True
    shift = 6 if found.st_uid == number else 3 if found.st_gid in groups else 0
    return (found.st_mode >> shift) & wanted == wanted


def describe(found: os.stat_result) -> str:
    """Owner, group and mode: "opensips:opensips, mode 0660"."""
    return f"{user_name(found.st_uid)}:{group_name(found.st_gid)}, mode {stat.S_IMODE(found.st_mode):04o}"


def user_name(number: int) -> str:
    """The name of a user, or its number."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """The name of a group, or its number."""
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def me() -> str:
    """Return the user of this process."""
    return user_name(os.geteuid())


def kind(found: os.stat_result) -> str:
    """Return the kind of a file in words."""
    kinds = [
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISLNK, "a link"),
    ]
    return next((name for test, name in kinds if test(found.st_mode)), "a device")


def first_missing(path: str) -> Optional[str]:
    """The first directory on the way to a file that does not exist."""
    for parent in reversed(Path(path).parents):
        if not parent.exists():
            return str(parent)
    return None


def first_closed(path: str) -> Optional[str]:
    """The first directory on the way to a file that this user may not search."""
    for parent in reversed(Path(os.path.abspath(path)).parents):
        if not os.access(parent, os.X_OK, effective_ids=True):
            return str(parent)
    return None


def elsewhere(path: str) -> list[LocalProcess]:
    """Servers that see another file under this path, or see one where this process sees none."""
    found = []
    for process in processes(SERVER):
        if process.is_in_other("mnt"):
            with contextlib.suppress(OSError):
                theirs = os.stat(f"{process.root}{os.path.abspath(path)}")
                if not os.path.exists(path) or not is_same(theirs, os.stat(path)):
                    found.append(process)
    return found
