"""An HTTP server answers or closes every connection, whatever bytes arrive, and meanwhile serves other clients."""

from __future__ import annotations

import contextlib
import gzip
import os
import resource
import socket
import ssl
import struct
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import trustme

import sipmi
from descriptors import descriptors
from endpoints import PATIENCE
from http_peer import HttpPeer, ask, request, rpc
from measured_server import MeasuredServer
from waiting import eventually

LIMIT = 4 << 20


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = sipmi.Server("web")

    @server.command(read_only=True)
    def echo(*values: str) -> list:
        return list(values)

    @server.command(read_only=True)
    def large(size: int) -> str:
        return "x" * size

    server.listen("http://127.0.0.1:0", request_limit=LIMIT, read_timeout=0.8, write_timeout=0.8, idle_timeout=60.0)
    with server:
        yield server.addresses[0]


@pytest.fixture(autouse=True)
def still_serves(address: str) -> Iterator[None]:
    """Another client, connected before the trouble, is served after it."""
    with HttpPeer(address) as other:
        yield
        reply = other.ask(request("POST", "/mi", rpc("echo", "still here")))
        assert reply.value["result"] == ["still here"]


def test_a_head_that_never_ends_is_given_up(address: str) -> None:
    with HttpPeer(address) as peer:
        peer.send(b"POST /mi HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        reply = peer.read()
        assert reply.status == 408
        assert peer.is_closed()


def test_a_body_that_never_comes_is_given_up(address: str) -> None:
    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", Content_Length="100") + b"{")
        reply = peer.read()
        assert reply.status == 408
        assert b"the body did not come in time" in reply.body


def test_an_idle_connection_is_kept_while_others_are_given_up(address: str) -> None:
    with HttpPeer(address) as idle:
        assert idle.ask(request("POST", "/mi", rpc("echo"))).status == 200
        test_a_head_that_never_ends_is_given_up(address)
        assert idle.ask(request("POST", "/mi", rpc("echo"))).status == 200


def test_a_reader_that_stops_reading_is_given_up(address: str) -> None:
    before = descriptors()
    with HttpPeer(address) as peer:
        assert peer.ask(request("POST", "/mi", rpc("echo"))).status == 200
        both_ends = descriptors() - before
        peer.send(request("POST", "/mi", rpc("large", 50_000_000)))
        peer.socket.recv(1 << 16)
        eventually(lambda: both_ends - descriptors(), "the server closes its end")
        assert len(both_ends - descriptors()) == 1, "the client closed its end, too"


def test_a_slow_and_steady_reader_gets_all_of_its_reply(address: str) -> None:
    """It takes a little all the time, and so little that its socket has no room for more for longer than allowed."""
    size = 12_000_000
    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", rpc("large", size)))
        end = time.monotonic() + 4.0
        taken = b""
        while time.monotonic() < end:
            taken += peer.socket.recv(4_000)
            time.sleep(0.02)
        assert len(taken) < 1_500_000, "that was not slow"
        while size > len(taken) and (piece := peer.socket.recv(1 << 20)):
            taken += piece
        assert len(taken) > size, "the reply was cut"


@pytest.mark.parametrize("is_secure", [False, True])
def test_replies_without_a_reader_are_bounded(directory: str, is_secure: bool) -> None:
    options: dict[str, Any] = {"unsent_limit": 20_000_000, "write_timeout": 60.0}
    context = None
    if is_secure:
        authority, pem = trustme.CA(), Path(directory, "server.pem")
        pem.write_bytes(authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
        options["tls"] = str(pem)
        context = ssl.create_default_context()
        authority.configure_trust(context)
    body = f"server.listen('http://127.0.0.1:0', **{options!r})"
    with MeasuredServer(directory, body) as server, contextlib.ExitStack() as stack:
        (address,) = server.addresses
        before = server.memory

        def begin() -> int:
            """A reader that takes the first line of its reply; the status in it."""
            peer = stack.enter_context(HttpPeer(address, tls=context))
            peer.send(request("POST", "/mi", rpc("text", 8_000_000)))
            return int(peer.file.readline().split()[1])

        assert [begin() for _ in range(30)] == [200, 200] + [500] * 28
        assert server.memory - before < 120_000_000, "half of what all replies have"
        stack.close()

        def is_accepted() -> bool:
            status = begin()
            stack.close()
            return status == 200

        eventually(is_accepted, "the memory of clients that have left is released")


def test_the_memory_of_replies_goes_back_to_the_system_when_their_readers_have_left(directory: str) -> None:
    with MeasuredServer(directory, "server.listen('http://127.0.0.1:0', write_timeout=60.0)") as server:
        before = server.memory
        with contextlib.ExitStack() as stack:
            for _ in range(7):
                peer = stack.enter_context(server.http)
                peer.send(request("POST", "/mi", rpc("text", 8_000_000)))
                assert peer.file.readline().split()[1] == b"200"
            assert server.memory - before > 40_000_000
        deadline = time.monotonic() + PATIENCE
        with server.http as peer:
            while (more := server.memory - before) > 40_000_000 and time.monotonic() < deadline:
                assert peer.ask(request("POST", "/mi", rpc("echo"))).status == 200
        assert more <= 40_000_000


def test_one_reply_may_be_larger_than_the_bytes_that_may_wait() -> None:
    server = sipmi.Server("web")

    @server.command(read_only=True)
    def large() -> str:
        return "x" * 8_000_000

    server.listen("http://127.0.0.1:0", unsent_limit=1_000_000)
    with server:
        for _ in range(3):
            assert len(ask(server.addresses[0], request("POST", "/mi", rpc("large"))).body) > 8_000_000


def test_ten_thousand_headers_are_too_many(address: str) -> None:
    many = "".join(f"X-{number}: 1\r\n" for number in range(10_000)).encode()
    with HttpPeer(address) as peer, contextlib.suppress(ConnectionError):
        peer.send(b"POST /mi HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
        reply = peer.read()
        assert reply.status == 431


def test_a_head_without_end_is_too_large(address: str) -> None:
    with HttpPeer(address) as peer, contextlib.suppress(ConnectionError):
        peer.send(b"POST /mi HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000)
        reply = peer.read()
        assert reply.status == 431


HEAD_LIMIT = 64 << 10


@pytest.mark.parametrize(("size", "status"), [(HEAD_LIMIT, 200), (HEAD_LIMIT + 1, 431), (HEAD_LIMIT + 50_000, 431)])
def test_the_limit_of_heads_is_the_documented_size(address: str, size: int, status: int) -> None:
    body = rpc("echo")
    without = len(request("POST", "/mi", body, X="")) - len(body)
    data = request("POST", "/mi", body, X="x" * (size - without))
    assert data.index(b"\r\n\r\n") + 4 == size
    assert ask(address, data).status == status


@pytest.mark.parametrize(
    ("hosts", "version", "status"),
    [(0, "1.1", 400), (1, "1.1", 200), (2, "1.1", 400), (0, "1.0", 200), (1, "1.0", 200), (2, "1.0", 400)],
)
def test_a_request_names_exactly_one_host(address: str, hosts: int, version: str, status: int) -> None:
    body = rpc("echo")
    head = f"POST /mi HTTP/{version}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    reply = ask(address, (head + "Host: 127.0.0.1\r\n" * hosts + "\r\n").encode() + body)
    assert reply.status == status
    if status == 400:
        assert reply.body == f"expected one Host header, found {hosts}\n".encode()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://127.0.0.1/mi", "127.0.0.1", 200),
        ("http://LOCALHOST:80/mi", "localhost:80", 200),
        ("http://evil.example/mi", "127.0.0.1", 400),
        ("http://user@127.0.0.1/mi", "127.0.0.1", 400),
        ("http://evil.example/mi", "evil.example", 403),
        ("http://127.0.0.1/mi", "evil.example", 400),
        ("http://127.0.0.1/mi", None, 400),
    ],
)
def test_a_target_with_a_host_must_name_the_host_of_the_header(
    address: str, target: str, host: Optional[str], status: int, version: str
) -> None:
    body = rpc("echo")
    head = f"POST {target} HTTP/{version}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head += f"Host: {host}\r\n" if host is not None else ""
    assert ask(address, (head + "\r\n").encode() + body).status == status


@pytest.mark.parametrize("length_first", [True, False])
def test_a_request_with_a_length_and_chunks_is_the_last_of_its_connection(address: str, length_first: bool) -> None:
    body = rpc("echo")
    fields = [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
    head = b"POST /mi HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"".join(fields if length_first else fields[::-1])
    smuggled = request("POST", "/mi", rpc("echo"))
    with HttpPeer(address) as peer:
        peer.send(head + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + smuggled)
        assert peer.read().status == 200
        assert peer.is_closed()


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked", "x"])
def test_a_transfer_coding_that_is_not_understood_is_refused(address: str, coding: str) -> None:
    body = rpc("echo")
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", Transfer_Encoding=coding) + chunks)
        reply = peer.read()
        assert reply.status in (400, 501)
        assert b"echo" not in reply.body
    for known in ("chunked", "Chunked"):
        with HttpPeer(address) as peer:
            reply = peer.ask(request("POST", "/mi", Transfer_Encoding=known) + chunks)
            assert reply.status == 200


def test_a_body_that_is_announced_too_large_is_not_waited_for(address: str) -> None:
    with HttpPeer(address) as peer:
        reply = peer.ask(request("POST", "/mi", Content_Length=str(1 << 30)))
        assert reply.status == 413
        assert str(LIMIT).encode() in reply.body


def test_a_body_that_is_too_large_gets_its_answer_while_it_is_being_sent(address: str) -> None:
    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", b"x" * (2 * LIMIT)))
        reply = peer.read()
        assert reply.status == 413


def test_a_client_that_sends_endlessly_after_a_rejection_is_disconnected(address: str) -> None:
    def send_until(deadline: float) -> None:
        while time.monotonic() < deadline:
            peer.send(b"x" * (1 << 16))

    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", Content_Length=str(1 << 40)))
        with pytest.raises(ConnectionError):
            send_until(time.monotonic() + 20)


def test_chunks_that_grow_too_large_are_refused(address: str) -> None:
    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", Transfer_Encoding="chunked"))
        chunk = b"%x\r\n%s\r\n" % (1 << 16, b"x" * (1 << 16))
        for _ in range(LIMIT // (1 << 16) + 1):
            peer.send(chunk)
        reply = peer.read()
        assert reply.status == 413


def test_a_body_shorter_than_announced_is_no_request(address: str) -> None:
    body = rpc("echo")
    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", body, Content_Length=str(len(body) + 1)))
        peer.socket.shutdown(socket.SHUT_WR)
        reply = peer.read_or_end()
        assert reply is None or reply.status == 400


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonp",
        "application/json,text/plain",
        "application/json\r\nContent-Type: text/plain",
    ],
)
def test_a_wrong_content_type_says_which_is_right(address: str, content_type: str) -> None:
    reply = ask(address, request("POST", "/mi", rpc("echo"), Content_Type=content_type))
    assert reply.status == 415
    assert b"expected Content-Type application/json" in reply.body


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/mi", "application/json; charset=utf-8"),
        ("/mi", 'Application/JSON;charset="utf-8"'),
        ("/mi", "application/json-rpc"),
        ("/RPC2", "text/xml; charset=utf-8"),
        ("/RPC2", "application/xml"),
    ],
)
def test_a_right_content_type_may_have_parameters(address: str, path: str, content_type: str) -> None:
    body = rpc("echo", "a") if path == "/mi" else CALL.format("a").encode()
    assert ask(address, request("POST", path, body, Content_Type=content_type)).status == 200


def test_xml_of_another_type_is_refused(address: str) -> None:
    for content_type in ("text/xmlish", "application/xml-dtd", "application/json"):
        reply = ask(address, request("POST", "/RPC2", CALL.format("a").encode(), Content_Type=content_type))
        assert (reply.status, reply.body[:29]) == (415, b"expected Content-Type text/xml"[:29])


def test_an_encoded_body_is_not_unpacked(address: str) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    reply = ask(address, request("POST", "/mi", bomb, Content_Encoding="gzip"))
    assert reply.status == 415
    assert b"gzip" in reply.body


def test_json_a_hundred_thousand_levels_deep_is_a_parse_error(address: str) -> None:
    deep = b'{"jsonrpc":"2.0","method":"echo","params":' + b"[" * 100_000 + b"]" * 100_000 + b',"id":1}'
    reply = ask(address, request("POST", "/mi", deep))
    assert (reply.status, reply.value["error"]["code"]) == (200, -32700)


CALL = "<methodCall><methodName>echo</methodName><params><param><value>{}</value></param></params></methodCall>"

XML = {
    "a bomb": '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + CALL.format("&b;"),
    "a foreign file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + CALL.format("&a;"),
    "an unknown entity": CALL.format("&nbsp;"),
    "a hundred thousand levels": CALL.format("<array><data><value>" * 100_000),
    "unbalanced tags": CALL.format("<string>a</int>"),
    "half a document": CALL.format("a")[:60],
    "no XML": "hello",
    "control characters": CALL.format("&#1;"),
    "an unknown type": CALL.format("<colour>red</colour>"),
    "a number that is none": CALL.format("<int>x</int>"),
}


@pytest.mark.parametrize("name", XML)
def test_xml_that_is_no_request_is_a_fault(address: str, name: str) -> None:
    reply = ask(address, request("POST", "/RPC2", XML[name].encode(), Content_Type="text/xml"))
    assert reply.status == 200
    with pytest.raises(xmlrpc.client.Fault) as raised:
        xmlrpc.client.loads(reply.body)
    assert raised.value.faultCode in (-32700, -32600)


def test_a_comma_may_be_sent_as_part_of_a_value(address: str) -> None:
    reply = ask(address, request("GET", "/json/echo?params=a%2Cb,%25,%C3%A9"), method="GET")
    assert reply.body == '{"": [{"value":"a,b"}, {"value":"%"}, {"value":"é"}]}'.encode()


def test_an_empty_body_is_no_request(address: str) -> None:
    reply = ask(address, request("POST", "/mi", Content_Length="0"))
    assert reply.status == 400
    assert b"expected a request in the body" in reply.body


@pytest.mark.parametrize("length", ["-1", "x", "1, 2", "99999999999999999999999"])
def test_a_length_that_is_no_number_is_a_bad_request(address: str, length: str) -> None:
    reply = ask(address, request("POST", "/mi", Content_Length=length))
    assert reply.status == 400


@pytest.mark.parametrize(
    "junk",
    [
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /mi HTTP/9.9\r\n\r\n",
        b"\xff",
    ],
)
def test_bytes_that_are_not_http_are_rejected_or_time_out(address: str, junk: bytes) -> None:
    with HttpPeer(address) as peer:
        peer.send(junk)
        peer.socket.shutdown(socket.SHUT_WR)
        reply = peer.read_or_end()
        assert reply is None or reply.status >= 400


def test_bytes_that_are_no_utf_8_are_carried_or_refused(address: str) -> None:
    reply = ask(address, b"GET /json/\xff?params=\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", method="GET")
    assert reply.status in (200, 400)
    reply = ask(address, request("POST", "/mi", rpc("echo"), X_Odd="caf\xe9"))
    assert reply.status == 200
    body = b'{"jsonrpc":"2.0","method":"echo","params":["\xe9"],"id":1}'
    reply = ask(address, request("POST", "/mi", body))
    assert reply.body == b'{"jsonrpc":"2.0","result":["\xe9"],"id":1}'


PHASES = {
    "nothing": b"",
    "half a head": b"POST /mi HT",
    "a head": request("POST", "/mi", Content_Length="500"),
    "half a body": request("POST", "/mi", Content_Length="500") + b"{",
    "a request": request("POST", "/mi", rpc("large", 30_000_000)),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_connection_may_be_reset_at_any_time(address: str, phase: str) -> None:
    for _ in range(20):
        peer = socket.create_connection(("127.0.0.1", int(address.split(":")[2].split("/")[0])), 5)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sendall(PHASES[phase])
        if phase == "a request":
            peer.recv(1)
        peer.close()


def test_thousands_of_idle_connections_use_little_memory_and_delay_no_other_client(directory: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(5_000, hard - 300)
    assert count >= 1_000, f"this machine allows {hard} descriptors only"
    try:
        with MeasuredServer(directory) as server, contextlib.ExitStack() as idle:
            before = server.memory
            with server.http as first:
                place = first.host, first.port
                for _ in range(count):
                    idle.enter_context(socket.create_connection(place, 5))
                with server.http as last:
                    for peer in (first, last):
                        reply = peer.ask(request("POST", "/mi", rpc("echo", "in the crowd")))
                        assert reply.value["result"] == "in the crowd"
            assert server.memory - before < count * 16_384, "more than 16 KB a connection"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_survives_a_lack_of_descriptors(directory: str) -> None:
    server = sipmi.Server("web")
    server.listen("http://127.0.0.1:0")
    with server:
        (address,) = server.addresses
        port = int(address.split(":")[2].split("/")[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
        crowd = []
        try:
            with contextlib.suppress(OSError):
                for _ in range(100):
                    crowd.append(socket.create_connection(("127.0.0.1", port), 5))
        finally:
            for peer in crowd:
                peer.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        reply = ask(address, request("POST", "/mi", rpc("version")))
        assert reply.status == 200


def test_more_connections_than_allowed_are_turned_away() -> None:
    server = sipmi.Server("web")
    server.listen("http://127.0.0.1:0", connections=2)
    with server:
        (address,) = server.addresses
        with HttpPeer(address) as first, HttpPeer(address) as second:
            assert first.ask(request("POST", "/mi", rpc("version"))).status == 200
            assert second.ask(request("POST", "/mi", rpc("version"))).status == 200
            with HttpPeer(address) as third:
                turned_away = third.read()
                assert turned_away.status == 503
            assert first.ask(request("POST", "/mi", rpc("version"))).status == 200
