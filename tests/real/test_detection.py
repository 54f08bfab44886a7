"""A client finds out what a real server speaks, over every transport, and reports a wrong address clearly."""

from __future__ import annotations

import asyncio

import pytest
from servers import TIMEOUT, Endpoint, RealServer

import sipmi
from sipmi.diagnosis import doctor

WIRES = {"fifo": "text", "udp": "text", "unix": "text", "http/json": "mi_json", "http/mi": "jsonrpc"}


def expected_wire(endpoint: Endpoint) -> str:
    if endpoint.is_xml:
        return "xmlrpc"
    return "jsonrpc" if endpoint.is_typed else WIRES[endpoint.label]


def test_the_client_finds_wire_generation_and_version(endpoint: Endpoint) -> None:
    with endpoint.connect() as mi:
        assert mi.generation == endpoint.generation
        assert mi.wire == expected_wire(endpoint)
        if endpoint.version[0].isdigit():
            assert mi.version is not None
            assert mi.version.startswith(endpoint.version)


def test_the_asynchronous_client_gets_the_same_answer(endpoint: Endpoint) -> None:
    async def ask() -> object:
        async with sipmi.AsyncClient(endpoint.address, timeout=TIMEOUT) as mi:
            return await mi.call("version")

    with endpoint.connect() as mi:
        assert asyncio.run(ask()) == mi.call("version")


def test_a_fleet_of_all_endpoints_gets_every_answer(real_server: RealServer) -> None:
    nodes = {str(endpoint): endpoint.address for endpoint in real_server.callable_endpoints}
    result = sipmi.Fleet(nodes, timeout=TIMEOUT).call("version")
    assert not result.failed
    assert len({str(value) for value in result.ok.values()}) == 1


def test_fifty_calls_in_a_row_are_all_answered(endpoint: Endpoint) -> None:
    with endpoint.connect() as mi:
        assert len({mi.call("version")["Server"] for _ in range(50)}) == 1


def test_the_doctor_finds_a_healthy_server(endpoint: Endpoint) -> None:
    diagnosis = doctor(endpoint.address)
    assert diagnosis.ok, str(diagnosis)


def test_a_page_for_people_is_reported_as_such(real_server: RealServer) -> None:
    pages = [endpoint for endpoint in real_server.endpoints if endpoint.is_html]
    for page in pages:
        with page.connect() as mi, pytest.raises(sipmi.MiError):
            mi.call("version")
    assert all(endpoint.is_alive() for endpoint in real_server.callable_endpoints)
