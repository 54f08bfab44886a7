"""The client over HTTP against raw sockets: how it writes, what it makes of every kind of answer and trouble."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
import trustme

import sipmi
from descriptors import descriptors
from rogue import Connection, RogueHttp, answering, body_of, http_reply

#: A call that must not take long gets this long; the machine may be busy.
SOON = 3.0

REAL = "OpenSIPS (4.0.1 (x86_64/linux))"


def json_answer(request: bytes, result: Any = "OK", *, status: str = "200 OK", headers: str = "") -> bytes:
    """A JSON-RPC answer to a request."""
    call = json.loads(body_of(request))
    if call["method"] == "version":
        result = {"Server": REAL}
    body = json.dumps({"jsonrpc": "2.0", "result": result, "id": call["id"]})
    return http_reply(body, status=status, headers=f"Content-Type: application/json\r\n{headers}")


def ok(connection: Connection) -> None:
    answering(json_answer)(connection)


def in_chunks(body: bytes, size: int = 7) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\n"


def head_of(request: bytes) -> str:
    return request.partition(b"\r\n\r\n")[0].decode()


# -- what is written ------------------------------------------------------------------------------


def test_head_and_body_come_in_one_segment_and_say_no_more_than_needed() -> None:
    pieces: list[list[bytes]] = []

    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            pieces.append(connection.pieces)
            connection.send(json_answer(request))

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        for _ in range(20):
            mi.call("cache_store", "local", "key", "x" * 500)
        requests = server.wait_for(20)
        assert all(len(each) == 1 for each in pieces), "head and body of a request came apart"
        head = head_of(requests[0]).split("\r\n")
        assert head[0] == "POST /mi HTTP/1.1"
        assert sorted(line.partition(":")[0] for line in head[1:]) == ["Content-Length", "Content-Type", "Host"]
        assert f"Host: 127.0.0.1:{server.port}" in head
        assert "Content-Type: application/json" in head
        assert json.loads(body_of(requests[0]))["params"] == ["local", "key", "x" * 500]


def test_reply_raw_and_sent_are_the_bodies() -> None:
    with RogueHttp(ok) as server, sipmi.connect(server.address) as mi:
        reply = mi.request("uptime")
        assert json.loads(reply.sent)["method"] == "uptime"
        assert json.loads(reply.raw) == {"jsonrpc": "2.0", "result": "OK", "id": json.loads(reply.sent)["id"]}
        assert (reply.wire, reply.code, reply.value, mi.generation) == ("jsonrpc", 200, "OK", "4.x")


def test_an_address_without_a_path_means_mi() -> None:
    with RogueHttp(ok, path="") as server, sipmi.connect(server.address) as mi:
        mi.call("uptime")
        assert {head_of(request).split("\r\n")[0] for request in server.requests} == {"POST /mi HTTP/1.1"}


# -- who calls ------------------------------------------------------------------------------------


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_user_and_password_go_as_basic_authentication_and_are_shown_nowhere() -> None:
    with RogueHttp(ok) as server:
        for address, options in [
            (server.address, {"auth": ("alice", "s3cr:et ü")}),
            (server.address.replace("//", "//alice:s3cr%3Aet%20%C3%BC@"), {}),
        ]:
            with sipmi.connect(address, **options) as mi:
                reply = mi.request("uptime")
                assert basic("alice", "s3cr:et ü") in head_of(server.requests[-1]).split("\r\n")
                shown = f"{mi!r} {mi.address} {reply!r} {reply.address} {reply.sent!r} {mi._core!r}"
                assert "s3cr" not in shown
                assert "alice" not in shown
                assert mi.address == server.address


def test_a_token_goes_as_bearer() -> None:
    with RogueHttp(ok) as server, sipmi.connect(server.address, token="t0ken") as mi:
        mi.call("uptime")
        assert "Authorization: Bearer t0ken" in head_of(server.requests[-1]).split("\r\n")


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("http://h/mi", {"auth": ("a:b", "c")}),
        ("http://h/mi", {"auth": ("a", "c\r\nX: y")}),
        ("http://h/mi", {"token": "t\r\nX: y"}),
        ("http://h/mi", {"token": ""}),
        ("http://h/mi", {"token": "t", "auth": ("a", "b")}),
        ("http://a:b@h/mi", {"token": "t"}),
        ("http://h/mi", {"cafile": "/nowhere"}),
        ("http://h/mi", {"wire": "text"}),
        ("udp:127.0.0.1:1", {"token": "t"}),
        ("udp:127.0.0.1:1", {"wire": "xmlrpc"}),
        ("udp:127.0.0.1:1", {"verify": False}),
        ("http://h/mi", {"reply_dir": "/tmp"}),
        ("http://h/mi", {"wire": "soap"}),
        ("http://h:0/mi", {}),
        ("http://a:s3cret@h:x/mi", {}),
        ("http://a:s3cr/et@h/mi", {}),
        ("https://h/mi", {"cafile": "/nowhere/ca.pem"}),
        ("https://h/mi", {"cert": "/nowhere/cert.pem"}),
    ],
)
def test_unusable_options_are_errors_at_once_and_without_secrets(address: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|cannot|alone|speaks|no reply FIFOs|no certificate") as caught:
        sipmi.connect(address, **options)
    assert "s3cr" not in str(caught.value)


# -- how answers end ------------------------------------------------------------------------------


def body_for(request: bytes) -> bytes:
    return body_of(json_answer(request, ["x" * 100] * 50))


@pytest.mark.parametrize(
    "make",
    [
        lambda body: http_reply(body),
        lambda body: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(body),
        lambda body: b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n" + in_chunks(body, 4096),
        lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + http_reply(body),
        lambda body: b"HTTP/1.1 200\r\ncontent-length:%d\r\n\r\n" % len(body) + body,
        lambda body: b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(body) + body,
    ],
    ids=["length", "chunks", "large-chunks", "continue", "terse", "bare-lf"],
)
@pytest.mark.parametrize("pieces", [1, 2, 0], ids=["whole", "in-two", "byte-by-byte"])
def test_an_answer_ends_where_it_says(make: Callable[[bytes], bytes], pieces: int) -> None:
    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            reply = make(body_for(request))
            size = -(-len(reply) // pieces) if pieces else 1
            connection.send(*(reply[at : at + size] for at in range(0, len(reply), size)))

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi:
        for _ in range(2):
            assert mi.call("some") == ["x" * 100] * 50
        assert len(server.connections) == 1, "the connection was not kept"


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    def serve(connection: Connection) -> None:
        request = connection.read_request()
        assert request is not None
        connection.send(b"HTTP/1.0 200 OK\r\n\r\n", body_for(request))

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        for _ in range(3):
            assert mi.call("some") == ["x" * 100] * 50
        assert len(server.connections) == 3


def test_a_large_answer_comes_whole() -> None:
    value = ["y" * 1000] * 20_000
    with (
        RogueHttp(answering(lambda request: json_answer(request, value))) as server,
        sipmi.connect(server.address, wire="jsonrpc", timeout=30) as mi,
    ):
        assert mi.call("ul_dump") == value


@pytest.mark.parametrize("status", ["202 Accepted", "400 Bad Request", "405 Method Not Allowed", "500 Oops"])
def test_a_status_of_chunks_without_end_is_complete_after_its_head(status: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            # The connection stays open, as that of a real server does.
            connection.send(head if b'"some"' in request else json_answer(request))

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi:
        mi.call("first")
        begun = time.monotonic()
        with pytest.raises(sipmi.TransportError, match=f"HTTP {status[:3]}"):
            mi.call("some")
        assert time.monotonic() - begun < SOON
        # On the old connection the next request would be swallowed.
        assert mi.call("next") == "OK"
        assert [connection.number for connection in server.connections] == [0, 1]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "head of an HTTP/1 answer"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "head of an HTTP/1 answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "one Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "one Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "larger than 268435456 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", 'encoded as "gzip"'),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXY", "end of a line after a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", "larger than 268435456 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "found both"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "head of an HTTP/1 answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "a head of at most 65536 bytes"),
    ],
)
def test_a_body_that_is_no_reply_is_a_clear_error(reply: bytes, expected: str) -> None:
    def serve(connection: Connection) -> None:
        connection.read_request()
        connection.send(reply)
        connection.read_request()  # the client hangs up

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi:
        with pytest.raises(sipmi.TransportError) as caught:
            mi.call("some")
        assert expected in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"[1, 2]", b"<html>", b"\xff\x00", b'{"jsonrpc":"2.0","res'])
def test_a_body_that_is_no_answer_is_a_codec_error(body: bytes) -> None:
    with (
        RogueHttp(answering(lambda _: http_reply(body))) as server,
        sipmi.connect(server.address, wire="jsonrpc") as mi,
        pytest.raises(sipmi.CodecError) as caught,
    ):
        mi.call("some")
    assert caught.value.received == (body or None)


def test_the_answer_to_another_request_is_not_taken_for_ours() -> None:
    stray = http_reply(b'{"jsonrpc":"2.0","result":"stray","id":99999}')
    with (
        RogueHttp(answering(lambda _: stray)) as server,
        sipmi.connect(server.address, wire="jsonrpc") as mi,
        pytest.raises(sipmi.CodecError, match="the answer to this request"),
    ):
        mi.call("some")


# -- statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("401 Unauthorized", "auth="),
        ("403 Forbidden", "auth="),
        ("404 Not Found", "check the path"),
        ("405 Method Not Allowed", "wire="),
        ("406 Not Acceptable", "wire="),
        ("415 Unsupported Media Type", "wire="),
        ("400 Bad Request", "limits"),
        ("301 Moved Permanently", "moved"),
        ("413 Too Large", "size"),
        ("503 Service Unavailable", "busy"),
        ("502 Bad Gateway", "proxy"),
        ("204 No Content", "expected HTTP status 200"),
    ],
)
def test_an_http_status_error_says_how_to_fix_it(status: str, hint: str) -> None:
    with (
        RogueHttp(answering(lambda _: http_reply(b"<html>no</html>", status=status))) as server,
        sipmi.connect(server.address, wire="jsonrpc", auth=("alice", "s3cret")) as mi,
    ):
        with pytest.raises(sipmi.TransportError) as caught:
            mi.call("some")
        assert f"HTTP {status[:3]}" in str(caught.value)
        assert hint in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert caught.value.address == server.address


def test_a_json_error_under_another_status_is_a_fault() -> None:
    def answer(request: bytes) -> bytes:
        error = {"code": -32000, "message": "Server error", "data": "read only"}
        body = json.dumps({"jsonrpc": "2.0", "error": error, "id": json.loads(body_of(request))["id"]})
        return http_reply(body, status="403 Forbidden")

    with (
        RogueHttp(answering(answer)) as server,
        sipmi.connect(server.address, wire="jsonrpc") as mi,
        pytest.raises(sipmi.Fault) as caught,
    ):
        mi.call("some")
    assert (caught.value.code, caught.value.data) == (-32000, "read only")


# -- connections that are kept --------------------------------------------------------------------


def test_calls_in_a_row_share_a_connection() -> None:
    with RogueHttp(ok) as server, sipmi.connect(server.address) as mi:
        for _ in range(10):
            mi.call("uptime")
        assert len(server.connections) == 1
        assert len(server.requests) == 11  # one asked for the version


def test_threads_have_a_connection_each_and_no_answer_is_mixed_up() -> None:
    def answer(request: bytes) -> bytes:
        return json_answer(request, json.loads(body_of(request)).get("params"))

    with RogueHttp(answering(answer)) as server, sipmi.connect(server.address, timeout=30) as mi:
        with ThreadPoolExecutor(8) as pool:
            given = [[str(number)] for number in range(400)]
            assert list(pool.map(lambda params: mi.call("echo", *params), given)) == given
        assert len(server.connections) <= 9


@pytest.mark.parametrize("close_header", [True, False], ids=["announced", "silent"])
def test_a_connection_that_the_server_closed_is_not_used_again(close_header: bool) -> None:
    def serve(connection: Connection) -> None:
        request = connection.read_request()
        assert request is not None
        connection.send(json_answer(request, headers="Connection: close\r\n" if close_header else ""))
        connection.socket.close()

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi:
        for _ in range(30):
            assert mi.call("some") == "OK"
            # Otherwise the close may arrive after the next request, and the client could not tell whether that was run.
            server.threads[-1].join(10)
        assert len(server.requests) == 30, "a request was sent twice, or not at all"


def test_unsolicited_bytes_of_a_server_are_not_taken_for_the_next_answer() -> None:
    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            stray = http_reply(b'{"jsonrpc":"2.0","result":"stray","id":%d}' % (json.loads(body_of(request))["id"] + 1))
            connection.send(json_answer(request, "ours") + stray)

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        assert [mi.call("some") for _ in range(5)] == ["ours"] * 5


def second_request(connection: Connection, then: Callable[[Connection], None]) -> None:
    """Answers the first request of a connection, reads the second and does something else."""
    request = connection.read_request()
    assert request is not None
    connection.send(json_answer(request))
    if connection.read_request() is not None:
        then(connection)


@pytest.mark.parametrize(
    "then",
    [
        lambda connection: connection.socket.close(),
        lambda connection: connection.reset(),
        lambda connection: (connection.send(b"H"), connection.socket.close()),
        lambda connection: (connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), connection.reset()),
    ],
    ids=["closed", "reset", "closed-after-a-byte", "reset-after-the-head"],
)
def test_a_request_that_may_have_run_is_never_sent_again(then: Callable[[Connection], None]) -> None:
    with (
        RogueHttp(lambda connection: second_request(connection, then)) as server,
        sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi,
    ):
        mi.call("first")
        with pytest.raises(sipmi.TransportError):
            mi.call("dlg_end_dlg", "1.2")
        assert sum(b"dlg_end_dlg" in request for request in server.requests) == 1


# -- trouble in every phase -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "phase", [b"", b"HTT", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"body"]
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_that_ends_in_any_phase_is_a_transport_error(phase: bytes, how: str) -> None:
    if phase == b"body":
        phase = b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"jsonrpc":'

    def serve(connection: Connection) -> None:
        connection.read_request()
        connection.send(phase)
        if how == "reset":
            connection.reset()

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi:
        with pytest.raises(sipmi.TransportError) as caught:
            mi.call("some")
        assert isinstance(caught.value, OSError)
        assert server.address in str(caught.value)
        assert json.loads(caught.value.sent or b"")["method"] == "some"
        assert len(server.requests) == 1


def test_a_port_without_a_listener_refuses_the_connection_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    begun = time.monotonic()
    with sipmi.connect(f"http://127.0.0.1:{port}/mi", timeout=30) as mi, pytest.raises(sipmi.TransportError) as caught:
        mi.call("uptime")
    assert "connection refused" in str(caught.value)
    assert time.monotonic() - begun < SOON


def test_a_host_name_is_looked_up_and_every_address_tried() -> None:
    with RogueHttp(ok) as server, sipmi.connect(f"http://localhost:{server.port}/mi") as mi:
        assert mi.call("uptime") == "OK"
        assert f"Host: localhost:{server.port}" in head_of(server.requests[0])
    with sipmi.connect("http://nosuch.invalid/mi") as mi, pytest.raises(sipmi.TransportError, match="cannot resolve"):
        mi.call("uptime")


@pytest.mark.parametrize("phase", [b"", b"HTTP/1.1 200 OK\r\n", b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"json'])
def test_an_answer_that_does_not_end_in_time_is_a_timeout(phase: bytes) -> None:
    def serve(connection: Connection) -> None:
        connection.read_request()
        connection.send(phase)
        connection.read_request()

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc", timeout=0.3) as mi:
        begun = time.monotonic()
        with pytest.raises(sipmi.CallTimeout, match=r"within 0\.3 s"):
            mi.call("some")
        assert 0.3 <= time.monotonic() - begun < SOON


def test_a_late_answer_is_never_taken_for_that_of_the_next_call() -> None:
    late = threading.Event()

    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            if b'"slow"' in request:
                assert late.wait(10)
            connection.send(json_answer(request, json.loads(body_of(request))["method"]))

    with RogueHttp(serve) as server, sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi:
        assert mi.call("quick") == "quick"
        with pytest.raises(sipmi.CallTimeout):
            mi.call("slow", timeout=0.1)
        late.set()
        assert mi.call("quick") == "quick"


def answer_version(connection: Connection) -> None:
    """Answer the client's request for the version as sipmi, and close the connection."""
    request = connection.read_request()
    assert request is not None
    id = json.loads(body_of(request))["id"]
    body = json.dumps({"jsonrpc": "2.0", "result": {"Server": "sipmi (0.1.0; x)"}, "id": id})
    connection.send(http_reply(body, headers="Connection: close\r\n"))


