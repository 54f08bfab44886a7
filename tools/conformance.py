"""Replays what real servers were recorded to answer against :class:`sipmi.testing.FakeOpenSIPS` and compares.

``make conformance`` prints a table; ``tests/testing/test_conformance.py`` asserts what it says. Replies are compared
byte for byte, then with what differs every time masked. Recordings of one process are replayed in a row, in the order
in which they were made, since what one leaves behind the next one shows.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any, Optional

from endpoints import DatagramPeer, recorded
from sipmi.testing import FakeOpenSIPS

#: Between a name and its value, on any wire.
_IS = rb"(?:</name><value>(?:<int>|<string>)?|\W{1,5})"
_QUANTITY = rb"(?:total_size|(?:real_|max_)?used_size|free_size|fragments)"

#: Parts that differ every time, each with its field; the first group stays.
MASKS = {
    "time": rb"()(?:\w{3} \w{3} {1,2}\d{1,2} \d\d:\d\d:\d\d \d{4}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)",
    "seconds": rb"((?:core:timestamp|timestart|timeout|expires|Up time)" + _IS + rb")\d+",
    "expires": rb"((?:[Ee]xpires|ttl)" + _IS + rb")\d+",
    "pid": rb"(PID" + _IS + rb")\d+",
    # Processes have an ID, too: one without a dot and with few digits.
    "identifier": rb"((?:ContactID|db_id|dialog_id|hash|dialog(?:::)? {1,2}ID|(?:\"ID|<name>ID)(?="
    + _IS
    + rb"(?:[\da-f]+\.|\d{6})))"
    + _IS
    + rb")(?:[\da-f]+[.:])?[\da-f]+",
    "port": rb"(127\.0\.0\.1:)\d{5}(?!\d)",
    "memory": rb"((?:shm|rpm|pkm)em:(?:rpm_|\d+-)?" + _QUANTITY + _IS + rb")\d+",
    "load": rb"(load(?:1m|10m)?(?:-all|-proc-\d+)?" + _IS + rb")\d+",
    "drop rate": rb"(drop_rate" + _IS + rb")\d+",
}
_MASKED = {field: re.compile(pattern) for field, pattern in MASKS.items()}

#: A healthy server has begun to answer by then; a silent one is known by it.
SILENCE = 0.3
#: Longer than any answer on a loaded machine.
PATIENCE = 10.0

#: Where a reply FIFO is named in a request.
REPLY_NAME = re.compile(rb"(?:lab_\d+_\d+|m\d+_\d+_\d+)")
NEXT_REPLY = "\n--- next reply FIFO\n"
THEN = b"\n--- then\n"

IDENTICAL, MASKED, DIFFERENT = "identical", "identical masked", "different"


@dataclasses.dataclass
class Outcome:
    """One pair, replayed."""

    file: str
    case: str
    request: bytes
    expected: bytes
    found: bytes

    @property
    def verdict(self) -> str:
        """How the two replies compare."""
        if self.expected == self.found:
            return IDENTICAL
        return MASKED if masked(self.expected) == masked(self.found) else DIFFERENT


def masked(reply: bytes) -> bytes:
    """A reply with what differs every time replaced by the name of its field."""
    for field, pattern in _MASKED.items():
        reply = pattern.sub(rb"\1<" + field.encode() + b">", reply)
    return reply


@dataclasses.dataclass(frozen=True)
class Session:
    """One process of a real server: what was recorded of it, and how it was configured."""

    version: str
    files: tuple[str, ...]
    cases: str
    options: tuple[tuple[str, Any], ...]


def session(version: str, *files: str, cases: str = "", **options: Any) -> Session:
    """A session of the pairs whose case matches ``cases``: some recordings are of two processes at once."""
    return Session(version, tuple(f"{version}-{file}" for file in files), cases, tuple(options.items()))


#: Requests to the process with ``pretty_printing`` and, in 4.0, a larger ``receive_buf_size``.
_SECOND = "bigbuf_|oneshot_|nudge_"
_FIRST = f"(?!{_SECOND})"


#: Which recordings are of one process.
SESSIONS = [
    session("1.11", "fifo", "datagram-udp", "json"),
    session("1.11", "datagram-unix", "fifo-indent", reply_indent=4),
    session("1.11", "xmlrpc_ng", "html", "xmlrpc-ro0"),
    session("1.11", "xmlrpc-ro1", reply_option=1),
    *(session("1.11", "xmlrpc-ro1-fresh", cases=f"g{process}_", reply_option=1) for process in (1, 2, 3, 4)),
    session("1.11", "xmlrpc-forcechars", hazards=False),  # it was built with a library that spoils no text
    session("1.11", "http-variants"),
    session("1.11", "http-segments"),
    session("1.11", "fifo-no-reply"),
    session("1.11", "limits"),
    session("1.11", "async"),
    session("1.11", "dialog"),
    session("1.11", "events"),
    session("1.11", "facts"),
    session("2.4", "facts"),
    session("2.4", "fifo", "datagram-udp", "json", "xmlrpc_ng", "html"),
    session("2.4", "datagram-unix", "fifo-indent", "xmlrpc_ng-v1", reply_indent=4, format_version=1),
    session("2.4", "http-variants"),
    session("2.4", "http-segments"),
    session("2.4", "fifo-no-reply"),
    session("2.4", "limits"),
    session("2.4", "async"),
    session("2.4", "dialog"),
    session("2.4", "events"),
    session("3.2", "core"),
    session("3.4", "fifo"),
    session("3.4", "http", "xmlrpc", "html"),
    session("3.4", "fifo-framing"),
    session("3.4", "fifo-multi"),
    session("3.4", "fifo-poison"),
    session("3.4", "fifo-poison-2"),
    session("3.4", "datagram-udp"),
    session("3.4", "datagram-unix", "fifo-pretty", "http-pretty", pretty_printing=True),
    session("3.4", "http-variants", "http-segments", cases=_FIRST),
    session("3.4", "http-variants", "http-segments", cases=_SECOND, pretty_printing=True),
    session("3.4", "http-pieces"),
    session("3.4", "http-hole"),
    session("3.4", "fifo-no-reply", pretty_printing=("unix",)),
    session("3.4", "async", pretty_printing=("unix",)),
    session("3.4", "dialog"),
    session("3.6", "core"),
    session("3.6", "facts"),
    session("4.0", "facts"),
    session("4.1", "facts"),
    session("4.0", "fifo"),
    session("4.0", "http", "xmlrpc", "html", cases=_FIRST),
    session("4.0", "xmlrpc", cases=_SECOND, receive_buf_size=65536),
    session("4.0", "fifo-framing"),
    session("4.0", "fifo-multi"),
    session("4.0", "fifo-poison"),
    session("4.0", "fifo-poison-2"),
    session("4.0", "datagram-udp"),
    session("4.0", "datagram-unix", "fifo-pretty", "http-pretty", pretty_printing=True),
    session("4.0", "http-variants", "http-segments", cases=_FIRST),
    session("4.0", "http-variants", "http-segments", cases=_SECOND, pretty_printing=True, receive_buf_size=65536),
    session("4.0", "http-hole"),
    session("4.0", "fifo-no-reply", pretty_printing=("unix",)),
    session("4.0", "async", pretty_printing=("unix",)),
    session("4.0", "dialog"),
    session("4.0", "events"),
]


class Replay:
    """One session against a fake of its version."""

    def __init__(self, session: Session, *, rename: Callable[[bytes], bytes] = lambda text: text) -> None:
        self.session = session
        self.rename = rename
        self.pairs = [
            (file, pair) for file in session.files for pair in recorded(file) if re.match(session.cases, pair["case"])
        ]
        self.subscriber: Optional[socket.socket] = None
        self.began: Optional[bytes] = None
        self.is_fresh = True
        #: The state of the gateways, which the database keeps when the server dies.
        self.gateways: dict[str, str] = {}

    def run(self) -> list[Outcome]:
        """Replays all pairs; a fake that died is started again, as the original was."""
        outcomes = []
        self._start()
        try:
            for file, pair in self.pairs:
                if self._is_replayed(pair):
                    self._restart_as_recorded(pair)
                    self._seed_counters(pair)
                    outcomes.append(self._replay(file, pair))
                    if "CRASHED" in pair["note"]:
                        self._await_death()
        finally:
            self.fake.stop()
            if self.subscriber is not None:
                self.subscriber.close()
        return outcomes

    def _restart_as_recorded(self, pair: dict[str, Any]) -> None:
        """A dead one is started again, and so is one whose original was: its uptime says so."""
        began = re.search(rb"Up since\W+(\w[\w: ]+\d)", pair["replies"][0]) if pair["replies"] else None
        # The request that cured the FIFO between these is not in the recording.
        is_cured = pair["case"].startswith("poison_") and "_next" not in pair["case"]
        if is_cured or (began and self.began not in (None, began[1]) and not self.is_fresh):
            self.fake.stop()
            self._start()
        elif not self.fake.server.is_running:
            self.fake.stop()
            self._start()
            self.is_fresh = True
        if began:
            self.began, self.is_fresh = began[1], False

    def _await_death(self) -> None:
        """The original crashed here, so the fake does, a moment after it was asked; if not, it restarts as well."""
        deadline = time.monotonic() + PATIENCE / 5
        while self.fake.server.is_running and time.monotonic() < deadline:
            time.sleep(0.005)
        self.fake.stop()
        self.gateways = {each.uri: each.state for group in self.fake.dispatcher.sets.values() for each in group}

    def _seed_counters(self, pair: dict[str, Any]) -> None:
        """SIP traffic as the recorded server counted it, which no fake has."""
        for reply in pair["replies"] if b"statistics" in pair["request"] else ():
            reply = comparable(reply) if is_http(pair) else reply
            for name, value in re.findall(rb"((?:core|tm|sl|cdb):\w+)" + _IS + rb"(\d+)", reply):
                if name != b"core:timestamp":
                    self.fake.statistics[name.decode()] = int(value)

    def _seed_subscribers(self) -> None:
        """The subscribers of before the recording."""
        pairs = [pair for _, pair in self.pairs]
        listed = next((pair["replies"][0].decode() for pair in pairs if pair["case"] == "subscribers_list"), "")
        own = {port for pair in pairs for port in re.findall(r"(\d+) \d+$", pair["what"])}
        event, others = "", []
        for found in re.finditer(r"(E_\w+)|(udp:[\d.]+:(\d+))\W+expire\W+(\d+)", listed):
            event = found[1] or event
            if found[2] and found[3] not in own:
                others.append((event, found[2], int(found[4])))
        for event, address, expire in reversed(others):
            self.fake.events.subscribe(event, address, expire)

    # -- the state that the recorded servers had --------------------------------------------------------

    def _start(self) -> None:
        version = self.session.version
        ports = {"1.11": 15080, "2.4": 25080, "3.2": 56030, "3.4": 54050, "3.6": 45080, "4.0": 35080, "4.1": 41080}
        port = ports[version]
        options = {"hazards": True, "sip_socket": f"udp:127.0.0.1:{port}", **dict(self.session.options)}
        self.fake = fake = FakeOpenSIPS(version, **options)
        fake.core.log_level = 1 if version == "1.11" else 3
        fake.core.working_directory = self._recorded(r'WD(?:::|":)\s*"?([^"\n]+)') or "/"
        fake.tm.answers = {"OPTIONS": "200 OK", "INFO": "404 Not Here", "MESSAGE": "404 Not Here"}
        for _, pair in self.pairs:
            if "no SIP answer" in pair["what"] and (asked := re.search(rb"sips?:[\w.@:]+", pair["request"])):
                fake.tm.answers[asked[0].decode()] = "408 Request Timeout"
        fake.statistics.add("script:lab_counter", before="usrloc")
        if any("facts" in file for file in self.session.files):
            fake.others.shared_variables["debug"] = 1
        self._seed_dispatcher()
        if any("dialog" in file for file in self.session.files):
            self._seed_dialogs(port)
        if any("events" in file for file in self.session.files):
            self._seed_subscribers()
        fake.start()

    def _recorded(self, pattern: str) -> str:
        """The configuration, where a recording shows it."""
        replies = "".join(reply.decode("latin-1") for _, pair in self.pairs for reply in pair["replies"])
        found = re.search(pattern, replies)
        return found[1] if found else ""

    def _seed_dispatcher(self) -> None:
        def listed(pairs: Iterable[dict[str, Any]]) -> list[str]:
            text = b"".join(reply for pair in pairs for reply in pair["replies"]).decode("latin-1")
            return sorted(set(re.findall(r"sip:127\.0\.0\.1:\d5?\d06[12](?= state=|\")", text)))

        # A short recording does not list them.
        uris = listed(pair for _, pair in self.pairs) or listed(self._neighbours())
        for uri, attr, description in zip(uris, ("a=1", "a=b"), ("descr one", "second")):
            self.fake.dispatcher.add(1, uri, attr=attr, description=description, state=self.gateways.get(uri, "Active"))

    def _neighbours(self) -> list[dict[str, Any]]:
        """The requests to another process of the same configuration."""
        return recorded("1.11-xmlrpc-ro1") if self.session.files == ("1.11-xmlrpc-ro1-fresh",) else []

    def _seed_dialogs(self, port: int) -> None:
        def named(text: str) -> str:
            return self.rename(text.encode()).decode()

        for number in (1, 2):
            self.fake.dialog.add(
                named(f"lab-call-{number}@127.0.0.1"), from_uri=named("sip:alice@127.0.0.1"),
                to_uri=named(f"sip:bob{number}@127.0.0.1"), from_tag=f"uactag{number}", to_tag="uastag1",
                caller_contact=named(f"sip:alice@127.0.0.1:{port}"),
                callee_contact=named(f"sip:bob@127.0.0.1:{port}"), state=3,
            )  # fmt: skip

    # -- one pair -----------------------------------------------------------------------------------------

    @staticmethod
    def _is_replayed(pair: dict[str, Any]) -> bool:
        """A request that was not recorded in full cannot be sent again."""
        return not pair["request"].startswith(b"(")

    def _replay(self, file: str, pair: dict[str, Any]) -> Outcome:
        request, replies = self.rename(pair["request"]), [self.rename(reply) for reply in pair["replies"]]
        expected = replies[0] if replies else b""
        if is_http(pair):
            found = self._http(pair, request, expected)
            return Outcome(file, pair["case"], request, comparable(expected), comparable(found))
        if pair["note"] == "event_datagram":
            found = self._event()
        elif re.match(r"\d+ ms|NO REPLY in|MI datagram", pair["note"]):
            found = self._datagram(file, pair, request, bool(expected))
        else:
            found = self._fifo(pair, request, bool(expected))
        return Outcome(file, pair["case"], request, expected, found)

    def _datagram(self, file: str, pair: dict[str, Any], request: bytes, answered: bool) -> bytes:
        transport = "unix" if "unix" in file or pair["case"].startswith("unix") else "udp"
        if "unbound" in pair["case"] and "fetch" not in pair["case"]:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unbound:
                unbound.sendto(request, self.fake.address("unix").partition(":")[2])
            time.sleep(0.1)  # nothing says that it was run
            return b""
        request = self._subscribed(pair, request)
        peer = DatagramPeer(self.fake.address(transport))
        try:
            return peer.exchange(request, silence=PATIENCE if answered else SILENCE) or b""
        finally:
            peer.close()

    def _http(self, pair: dict[str, Any], request: bytes, expected: bytes) -> bytes:
        """One connection."""
        # 1.11's mi_xmlrpc has a port of its own, and cases that are named by its web server.
        by_abyss = self.session.version == "1.11" and (b" /RPC2" in request or pair["case"].startswith("abyss"))
        host, _, port = self.fake.address("xmlrpc" if by_abyss else "http").split("/")[2].partition(":")
        # Of those that were sent one after the other, each waits for the answer to the one before.
        one_by_one = "one after the other" in pair["what"] or "second request after" in pair["what"]
        requests = re.split(rb"(?=POST /)", request)[1:] if one_by_one else [request]
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            return b"".join(self._answer(connection, pair["what"], one, expected) for one in requests)

    def _answer(self, connection: socket.socket, what: str, request: bytes, expected: bytes) -> bytes:
        """Read until the connection is closed, the answer is complete, or no byte comes."""
        for pause, piece in http_pieces(what, request):
            time.sleep(pause)
            with contextlib.suppress(ConnectionError):  # some pieces are one too many
                connection.sendall(piece)
        reply = b""
        if "another TCP connection is opened" in what:
            time.sleep(SILENCE)
            socket.create_connection(connection.getpeername(), timeout=PATIENCE).close()
        deadline = time.monotonic() + (PATIENCE if expected else SILENCE)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                more = connection.recv(1 << 16)
            except (socket.timeout, TimeoutError, ConnectionResetError):
                break
            reply += more
            if not more:
                break
            if is_complete(reply, request):
                deadline = min(deadline, time.monotonic() + 0.02)
        if not reply and self.session.version == "4.0" and len(request) > 16384:
            # It waits for another client; the next pair's connection may come too close behind that.
            socket.create_connection(connection.getpeername(), timeout=PATIENCE).close()
            time.sleep(0.1)
        return reply

    def _subscribed(self, pair: dict[str, Any], request: bytes) -> bytes:
        """A subscription names a socket of ours."""
        match = re.match(r"E_\w+ udp:127\.0\.0\.1:(\d+)", pair["what"])
        if pair["case"] != "event_subscribe" or not match:
            return request
        if self.subscriber is None:
            self.subscriber = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.subscriber.bind(("127.0.0.1", 0))
            self.subscriber.settimeout(PATIENCE)
        return request.replace(match[1].encode(), str(self.subscriber.getsockname()[1]).encode())

    def _event(self) -> bytes:
        assert self.subscriber is not None
        return self.subscriber.recv(1 << 16)

    def _fifo(self, pair: dict[str, Any], request: bytes, answered: bool) -> bytes:
        command, _, directory = self.fake.address("fifo").partition(":")[2].partition("?reply_dir=")
        names = list(dict.fromkeys(REPLY_NAME.findall(request)))
        if "missing" in pair["case"] and "fetch" not in pair["case"] and "after" not in pair["case"]:
            names = [name for name in names if b"nosuch_" + name not in request]
        listening = [ReplyFifo(os.path.join(directory, name.decode())) for name in names]
        try:
            written = request
            if pair["case"] == "fifo_quoted_60_lines":
                write(command, b"\n")  # the recording restarted with this, after what left the server out of step
            for part in request.split(THEN):
                for pause, piece in pieces(pair["what"], part):
                    time.sleep(pause)
                    write(command, piece)
                written = part
                if len(request.split(THEN)) > 1 and part is not request.split(THEN)[-1]:
                    time.sleep(0.1)
            expected = [reply.encode("latin-1") for reply in self._expected(pair)]
            found = []
            for number, fifo in enumerate(listening):
                wanted = expected[number] if number < len(expected) else b""
                found.append(fifo.read(PATIENCE if wanted else SILENCE, len(written) and written.count(names[number])))
            if not listening:
                time.sleep(0.02)
            found += [b""] * (len(expected) - len(found))
            return NEXT_REPLY.encode().join(found)
        finally:
            for fifo in listening:
                fifo.close()

    def _expected(self, pair: dict[str, Any]) -> list[str]:
        return pair["replies"][0].decode("latin-1").split(NEXT_REPLY) if pair["replies"] else []


def is_http(pair: dict[str, Any]) -> bool:
    """Return whether a pair is of HTTP: its request begins as one, or its note tells a status line."""
    return bool(re.match(rb"[A-Z]+ \S* HTTP/1", pair["request"])) or " ct=`" in pair["note"]


def is_complete(reply: bytes, request: bytes) -> bool:
    """Return whether a reply is complete by its head."""
    head, end, body = reply.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if not end or head.endswith(b" 100 Continue"):
        return False
    if length is None or request.startswith(b"HEAD"):
        # Some end with the head, and say that there is more.
        return b"chunked" not in head.lower() or body.endswith(b"0\r\n\r\n") or not body
    return len(body) >= int(length[1])


def comparable(reply: bytes) -> bytes:
    """Return the compared parts of an HTTP reply: status, type, connection and body; of pages the visible text."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if head.endswith(b" 100 Continue"):
        return b"100\n" + comparable(body)
    if not head:
        return b""
    status = head.split(b" ", 2)[1]
    fields = {name.strip().lower(): value.strip() for name, _, value in
              (line.partition(b":") for line in head.split(b"\r\n")[1:])}  # fmt: skip
    rest = b""
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        body = unchunked(body)
    elif b"content-length" in fields and body[int(fields[b"content-length"]) :].startswith(b"HTTP/1."):
        length = int(fields[b"content-length"])
        body, rest = body[:length], b"\n" + comparable(body[length:])
    kind = fields.get(b"content-type", b"").lower().replace(b" ", b"").replace(b'"', b"")
    if re.search(rb"(?i)<(html|body|h1)\b", body[:300]):
        body = page(body)
    return b"\n".join([status, kind, fields.get(b"connection", b"").lower(), body]) + rest


