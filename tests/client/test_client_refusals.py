"""The client rejects requests that a real server would lose, run as something else, or be harmed by."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

import sipmi
from endpoints import recorded
from rogue import RogueDatagram, RogueFifo, write_reply

ASYNCHRONOUS = [
    "t_uac_dlg", "pua_publish", "dlg_send_sequential", "rtp_relay_update", "rtp_relay_update_callid",
    "cluster_send_mi", "cluster_broadcast_mi", "tm:uac_dlg", "uac_dlg", "pua_mi:publish", "dialog:send_sequential",
    "rtp_relay:update", "clusterer:send_mi", "T_uac_dlg",
]  # fmt: skip


def answer(request: bytes) -> bytes:
    """A real server's good answer."""
    if b"{" not in request:
        return b"200 OK\n\n"
    id = json.loads(request[request.index(b"{") :])["id"]
    result: Any = {"Server": "OpenSIPS (4.0.1 (x86_64/linux))"} if b'"version"' in request else "OK"
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": id}).encode()


@pytest.fixture
def fifo(directory: str) -> Iterator[RogueFifo]:
    with RogueFifo(directory, lambda request, path: write_reply(path, answer(request))) as server:
        yield server


@pytest.fixture
def udp() -> Iterator[RogueDatagram]:
    with RogueDatagram(lambda request: [answer(request)]) as server:
        yield server


def refused(mi: sipmi.Client, why: str, command: str, *args: Any, **kwargs: Any) -> sipmi.RequestRefused:
    with pytest.raises(sipmi.RequestRefused, match=why) as caught:
        mi.call(command, *args, **kwargs)
    assert isinstance(caught.value, ValueError)
    assert caught.value.sent is None
    assert (caught.value.address, caught.value.command) == (mi.address, command)
    return caught.value


@pytest.mark.parametrize("wire", ["auto", "jsonrpc"])
def test_a_json_frame_over_4096_bytes_is_an_injection(fifo: RogueFifo, wire: str) -> None:
    with sipmi.connect(fifo.address, wire=wire) as mi:
        # As long as it can be; a server that is not known gets an empty line more.
        fits = 4096 - len(mi.request("echo", "").sent)
        reply = mi.request("echo", "x" * fits)
        assert reply.ok
        assert len(reply.sent) == 4096
        count = len(fifo.wait_for(1))
        refused(mi, "4097 bytes, over the limit of 4096", "echo", "x" * (fits + 1))
        refused(mi, "over the limit of 4096", "echo", "x" * 5000 + '::{"method":"kill"}')
        assert len(fifo.requests) == count


@pytest.mark.parametrize("wire", ["auto", "jsonrpc"])
@pytest.mark.parametrize("command", ASYNCHRONOUS)
def test_asynchronous_commands_are_not_sent_to_a_json_fifo(fifo: RogueFifo, wire: str, command: str) -> None:
    with sipmi.connect(fifo.address, wire=wire) as mi:
        refused(mi, "aborts the server: use udp: or unix:", command, method="OPTIONS")
        assert not any(b"OPTIONS" in request for request in fifo.requests)


@pytest.mark.parametrize("command", ["t_uac_dlg", "tm:uac_dlg"])
def test_asynchronous_commands_may_be_sent_in_a_datagram(udp: RogueDatagram, command: str) -> None:
    with sipmi.connect(udp.address) as mi:
        assert mi.call(command, method="OPTIONS") == "OK"


def test_asynchronous_commands_may_be_sent_to_a_text_fifo(fifo: RogueFifo) -> None:
    with sipmi.connect(fifo.address, wire="text") as mi:
        assert mi.call("t_uac_dlg", "OPTIONS") == "OK"


def test_text_parameters_over_the_read_size_of_a_fifo_are_lost(fifo: RogueFifo) -> None:
    with sipmi.connect(fifo.address, wire="text") as mi:
        assert mi.call("cache_store", "local", "a", "x" * 8100) == "OK"
        refused(mi, "over the limit of 8190", "cache_store", "local", "a", "x" * 8192)
        refused(mi, "over the limit of 8190", "get_statistics", ["x" * 99] * 82)
        assert len(fifo.requests) == 1
    lock = f"/tmp/{fifo.path.replace('/', '%')}.lock"
    os.unlink(lock)


def test_a_long_line_for_a_command_without_input_is_lost(fifo: RogueFifo) -> None:
    with sipmi.connect(fifo.address, wire="text") as mi:
        assert mi.call("uptime", "x" * 1000) == "OK"
        refused(mi, "over the limit of 1023", "uptime", "x" * 1100)
        assert mi.call("cache_store", "x" * 1100) == "OK"


UNSAYABLE = ['"first', "an empty\n\nline", 'a line\n"that starts so', 'a " and a \\', "a NUL \0", " \\"]