def test_a_server_that_does_not_read_is_a_timeout_also_while_the_request_is_written() -> None:
    gone = threading.Event()

    def serve(connection: Connection) -> None:
        if connection.number == 0:
            answer_version(connection)
        else:
            gone.wait(10)

    with RogueHttp(serve) as server, sipmi.connect(server.address, timeout=20) as mi:
        assert mi.generation == "sipmi"
        with pytest.raises(sipmi.CallTimeout):
            mi.call("big", "x" * 30_000_000, timeout=0.5)
        gone.set()


def test_ctrl_c_ends_a_call_that_waits() -> None:
    with RogueHttp(lambda connection: connection.read_request() and connection.read_request() and None) as server:
        script = f"""
import sipmi
with sipmi.connect({server.address!r}, timeout=60) as mi:
    try:
        mi.call("slow")
    except KeyboardInterrupt:
        print("interrupted")
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as client:
            server.wait_for(1)
            begun = time.monotonic()
            client.send_signal(signal.SIGINT)
            output, _ = client.communicate(timeout=20)
        assert output == "interrupted\n"
        assert time.monotonic() - begun < SOON


def test_a_child_does_not_speak_on_its_parents_connection() -> None:
    def answer(request: bytes) -> bytes:
        return json_answer(request, json.loads(body_of(request)).get("params"))

    with RogueHttp(answering(answer)) as server:
        script = f"""
