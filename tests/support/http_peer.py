"""A raw HTTP peer: bytes out as they are, replies read to their end."""

from __future__ import annotations

import dataclasses
import json
import socket
import ssl
from typing import Any, Optional
from urllib.parse import urlsplit

from endpoints import PATIENCE


@dataclasses.dataclass
class HttpReply:
    status: int
    head: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)

    @property
    def is_last(self) -> bool:
        return self.head.get("connection") == "close"


class HttpPeer:
    """A connection to a server, at which several requests may be sent."""

    def __init__(self, address: str, *, tls: Optional[ssl.SSLContext] = None, timeout: float = PATIENCE) -> None:
        url = urlsplit(address)
        self.host, self.port = url.hostname or "", url.port or 80
        self.socket: socket.socket = socket.create_connection((self.host, self.port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=self.host)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> HttpPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, method: str = "POST") -> HttpReply:
        """The next reply."""
        reply = self.read_or_end(method=method)
        assert reply is not None, "the server closed the connection without an answer"
        return reply

    def read_or_end(self, *, method: str = "POST") -> Optional[HttpReply]:
        """The next reply; None when the server closed the connection instead."""
        status_line = self.file.readline()
        if not status_line:
            return None
        status = int(status_line.split()[1])
        head: dict[str, str] = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in head, f"{name} came twice"
            head[name.lower()] = value.strip()
        body = b""
        if status >= 200 and method != "HEAD":
            assert "content-length" in head, head
            body = self.file.read(int(head["content-length"]))
            assert len(body) == int(head["content-length"])
        return HttpReply(status, head, body)

    def ask(self, data: bytes, **options: Any) -> HttpReply:
        self.send(data)
        return self.read(**options)

    def is_closed(self) -> bool:
        """Return whether the server closes the connection without another byte."""
        return self.file.read(1) == b""


def request(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    version: str = "1.1",
    newline: str = "\r\n",
    **head: Optional[str],
) -> bytes:
    """A request as most clients write it; a field of None is left out, underscores in names are dashes."""
    fields: dict[str, Optional[str]] = {"Host": "127.0.0.1"}
    if body:
        fields["Content-Length"] = str(len(body))
    if method == "POST":
        fields["Content-Type"] = "application/json"
    fields.update({name.replace("_", "-"): value for name, value in head.items()})
    lines = [f"{method} {path} HTTP/{version}"] + [f"{k}: {v}" for k, v in fields.items() if v is not None]
    return newline.join([*lines, "", ""]).encode("latin-1") + body


def rpc(method: str, *params: Any, id: Any = 1, **named: Any) -> bytes:
    """A JSON-RPC request."""
    call: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params or named:
        call["params"] = list(params) or named
    if id is not None:
        call["id"] = id
    return json.dumps(call).encode()


def ask(address: str, data: bytes, *, method: str = "POST", **options: Any) -> HttpReply:
    """One request on a connection of its own."""
    with HttpPeer(address, **options) as peer:
        return peer.ask(data, method=method)
