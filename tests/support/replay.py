"""Recorded servers: what a version answered once is answered again, to the client as it is."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import urllib.parse
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

import sipmi
from endpoints import recorded
from rogue import Connection, RogueDatagram, RogueFifo, RogueHttp, body_of, reply_name, write_reply

#: Where each recorded HTTP server had its wire.
PATHS = {"json": "/json", "http": "/mi", "xmlrpc": "/RPC2", "xmlrpc_ng": "/RPC2"}


@dataclass
class Question:
    """The meaning of a recorded request: a command and its parameters."""

    command: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)

    def as_strings(self) -> tuple[str, list[str]]:
        return self.command, [str(value) for value in [*self.args, *self.kwargs.values()]]


def question_of(request: bytes) -> Optional[Question]:
    """Reads a request of any wire; None for what no client of ours would say."""
    try:
        if request.startswith(b"GET "):
            return get_question(request)
        if request.startswith(b"POST "):
            body = body_of(request)
            return json_question(body) if body.lstrip().startswith(b"{") else xml_question(body)
        if b"{" in request[:40]:
            return json_question(request[request.index(b"{") :])
        return text_question(request)
    except (ValueError, LookupError, TypeError, AttributeError, xmlrpc.client.Error, SyntaxError):
        return None
    except Exception as error:  # expat has an exception of its own
        if type(error).__name__ == "ExpatError":
            return None
        raise


def json_question(text: bytes) -> Optional[Question]:
    call = json.loads(text)
    params = call.get("params", [])
    if set(call) - {"params"} != {"jsonrpc", "method", "id"} or call["jsonrpc"] != "2.0":
        return None
    if not isinstance(call["id"], (int, str)) or isinstance(call["id"], bool):
        return None
    json.dumps(params, ensure_ascii=False).encode("utf-8", "surrogateescape")  # a lone surrogate is no text
    if isinstance(params, dict):
        return Question(call["method"], [], params)
    return Question(call["method"], params)


def xml_question(body: bytes) -> Optional[Question]:
    params, method = xmlrpc.client.loads(body)
    if not method:
        return None
    if len(params) == 1 and isinstance(params[0], dict):
        return Question(method, [], params[0])
    return Question(
        method, [value.data.decode() if isinstance(value, xmlrpc.client.Binary) else value for value in params]
    )


def get_question(request: bytes) -> Optional[Question]:
    target = request.split(b" ")[1].decode()
    path, _, query = target.partition("?")
    root, _, command = path.lstrip("/").partition("/")
    if root != "json" or not command or "/" in command or (query and not query.startswith("params=")):
        return None
    values = query.removeprefix("params=")
    return Question(command, [urllib.parse.unquote(value) for value in values.split(",")] if values else [])


def text_question(request: bytes) -> Optional[Question]:
    first, *lines = request.decode("utf-8", "surrogateescape").rstrip("\n").split("\n")
    command = first.split(":")[1]
    if any('"' in line or "::" in line or line != line.strip() for line in lines):
        return None
    return Question(command, lines)


class Recorded:
    """The pairs of one file, by case."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.version, _, self.transport = name.partition("-")
        self.pairs = {pair["case"]: pair for pair in recorded(name)}

    def reply(self, case: str) -> bytes:
        replies: list[bytes] = self.pairs[case]["replies"]
        return replies[0] if replies else b""

    def question(self, case: str) -> Optional[Question]:
        return question_of(self.pairs[case]["request"])

    @contextlib.contextmanager
    def answering(self, case: str) -> Iterator[tuple[sipmi.Client, Any]]:
        """A client of a server that answers `version` as recorded, and everything else as in this case."""
        reply = self.reply(case)
        version = self.reply("version") if "version" in self.pairs else VERSIONS[self.version]
        if self.transport in ("fifo", "dialog-fifo"):
            yield from self._over_fifo(reply, version)
        elif self.transport.startswith("datagram"):
            yield from self._over_datagram(reply, version)
        else:
            yield from self._over_http(reply, version)

    def _over_datagram(self, reply: bytes, version: bytes) -> Iterator[tuple[sipmi.Client, Any]]:
        def answer(request: bytes) -> list[bytes]:
            if request.startswith(b"{") and self.version < "3":
                return [b"500 command not available\n"]
            return [renumbered(version if is_version(request) else reply, request)]

        with RogueDatagram(answer) as server, sipmi.connect(server.address) as mi:
            yield mi, server

    def _over_fifo(self, reply: bytes, version: bytes) -> Iterator[tuple[sipmi.Client, Any]]:
        def answer(request: bytes, path: str) -> None:
            write_reply(path, renumbered(version if is_version(request) else reply, request))

        wire = "text" if self.version < "3" else "jsonrpc"
        with (
            tempfile.TemporaryDirectory(prefix="mi") as directory,
            RogueFifo(directory, answer) as server,
            sipmi.connect(server.address, wire=wire) as mi,
        ):
            yield mi, server

    def _over_http(self, reply: bytes, version: bytes) -> Iterator[tuple[sipmi.Client, Any]]:
        def serve(connection: Connection) -> None:
            while (request := connection.read_request()) is not None:
                question = question_of(request)
                answered = reply
                if question is not None and question.command == "version" and not question.args:
                    answered = version
                elif is_look_ahead(self.version, question, connection.server.requests):
                    answered = KNOWN_COMMAND
                connection.send(renumbered(answered, request))
                if not answered or (b"ontent-" not in answered and b"ransfer-" not in answered):
                    return

        family = self.transport.split("-")[0]
        path = "/xmlrpc" if (self.version, family) == ("1.11", "xmlrpc_ng") else PATHS[family]
        with RogueHttp(serve, path=path) as server, sipmi.connect(server.address, timeout=20) as mi:
            yield mi, server


