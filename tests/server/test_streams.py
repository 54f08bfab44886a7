"""Replies that are made while they are sent: the same on every wire, as large as one likes, at the reader's pace."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import threading
import xmlrpc.client
from collections.abc import AsyncIterator, Iterator
from typing import Any, Callable

import pytest

import sipmi
from endpoints import PATIENCE, Endpoints
from jsonrpc_calls import HttpEndpoint, call, error_of, result_of, statistic
from measured_server import MeasuredServer
from waiting import eventually, settled

#: Far more than any pipe or socket holds.
MANY = 200_000


class Source:
    """A generator that tells how far it got, and whether it was closed."""

    def __init__(self, server: sipmi.Server, count: int = MANY) -> None:
        self.made, self.closed, self.count = 0, threading.Event(), count
        server.command(self.cdrs, name="cdrs")
        server.command(self.slow, name="slow")

    def cdrs(self) -> Iterator[sipmi.Node]:
        try:
            for number in range(1, self.count + 1):
                self.made = number
                yield sipmi.Node("cdr", str(self.made))
        finally:
            self.closed.set()

    async def slow(self) -> AsyncIterator[sipmi.Node]:
        try:
            for number in range(1, self.count + 1):
                self.made = number
                if self.made % 1000 == 0:
                    await asyncio.sleep(0)
                yield sipmi.Node("cdr", str(self.made))
        finally:
            self.closed.set()


def http_server(server: sipmi.Server, **options: Any) -> Iterator[HttpEndpoint]:
    yield HttpEndpoint(server, **options)


@pytest.mark.parametrize("method", ["cdrs", "slow"])
def test_a_stream_over_a_fifo_is_whole_in_text_and_json(serve: Callable[..., Endpoints], method: str) -> None:
    server = sipmi.Server("streams")
    Source(server)
    fifo = serve(server).fifo
    text = fifo.exchange(lambda name: f":{method}:{name}\n\n".encode())
    assert text == b"200 OK\n" + b"".join(b"cdr:: %d\n" % number for number in range(1, MANY + 1)) + b"\n"
    reply = fifo.exchange(lambda name: f":{name}:".encode() + call(method))
    assert result_of(reply) == {"cdr": [str(number) for number in range(1, MANY + 1)]}


@pytest.mark.parametrize("method", ["cdrs", "slow"])
def test_a_stream_over_http_is_whole_in_every_form(method: str) -> None:
    server = sipmi.Server("streams")
    source = Source(server, 20_000)
    expected = [str(number) for number in range(1, source.count + 1)]
    endpoint = HttpEndpoint(server)
    try:
        assert result_of(endpoint.post(call(method))) == {"cdr": expected}
        connection = http.client.HTTPConnection(*endpoint.place, timeout=PATIENCE)
        connection.request("GET", f"/json/{method}")
        reply = connection.getresponse()
        assert reply.getheader("Transfer-Encoding") == "chunked"
        assert [node["value"] for node in json.loads(reply.read())["cdr"]] == expected
        connection.close()
        with xmlrpc.client.ServerProxy("http://{}:{}/RPC2".format(*endpoint.place)) as proxy:
            assert getattr(proxy, method)() == {"cdr": expected}
        with xmlrpc.client.ServerProxy("http://{}:{}/xmlrpc".format(*endpoint.place)) as proxy:
            assert re.findall(r"cdr:: (\d+)\n", str(getattr(proxy, method)())) == expected
    finally:
        server.stop()


def test_a_run_of_one_is_a_list_and_an_empty_stream_is_ok(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("streams")

    @server.command
    def some(names: list) -> Iterator[Any]:
        for name in names:
            yield sipmi.Node(name, "x") if name else "x"

    endpoints = serve(server)
    ask = lambda *names: endpoints.ask("udp", call("some", list(names)))  # noqa: E731
    assert result_of(ask("cdr")) == {"cdr": ["x"]}
    assert result_of(ask("cdr", "cdr", "user")) == {"cdr": ["x", "x"], "user": ["x"]}
    assert result_of(ask("")) == ["x"]
    assert server.call("some", ["cdr"]) == {"cdr": ["x"]}
    # Sent nodes cannot be changed, so a repeated name is an error even in a short reply.
    assert error_of(ask("cdr", "user", "cdr"))["code"] == -32000
    assert endpoints.ask("udp", b":some:\ncdr\nuser\ncdr\n") == b"200 OK\ncdr:: x\nuser:: x\ncdr:: x\n\n"


def test_an_exception_before_the_first_byte_is_a_normal_error(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("streams")

    @server.command
    def fails() -> Iterator[sipmi.Node]:
        yield sipmi.Node("cdr", "1")
        raise sipmi.Fault(404, "no more")

    @server.command
    async def fails_later() -> AsyncIterator[sipmi.Node]:
        await asyncio.sleep(0)
        raise sipmi.Fault(404, "none")
        yield

    endpoints = serve(server)
    for method in ("fails", "fails_later"):
        assert error_of(endpoints.ask("udp", call(method)))["code"] == 404
        ask = call(method)
        assert error_of(endpoints.fifo.exchange(lambda name, ask=ask: f":{name}:".encode() + ask))["code"] == 404


def test_an_exception_after_the_first_byte_ends_the_reply_short_and_is_counted(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("streams")

    @server.command
    def breaks() -> Iterator[sipmi.Node]:
        for number in range(MANY):
            yield sipmi.Node("cdr", str(number))
        raise ValueError("secret")

    endpoints = serve(server)
    reply = endpoints.fifo.exchange(lambda name: f":breaks:{name}\n\n".encode())
    assert reply is not None
    assert reply.startswith(b"200 OK\ncdr:: 0\n")
    assert not reply.endswith(b"\n\n")
    server.listen("http://127.0.0.1:0")
    connection = http.client.HTTPConnection(*server.addresses[-1].split("/")[2].split(":"), timeout=PATIENCE)
    connection.request("POST", "/mi", call("breaks"), {"Content-Type": "application/json"})
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()
    for group in ("mi_fifo", "mi_http"):
        eventually(lambda group=group: statistic(server, f"{group}:short_replies") == 1, group)


def test_a_stream_that_is_too_large_for_a_datagram_is_an_error_with_size_and_limit(
    serve: Callable[..., Endpoints],
) -> None:
    server = sipmi.Server("streams")
    source = Source(server)
    endpoints = serve(server)
    assert re.fullmatch(rb"500 Reply too large: \d+ bytes, limit 65457\n\n", endpoints.ask("udp", b":cdrs:\n") or b"")
    assert source.closed.wait(PATIENCE)
    assert source.made < MANY


@pytest.mark.parametrize("method", ["cdrs", "slow"])
def test_a_reader_that_leaves_closes_the_generator(serve: Callable[..., Endpoints], method: str) -> None:
    server = sipmi.Server("streams")
    source = Source(server, 1 << 40)
    endpoints = serve(server)
    fifo = endpoints.fifo
    name = fifo.make_reply()
    fd = os.open(os.path.join(endpoints.directory, name), os.O_RDONLY | os.O_NONBLOCK)
    fifo.write(f":{method}:{name}\n\n".encode())
    eventually(lambda: source.made > 1000, "it never began")
    os.close(fd)
    assert source.closed.wait(PATIENCE)
    source.closed.clear()
    server.listen("http://127.0.0.1:0")
    host, port = server.addresses[-1].split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    connection.request("POST", "/mi", call(method), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    assert len(reply.read(1000)) == 1000
    reply.close()
    connection.close()
    assert source.closed.wait(PATIENCE)


@pytest.mark.parametrize("method", ["cdrs", "slow"])
def test_a_reader_that_waits_stops_the_generator_and_holds_no_worker(
    serve: Callable[..., Endpoints], method: str
) -> None:
    server = sipmi.Server("streams")
    source = Source(server, 1 << 40)
    server.command(lambda: "here", name="fast")
    endpoints = serve(server, workers=1, write_timeout=60.0)
    fifo = endpoints.fifo
    names = [fifo.make_reply() for _ in range(5)]
    readers = [os.open(os.path.join(endpoints.directory, name), os.O_RDONLY | os.O_NONBLOCK) for name in names]
    for name in names:
        fifo.write(f":{method}:{name}\n\n".encode())
    made = settled(lambda: source.made)  # all pipes are full then
    for _ in range(3):
        assert result_of(endpoints.ask("udp", call("fast"))) == "here"
        assert result_of(fifo.exchange(lambda name: f":{name}:".encode() + call("fast"))) == "here"
    assert made < 100_000
    for reader in readers:
        os.close(reader)


def test_a_reader_that_waits_for_too_long_is_given_up(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("streams")
    source = Source(server, 1 << 40)
    endpoints = serve(server, write_timeout=0.2)
    fifo = endpoints.fifo
    name = fifo.make_reply()
    fd = os.open(os.path.join(endpoints.directory, name), os.O_RDONLY | os.O_NONBLOCK)
    fifo.write(f":cdrs:{name}\n\n".encode())
    assert source.closed.wait(PATIENCE)
    eventually(lambda: statistic(server, "mi_fifo:write_timeouts") == 1, "it was not counted")
    os.close(fd)


CDRS = """
@server.command
def cdrs():
    return (sipmi.Node("cdr", str(number)) for number in range(COUNT))

