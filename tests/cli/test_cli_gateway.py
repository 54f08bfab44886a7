"""`sipmi gateway` before a fake OpenSIPS, and `sipmi doctor` of one that is well and of what is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipmi.testing import FakeOpenSIPS
from terminal import Terminal


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sipmi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(scope="module")
def old() -> Iterator[FakeOpenSIPS]:
    with FakeOpenSIPS("1.11") as fake:
        yield fake


class Gateway:
    """`sipmi gateway` in a process of its own."""

    def __init__(self, upstream: str, *options: str) -> None:
        listen = ["--listen", "http://127.0.0.1:0", "--listen", "udp:127.0.0.1:0"]
        command = [sys.executable, "-m", "sipmi", "gateway", upstream, *listen, "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.http, self.udp = json.loads(line)

    def end(self) -> str:
        """Ends it as Ctrl-C does; gives what it logged."""
        self.process.send_signal(signal.SIGINT)
        _, log = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return log


def test_an_old_server_is_served_on_new_wires(old: FakeOpenSIPS) -> None:
    gateway = Gateway(old.address("udp"), "--cache", "get_statistics=1")
    try:
        called = run("call", gateway.http, "get_statistics", "rcv_requests", "--json")
        assert json.loads(called.stdout) == {"core:rcv_requests": 0}
    finally:
        log = gateway.end()
    assert "sipmi.audit" in log


def test_rights_and_passwords_are_those_of_the_command_line(old: FakeOpenSIPS) -> None:
    gateway = Gateway(
        old.address("udp"), "--serve-auth", "ann:secret", "--rights", "ann=@read,cache_store", "--no-audit"
    )
    try:
        assert run("call", gateway.http, "uptime").returncode != 0
        assert run("call", gateway.http, "uptime", "--auth", "ann:secret").returncode == 0
        assert run("call", gateway.http, "ul_sync", "location", "--auth", "ann:secret").returncode == 1
    finally:
        assert "sipmi.audit" not in gateway.end()


def test_a_read_only_gateway_runs_only_reads(old: FakeOpenSIPS) -> None:
    gateway = Gateway(old.address("udp"), "--read-only")
    try:
        assert run("call", gateway.udp, "uptime").returncode == 0
        assert run("call", gateway.udp, "cache_store", "local", "key", "value").returncode == 1
    finally:
        gateway.end()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "udp:127.0.0.1:0", "--rights", "ann"],
        ["--listen", "udp:127.0.0.1:0", "--cache", "get_statistics=soon"],
        ["--listen", "http://127.0.0.1:0", "--serve-auth", "ann"],
        [],
    ],
)
def test_unreadable_files_are_2(arguments: list[str]) -> None:
    done = run("gateway", "udp:127.0.0.1:9", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sipmi: ")


# -- doctor ---------------------------------------------------------------------------------------


def test_a_healthy_server_is_reported_as_healthy(old: FakeOpenSIPS) -> None:
    done = run("doctor", old.address("udp"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok " in done.stdout
    assert json.loads(run("doctor", old.address("udp"), "--json").stdout)["ok"] is True


def test_mistakes_are_reported_with_the_option_to_type(tmp_path: Path) -> None:
    fifo = tmp_path / "opensips_fifo"
    os.mkfifo(fifo)
    done = run("doctor", f"fifo:{fifo}", "--timeout", "1")
    assert done.returncode == 1
    assert "problem" in done.stdout
    report = json.loads(run("doctor", f"fifo:{fifo}", "--json", "--timeout", "1").stdout)
    assert report["ok"] is False
    assert any(finding["fix"] for finding in report["findings"])


def test_a_diagnosis_is_coloured_on_a_terminal(tmp_path: Path) -> None:
    with Terminal("doctor", f"fifo:{tmp_path}/nothing") as terminal:
        assert terminal.wait() == 1
        assert "problem" in terminal.text
    assert b"\x1b[1;31mproblem" in terminal.output
