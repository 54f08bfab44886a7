"""A server of several processes, in a program of its own, for the tests of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from types import TracebackType
from typing import Any, Optional

import sipmi
from ports import free_port
from waiting import eventually

#: Longer than anything takes on a loaded machine.
PATIENCE = 20.0

PROLOGUE = """
import asyncio, os, signal, sys, time
import sipmi
directory = sys.argv[1]
server = sipmi.Server("many")

@server.command(read_only=True)
def pid() -> int:
    return os.getpid()

@server.command
def sleep(seconds: float) -> int:
    open(f"{directory}/asleep_{os.getpid()}_{time.monotonic_ns()}", "w").close()
    time.sleep(seconds)
    return os.getpid()

server.listen(f"unix:{directory}/sock")
server.listen(f"fifo:{directory}/fifo", reply_dir=directory)
server.listen("udp:127.0.0.1:" + sys.argv[2])
server.listen("http://127.0.0.1:" + sys.argv[2])
"""


class Group:
    """A program that serves with several processes, from its start to its end."""

    def __init__(self, directory: str, body: str, *, environment: Optional[dict[str, str]] = None) -> None:
        self.directory = directory
        self.port = free_port()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(f"{directory}/notify")
        self.manager.settimeout(PATIENCE)
        self.told: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + textwrap.dedent(body), directory, str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": f"{directory}/notify", **(environment or {})},
        )

    def await_state(self, state: str) -> None:
        """Waits until the program tells its service manager so."""
        while True:
            self.told += self.manager.recv(4096).decode().splitlines()
            if state in self.told:
                self.told = self.told[self.told.index(state) + 1 :]
                return

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "unix": f"unix:{self.directory}/sock",
            "fifo": f"fifo:{self.directory}/fifo?reply_dir={self.directory}",
            "udp": f"udp:127.0.0.1:{self.port}",
            "http": f"http://127.0.0.1:{self.port}/mi",
        }

    def connect(self, transport: str = "unix", **options: Any) -> sipmi.Client:
        options.setdefault("timeout", PATIENCE)
        return sipmi.connect(self.addresses[transport], **options)

    def processes(self) -> list[dict[str, Any]]:
        while True:
            # The worker that was killed may have had this request.
            with self.connect(wire="jsonrpc") as client, contextlib.suppress(sipmi.Fault):
                listed: list[dict[str, Any]] = client.call("ps")["Processes"]
                return listed

    def workers(self) -> list[int]:
        """The pids of those that serve now."""
        listed = [process for process in self.processes() if process["Type"] == "MI worker"]
        return [process["PID"] for process in listed if process["State"] == "running"]

    def await_asleep(self, count: int = 1) -> list[int]:
        """Wait until `count` calls of `sleep` have started, and return the pids of the workers that run them."""
        return [int(name.split("_")[1]) for name in self.await_files("asleep_", count)]

    def await_files(self, prefix: str, count: int = 1) -> list[str]:
        def found() -> list[str]:
            names = [name for name in os.listdir(self.directory) if name.startswith(prefix)]
            return sorted(names) if len(names) >= count else []

        return eventually(found)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> tuple[int, str, str]:
        self.signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        """Waits for the end: its code, and what was printed."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, errors

    def left_files(self) -> list[str]:
        return [name for name in os.listdir(self.directory) if name in ("fifo", "sock")]

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.manager.close()
        assert self.process.stdout is not None
        if self.process.stdout.closed:
            return
        self.process.terminate()
        try:
            self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def is_alive(pid: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
