"""Findings on the way of events to the address of their subscriber."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Optional
from urllib.parse import urlsplit

from ._finding import Finding


def look(address: str, event_address: str) -> Iterator[Finding]:
    """A server sends events to the address that it was given, as it looks from there."""
    scheme, _, rest = event_address.partition(":")
    if scheme not in ("udp", "tcp"):
        return
    host = rest.rpartition(":")[0].strip("[]")
    server = _host_of(address)
    if server is None or _is_here(server):
        return
    text = None
    if _is(host, "is_loopback"):
        text = f"Events for {event_address} stay on the machine of the server: a loopback address is always its own."
    elif _is(host, "is_unspecified"):
        text = f"Events cannot be sent to {event_address}: that is where to listen, no address to send to."
    if text is not None:
        port = rest.rpartition(":")[2]
        fix = f"sipmi doctor {address} --event-address {scheme}:{_as_seen_from(server)}:{port}"
        yield Finding("problem", "event-loopback", text, fix)


def _host_of(address: str) -> Optional[str]:
    """The host of a server over a network; none for FIFOs and UNIX sockets."""
    if address.startswith("udp:"):
        return address[len("udp:") :].rpartition(":")[0].strip("[]")
    return urlsplit(address).hostname if address.startswith("http") else None


def _is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return host == "localhost" and what == "is_loopback"


def _is_here(host: str) -> bool:
    """Return whether a host is this machine: whether one of its addresses can be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as attempt:
                attempt.bind(where)
        except OSError:
            continue
        return True
    return False


def _as_seen_from(server: str) -> str:
    """The address of this machine on the way to a server."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(server, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as way:
            way.connect(where)
            return str(way.getsockname()[0])
    except OSError:
        return "ADDRESS"
