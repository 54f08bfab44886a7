"""Trees, nodes, attributes, replies and commands are pickled, copied and compared, whole."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import sipmi
from sipmi import Attr, Node, Tree

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
WAYS: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy]
WAYS += [lambda thing, protocol=protocol: pickle.loads(pickle.dumps(thing, protocol)) for protocol in PROTOCOLS]


def make_tree() -> Tree:
    tree = Tree(202, "Accepted")
    domain = tree.add_child("Domain", "example.org").add_attr("records", 2**64 - 1)
    domain.add_child("AOR", b"\xff\x00").add_child("Contact").add_attr("Q", 0.5).add_attr("Q", True)
    domain.add_child("caf\udce9", -(2**63))
    tree.add_child("", None).flags = 8
    tree.flags = 1
    return tree


@pytest.fixture
def server() -> Iterator[sipmi.Server]:
    server = sipmi.Server("billing")

    @server.command(read_only=True)
    def nodes() -> Tree:
        tree = Tree.from_value({"AOR": ["alice", "bob"], "none": None})
        tree.add_child("count", 2**64 - 1).add_attr("Q", 0.5)
        return tree

    @server.command(read_only=True)
    def echo(user: str, numbers: list[int]) -> dict[str, Any]:
        return {"user": user, "numbers": numbers, "none": None, "nested": {"a": [{}, []]}}

    @server.command
    def refuse() -> None:
        raise sipmi.Fault(404, "No such subscriber", {"user": "alice"})

    for address in ("udp:127.0.0.1:0", "http://127.0.0.1:0"):
        server.listen(address)
    with server:
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_trees_nodes_and_attributes_come_back_whole(way: Callable[[Any], Any]) -> None:
    tree = make_tree()
    again = way(tree)
    assert again == tree
    assert again is not tree
    assert (again.flags, [node.flags for node in again]) == (tree.flags, [node.flags for node in tree])
    node = tree.children[0]
    twin = way(node)
    assert (twin, twin.attributes, twin.parent) == (node, node.attributes, None)
    assert twin.children[0].value == b"\xff\x00"
    node.add_child("later", 1)
    assert twin != node
    attr = node.attributes[0]
    assert way(attr) == attr == Attr("records", 2**64 - 1)


def test_a_tree_of_many_levels_is_pickled() -> None:
    tree = Tree()
    node = tree.add_child("top")
    for level in range(50_000):
        node = node.add_child("below", level)
    assert pickle.loads(pickle.dumps(tree)) == tree


def test_an_altered_pickle_is_an_error() -> None:
    for state in ((0, [(1, "a", None, 0, [])]), (0, [(0, "a", [], 0, [])]), (0, 5)):
        with pytest.raises((TypeError, ValueError)):
            Tree().__setstate__(state)
    with pytest.raises(ValueError, match="expected a node"):
        Node("a").__setstate__([])


@pytest.mark.parametrize("way", WAYS)
def test_replies_of_every_wire_come_back_whole(way: Callable[[Any], Any], server: sipmi.Server) -> None:
    udp, http = server.addresses
    root = http.rsplit("/", 1)[0]
    wires = [
        (udp, "text"),
        (udp, "jsonrpc"),
        (http, "jsonrpc"),
        (f"{root}/json", "mi_json"),
        (f"{root}/RPC2", "xmlrpc"),
    ]
    for address, wire in wires:
        with sipmi.connect(address, wire=wire, timeout=5) as mi:
            given = [("nodes", ()), ("echo", ("alice", [2**63])), ("ps", ())]
            for command, args in given:
                reply = mi.request(command, *args)
                again = way(reply)
                assert again == reply
                assert hash(again) == hash(reply)
                assert (again.value, again.tree, again.raw, again.sent, again.elapsed, again.wire) == (
                    reply.value, reply.tree, reply.raw, reply.sent, reply.elapsed, reply.wire,
                )  # fmt: skip
                assert again != mi.request("pwd")
            with pytest.raises(sipmi.Fault, match="No such subscriber") as caught:
                way(mi.request("refuse")).value  # noqa: B018
            assert caught.value.address == address


@pytest.mark.parametrize("way", WAYS)
def test_commands_come_back_whole(way: Callable[[Any], Any], server: sipmi.Server) -> None:
    server.register_module("mymodule", [sipmi.Export("mi_f", "Help.", lambda root, param: root, param=("x", 1))])
    for command in server.commands:
        again = way(command)
        assert again == command
        assert hash(again) == hash(command)
        said = ("module", "name", "help", "flags", "aliases", "recipes", "param")
        assert [getattr(again, name) for name in said] == [getattr(command, name) for name in said]
    echo = server.lookup("echo")
    assert echo is not None
    assert echo != server.lookup("nodes")


def test_a_server_runs_its_own_command_for_a_copy(server: sipmi.Server) -> None:
    nodes = pickle.loads(pickle.dumps(server.lookup("nodes")))
    assert server.run_command(nodes, Tree()).value["AOR"] == ["alice", "bob"]
    with pytest.raises(sipmi.MethodNotFound):
        sipmi.Server("other").run_command(nodes, Tree())