#: The reply to `which COMMAND` over native XML-RPC if there is such a command.
KNOWN_COMMAND = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 208\r\n\r\n"
    b'<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n<params><param>\r\n'
    b"<value><array><data><value><array><data></data></array></value></data></array></value>"
    b"</param></params>\r\n</methodResponse>\r\n"
)
KNOWN_COMMAND = KNOWN_COMMAND.replace(b"208", str(len(KNOWN_COMMAND.partition(b"\r\n\r\n")[2])).encode())

VERSIONS: dict[str, bytes] = {}


def is_version(request: bytes) -> bool:
    question = question_of(request)
    return question is not None and question.command == "version" and not question.args


def is_look_ahead(version: str, question: Optional[Question], requests: list[bytes]) -> bool:
    """Return whether this is the question whether there is such a command, which is asked before others."""
    return version >= "4" and question is not None and question.command == "which" and len(question.args) == 1


def renumbered(reply: bytes, request: bytes) -> bytes:
    """A JSON-RPC reply with the id that this request has."""
    if not (b'"jsonrpc"' in reply and b'"id":' in reply and b'"id":' in request):
        return reply
    id = json.loads(request[request.index(b"{") :])["id"]
    head, separator, body = reply.partition(b"\r\n\r\n") if reply.startswith(b"HTTP/") else (b"", b"", reply)
    begin, _, _ = body.rpartition(b'"id":')
    body = begin + b'"id":%d}' % id
    if not separator:
        return body
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body)]) + separator + body


def outcome(mi: sipmi.Client, question: Question, *, force: bool = False) -> Any:
    """The value, or the error's class and code."""
    try:
        return mi.call(question.command, *question.args, force=force, **question.kwargs)
    except sipmi.Fault as fault:
        return type(fault).__name__, fault.code, fault.message
    except (sipmi.RequestRefused, sipmi.CodecError, sipmi.TransportError) as error:
        return type(error).__name__


__all__ = ["PATHS", "Question", "Recorded", "body_of", "os", "outcome", "question_of", "reply_name"]
