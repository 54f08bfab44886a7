"""A command FIFO and the directory of reply FIFOs."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from ..client import Client
from . import _machine
from ._finding import Finding

#: Where servers have their FIFO.
USUAL = ("/run/opensips/opensips_fifo", "/var/run/opensips/opensips_fifo", "/tmp/opensips_fifo")
START = "systemctl restart opensips"
#: A directory and name of a reply FIFO together, as servers take it; names have up to 30 bytes.
LONGEST_REPLY, NAME = 127, 30


def look(address: str, mi: Client, options: dict[str, Any]) -> Iterator[Finding]:
    """Look at the FIFO, from its directory to its reader."""
    path, _, given = mi.address[len("fifo:") :].partition("?reply_dir=")
    reply_dir = given or "/tmp"
    problem = _look_at_file(path)
    if problem is not None:
        yield problem
        return
    yield from _look_at_directory(path)
    readers = _readers(path)
    if isinstance(readers, Finding):
        yield readers
        return
    names = ", ".join(map(str, readers)) or "a process that this user may not look at"
    yield Finding("ok", "fifo-read", f"{path} is read by {names}.")
    yield from _look_at_replies(reply_dir, readers)


def _look_at_file(path: str) -> Optional[Finding]:
    """Look whether the FIFO exists, is a FIFO, and may be written."""
    closed = _machine.first_closed(path)
    if closed is not None and os.path.exists(closed):
        found = os.stat(closed)
        text = f"{_machine.me()} may not enter {closed} ({_machine.describe(found)})."
        return Finding(
            "problem", "directory-closed", text, f"usermod -aG {_machine.group_name(found.st_gid)} {_machine.me()}"
        )
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return _missing(path)
    except OSError as error:
        return Finding("problem", "fifo-unreadable", f"{path} cannot be looked at: {error.strerror}.")
    if not stat.S_ISFIFO(found.st_mode):
        text = f"{path} is {_machine.kind(found)}, not a FIFO."
        if stat.S_ISREG(found.st_mode):
            text += " A write to the FIFO of a server that does not run makes such a file (echo ... > FIFO)."
        return Finding("problem", "not-a-fifo", text, f"rm {path} && {START}" if stat.S_ISREG(found.st_mode) else None)
    if not os.access(path, os.W_OK, effective_ids=True):
        text = f"{_machine.me()} may not write to {path} ({_machine.describe(found)})."
        group = _machine.group_name(found.st_gid)
        fix = f'modparam("mi_fifo", "fifo_mode", 0660)\nusermod -aG {group} {_machine.me()}'
        return Finding("problem", "fifo-mode", text, fix)
    return None


def _missing(path: str) -> Finding:
    elsewhere = _machine.elsewhere(path)
    if elsewhere:
        text = (
            f"{path} is not there, but {elsewhere[0]} sees it: that process has a file system of its own (a container,"
            " or PrivateTmp=yes of systemd)."
        )
        fix = f'modparam("mi_fifo", "fifo_name", "{USUAL[0]}")\nnsenter -m -t {elsewhere[0].pid}'
        return Finding("problem", "other-mount-namespace", text, fix)
    missing = _machine.first_missing(path)
    if missing is not None:
        text = f"The directory {missing} does not exist, so a server cannot have its FIFO {path}."
        return Finding("problem", "directory-missing", text, f"install -d -o opensips -g opensips {Path(path).parent}")
    others = [other for other in USUAL if other != path and os.path.exists(other)]
    if others:
        return Finding(
            "problem",
            "fifo-missing",
            f"There is no FIFO at {path}, but one at {others[0]}.",
            f"sipmi doctor fifo:{others[0]}",
        )
    deleted = _machine.holders_of_deleted(path)
    if deleted:
        text = f"{path} was deleted while {deleted[0]} reads it: a new file there has no reader."
        return Finding("problem", "fifo-deleted", text, START)
    running = list(_machine.processes(_machine.SERVER))
    if running:
        text = f"There is no FIFO at {path}, though {running[0]} runs: it has another path, or no module mi_fifo."
        fix = f'loadmodule "mi_fifo.so"\nmodparam("mi_fifo", "fifo_name", "{path}")'
        return Finding("problem", "fifo-missing", text, fix)
    text = f"There is no FIFO at {path}, and no process called {_machine.SERVER} runs here."
    return Finding("problem", "fifo-missing", text, "systemctl start opensips")


def _look_at_directory(path: str) -> Iterator[Finding]:
    """Sticky directories, in which others may not open a FIFO as shells do."""
    parent = os.stat(Path(path).parent)
    protected = _protected_fifos()
    is_sticky = bool(parent.st_mode & stat.S_ISVTX)
    for_all, for_group = parent.st_mode & 0o002, parent.st_mode & 0o020
    if not is_sticky or not ((for_all and protected >= 1) or (for_group and protected >= 2)):
        return
    owner = os.stat(path).st_uid
    if owner in (os.geteuid(), parent.st_uid) and os.geteuid() != 0:
        return
    text = (
        f"{Path(path).parent} is sticky and fs.protected_fifos is {protected}, so shells and opensipsctl, which open"
        f" with O_CREAT, are refused unless they run as {_machine.user_name(owner)}. This client is not."
    )
    fix = f'modparam("mi_fifo", "fifo_name", "{USUAL[0]}")\nsysctl fs.protected_fifos=0'
    yield Finding("hint", "protected-fifos", text, fix)


def _protected_fifos() -> int:
    try:
        return int(Path("/proc/sys/fs/protected_fifos").read_text())
    except (OSError, ValueError):
        return 0


def _readers(path: str) -> Finding | list[_machine.LocalProcess]:
    """Look for the reader of the FIFO."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            return Finding("problem", "fifo-open", f"{path} cannot be opened: {error.strerror}.")
    else:
        found = os.fstat(fd)
        os.close(fd)
        return [process for process in _machine.holders(found) if process.pid != os.getpid()]
    deleted = _machine.holders_of_deleted(path)
    if deleted:
        text = (
            f"No process reads {path}: {deleted[0]} reads one that was there before and was deleted. Only versions 2.x"
            " notice, within 30 seconds."
        )
        return Finding("problem", "fifo-deleted", text, START)
    elsewhere = _machine.elsewhere(path)
    if elsewhere:
        text = (
            f"No process reads {path}: {elsewhere[0]} has a file system of its own, in which this path is another file."
        )
        fix = f'modparam("mi_fifo", "fifo_name", "{USUAL[0]}")\nnsenter -m -t {elsewhere[0].pid}'
        return Finding("problem", "other-mount-namespace", text, fix)
    running = any(True for _ in _machine.processes(_machine.SERVER))
    why = "its FIFO process has ended, or has another path" if running else "no server runs, and left it behind"
    return Finding("problem", "fifo-no-reader", f"{path} is a FIFO without a reader: {why}.", START)


