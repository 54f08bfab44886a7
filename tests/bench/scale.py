"""Scale: idle connections, many commands, a long life, a long reply. Each server is a process of its own.

`--calls 10000000` compares memory after ten million calls with memory after ten thousand and
`--nodes 10000000` streams that many.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from typing import Any

SERVER = """
import json, sys, time
import sipmi

began = time.perf_counter()
server = sipmi.Server("scale")
for number in range({commands}):
    server.command(lambda: None, name=f"command{{number}}")
registered = time.perf_counter() - began

@server.command(read_only=True)
def cdrs(limit: int):
    for number in range(limit):
        yield sipmi.Node("cdr", str(number))

server.command(lambda: "pong", name="ping")
server.listen("http://127.0.0.1:0", connections=20_000)
server.listen("udp:127.0.0.1:0")
server.listen("fifo:{directory}/scale_fifo", reply_dir="{directory}")
began = time.perf_counter()
with server:
    print(json.dumps([registered, time.perf_counter() - began, server.addresses]), flush=True)
    sys.stdin.read()
"""


class Served:
    """A server in a process of its own."""

    def __init__(self, directory: str, commands: int = 0) -> None:
        script = SERVER.format(directory=directory, commands=commands)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.registered, self.seconds, addresses = json.loads(self.process.stdout.readline())
        self.addresses = {address.split(":", 1)[0]: address for address in addresses}
        host, port = self.addresses["http"].split("/")[2].rsplit(":", 1)
        self.http = (host, int(port))
        host, port = self.addresses["udp"].split(":")[1:]
        self.udp = (host, int(port))

    def memory(self) -> float:
        """Resident megabytes."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize() / 1e6

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()


def idle_connections(directory: str, count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count, hard - 200)
    with Served(directory) as server, contextlib.ExitStack() as open_ones:
        body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
        head = f"POST /mi HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        before = server.memory()
        for _ in range(count):
            client = open_ones.enter_context(socket.create_connection(server.http, timeout=10))
            client.sendall(head.encode() + b"\r\n\r\n" + body)
            assert b"pong" in client.recv(4096)
        print(f"{count} idle connections over HTTP, each after a call: {server.memory() - before:.0f} MB more")


def many_commands(directory: str, count: int) -> None:
    with Served(directory, count) as server:
        print(f"{count} commands: registered in {server.registered:.2f} s, started in {server.seconds:.3f} s")


def long_life(directory: str, count: int) -> None:
    with Served(directory) as server:
        early = call_often(server, 10_000)
        late = call_often(server, count)
        print(f"memory after 10000 calls {early:.1f} MB, after {count} more {late:.1f} MB")


def call_often(server: Served, count: int) -> float:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(server.udp)
        client.settimeout(10)
        for _ in range(count):
            client.send(b":ping:\n")
            client.recv(100)
    return server.memory()


class Peak:
    """The most memory that a server had meanwhile."""

    def __init__(self, server: Served) -> None:
        self.server, self.most, self.stop = server, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self) -> None:
        while not self.stop.wait(0.05):
            self.most = max(self.most, self.server.memory())

    def __enter__(self) -> Peak:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def long_reply(directory: str, nodes: int) -> None:
    with Served(directory) as server:
        call_often(server, 1000)
        before = server.memory()
        for transport, read in (("HTTP", read_http), ("FIFO", read_fifo)):
            began = time.perf_counter()
            with Peak(server) as most:
                size = read(server, directory, nodes)
            seconds = time.perf_counter() - began
            more = most.most - before
            print(f"{nodes} nodes over {transport}: {size / 1e6:.0f} MB in {seconds:.1f} s, {more:.1f} MB more memory")


def read_http(server: Served, directory: str, nodes: int) -> int:
    connection = http.client.HTTPConnection(*server.http, timeout=60)
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "cdrs", "params": [nodes]})
    connection.request("POST", "/mi", call, {"Content-Type": "application/json"})
    size = read_all(connection.getresponse())
    connection.close()
    return size


def read_all(reply: Any) -> int:
    size = 0
    while piece := reply.read(1 << 20):
        size += len(piece)
    return size


def read_fifo(server: Served, directory: str, nodes: int) -> int:
    path = os.path.join(directory, "scale_reply")
    os.mkfifo(path)
    try:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(os.path.join(directory, "scale_fifo"), "w") as command:
            command.write(f":cdrs:scale_reply\n{nodes}\n\n")
        os.set_blocking(reader, True)
        while not (first := os.read(reader, 1 << 16)):  # it has no writer yet
            time.sleep(0.001)
        with os.fdopen(reader, "rb", buffering=0) as reply:
            return len(first) + read_all(reply)
    finally:
        os.unlink(path)


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mi") as directory:
        idle_connections(directory, args.connections)
        many_commands(directory, args.commands)
        long_life(directory, args.calls)
        long_reply(directory, args.nodes)


if __name__ == "__main__":
    main()