def unchunked(body: bytes) -> bytes:
    """A body that came in chunks, also when the last one is missing."""
    joined = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        joined, body = joined + body[:length], body[length + 2 :]
    return joined


class PageText(HTMLParser):
    """Links, fields and lines of a page. Its head and who made it are no part of what it says."""

    BESIDE = ("head", "footer", "div")  # the original's footer is its only div

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.fields: list[str] = []
        self.lines = [""]
        self.beside = 0
        self.preformatted = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        found = dict(attrs)
        self.beside += tag in self.BESIDE
        self.preformatted |= tag == "pre"
        if tag == "a":
            self.links.append(found.get("href") or "")
        elif tag == "form":
            self.fields.append(str(found.get("method")))
        elif tag == "input":
            self.fields.append(f"{found.get('name', '')} {found.get('type', '')}")
        if tag not in ("a", "b", "i"):
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        self.beside -= tag in self.BESIDE
        self.preformatted &= tag != "pre"

    def handle_data(self, data: str) -> None:
        if not self.beside:
            self.lines[-1] += data if self.preformatted else re.sub("[ \t\r\n]+", " ", data)


def page(body: bytes) -> bytes:
    """Return the compared parts of a page."""
    found = PageText()
    found.feed(body.decode("utf-8", "surrogateescape"))
    found.close()
    lines = (line.strip(" \n\xa0") for line in found.lines)
    return "\n".join([*found.links, *found.fields, *filter(None, lines)]).encode("utf-8", "surrogateescape")


