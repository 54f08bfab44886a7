"""JSON-RPC requests and their replies, and a server on HTTP."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Optional

import sipmi
from endpoints import PATIENCE


def rpc(method: str, params: Any = None, id: Any = 1) -> bytes:
    request = {"jsonrpc": "2.0", "method": method, "id": id}
    if params is not None:
        request["params"] = params
    return json.dumps(request).encode()


def call(method: str, *params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()


def result_of(reply: Optional[bytes]) -> Any:
    assert reply is not None, "no reply came"
    return json.loads(reply)["result"]


def error_of(reply: Optional[bytes]) -> Any:
    assert reply is not None, "no reply came"
    return json.loads(reply)["error"]


def statistic(server: sipmi.Server, name: str) -> int:
    return server.call("get_statistics", [name]).get(name, 0)


class HttpEndpoint:
    """A server on HTTP, and a raw client of it."""

    def __init__(self, server: sipmi.Server, **options: Any) -> None:
        server.listen("http://127.0.0.1:0", **options)
        server.start()
        host, port = server.addresses[-1].split("/")[2].rsplit(":", 1)
        self.place = (host, int(port))

    def post(self, body: bytes, path: str = "/mi", kind: str = "application/json") -> bytes:
        connection = http.client.HTTPConnection(*self.place, timeout=PATIENCE)
        connection.request("POST", path, body, {"Content-Type": kind})
        reply = connection.getresponse().read()
        connection.close()
        return reply

    def begin(self, body: bytes) -> socket.socket:
        client = socket.create_connection(self.place, timeout=PATIENCE)
        fields = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": len(body)}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        client.sendall(f"POST /mi HTTP/1.1\r\n{head}\r\n".encode() + body)
        return client


# -- answers that come later ------------------------------------------------------------------------
