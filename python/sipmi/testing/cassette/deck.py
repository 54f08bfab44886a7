"""Endpoints that stand in for a server: each request that comes is handed over as bytes, and what that gives is sent.

And the way on to the real server, for those that record. Neither knows what a request says.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.client
import http.server
import itertools
import json
import os
import re
import select
import socket
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Callable, NamedTuple, Optional

from .tape import Track, fifo_frame
from .unix_client import UnixClient

_LARGEST = 1 << 20


class Question(NamedTuple):
    """A request that arrived at an endpoint."""

    body: bytes
    target: str = ""
    """(HTTP) method and path."""
    headers: Mapping[str, str] = MappingProxyType({})
    """(HTTP) those that the server has to see. They are never on a tape."""


class Answer(NamedTuple):
    """The reply to a request."""

    body: Optional[bytes]
    """None: nothing at all."""
    status: str = ""
    """(HTTP) status and content type."""


Ask = Callable[[Question], Answer]


def track_of(address: str) -> Track:
    """How an address is spoken to."""
    scheme = address.partition(":")[0]
    if scheme in ("http", "https"):
        return Track("http", urllib.parse.urlsplit(address).path or "/mi")
    if scheme in ("fifo", "udp", "unix"):
        return Track(scheme)
    raise ValueError(f"expected an address of fifo, udp, unix or http, found {address!r}")


@contextlib.contextmanager
def endpoint(track: Track, ask: Ask) -> Iterator[str]:
    """An endpoint that is open while this is entered; gives its address."""
    with tempfile.TemporaryDirectory(prefix="mi") as directory, contextlib.ExitStack() as stack:
        if track.transport == "http":
            yield stack.enter_context(_http(track.path, ask))
        elif track.transport == "fifo":
            yield stack.enter_context(_fifo(directory, ask))
        elif track.transport == "unix":
            path = os.path.join(directory, "mi.sock")
            stack.enter_context(_datagrams(socket.AF_UNIX, path, ask))
            yield f"unix:{path}"
        else:
            host, port = stack.enter_context(_datagrams(socket.AF_INET, ("127.0.0.1", 0), ask))
            yield f"udp:{host}:{port}"


@contextlib.contextmanager
def _thread(work: Callable[[int], None]) -> Iterator[None]:
    """Runs ``work`` in a thread, with a descriptor that becomes readable when it shall end."""
    stop, stopped = os.pipe()
    thread = threading.Thread(target=work, args=(stop,), name="sipmi-cassette", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(stopped)
        thread.join()
        os.close(stop)


@contextlib.contextmanager
def _at_once() -> Iterator[concurrent.futures.Executor]:
    """Where requests are answered: one that waits holds up no other."""
    with concurrent.futures.ThreadPoolExecutor(16, "sipmi-cassette") as pool:
        yield pool


@contextlib.contextmanager
def _datagrams(family: int, where: Any, ask: Ask) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        ours.bind(where)
        # Over UNIX servers answer from a second, unnamed socket.
        is_unix = family == socket.AF_UNIX
        answering = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) if is_unix else ours
        pool = stack.enter_context(_at_once())

        def reply(request: bytes, peer: Any) -> None:
            answer = ask(Question(request))
            if answer.body is not None and peer:
                with contextlib.suppress(OSError):  # the client is gone
                    answering.sendto(answer.body, peer)

        def serve(stop: int) -> None:
            while True:
                ready, _, _ = select.select([ours.fileno(), stop], [], [])
                if stop in ready:
                    return
                pool.submit(reply, *ours.recvfrom(_LARGEST))

        with _thread(serve):
            yield ours.getsockname()


@contextlib.contextmanager
def _fifo(directory: str, ask: Ask) -> Iterator[str]:
    path = os.path.join(directory, "mi_fifo")
    os.mkfifo(path)
    ours = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # a writer of its own, so that it never ends

    def reply(request: bytes, name: str) -> None:
        answer = ask(Question(request))
        if answer.body is not None and name:
            _write_reply(os.path.join(directory, name), answer.body)

    def serve(stop: int) -> None:
        pending = b""
        while True:
            ready, _, _ = select.select([ours, stop], [], [])
            if stop in ready:
                return
            pending += os.read(ours, 1 << 16)
            while (length := _frame_length(pending)) is not None:
                request, pending = pending[:length], pending[length:]
                name, request = with_reply_name(request, "reply")
                pool.submit(reply, request, name)

    try:
        with _at_once() as pool, _thread(serve):
            yield f"fifo:{path}?reply_dir={directory}"
    finally:
        os.close(ours)


def _frame_length(pending: bytes) -> Optional[int]:
    """How long the first request of a FIFO's bytes is; None while it is not all there."""
    text = pending.decode("latin-1")
    blanks = len(text) - len(text.lstrip())
    frame, body = fifo_frame(text[blanks:])
    if frame:
        try:
            _, end = json.JSONDecoder().raw_decode(body.lstrip())
        except ValueError:
            return None
        end += blanks + len(frame) + len(body) - len(body.lstrip())
        while end < len(text) and text[end].isspace():
            end += 1
        return end
    end = text.find("\n\n", blanks)
    return None if end < 0 else end + 2


def with_reply_name(request: bytes, name: str) -> tuple[str, bytes]:
    """The name of the reply FIFO, and the request with another one."""
    found = re.match(rb"(\s*:)([^:\n]*)(:\s*[{\[])", request) or re.match(rb"(\s*:[^:\n]*:)([^\n]*)(\n)", request)
    if found is None:
        return "", request
    old = found.group(2).decode("latin-1")
    return old, request[: found.start(2)] + (name.encode() if old else b"") + request[found.end(2) :]


