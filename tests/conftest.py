"""Options of the test run, and fixtures for servers on free endpoints."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import sipmi
from endpoints import Endpoints
from processes import Group

# Versions of jupyter_core for older Pythons warn of directories that no test uses, which is an error here.
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed run")
    real = parser.getgroup("real servers", "tests/real, against OpenSIPS servers that run already")
    real.addoption("--opensips", metavar="VERSION=ADDRESS,... ...", help="the servers and their MI addresses")
    real.addoption("--opensips-restart", metavar="COMMAND", help="restarts one; {version} is replaced")
    real.addoption("--opensipsctl", metavar="PATH", help="the script opensipsctl of 1.x or 2.x")
    real.addoption("--harm", action="store_true", help="also send what stops a real server")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """List the tests that were skipped because a program is missing, at the end of the report, where it is visible."""
    yield
    why = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in why.items():
        line = f"NOT TESTED: {count} tests were skipped. {reason.removeprefix('Skipped: ')}"
        terminalreporter.write_line(line, yellow=True, bold=True)


@pytest.fixture
def directory() -> Iterator[str]:
    """A short path: those of sockets and reply FIFOs are limited."""
    with tempfile.TemporaryDirectory(prefix="mi") as path:
        yield path


@pytest.fixture
def serve(directory: str) -> Iterator[Callable[..., Endpoints]]:
    """Starts servers and stops them after the test."""
    started: list[sipmi.Server] = []

    def start(server: sipmi.Server, **options: Any) -> Endpoints:
        endpoints = Endpoints(server, directory, **options)
        server.start()
        started.append(server)
        return endpoints

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def group(directory: str) -> Iterator[Callable[..., Group]]:
    """Starts servers of several processes and ends them after the test."""
    groups: list[Group] = []

    def begin(body: str = "server.run(processes=2)", *, ready: bool = True, **options: Any) -> Group:
        made = Group(directory, body, **options)
        groups.append(made)
        if ready:
            made.await_state("READY=1")
        return made

    yield begin
    for made in groups:
        made.__exit__(None, None, None)