@pytest.mark.parametrize("value", UNSAYABLE)
def test_values_that_text_cannot_express_are_not_sent_to_a_fifo(fifo: RogueFifo, value: str) -> None:
    with sipmi.connect(fifo.address, wire="text") as mi:
        error = refused(mi, "parameter 2 cannot be sent", "cache_store", "local", value)
        assert value not in str(error)
        refused(mi, "parameter 1 cannot be sent", "cache_store", key=value)
        assert fifo.requests == []


def test_a_value_cannot_become_a_command(fifo: RogueFifo) -> None:
    with sipmi.connect(fifo.address, wire="text") as mi:
        refused(mi, "empty line", "echo", "harmless\n\n:kill:\n\n")
        assert mi.call("echo", "harmless\n:kill:") == "OK"
        assert fifo.wait_for(1)[0].endswith(b'"harmless\n:kill:"\n\n')


@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_a_datagram_over_65457_bytes_is_cut(udp: RogueDatagram, wire: str) -> None:
    with sipmi.connect(udp.address, wire=wire) as mi:
        fits = 65457 - len(mi.request("echo", "x").sent) + 1
        assert mi.call("echo", "x" * fits) == "OK"
        refused(mi, "65458 bytes, over the limit of 65457", "echo", "x" * (fits + 1))
        assert len(udp.requests) == 2


@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
@pytest.mark.parametrize("command", ["", " ", "a b", "a\nb", "a\0b", 'a"b', "a\\b", "x" * 129, ":\n:kill"])
def test_an_invalid_command_name_is_not_sent(fifo: RogueFifo, wire: str, command: str) -> None:
    with sipmi.connect(fifo.address, wire=wire) as mi:
        error = refused(mi, "cannot be the name of a command", command)
        assert "\n" not in str(error)
        assert fifo.requests == []


def test_a_name_with_a_module_is_nothing_for_text(fifo: RogueFifo) -> None:
    with sipmi.connect(fifo.address, wire="text") as mi:
        refused(mi, "text knows no modules", "usrloc:dump")


def test_a_nul_is_nothing_for_a_json_server(udp: RogueDatagram) -> None:
    with sipmi.connect(udp.address) as mi:
        refused(mi, "NUL", "echo", "a\0b")
        refused(mi, "NUL", "echo", [{"a\0": "b"}])
        assert mi.call("echo", "a\\u0000b") == "OK"


@pytest.mark.parametrize("value", [[None], float("inf"), float("nan")])
def test_values_that_json_servers_reject_are_not_sent(udp: RogueDatagram, value: Any) -> None:
    with sipmi.connect(udp.address) as mi:
        refused(mi, "parameter 1 cannot be sent", "echo", value)


def test_numbers_that_a_server_would_clamp_go_as_strings(udp: RogueDatagram) -> None:
    with sipmi.connect(udp.address) as mi:
        sent = mi.request("echo", 2**31 - 1, 2**31, 0.5, [-(2**40)]).sent
        assert json.loads(sent)["params"] == [2147483647, "2147483648", "0.5", ["-1099511627776"]]


def test_a_reply_fifo_whose_path_is_too_long_would_not_be_answered(directory: str) -> None:
    long = os.path.join(directory, "d" * 120)
    os.mkdir(long)
    with RogueFifo(directory, lambda *_: None) as server:
        for wire in ("text", "jsonrpc"):
            with sipmi.connect(server.address, wire=wire, reply_dir=long) as mi:
                refused(mi, "over the limit of 127", "uptime")
        assert server.requests == []
    assert os.listdir(long) == []


def test_sipmi_itself_has_none_of_these_limits(serve: Any) -> None:
    server = sipmi.Server("billing")

    @server.command
    def length(value: str) -> int:
        return len(value)

    @server.command
    def t_uac_dlg(method: str) -> str:
        return method

    serve(server)
    for address in server.addresses:
        with sipmi.connect(address) as mi:
            assert mi.generation == "sipmi"
            assert mi.call("length", "x" * 60_000) == 60_000
            assert mi.call("length", "a\0b") == 3
            assert mi.call("t_uac_dlg", method="OPTIONS") == "OPTIONS"
            if address.startswith("fifo:"):
                assert mi.call("length", "x" * 3_000_000, timeout=20) == 3_000_000
            else:
                refused(mi, "over the limit of 65507", "length", "x" * 65_600)


@pytest.mark.parametrize("name", ["1.11-limits", "2.4-limits"])
def test_recorded_requests_that_were_lost_are_refused(fifo: RogueFifo, name: str) -> None:
    """Every recorded request of these files that the server answered is sent, and those that it lost are not."""
    lost = 0
    with sipmi.connect(fifo.address, wire="text") as mi:
        for pair in recorded(name):
            if not pair["case"].startswith("fifo_store"):
                continue
            head, *values = pair["request"].decode("latin-1").rstrip("\n").split("\n")
            served = pair["replies"][0].startswith(b"200")
            try:
                mi.call(head.split(":")[1], *values)
            except sipmi.RequestRefused:
                assert not served, pair["what"]
                lost += 1
            else:
                assert served, pair["what"]
    assert lost == 4
