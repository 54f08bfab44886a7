"""Our client and the faults of real servers: it gets its answer or a clear error, and the server is none the worse."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import sipmi
from endpoints import FifoPeer
from sipmi.testing import FakeOpenSIPS
from waiting import eventually

LEGACY = ["1.11", "2.4"]
MODERN = ["3.2", "3.4", "3.6", "4.0"]
#: Longer than any answer, shorter than giving up.
PROMPTLY = 5.0


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[FakeOpenSIPS]:
    version, options = request.param if isinstance(request.param, tuple) else (request.param, {})
    with FakeOpenSIPS(version, hazards=True, **options) as started:
        yield started


def each(versions: list[str], **options: Any) -> Any:
    """A fake of each version."""
    return pytest.mark.parametrize("fake", [(version, options) for version in versions], indirect=True, ids=versions)


def fifo_of(fake: FakeOpenSIPS) -> FifoPeer:
    command, _, directory = fake.address("fifo").partition(":")[2].partition("?reply_dir=")
    return FifoPeer(command, directory)


def is_healthy(fake: FakeOpenSIPS, transport: str) -> bool:
    with fake.connect(transport, timeout=PROMPTLY) as mi:
        return bool(mi.call("version")["Server"].startswith("OpenSIPS"))


# -- reply FIFOs -------------------------------------------------------------------------------------------


@each(LEGACY + MODERN)
def test_the_client_is_there_before_the_server_looks_for_it(fake: FakeOpenSIPS) -> None:
    with fake.connect("fifo", timeout=PROMPTLY) as mi:
        for _ in range(20):
            assert "Server" in mi.call("version")


@each(LEGACY + MODERN)
def test_a_reader_that_never_comes_costs_its_own_request_only(fake: FakeOpenSIPS) -> None:
    peer = fifo_of(fake)
    name = peer.make_reply()
    said = ":version:%s\n\n" if fake.version in LEGACY else ':%s:{"jsonrpc":"2.0","method":"version","id":1}'
    peer.write((said % name).encode())
    with fake.connect("fifo", timeout=PROMPTLY) as mi:
        assert "Server" in mi.call("version")
    os.unlink(os.path.join(peer.reply_dir, name))


@each(["2.4", "3.4"])
def test_a_client_that_does_not_drain_its_reply_is_a_timeout_for_the_others(fake: FakeOpenSIPS) -> None:
    for number in range(400):
        fake.usrloc.add(f"user{number}", f"sip:{number}@192.0.2.1")
    peer = fifo_of(fake)
    path = os.path.join(peer.reply_dir, peer.make_reply())
    stalled = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    said = ":ul_dump:%s\n\n" if fake.version in LEGACY else ':%s:{"jsonrpc":"2.0","method":"ul_dump","id":1}'
    wire = "text" if fake.version in LEGACY else "jsonrpc"
    with fake.connect("fifo", timeout=0.5, wire=wire) as mi:
        peer.write((said % os.path.basename(path)).encode())
        with pytest.raises(sipmi.CallTimeout):
            mi.call("version")
        os.close(stalled)
        assert "Server" in mi.request("version", timeout=PROMPTLY).value
    os.unlink(path)


# -- what is too large -------------------------------------------------------------------------------------

#: Sizes that a transport of a version does not accept in one request, and the client's error.
OVERSIZE = [
    (version, transport, size)
    for versions, transport, size in [
        (LEGACY, "fifo", 9_000), (LEGACY, "udp", 65_000), (LEGACY, "unix", 66_000),
        (MODERN, "fifo", 5_000), (MODERN, "udp", 66_000), (MODERN, "unix", 66_000),
        (["3.2", "3.4"], "http", 17_000), (["3.6", "4.0"], "http", 1_100),
        # mi_xmlrpc of 1.11 is not httpd's
        (["1.11"], "xmlrpc", 600_000), (["2.4", "3.2", "3.4"], "xmlrpc", 17_000), (["3.6", "4.0"], "xmlrpc", 1_100),
    ]
    for version in versions
]  # fmt: skip


@pytest.mark.parametrize(("version", "transport", "size"), OVERSIZE)
def test_requests_that_a_server_would_lose_are_not_sent(version: str, transport: str, size: int) -> None:
    with FakeOpenSIPS(version, hazards=True) as fake, sipmi.connect(fake.address(transport), timeout=PROMPTLY) as mi:
        if (version, transport) in {("1.11", "udp"), ("2.4", "udp")}:
            mi.call("cache_store", "local", "key", "x" * size)  # that much is taken
        else:
            with pytest.raises(sipmi.RequestRefused, match=r"\d bytes, over the limit of \d"):
                mi.call("cache_store", "local", "key", "x" * size)
            assert fake.cache.keys() == []
        assert "Server" in mi.call("version")


@each(MODERN)
def test_a_string_that_a_json_fifo_cuts_is_an_error_there_and_comes_over_the_others(fake: FakeOpenSIPS) -> None:
    fake.cache.store("key", "x" * 5000)
    with fake.connect("fifo", timeout=PROMPTLY) as mi:
        with pytest.raises(sipmi.CodecError, match=r"cut|4,?093"):
            mi.call("cache_fetch", "local", "key")
        assert "Server" in mi.call("version")
    for transport in ("udp", "unix", "http", "xmlrpc"):
        with sipmi.connect(fake.address(transport), timeout=PROMPTLY) as mi:
            assert len(mi.call("cache_fetch", "local", "key")["value"]) == 5000


@each(LEGACY)
def test_a_reply_line_that_a_text_fifo_cuts_is_an_error(fake: FakeOpenSIPS) -> None:
    @fake.server.command
    def long_line() -> str:
        return "x" * 9000

    with fake.connect("fifo", timeout=PROMPTLY) as mi:
        with pytest.raises(sipmi.CodecError, match="cut"):
            mi.call("long_line")
        assert "Server" in mi.call("version")


@each(LEGACY)
@pytest.mark.parametrize("transport", ["udp", "unix"])
def test_a_reply_that_no_datagram_holds_is_a_timeout_and_the_next_call_is_answered(
    fake: FakeOpenSIPS, transport: str
) -> None:
    for number in range(1000):
        fake.usrloc.add(f"user{number}", f"sip:{number}@192.0.2.1")
    with fake.connect(transport, timeout=0.5) as mi:
        with pytest.raises(sipmi.CallTimeout):
            mi.call("ul_dump")
        assert "Server" in mi.call("version")


# -- HTTP --------------------------------------------------------------------------------------------------


@each(["3.6", "4.0"], receive_buf_size=200)
@pytest.mark.parametrize("transport", ["http", "xmlrpc"])
def test_an_answer_whose_end_never_comes_is_an_error_at_once(fake: FakeOpenSIPS, transport: str) -> None:
    with sipmi.connect(fake.address(transport), timeout=30) as mi:
        assert "Server" in mi.call("version")
        began = time.monotonic()
        # The client holds to the usual 1,024 bytes; this server takes less, answers 400 and leaves the body open.
        with pytest.raises(sipmi.TransportError, match="400"):
            mi.call("cache_store", "local", "key", "x" * 300)
        assert time.monotonic() - began < PROMPTLY
        assert "Server" in mi.call("version")


@each(["3.2", "3.4", "3.6", "4.0"])
def test_others_wait_for_the_end_of_that_answer(fake: FakeOpenSIPS) -> None:
    connection = http.client.HTTPConnection(fake.http_socket, timeout=0.5)
    notification = '{"jsonrpc":"2.0","method":"version"}'
    connection.request("POST", "/mi", notification, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Transfer-Encoding"]) == (202, "chunked")
    with pytest.raises(socket.timeout):
        answer.read()
    connection.close()
    assert is_healthy(fake, "http")


@each(["2.4", "3.2", "3.4"])
def test_a_body_in_two_pieces_is_lost_and_the_client_sends_one(fake: FakeOpenSIPS) -> None:
    host, port = fake.http_socket.split(":")
    root = "/RPC2" if fake.version == "2.4" else "/mi"
    with socket.create_connection((host, int(port)), timeout=PROMPTLY) as raw:
        raw.sendall(f"POST {root} HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 20\r\n\r\n".encode())
        raw.sendall(b"x" * 10)
        assert_no_answer_yet(raw)
        raw.sendall(b"x" * 10)
        assert raw.recv(100) == b""
    with sipmi.connect(fake.address("xmlrpc"), timeout=PROMPTLY) as mi:
        for number in range(20):
            mi.call("cache_store", "local", f"key{number}", "x" * 15_000)
    assert len(fake.cache.keys()) == 20


def assert_no_answer_yet(raw: socket.socket) -> None:
    raw.settimeout(0.2)
    with pytest.raises(socket.timeout):
        raw.recv(1)
    raw.settimeout(PROMPTLY)


@each(["4.0"], receive_buf_size=65_536)
def test_a_request_over_16_kb_waits_until_another_client_connects(fake: FakeOpenSIPS) -> None:
    host, port = fake.http_socket.split(":")
    body = b'{"jsonrpc":"2.0","method":"version","id":1}'.ljust(20_000)
    head = f"POST /mi HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=PROMPTLY) as raw:
        raw.sendall(head.encode() + body)
        assert_no_answer_yet(raw)
        socket.create_connection((host, int(port)), timeout=PROMPTLY).close()
        assert raw.recv(1000).startswith(b"HTTP/1.1 200 OK")


# -- FIFOs out of step -------------------------------------------------------------------------------------


@each(LEGACY)
def test_a_broken_request_of_another_costs_one_call_and_the_client_brings_the_server_back_in_step(
    fake: FakeOpenSIPS,
) -> None:
    peer = fifo_of(fake)
    with fake.connect("fifo", timeout=PROMPTLY) as mi:
        assert "Server" in mi.call("version")
        peer.exchange(lambda name: b':cache_store:%s\nsay "hi"\n\n' % name.encode())
        with pytest.raises(sipmi.CallTimeout):
            mi.request("version", timeout=0.3)
        assert "Server" in mi.call("version")


@each(MODERN)
def test_a_fifo_that_another_client_broke_is_a_timeout_and_other_transports_work(fake: FakeOpenSIPS) -> None:
    peer = fifo_of(fake)
    with fake.connect("fifo", timeout=1.0) as mi:
        assert "Server" in mi.call("version")
        peer.exchange(lambda name: b':%s:{"jsonrpc":"2.0","method":"version","id":1}:broken:' % name.encode())
        with pytest.raises(sipmi.CallTimeout):
            mi.call("version")
    for transport in ("udp", "unix", "http"):
        assert is_healthy(fake, transport)


@each(MODERN)
def test_many_clients_at_once_do_not_leave_a_fifo_dead(fake: FakeOpenSIPS) -> None:
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            with fake.connect("fifo", timeout=20) as mi:
                for _ in range(20):
                    mi.call("version")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert is_healthy(fake, "fifo")


# -- crashes -----------------------------------------------------------------------------------------------


def crash(fake: FakeOpenSIPS) -> None:
    """Takes it down the way its version knows."""
    if fake.version in LEGACY:
        fifo_of(fake).write(b':t_uac_dlg:\nOPTIONS\nsip:127.0.0.1\n.\n.\n"To: <sip:a@b>\r\n"\n\n')
    else:
        fifo_of(fake).write(b"::[]")
    await_end(fake)


def await_end(fake: FakeOpenSIPS) -> None:
    eventually(lambda: not fake.server.is_running, "the server crashes", within=PROMPTLY)


@pytest.mark.parametrize("transport", ["fifo", "udp", "unix", "http"])
@pytest.mark.parametrize("version", LEGACY + MODERN)
def test_a_server_that_has_crashed_is_a_clear_error_on_every_transport(version: str, transport: str) -> None:
    with FakeOpenSIPS(version, hazards=True) as fake:
        address = fake.address("xmlrpc" if transport == "http" else transport)
        with sipmi.connect(address, timeout=1.0) as mi:
            assert "Server" in mi.call("version")
            crash(fake)
            with pytest.raises(sipmi.TransportError, match=transport) as caught:
                mi.call("version")
        assert not isinstance(caught.value, sipmi.CallTimeout)


def get(fake: FakeOpenSIPS, path: str) -> bytes:
    connection = http.client.HTTPConnection(fake.http_socket, timeout=PROMPTLY)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_an_empty_parameter_takes_1_11_down_at_the_next_request_and_the_client_sends_none() -> None:
    with FakeOpenSIPS("1.11", hazards=True) as fake:
        with sipmi.connect(f"http://{fake.http_socket}/json", timeout=PROMPTLY) as mi:
            with pytest.raises(sipmi.RequestRefused, match="cannot be sent"):
                mi.call("cache_fetch", "", "key")
            assert "Server" in mi.call("version")
        assert get(fake, "/json/cache_fetch?params=local,,key") == b'{"error":"Internal server error"}'
        with pytest.raises(http.client.RemoteDisconnected):
            get(fake, "/json/version")
        await_end(fake)


def test_the_arrays_of_1_11_break_after_the_first_and_the_client_says_so() -> None:
    with FakeOpenSIPS("1.11", hazards=True, reply_option=1) as fake:
        with sipmi.connect(fake.address("xmlrpc"), timeout=PROMPTLY) as mi:
            assert mi.version == "1.11.11"  # asked, and answered: the one good array
            for _ in range(2):
                with pytest.raises(sipmi.Fault, match="Value is not an array"):
                    mi.call("uptime")
            with pytest.raises(sipmi.TransportError):
                mi.call("cache_store", "local", "key", "value")
        await_end(fake)