def _look_at_replies(reply_dir: str, readers: list[_machine.LocalProcess]) -> Iterator[Finding]:
    """Look whether reply FIFOs can be made, and the server finds them."""
    fix = f'modparam("mi_fifo", "reply_dir", "{Path(USUAL[0]).parent}/")'
    try:
        found = os.stat(reply_dir)
    except OSError as error:
        text = f"The directory of reply FIFOs, {reply_dir}, cannot be used: {(error.strerror or '').lower()}."
        yield Finding("problem", "reply-dir-missing", text, f"install -d -m 1777 {reply_dir}")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("problem", "reply-dir-missing", f"{reply_dir} is {_machine.kind(found)}, not a directory.", fix)
        return
    if not os.access(reply_dir, os.W_OK | os.X_OK, effective_ids=True):
        text = f"{_machine.me()} may not make reply FIFOs in {reply_dir} ({_machine.describe(found)})."
        yield Finding("problem", "reply-dir-mode", text, f"chmod 1777 {reply_dir}")
        return
    if len(reply_dir.encode()) + 1 + NAME > LONGEST_REPLY:
        text = f"{reply_dir} is too long: with the name of a reply FIFO, servers take {LONGEST_REPLY} bytes."
        yield Finding("problem", "reply-dir-long", text, fix)
        return
    for reader in readers:
        try:
            theirs = os.stat(f"{reader.root}{os.path.abspath(reply_dir)}")
        except FileNotFoundError:
            text = (
                f"{reader} sees no directory {reply_dir}, in which its replies are waited for: its file system is"
                " another."
            )
            yield Finding("problem", "other-mount-namespace", text, fix)
            return
        except OSError:
            continue
        if not _machine.is_same(theirs, found):
            text = (
                f"{reader} sees another directory under {reply_dir}, so its replies do not come here (a container, or"
                " PrivateTmp=yes of systemd)."
            )
            yield Finding("problem", "other-mount-namespace", text, fix)
            return
        user = reader.user
        if user is not None and not _machine.may(user, found, 1):
            text = (
                f"{reader} runs as {_machine.user_name(user[0])}, who may not enter {reply_dir}"
                f" ({_machine.describe(found)})."
            )
            yield Finding("problem", "reply-dir-closed", text, f"chmod o+x {reply_dir}")
            return
    yield Finding("ok", "reply-dir", f"Reply FIFOs can be made in {reply_dir}.")
