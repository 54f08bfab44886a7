"""Copies the docstrings of the binary into its stub, so that they are written once: in Rust.

Run it after a change of them: ``python tools/stub_docs.py``.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Union

import sipmi._core as binary

STUB = Path(__file__).parent.parent / "python" / "sipmi" / "_core.pyi"
Documented = Union[ast.ClassDef, ast.FunctionDef]


def with_docs(source: str) -> ast.Module:
    """The stub with the binary's docstrings and no others."""
    module = ast.parse(source)
    for node in module.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            document(node, getattr(binary, node.name))
    return module


def document(node: Documented, thing: Any) -> None:
    """Replaces the docstring of a class, with all its members, or of a function."""
    if node.body and isinstance(node.body[0], ast.Expr) and isinstance(getattr(node.body[0].value, "value", None), str):
        node.body.pop(0)
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            # A setter has no docstring of its own.
            if isinstance(member, ast.FunctionDef) and not is_setter(member):
                document(member, getattr(thing, member.name))
    doc = None if node.name.startswith("__") else inspect.getdoc(thing)
    node.body = [statement for statement in node.body if not is_ellipsis(statement)]
    if doc:
        indent = " " * (node.col_offset + 4)
        text = textwrap.indent(doc, indent).strip()
        node.body.insert(0, ast.Expr(ast.Constant(f"{text}\n{indent}" if "\n" in text else text)))
    elif not node.body:
        node.body.append(ast.Expr(ast.Constant(...)))


def is_setter(function: ast.FunctionDef) -> bool:
    """Return whether it is decorated as ``@name.setter``."""
    return any(isinstance(decorator, ast.Attribute) for decorator in function.decorator_list)


def is_ellipsis(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and getattr(statement.value, "value", None) is ...


if __name__ == "__main__":
    text = ast.unparse(with_docs(STUB.read_text()))
    # Comments do not survive ast; the only ones that matter tell mypy what it cannot know.
    text = text.replace("__hash__: ClassVar[None]", "__hash__: ClassVar[None]  # type: ignore[assignment]")
    for step in (["check", "--select", "I", "--fix-only"], ["format"]):
        command = [sys.executable, "-m", "ruff", *step, "--stdin-filename", str(STUB), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    STUB.write_text(text)
