"""The client over UNIX sockets: servers answer from a second socket, and other processes may send to it, too."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from test_client_trouble import SOON, json_id, json_reply

import sipmi
from rogue import RogueDatagram
from sipmi.testing.cassette.deck import Question, Upstream

SERVER_USER, STRANGER = 65533, 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of several users")

#: Sends datagrams as another user: for each line with an address and a datagram, in hexadecimal digits.
SPEAKER = """
import array, os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
with_file = len(sys.argv) > 2
ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for line in sys.stdin:
    to, datagram = (bytes.fromhex(part) for part in line.split())
    with open("/dev/null") as extra:
        files = array.array("i", [extra.fileno()] if with_file else [])
        ours.sendmsg([datagram], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)] if with_file else [], 0, to)
    print("sent", flush=True)
"""


class Speaker:
    """A process of another user that sends what it is told to."""

    def __init__(self, user: int, *options: str) -> None:
        command = [sys.executable, "-c", SPEAKER, str(user), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, datagram: bytes, to: bytes) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(to.hex(), datagram.hex(), file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "sent\n"

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture
def path() -> Iterator[str]:
    """Yield the path of a socket, in a directory that all users may enter."""
    with tempfile.TemporaryDirectory(prefix="mi") as directory:
        os.chmod(directory, 0o755)
        yield os.path.join(directory, "mi.sock")


def text_or_json(request: bytes, value: str) -> bytes:
    return json_reply(request, value) if b"{" in request else f"200 OK\n{value}\n\n".encode()


class AnswerThrough:
    """Has the answer sent by processes of other users: a stranger first, then perhaps the server."""

    def __init__(self, stranger: Speaker, server: Optional[Speaker] = None, strangers: int = 1) -> None:
        self.stranger, self.server, self.strangers = stranger, server, strangers
        self.rogue: Any = None

    def __call__(self, request: bytes) -> list[bytes]:
        peer = self.rogue.peers[-1]
        for _ in range(self.strangers):
            self.stranger.send(text_or_json(request, "forged"), peer)
        if self.server is None:
            return [text_or_json(request, "true")]
        self.server.send(text_or_json(request, "true"), peer)
        return []


def served_by(answer: AnswerThrough, path: str) -> RogueDatagram:
    answer.rogue = RogueDatagram(answer, path)
    return answer.rogue


@pytest.mark.parametrize("wire", ["auto", "text", "jsonrpc"])
def test_clients_get_answers_that_come_from_a_second_socket(path: str, wire: str) -> None:
    def answer(request: bytes) -> list[bytes]:
        return [text_or_json(request, "here")]

    async def call() -> Any:
        async with sipmi.AsyncClient(server.address, wire=wire, timeout=SOON) as mi:
            return await asyncio.gather(*(mi.call("where") for _ in range(8)))

    with RogueDatagram(answer, path) as server:
        with sipmi.connect(server.address, wire=wire, timeout=SOON) as mi:
            assert [mi.call("where") for _ in range(3)] == ["here"] * 3
        assert asyncio.run(call()) == ["here"] * 8
        with sipmi.Fleet([server.address], wire=wire, timeout=SOON) as fleet:
            assert [one.value for one in fleet.call("where")] == ["here"]


@needs_root
@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_a_datagram_of_another_user_is_not_taken_for_the_answer(path: str, wire: str) -> None:
    async def call() -> Any:
        async with sipmi.AsyncClient(server.address, wire=wire, timeout=SOON) as mi:
            return await mi.call("where")

    with (
        Speaker(STRANGER) as stranger,
        served_by(AnswerThrough(stranger, strangers=5), path) as server,
        sipmi.connect(server.address, wire=wire, timeout=SOON) as mi,
    ):
        assert [mi.call("where") for _ in range(3)] == ["true"] * 3
        assert asyncio.run(call()) == "true"


@needs_root
def test_a_server_of_another_user_is_known_by_the_owner_of_its_socket(path: str) -> None:
    with (
        Speaker(STRANGER) as stranger,
        Speaker(SERVER_USER) as other,
        served_by(AnswerThrough(stranger, other), path) as server,
        sipmi.connect(server.address, wire="jsonrpc", timeout=SOON) as mi,
    ):
        os.chown(path, SERVER_USER, SERVER_USER)
        assert [mi.call("where") for _ in range(3)] == ["true"] * 3
        # Another server has the name now.
        server.answer.server, server.answer.stranger = stranger, other
        os.chown(path, STRANGER, STRANGER)
        assert mi.call("where") == "true"


@needs_root
@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_the_wait_ends_at_its_deadline_when_only_other_processes_send(path: str, wire: str) -> None:
    with (
        Speaker(STRANGER) as stranger,
        served_by(AnswerThrough(stranger, stranger, strangers=3), path) as server,
        sipmi.connect(server.address, wire=wire, timeout=0.3) as mi,
        pytest.raises(sipmi.CallTimeout),
    ):
        mi.call("where")


@needs_root
def test_another_process_cannot_pass_descriptors_to_the_client(path: str) -> None:
    with (
        Speaker(STRANGER, "with a file") as stranger,
        Speaker(0, "with a file") as server_process,
        served_by(AnswerThrough(stranger, server_process), path) as server,
        sipmi.connect(server.address, wire="jsonrpc", timeout=SOON) as mi,
    ):
        assert mi.call("where") == "true"
        before = os.listdir("/proc/self/fd")
        assert [mi.call("where") for _ in range(5)] == ["true"] * 5
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_the_name_of_a_clients_socket_cannot_be_guessed(path: str) -> None:
    with RogueDatagram(lambda request: [json_reply(request)], path) as server:
        for _ in range(40):
            with sipmi.connect(server.address, wire="jsonrpc", timeout=SOON) as mi:
                mi.call("where")
        names = {peer for peer in server.peers if peer}
    assert len(names) == 40
    unlike = [len({name[place] for name in names}) for place in range(len(min(names)))]
    assert sum(1 for values in unlike if values >= 8) * 4 >= 64, "each such place has four random bits"


def fill(sender: socket.socket, path: str) -> int:
    """Sends until the receiver's queue is full, and says how many datagrams are in it."""
    for sent in range(1000):
        try:
            sender.sendto(b"from another client", path)
        except BlockingIOError:
            return sent
    raise AssertionError("the queue has no end")


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_a_call_waits_for_room_in_the_queue_of_a_server(path: str, kind: str) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        server.bind(path)
        other.setblocking(False)
        waiting = fill(other, path)

        async def call() -> Any:
            async with sipmi.AsyncClient(f"unix:{path}", wire="jsonrpc", timeout=SOON) as mi:
                task = asyncio.create_task(mi.call("where"))
                await asyncio.sleep(0)
                begun.set()
                return await task

        def call_here() -> Any:
            with sipmi.connect(f"unix:{path}", wire="jsonrpc", timeout=SOON) as mi:
                begun.set()
                return mi.call("where")

        def serve() -> None:
            begun.wait(SOON)
            for _ in range(waiting):
                server.recv(100)
            request, peer = server.recvfrom(1000)
            server.sendto(json_reply(request, "there"), peer)

        begun = threading.Event()
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            assert (call_here() if kind == "blocking" else asyncio.run(call())) == "there"
        finally:
            serving.join()


