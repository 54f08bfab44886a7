"""A server's workers run on the CPUs that it is told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sipmi
from sipmi.affinity import CpuSet, thread_affinity

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="NOT RUN: with one CPU there is nowhere to move to"
)
LAST = str(max(os.sched_getaffinity(0)))


def ask(path: str, own: str) -> str:
    """The answer of `where` over a UNIX socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(own)
        client.settimeout(10)
        client.sendto(b'{"jsonrpc":"2.0","id":1,"method":"where"}', path)
        answer: str = json.loads(client.recv(65536))["result"]
        return answer


def test_each_listener_has_workers_on_its_own_cpus(tmp_path: Path) -> None:
    server = sipmi.Server("edge")

    @server.command
    def where() -> str:
        return str(thread_affinity())

    pinned, free = str(tmp_path / "pinned"), str(tmp_path / "free")
    server.listen(f"unix:{pinned}", cpus=LAST)
    server.listen(f"unix:{free}")
    with server:
        assert ask(pinned, str(tmp_path / "a")) == LAST
        assert ask(free, str(tmp_path / "b")) == str(thread_affinity())
        assert ask(pinned, str(tmp_path / "c")) == LAST


@pytest.mark.parametrize(("cpus", "error"), [("", ValueError), ("3-1", ValueError), ("8000", OSError), (3, TypeError)])
def test_cpus_that_cannot_be_are_an_error_when_listening(tmp_path: Path, cpus: object, error: type) -> None:
    with pytest.raises(error, match=r"CPU|cpus"):
        sipmi.Server("edge").listen(f"unix:{tmp_path / 'socket'}", cpus=cpus)


def test_run_moves_the_whole_server(tmp_path: Path) -> None:
    script = f"""
        import sipmi
        from sipmi.affinity import thread_affinity
        server = sipmi.Server("edge")
        @server.command
        def where():
            return str(thread_affinity())
        server.listen("unix:{tmp_path}/socket")
        server.run(cpus="{LAST}")
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    try:
        from sipmi.affinity import Host
        from waiting import eventually

        eventually(lambda: (tmp_path / "socket").exists())
        assert ask(f"{tmp_path}/socket", str(tmp_path / "a")) == LAST
        found = Host().process(process.pid)
        assert {str(found.thread_affinity(tid)) for tid in found.threads()} == {LAST}
        assert found.affinity == CpuSet(LAST)
    finally:
        process.terminate()
        process.wait(20)
