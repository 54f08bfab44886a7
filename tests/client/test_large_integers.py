"""Integers of 64 bits without a sign, as OpenSIPS counts: exact on every wire and both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import sipmi

LARGE = [2**63 - 1, 2**63, 14028712839697682328, 2**64 - 1, -(2**63)]


@pytest.fixture
def server() -> Iterator[sipmi.Server]:
    server = sipmi.Server("counters")

    @server.command(read_only=True)
    def echo(number: int) -> dict[str, int]:
        return {"number": number}

    @server.command(read_only=True)
    def all_of_them() -> dict[str, list[int]]:
        return {"numbers": LARGE}

    @server.command(read_only=True)
    def tree() -> sipmi.Tree:
        tree = sipmi.Tree(200, "OK")
        node = tree.add_child("Numbers", LARGE[3])
        node.add_attr("first", LARGE[1])
        return tree

    @server.command(read_only=True)
    def too_large() -> int:
        return 2**64

    server.listen("udp:127.0.0.1:0")
    server.listen("http://127.0.0.1:0")
    with server:
        yield server


def addresses(server: sipmi.Server) -> list[tuple[str, str]]:
    """Each address with a wire that is spoken there."""
    udp, http = server.addresses
    root = http.rsplit("/", 1)[0]
    return [
        (udp, "text"),
        (udp, "jsonrpc"),
        (http, "jsonrpc"),
        (f"{root}/json", "mi_json"),
        (f"{root}/RPC2", "xmlrpc"),
        (f"{root}/xmlrpc", "xmlrpc"),
    ]


def test_integers_are_exact_on_every_wire_both_ways(server: sipmi.Server) -> None:
    for address, wire in addresses(server):
        with sipmi.connect(address, wire=wire, timeout=5) as mi:
            for number in LARGE:
                found = mi.call("echo", number)["number"]
                assert not isinstance(found, float), (address, wire, found)
                assert int(found) == number, (address, wire)
            assert [int(number) for number in mi.call("all_of_them")["numbers"]] == LARGE, (address, wire)
            numbers = mi.call("tree")["Numbers"]
            numbers = numbers[0] if isinstance(numbers, list) else numbers
            assert (int(numbers["value"]), int(numbers["first"])) == (LARGE[3], LARGE[1]), (address, wire)


def test_typed_wires_keep_integers_as_integers(server: sipmi.Server) -> None:
    for address, wire in addresses(server):
        if wire == "jsonrpc" or address.endswith("/RPC2"):
            with sipmi.connect(address, wire=wire, timeout=5) as mi:
                assert mi.call("all_of_them") == {"numbers": LARGE}
    udp = server.addresses[0]
    with sipmi.connect(udp, wire="jsonrpc", timeout=5) as mi:
        assert json.loads(mi.request("all_of_them").raw)["result"] == {"numbers": LARGE}


def test_a_call_without_a_transport_is_exact_too(server: sipmi.Server) -> None:
    for number in LARGE:
        assert server.call("echo", number) == {"number": number}


def test_larger_integers_are_refused_with_their_range(server: sipmi.Server) -> None:
    udp = server.addresses[0]
    with sipmi.connect(udp, wire="jsonrpc", timeout=5) as mi:
        for number in (2**64, -(2**63) - 1):
            with pytest.raises(OverflowError, match=r"-2\*\*63 to 2\*\*64 - 1"):
                mi.call("echo", number)
        with pytest.raises(sipmi.Fault):
            mi.call("too_large")


def test_nodes_hold_large_integers() -> None:
    tree = sipmi.Tree(200, "OK")
    for number in LARGE:
        assert tree.add_child("number", number).value == number
    with pytest.raises(OverflowError, match=r"2\*\*64 - 1"):
        tree.add_child("number", 2**64)


def test_statistics_are_exact_on_every_wire(server: sipmi.Server) -> None:
    counter = server.statistic("bytes")
    for number in (2**63 - 1, 2**63, 2**64 - 1):
        counter.set(number)
        assert (counter.value, server.call("get_statistics", ["bytes"])) == (number, {"counters:bytes": number})
        for address, wire in addresses(server):
            with sipmi.connect(address, wire=wire, timeout=5) as mi:
                assert mi.call("get_statistics", ["bytes"]) == {"counters:bytes": number}, (address, wire)
                assert mi.statistics("counters:") == {"counters:bytes": number}, (address, wire)
    counter.set(2**63 - 1)
    counter.inc(2**63)
    assert counter.value == 2**64 - 1
    counter.inc(-1)
    assert counter.value == 2**64 - 2


def test_a_statistic_outside_of_64_bits_is_refused_with_its_range() -> None:
    counter = sipmi.Server("counters").statistic("bytes")
    with pytest.raises(OverflowError, match=r"2\*\*64 - 1"):
        counter.set(2**64)
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*64 - 1, found -1"):
        counter.set(-1)
    with pytest.raises(TypeError, match="expected an int, found float"):
        counter.inc(0.5)  # type: ignore[arg-type]
    assert counter.value == 0
