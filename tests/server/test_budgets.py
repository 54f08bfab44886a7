"""Bytes, calls and time that clients can make a server spend are limited, or grow no faster than the requests."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import resource
import xmlrpc.client
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from http_peer import request, rpc
from jsonrpc_calls import error_of, result_of
from measured_server import MeasuredServer
from waiting import eventually

MIB = 1 << 20


def unsent_limit_hits(server: MeasuredServer, group: str) -> int:
    name = f"{group}:unsent_limit_hits"
    request = b'{"jsonrpc":"2.0","id":1,"method":"get_statistics","params":[["%s"]]}' % name.encode()
    with contextlib.closing(server.peer("udp")) as peer:
        return int(result_of(peer.exchange(request))[name])


@contextlib.contextmanager
def silent_readers(server: MeasuredServer, count: int, size: int) -> Iterator[list[int]]:
    """Clients of a FIFO that ask for a large reply each, and do not read it."""
    fds = []
    fifo = server.fifo
    try:
        for _ in range(count):
            name = fifo.make_reply()
            fds.append(os.open(os.path.join(fifo.reply_dir, name), os.O_RDONLY | os.O_NONBLOCK))
            fifo.write(b":text:%s\n%d\n\n" % (name.encode(), size))
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def test_unread_fifo_replies_are_bounded_and_their_memory_is_freed(directory: str) -> None:
    with MeasuredServer(directory, f"listen(unsent_limit={8 * MIB}, write_timeout=60)") as server:
        server.fifo.exchange(lambda name: b":text:%s\n%d\n\n" % (name.encode(), MIB))
        before = server.memory
        server.forget_peak()
        with silent_readers(server, 200, MIB):
            eventually(lambda: unsent_limit_hits(server, "mi_fifo") >= 180, "replies are given up")
            # On a busy machine several handlers make their replies at once, each with copies of its own.
            assert server.peak - before < 100 * MIB, "half of what all replies have"
        # glibc keeps the end of each thread's heap, up to 2 MiB.
        eventually(lambda: server.memory - before < 20 * MIB, "the memory is given back")
        reply = server.fifo.exchange(lambda name: b":text:%s\n%d\n\n" % (name.encode(), MIB))
        assert reply is not None
        assert len(reply) > MIB


def test_requests_whose_reply_fifo_has_no_reader_are_bounded(directory: str) -> None:
    body = f"""
    server.listen(f"fifo:{{directory}}/fifo", reply_dir=directory, unsent_limit={4 * MIB}, reply_wait=60)
    server.listen("udp:127.0.0.1:0")
    """
    with MeasuredServer(directory, body) as server:
        fifo = server.fifo
        name = fifo.make_reply().encode()
        before = server.memory
        server.forget_peak()
        for _ in range(100):
            fifo.write(b":echo:%s\n%s\n\n" % (name, b"x" * (MIB // 8)))
        reply = fifo.exchange(lambda name: b":text:%s\n1\n\n" % name.encode())
        assert reply == b"200 OK\nx\n\n"
        assert unsent_limit_hits(server, "mi_fifo") == 98
        assert server.peak - before < 8 * MIB


def batch(*calls: bytes) -> bytes:
    return b"[%s]" % b",".join(calls)


def multicall(count: int, name: str, *params: int) -> bytes:
    values = "".join(f"<value><int>{param}</int></value>" for param in params)
    one = (
        f"<value><struct><member><name>methodName</name><value>{name}</value></member><member><name>params</name>"
        f"<value><array><data>{values}</data></array></value></member></struct></value>"
    )
    calls = f"<param><value><array><data>{one * count}</data></array></value></param>"
    return f"<methodCall><methodName>system.multicall</methodName><params>{calls}</params></methodCall>".encode()


def post(server: MeasuredServer, path: str, body: bytes) -> bytes:
    kind = "text/xml" if path == "/RPC2" else "application/json"
    with server.http as peer:
        peer.socket.settimeout(20)
        return peer.ask(request("POST", path, body, Content_Type=kind)).body


def test_a_batch_over_the_limit_of_calls_is_rejected_as_a_whole(directory: str) -> None:
    with MeasuredServer(directory, "listen(batch_limit=3)") as server:
        three, four = (batch(*[rpc("run", id=number) for number in range(count)]) for count in (3, 4))
        assert [part["id"] for part in json.loads(post(server, "/mi", three))] == [0, 1, 2]
        refused = {"code": -32000, "message": "Server error", "data": "Too many calls: 4, limit 3"}
        with contextlib.closing(server.peer("udp")) as peer:
            for reply in (post(server, "/mi", four), peer.exchange(four)):
                assert error_of(reply) == refused
        assert post(server, "/RPC2", multicall(3, "run")).count(b"<array>") == 4
        fault = sipmi_fault(post(server, "/RPC2", multicall(4, "run")))
        assert (fault["faultCode"], fault["faultData"]) == (-32000, "Too many calls: 4, limit 3")
        assert result_of(post(server, "/mi", rpc("ran"))) == 6


def sipmi_fault(body: bytes) -> dict[str, Any]:
    with pytest.raises(xmlrpc.client.Fault) as raised:
        xmlrpc.client.loads(body)
    data = re.search(rb"<name>faultData</name>\s*<value><string>(.*?)<", body)
    return {"faultCode": raised.value.faultCode, "faultData": data and data[1].decode()}


@pytest.mark.parametrize("kind", ["batch", "multicall"])
def test_calls_are_not_run_once_the_replies_before_them_are_too_large(directory: str, kind: str) -> None:
    with MeasuredServer(directory, f"listen(batch_limit=1000, batch_reply_limit={4 * MIB})") as server:
        if kind == "batch":
            path, body = "/mi", batch(*[rpc("run", MIB)] * 1000)
        else:
            path, body = "/RPC2", multicall(1000, "run", MIB)
        before = server.memory
        server.forget_peak()
        reply = post(server, path, body)
        assert re.search(rb"Reply too large: 41\d{5} bytes, limit 4194304", reply)
        assert result_of(post(server, "/mi", rpc("ran"))) == 4
        assert server.peak - before < 24 * MIB


def test_a_batch_in_a_datagram_stops_at_what_a_datagram_holds(directory: str) -> None:
    with MeasuredServer(directory) as server, contextlib.closing(server.peer("udp")) as peer:
        body = batch(*[rpc("run", 30_000)] * 900)
        assert re.match(r"Reply too large: 9\d{4} bytes, limit 65457", error_of(peer.exchange(body))["data"])
        assert result_of(peer.exchange(rpc("ran"))) == 3


def test_a_batch_of_millions_of_empty_objects_costs_little(directory: str) -> None:
    with MeasuredServer(directory) as server:
        body = batch(*[b"{}"] * 1_000_000)
        before = server.memory
        server.forget_peak()
        assert error_of(post(server, "/mi", body))["data"] == "Too many calls: 1000000, limit 1000"
        assert server.peak - before < 20 * MIB


def test_blocking_calls_of_a_batch_that_wait_are_not_run_once_the_replies_are_too_large(directory: str) -> None:
    body = f"""
    server.command(lambda size: run(size), name="turn", serial=True)
    listen(batch_reply_limit={MIB})
    """
    with MeasuredServer(directory, body) as server:
        reply = post(server, "/mi", batch(*[rpc("turn", MIB // 4)] * 40))
        assert error_of(reply)["data"].startswith("Reply too large: ")
        assert result_of(post(server, "/mi", rpc("ran"))) in (4, 5)


# -- requests that double ---------------------------------------------------------------------------


@dataclasses.dataclass
class Cost:
    """The cost of a request to the server: seconds of processor time, and bytes of memory at the peak."""

    time: float
    memory: int


def cost_of(server: MeasuredServer, ask: Callable[[], object]) -> Cost:
    ask()
    times, peaks = [], []
    for _ in range(3):
        before, began = server.memory, server.processor_time
        server.forget_peak()
        ask()
        times.append(server.processor_time - began)
        peaks.append(server.peak - before)
    return Cost(min(times), min(peaks))


def by_fifo(server: MeasuredServer, body: Callable[[bytes], bytes]) -> None:
    assert server.fifo.exchange(lambda name: body(name.encode()), silence=30) is not None


def named_texts(server: MeasuredServer, size: int) -> None:
    count = size // 12
    params = b"".join(b"n%d::v\n" % number for number in range(count))
    by_fifo(server, lambda name: b":keep:%s\n%s\n" % (name, params))


def json_width(server: MeasuredServer, size: int) -> None:
    post(server, "/mi", rpc("echo", [0] * (size // 3)))


def json_names(server: MeasuredServer, size: int) -> None:
    post(server, "/mi", rpc("keep", **{f"n{number}": "" for number in range(size // 14)}))


def json_depth(server: MeasuredServer, size: int) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[%s%s]}' % (b"[" * (size // 2), b"]" * (size // 2))
    assert error_of(post(server, "/mi", body[: 4 * MIB]))["code"] == -32700


def json_batch(server: MeasuredServer, size: int) -> None:
    post(server, "/mi", batch(*[b"{}"] * (size // 3)))


def xml_width(server: MeasuredServer, size: int) -> bytes:
    values = b"<value>x</value>" * (size // 16)
    call = b"<methodCall><methodName>echo</methodName><params><param><value><array><data>%s</data></array></value>"
    return post(server, "/RPC2", call % values + b"</param></params></methodCall>")


def xml_depth(server: MeasuredServer, size: int) -> None:
    call = b"<methodCall><methodName>echo</methodName><params><param>%s"
    post(server, "/RPC2", call % (b"<value><array><data>" * (size // 20)))


def xml_multicall(server: MeasuredServer, size: int) -> None:
    one = len(multicall(2, "run")) - len(multicall(1, "run"))
    post(server, "/RPC2", multicall(size // one, "run"))


def form_fields(server: MeasuredServer, size: int) -> None:
    fields = b"&".join([b"arg=x"] * (size // 6))
    with server.http as peer:
        peer.socket.settimeout(20)
        kind = "application/x-www-form-urlencoded"
        peer.ask(request("POST", "/html/mi/echo", fields, Content_Type=kind))


def http_fields(server: MeasuredServer, size: int) -> None:
    fields = "".join(f"X-{number}: v\r\n" for number in range(size // 12))
    with server.http as peer, contextlib.suppress(OSError):
        peer.send(f"POST /mi HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode())
        peer.read_or_end()


def fifo_without_newline(server: MeasuredServer, size: int) -> None:
    fifo = server.fifo
    fifo.write(b":echo:" + b"x" * size)
    fifo.write(b"\n\n")
    by_fifo(server, lambda name: b":echo:%s\n\n" % name)


def waiting_replies(server: MeasuredServer, size: int) -> None:
    with silent_readers(server, size // (MIB // 8), MIB // 8):
        # A FIFO is served in order.
        by_fifo(server, lambda name: b":echo:%s\n\n" % name)


#: How each request is made, and how large it is; the largest that a listener takes by default has 4 MiB.
GROWING: dict[str, tuple[Callable[[MeasuredServer, int], object], int]] = {
    "named text parameters": (named_texts, MIB // 2),
    "a JSON array": (json_width, MIB),
    "a JSON object": (json_names, MIB // 2),
    "nested JSON": (json_depth, MIB),
    "a batch": (json_batch, MIB),
    "an XML array": (xml_width, MIB),
    "nested XML": (xml_depth, MIB),
    "a multicall": (xml_multicall, MIB),
    "fields of a form": (form_fields, MIB),
    "fields of a head": (http_fields, MIB // 64),
    "a line without end": (fifo_without_newline, MIB),
    "replies without a reader": (waiting_replies, 4 * MIB),
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_request_of_four_times_the_size_costs_about_four_times_as_much_or_is_refused(
    directory: str, kind: str
) -> None:
    ask, size = GROWING[kind]
    with MeasuredServer(directory) as server:
        small, large = (cost_of(server, functools.partial(ask, server, times * size)) for times in (1, 4))
        # Quadratic growth would be a factor of sixteen. A tenth of a second cannot be told from noise.
        assert large.time < 0.1 + 12 * small.time, (small, large)
        assert large.memory < 8 * MIB + 64 * 4 * size, (small, large)


def test_queued_requests_are_limited_by_default(directory: str) -> None:
    body = """
    gate = threading.Event()
    server.command(lambda: gate.wait(30), name="turn", serial=True)
    server.command(lambda: gate.set(), name="open_gate")
    listen()
    """
    with MeasuredServer(directory, body) as server, contextlib.ExitStack() as stack:
        peer, other = (stack.enter_context(contextlib.closing(server.peer("udp"))) for _ in range(2))

        def statistic(name: str) -> int:
            reply = other.exchange(rpc("get_statistics", [f"mi_datagram:{name}"]))
            return int(result_of(reply)[f"mi_datagram:{name}"])

        for _ in range(12):
            for _ in range(100):
                peer.socket.sendto(rpc("turn"), peer.target)
            # The socket has no room for more.
            assert statistic("requests") > 0
        # One is at work, and the one that asks is in progress, too.
        assert statistic("in_progress") == 1 + 1024 + 1
        assert statistic("full_queues") == 1200 - 1024 - 1
        assert error_of(other.exchange(rpc("turn")))["data"] == "Server busy"
        assert result_of(other.exchange(rpc("open_gate"))) == "OK"
        eventually(lambda: statistic("in_progress") == 1, "all are served")


# -- memory that is not there -----------------------------------------------------------------------


def leave_memory(server: MeasuredServer, size: int) -> None:
    """Limit the server's memory to this many bytes more than it uses now."""
    limit = server.address_space + size
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, limit))


@pytest.mark.parametrize("kind", ["json", "xml", "text"])
def test_a_request_for_which_there_is_no_memory_is_answered_and_the_server_goes_on(directory: str, kind: str) -> None:
    with MeasuredServer(directory) as server:
        small, large = {
            "json": (
                lambda: post(server, "/mi", rpc("echo", 1)),
                lambda: post(server, "/mi", b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[%s0]}' % (b"0," * MIB)),
            ),
            "xml": (
                lambda: post(server, "/RPC2", multicall(1, "echo", 1)),
                lambda: xml_width(server, 2 * MIB),
            ),
            "text": (
                lambda: server.fifo.exchange(lambda name: b":echo:%s\n1\n\n" % name.encode()),
                lambda: server.fifo.exchange(lambda name: b":keep:%s\n%s\n" % (name.encode(), b"x\n" * MIB)),
            ),
        }[kind]
        # Its threads and their stacks are there before.
        expected = [small() for _ in range(20)][-1]
        leave_memory(server, 24 * MIB)
        for _ in range(3):
            assert re.search(rb"Server busy|there is no memory", large() or b"")
            assert small() == expected
        assert server.process.poll() is None, server.log