server.listen("http://127.0.0.1:0")
"""


def test_many_nodes_need_no_more_memory_than_a_few(directory: str) -> None:
    with MeasuredServer(directory, CDRS.replace("COUNT", str(MANY))) as server, server.http as peer:
        connection = http.client.HTTPConnection(peer.host, peer.port, timeout=PATIENCE)
        size, gained = 0, []
        for _ in range(2):
            server.forget_peak()
            before = server.memory
            connection.request("GET", "/json/cdrs")
            reply = connection.getresponse()
            while piece := reply.read(1 << 16):
                size += len(piece)
            gained.append(server.peak - before)
        connection.close()
        assert size > 2 * MANY * 15
        assert max(gained) < 2 << 20, "bytes"


# -- flush ------------------------------------------------------------------------------------------


def dump(root: sipmi.Tree, param: Any) -> sipmi.Tree:
    tree = sipmi.Tree()
    for number in range(param):
        tree.add_child("AOR", f"user{number}")
        if number % 50 == 49:
            tree.flush()
    return tree


def test_flushed_nodes_are_sent_early(serve: Callable[..., Endpoints]) -> None:
    server = sipmi.Server("flush")
    server.register_module("flush", [sipmi.Export("dump", "", dump, param=20_000)])
    endpoints = serve(server)
    text = endpoints.fifo.exchange(lambda name: f":dump:{name}\n\n".encode())
    assert text == b"200 OK\n" + b"".join(b"AOR:: user%d\n" % number for number in range(20_000)) + b"\n"
    reply = endpoints.fifo.exchange(lambda name: f":{name}:".encode() + call("dump"))
    assert result_of(reply) == {"AOR": [f"user{number}" for number in range(20_000)]}


def test_the_flush_callback_of_run_command_takes_what_is_flushed() -> None:
    server, taken = sipmi.Server("flush"), []
    server.register_module("flush", [sipmi.Export("dump", "", dump, param=120)])
    command = server.lookup("dump")
    assert command is not None
    rest = server.run_command(command, sipmi.Tree(), flush=taken.append)
    assert [len(tree.children) for tree in taken] == [50, 50]
    assert [node.value for node in rest.children] == [f"user{number}" for number in range(100, 120)]
    assert len(server.run_command(command, sipmi.Tree()).children) == 120


def test_a_node_that_is_not_complete_stays() -> None:
    server, taken = sipmi.Server("flush"), []

    def partial(root: sipmi.Tree, param: Any) -> sipmi.Tree:
        tree = sipmi.Tree()
        tree.add_child("whole", "1")
        tree.add_child("part", "2").flags = 2
        tree.add_child("after", "3")
        assert tree.flush() is True
        assert tree.flush() is False
        return tree

    server.register_module("flush", [sipmi.Export("partial", "", partial)])
    command = server.lookup("partial")
    assert command is not None
    rest = server.run_command(command, sipmi.Tree(), flush=taken.append)
    assert [node.name for tree in taken for node in tree.children] == ["whole"]
    assert [node.name for node in rest.children] == ["part", "after"]


def domains(root: sipmi.Tree, sizes: Any) -> sipmi.Tree:
    """As `ul_dump` of the originals: what is flushed lies below a node that is not complete."""
    tree = sipmi.Tree()
    domain = tree.add_child("Domain", "location")
    domain.flags = 2
    domain.add_attr("table", 512)
    for number in range(2_000):
        domain.add_child("AOR", f"user{number}").add_child("Contact", f"sip:{number}")
        if number % 50 == 49:
            tree.flush()
            sizes.append(len(tree))
    domain.flags = 0
    tree.add_child("Domain", "aliases")
    return tree


def test_below_a_node_that_is_not_complete_lines_are_sent_early(serve: Callable[..., Endpoints]) -> None:
    server, sizes = sipmi.Server("flush"), []
    server.register_module("flush", [sipmi.Export("domains", "", domains, param=sizes)])
    endpoints = serve(server)
    below = b"".join(b"\tAOR:: user%d\n\t\tContact:: sip:%d\n" % (number, number) for number in range(2_000))
    expected = b"200 OK\nDomain:: location table=512\n" + below + b"Domain:: aliases\n\n"
    assert endpoints.fifo.exchange(lambda name: f":domains:{name}\n\n".encode()) == expected
    assert max(sizes) == 1, "what was sent stayed in the tree"
    reply = result_of(endpoints.fifo.exchange(lambda name: f":{name}:".encode() + call("domains")))
    location, aliases = reply["Domain"]
    assert (len(location["AOR"]), aliases) == (2_000, "aliases")


def test_nodes_that_were_flushed_are_gone_and_others_are_as_they_were() -> None:
    server = sipmi.Server("flush")

    def look(root: sipmi.Tree, param: Any) -> sipmi.Tree:
        tree = sipmi.Tree()
        whole, part, after = (tree.add_child(name, name) for name in ("whole", "part", "after"))
        part.flags = 2
        below = part.add_child("below", 1)
        assert tree.flush()
        with pytest.raises(RuntimeError, match="flushed"):
            whole.add_child("late")
        with pytest.raises(RuntimeError, match="flushed"):
            list(whole)
        assert repr(whole) == "<Node, flushed>"
        assert (part.name, part.children, below.parent, part.next) == ("part", [below], part, after)
        part.flags = 0
        assert tree.flush()
        assert tree.children == []
        last = tree.add_child("last", 2)
        assert (last.name, tree.children) == ("last", [last])
        with pytest.raises(RuntimeError, match="flushed"):
            tree.append(below)
        return tree

    server.register_module("flush", [sipmi.Export("look", "", look)])
    command = server.lookup("look")
    assert command is not None
    assert server.run_command(command, sipmi.Tree(), flush=lambda tree: None).value == {"last": 2}


def test_flush_belongs_in_a_handler() -> None:
    tree = sipmi.Tree()
    tree.add_child("a", "1")
    with pytest.raises(RuntimeError, match="handler"):
        tree.flush()
