"""The pytest plugin ``sipmi``: servers, clients, fakes and recorded traffic as fixtures.

Only the standard library and pytest are imported here: what a fixture needs is, when a test asks for it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

import pytest

if TYPE_CHECKING:
    from ..client import AsyncClient, Client
    from . import Cassette, FakeOpenSIPS, LiveServer

_RECORD = {
    "once": "replay, and record where there is no file",
    "none": "replay",
    "all": "record anew and say what is different",
    "check": "ask the real server and compare",
}

_MARKERS = (
    "mi(address=None, **options): the live server that the fixture `mi` calls; options are those of sipmi.connect",
    "mi_server(name='test', **options): what the fixture `mi_server` is made of, as LiveServer takes it",
    "mi_transport(*transports): run the test with `mi_client` or `mi_async_client` over each of fifo, udp, unix, http",
    "fake_opensips(*versions, **options): run the test with `fake_opensips` of each version; options as FakeOpenSIPS",
)


#: Which fixtures a marker's arguments are for.
_PARAMETRISED = (
    ("fake_opensips", "fake_opensips"),
    ("mi_client", "mi_transport"),
    ("mi_async_client", "mi_transport"),
)


# -- options and markers ------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sipmi", "OpenSIPS Management Interface (sipmi)")
    group.addoption("--mi-address", metavar="ADDRESS", help="the live server that the fixture `mi` calls")
    group.addoption("--mi-timeout", metavar="SECONDS", type=float, help="how long it may take to answer (5)")
    group.addoption(
        "--mi-record",
        choices=sorted(_RECORD),
        default="once",
        help="`mi_cassette`: " + "; ".join(f"{mode}: {what}" for mode, what in _RECORD.items()),
    )
    parser.addini("mi_address", "the live server that the fixture `mi` calls", default="")


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_report_header(config: pytest.Config) -> Optional[str]:
    address = _address(config)
    return None if address is None else f"mi: {re.sub('//[^/@]*@', '//', address)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that names several versions or transports runs once with each."""
    for fixture, marker in _PARAMETRISED:
        mark = metafunc.definition.get_closest_marker(marker)
        if mark is not None and mark.args and fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, mark.args, indirect=True)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> Optional[list[str]]:
    """Trees that are not equal are told apart node by node."""
    if "sipmi._core" not in sys.modules:
        return None
    from .explain import compared

    return compared(op, left, right)


def _address(config: pytest.Config) -> Optional[str]:
    return config.getoption("--mi-address") or config.getini("mi_address") or None


