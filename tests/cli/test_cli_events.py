"""`sipmi events`: what a server tells, line by line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

import sipmi


@pytest.fixture(scope="module")
def server() -> Iterator[sipmi.Server]:
    server = sipmi.Server("billing")
    server.event("E_SUB_ADDED")
    server.event("E_SUB_GONE")
    server.event("E_OTHER")
    server.listen("udp:127.0.0.1:0")
    with server:
        yield server


def events(server: sipmi.Server, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sipmi", "events", server.addresses[0], *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def raise_until_over(server: sipmi.Server, child: subprocess.Popen[str]) -> tuple[str, str]:
    """Raises events until the command has seen enough; gives what it printed."""
    for number in range(200):
        server.raise_event("E_SUB_ADDED", {"user": "alice", "note": "two\nlines"})
        server.raise_event("E_OTHER", {"number": number})
        try:
            return child.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
    child.kill()
    raise AssertionError(child.communicate())


def test_each_event_is_a_line(server: sipmi.Server) -> None:
    child = events(server, "E_SUB_*", "--count", "2")
    stdout, stderr = raise_until_over(server, child)
    assert (child.returncode, stderr) == (0, "")
    for line in stdout.splitlines():
        assert line.split("  ")[1:] == ["E_SUB_ADDED", "user=alice", "note=two lines"]
    assert len(stdout.splitlines()) == 2


def test_json_has_all_of_it(server: sipmi.Server) -> None:
    child = events(server, "E_SUB_ADDED", "--count", "1", "--json")
    stdout, _ = raise_until_over(server, child)
    event = json.loads(stdout)
    assert (event["event"], event["params"]) == ("E_SUB_ADDED", {"user": "alice", "note": "two\nlines"})
    assert event["source"].startswith("udp:127.0.0.1:")


def test_available_events_are_listed(server: sipmi.Server) -> None:
    stdout, _ = events(server, "--list", "--json").communicate(timeout=20)
    assert {"E_SUB_ADDED", "E_SUB_GONE", "E_OTHER"} <= set(json.loads(stdout))


def test_an_unknown_event_gets_a_hint(server: sipmi.Server) -> None:
    child = events(server, "E_NOSUCH")
    _, stderr = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "--list" in stderr


def test_ctrl_c_ends_the_subscription(server: sipmi.Server) -> None:
    child = events(server, "E_SUB_GONE", "--json")
    assert child.stdout is not None
    for _ in range(200):
        server.raise_event("E_SUB_GONE", {})
        if any(subscriber.event == "E_SUB_GONE" and subscriber.sent for subscriber in server.subscribers):
            break
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.1)
    assert child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130
    # One that was ended stays listed for a while, without time left.
    assert [
        subscriber for subscriber in server.subscribers if subscriber.event == "E_SUB_GONE" and subscriber.expire
    ] == []
