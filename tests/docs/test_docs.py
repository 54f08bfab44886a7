"""The examples of the documentation run, and the stub has the docstrings of the binary."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import sipmi
from stub_docs import STUB, with_docs

#: Names that an example may use without an import, beside those of its own module.
NAMES = {name: getattr(sipmi, name) for name in sipmi.__all__}
#: Those that tests of their own run (`test_affinity_docs.py`), or that are no modules to import.
OTHERS = ("sipmi.server._affinity", "sipmi.__main__", "sipmi.testing.pytest_plugin")


def modules() -> Iterator[ModuleType]:
    """All modules of the package."""
    yield sipmi
    for found in pkgutil.walk_packages(sipmi.__path__, "sipmi."):
        if found.name not in OTHERS and not found.name.startswith(("sipmi.affinity", "sipmi.cli")):
            yield importlib.import_module(found.name)


MODULES = {module.__name__: module for module in modules()}
TESTING = {key: value for name, module in MODULES.items() if "testing" in name for key, value in vars(module).items()}


def documented() -> Iterator[tuple[str, str]]:
    """Everything public with a docstring: modules, classes, their members, functions."""
    for module in MODULES.values():
        yield module.__name__, inspect.getdoc(module) or ""
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
                continue
            yield f"{module.__name__}.{name}", inspect.getdoc(thing) or ""
            members = vars(thing).items() if inspect.isclass(thing) else ()
            for member_name, member in members:
                yield f"{module.__name__}.{name}.{member_name}", inspect.getdoc(member) or ""


def names_of(example: str) -> dict[str, Any]:
    """Return the names of an example's module. Examples of the tests' modules also see each other's names."""
    module = max((name for name in MODULES if f"{example}.".startswith(f"{name}.")), key=len)
    shared = TESTING if "testing" in module else {**vars(sipmi.server), **vars(sipmi.events)}
    return {**NAMES, **shared, **vars(MODULES[module])}


EXAMPLES = {name: doc for name, doc in documented() if ">>>" in doc}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_docstring_runs(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names_of(name), name, None, None)
    output: list[str] = []
    doctest.DocTestRunner(optionflags=flags).run(test, out=output.append)
    assert output == [], "".join(output)


def test_the_stub_has_the_docstrings_of_the_binary() -> None:
    source = STUB.read_text()
    written, wanted = ast.dump(ast.parse(source)), ast.dump(with_docs(source))
    assert written == wanted, "run `python tools/stub_docs.py`"


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
