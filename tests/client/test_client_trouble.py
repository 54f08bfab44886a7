"""The client against servers that are silent, cut off, confused or gone, and what it leaves behind."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Optional
from warnings import catch_warnings, simplefilter

import pytest

import sipmi
from rogue import RogueDatagram, RogueFifo, write_reply

#: A call that must not take long gets this long; the machine may be busy.
SOON = 3.0


def json_id(request: bytes) -> int:
    return int(json.loads(request[request.index(b"{") :])["id"])


def json_reply(request: bytes, result: Any = "OK") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": json_id(request)}).encode()


def a_reply(request: bytes) -> bytes:
    """A good reply in the request's own wire."""
    return json_reply(request) if b"{" in request else b"200 OK\n\n"


def silent(*_: Any) -> list[bytes]:
    return []


def make_rogue(transport: str, directory: str, answer: Callable[[bytes], bytes]) -> Any:
    """A server on any transport that answers in one piece; nothing when the answer is empty."""
    if transport == "fifo":

        def answer_fifo(request: bytes, path: str) -> None:
            reply = answer(request)
            if reply:
                write_reply(path, reply)

        return RogueFifo(directory, answer_fifo)
    path = os.path.join(directory, "rogue.sock") if transport == "unix" else None
    return RogueDatagram(lambda request: [reply] if (reply := answer(request)) else [], path)


def reply_fifos(directory: str) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith("sipmi_")]


# -- no answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["fifo", "udp", "unix"])
@pytest.mark.parametrize("wire", ["auto", "text", "jsonrpc"])
def test_a_server_that_never_answers_is_a_timeout(directory: str, transport: str, wire: str) -> None:
    with (
        make_rogue(transport, directory, lambda _: b"") as server,
        sipmi.connect(server.address, wire=wire, timeout=0.2) as mi,
    ):
        begun = time.monotonic()
        with pytest.raises(sipmi.CallTimeout, match=r"within 0\.2 s") as caught:
            mi.call("uptime")
        assert 0.2 <= time.monotonic() - begun < SOON
        assert caught.value.address == server.address
        assert caught.value.command == "uptime"
        assert caught.value.sent == server.wait_for(1)[0]
        assert caught.value.received is None
        with pytest.raises(TimeoutError):
            mi.call("uptime", timeout=0.05)
    assert reply_fifos(directory) == []


def test_the_deadline_holds_for_all_that_a_call_does(directory: str) -> None:
    with RogueFifo(directory, silent) as server, sipmi.connect(server.address) as mi:
        begun = time.monotonic()
        with pytest.raises(sipmi.CallTimeout, match="its version"):
            mi.call("uptime", timeout=0.6)
        assert 0.6 <= time.monotonic() - begun < SOON
        # Asked in JSON, and when that was not answered in text.
        assert [b"{" in request for request in server.wait_for(2)][:2] == [True, False]


def test_a_full_fifo_is_a_timeout_and_the_client_writes_no_bytes(directory: str) -> None:
    with RogueFifo(directory, silent, reads=False) as server, sipmi.connect(server.address, wire="text") as mi:
        os.write(server.fd, b"from another client\n")
        with pytest.raises(sipmi.CallTimeout):
            mi.call("uptime", timeout=0.1)
        assert os.read(server.fd, 1 << 16) == b"from another client\n"
    assert reply_fifos(directory) == []


# -- no answer that can be read -------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["fifo", "udp", "unix"])
@pytest.mark.parametrize("wire", ["auto", "text", "jsonrpc"])
@pytest.mark.parametrize("garbage", [b"\x00\xff garbage \n\n", b"{}", b"[1, 2]", b"200", b"hello"])
def test_garbage_is_a_codec_error(directory: str, transport: str, wire: str, garbage: bytes) -> None:
    with (
        make_rogue(transport, directory, lambda _: garbage) as server,
        sipmi.connect(server.address, wire=wire, timeout=2.0) as mi,
    ):
        if transport != "fifo" and wire != "jsonrpc" and garbage == b"200":
            assert mi.call("uptime") == "OK"  # versions before 2.4.5 end without a newline
            return
        with pytest.raises(sipmi.CodecError) as caught:
            mi.call("uptime")
        assert caught.value.received == garbage
        assert isinstance(caught.value, ValueError)
    assert reply_fifos(directory) == []