import os, sipmi
with sipmi.connect({server.address!r}, wire="jsonrpc", timeout=20) as mi:
    assert mi.call("echo", "before") == ["before"]
    child = os.fork()
    who = "parent" if child else "child"
    for number in range(50):
        assert mi.call("echo", who, number) == [who, number]
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""
        subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)
        assert len(server.connections) == 2


def test_a_closed_client_closes_its_connections_and_takes_no_calls() -> None:
    ended = threading.Event()

    def serve(connection: Connection) -> None:
        ok(connection)
        ended.set()

    with RogueHttp(serve) as server:
        mi = sipmi.connect(server.address)
        mi.call("uptime")
        mi.close()
        assert ended.wait(10), "the connection was left open"
        with pytest.raises(sipmi.TransportError, match="closed"):
            mi.call("uptime")


def test_a_call_in_progress_ends_as_it_would_have_when_the_client_is_closed() -> None:
    asked, answer_now = threading.Event(), threading.Event()

    def serve(connection: Connection) -> None:
        request = connection.read_request()
        asked.set()
        assert request is not None
        assert answer_now.wait(10)
        connection.send(json_answer(request))

    with RogueHttp(serve) as server, ThreadPoolExecutor(1) as pool:
        mi = sipmi.connect(server.address, wire="jsonrpc", timeout=20)
        outcome = pool.submit(mi.call, "uptime")
        assert asked.wait(10)
        mi.close()
        answer_now.set()
        assert outcome.result(10) == "OK"


