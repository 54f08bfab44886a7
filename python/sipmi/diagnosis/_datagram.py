"""UDP and UNIX datagram sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..client import Client
from . import _machine
from ._finding import Finding

#: The longest path of a UNIX socket, in bytes.
LONGEST_PATH = 107

#: A question that every generation answers, or answers that it does not understand.
QUESTION = b'{"jsonrpc":"2.0","id":1,"method":"version"}'


def look_udp(address: str, mi: Client, options: dict[str, Any]) -> Iterator[Finding]:
    """Look whether the host is known and a process listens."""
    host, _, port = address[len("udp:") :].rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
    except socket.gaierror as error:
        yield Finding(
            "problem", "unknown-host", f"The name {host} leads nowhere: {error.strerror}.", f"getent hosts {host}"
        )
        return
    with socket.socket(family, kind, protocol) as asking:
        asking.settimeout(mi.timeout)
        try:
            asking.connect(where)
            asking.send(QUESTION)
            asking.recv(1 << 16)
        except ConnectionRefusedError:
            yield _closed(host, int(port))
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                yield Finding(
                    "problem",
                    "unreachable",
                    f"There is no way to {host}: {error.strerror}.",
                    f"ip route get {where[0]}",
                )
            # Silence is looked at when the question itself is not answered.


def _closed(host: str, port: int) -> Finding:
    """Explain a closed port, and name a listener on another address."""
    fix = f'loadmodule "mi_datagram.so"\nmodparam("mi_datagram", "socket_name", "udp:{host}:{port}")'
    others = [other for other in _listeners(port) if other not in (host, "0.0.0.0", "::")]
    if others:
        text = f"No process listens on {host} port {port}, but one does on {others[0]}: that is another address."
        return Finding("problem", "udp-other-address", text, f"sipmi doctor udp:{others[0]}:{port}")
    hidden = [process for process in _machine.processes(_machine.SERVER) if process.is_in_other("net")]
    if hidden:
        text = f"No process listens on {host} port {port} here; {hidden[0]} has a network of its own (a container)."
        return Finding("problem", "other-net-namespace", text, f"nsenter -n -t {hidden[0].pid} ss -lun")
    text = f"No process listens on {host} port {port}: the machine is there, and says that the port is closed."
    return Finding("problem", "udp-closed", text, fix)


def _listeners(port: int) -> list[str]:
    """The IPv4 addresses on which this machine has the port bound."""
    found = []
    for line in _lines("/proc/net/udp"):
        address, _, number = line.split()[1].partition(":")
        if int(number, 16) == port:
            found.append(socket.inet_ntoa(bytes.fromhex(address)[::-1]))
    return found


def waiting(port: int) -> int:
    """Bytes that wait on this machine to be read from a UDP port."""
    queues = (line.split() for line in _lines("/proc/net/udp"))
    return sum(int(parts[4].partition(":")[2], 16) for parts in queues if int(parts[1].partition(":")[2], 16) == port)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()[1:]
    except OSError:
        return []


def too_long(path: str) -> Finding:
    """No socket can have such a path."""
    text = f"The path has {len(path.encode())} bytes; one of a UNIX socket has at most {LONGEST_PATH}."
    return Finding("problem", "unix-path-long", text, 'modparam("mi_datagram", "socket_name", "/run/opensips/mi.sock")')


def look_unix(address: str, mi: Client, options: dict[str, Any]) -> Iterator[Finding]:
    """Look for a socket of the right kind, open to this user, that a process has open."""
    path = address[len("unix:") :]
    fix = f'loadmodule "mi_datagram.so"\nmodparam("mi_datagram", "socket_name", "{path}")'
    try:
        found = os.stat(path)
    except FileNotFoundError:
        elsewhere = _machine.elsewhere(path)
        if elsewhere:
            text = f"{path} is not there, but {elsewhere[0]} sees it: that process has a file system of its own."
            yield Finding("problem", "other-mount-namespace", text, f"nsenter -m -t {elsewhere[0].pid}")
            return
        yield Finding("problem", "unix-missing", f"There is no socket at {path}.", fix)
        return
    except OSError as error:
        closed = _machine.first_closed(path)
        where = f": {_machine.me()} may not enter {closed}" if closed else ""
        yield Finding("problem", "directory-closed", f"{path} cannot be looked at ({error.strerror}){where}.")
        return
    if not stat.S_ISSOCK(found.st_mode):
        yield Finding("problem", "not-a-socket", f"{path} is {_machine.kind(found)}, not a socket.", fix)
        return
    if not os.access(path, os.W_OK, effective_ids=True):
        text = f"{_machine.me()} may not write to {path} ({_machine.describe(found)})."
        group = _machine.group_name(found.st_gid)
        mode = f'modparam("mi_datagram", "unix_socket_mode", 0660)\nusermod -aG {group} {_machine.me()}'
        yield Finding("problem", "unix-mode", text, mode)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing. The question itself is asked by the client, whose socket is never connected.
            probe.connect(path)
        except ConnectionRefusedError:
            text = f"{path} was left behind by a server that has ended: no process has it open."
            yield Finding("problem", "unix-stale", text, "systemctl restart opensips")
            return
        except OSError as error:
            if error.errno == errno.EPROTOTYPE:
                text = f"{path} is a stream socket, of another service: MI has datagrams."
                yield Finding("problem", "unix-stream", text, fix)
                return
            raise
    if not any(line.split()[-1] == path for line in _lines("/proc/net/unix")):
        text = (
            f"{path} belongs to a process with a network of its own (a container), which cannot answer a client without"
            " a path of its own."
        )
        yield Finding(
            "problem", "other-net-namespace", text, 'modparam("mi_datagram", "socket_name", "udp:127.0.0.1:8080")'
        )
        return
    yield Finding("ok", "unix-open", f"{path} is a datagram socket that a process has open.")
