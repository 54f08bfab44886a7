"""A server in a program of its own, whose memory and processor time are measured."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import TracebackType
from typing import Optional

from endpoints import DatagramPeer, FifoPeer
from http_peer import HttpPeer

#: Longer than a program takes to start on a loaded machine.
START = 60.0

PROLOGUE = """
import os, sys, threading
import sipmi
directory = sys.argv[1]
server = sipmi.Server("measured")

@server.command(read_only=True)
def echo(value=None):
    return value

@server.command(read_only=True)
def text(size: int) -> str:
    return "x" * size

runs = []

@server.command
def run(size: int = 0) -> str:
    runs.append(1)
    return "x" * size

@server.command(read_only=True)
def ran() -> int:
    return len(runs)

@server.command
def keep(**names: str) -> int:
    return len(names)

def listen(**options):
    server.listen(f"fifo:{directory}/fifo", reply_dir=directory, **options)
    server.listen(f"unix:{directory}/sock", **options)
    server.listen("udp:127.0.0.1:0", **options)
    server.listen("http://127.0.0.1:0", roots={"mi": "/mi", "rpc": "/RPC2", "html": "/html"}, **options)
"""

EPILOGUE = """
server.start()
print(*server.addresses, flush=True)
sys.stdin.read()
server.stop(drain_timeout=0)
"""


class MeasuredServer:
    """Runs until the end of the block; ``body`` calls ``listen`` with options."""

    def __init__(self, directory: str, body: str = "listen()") -> None:
        self.directory = directory
        code = textwrap.dedent(PROLOGUE) + textwrap.dedent(body) + textwrap.dedent(EPILOGUE)
        with open(Path(directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self.addresses = self._first_line().split()
        assert self.addresses, self.log

    def _first_line(self) -> str:
        """Return the line that the program prints when it is ready; empty if it ended before, or took too long."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START)
        if not ready:
            self.process.kill()
        return self.process.stdout.readline().decode()

    def __enter__(self) -> MeasuredServer:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise

    @property
    def log(self) -> str:
        return Path(self.directory, "log").read_text()

    @property
    def http(self) -> HttpPeer:
        return HttpPeer(next(address for address in self.addresses if address.startswith("http:")))

    @property
    def fifo(self) -> FifoPeer:
        return FifoPeer(os.path.join(self.directory, "fifo"), self.directory)

    def peer(self, scheme: str) -> DatagramPeer:
        return DatagramPeer(next(address for address in self.addresses if address.startswith(scheme)))

    def forget_peak(self) -> None:
        """Has the kernel measure the peak of memory from now on (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    @property
    def peak(self) -> int:
        """The most memory that the program had, in bytes."""
        return self._status("VmHWM")

    @property
    def memory(self) -> int:
        """The memory that the program has, in bytes."""
        return self._status("VmRSS")

    @property
    def address_space(self) -> int:
        """Return the size of the program's address space in bytes."""
        return self._status("VmSize")

    def _status(self, field: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", text)
        assert found is not None, text
        return int(found[1]) << 10

    @property
    def processor_time(self) -> float:
        """Seconds that all threads of the program ran until now, within and without the kernel."""
        # The clock of another process, as clock_getcpuclockid(3) makes it.
        return time.clock_gettime((~self.process.pid << 3) | 2)
