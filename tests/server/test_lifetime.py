"""Processes that serve end cleanly: by a signal, by falling off their end, in the middle of a call."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from typing import Optional

import pytest

PROLOGUE = """
import sys, threading, time, asyncio
import sipmi
server = sipmi.Server("life")
release = threading.Event()
server.command(lambda: "x", name="fast")
server.command(lambda: time.sleep(0.3) or "slept", name="slow")
@server.command
async def later():
    await asyncio.sleep(60)
server.listen("fifo:" + sys.argv[1] + "/fifo", reply_dir=sys.argv[1])
server.listen("unix:" + sys.argv[1] + "/sock")
"""


def run_script(directory: str, body: str) -> subprocess.Popen[str]:
    script = PROLOGUE + textwrap.dedent(body)
    process = subprocess.Popen(
        [sys.executable, "-c", script, directory], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


def ask(directory: str, request: bytes, *, wait: bool = True) -> Optional[bytes]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind("")
        client.settimeout(10)
        client.sendto(request, directory + "/sock")
        return client.recv(1000) if wait else None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_on_a_signal_and_leaves_no_file(directory: str, number: int) -> None:
    process = run_script(directory, "threading.Timer(0.2, lambda: print('ready', flush=True)).start(); server.run()")
    assert ask(directory, b":fast:\n") == b"200 OK\nx\n\n"
    process.send_signal(number)
    assert ended(process) == (0, "")
    assert os.listdir(directory) == []


def test_a_running_command_is_answered_before_the_server_stops(directory: str) -> None:
    process = run_script(directory, "threading.Timer(0.2, lambda: print('ready', flush=True)).start(); server.run()")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind("")
        client.settimeout(10)
        client.sendto(b":slow:\n", directory + "/sock")
        assert ask(directory, b":fast:\n") is not None  # the slow one has begun by now
        process.send_signal(signal.SIGTERM)
        assert client.recv(1000) == b"200 OK\nslept\n\n"
    assert ended(process) == (0, "")


@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "asyncio.run(asyncio.sleep(0))"])
def test_a_script_that_just_ends_leaves_no_file_and_does_not_hang(directory: str, ending: str) -> None:
    process = run_script(directory, f"server.start(); print('ready', flush=True); time.sleep(0.3)\n{ending}")
    ask(directory, b":later:\n", wait=False)
    assert ended(process) == (0, "")
    assert os.listdir(directory) == []


#: How many programs end in the middle of calls.
EXITS = int(os.environ.get("SIPMI_PROVE_EXITS", "10"))


@pytest.mark.timeout(60 + 3 * EXITS)
def test_exits_with_calls_in_flight_never_abort(directory: str) -> None:
    for _ in range(EXITS):
        process = run_script(
            directory,
            """
            def hammer():
                while True:
                    server.call("fast")
            for _ in range(4):
                threading.Thread(target=hammer, daemon=True).start()
            server.start()
            print("ready", flush=True)
            time.sleep(0.2)
            """,
        )
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            try:
                ask(directory, b":fast:\n", wait=False)
            except OSError:
                break
        code, errors = ended(process)
        assert code == 0, errors


def test_importing_starts_nothing() -> None:
    script = "import threading, sipmi, os; print(threading.active_count(), len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "1 1\n"
