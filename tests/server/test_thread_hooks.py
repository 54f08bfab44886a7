"""Hooks of ``threading.settrace`` and ``threading.setprofile`` on the threads of a server."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sipmi

APP = """
def register(server):
    @server.command
    def double(number: int) -> int:
        twice = number * 2
        return twice

    @server.command(blocking=True)
    def sign(number: int) -> str:
        if number < 0:
            return "negative"
        return "positive"

    @server.command
    def count(limit: int):
        for number in range(limit):
            yield str(number)
"""

TEST = """
import app

def test_app(mi_server, mi_client):
    app.register(mi_server)
    assert mi_client.call("double", 2) == 4
    assert [mi_client.call("sign", number) for number in (1, -1)] == ["positive", "negative"]
    assert mi_client.call("count", 3) == ["0", "1", "2"]
"""


def test_coverage_of_handlers_by_a_test_with_mi_client_is_whole(tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_app.py").write_text(TEST)
    run(tmp_path, "run", "--include=app.py", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py")
    run(tmp_path, "report", "--fail-under=100", "--show-missing")


def run(directory: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "coverage", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, textwrap.indent(done.stdout + done.stderr, "    ")


@pytest.fixture(params=["settrace", "setprofile"])
def seen(request: pytest.FixtureRequest) -> Iterator[set[str]]:
    """The names of the functions that a hook sees, on threads that start while the test runs."""
    names: set[str] = set()

    def hook(frame: Any, event: str, argument: Any) -> Callable[..., Any]:
        names.add(frame.f_code.co_name)
        return hook

    which = request.param.replace("set", "_") + "_hook"
    before = getattr(threading, which)
    getattr(threading, request.param)(hook)
    yield names
    setattr(threading, which, before)


def test_hooks_of_threading_see_the_handlers_of_a_server(seen: set[str]) -> None:
    server = sipmi.Server("hooked")

    @server.command
    def handler() -> str:
        return "done"

    server.listen("udp:127.0.0.1:0")
    with server, sipmi.connect(server.addresses[0]) as mi:
        assert mi.call("handler") == "done"
    assert "handler" in seen


def test_a_hook_that_cannot_be_set_does_not_stop_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = sipmi.Server("hooked")
    server.listen("udp:127.0.0.1:0")
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setattr(sys, "settrace", None)
    monkeypatch.setattr(threading, "_trace_hook", lambda *_: None)
    with server, sipmi.connect(server.addresses[0]) as mi:
        assert mi.call("pwd")
    assert [type(report.exc_value) for report in unraisable if report.exc_value]