def _write_reply(path: str, reply: bytes, patience: float = 1.0) -> None:
    """Write to the reader of a FIFO, if one opens it in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.002)
            continue
        os.set_blocking(fd, True)
        with contextlib.suppress(BrokenPipeError), open(fd, "wb") as stream:
            stream.write(reply)
        return


@contextlib.contextmanager
def _http(path: str, ask: Ask) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kept = {name: value for name, value in self.headers.items() if name.lower() in _PASSED_ON}
            answer = ask(Question(body, f"{self.command} {self.path}", kept))
            status, _, kind = answer.status.partition(" ")
            self.send_response(int(status or 200))
            if kind:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer.body or b"")))
            self.end_headers()
            self.wfile.write(answer.body or b"")

        do_GET = do_POST = _serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Endpoint(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client is gone

    with Endpoint(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{path}"
        finally:
            server.shutdown()
            thread.join()


#: The header fields of a request that a server uses.
_PASSED_ON = ("content-type", "authorization", "accept")

# -- the way on ---------------------------------------------------------------------------------------


class Upstream:
    """The real server behind an endpoint that records.

    :param address: as :func:`sipmi.connect` takes it.
    :param timeout: seconds that it may take to answer; then the answer is none.
    :param tls: (https) how to trust it.
    """

    _names = itertools.count()

    def __init__(self, address: str, timeout: float, tls: Optional[ssl.SSLContext] = None) -> None:
        self.address: str = address
        self.timeout: float = timeout
        self._tls = tls
        self.track: Track = track_of(address)
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends all waits."""
        self._closed.set()

    def _wait(self, fd: int, end: Optional[float] = None) -> bool:
        """Return whether there is something to read before the time is up."""
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        end = time.monotonic() + self.timeout if end is None else end
        while not self._closed.is_set() and time.monotonic() < end:
            if poller.poll(50):
                return True
        return False

    def ask(self, question: Question) -> Answer:
        """Sends a request as it is, and gives what comes.

        :raises OSError: it cannot be reached.
        """
        if self.track.transport == "http":
            return self._ask_http(question)
        if self.track.transport == "fifo":
            return Answer(self._ask_fifo(question.body))
        return Answer(self._ask_datagram(question.body))

    def _ask_datagram(self, request: bytes) -> Optional[bytes]:
        rest = self.address.partition(":")[2]
        if self.track.transport == "unix":
            return self._ask_unix(rest, request)
        host, _, port = rest.rpartition(":")
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as ours:
            ours.settimeout(self.timeout)
            ours.connect(where)
            ours.send(request)
            return ours.recv(_LARGEST) if self._wait(ours.fileno()) else None

    def _ask_unix(self, path: str, request: bytes) -> Optional[bytes]:
        end = time.monotonic() + self.timeout
        with UnixClient(path) as ours:
            ours.send(request)
            while self._wait(ours.fileno(), end):
                answer = ours.receive(_LARGEST)
                if answer is not None:
                    return answer
        return None

    def _ask_fifo(self, request: bytes) -> Optional[bytes]:
        path, _, options = self.address.partition(":")[2].rpartition("?")
        if not path:
            path, options = options, ""
        folder = urllib.parse.parse_qs(options).get("reply_dir", ["/tmp"])[0]
        name = f"sipmi_tape_{os.getpid()}_{next(self._names)}"
        reply = os.path.join(folder, name)
        old, request = with_reply_name(request, name)
        os.mkfifo(reply)
        try:
            os.chmod(reply, 0o666)
            fd = os.open(reply, os.O_RDONLY | os.O_NONBLOCK)
            try:
                command = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                try:
                    os.write(command, request)
                finally:
                    os.close(command)
                return self._read_fifo(fd) if old else None
            finally:
                os.close(fd)
        finally:
            os.unlink(reply)

    def _read_fifo(self, fd: int) -> Optional[bytes]:
        """Up to the end of the writer; JSON may come from several, one after the other, and ends by itself."""
        reply = b""
        while self._wait(fd):
            piece = os.read(fd, 1 << 16)
            reply += piece
            if not piece and (not reply.lstrip().startswith((b"{", b"[")) or _is_json(reply)):
                return reply
            if not piece:
                time.sleep(0.002)  # the next writer comes
        return reply or None

    def _ask_http(self, question: Question) -> Answer:
        where = urllib.parse.urlsplit(self.address)
        host = where.hostname or ""
        connection = (
            http.client.HTTPSConnection(host, where.port, timeout=self.timeout, context=self._tls)
            if where.scheme == "https"
            else http.client.HTTPConnection(host, where.port, timeout=self.timeout)
        )
        method, _, path = question.target.partition(" ")
        headers = dict(question.headers)
        if where.username is not None:
            who = f"{urllib.parse.unquote(where.username)}:{urllib.parse.unquote(where.password or '')}"
            headers.setdefault("Authorization", f"Basic {base64.b64encode(who.encode()).decode()}")
        with contextlib.closing(connection):
            try:
                connection.request(method, path, question.body or None, headers)
                response = connection.getresponse()
                body = response.read()
            except (socket.timeout, TimeoutError):
                return Answer(b"", "504 text/plain")
        return Answer(body, f"{response.status} {response.headers.get('Content-Type', '')}".rstrip())


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
