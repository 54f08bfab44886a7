"""A reply of 20,000 contacts: to Python values and from them, beside orjson, json and xmlrpc.client.

To values: a whole call, from the request to the value, of a server that sends fixed bytes; the baseline reads the same
bytes from the same socket and hands them to the library. From values: from the end of the handler to the first byte
of the answer; the baseline is the library's call alone. Each figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import sipmi

CONTACTS = 20_000


def contact(number: int) -> dict:
    """As ul_dump shows one."""
    return {
        "Contact": f"sip:user{number}@10.0.{number % 250}.{number % 199}:5060;transport=udp",
        "ContactID": str(3_000_000_000_000 + number),
        "Expires": 3600 - number % 600,
        "Q": "",
        "Callid": f"call-{number:08x}@10.0.0.1",
        "Cseq": number % 1000,
        "User-agent": "Yealink SIP-T46U 108.86.0.20",
        "State": "CS_SYNC",
        "Flags": 0,
        "Cflags": "",
        "Socket": "udp:127.0.0.1:5060",
        "Methods": 5951,
    }


def dump() -> dict:
    """All of them."""
    records = [{"AOR": f"user{n}@example.org", "Contacts": [contact(n)]} for n in range(CONTACTS)]
    return {"Domains": [{"name": "location", "hash_size": 512, "AORs": records}]}


VALUE = dump()

REQUESTS = {
    "jsonrpc": ("/mi", "application/json", b'{"jsonrpc":"2.0","method":"dump","id":1}'),
    "xmlrpc": ("/RPC2", "text/xml", b"<methodCall><methodName>dump</methodName><params></params></methodCall>"),
}


def request(wire: str) -> bytes:
    path, content_type, body = REQUESTS[wire]
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def read_reply(stream: socket.socket) -> bytes:
    """The body of a reply."""
    received = bytearray(stream.recv(1 << 16))
    head = received.index(b"\r\n\r\n") + 4
    length = next(line for line in bytes(received[:head]).split(b"\r\n") if line.lower().startswith(b"content-length"))
    body = bytearray(int(length.split(b":")[1]))
    view, filled = memoryview(body), len(received) - head
    view[:filled] = received[head:]
    while filled < len(body):
        filled += stream.recv_into(view[filled:])
    return bytes(body)


def connect(address: str) -> socket.socket:
    host, port = address.split("/")[2].rsplit(":", 1)
    return socket.create_connection((host, int(port)), 10)


class Encoding:
    """Values to bytes, by a server of ours."""

    def __init__(self) -> None:
        self.handler_ended = 0.0
        self.server = sipmi.Server("bench")
        self.server.command(self.dump, name="dump", read_only=True)
        self.server.listen("http://127.0.0.1:0")

    def dump(self) -> dict:
        self.handler_ended = time.perf_counter()
        return VALUE

    def once(self, wire: str) -> tuple[float, bytes]:
        """Seconds from the end of the handler to the first byte, and the body."""
        with connect(self.server.addresses[0]) as stream:
            stream.sendall(request(wire))
            stream.recv(1, socket.MSG_PEEK)
            took = time.perf_counter() - self.handler_ended
            return took, read_reply(stream)


@contextmanager
def replaying(bodies: dict[str, bytes]) -> Iterator[str]:
    """A server that answers every request with the fixed body of its wire."""
    door = socket.create_server(("127.0.0.1", 0))

    def serve(stream: socket.socket) -> None:
        with stream:
            while asked := stream.recv(1 << 16):
                wire = "jsonrpc" if asked.startswith(b"POST /mi") else "xmlrpc"
                if b"version" in asked:
                    return
                body = bodies[wire]
                content_type = REQUESTS[wire][1]
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
                stream.sendall(head.encode() + body)

    def accept() -> None:
        while True:
            try:
                stream, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(stream,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    host, port = door.getsockname()
    yield f"http://{host}:{port}"
    door.close()


def clocked(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def show(what: str, baseline: str, pairs: list[tuple[float, float]], wanted: float) -> None:
    """A line: the middle of each, and how many times as fast as the baseline ours is."""
    theirs, ours = (statistics.median(side) * 1000 for side in zip(*pairs))
    ratio = statistics.median(their / our for their, our in pairs)
    mark = "" if ratio >= wanted else "  <-- below"
    print(f"{what:32} {baseline:22} {theirs:9.1f} ms {ours:9.1f} ms {ratio:7.2f} {wanted:7.2f}{mark}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="A large reply to Python values and from them.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = range(parser.parse_args().rounds)
    import orjson

    print(f"{'what':32} {'baseline':22} {'baseline':>12} {'sipmi':>12} {'ratio':>7} {'wanted':>7}")
    encoding = Encoding()
    with encoding.server:
        _, json_body = encoding.once("jsonrpc")
        _, xml_body = encoding.once("xmlrpc")
        print(f"JSON {len(json_body) / 1e6:.1f} MB, XML {len(xml_body) / 1e6:.1f} MB")
        pairs = [(clocked(lambda: json.dumps(VALUE)), encoding.once("jsonrpc")[0]) for _ in rounds]
        show("Python values to JSON", "json.dumps", pairs, 3.0)
        dumps = lambda: xmlrpc.client.dumps((VALUE,), methodresponse=True)  # noqa: E731
        pairs = [(clocked(dumps), encoding.once("xmlrpc")[0]) for _ in rounds]
        show("Python values to XML-RPC", "xmlrpc.client.dumps", pairs, 3.0)
    loads: dict[str, Callable[[bytes], Any]] = {
        "jsonrpc": lambda body: orjson.loads(body)["result"],
        "xmlrpc": lambda body: xmlrpc.client.loads(body.decode())[0][0],
    }
    names = {"jsonrpc": ("JSON to Python values", "orjson.loads", 1 / 1.3)}
    names["xmlrpc"] = ("XML-RPC to Python values", "xmlrpc.client.loads", 5.0)
    with replaying({"jsonrpc": json_body, "xmlrpc": xml_body}) as root:
        for wire, (what, baseline, wanted) in names.items():
            with sipmi.connect(root + REQUESTS[wire][0], wire=wire) as mi, connect(root) as stream:

                def read_and_load(stream: socket.socket = stream, wire: str = wire) -> Any:
                    stream.sendall(request(wire))
                    return loads[wire](read_reply(stream))

                assert read_and_load() == mi.call("dump") == VALUE
                pairs = [(clocked(read_and_load), clocked(lambda: mi.call("dump"))) for _ in rounds]
                show(what, baseline, pairs, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