def http_pieces(what: str, request: bytes) -> Iterator[tuple[float, bytes]]:
    """An HTTP request in the writes in which it was recorded."""
    head = request.find(b"\r\n\r\n") + 4
    sizes = re.search(r"\(pieces \[([\d, ]+)\]", what)
    if sizes:
        begin = 0
        for size in map(int, sizes[1].split(",")):
            yield (0.05 if begin else 0.0), request[begin : begin + size]
            begin += size
    elif re.search(r"50 ms later the( whole)? body|head in one write, body in the next", what):
        yield 0.0, request[:head]
        yield (0.05 if "50 ms" in what else 0.0), request[head:]
    else:
        yield 0.0, request


def pieces(what: str, request: bytes) -> Iterator[tuple[float, bytes]]:
    """A request in the writes in which it was recorded, each after a pause in seconds."""
    second = request.find(b":", request.find(b"}")) if b"}" in request else -1
    cuts: list[int] = []
    pause = 0.1
    if "split over 3 writes" in what:
        third = len(request) // 3
        cuts = [third, 2 * third]
    elif "split right after the second colon" in what:
        cuts = [request.index(b":", 1) + 1]
    elif "split inside the reply name" in what:
        cuts = [5]
    elif "rest 100 ms later" in what:
        third = request.index(b":", second + 1) + 1
        cuts = [{"command + start": second + 4, "command + a 2nd": third + 9}.get(what[:15], third)]
    elif "writes without pause" in what:
        cuts = [match.start() for match in re.finditer(rb":m", request)][1:]
        pause = 0.0
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(request)])):
        yield (pause if number else 0.0), request[start:end]


