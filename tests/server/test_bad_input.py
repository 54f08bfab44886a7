"""Whatever comes in, nothing panics, nothing hangs, and the next well-formed request is served."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Callable, Optional

import pytest

import sipmi
from endpoints import Endpoints
from measured_server import MeasuredServer

VERSION = b'{"jsonrpc":"2.0","method":"version","id":1}'
TEXT_ERRORS = (b"500 command not available\n", b"400 parse error in command 'echo'\n")


@pytest.fixture
def endpoints(serve: Callable[..., Endpoints]) -> Endpoints:
    server = sipmi.Server("echo")

    @server.command
    def echo(*values: str) -> list:
        return list(values)

    @server.command
    def typed(a: object = None, b: object = None) -> list:
        return [a, b]

    return serve(server)


def assert_serves(endpoints: Endpoints) -> None:
    expected = f"sipmi ({sipmi.__version__}; ".encode()
    assert expected in (endpoints.fifo.exchange(lambda name: f":version:{name}\n\n".encode()) or b"")
    assert expected in (endpoints.fifo.exchange(lambda name: f":{name}:".encode() + VERSION) or b"")
    for transport in ("udp", "unix"):
        assert expected in (endpoints.ask(transport, b":version:\n") or b"")
        assert expected in (endpoints.ask(transport, VERSION) or b"")


DATAGRAMS = {
    "empty": (b"", b"500 command not available\n"),
    "newline": (b"\n", b"500 command not available\n"),
    "3 bytes": (b"abc", b"500 command not available\n"),
    "no second colon": (b":version\n", b"500 command not available\n"),
    "NUL": (b"\0\0\0", b"500 command not available\n"),
    "NUL in a value": (b":echo:\na\0b\n", b"200 OK\na\0b\n\n"),
    "invalid UTF-8": (b":echo:\n\xff\xfe\n", b"200 OK\n\xff\xfe\n\n"),
    "unterminated quote": (b':echo:\n"abc\n', b"400 parse error in command 'echo'\n"),
    "quote in a value": (b':echo:\na "b"\n', b"400 parse error in command 'echo'\n"),
    "CRLF": (b":echo:\r\na\r\n\r\n", b"200 OK\na\n\n"),
    "a name only": (b":echo:\n::\n", b"400 parse error in command 'echo'\n"),
    "unknown": (b":" + b"x" * 60_000 + b":\n", b"500 command not available\n"),
}


@pytest.mark.parametrize("transport", ["udp", "unix"])
@pytest.mark.parametrize("case", DATAGRAMS)
def test_a_bad_text_datagram_has_its_answer(endpoints: Endpoints, transport: str, case: str) -> None:
    request, expected = DATAGRAMS[case]
    assert endpoints.ask(transport, request) == expected
    assert_serves(endpoints)


JSON = {
    "truncated": (VERSION[:20], -32700),
    "nested 100,000 deep": (b'{"jsonrpc":"2.0","method":"echo","id":1,"params":' + b"[" * 50_000, -32700),
    "nested arrays": (b"[" * 60_000 + b"]" * 500, -32700),
    "empty batch": (b"[]", -32600),
    "empty object": (b"{}", -32600),
    "no method": (b'{"jsonrpc":"2.0","id":1}', -32600),
    "method is a number": (b'{"jsonrpc":"2.0","method":1,"id":1}', -32600),
    "wrong version": (b'{"jsonrpc":"1.0","method":"version","id":1}', -32600),
    "params are a string": (b'{"jsonrpc":"2.0","method":"version","params":"x","id":1}', -32600),
    "params are null": (b'{"jsonrpc":"2.0","method":"version","params":null,"id":1}', -32600),
    "id is an object": (b'{"jsonrpc":"2.0","method":"version","id":{}}', -32600),
    "id is true": (b'{"jsonrpc":"2.0","method":"version","id":true}', -32600),
    "invalid UTF-8 outside strings": (b'{"jsonrpc":"2.0",\xff"method":"version","id":1}', -32700),
    "lone surrogate": (b'{"jsonrpc":"2.0","method":"echo","params":["\\ud83d"],"id":1}', -32700),
    "bare word": (b"{nonsense}", -32700),
}


@pytest.mark.parametrize("transport", ["udp", "unix"])
@pytest.mark.parametrize("case", JSON)
def test_a_bad_json_datagram_has_its_error(endpoints: Endpoints, transport: str, case: str) -> None:
    request, code = JSON[case]
    reply = json.loads(endpoints.ask(transport, request) or b"")
    assert reply["error"]["code"] == code
    assert_serves(endpoints)


@pytest.mark.parametrize("case", JSON)
def test_bad_json_on_a_fifo_has_its_error(endpoints: Endpoints, case: str) -> None:
    request, code = JSON[case]
    reply = endpoints.fifo.exchange(lambda name: f":{name}:".encode() + request)
    assert json.loads(reply or b"")["error"]["code"] == code
    assert_serves(endpoints)


def test_ids_come_back_exactly_and_the_first_of_duplicate_members_wins(endpoints: Endpoints) -> None:
    for id in (b"1", b"-0", b"1.5", b"1e400", b"123456789012345678901234567890", b'"a\\u0041"', b'""', b"null"):
        reply = endpoints.ask("udp", b'{"jsonrpc":"2.0","method":"echo","id":' + id + b"}")
        assert reply == b'{"jsonrpc":"2.0","result":[],"id":' + id + b"}"
    twice = b'{"jsonrpc":"2.0","method":"typed","params":{"a":1,"a":2},"id":7,"method":"echo","id":8}'
    assert endpoints.ask("udp", twice) == b'{"jsonrpc":"2.0","result":[1,null],"id":7}'


def test_huge_numbers_are_floats_or_refused(endpoints: Endpoints) -> None:
    request = b'{"jsonrpc":"2.0","method":"typed","params":[%s],"id":1}'
    reply = json.loads(endpoints.ask("udp", request.replace(b"%s", b"1" + b"0" * 30)) or b"")
    assert reply["result"] == [1e30, None]
    reply = json.loads(endpoints.ask("udp", request.replace(b"%s", b"1e999")) or b"")
    assert reply["error"]["code"] == -32700
    assert_serves(endpoints)


FIFO_GARBAGE = {
    "empty": b"\n",
    "3 bytes": b"abc\n",
    "no leading colon": b"version:NAME\n\n",
    "no second colon": b":version\n\n",
    "NUL": b"\0\0\0\n",
    "only colons": b"::::\n\n",
    "blanks": b"   \t \n \r\n",
    "bare JSON": VERSION + b"\n",
}


@pytest.mark.parametrize("case", FIFO_GARBAGE)
def test_malformed_bytes_on_a_fifo_do_not_desynchronize_it(endpoints: Endpoints, case: str) -> None:
    endpoints.fifo.write(FIFO_GARBAGE[case].replace(b"NAME", endpoints.fifo.make_reply().encode()))
    assert_serves(endpoints)


def test_garbage_without_a_newline_is_dropped_when_it_falls_silent(endpoints: Endpoints) -> None:
    endpoints.fifo.write(b"abc")
    assert_serves(endpoints)


@pytest.mark.parametrize("wire", ["text", "json"])
def test_a_line_of_a_megabyte_on_a_fifo_is_served(endpoints: Endpoints, wire: str) -> None:
    value = b"y" * (1 << 20)
    requests = {
        "text": lambda name: f":echo:{name}\n".encode() + value + b"\n\n",
        "json": lambda name: f':{name}:{{"jsonrpc":"2.0","method":"echo","params":["'.encode() + value + b'"],"id":1}',
    }
    assert value in (endpoints.fifo.exchange(requests[wire]) or b"")


@pytest.mark.parametrize("head", [b":echo:NAME\n", b':NAME:{"jsonrpc":"2.0","method":"', b"garbage"])
@pytest.mark.timeout(120)
def test_a_hundred_megabytes_without_a_newline_are_refused_in_bounded_memory(directory: str, head: bytes) -> None:
    with MeasuredServer(directory) as server:
        before = server.memory
        name = server.fifo.make_reply()
        reader = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NONBLOCK)
        fd = os.open(server.fifo.command, os.O_WRONLY)
        os.write(fd, head.replace(b"NAME", name.encode()))
        block = b"z" * 65_536
        for _ in range(100 * 16):
            assert os.write(fd, block) == len(block)
        assert server.memory - before < 64 << 20
        os.write(fd, b"\n\n" if b"jsonrpc" not in head else b'"}\n')
        os.close(fd)
        assert b"still here" in (server.fifo.exchange(lambda name: f":echo:{name}\nstill here\n\n".encode()) or b"")
        os.close(reader)


def test_a_request_over_the_limit_says_so(serve: Callable[..., Endpoints]) -> None:
    endpoints = serve(sipmi.Server("small"), request_limit=1000)
    reply = endpoints.fifo.exchange(lambda name: f":version:{name}\n".encode() + b"x" * 2000 + b"\n\n")
    assert (reply or b"").startswith(b"413 Request too large: ")
    reply = endpoints.fifo.exchange(lambda name: f':{name}:{{"x":"'.encode() + b"x" * 2000 + b'"}')
    assert json.loads(reply or b"")["error"]["data"].startswith("Request too large: ")
    assert (endpoints.ask("udp", b":version:\n" + b"x" * 2000) or b"").startswith(b"413 Request too large: ")


def test_a_unix_datagram_that_does_not_fit_is_refused_by_its_size(endpoints: Endpoints) -> None:
    peer = endpoints.peer("unix")
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    reply = peer.exchange(b":echo:\n" + b"x" * 100_000)
    peer.close()
    assert (reply or b"").startswith(b"413 Request too large: 100007 bytes")
    assert_serves(endpoints)


def test_a_unix_client_without_an_address_is_served_without_an_answer(endpoints: Endpoints) -> None:
    unbound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    unbound.sendto(b":version:\n", endpoints.unix_path)
    unbound.close()
    assert_serves(endpoints)


def test_a_unix_client_that_stops_reading_delays_no_other_client(serve: Callable[..., Endpoints]) -> None:
    endpoints = serve(sipmi.Server("x"), write_timeout=0.5)
    stalled = endpoints.peer("unix")
    for _ in range(100):
        with contextlib.suppress(BlockingIOError):  # the server's queue is full for now
            stalled.socket.sendto(VERSION, socket.MSG_DONTWAIT, stalled.target)
        assert endpoints.ask("unix", VERSION) is not None
    stalled.close()
    assert_serves(endpoints)


def test_a_unix_client_that_leaves_before_its_answer_affects_no_other_client(endpoints: Endpoints) -> None:
    for _ in range(20):
        gone = endpoints.peer("unix")
        gone.socket.sendto(VERSION, gone.target)
        gone.close()
    assert_serves(endpoints)


def reply_codes(reply: Optional[bytes]) -> list[int]:
    return [part["error"]["code"] for part in json.loads(reply or b"[]")]


def test_a_batch_of_bad_requests_has_an_error_for_each(endpoints: Endpoints) -> None:
    batch = b'[1, {"jsonrpc":"2.0"}, [], {"jsonrpc":"2.0","method":"nope","id":3}]'
    assert reply_codes(endpoints.ask("udp", batch)) == [-32600, -32600, -32600, -32601]