def _marked(request: pytest.FixtureRequest, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    mark = request.node.get_closest_marker(name)
    return ((), {}) if mark is None else (mark.args, dict(mark.kwargs))


# -- servers of the test's own ------------------------------------------------------------------------


@pytest.fixture
def mi_server_factory() -> Iterator[Callable[..., LiveServer]]:
    """Makes started servers on free endpoints, as `sipmi.testing.LiveServer` takes it; they stop after the test."""
    started: list[LiveServer] = []

    def make(name: str = "test", **options: Any) -> LiveServer:
        from . import LiveServer

        server = LiveServer(name, **options)
        started.append(server)
        server.start()
        return server

    yield make
    for server in reversed(started):
        server.stop()


@pytest.fixture
def mi_server(request: pytest.FixtureRequest, mi_server_factory: Callable[..., LiveServer]) -> LiveServer:
    """A started server on a FIFO, UDP, a UNIX socket and HTTP of its own; commands may be registered on it."""
    args, options = _marked(request, "mi_server")
    return mi_server_factory(*args, **options)


@pytest.fixture
def mi_client(request: pytest.FixtureRequest, mi_server: LiveServer) -> Iterator[Client]:
    """A client of `mi_server`: over UDP, or over what the marker `mi_transport` or a parameter says."""
    with mi_server.connect(getattr(request, "param", "udp")) as client:
        yield client


@pytest.fixture
def mi_async_client(request: pytest.FixtureRequest, mi_server: LiveServer) -> Iterator[AsyncClient]:
    """As `mi_client`, for coroutines that pytest-asyncio, anyio or the test itself runs."""
    import sipmi

    client = sipmi.AsyncClient(mi_server.address(getattr(request, "param", "udp")))
    yield client
    client._core.close()  # what its close() does, without an event loop


@pytest.fixture
def fake_opensips(request: pytest.FixtureRequest) -> Iterator[FakeOpenSIPS]:
    """A started FakeOpenSIPS: of 4.0, or of the version that the marker `fake_opensips` or a parameter says."""
    from . import FakeOpenSIPS

    _, options = _marked(request, "fake_opensips")
    with FakeOpenSIPS(getattr(request, "param", "4.0"), **options) as opensips:
        yield opensips


# -- the live server ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _mi_clients() -> Iterator[dict[str, Any]]:
    """Clients of live servers: what they have found out serves the whole run."""
    clients: dict[str, Any] = {}
    yield clients
    for client in clients.values():
        client._core.close()


@pytest.fixture
def mi(request: pytest.FixtureRequest, _mi_clients: dict[str, Any]) -> Client:
    """A client of the live server that `--mi-address`, the ini option `mi_address` or the marker `mi` names.

    Skipped where none does. Credentials come from the marker, the address, or the variables SIPMI_AUTH (user:password)
    and SIPMI_TOKEN.
    """
    client: Client = _live_client(request, _mi_clients, "Client")
    return client


@pytest.fixture
def mi_async(request: pytest.FixtureRequest, _mi_clients: dict[str, Any]) -> AsyncClient:
    """As `mi`, for coroutines."""
    client: AsyncClient = _live_client(request, _mi_clients, "AsyncClient")
    return client


def _live_client(request: pytest.FixtureRequest, clients: dict[str, Any], kind: str) -> Any:
    address, options = _live(request)
    if address is None:
        pytest.skip("no live server: give --mi-address, or @pytest.mark.mi(address)")
    key = repr((kind, address, sorted(options.items())))
    if key not in clients:
        import sipmi

        clients[key] = getattr(sipmi, kind)(address, **options)
    return clients[key]


def _live(request: pytest.FixtureRequest) -> tuple[Optional[str], dict[str, Any]]:
    """Address and options of the live server; those of the command line go first."""
    args, options = _marked(request, "mi")
    marked = options.pop("address", args[0] if args else None)
    given = request.config.getoption("--mi-address")
    address = given or marked or request.config.getini("mi_address") or None
    timeout = request.config.getoption("--mi-timeout")
    if timeout is not None:
        options["timeout"] = timeout
    if address is not None and address.startswith("http") and "auth" not in options and "token" not in options:
        if os.environ.get("SIPMI_TOKEN"):
            options["token"] = os.environ["SIPMI_TOKEN"]
        elif os.environ.get("SIPMI_AUTH") and "@" not in address:
            user, _, password = os.environ["SIPMI_AUTH"].partition(":")
            options["auth"] = (user, password)
    return address, options


# -- recorded traffic ---------------------------------------------------------------------------------


@pytest.fixture
def mi_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """A `sipmi.testing.Cassette` of the test's own, in `cassettes/` beside its file.

    `mi_cassette.connect(address)` gives a client, `mi_cassette.through(address)` an address for the code under test.
    Without an address it is the server of the fixture `mi`. `--mi-record` says whether real servers are asked.
    """
    from . import Cassette

    class TestCassette(Cassette):
        def through(self, address: Optional[str] = None, **options: Any) -> str:
            if address is None and self.is_live:
                address, _ = _live(request)
                if address is None:
                    pytest.skip(f"nothing recorded in {self.path.name}, and no live server: give --mi-address")
            return super().through(address, **options)

    mode = request.config.getoption("--mi-record")
    try:
        cassette = TestCassette(_cassette_path(request.path, request.node.nodeid), mode=mode)
    except FileNotFoundError as error:
        pytest.fail(f"{error} (--mi-record)", pytrace=False)
    with cassette:
        yield cassette
        missing, differences = cassette.missing, cassette.differences
    if missing:
        pytest.fail("\n\n".join([f"{cassette.path.name} does not have what was asked", *missing]), pytrace=False)
    if differences and mode == "check":
        pytest.fail("\n\n".join([f"the server is not as {cassette.path.name} has it", *differences]), pytrace=False)
    if differences:
        request.node.user_properties.append(("mi_cassette", (str(cassette.path), differences)))


def _cassette_path(test_file: Path, nodeid: str) -> Path:
    test = nodeid.partition("::")[2].replace("::", ".")  # with its class
    name = re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", test).strip("-")[:150]
    return test_file.parent / "cassettes" / test_file.stem / f"{name}.mi"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The changes of a new recording."""
    told = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == "mi_cassette"
    ]
    if told:
        terminalreporter.section("recorded anew")
        for path, differences in told:
            terminalreporter.write_line(path)
            for difference in differences:
                terminalreporter.write_line(difference)


# -- waiting ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`sipmi.testing.eventually`: calls again until the answer is the one that is waited for."""
    from . import eventually as ask_again

    return ask_again
