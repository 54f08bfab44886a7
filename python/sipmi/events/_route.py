"""The addresses of event receivers, and the route between this machine and a server."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import secrets
import socket
import tempfile
import urllib.parse
from typing import Optional


@dataclasses.dataclass(frozen=True)
class SocketAddress:
    """An address to receive at: a path, or a host and a port."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}:{host}:{self.port}"


def parse(address: str) -> SocketAddress:
    """Parse ``udp:host:port``, ``tcp:host:port`` or ``unix:/path``."""
    scheme, _, rest = address.partition(":")
    if scheme == "unix" and rest:
        return SocketAddress(scheme, path=rest)
    host, colon, port = rest.rpartition(":")
    if scheme in ("udp", "tcp") and colon and host and port.isdigit() and int(port) < 1 << 16:
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"cannot read the address {address!r}: expected an IPv6 host in brackets")
        return SocketAddress(scheme, host=host, port=int(port))
    raise ValueError(f"cannot read the address {address!r}: expected udp:host:port, tcp:host:port or unix:/path")


@dataclasses.dataclass(frozen=True)
class Route:
    """The route between this machine and a server."""

    server: Optional[str]
    """The server's address; None when it is on this machine."""
    own: str
    """This machine's address on that route."""

    @classmethod
    def to(cls, mi_address: str) -> Route:
        scheme, _, rest = mi_address.partition(":")
        if scheme in ("fifo", "unix"):
            return cls(None, "127.0.0.1")
        if scheme == "udp":
            place = parse(mi_address)
            host, port = place.host, place.port
        else:
            url = urllib.parse.urlsplit(f"{scheme}:{rest}")
            host, port = url.hostname or "", url.port or 80
        # OpenSIPS sends over IPv4 only, so that is used where the server has both.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, target = min(found, key=lambda one: one[0] != socket.AF_INET)
        with socket.socket(family, kind, protocol) as probe:
            # Sends nothing: the kernel only looks up the route.
            probe.connect(target)
            own, server = str(probe.getsockname()[0]), str(target[0])
        if _is_loopback(server):
            return cls(None, "127.0.0.1")
        return cls(None if own == server else server, own)

    def own_address(self, at: str) -> str:
        """Return the address for "udp", "tcp" or "unix"; any other address is returned unchanged."""
        if at in ("udp", "tcp"):
            return str(SocketAddress(at, host=self.own))
        if at == "unix":
            name = f"sipmi_events_{os.getpid()}_{secrets.token_hex(4)}.sock"
            return str(SocketAddress("unix", path=os.path.join(tempfile.gettempdir(), name)))
        return at

    def check(self, at: SocketAddress) -> None:
        """Check that the server can reach an address.

        :raises ValueError: the server is on another machine, and the address is local to this one.
        """
        if self.server is None:
            return
        if at.scheme == "unix":
            raise ValueError(f"the server {self.server} is on another machine and cannot reach {at}; use at='udp'")
        if _is_loopback(at.host):
            raise ValueError(
                f"the server {self.server} is on another machine and cannot reach the loopback address {at}; "
                f"use at='{at.scheme}:{self.own}:0', or advertise= what is forwarded to it"
            )

    def seen_from_server(self, address: str) -> str:
        """Return the address to tell the server: a wildcard is replaced by this machine's address on the route."""
        place = parse(address)
        if place.host in ("0.0.0.0", "::"):
            place = dataclasses.replace(place, host=self.own)
        return str(place)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
