"""Each limit of a server has its error and its counter, and logs at most one line a second."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from typing import Any, Callable

import pytest

import sipmi
from endpoints import PATIENCE, Endpoints
from jsonrpc_calls import HttpEndpoint, call, error_of, result_of, statistic
from waiting import eventually


def limited(serve: Callable[..., Endpoints], **limits: Any) -> tuple[sipmi.Server, Endpoints]:
    server = sipmi.Server("limits")
    server.command(lambda value=None: value, name="echo")
    return server, serve(server, **limits)


def test_a_reply_over_the_limit_is_an_error_with_size_and_limit(serve: Callable[..., Endpoints]) -> None:
    server, endpoints = limited(serve, reply_limit=100)
    reply = endpoints.fifo.exchange(lambda name: f":echo:{name}\n{'x' * 200}\n\n".encode())
    assert reply == b"500 Reply too large: 209 bytes, limit 100\n\n"
    assert statistic(server, "mi_fifo:too_large_replies") == 1


def test_parameters_that_nest_too_deep_cannot_be_read(serve: Callable[..., Endpoints]) -> None:
    server, endpoints = limited(serve, depth_limit=3)
    assert result_of(endpoints.ask("udp", call("echo", [[1]]))) == [[1]]
    assert error_of(endpoints.ask("udp", call("echo", [[[1]]])))["code"] == -32700
    assert statistic(server, "mi_datagram:too_deep_requests") == 1


def test_a_command_has_limits_of_its_own(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("limits")
    server.command(lambda value: value, name="short", request_limit=100, reply_limit=20)
    endpoints = serve(server)
    assert endpoints.ask("udp", b":short:\nx\n") == b"200 OK\nx\n\n"
    assert (endpoints.ask("udp", b":short:\n%s\n" % (b"x" * 30)) or b"").startswith(b"500 Reply too large: ")
    assert endpoints.ask("udp", b":short:\n%s\n" % (b"x" * 200)) == b"413 Request too large: 209 bytes, limit 100\n\n"
    assert statistic(server, "mi_datagram:too_large_requests") == 1


def test_one_peer_has_a_rate_limit(serve: Callable[..., Endpoints]) -> None:
    server, endpoints = limited(serve, rate_limit=3)
    replies = [endpoints.ask("udp", b":echo:\nx\n") for _ in range(5)]
    assert replies[:3] == [b"200 OK\nx\n\n"] * 3
    assert b"503 Server busy\n\n" in replies[3:]
    assert statistic(server, "mi_datagram:too_frequent_requests") >= 1


def test_a_user_has_one_rate_limit_whatever_his_sockets_are_called(serve: Callable[..., Endpoints]) -> None:
    server, endpoints = limited(serve, rate_limit=3)
    replies = [endpoints.ask("unix", b":echo:\nx\n") for _ in range(5)]
    assert replies[:3] == [b"200 OK\nx\n\n"] * 3
    assert b"503 Server busy\n\n" in replies[3:]
    assert statistic(server, "mi_datagram_unix:too_frequent_requests") >= 1


class Gate:
    """A handler that waits until it is let on, and knows how many are within."""

    def __init__(self) -> None:
        self.open, self.lock = threading.Event(), threading.Lock()
        self.within = self.most = self.runs = 0

    def __call__(self) -> int:
        with self.lock:
            self.within += 1
            self.runs += 1
            self.most = max(self.most, self.within)
        assert self.open.wait(PATIENCE)
        with self.lock:
            self.within -= 1
        return self.runs


def test_requests_in_progress_are_limited(serve: Callable[..., Endpoints]) -> None:
    server, gate = sipmi.Server("limits"), Gate()
    server.command(gate.__call__, name="wait")
    endpoints = serve(server, in_progress_limit=2)
    peers = [endpoints.peer("udp") for _ in range(2)]
    for peer in peers:
        peer.socket.sendto(call("wait"), peer.target)
    eventually(lambda: gate.within == 2, "both run")
    assert error_of(endpoints.ask("udp", call("wait")))["data"] == "Server busy"
    gate.open.set()
    for peer in peers:
        assert result_of(peer.socket.recv(1000)) == 2
        peer.close()
    assert statistic(server, "mi_datagram:too_many_requests") == 1


def test_a_serial_command_runs_one_call_at_a_time_and_others_queue(serve: Callable[..., Endpoints]) -> None:
    server, gate = sipmi.Server("limits"), Gate()
    server.command(gate.__call__, name="turn", serial=True, queue_limit=2)
    endpoints = serve(server)
    peers = [endpoints.peer("udp") for _ in range(3)]
    for peer in peers:
        peer.socket.sendto(call("turn"), peer.target)
        eventually(lambda: gate.within == 1, "the first runs")
    eventually(lambda: statistic(server, "mi_datagram:in_progress") == 3, "two wait")
    assert error_of(endpoints.ask("udp", call("turn")))["data"] == "Server busy"
    gate.open.set()
    assert sorted(result_of(peer.socket.recv(1000)) for peer in peers) == [1, 2, 3]
    assert gate.most == 1
    assert server.call("turn") == 4
    assert statistic(server, "mi_datagram:full_queues") == 1
    for peer in peers:
        peer.close()


def test_serial_coroutines_follow_one_another_too(serve: Callable[..., Endpoints]) -> None:
    import asyncio

    server, within = sipmi.Server("limits"), []

    @server.command(serial=True)
    async def turn() -> int:
        within.append(1)
        await asyncio.sleep(0.02)
        most = len(within)
        within.pop()
        return most

    endpoints = serve(server)
    peers = [endpoints.peer("udp") for _ in range(4)]
    for peer in peers:
        peer.socket.sendto(call("turn"), peer.target)
    assert [result_of(peer.socket.recv(1000)) for peer in peers] == [1] * 4
    for peer in peers:
        peer.close()


def test_commands_that_wait_hold_no_worker(serve: Callable[..., Endpoints]) -> None:
    server, gate = sipmi.Server("limits"), Gate()
    server.command(gate.__call__, name="wait", blocking=True)
    server.command(lambda: "here", name="fast")
    endpoints = serve(server, workers=1)
    peers = [endpoints.peer("udp") for _ in range(50)]
    for peer in peers:
        peer.socket.sendto(call("wait"), peer.target)
    eventually(lambda: gate.within == 50, "all of them run")
    assert result_of(endpoints.ask("udp", call("fast"))) == "here"
    gate.open.set()
    for peer in peers:
        assert result_of(peer.socket.recv(1000)) == 50
        peer.close()


@pytest.mark.parametrize("kind", ["plain", "blocking", "serial"])
def test_a_handler_may_call_its_own_server_by_every_transport_with_one_worker(
    serve: Callable[..., Endpoints], kind: str
) -> None:
    server = sipmi.Server("self")
    conduct = {} if kind == "plain" else {kind: True}
    server.command(lambda: "inner", name="inner")

    @server.command(**conduct)
    def outer(address: str) -> Any:
        with sipmi.connect(address, timeout=PATIENCE) as mi:
            return mi.call("inner")

    serve(server, workers=1)
    server.listen("http://127.0.0.1:0", workers=1)
    for outside in server.addresses:
        for inside in server.addresses:
            with sipmi.connect(outside, timeout=PATIENCE) as mi:
                assert mi.call("outer", inside) == "inner", (outside, inside)


def test_a_limit_is_told_once_a_second_at_most(
    serve: Callable[..., Endpoints], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sipmi.server")
    _, endpoints = limited(serve, reply_limit=10)
    began = time.monotonic()
    for _ in range(50):
        endpoints.ask("udp", b":echo:\n%s\n" % (b"x" * 30))
    seconds = int(time.monotonic() - began) + 2
    eventually(lambda: caplog.records, "nothing was told")
    told = [record for record in caplog.records if "limit" in record.getMessage()]
    assert 1 <= len(told) <= seconds


def leave_unread(server: sipmi.Server, transport: str, serve: Callable[..., Endpoints]) -> Callable[[], Any]:
    """Asks for more than the transport holds, and reads none of it; gives what ends that."""
    if transport == "http":
        return HttpEndpoint(server, write_timeout=0.2).begin(call("large", 50_000_000)).close
    endpoints = serve(server, write_timeout=0.2)
    if transport == "unix":
        peer = endpoints.peer("unix")
        for _ in range(100):
            peer.socket.sendto(call("large", 60_000), peer.target)
        return peer.close
    name = endpoints.fifo.make_reply()
    fd = os.open(os.path.join(endpoints.directory, name), os.O_RDONLY | os.O_NONBLOCK)
    endpoints.fifo.write(f":large:{name}\n50000000\n\n".encode())
    return functools.partial(os.close, fd)


GROUPS = {"fifo": "mi_fifo", "unix": "mi_datagram_unix", "http": "mi_http"}


@pytest.mark.parametrize("transport", GROUPS)
def test_a_reply_without_a_reader_is_counted(serve: Callable[..., Endpoints], transport: str) -> None:
    server = sipmi.Server("limits")

    @server.command
    def large(size: int) -> str:
        return "x" * size

    end = leave_unread(server, transport, serve)
    try:
        eventually(lambda: statistic(server, f"{GROUPS[transport]}:write_timeouts") >= 1, "it was not counted")
    finally:
        end()
        server.stop()


def test_a_bad_limit_is_refused() -> None:
    server = sipmi.Server("limits")
    with pytest.raises(ValueError, match="from 1 to 128"):
        server.listen("udp:127.0.0.1:0", depth_limit=500)
    with pytest.raises(ValueError, match="above 0"):
        server.command(lambda: None, name="x", rate_limit=0)
    with pytest.raises(TypeError, match="unknown option"):
        server.command(lambda: None, name="x", patience=1)


def test_the_form_of_a_limit_is_that_of_its_wire() -> None:
    server, gate = sipmi.Server("limits"), Gate()
    server.command(gate.__call__, name="wait")
    endpoint = HttpEndpoint(server, in_progress_limit=0)
    try:
        assert error_of(endpoint.post(call("wait")))["data"] == "Server busy"
        reply = endpoint.post(b"<methodCall><methodName>wait</methodName></methodCall>", "/xmlrpc", "text/xml")
        assert b"<int>503</int>" in reply
    finally:
        server.stop()
