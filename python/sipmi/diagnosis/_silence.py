"""Explanations of a server that does not answer, or answers unreadably."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from ..client import Client, Reply, connect
from ..errors import CallTimeout, CodecError, MiError
from . import _datagram, _http, _machine
from ._finding import Finding

#: An answer that takes longer, in seconds, is worth a word.
SLOW = 0.5

#: A line of a configuration file: which parameter of which module is what.
_MODPARAM = re.compile(r'^\s*modparam\(\s*"([\w|]+)"\s*,\s*"(\w+)"\s*,\s*"([^"]*)"', re.MULTILINE)


def explain(mi: Client, options: dict[str, Any], scheme: str, error: CallTimeout) -> Iterator[Finding]:
    """No answer in time."""
    spoken = _speaks(mi, options)
    if spoken is not None:
        yield _wrong_wire(mi, options, spoken)
        return
    if scheme == "fifo":
        yield _silent_fifo(mi)
    elif scheme == "udp":
        yield _silent_udp(mi)
    elif scheme == "unix":
        text = (
            "The socket is open and takes requests, but no answer comes: the process that has it is stopped, or busy."
        )
        yield Finding("problem", "busy", text, f"ss -xlp src {mi.address[len('unix:') :]}")
    else:
        text = (
            "The connection is made, but no answer comes. One process of OpenSIPS serves all of HTTP: an asynchronous"
            " command or a client that reads slowly delays all clients."
        )
        yield Finding("problem", "busy", text, "opensips-cli -x mi ps    # over another transport")


def _silent_fifo(mi: Client) -> Finding:
    path, _, given = mi.address[len("fifo:") :].partition("?reply_dir=")
    reply_dir = given or "/tmp"
    readers: list[_machine.LocalProcess] = []
    waiting = 0
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            readers = _machine.holders(os.fstat(fd))
            waiting = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
        finally:
            os.close(fd)
    stopped = [reader for reader in readers if _state(reader) in "Tt"]
    if stopped:
        return Finding(
            "problem", "stopped", f"{stopped[0]}, which reads the FIFO, is stopped.", f"kill -CONT {stopped[0].pid}"
        )
    if waiting:
        who = str(readers[0]) if readers else "the server"
        text = (
            f"{waiting} bytes wait in {path}: {who} does not read them. It waits for a client that does not read its"
            " reply, or hangs."
        )
        return Finding("problem", "busy", text, "systemctl restart opensips")
    for reader in readers:
        theirs = _configured(reader, "mi_fifo", "reply_dir")
        if theirs is not None and os.path.abspath(theirs) != os.path.abspath(reply_dir):
            text = (
                f"The request is taken, but the answer goes to {theirs}: that is the server's reply_dir, not"
                f" {reply_dir}."
            )
            return Finding(
                "problem", "other-reply-dir", text, f"sipmi doctor 'fifo:{path}?reply_dir={theirs.rstrip('/')}'"
            )
    text = (
        f"The request is taken, but no answer comes to {reply_dir}: the server's reply_dir is another, or what reads"
        f" {path} is no server of MI, or an earlier broken request has it wait for the rest."
    )
    return Finding(
        "problem", "fifo-silent", text, f'modparam("mi_fifo", "reply_dir", "{reply_dir}/")\nsystemctl restart opensips'
    )


def _silent_udp(mi: Client) -> Finding:
    host, _, port = mi.address[len("udp:") :].rpartition(":")
    waiting = _datagram.waiting(int(port))
    if waiting:
        text = f"{waiting} bytes wait on port {port}: the process that has it is stopped, or busy with another request."
        return Finding("problem", "busy", text, f"ss -lunp sport = :{port}")
    text = (
        f"{host} port {port} does not answer, and no error says that it is closed: a firewall drops packets, or it is"
        " no server of MI."
    )
    return Finding("problem", "udp-silent", text, f"tcpdump -ni any udp port {port}")


def unreadable(mi: Client, options: dict[str, Any], scheme: str, error: CodecError) -> Iterator[Finding]:
    """Something came that is no answer."""
    if scheme in ("http", "https"):
        yield from _http.explain(mi, options, error)
        return
    spoken = _speaks(mi, options)
    if spoken is not None:
        yield _wrong_wire(mi, options, spoken)
        return
    yield Finding("problem", "not-mi", f"A program answers, but not as MI does: {error}.")


def transport(mi: Client, options: dict[str, Any], scheme: str, error: MiError) -> Iterator[Finding]:
    """The server cannot be reached after all, or went away."""
    if scheme in ("http", "https"):
        yield from _http.explain(mi, options, error)
    else:
        yield Finding("problem", "transport", f"{error}.")


def wrong_wire(mi: Client, options: dict[str, Any], reply: Reply) -> Iterator[Finding]:
    """An error answer to a question that every server understands in its own wire."""
    spoken = _speaks(mi, options)
    if spoken is not None:
        yield _wrong_wire(mi, options, spoken)
    else:
        yield Finding(
            "problem", "error-answer", f"The question for the version is answered {reply.code} {reply.reason}."
        )


def _speaks(mi: Client, options: dict[str, Any]) -> Optional[str]:
    """Return the wire of the server, if the user gave another one."""
    if options.get("wire", "auto") == "auto":
        return None
    with connect(mi.address, timeout=mi.timeout, **{**options, "reply_dir": None, "wire": "auto"}) as other:
        try:
            return other.wire if other.version is not None else None
        except MiError:
            return None


def _wrong_wire(mi: Client, options: dict[str, Any], spoken: str) -> Finding:
    text = f"The server speaks {spoken}, not {options['wire']}."
    return Finding("problem", "wrong-wire", text, f"sipmi doctor '{mi.address}' --wire {spoken}")


def _state(process: _machine.LocalProcess) -> str:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "?"


def _configured(process: _machine.LocalProcess, module: str, parameter: str) -> Optional[str]:
    """Return the configuration of a server, if it can be found and read."""
    with contextlib.suppress(OSError):
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        place = arguments[arguments.index("-f") + 1] if "-f" in arguments[:-1] else "/etc/opensips/opensips.cfg"
        text = Path(f"{process.root}/{place.lstrip('/')}").read_text("utf-8", "replace")
        for modules, name, value in _MODPARAM.findall(text):
            if name == parameter and module in modules.split("|"):
                return str(value)
    return None
