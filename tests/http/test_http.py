"""The HTTP listener: what is mounted where, and the mechanics of HTTP that clients of all ages rely on."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any, Optional

import pytest

import sipmi
from http_peer import HttpPeer, HttpReply, ask, request, rpc


@pytest.fixture(scope="module")
def server() -> Iterator[sipmi.Server]:
    server = sipmi.Server("web")
    release = threading.Event()

    @server.command(read_only=True)
    def echo(*values: str) -> list:
        return list(values)

    @server.command(read_only=True)
    def who() -> dict:
        asked = sipmi.current_request()
        assert asked is not None
        return {"transport": asked.transport, "wire": asked.wire, "peer": asked.peer, "user": asked.user}

    @server.command
    def store(value: str) -> str:
        return value

    @server.command
    async def later(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "late"

    @server.command
    def wait() -> bool:
        return release.wait(5)

    @server.command
    def go_on() -> None:
        release.set()

    @server.command
    def forget() -> None:
        release.clear()

    @server.command(read_only=True)
    def large(size: int) -> str:
        return "x" * size

    server.listen("http://127.0.0.1:0")
    with server:
        yield server


@pytest.fixture
def address(server: sipmi.Server) -> str:
    return server.addresses[0]


def post(address: str, body: bytes, path: str = "/mi", **head: Optional[str]) -> HttpReply:
    return ask(address, request("POST", path, body, **head))


# -- JSON-RPC -------------------------------------------------------------------------------------


def test_a_request_is_answered_with_its_type_and_length(address: str) -> None:
    reply = post(address, rpc("echo", "a"))
    assert (reply.status, reply.head["content-type"]) == (200, "application/json")
    assert reply.body == b'{"jsonrpc":"2.0","result":["a"],"id":1}'
    assert "date" in reply.head
    assert not reply.is_last


@pytest.mark.parametrize("path", ["/mi", "/mi/", "/mi/below", "/mi?x=1"])
def test_json_rpc_is_served_at_its_root_and_below(address: str, path: str) -> None:
    assert post(address, rpc("echo"), path).value["result"] == []


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json-rpc"]
)
def test_the_content_type_of_json_has_many_spellings(address: str, content_type: str) -> None:
    assert post(address, rpc("echo"), Content_Type=content_type).status == 200


def test_errors_of_commands_are_answered_with_status_200(address: str) -> None:
    reply = post(address, rpc("nosuch"))
    assert (reply.status, reply.value["error"]["code"]) == (200, -32601)
    reply = post(address, b"{")
    assert (reply.status, reply.value["error"]["code"]) == (200, -32700)


def test_a_notification_is_accepted_and_has_an_empty_answer(address: str) -> None:
    with HttpPeer(address) as peer:
        for _ in range(2):
            reply = peer.ask(request("POST", "/mi", rpc("echo", id=None)))
            assert (reply.status, reply.head["content-length"], reply.body) == (202, "0", b"")


def test_a_batch_is_answered_in_an_array(address: str) -> None:
    batch = b"[" + rpc("later", 0.01, id=1) + b"," + rpc("echo", "b", id=2) + b"]"
    assert [answer["result"] for answer in post(address, batch).value] == ["late", ["b"]]


def test_a_slow_coroutine_delays_no_other_request(address: str) -> None:
    with HttpPeer(address) as slow, HttpPeer(address) as fast:
        slow.send(request("POST", "/mi", rpc("later", 1.0)))
        reply = fast.ask(request("POST", "/mi", rpc("echo")))
        assert reply.status == 200
        assert select.select([slow.socket], [], [], 0)[0] == [], "the slow one is not done yet"
        late = slow.read()
        assert late.value["result"] == "late"


def test_a_blocking_handler_delays_no_other_connection(address: str) -> None:
    post(address, rpc("forget"))
    with HttpPeer(address) as slow, HttpPeer(address) as other:
        slow.send(request("POST", "/mi", rpc("wait")))
        for _ in range(3):
            reply = other.ask(request("POST", "/mi", rpc("echo")))
            assert reply.status == 200
        assert post(address, rpc("go_on")).status == 200
        waited = slow.read()
        assert waited.value["result"] is True


def test_a_handler_knows_who_asks_and_how(address: str) -> None:
    with HttpPeer(address) as peer:
        reply = peer.ask(request("POST", "/mi", rpc("who")))
        host, port = peer.socket.getsockname()
    assert reply.value["result"] == {
        "transport": "http",
        "wire": "jsonrpc",
        "peer": f"{host}:{port}",
        "user": None,
    }


# -- HTTP -----------------------------------------------------------------------------------------


def test_a_connection_is_kept_for_many_requests(address: str) -> None:
    with HttpPeer(address) as peer:
        for number in range(50):
            reply = peer.ask(request("POST", "/mi", rpc("echo", str(number), id=number)))
            assert reply.value["result"] == [str(number)]


def test_pipelined_requests_are_all_answered_in_order(address: str) -> None:
    calls = [rpc("echo", "first", id=1), rpc("later", 0.05, id=2), rpc("echo", "last", id=3)]
    with HttpPeer(address) as peer:
        peer.send(b"".join(request("POST", "/mi", call) for call in calls))
        replies = [peer.read() for _ in calls]
    assert [reply.value["id"] for reply in replies] == [1, 2, 3]


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_http_1_0_is_answered_and_closed_unless_it_asks_otherwise(address: str, newline: str) -> None:
    bare: dict[str, Any] = {"version": "1.0", "newline": newline, "Host": None}
    with HttpPeer(address) as peer:
        reply = peer.ask(request("POST", "/mi", rpc("echo"), **bare))
        assert reply.status == 200
        assert peer.is_closed()
    with HttpPeer(address) as peer:
        for _ in range(2):
            reply = peer.ask(request("POST", "/mi", rpc("echo"), Connection="keep-alive", **bare))
            assert reply.status == 200


def test_connection_close_closes_after_the_answer(address: str) -> None:
    with HttpPeer(address) as peer:
        reply = peer.ask(request("POST", "/mi", rpc("echo"), Connection="close"))
        assert reply.is_last
        assert peer.is_closed()


def test_a_client_that_shut_down_its_sending_side_still_gets_its_answer(address: str) -> None:
    with HttpPeer(address) as peer:
        peer.send(request("POST", "/mi", rpc("later", 0.05)))
        peer.socket.shutdown(1)
        reply = peer.read()
        while reply.status == 100:  # the server asks whether it is still there
            reply = peer.read()
        assert reply.value["result"] == "late"


@pytest.mark.parametrize("pieces", [1, 7, 40])
def test_a_request_may_come_in_any_pieces(address: str, pieces: int) -> None:
    whole = request("POST", "/mi", rpc("echo", "in pieces"))
    with HttpPeer(address) as peer:
        for start in range(0, len(whole), pieces):
            peer.send(whole[start : start + pieces])
        reply = peer.read()
    assert reply.value["result"] == ["in pieces"]


def test_a_chunked_body_is_put_together(address: str) -> None:
    body = rpc("echo", "chunks")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:5], body[5:6], body[6:]))
    head = request("POST", "/mi", Transfer_Encoding="chunked")
    with HttpPeer(address) as peer:
        reply = peer.ask(head + chunks + b"0\r\n\r\n")
        assert reply.value["result"] == ["chunks"]
        reply = peer.ask(request("POST", "/mi", rpc("echo")))
        assert reply.status == 200


def test_a_client_that_expects_100_continue_gets_it(address: str) -> None:
    body = rpc("echo", "after 100")
    with HttpPeer(address) as peer:
        interim = peer.ask(request("POST", "/mi", Expect="100-continue", Content_Length=str(len(body))))
        assert interim.status == 100
        reply = peer.ask(body)
        assert reply.value["result"] == ["after 100"]


def test_a_large_reply_arrives_whole_at_a_slow_reader(address: str) -> None:
    with HttpPeer(address) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        peer.send(request("POST", "/mi", rpc("large", 20_000_000)))
        reply = peer.read()
    assert len(reply.value["result"]) == 20_000_000


# -- what is where --------------------------------------------------------------------------------


def test_an_unknown_path_is_answered_with_the_known_ones(address: str) -> None:
    for path in ("/", "/MI", "/min", "//mi", "/RPC2/x"):
        reply = post(address, rpc("echo"), path)
        assert reply.status == 404
        assert b"/mi, /json, /RPC2, /xmlrpc, /html" in reply.body


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/mi", "POST"), ("PUT", "/RPC2", "POST")])
def test_another_method_is_told_which_there_is(address: str, method: str, path: str, allowed: str) -> None:
    reply = ask(address, request(method, path), method=method)
    assert (reply.status, reply.head["allow"]) == (405, allowed)


def test_a_head_request_has_no_body(address: str) -> None:
    with HttpPeer(address) as peer:
        reply = peer.ask(request("HEAD", "/mi"), method="HEAD")
        assert reply.status == 405
        assert peer.is_closed()


def test_roots_are_where_the_server_is_told_to_have_them() -> None:
    server = sipmi.Server("web")
    server.listen("http://127.0.0.1:0", roots={"mi": "/opensips/mi"})
    with server:
        (address,) = server.addresses
        assert address.endswith("/opensips/mi")
        assert post(address, rpc("version"), "/opensips/mi").status == 200
        assert post(address, rpc("version"), "/mi").status == 404
        reply = ask(address, request("GET", "/json/version"), method="GET")
        assert reply.status == 404


def test_ipv6_is_written_in_brackets() -> None:
    server = sipmi.Server("web")
    server.listen("http://[::1]:0")
    with server:
        (address,) = server.addresses
        assert address.startswith("http://[::1]:")
        assert post(address, rpc("version")).status == 200


@pytest.mark.parametrize("address", ["http://", "http://127.0.0.1", "http://127.0.0.1:x", "http://a:b@127.0.0.1:0"])
def test_an_address_that_cannot_be_listened_at_says_what_is_expected(address: str) -> None:
    server = sipmi.Server("web")

    def open_it() -> None:
        server.listen(address)
        server.start()

    with pytest.raises(ValueError, match="expected"):
        open_it()


def test_a_port_that_is_taken_is_an_error(address: str) -> None:
    server = sipmi.Server("web")
    server.listen(address.rsplit("/", 1)[0])
    with pytest.raises(OSError, match="cannot bind"):
        server.start()


# -- stop -----------------------------------------------------------------------------------------


def test_stopping_ends_idle_connections_and_finishes_answers() -> None:
    server = sipmi.Server("web")
    begun = threading.Event()
    release = threading.Event()

    @server.command
    def wait() -> str:
        begun.set()
        release.wait(30)  # beyond the time to drain: idle connections end before
        return "finished"

    server.listen("http://127.0.0.1:0")
    server.start()
    (address,) = server.addresses
    with HttpPeer(address) as idle, HttpPeer(address) as busy:
        assert idle.ask(request("POST", "/mi", rpc("version"))).status == 200
        busy.send(request("POST", "/mi", rpc("wait")))
        assert begun.wait(5)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert idle.is_closed()
        release.set()
        reply = busy.read()
        assert reply.value["result"] == "finished"
        assert reply.is_last
        stopping.join(10)
        assert not stopping.is_alive()
    with pytest.raises(OSError, match="refused"):
        HttpPeer(address)


def test_a_coroutine_that_still_runs_when_the_server_stops_is_answered() -> None:
    server = sipmi.Server("web")
    begun = threading.Event()

    @server.command
    async def endless() -> None:
        begun.set()
        await asyncio.sleep(60)

    server.listen("http://127.0.0.1:0")
    server.start()
    with HttpPeer(server.addresses[0]) as peer:
        peer.send(request("POST", "/mi", rpc("endless")))
        assert begun.wait(5)
        server.stop()
        reply = peer.read()
        assert reply.value["error"]["data"] == "Server busy"


# -- emulated versions ----------------------------------------------------------------------------


def test_versions_from_3_0_on_refuse_as_they_do() -> None:
    server = sipmi.Server("opensips", emulate="4.0")
    server.listen("http://127.0.0.1:0", hosts=["x"])
    with server:
        (address,) = server.addresses
        reply = ask(address, request("GET", "/mi"), method="GET")
        assert (reply.status, reply.body) == (405, b"")
        reply = ask(address, request("PUT", "/mi", rpc("version")))
        assert (reply.status, reply.head["content-type"]) == (406, "text/html")
        assert b"Unsupported HTTP request!" in reply.body
        reply = ask(address, request("POST", "/", rpc("version")))
        assert b"Unable to parse URL!" in reply.body
        with HttpPeer(address) as peer:
            peer.send(request("POST", "/mi", rpc("version"), Content_Type="text/plain"))
            assert peer.is_closed()
        assert ask(address, request("POST", "/mi", rpc("version"), Host="x")) is not None
