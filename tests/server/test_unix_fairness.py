"""Clients of a UNIX socket that do not read their replies delay no other clients, and their queues are bounded."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest

import sipmi
from endpoints import Endpoints
from jsonrpc_calls import statistic
from measured_server import MeasuredServer
from waiting import eventually

MIB = 1 << 20
#: A call that must not take long gets this long; the machine may be busy.
SOON = 5.0
KINDS = ["connected", "unconnected"]


class UnixPeer:
    """A client of a UNIX socket, connected to it or not."""

    def __init__(self, path: str, kind: str = "unconnected") -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("")
        self.socket.settimeout(SOON)
        if kind == "connected":
            self.socket.connect(path)
        self._send = self.socket.send if kind == "connected" else lambda request: self.socket.sendto(request, path)

    def ask(self, request_id: int, size: int = 0) -> None:
        """Request a text of ``size`` characters."""
        request = {"jsonrpc": "2.0", "id": request_id, "method": "text", "params": [size]}
        self._send(json.dumps(request).encode())

    def receive(self) -> tuple[int, Optional[Any]]:
        """The id of the next reply, and the name of the socket that it came from."""
        reply, sender = self.socket.recvfrom(1 << 17)
        return int(json.loads(reply)["id"]), sender

    def exchange(self, request_id: int = 1, size: int = 0) -> Optional[Any]:
        self.ask(request_id, size)
        found, sender = self.receive()
        assert found == request_id
        return sender

    def waits(self, seconds: float) -> bool:
        return bool(select.select([self.socket], [], [], seconds)[0])


@contextlib.contextmanager
def peers(path: str, kind: str, count: int = 1) -> Iterator[list[UnixPeer]]:
    made = [UnixPeer(path, kind) for _ in range(count)]
    try:
        yield made
    finally:
        for peer in made:
            peer.socket.close()


@pytest.fixture
def texts(serve: Callable[..., Endpoints]) -> Endpoints:
    server = sipmi.Server("x")

    @server.command(read_only=True)
    def text(size: int) -> str:
        return "x" * size

    return serve(server)


@pytest.mark.parametrize("honest", KINDS)
@pytest.mark.parametrize("stalled", KINDS)
@pytest.mark.parametrize(
    ("clients", "requests", "size"), [(1, 300, 0), (1, 20, 60_000), (8, 60, 2_000), (16, 3, 60_000)]
)
def test_clients_that_do_not_read_hold_up_nobody(
    texts: Endpoints, stalled: str, honest: str, clients: int, requests: int, size: int
) -> None:
    path = texts.unix_path
    with peers(path, stalled, clients) as silent, peers(path, honest, 4) as reading:
        for _ in range(requests):
            for peer in silent:
                peer.ask(1, size)
        for number in range(50):
            for peer in reading:
                peer.exchange(number, 3_000 if number % 10 == 0 else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_reads_late_gets_all_its_replies_in_order(texts: Endpoints, kind: str) -> None:
    with peers(texts.unix_path, kind) as [late]:
        for number in range(400):
            late.ask(number, 500)
        assert [late.receive()[0] for _ in range(400)] == list(range(400))
        late.exchange(1)


def test_a_client_is_answered_from_the_socket_that_the_kernel_allows(texts: Endpoints) -> None:
    with peers(texts.unix_path, "connected") as [connected], peers(texts.unix_path, "unconnected") as [unconnected]:
        assert [connected.exchange(), unconnected.exchange()] == [texts.unix_path, None]


@pytest.mark.parametrize("version", ["1.11", "2.4", "3.4", "4.0"])
def test_an_imitated_version_answers_from_a_second_socket_alone(serve: Callable[..., Endpoints], version: str) -> None:
    path = serve(sipmi.Server("x", emulate=version)).unix_path
    with peers(path, "connected") as [connected], peers(path, "unconnected") as [unconnected]:
        for peer in (connected, unconnected):
            peer._send(b'{"jsonrpc":"2.0","id":1,"method":"version"}')
        assert unconnected.socket.recvfrom(1000)[1] is None
        assert not connected.waits(0.1), "Linux refuses a datagram to a socket that is connected to another one"


def test_replies_that_wait_for_one_client_are_bounded_and_counted(directory: str) -> None:
    with MeasuredServer(directory, "listen(write_timeout=60)") as server:
        path = os.path.join(directory, "sock")
        with peers(path, "unconnected", 2) as [silent, reading]:
            reading.exchange()
            before = server.memory
            server.forget_peak()
            for number in range(20_000):
                silent.ask(number, 100)
            reading.exchange()
            assert server.peak - before < 8 * MIB
            hits = {"jsonrpc": "2.0", "id": 1, "method": "get_statistics", "params": [["mi_datagram_unix:"]]}
            reading._send(json.dumps(hits).encode())
            found = json.loads(reading.socket.recv(1 << 16))["result"]
            assert found["mi_datagram_unix:unsent_limit_hits"] > 10_000
            # The queued replies arrive when the client reads again.
            assert [silent.receive()[0] for _ in range(500)] == list(range(500))


def test_a_client_that_reads_nothing_for_the_write_timeout_loses_its_replies(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("x")

    @server.command(read_only=True)
    def text(size: int) -> str:
        return "x" * size

    path = serve(server, write_timeout=0.2).unix_path
    with peers(path, "unconnected", 2) as [silent, reading]:
        for number in range(40):
            silent.ask(number)
        eventually(lambda: statistic(server, "mi_datagram_unix:write_timeouts") == 1, "it was not counted")
        eventually(lambda: statistic(server, "mi_datagram_unix:dropped") >= 20, "the replies are not counted")
        dropped = statistic(server, "mi_datagram_unix:dropped")
        assert dropped < 40
        assert [silent.receive()[0] for _ in range(40 - dropped)] == list(range(40 - dropped))
        silent.exchange(99)
        reading.exchange(1)


@pytest.mark.parametrize("kind", KINDS)
def test_several_processes_answer_both_kinds_of_clients(group: Callable[..., Any], kind: str) -> None:
    many = group()
    with peers(many.addresses["unix"].partition(":")[2], kind, 4) as asking:
        for peer in asking:
            peer._send(b'{"jsonrpc":"2.0","id":7,"method":"version"}')
        assert [peer.receive()[0] for peer in asking] == [7] * 4


@contextlib.contextmanager
def clients_of_another_user(path: str, kind: str, count: int) -> Iterator[None]:
    """A process of another user whose clients have asked for large replies and read none."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(12345)
            os.setuid(12345)
            with peers(path, kind, count) as silent:
                for number in range(12):
                    for peer in silent:
                        peer.ask(number, 60_000)
                os.write(told, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    try:
        assert os.read(ready, 1) == b"x"
        yield
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


LISTEN_FOR_ALL = 'os.chmod(directory, 0o755); server.listen(f"unix:{directory}/sock", mode=0o666)'


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("honest", KINDS)
@pytest.mark.parametrize("silent", KINDS)
def test_clients_of_one_user_that_do_not_read_leave_room_for_other_users(
    directory: str, silent: str, honest: str
) -> None:
    with MeasuredServer(directory, LISTEN_FOR_ALL):
        path = os.path.join(directory, "sock")
        with clients_of_another_user(path, silent, 200), peers(path, honest) as [reading]:
            for number in range(200):
                reading.exchange(number, 1_000)