@pytest.mark.parametrize("reply", [b"200 OK\nServer:: half", b"200 OK\nServer:: x\n", b"200 OK\n", b""])
def test_a_text_reply_without_its_end_was_cut(directory: str, reply: bytes) -> None:
    with (
        RogueFifo(directory, lambda _, path: write_reply(path, reply)) as server,
        sipmi.connect(server.address, wire="text") as mi,
        pytest.raises(sipmi.CodecError),
    ):
        mi.call("version")


@pytest.mark.parametrize(
    "ending", [b"failed to print response", b"", b'"}'], ids=["given-up", "nothing-more", "wrong-end"]
)
def test_a_json_reply_that_ends_early_was_cut(directory: str, ending: bytes) -> None:
    reply = b'{"jsonrpc":"2.0","result":{"key":"k","value":' + ending
    with (
        RogueFifo(directory, lambda _, path: write_reply(path, reply)) as server,
        sipmi.connect(server.address, wire="jsonrpc", timeout=0.3) as mi,
        pytest.raises(sipmi.CodecError) as caught,
    ):
        mi.call("cache_fetch", "local", "k")
    assert caught.value.received == reply
    assert reply_fifos(directory) == []


@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_a_server_that_stops_in_the_middle_is_a_timeout(directory: str, wire: str) -> None:
    half = b"200 OK\nServer:: ha" if wire == "text" else b'{"jsonrpc":"2.0","res'
    opened: list[int] = []

    def answer(_: bytes, path: str) -> None:
        opened.append(os.open(path, os.O_WRONLY))
        os.write(opened[0], half)

    with RogueFifo(directory, answer) as server, sipmi.connect(server.address, wire=wire, timeout=0.3) as mi:
        with pytest.raises(sipmi.CallTimeout) as caught:
            mi.call("version")
        assert caught.value.received == half
        os.close(opened[0])
    assert reply_fifos(directory) == []


def test_an_answer_that_is_cut_in_a_datagram_is_a_codec_error() -> None:
    with (
        RogueDatagram(lambda _: [b'{"jsonrpc":"2.0","result":{"key":']) as server,
        sipmi.connect(server.address, wire="jsonrpc") as mi,
        pytest.raises(sipmi.CodecError, match="cut off"),
    ):
        mi.call("uptime")


@pytest.mark.parametrize("member", ["result", "error"])
def test_an_unreadable_value_is_an_error_with_address_and_command(member: str) -> None:
    deep = b"[" * 2000 + b"]" * 2000
    value = deep if member == "result" else b'{"code":-32000,"message":"no","data":' + deep + b"}"

    def answer(request: bytes) -> list[bytes]:
        identity = b"%d" % json.loads(request)["id"]
        return [b'{"jsonrpc":"2.0","' + member.encode() + b'":' + value + b',"id":' + identity + b"}"]

    with RogueDatagram(answer) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        readings: list[Callable[[], Any]] = [lambda: mi.call("uptime")]
        if member == "result":
            reply = mi.request("uptime")
            readings += [lambda: reply.value, lambda: reply.tree]
        for read in readings:
            told = rf"^{re.escape(server.address)}: uptime: .*cannot be read"
            with pytest.raises(sipmi.CodecError, match=told) as caught:
                read()
            error = caught.value
            assert (error.address, error.command) == (server.address, "uptime")
            assert error.sent in server.requests
            assert error.received is not None
            assert deep in error.received


def test_an_asynchronous_reply_in_pieces_is_put_together(directory: str) -> None:
    def answer(request: bytes, path: str) -> None:
        reply = json_reply(request, ["x" * 3000] * 5)
        write_reply(path, *(reply[at : at + 4096] for at in range(0, len(reply), 4096)))

    with RogueFifo(directory, answer) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        assert mi.call("some_command") == ["x" * 3000] * 5


