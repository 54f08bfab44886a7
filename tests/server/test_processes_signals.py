"""A server as the system sees it: signals, a service manager, a container, files and processes that are left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

import sipmi
from processes import PATIENCE, Group, is_alive
from waiting import eventually


class Waiting:
    """A datagram that waits for its answer."""

    def __init__(self, many: Group, method: str, *params: Any, transport: str = "unix") -> None:
        family = socket.AF_UNIX if transport == "unix" else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind("" if transport == "unix" else ("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE)
        request = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": 1}
        to: Any = f"{many.directory}/sock" if transport == "unix" else ("127.0.0.1", many.port)
        self.socket.sendto(json.dumps(request).encode(), to)

    def answer(self) -> dict[str, Any]:
        with self.socket:
            answer: dict[str, Any] = json.loads(self.socket.recv(65536))
            return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_commands_finish_before_the_end(group: Callable[..., Group], number: signal.Signals) -> None:
    many = group()
    waiting = Waiting(many, "sleep", 0.5)
    worker = many.await_asleep()[0]
    many.signal(number)
    assert waiting.answer()["result"] == worker
    assert many.ended() == (0, "", "")
    assert many.left_files() == []


STUCK = """
import ctypes
@server.command
def stuck() -> None:
    open(f"{directory}/asleep_{os.getpid()}_", "w").close()
    ctypes.PyDLL(None).sleep(60)  # with the interpreter's lock in hand
@server.command
async def await_() -> None:
    open(f"{directory}/asleep_{os.getpid()}_", "w").close()
    await asyncio.sleep(60)
"""


@pytest.mark.parametrize("method", ["sleep", "await_", "stuck"])
def test_commands_that_take_longer_than_the_drain_timeout_are_answered_with_an_error(
    group: Callable[..., Group], method: str
) -> None:
    many = group(STUCK + "server.run(processes=2, drain_timeout=0.2)")
    waiting = Waiting(many, method, *([60.0] if method == "sleep" else []))
    many.await_asleep()
    many.signal(signal.SIGTERM)
    assert "error" in waiting.answer()
    assert many.ended()[0] == 0
    assert many.left_files() == []


@pytest.mark.parametrize("processes", ["None", "2"])
def test_a_second_signal_skips_the_wait(group: Callable[..., Group], processes: str) -> None:
    many = group(f"server.run(processes={processes}, drain_timeout=3600)")
    waiting = Waiting(many, "sleep", 3600.0)
    many.await_asleep()
    many.signal(signal.SIGTERM)
    eventually(lambda: not accepts(many))
    many.signal(signal.SIGTERM)
    assert "error" in waiting.answer()
    assert many.ended()[0] in (0, -signal.SIGKILL)


def accepts(many: Group) -> bool:
    """Return whether new requests are taken."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind("")
        client.settimeout(0.3)
        try:
            client.sendto(b":pid:\n", f"{many.directory}/sock")
            client.recv(1000)
        except (socket.timeout, OSError):
            return False
        return True


def test_no_process_outlives_the_supervisor(group: Callable[..., Group]) -> None:
    many = group(
        """
        server.register_process(sipmi.Process("extra", lambda rank: time.sleep(3600)))
        server.run(processes=2, drain_timeout=0.2)
        """
    )
    pids = [process["PID"] for process in many.processes()][1:]
    many.process.kill()
    many.process.wait(PATIENCE)
    eventually(lambda: not any(is_alive(pid) for pid in pids))


def test_a_server_starts_over_the_files_of_a_dead_one(group: Callable[..., Group], directory: str) -> None:
    many = group("server.run(processes=1, drain_timeout=0.2)")
    workers = many.workers()
    many.process.kill()
    eventually(lambda: not any(is_alive(pid) for pid in workers))
    assert sorted(many.left_files()) == ["fifo", "sock"]
    os.unlink(f"{directory}/notify")
    again = group()
    with again.connect("fifo") as client:
        assert client.call("pid") in again.workers()


@pytest.mark.parametrize("what", ["fifo", "sock"])
def test_a_living_server_is_not_replaced_and_its_pid_is_said(group: Callable[..., Group], what: str) -> None:
    many = group()
    server = sipmi.Server("other")
    address = "unix" if what == "sock" else "fifo"
    server.listen(many.addresses[address])
    with pytest.raises(OSError, match=r"served already by process \d+") as caught:
        server.start()
    pid = int(str(caught.value).rsplit("process ", 1)[1].split("'")[0].rstrip(")"))
    assert pid in [process["PID"] for process in many.processes()]
    with many.connect(address) as client:
        assert client.call("pid") > 0


