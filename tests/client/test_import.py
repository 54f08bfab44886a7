"""`import sipmi` loads few modules, and all public names are available afterwards."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sipmi

#: Each of these takes as long to import as all of the package should, or longer.
SLOW = {
    "asyncio", "concurrent.futures", "dataclasses", "email", "http.client", "inspect", "json", "logging", "runpy",
    "selectors", "socket", "ssl", "subprocess", "tempfile", "threading", "unittest", "urllib.request", "xmlrpc.client",
}  # fmt: skip
#: Third-party modules that `import sipmi` never loads.
OPTIONAL = {"anywidget", "ipywidgets", "IPython", "pandas", "prometheus_client", "prompt_toolkit", "pytest", "rich"}


def imported_by(statement: str) -> set[str]:
    """The modules that a statement imports, in an interpreter of its own."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())


def test_the_package_imports_nothing_that_is_slow() -> None:
    modules = imported_by("import sipmi")
    assert modules & (SLOW | OPTIONAL) == set()
    assert {name for name in modules if name.startswith("sipmi")} == {"sipmi", "sipmi._core", "sipmi.errors"}


def test_a_client_imports_no_server_and_the_command_line_neither() -> None:
    assert "sipmi.server" not in imported_by("import sipmi; sipmi.connect")
    modules = imported_by("import sipmi.cli; sipmi.cli.make_parser()")
    assert "sipmi.server" not in modules
    assert modules & ({"asyncio", "ssl", "inspect", "logging", "subprocess"} | OPTIONAL) == set()


@pytest.mark.parametrize("name", sipmi.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sipmi, name) is not None
    assert name in dir(sipmi)


def test_names_that_load_lazily_are_those_that_type_checkers_see() -> None:
    source = ast.parse(Path(sipmi.__file__).read_text())
    [block] = [node for node in source.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names if node.module}
    assert seen == sipmi._LATER
    assert {alias.name for node in imports for alias in node.names} <= set(sipmi.__all__)


@pytest.mark.parametrize("name", ["affinity", "testing", "gateway", "metrics", "fleet", "statistics"])
def test_modules_are_there_after_the_import_of_the_package(name: str) -> None:
    script = f"import sipmi; print(sipmi.{name}.__name__, type(sipmi.{name}).__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == [f"sipmi.{name}", "module"]


def test_dir_names_what_is_public_and_nothing_else() -> None:
    names = {name for name in dir(sipmi) if not name.startswith("__")}
    assert names == {*sipmi.__all__, *sipmi._MODULES} - {"__version__"}
    assert {"FleetError", "Unhealthy", "AsyncFleet"} <= names
    assert not {"annotations", "TYPE_CHECKING", "Any"} & names


def test_one_name_means_one_class() -> None:
    named: dict[str, set[object]] = {}
    for module in (
        "server",
        "statistics",
        "affinity",
        "metrics",
        "exporter",
        "diagnosis._machine",
        "testing.fake.core",
    ):
        found = importlib.import_module(f"sipmi.{module}")
        for name in ("Process", "Sample", "Collector"):
            if name in vars(found):
                named.setdefault(name, set()).add(vars(found)[name])
    assert {name: len(classes) for name, classes in named.items()} == {"Process": 1, "Sample": 1, "Collector": 1}


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'sipmi' has no attribute 'nosuch'"):
        sipmi.nosuch  # noqa: B018
    assert importlib.import_module("sipmi").events.__name__ == "sipmi.events"
