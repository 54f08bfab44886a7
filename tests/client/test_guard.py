"""The client does not send requests that would harm the server's version, and explains answers that do not arrive."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

import pytest

import sipmi
from rogue import RogueDatagram, RogueFifo, RogueHttp, answering, body_of, http_reply

ABYSS = "Server: Xmlrpc-c_Abyss/1.33.14\r\nContent-type: text/xml; charset=utf-8\r\n"


def json_server(version: str, answer: Callable[[dict[str, Any]], bytes]) -> RogueDatagram:
    """A server of 3.x or 4.x in datagrams."""

    def reply(request: bytes) -> Iterable[bytes]:
        asked = json.loads(request)
        if asked["method"] == "version":
            server = f"OpenSIPS ({version} (x86_64/linux))"
            yield json.dumps({"jsonrpc": "2.0", "result": {"Server": server}, "id": asked["id"]}).encode()
        else:
            yield answer(asked)

    return RogueDatagram(reply)


def text_server(version: str, *answers: bytes) -> RogueDatagram:
    """A server of 1.x or 2.x in datagrams."""

    def reply(request: bytes) -> Iterable[bytes]:
        if request.startswith(b"{"):
            yield b"500 command not available\n"
        elif request.startswith(b":version:"):
            yield f"200 OK\nServer:: OpenSIPS ({version} (x86_64/linux))\n\n".encode()
        else:
            yield from answers

    return RogueDatagram(reply)


def ok(asked: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "result": "OK", "id": asked["id"]}).encode()


# -- replies that are too large for a datagram --------------------------------------------------------


def plain(asked: dict[str, Any]) -> bytes:
    return b"500 Internal error"


def as_error(asked: dict[str, Any]) -> bytes:
    error = {"code": 500, "message": "Internal error"}
    return json.dumps({"jsonrpc": "2.0", "error": error, "id": asked["id"]}).encode()


@pytest.mark.parametrize("version", ["3.6.8", "4.0.1"])
@pytest.mark.parametrize("answer", [plain, as_error])
def test_a_reply_that_a_server_of_json_cannot_send_names_the_ways_around(
    version: str, answer: Callable[[dict[str, Any]], bytes]
) -> None:
    with json_server(version, answer) as server, sipmi.connect(server.address) as mi:
        with pytest.raises(sipmi.Fault, match=r"Internal error: the reply is larger .* 65457 .*brief.* a FIFO or HTTP"):
            mi.call("ul_dump")
        with pytest.raises(sipmi.Fault, match="index and counter") as raised:
            mi.call("dlg_list")
    assert raised.value.code == 500


@pytest.mark.parametrize(
    ("version", "limit", "ways"),
    [("2.4.11", 65457, "a FIFO or HTTP"), ("1.11.11", 32728, "a FIFO or HTTP"), ("1.8.8", 32728, "a FIFO")],
)
def test_a_text_server_that_fails_or_is_silent_may_have_too_large_a_reply(version: str, limit: int, ways: str) -> None:
    with text_server(version, b"500 command failed\n") as server, sipmi.connect(server.address) as mi:
        with pytest.raises(sipmi.Fault, match=f"command failed: perhaps the reply is larger .* {limit} .* {ways}$"):
            mi.call("ul_dump")
        with pytest.raises(sipmi.Fault, match=r": rl_reset_pipe: 500 command failed$"):
            mi.call("rl_reset_pipe", "x")
    with text_server(version) as server, sipmi.connect(server.address, timeout=0.5) as mi:
        assert mi.version == version
        with pytest.raises(sipmi.CallTimeout, match=f"; perhaps the reply is larger .* {limit} .* {ways}$"):
            mi.call("dlg_list")
        with pytest.raises(sipmi.CallTimeout) as raised:
            mi.call("uptime")
    assert "larger" not in str(raised.value)


# -- answers that come in part ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"HTTP/1.1 200 O", "14 bytes of the head of an HTTP answer"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"a',
            "the head of an HTTP answer, 200, and 3 bytes of a body of 50",
        ),
        (
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a": \r\n',
            "the head of an HTTP answer, 200, and 5 bytes of a body in chunks",
        ),
    ],
)
def test_a_timeout_says_how_much_of_an_http_answer_had_come(sent: bytes, said: str) -> None:
    sent = sent.replace(b'5\r\n{"a": ', b'5\r\n{"a":')
    over = threading.Event()

    def serve(connection: Any) -> None:
        connection.read_request()
        connection.send(sent)
        over.wait(20)

    with RogueHttp(serve) as server, sipmi.connect(server.address, timeout=0.5, wire="jsonrpc") as mi:
        with pytest.raises(sipmi.CallTimeout, match=said):
            mi.call("uptime")
        over.set()


def test_a_timeout_says_how_much_of_a_fifo_reply_had_come(tmp_path: Path) -> None:
    opened: list[int] = []

    def answer(request: bytes, reply: str) -> None:
        opened.append(os.open(reply, os.O_WRONLY))
        os.write(opened[0], b"200 OK\nNow:: ")

    with RogueFifo(str(tmp_path), answer) as server, sipmi.connect(server.address, timeout=0.5, wire="text") as mi:
        with pytest.raises(sipmi.CallTimeout, match="13 received: part of a reply"):
            mi.call("uptime")
        os.close(opened[0])


# -- commands that harm -------------------------------------------------------------------------------


def test_a_command_that_blocks_3_x_and_4_x_is_sent_only_when_forced() -> None:
    with json_server("4.0.1", ok) as server, sipmi.connect(server.address, retries=2) as mi:
        for name in ("t_hash", "tm:hash"):
            with pytest.raises(sipmi.RequestRefused, match="half a minute") as raised:
                mi.call(name)
            assert raised.value.can_be_forced
        assert mi.call("t_hash", force=True) == "OK"
        assert len(server.requests) == 2
    assert not sipmi.CommandSchema("tm:hash").read_only


@pytest.mark.parametrize(
    ("version", "command", "is_refused"),
    [
        ("2.4.1", "dlg_list_sharing_tags", True),
        ("2.4.11", "dlg_list_sharing_tags", False),
        ("2.2.0", "tls_list", True),
        ("2.4.11", "tls_list", False),
        ("2.4.11", "t_hash", False),
    ],
)
def test_a_crash_is_known_by_the_version_that_has_it(version: str, command: str, is_refused: bool) -> None:
    with text_server(version, b"200 OK\n\n") as server, sipmi.connect(server.address) as mi:
        if is_refused:
            with pytest.raises(sipmi.RequestRefused, match="OpenSIPS/opensips#"):
                mi.call(command)
        assert mi.call(command, force=is_refused) == "OK"


# -- mi_xmlrpc of 1.x ---------------------------------------------------------------------------------


class Abyss:
    """`mi_xmlrpc` of 1.11 with some users; it counts the requests that it has at a time."""

    def __init__(self, users: int) -> None:
        self.users = users
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def __call__(self, request: bytes) -> bytes:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.answer(body_of(request))
        finally:
            with self.lock:
                self.at_once -= 1

    def answer(self, body: bytes) -> bytes:
        if b"<methodName>version<" in body:
            text = "Server:: OpenSIPS (1.11.11-notls (x86_64/linux))\n"
        elif b"registered_users" in body and self.users >= 0:
            text = f"usrloc:registered_users:: {self.users}\n"
        elif b"registered_users" in body:
            text = ""
        else:
            text = "Domain:: location table=512 records=0\n" if b"ul_dump" in body else ""
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n<params>\r\n<param><value><string>'
            f"{text}</string></value></param>\r\n</params>\r\n</methodResponse>\r\n"
        )
        return http_reply(xml, headers=ABYSS)


def abyss(users: int) -> tuple[Abyss, RogueHttp]:
    server = Abyss(users)
    return server, RogueHttp(answering(server), path="/RPC2")


@pytest.mark.parametrize(("users", "why"), [(5001, "has 5001 addresses of record"), (-1, "does not say how many")])
def test_a_dump_that_mi_xmlrpc_may_not_survive_is_not_sent(users: int, why: str) -> None:
    with abyss(users)[1] as server, sipmi.connect(server.address) as mi:
        with pytest.raises(sipmi.RequestRefused, match=why) as raised:
            mi.call("ul_dump")
        assert raised.value.can_be_forced
        assert not any(b"ul_dump" in request for request in server.requests)
        assert mi.call("ul_dump", force=True)["Domains"]


def test_a_small_dump_over_mi_xmlrpc_is_sent() -> None:
    with abyss(5000)[1] as server, sipmi.connect(server.address) as mi:
        assert mi.call("ul_dump")["Domains"]


def test_mi_xmlrpc_takes_more_than_httpd() -> None:
    with abyss(0)[1] as server, sipmi.connect(server.address) as mi:
        assert mi.call("cache_store", "local", "k", "v" * 70_000) == "OK"
        with pytest.raises(sipmi.RequestRefused, match="over the limit of 524288"):
            mi.call("cache_store", "local", "k", "v" * 600_000)


def test_mi_xmlrpc_has_one_request_at_a_time_whatever_the_caller_wants() -> None:
    counter, server = abyss(0)
    with server, sipmi.connect(server.address, max_in_flight=8) as mi:
        assert mi.version == "1.11.11"
        threads = [threading.Thread(target=mi.call, args=("get_statistics", ["load:"])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert counter.most_at_once == 1


def test_line_feeds_that_mi_xmlrpc_changes_are_warned_of() -> None:
    with abyss(0)[1] as server, sipmi.connect(server.address) as mi:
        with pytest.warns(sipmi.ChangedParameterWarning, match="CR LF of two LF"):
            mi.call("cache_store", "local", "k", "a\n\nb")
        mi.call("cache_store", "local", "k", "a\nb")


# -- limits that a modparam raises --------------------------------------------------------------------


def json_http(version: str) -> RogueHttp:
    def answer(request: bytes) -> bytes:
        asked = json.loads(body_of(request))
        result: Any = {"Server": f"OpenSIPS ({version} (x86_64/linux))"} if asked["method"] == "version" else "OK"
        return http_reply(json.dumps({"jsonrpc": "2.0", "result": result, "id": asked["id"]}))

    return RogueHttp(answering(answer))


def test_the_buffer_of_httpd_can_be_told() -> None:
    with json_http("4.0.1") as server:
        with (
            sipmi.connect(server.address) as mi,
            pytest.raises(sipmi.RequestRefused, match=r"limit of 1024.*receive_buf_size="),
        ):
            mi.call("cache_store", "local", "k", "v" * 2000)
        with sipmi.connect(server.address, receive_buf_size=4096) as mi:
            assert mi.call("cache_store", "local", "k", "v" * 2000) == "OK"
            with pytest.raises(sipmi.RequestRefused, match="limit of 4096"):
                mi.call("cache_store", "local", "k", "v" * 5000)
        with sipmi.Fleet({"a": server.address}, receive_buf_size=4096) as fleet:
            assert fleet.call("cache_store", "local", "k", "v" * 2000).ok == {"a": "OK"}
    with pytest.raises(ValueError, match="receive_buf_size are for http"):
        sipmi.connect("udp:127.0.0.1:9", receive_buf_size=4096)


def test_versions_without_that_buffer_are_not_told_of_it() -> None:
    with (
        json_http("3.4.18") as server,
        sipmi.connect(server.address, receive_buf_size=65_536) as mi,
        pytest.raises(sipmi.RequestRefused, match="limit of 16384") as raised,
    ):
        mi.call("cache_store", "local", "k", "v" * 20_000)
    assert "receive_buf_size" not in str(raised.value)


def test_the_buffer_of_mi_datagram_can_be_told(directory: str) -> None:
    def answer(request: bytes) -> list[bytes]:
        call = json.loads(request)
        result = {"Server": "OpenSIPS (4.0.1 (x86_64/linux))"} if call["method"] == "version" else "v" * 100_000
        return [json.dumps({"jsonrpc": "2.0", "result": result, "id": call["id"]}).encode()]

    with RogueDatagram(answer, f"{directory}/sock") as server:
        with (
            sipmi.connect(server.address) as mi,
            pytest.raises(sipmi.RequestRefused, match=r"limit of 65457.*socket_buf_size="),
        ):
            mi.call("cache_store", "local", "k", "v" * 70_000)
        with sipmi.connect(server.address, socket_buf_size=131_072) as mi:
            assert mi.call("cache_store", "local", "k", "v" * 70_000) == "v" * 100_000
            with pytest.raises(sipmi.RequestRefused, match="limit of 131072"):
                mi.call("cache_store", "local", "k", "v" * 131_072)
    with pytest.raises(ValueError, match="socket_buf_size is for unix: alone"):
        sipmi.connect("udp:127.0.0.1:9", socket_buf_size=131_072)
    with pytest.raises(ValueError, match=r"connect\(\): expected socket_buf_size from 1 to 16777216, got "):
        sipmi.connect(server.address, socket_buf_size=1 << 40)


# -- the wrong root, and a transport that is not there ------------------------------------------------

MENU = b"<html><head><title>OpenSIPS Management Interface</title></head><body></body></html>"


def old_http(request: bytes) -> bytes:
    """1.11 and 2.4: pages at /mi, `mi_json` at /json, XML-RPC nowhere."""
    if request.startswith(b"GET /json/version "):
        return http_reply(b'{"Server": "OpenSIPS (2.4.11 (x86_64/linux))"}')
    if request.split(b" ")[1].startswith(b"/mi"):
        return http_reply(MENU, headers="Content-Type: text/html\r\n")
    return http_reply(b"<html><body>Unable to parse URL!</body></html>", status="400 Bad Request")


@pytest.mark.parametrize("path", ["", "/xmlrpc", "/nosuch"])
def test_an_address_without_the_right_root_is_told_the_right_one(path: str) -> None:
    with RogueHttp(answering(old_http), path=path) as server, sipmi.connect(server.address) as mi:
        said = rf"answers at /json: connect to http://127.0.0.1:{server.port}/json"
        with pytest.raises(sipmi.MiError, match=said):
            mi.call("uptime")
        assert mi.address == server.address


@pytest.mark.parametrize("version", ["1.11.11", "2.4.11"])
def test_events_over_tcp_of_a_server_without_that_transport_are_an_error(version: str) -> None:
    with text_server(version, b"200 OK\n\n") as server, sipmi.connect(server.address) as mi:
        with (
            pytest.raises(ValueError, match="sends no events over TCP"),
            mi.events("E_X", at="tcp:127.0.0.1:0") as events,
        ):
            next(iter(events))
        assert not any(request.startswith(b":event_subscribe:") for request in server.requests)


def test_events_over_tcp_without_the_module_are_an_error_that_names_it() -> None:
    def refused(asked: dict[str, Any]) -> bytes:
        error = {"code": 400, "message": "Bad parameter value"}
        return json.dumps({"jsonrpc": "2.0", "error": error, "id": asked["id"]}).encode()

    with (
        json_server("3.6.8", refused) as server,
        sipmi.connect(server.address) as mi,
        pytest.raises(ValueError, match="load its module event_stream"),
        mi.events("E_X", at="tcp:127.0.0.1:0") as events,
    ):
        next(iter(events))