def test_a_server_that_keeps_the_reply_open_has_answered_when_the_json_is_complete(directory: str) -> None:
    opened: list[int] = []

    def answer(request: bytes, path: str) -> None:
        opened.append(os.open(path, os.O_WRONLY))
        os.write(opened[-1], json_reply(request))

    with RogueFifo(directory, answer) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        names = [mi.request("uptime").sent.split(b":")[1] for _ in range(20)]
        # One that still has a writer is not used again.
        assert len(set(names)) == 20
    for fd in opened:
        os.close(fd)


def test_an_error_of_200_is_a_success() -> None:
    def answer(request: bytes) -> list[bytes]:
        error = {"code": 200, "message": "Contacts already synced"}
        return [json.dumps({"jsonrpc": "2.0", "error": error, "id": json_id(request)}).encode()]

    with RogueDatagram(answer) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        assert mi.call("some_sync", "location") == "Contacts already synced"
        assert mi.call("ul_sync", "location") == "OK"  # as it is on every version


# -- answers to others ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, "late.sock"])
@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_a_late_answer_is_never_taken_for_that_of_the_next_call(directory: str, path: Optional[str], wire: str) -> None:
    def answer(request: bytes) -> list[bytes]:
        return [] if b"slow" in request else [reply_to(request, b"quick")]

    def reply_to(request: bytes, value: bytes) -> bytes:
        return json_reply(request, value.decode()) if wire == "jsonrpc" else b"200 OK\n" + value + b"\n\n"

    unix = path and os.path.join(directory, path)
    with RogueDatagram(answer, unix) as server, sipmi.connect(server.address, wire=wire, timeout=SOON) as mi:
        for number in range(3):
            with pytest.raises(sipmi.CallTimeout):
                mi.call("slow", timeout=0.05)
            late = server.wait_for(2 * number + 1)[-1]
            server.send(reply_to(late, b"late"), server.peers[-1])
            assert mi.call("quick") == "quick"


def test_a_datagram_that_comes_twice_does_not_answer_the_next_call() -> None:
    numbers = iter(range(100))

    def answer(_: bytes) -> list[bytes]:
        return [b"200 OK\n%d\n\n" % next(numbers)] * 2

    with RogueDatagram(answer) as server, sipmi.connect(server.address, wire="text") as mi:
        # Over loopback both are there before the next call begins.
        assert [mi.call("next") for _ in range(5)] == ["0", "1", "2", "3", "4"]


def test_answers_to_other_requests_are_passed_over() -> None:
    def answer(request: bytes) -> list[bytes]:
        strangers = [
            json.dumps({"jsonrpc": "2.0", "result": "stray", "id": id}).encode()
            for id in (json_id(request) + 1, "x", None)
        ]
        return [*strangers, json_reply(request, "ours")]

    with RogueDatagram(answer) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
        assert mi.call("uptime") == "ours"


def test_only_answers_to_other_requests_are_a_timeout() -> None:
    stray = b'{"jsonrpc":"2.0","result":"stray","id":99999}'
    with (
        RogueDatagram(lambda _: [stray] * 10) as server,
        sipmi.connect(server.address, wire="jsonrpc", timeout=0.2) as mi,
        pytest.raises(sipmi.CallTimeout),
    ):
        mi.call("uptime")


# -- no server -----------------------------------------------------------------------------------


def transport_error(address: str, **options: Any) -> sipmi.TransportError:
    begun = time.monotonic()
    with sipmi.connect(address, timeout=30, **options) as mi, pytest.raises(sipmi.TransportError) as caught:
        mi.call("uptime")
    assert time.monotonic() - begun < SOON, "a refusal is known at once"
    assert isinstance(caught.value, OSError)
    assert address.split("?")[0] in str(caught.value)
    return caught.value


