"""Our client reads every recorded reply, byte for byte on real FIFOs and sockets, wherever what comes is cut in two."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import tempfile
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

import sipmi
from conformance import NEXT_REPLY, is_http
from endpoints import PATIENCE, WIRE, recorded
from replay import renumbered
from rogue import Connection, RogueDatagram, RogueFifo, RogueHttp

#: Replies up to this size are cut at every place, longer ones at a few: at many more of both in ``make prove``.
SMALL, FEW = (600, 60) if "SIPMI_PROVE_SECONDS" in os.environ else (48, 3)

FILES = sorted(path.stem for path in WIRE.glob("*.jsonl"))


def replies(kind: str) -> dict[str, list[bytes]]:
    """All different replies of a kind of wire: by ``transport wire`` and, over HTTP, the path that it was at."""
    found: dict[str, dict[bytes, None]] = {}
    for file in FILES:
        for pair in recorded(file):
            for reply in pair["replies"]:
                # Some requests were several, and their replies came through one FIFO.
                for part in re.split(NEXT_REPLY.encode() + rb'|(?<=\})(?=\{"jsonrpc")', reply):
                    if part and kind_of(file, pair, part) == kind:
                        found.setdefault(kind, {})[part] = None
    return {name: list(parts) for name, parts in found.items()}


def kind_of(file: str, pair: dict[str, Any], reply: bytes) -> str:
    """How our client would be told this reply; empty for pages, events, and requests that none of ours sends."""
    if is_http(pair):
        path = re.match(rb"[A-Z]+ /(\w*)", pair["request"])
        root = path[1].decode() if path else ""
        wire = {"json": "mi_json", "mi": "jsonrpc", "RPC2": "xmlrpc", "xmlrpc": "xmlrpc"}.get(root, "")
        is_page = file.endswith("-html") or pair["case"].startswith("html_") or not pair["request"].strip()
        return f"http {wire}" if wire and not is_page and not pair["request"].startswith(b"HEAD") else ""
    if pair["note"] == "event_datagram":
        return ""
    transport = "datagram" if re.match(r"\d+ ms|NO REPLY in|MI datagram", pair["note"]) else "fifo"
    return f"{transport} {'text' if file < '3' else 'jsonrpc'}"


def cuts(reply: bytes) -> Iterator[int]:
    """Where to cut it; 0: not at all."""
    yield 0
    if len(reply) <= SMALL:
        yield from range(1, len(reply))
    else:
        step = len(reply) / (FEW + 1)
        yield from sorted({1, len(reply) - 1, *(int(step * number) for number in range(1, FEW + 1))})


def replies_of(kind: str, *, more_than: int) -> list[bytes]:
    """Return the recorded replies of a kind, and check that there are many."""
    found = replies(kind)[kind]
    assert len(found) > more_than
    return found


def read(mi: sipmi.Client) -> Any:
    """Return the client's reading of the reply."""
    try:
        reply = mi.request("cache_fetch", "local", "key")
    except sipmi.CallTimeout:
        raise
    except (sipmi.CodecError, sipmi.TransportError) as error:
        return type(error).__name__
    return reply.code, reply.reason, reply.tree, bytes(reply.raw)


class Cutter:
    """A server that sends a recorded reply, and where it cuts the reply off."""

    reply = b""
    cut = 0

    def pieces(self, request: bytes) -> list[bytes]:
        reply = renumbered(self.reply, request)
        # An id that became longer or shorter is behind the cut, but for cuts at the very end.
        return [piece for piece in (reply[: self.cut], reply[self.cut :]) if piece]


def check(mi: sipmi.Client, cutter: Cutter, told: list[bytes]) -> int:
    """How many of the replies were read as more than an error."""
    good = 0
    for reply in told:
        whole: Any = None
        for cut in cuts(reply):
            cutter.reply, cutter.cut = reply, cut
            found = without_id(read(mi))
            whole = found if cut == 0 else whole
            assert found == whole, (reply, cut)
        good += not isinstance(whole, str)
    return good


def without_id(found: Any) -> Any:
    return found if isinstance(found, str) else (*found[:3], re.sub(rb'"id":\s*\d+|Content-Length: \d+', b"", found[3]))


@contextlib.contextmanager
def fifo(cutter: Cutter, wire: str) -> Iterator[sipmi.Client]:
    def answer(request: bytes, path: str) -> None:
        fd = os.open(path, os.O_WRONLY)
        try:
            for piece in cutter.pieces(request):
                while piece:
                    piece = piece[os.write(fd, piece) :]
                await_drained(fd)
        finally:
            os.close(fd)

    with (
        tempfile.TemporaryDirectory(prefix="mi") as directory,
        RogueFifo(directory, answer) as server,
        sipmi.connect(server.address, wire=wire, timeout=PATIENCE) as mi,
    ):
        yield mi


def await_drained(fd: int) -> None:
    """Until the client has read what was written, so that it sees the rest alone, or has gone."""
    watch = select.poll()
    watch.register(fd, 0)
    deadline = time.monotonic() + PATIENCE
    while struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0] and not watch.poll(0):
        assert time.monotonic() < deadline, "the client does not read"
        os.sched_yield()


@contextlib.contextmanager
def datagram(cutter: Cutter, wire: str) -> Iterator[sipmi.Client]:
    def answer(request: bytes) -> list[bytes]:
        return [renumbered(cutter.reply, request)]

    with RogueDatagram(answer) as server, sipmi.connect(server.address, wire=wire, timeout=PATIENCE) as mi:
        yield mi


@contextlib.contextmanager
def over_http(cutter: Cutter, wire: str) -> Iterator[sipmi.Client]:
    def serve(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            connection.send(*cutter.pieces(request))
            if b"ontent-" not in cutter.reply or b"onnection: close" in cutter.reply:
                return

    path = {"mi_json": "/json", "jsonrpc": "/mi", "xmlrpc": "/RPC2"}[wire]
    with RogueHttp(serve, path=path) as server, sipmi.connect(server.address, wire=wire, timeout=PATIENCE) as mi:
        yield mi


@pytest.mark.timeout(600)
@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_a_reply_over_a_fifo_is_the_same_wherever_it_is_cut(wire: str) -> None:
    cutter = Cutter()
    told = replies_of(f"fifo {wire}", more_than=100)
    with fifo(cutter, wire) as mi:
        assert check(mi, cutter, told) > 0.9 * len(told)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("wire", ["text", "jsonrpc"])
def test_every_recorded_datagram_is_read(wire: str) -> None:
    cutter = Cutter()
    told = replies_of(f"datagram {wire}", more_than=100)
    with datagram(cutter, wire) as mi:
        good = 0
        for cutter.reply in told:
            good += not isinstance(read(mi), str)
    assert good > 0.9 * len(told)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("wire", ["mi_json", "jsonrpc", "xmlrpc"])
@pytest.mark.filterwarnings("ignore::sipmi.UnclearReplyWarning")
def test_an_answer_over_http_is_the_same_wherever_it_is_cut(wire: str) -> None:
    cutter = Cutter()
    told = replies_of(f"http {wire}", more_than=50)
    with over_http(cutter, wire) as mi:
        assert check(mi, cutter, told) > 0.8 * len(told)
