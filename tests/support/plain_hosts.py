"""An address that a browser trusts no more than any other in the network: plain HTTP, and not loopback."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

#: Pages of another site are served under this name; the browser is told where it is.
FOREIGN = "evil.example"
#: Stands for the server's address where this process may not add one.
NAME = "mi.example.org"

SWITCHES = (f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1, MAP {NAME} 127.0.0.1",)


@contextmanager
def plain_host() -> Iterator[tuple[str, str]]:
    """A host as the browser is to call it, and the address to listen at.

    It is an address of the loopback interface outside of 127.0.0.0/8. Without the right to add one, it is a name that
    the browser resolves to 127.0.0.1: browsers go by the name.
    """
    address = str(ipaddress.ip_address("10.213.0.1") + os.getpid() % 60_000)
    program = shutil.which("ip") or "/sbin/ip"
    device = [f"{address}/32", "dev", "lo"]
    try:
        subprocess.run([program, "addr", "add", *device], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield NAME, "127.0.0.1"
        return
    try:
        yield address, address
    finally:
        subprocess.run([program, "addr", "del", *device], check=True, capture_output=True)
