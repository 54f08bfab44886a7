"""Fixtures of the tests against real servers, and the table that a run ends with.

Without ``--opensips`` every test here is skipped.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
from answers import table
from servers import RealServer, parse

NONE_GIVEN = 'no real OpenSIPS is given: --opensips "VERSION=ADDRESS,..." or make test-real OPENSIPS="..."'


@functools.cache
def servers_of(config: pytest.Config) -> tuple[RealServer, ...]:
    text = config.getoption("--opensips")
    try:
        return parse(text, config.getoption("--opensips-restart")) if text else ()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def parameters(config: pytest.Config) -> dict[str, list[Any]]:
    """The values of the fixtures that stand for a server or for an endpoint of it."""
    servers = servers_of(config)
    endpoints = [endpoint for server in servers for endpoint in server.callable_endpoints]
    return {
        "real_server": list(servers),
        "endpoint": endpoints,
        "jsonrpc_endpoint": [each for each in endpoints if each.is_typed and not each.is_xml],
        "text_fifo": [each for each in endpoints if not each.is_typed and each.transport == "fifo"],
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, values in parameters(metafunc.config).items():
        if name in metafunc.fixturenames:
            nothing = [pytest.param(None, marks=pytest.mark.skip(reason=NONE_GIVEN))]
            metafunc.parametrize(name, values or nothing, ids=str, scope="session")


@pytest.fixture(scope="session")
def real_servers(request: pytest.FixtureRequest) -> tuple[RealServer, ...]:
    """All servers of the run."""
    servers = servers_of(request.config)
    if not servers:
        pytest.skip(NONE_GIVEN)
    return servers


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A row for each endpoint that was compared."""
    if not table:
        return
    columns = list(dict.fromkeys(kind for row in table.values() for kind in row))
    terminalreporter.section("calls by outcome")
    terminalreporter.write_line(f"{'endpoint':<22}" + "".join(f"{column:>12}" for column in columns))
    for endpoint, row in table.items():
        terminalreporter.write_line(f"{endpoint!s:<22}" + "".join(f"{row[column]:>12}" for column in columns))