@pytest.mark.parametrize("wire", ["auto", "text"])
def test_a_port_without_a_listener_refuses_the_connection_at_once(wire: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert "connection refused" in str(transport_error(f"udp:127.0.0.1:{port}", wire=wire))


def test_a_missing_socket_a_dead_one_and_one_of_another_kind_are_told_apart(directory: str) -> None:
    path = os.path.join(directory, "mi.sock")
    assert "there is no such socket" in str(transport_error(f"unix:{path}"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(path)
    assert "no server reads it" in str(transport_error(f"unix:{path}"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(path + "2")
        stream.listen()
        assert "another kind" in str(transport_error(f"unix:{path}2"))


def test_a_missing_fifo_and_one_without_a_reader_are_different_errors(directory: str) -> None:
    path = os.path.join(directory, "mi_fifo")
    gone = transport_error(f"fifo:{path}?reply_dir={directory}")
    assert "there is no such FIFO" in str(gone)
    os.mkfifo(path)
    unread = transport_error(f"fifo:{path}?reply_dir={directory}")
    assert "exists, but no server reads it" in str(unread)
    assert gone.errno != unread.errno
    assert reply_fifos(directory) == []


def test_a_regular_file_in_place_of_the_fifo_is_not_written_to(directory: str) -> None:
    path = Path(directory, "mi_fifo")
    path.write_text("precious")
    assert "expected a FIFO, found a regular file" in str(transport_error(f"fifo:{path}?reply_dir={directory}"))
    assert path.read_text() == "precious"


def test_a_reply_directory_that_is_not_there_is_said(directory: str) -> None:
    with RogueFifo(directory, silent) as server:
        error = transport_error(server.address, reply_dir=os.path.join(directory, "nowhere"))
        assert "no reply FIFO can be made in" in str(error)
        assert server.requests == []


# -- how a FIFO is written to ---------------------------------------------------------------------


def test_every_request_is_one_write_to_an_empty_fifo(directory: str) -> None:
    def answer(request: bytes, path: str) -> None:
        assert request.count(b'"method"') == 1, request
        write_reply(path, json_reply(request, json.loads(request[request.index(b"{") :])["params"][0]))

    with RogueFifo(directory, answer) as server:
        clients = [sipmi.connect(server.address, wire="jsonrpc", timeout=20) for _ in range(4)]

        def run(number: int) -> list[str]:
            return [clients[number % 4].call("echo", f"{number}/{i}") for i in range(40)]

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(run, range(8))) == [[f"{n}/{i}" for i in range(40)] for n in range(8)]
        for client in clients:
            client.close()


def test_all_users_may_write_to_the_reply_fifo_with_any_umask(directory: str) -> None:
    seen: list[os.stat_result] = []
    readers: list[bool] = []

    def answer(request: bytes, path: str) -> None:
        seen.append(os.stat(path))
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # without a reader this is an error
        readers.append(True)
        os.write(fd, json_reply(request))
        os.close(fd)

    before = os.umask(0o077)
    try:
        with RogueFifo(directory, answer) as server, sipmi.connect(server.address, wire="jsonrpc") as mi:
            name = mi.request("uptime").sent.split(b":")[1].decode()
    finally:
        os.umask(before)
    assert stat.S_ISFIFO(seen[0].st_mode)
    assert stat.S_IMODE(seen[0].st_mode) == 0o622
    assert readers == [True]
    assert name.startswith(f"sipmi_{os.getpid()}_")
    assert not set(name) & set("./\\")


def test_a_client_waits_for_the_lock_of_another(directory: str) -> None:
    with RogueFifo(directory, lambda request, path: write_reply(path, a_reply(request))) as server:
        other = os.open(server.path, os.O_WRONLY | os.O_NONBLOCK)
        fcntl.flock(other, fcntl.LOCK_EX)
        with sipmi.connect(server.address, wire="jsonrpc", timeout=20) as mi:
            with pytest.raises(sipmi.CallTimeout):
                mi.call("uptime", timeout=0.1)
            assert server.requests == []
            releasing = threading.Timer(0.1, lambda: fcntl.flock(other, fcntl.LOCK_UN))
            releasing.start()
            assert mi.call("uptime") == "OK"
            releasing.join()
        os.close(other)


def test_a_long_text_request_waits_for_the_lock_of_opensipsctl_too(directory: str) -> None:
    with RogueFifo(directory, lambda request, path: write_reply(path, b"200 OK\n\n")) as server:
        lock = f"/tmp/{server.path.replace('/', '%')}.lock"
        with open(lock, "w") as held, sipmi.connect(server.address, wire="text", timeout=20) as mi:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert mi.call("cache_store", "local", "a", "x" * 100) == "OK"
            with pytest.raises(sipmi.CallTimeout):
                mi.call("cache_store", "local", "a", "x" * 5000, timeout=0.1)
            fcntl.flock(held, fcntl.LOCK_UN)
            assert mi.call("cache_store", "local", "a", "x" * 5000) == "OK"
        os.unlink(lock)


def test_a_server_that_could_not_read_a_request_is_brought_back_in_step(directory: str) -> None:
    refusal = b"400 Parse error in command 'x'\n"
    with (
        RogueFifo(directory, lambda _, path: write_reply(path, refusal)) as server,
        sipmi.connect(server.address, wire="text") as mi,
    ):
        with pytest.raises(sipmi.Fault, match="Parse error"):
            mi.call("x", "a")
        assert server.wait_for(2)[1] == b"\n"


def test_a_request_that_was_not_written_is_not_said_to_be_sent(directory: str) -> None:
    with RogueFifo(directory, silent, reads=False) as server, sipmi.connect(server.address, wire="text") as mi:
        os.write(server.fd, b"in the way\n")
        with pytest.raises(sipmi.CallTimeout, match="0 bytes sent") as caught:
            mi.call("uptime", timeout=0.05)
        assert caught.value.sent is None


def test_a_json_question_to_a_text_fifo_ends_so_that_the_next_request_is_not_lost(directory: str) -> None:
    with RogueFifo(directory, silent) as server, sipmi.connect(server.address, timeout=0.1) as mi:
        with pytest.raises(sipmi.CallTimeout):
            mi.call("uptime")
        assert server.wait_for(1)[0].endswith(b"}\n\n")


# -- Ctrl-C ---------------------------------------------------------------------------------------

INTERRUPTED = """
import sys, sipmi
mi = sipmi.connect(sys.argv[1], wire=sys.argv[2], timeout=60)
try:
    mi.call("forever")
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(7)
"""


@pytest.mark.parametrize("transport", ["fifo", "udp", "unix"])
@pytest.mark.parametrize("wire", ["text", "jsonrpc", "auto"])
def test_ctrl_c_ends_a_call_and_nothing_is_left_behind(directory: str, transport: str, wire: str) -> None:
    with make_rogue(transport, directory, lambda _: b"") as server:
        command = [sys.executable, "-c", INTERRUPTED, server.address, wire]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            server.wait_for(1)
            begun = time.monotonic()
            child.send_signal(signal.SIGINT)
            output, _ = child.communicate(timeout=10)
            assert (child.returncode, output) == (7, b"interrupted\n")
            assert time.monotonic() - begun < SOON
        finally:
            child.kill()
    assert reply_fifos(directory) == []


def test_ctrl_c_ends_the_wait_for_a_lock(directory: str) -> None:
    with RogueFifo(directory, silent, reads=False) as server:
        os.write(server.fd, b"in the way\n")
        command = [sys.executable, "-c", INTERRUPTED, server.address, "text"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 10
            while not reply_fifos(directory):
                assert time.monotonic() < deadline
                select.select([], [], [], 0.01)
            child.send_signal(signal.SIGINT)
            assert child.communicate(timeout=10)[0] == b"interrupted\n"
        finally:
            child.kill()
    assert reply_fifos(directory) == []


def test_a_process_that_ends_leaves_no_reply_fifo(directory: str) -> None:
    script = """
import sys, sipmi
mi = sipmi.connect(sys.argv[1], wire="jsonrpc")
for _ in range(50):
    mi.call("uptime")
"""
    with RogueFifo(directory, lambda request, path: write_reply(path, json_reply(request))) as server:
        subprocess.run([sys.executable, "-c", script, server.address], timeout=30, check=True)
    assert reply_fifos(directory) == []


# -- who is asked ---------------------------------------------------------------------------------


def test_the_client_asks_the_server_for_its_version_only_once(directory: str) -> None:
    def answer(request: bytes) -> list[bytes]:
        result = {"Server": "OpenSIPS (4.0.1 (x86_64/linux))"} if b'"version"' in request else "OK"
        return [json_reply(request, result)]

    with RogueDatagram(answer) as server, sipmi.connect(server.address, timeout=20) as mi:
        begin = threading.Barrier(16)

        def run(_: int) -> Any:
            begin.wait(10)
            return mi.call("uptime")

        with ThreadPoolExecutor(16) as threads:
            assert set(threads.map(run, range(16))) == {"OK"}
        assert (mi.generation, mi.version, mi.wire) == ("4.x", "4.0.1", "jsonrpc")
        assert sum(b'"version"' in request for request in server.requests) == 1


def test_a_given_wire_is_not_detected() -> None:
    with RogueDatagram(lambda request: [a_reply(request)]) as server, sipmi.connect(server.address, wire="text") as mi:
        mi.call("uptime")
        assert server.requests == [b":uptime:\n"]


@pytest.mark.parametrize("refusal", [b"400 Parse_error", b"500 command not available\n"])
def test_a_server_that_does_not_understand_json_is_asked_in_text(refusal: bytes) -> None:
    def answer(request: bytes) -> list[bytes]:
        if request.startswith(b"{"):
            return [refusal]
        return [b"200 OK\nServer:: OpenSIPS (1.8.3-notls (i386/linux))\n"]

    with RogueDatagram(answer) as server, sipmi.connect(server.address) as mi:
        assert (mi.wire, mi.generation, mi.version) == ("text", "1.x", "1.8.3")


@pytest.mark.parametrize("way", ["waits", "awaits"])
@pytest.mark.parametrize(("version", "warnings"), [("1.9.1", 1), ("1.10.0", 1), ("1.11.6", 0), ("2.4.11", 0)])
def test_a_client_warns_once_of_a_server_before_1_11(version: str, warnings: int, way: str) -> None:
    def answer(request: bytes) -> list[bytes]:
        if request.startswith(b"{"):
            return [b"500 command not available\n"]
        said = f"Server:: OpenSIPS ({version}-notls (x86_64/linux))" if request == b":version:\n" else "Now:: x"
        return [f"200 OK\n{said}\n".encode()]

    async def awaited(address: str) -> None:
        async with sipmi.AsyncClient(address) as mi:
            for _ in range(2):
                await mi.call("uptime")

    with RogueDatagram(answer) as server, catch_warnings(record=True) as caught:
        simplefilter("always")
        if way == "awaits":
            asyncio.run(awaited(server.address))
        else:
            with sipmi.connect(server.address) as mi:
                for _ in range(2):
                    mi.call("uptime")
    old = [warning for warning in caught if warning.category is sipmi.OldServerWarning]
    assert len(old) == warnings
    for warning in old:
        assert str(warning.message).startswith(f"{server.address}: OpenSIPS {version}: ")
        assert "trees-and-values" in str(warning.message)
        assert way == "awaits" or warning.filename == __file__


def test_a_server_that_does_not_report_its_version_is_still_called() -> None:
    def answer(request: bytes) -> list[bytes]:
        if b'"version"' in request:
            error = {"code": -32601, "message": "Method not found"}
            return [json.dumps({"jsonrpc": "2.0", "error": error, "id": json_id(request)}).encode()]
        return [json_reply(request)]

    with RogueDatagram(answer) as server, sipmi.connect(server.address) as mi:
        assert mi.call("uptime") == "OK"
        assert (mi.generation, mi.version, mi.wire) == (None, None, "jsonrpc")


def test_an_unsuccessful_detection_is_repeated() -> None:
    answers = iter([[], [], [b"200 OK\n"]])
    with (
        RogueDatagram(lambda request: next(answers) and [json_reply(request)]) as server,
        sipmi.connect(server.address, timeout=0.1) as mi,
    ):
        for _ in range(2):
            with pytest.raises(sipmi.CallTimeout):
                mi.call("uptime")
        assert mi.wire == "jsonrpc"