def test_a_call_finds_the_server_that_has_the_name_now(path: str) -> None:
    with sipmi.connect(f"unix:{path}", wire="jsonrpc", timeout=SOON) as mi:
        for _ in range(3):
            with RogueDatagram(lambda request: [json_reply(request, json_id(request))], path):
                mi.call("where")
            os.unlink(path)
            with pytest.raises(sipmi.TransportError, match="there is no such socket"):
                mi.call("where")


def test_an_abstract_server_answers_from_a_second_socket() -> None:
    name = f"sipmi-test-{os.getpid()}"
    with (
        RogueDatagram(lambda request: [json_reply(request, "here")], "\0" + name),
        sipmi.connect(f"unix:@{name}", wire="jsonrpc", timeout=SOON) as mi,
    ):
        assert mi.call("where") == "here"


@needs_root
def test_a_recording_takes_the_answer_of_the_server_and_not_that_of_another_process(path: str) -> None:
    with Speaker(STRANGER) as stranger, served_by(AnswerThrough(stranger), path) as server:
        upstream = Upstream(server.address, SOON)
        assert upstream.ask(Question(b":where:\n")).body == b"200 OK\ntrue\n\n"
        server.answer.server = stranger
        upstream.timeout = 0.2
        assert upstream.ask(Question(b":where:\n")).body is None


def test_a_doctor_has_no_complaint_about_a_server_that_answers_from_a_second_socket(path: str) -> None:
    with RogueDatagram(lambda request: [json_reply(request, {"Server": "OpenSIPS (4.0.1 (x86_64/linux))"})], path):
        diagnosis = sipmi.doctor(f"unix:{path}", timeout=SOON)
        assert not [finding for finding in diagnosis.findings if finding.level == "problem"]
