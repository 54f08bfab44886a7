"""Datagrams that look like answers, and senders that answer everything: a server does not answer them for ever."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest

import sipmi
from endpoints import DatagramPeer, Endpoints
from jsonrpc_calls import statistic
from sipmi.testing import FakeOpenSIPS
from waiting import eventually

ANSWERS = [
    b"200 OK\n",
    b"200",
    b"400 Parse_error",
    b"500 command not available\n",
    b'{"jsonrpc":"2.0","result":"OK","id":1}',
    b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}',
    b'[{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}]',
]
VERSIONS: list[Optional[str]] = [None, "1.11", "2.4", "3.4", "4.0"]
PATIENCE = 20.0
JSON_VERSION = b'{"jsonrpc":"2.0","id":1,"method":"version"}'


@pytest.fixture(params=["udp", "unix"])
def peer_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Endpoints], DatagramPeer]]:
    made: list[DatagramPeer] = []

    def make(endpoints: Endpoints) -> DatagramPeer:
        made.append(endpoints.peer(request.param))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_datagram_that_looks_like_a_reply_is_not_answered(
    serve: Callable[..., Endpoints], peer_of: Callable[[Endpoints], DatagramPeer], version: Optional[str]
) -> None:
    peer = peer_of(serve(sipmi.Server("x", emulate=version)))
    for answer in ANSWERS:
        peer.socket.sendto(answer, peer.target)
    # Datagrams are served in order: an answer to one of those would come first.
    reply = peer.exchange(JSON_VERSION)
    assert reply is not None
    assert b"Server" in reply or version in ("1.11", "2.4")
    assert peer.exchange(JSON_VERSION, silence=1) is not None
    peer.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.socket.recv(1000)


@pytest.mark.parametrize(
    # cJSON reads a number there, and leaves the rest.
    ("version", "answer"),
    [("2.4", b"500 command not available\n"), ("3.4", b'"Invalid Request"')],
)
def test_with_hazards_an_imitated_version_answers_as_the_real_one(version: str, answer: bytes) -> None:
    with FakeOpenSIPS(version, hazards=True) as fake:
        peer = DatagramPeer(fake.address("udp"))
        try:
            assert answer in (peer.exchange(b"200 OK\n") or b"")
        finally:
            peer.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_bad_requests_are_answered_as_before(serve: Callable[..., Endpoints], version: Optional[str]) -> None:
    endpoints = serve(sipmi.Server("x", emulate=version))
    for bad in (b"hello", b"2000 OK", b"12"):
        assert endpoints.ask("udp", bad) is not None, bad


def loop_through(one: Any, other: Any, first: bytes, at_most: int) -> int:
    """Carries datagrams between two servers, as the network does when each has the other's address; how often."""
    carried, datagram = 0, first
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        sides = [(ours, one), (theirs, other)]
        while carried < at_most:
            sock, address = sides[carried % 2]
            sock.settimeout(0.3)
            sock.sendto(datagram, address)
            try:
                datagram = sock.recv(1 << 16)
            except (socket.timeout, TimeoutError):
                break
            carried += 1
    return carried


@pytest.mark.parametrize("one", VERSIONS)
@pytest.mark.parametrize("other", VERSIONS)
@pytest.mark.parametrize("first", [b"garbage", b"[]", b'{"id":1}', b"[1,2]"])
def test_two_servers_do_not_answer_each_other(one: Optional[str], other: Optional[str], first: bytes) -> None:
    addresses = []
    servers = [sipmi.Server("x", emulate=version) for version in (one, other)]
    for server in servers:
        server.listen("udp:127.0.0.1:0")
        server.start()
        host, _, port = server.addresses[0].partition(":")[2].rpartition(":")
        addresses.append((host, int(port)))
    try:
        assert loop_through(addresses[0], addresses[1], first, 20) <= 1
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_datagram_that_bears_the_servers_own_address_is_not_answered(host: str) -> None:
    server = sipmi.Server("x")
    server.listen(f"udp:{host}:0")
    server.start()
    port = int(server.addresses[0].rpartition(":")[2])
    try:
        # A sender with raw packets can forge any source address.
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            header = b"".join(n.to_bytes(2, "big") for n in (port, port, 8 + len(JSON_VERSION), 0))
            for _ in range(3):
                raw.sendto(header + JSON_VERSION, ("127.0.0.1", 0))
        eventually(lambda: statistic(server, "mi_datagram:dropped") == 3, "they are dropped")
        assert statistic(server, "mi_datagram:replies") == 0
    except PermissionError:
        pytest.skip("raw sockets are for root")
    finally:
        server.stop()


def test_a_peer_gets_a_limited_number_of_answers_to_bytes_that_are_no_request(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("x")
    peer = serve(server).peer("udp")
    peer.socket.settimeout(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    try:
        while statistic(server, "mi_datagram:dropped") == 0:
            assert time.monotonic() < deadline, "no answer was dropped"
            for _ in range(20):
                peer.socket.sendto(b"garbage", peer.target)
            # Requests are answered all the same.
            peer.socket.sendto(JSON_VERSION, peer.target)
            while b"Server" not in peer.socket.recv(1000):
                pass
    finally:
        peer.close()
