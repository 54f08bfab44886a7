"""Text replies have no escaping: a tree comes back over a real wire as it was, or is told to be inexpressible."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sipmi

#: Characters with a meaning in the grammar, and some without.
PIECES = [
    "a",
    "b c",
    "word",
    " ",
    "\t",
    "\r",
    "\n",
    "=",
    "::",
    ":: ",
    " = [",
    "]",
    " x=",
    "Log level",
    "value",
    "key",
    "attr",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=3).map("".join)
NODES = st.lists(
    st.tuples(st.integers(0, 3), TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=2)), min_size=1, max_size=5
)


def tree_of(nodes: list[tuple[int, str, str, list[tuple[str, str]]]]) -> sipmi.Tree:
    """A tree of nodes, each as deep as it says and the one before allows."""
    tree = sipmi.Tree()
    path: list[sipmi.Node] = []
    for level, name, value, attributes in nodes:
        del path[level:]
        node = path[-1].add_child(name, value or None) if path else tree.add_child(name, value or None)
        for key, text in attributes:
            node.add_attr(key, text or None)
        path.append(node)
    return tree


@pytest.fixture(scope="module")
def told() -> list[sipmi.Tree]:
    return [sipmi.Tree()]


@pytest.fixture(scope="module")
def mi(told: list[sipmi.Tree]) -> Iterator[sipmi.Client]:
    server = sipmi.Server("grammar")
    server.listen("udp:127.0.0.1:0")

    @server.command(read_only=True)
    def tell() -> sipmi.Tree:
        return told[0]

    with server, sipmi.connect(server.addresses[0], wire="text") as client:
        yield client


def shape(nodes: list[sipmi.Node]) -> list[object]:
    """Nodes as text tells them: no value is an empty one."""
    return [
        (node.name, node.value or "", [(attr.name, attr.value or "") for attr in node.attributes], shape(node.children))
        for node in nodes
    ]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nodes=NODES)
def test_a_tree_comes_back_over_text_or_is_told_not_to(
    mi: sipmi.Client, told: list[sipmi.Tree], nodes: list[tuple[int, str, str, list[tuple[str, str]]]]
) -> None:
    tree = tree_of(nodes)
    try:
        tree.check_text()
    except sipmi.CodecError:
        return
    told[0] = tree
    assert shape(mi.request("tell").tree.children) == shape(tree.children)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("a:: b", "c", "ends a name"),
        ("a", "b\nc", "newline"),
        ("", " b", "begins"),
        ("a", "b x=1", "attribute"),
    ],
)
def test_a_value_that_text_cannot_express_is_an_error_with_its_reason(name: str, value: str, why: str) -> None:
    tree = sipmi.Tree()
    tree.add_child(name, value)
    with pytest.raises(sipmi.CodecError, match=why):
        tree.check_text()
