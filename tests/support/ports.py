"""Ports that are free on this machine."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port that is free for UDP and for TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(udp.getsockname())
            except OSError:
                continue
            return int(udp.getsockname()[1])


def free_udp_address() -> str:
    """Return the address of a free UDP port."""
    return f"udp:127.0.0.1:{free_port()}"
