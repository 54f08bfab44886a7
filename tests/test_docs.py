"""What the documentation says is true: its examples run, and the stub has the docstrings of the binary."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sipmi
import sipmi._core
import sipmi._signature
import sipmi.client
import sipmi.errors
import sipmi.events
import sipmi.server
import sipmi.statistics
import sipmi.testing.commands
import sipmi.testing.events
import sipmi.testing.fake
import sipmi.testing.names
import sipmi.testing.usrloc
from stub_docs import STUB, with_docs

#: What an example may use without saying where it is from.
NAMES = {name: getattr(sipmi, name) for name in sipmi.__all__}
TESTING = {
    **vars(sipmi.testing.commands),
    **vars(sipmi.testing.events),
    **vars(sipmi.testing.fake),
    **vars(sipmi.testing.names),
    **vars(sipmi.testing.usrloc),
}


def documented() -> Iterator[tuple[str, str]]:
    """Everything public with a docstring: modules, classes, their members, functions."""
    testing = (sipmi.testing, sipmi.testing.commands, sipmi.testing.events, sipmi.testing.fake, sipmi.testing.names,
               sipmi.testing.usrloc)  # fmt: skip
    modules = (sipmi, sipmi._signature, sipmi.errors, sipmi.server, sipmi.client, sipmi.events, sipmi.statistics,
               sipmi._core, *testing)  # fmt: skip
    for module in modules:
        yield module.__name__, inspect.getdoc(module) or ""
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "").split(".")[0] != "sipmi":
                continue
            yield f"{module.__name__}.{name}", inspect.getdoc(thing) or ""
            members = vars(thing).items() if inspect.isclass(thing) else ()
            for member_name, member in members:
                yield f"{module.__name__}.{name}.{member_name}", inspect.getdoc(member) or ""


EXAMPLES = {name: doc for name, doc in documented() if ">>>" in doc}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_runs(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    own = {**vars(sipmi.server), **vars(sipmi._signature), **vars(sipmi.events), **vars(sipmi.statistics), **NAMES}
    names: dict[str, Any] = {**own, **TESTING} if name.startswith("sipmi.testing") else own
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, None)
    output: list[str] = []
    doctest.DocTestRunner(optionflags=flags).run(test, out=output.append)
    assert output == [], "".join(output)


def test_the_stub_has_the_docstrings_of_the_binary() -> None:
    source = STUB.read_text()
    written, wanted = ast.dump(ast.parse(source)), ast.dump(with_docs(source))
    assert written == wanted, "run `python tests/stub_docs.py`"


def test_every_function_of_the_reply_tree_in_c_has_its_counterpart() -> None:
    text = "\n".join(
        inspect.getdoc(thing) or ""
        for cls in (sipmi.Tree, sipmi.Node, sipmi.Attr)
        for thing in (cls, *vars(cls).values())
    )
    for name in (
        "init_mi_tree", "add_mi_node_child", "add_mi_node_sibling", "add_mi_attr", "get_mi_attr_by_name",
        "clone_mi_tree", "addf_mi_node_child", "addf_mi_node_sibling", "addf_mi_attr", "mi_root", "mi_node",
        "mi_attr", "flush_mi_tree", "free_mi_tree",
    ):  # fmt: skip
        assert name in text, name


ROOT = Path(__file__).parent.parent


def snippets(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_scripts_of_the_readme_run_as_they_stand(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    serve, call = snippets("README.md")
    # The endpoints are ones that are free here; and the server serves while the client calls.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    moved = re.sub(r'/tmp(?=[/"])', directory, serve).replace("8080", port)
    names: dict[str, Any] = {}
    exec(moved.replace("server.run()", "server.start()"), names)
    try:
        exec(call.replace("8080", port), {})
    finally:
        names["server"].stop()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "{'aor': 'sip:alice@example.org', 'credit': 2.5}"
    assert second.startswith("sipmi {'Now': ")


@pytest.mark.parametrize("number", range(5))
def test_the_snippets_about_testing_run_as_they_stand(number: int) -> None:
    pages = snippets("docs/testing.md")
    assert len(pages) == 5
    exec(pages[number], {})


def test_the_rule_of_trees_and_values_gives_what_its_page_says() -> None:
    page = (ROOT / "docs/trees-and-values.md").read_text()
    pairs = re.findall(r"```\n(200 OK\n.*?)```\n\n```python\n(.*?)```", page, re.DOTALL)
    assert len(pairs) == 3
    for text, value in pairs:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            address = f"udp:127.0.0.1:{server.getsockname()[1]}"
            answering = threading.Thread(target=answer_once, args=(server, text.encode() + b"\n"))
            answering.start()
            with sipmi.connect(address, wire="text") as mi:
                assert mi.request("any").tree.value == ast.literal_eval(value)
            answering.join()


def test_the_snippets_about_events_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    promised = re.findall(r"print\(.*\)  # (.*)", (ROOT / "docs/events.md").read_text())
    try:
        for number, snippet in enumerate(snippets("docs/events.md")):
            exec(compile(snippet, f"events.md snippet {number}", "exec"), names)
    finally:
        names["server"].stop()
    printed = capsys.readouterr().out.splitlines()
    assert len(promised) == 2
    assert [printed[0], printed[-1]] == promised


def answer_once(server: socket.socket, reply: bytes) -> None:
    _, peer = server.recvfrom(65536)
    server.sendto(reply, peer)