# -- what is not sent -----------------------------------------------------------------------------


def version_says(server: str) -> Callable[[bytes], bytes]:
    def answer(request: bytes) -> bytes:
        call = json.loads(body_of(request))
        result = {"Server": server} if call["method"] == "version" else len(body_of(request))
        return http_reply(json.dumps({"jsonrpc": "2.0", "result": result, "id": call["id"]}))

    return answer


@pytest.mark.parametrize("wire", ["auto", "jsonrpc"])
@pytest.mark.parametrize("release", ["3.6.8", "4.0.1"])
def test_a_body_over_1024_bytes_is_not_sent_to_a_server_that_would_run_a_part_of_it(release: str, wire: str) -> None:
    with (
        RogueHttp(answering(version_says(f"OpenSIPS ({release} (x86_64/linux))"))) as server,
        sipmi.connect(server.address, wire=wire) as mi,
    ):
        empty = mi.call("cache_store", "local", "k", "")
        assert mi.call("cache_store", "local", "k", "x" * (1024 - empty)) == 1024
        with pytest.raises(sipmi.RequestRefused, match=r"1025 bytes, over the limit of 1024.*receive_buf_size"):
            mi.call("cache_store", "local", "k", "x" * (1025 - empty))
        assert not any(len(body_of(request)) > 1024 for request in server.requests)