def write(command: str, data: bytes) -> None:
    """Writes to a command FIFO; one without a reader takes nothing."""
    try:
        fd = os.open(command, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    deadline = time.monotonic() + PATIENCE
    try:
        while data and time.monotonic() < deadline:
            select.select([], [fd], [], 0.1)
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                continue
    except BrokenPipeError:
        pass
    finally:
        os.close(fd)


class ReplyFifo:
    """A reply FIFO that is read before anything is asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.mkfifo(path)
        os.chmod(path, 0o666)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, patience: float, writers: int) -> bytes:
        """Read until the FIFO is closed as often as it is named, or until no writer comes any more."""
        reply = b""
        with select.epoll() as watch:
            watch.register(self.fd, select.EPOLLIN | select.EPOLLHUP | select.EPOLLET)
            deadline = time.monotonic() + patience
            ends = 0
            while (left := deadline - time.monotonic()) > 0 and ends < writers:
                events = watch.poll(left)
                while True:
                    try:
                        piece = os.read(self.fd, 1 << 16)
                    except BlockingIOError:
                        break
                    reply += piece
                    if not piece:
                        break
                if any(event & select.EPOLLHUP for _, event in events):
                    ends += 1
                    # Writers that follow each other closely are seen as one.
                    deadline = min(deadline, time.monotonic() + SILENCE)
        return reply

    def close(self) -> None:
        os.close(self.fd)
        os.unlink(self.path)


def replay_all(
    sessions: Iterable[Session], *, rename: Callable[[bytes], bytes] = lambda text: text, workers: int = 12
) -> list[Outcome]:
    """All sessions, several at a time: most of it is waiting for silence."""
    with ThreadPoolExecutor(workers) as pool:
        replayed = pool.map(lambda one: Replay(one, rename=rename).run(), sessions)
        return [outcome for outcomes in replayed for outcome in outcomes]


def table(outcomes: list[Outcome]) -> str:
    """How many pairs of each recording are identical, identical but for masks, different."""
    lines = [f"{'recording':<28}{'identical':>10}{'masked':>8}{'different':>10}"]
    for file, group in itertools.groupby(sorted(outcomes, key=lambda o: o.file), key=lambda o: o.file):
        verdicts = [outcome.verdict for outcome in group]
        counts = [verdicts.count(verdict) for verdict in (IDENTICAL, MASKED, DIFFERENT)]
        lines.append(f"{file:<28}{counts[0]:>10}{counts[1]:>8}{counts[2]:>10}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="only sessions of which one of these is a part")
    parser.add_argument("-v", action="store_true", help="show what is different")
    given = parser.parse_args()
    chosen = [s for s in SESSIONS if not given.files or any(file in given.files for file in s.files)]
    outcomes = replay_all(chosen)
    print(table(outcomes))
    for outcome in outcomes if given.v else ():
        if outcome.verdict == DIFFERENT:
            print(f"\n{outcome.file} {outcome.case}\n  asked    {outcome.request[:200]!r}")
            print(f"  expected {masked(outcome.expected)[:600]!r}\n  found    {masked(outcome.found)[:600]!r}")
    different = sum(outcome.verdict == DIFFERENT for outcome in outcomes)
    print(f"\n{len(outcomes)} pairs, {different} different")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