def test_a_fifo_that_is_removed_is_made_again_at_a_hangup(group: Callable[..., Group]) -> None:
    many = group()
    os.unlink(f"{many.directory}/fifo")
    many.signal(signal.SIGHUP)
    many.await_state("READY=1")
    with many.connect("fifo", wire="jsonrpc") as client:
        assert client.call("pid") in many.workers()
    assert many.stop()[0] == 0
    assert many.left_files() == []


def test_a_hangup_opens_logs_again_in_all_processes(group: Callable[..., Group]) -> None:
    many = group(
        """
        import logging
        logging.basicConfig(filename=f"{directory}/log", level="INFO")
        @server.command
        def note() -> int:
            logging.info("noted by %d", os.getpid())
            return os.getpid()
        server.run(processes=2)
        """
    )
    os.rename(f"{many.directory}/log", f"{many.directory}/log.1")
    many.signal(signal.SIGHUP)
    many.await_state("READY=1")
    workers = set(many.workers())
    log = Path(f"{many.directory}/log")

    def noted() -> bool:
        with many.connect() as client:
            client.call("note")
        text = log.read_text() if log.exists() else ""
        return all(f"noted by {pid}" in text for pid in workers)

    eventually(noted)


@pytest.mark.parametrize("processes", ["None", "2"])
def test_a_service_manager_is_told_of_start_reload_and_stop(group: Callable[..., Group], processes: str) -> None:
    many = group(f"server.run(processes={processes})", environment={"WATCHDOG_USEC": "400000"})
    assert any(line.startswith("STATUS=") for line in many.told)
    assert f"MAINPID={many.process.pid}" in many.told
    many.await_state("WATCHDOG=1")
    many.await_state("WATCHDOG=1")
    many.signal(signal.SIGHUP)
    many.await_state("RELOADING=1")
    assert any(line.startswith("MONOTONIC_USEC=") for line in many.told)
    many.await_state("READY=1")
    many.signal(signal.SIGTERM)
    many.await_state("STOPPING=1")
    assert many.ended() == (0, "", "")


def test_an_unreachable_service_manager_delays_no_request(group: Callable[..., Group], directory: str) -> None:
    many = group()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"STATUS=full", f"{directory}/notify")
    for _ in range(3):
        many.signal(signal.SIGHUP)
    killed = many.workers()[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(pids := many.workers()) == 2 and killed not in pids)
    # The reload that it missed while its queue was full is delivered later.
    many.await_state("RELOADING=1")
    many.await_state("READY=1")


def test_a_service_manager_may_listen_at_an_abstract_name(group: Callable[..., Group], directory: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{directory}")
        manager.settimeout(PATIENCE)
        group(ready=False, environment={"NOTIFY_SOCKET": f"@{directory}"})
        assert manager.recv(1000).startswith(b"READY=1\n")


def test_as_process_1_of_a_container_the_server_reaps_orphans(directory: str) -> None:
    script = """
import os, subprocess, sys, sipmi
directory = sys.argv[1]
server = sipmi.Server("first")
server.listen(f"unix:{directory}/sock")
@server.command
def zombies() -> list:
    states = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            with open(f"/proc/{pid}/stat") as stat:
                states.append([int(pid), stat.read().rpartition(")")[2].split()[0]])
    return [pid for pid, state in states if state == "Z"]
@server.command
def orphan() -> int:
    # A grandchild whose parent ends at once.
    return int(subprocess.check_output(["sh", "-c", "sleep 0.1 >/dev/null & echo $!"]))
server.run(processes=1)
"""
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    first = subprocess.Popen(
        [*command, sys.executable, "-c", script, directory], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        eventually(lambda: os.path.exists(f"{directory}/sock"))
        with sipmi.connect(f"unix:{directory}/sock", timeout=PATIENCE) as client:
            assert client.call("ps")["Processes"][0]["PID"] == 1
            orphan = client.call("orphan")
            seen = client.call("zombies")
            assert seen == [] or seen == [orphan]
            eventually(lambda: client.call("zombies") == [])
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        out, errors = first.communicate(timeout=PATIENCE)
        assert (first.returncode, out, errors) == (0, "", "")
    finally:
        first.kill()
        first.communicate()
    assert not os.path.exists(f"{directory}/sock")