def test_before_3_6_head_and_body_may_have_16384_bytes() -> None:
    with (
        RogueHttp(answering(version_says("OpenSIPS (3.4.18 (x86_64/linux))"))) as server,
        sipmi.connect(server.address) as mi,
    ):
        mi.call("cache_store", "local", "k", "x" * 10_000)
        overhead = len(server.requests[-1]) - 10_000
        mi.call("cache_store", "local", "k", "x" * (16_384 - overhead))
        assert len(server.requests[-1]) == 16_384
        with pytest.raises(sipmi.RequestRefused, match="16385 bytes, over the limit of 16384"):
            mi.call("cache_store", "local", "k", "x" * (16_385 - overhead))


@pytest.mark.parametrize("wire", ["auto", "jsonrpc"])
def test_a_sipmi_server_gets_requests_without_the_limits_of_opensips(wire: str) -> None:
    with (
        RogueHttp(answering(version_says("sipmi (0.1.0; billing 1.4)"))) as server,
        sipmi.connect(server.address, wire=wire) as mi,
    ):
        assert mi.call("echo", "x" * 200_000) > 200_000
        assert mi.generation == "sipmi"


def test_asynchronous_commands_may_be_sent_over_http() -> None:
    with RogueHttp(ok) as server, sipmi.connect(server.address) as mi:
        assert mi.call("t_uac_dlg", method="OPTIONS", ruri="sip:a@b", headers="") == "OK"


def test_nothing_is_left_open_after_calls_that_fail() -> None:
    before = descriptors()
    for _ in range(20):
        with (
            RogueHttp(lambda connection: connection.reset()) as server,
            sipmi.connect(server.address) as mi,
            contextlib.suppress(sipmi.TransportError),
        ):
            mi.call("uptime")
    assert descriptors() <= before


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_goes_away_ends_no_program_by_a_signal(scheme: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if scheme == "https" else None
    if context is not None:
        authority.issue_cert("127.0.0.1").configure_cert(context)

    def serve(connection: Connection) -> None:
        if connection.number == 0:
            answer_version(connection)
        else:
            connection.socket.recv(1000)
            connection.reset()

    script = f"""
import signal, sys, sipmi
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
cafile = {str(tmp_path / "ca.pem")!r} if sys.argv[1].startswith("https") else None
with sipmi.connect(sys.argv[1], cafile=cafile, timeout=20) as mi:
    assert mi.generation == "sipmi"
    try:
        mi.call("big", "x" * 30_000_000)
    except sipmi.TransportError:
        print("went away")
"""
    with RogueHttp(serve, context=context) as server:
        command = [sys.executable, "-c", script, server.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "went away\n"), done
