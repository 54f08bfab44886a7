"""Runs the Python blocks of a page as they stand: in order, in one namespace, in a folder of their own.

The output that a page shows behind a ``print`` is compared: ``print(value)  # {'a': 1}``, with ``...`` for any text.
The same holds for the value behind an expression: ``mi.wire  # 'text'``. The addresses of pages are replaced by free
ones, or by those of a fake server where the page calls an OpenSIPS that already runs; see ``Stand``.
"""

from __future__ import annotations

import ast
import doctest
import linecache
import re
import sys
from pathlib import Path
from typing import Any, Callable, Optional

from ports import free_port
from sipmi.testing import FakeOpenSIPS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path, language: str = "python") -> list[tuple[int, str]]:
    """The blocks of a language, each with the line where it begins; also those in tabs and lists."""
    found = []
    for match in re.finditer(rf"^([ ]*)```{language}\n(.*?)^\1```", page.read_text(), re.DOTALL | re.MULTILINE):
        indent, source = match.groups()
        lines = [line[len(indent) :] for line in source.splitlines()]
        found.append((page.read_text()[: match.start(2)].count("\n"), "\n".join(lines) + "\n"))
    return found


class Stand:
    """The values that replace the addresses and folders of a page."""

    def __init__(self, directory: str, opensips: Optional[FakeOpenSIPS] = None) -> None:
        #: Where the port of a UDP or HTTP address is another one, so is it in what is printed.
        ports = {
            "127.0.0.1:8080": f"127.0.0.1:{free_port()}",
            "127.0.0.1:8888": f"127.0.0.1:{free_port()}",
            "127.0.0.1:8889": f"127.0.0.1:{free_port()}",
        }
        folders = {"/run/opensips": directory, '"/tmp"': f'"{directory}"', "/tmp/": f"{directory}/"}
        self.there = {**ports, **folders}
        if opensips is not None:
            self.there.update(
                {
                    "/run/opensips/opensips_fifo": opensips.address("fifo").partition(":")[2],
                    "127.0.0.1:8080": opensips.address("udp").partition(":")[2],
                    "127.0.0.1:8888": opensips.address("http").split("/")[2],
                    "/run/opensips/opensips.sock": opensips.address("unix").partition(":")[2],
                }
            )

    def moved(self, source: str) -> str:
        """The source with what is there."""
        named = "|".join(re.escape(name) for name in sorted(self.there, key=len, reverse=True))
        source = re.sub(named, lambda found: self.there[found.group()], source)
        # A server that blocks would end no page: it serves while the rest of the page runs.
        return re.sub(r"^(\s*)(\w+)\.run\(\)", r"\1\2.start()", source, flags=re.MULTILINE)


def run(page: Path, stand: Stand, names: Optional[dict[str, Any]] = None) -> dict[str, Any]:
    """Runs all blocks of a page. Servers that it leaves behind are stopped.

    :raises AssertionError: something else was printed than the page says; names the line.
    """
    space: dict[str, Any] = {"__name__": "__main__", "_compare": _compare, **(names or {})}
    space["print"] = _checking(space.get("print", print))
    try:
        for line, source in blocks(page):
            moved = stand.moved(source)
            name = f"{page.name}:{line}"
            linecache.cache[name] = (len(moved), None, moved.splitlines(keepends=True), name)
            exec(compile(_shown(moved), name, "exec"), space)
    finally:
        for thing in list(space.values()):
            stop = getattr(thing, "stop", None)
            if type(thing).__module__.startswith("sipmi") and callable(stop):
                stop()
    return space


def _shown(source: str) -> ast.Module:
    """The source, with each expression whose line promises a value compared with it."""
    tree = ast.parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and node.end_lineno is not None:
            promised = re.search(r"[^#]*  # ([\[({'\"\db].*|True|False|None)$", lines[node.end_lineno - 1])
            is_print = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "print"
            if promised is not None and not is_print:
                arguments = [node.value, ast.Constant(promised.group(1))]
                node.value = ast.Call(ast.Name("_compare", ast.Load()), arguments, [])
    return ast.fix_missing_locations(tree)


def _compare(value: object, promised: str) -> None:
    found = doctest.OutputChecker().check_output(promised + "\n", f"{value!r}\n", _FLAGS)
    assert found, f"the value is\n  {value!r}\nand the page says\n  {promised}"


def _checking(printed: Callable[..., None]) -> Callable[..., None]:
    """A ``print`` that compares with what its line promises."""
    checker = doctest.OutputChecker()

    def checked(*values: Any, **options: Any) -> None:
        frame = sys._getframe(1)
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        promised = re.search(r"\)  # (.*)$", line)
        if promised is not None and "sep" not in options:
            text = " ".join(map(str, values))
            where = f"{frame.f_code.co_filename} line {frame.f_lineno} of the block"
            assert checker.check_output(promised.group(1) + "\n", text + "\n", _FLAGS), (
                f"{where} printed\n  {text}\nand the page says\n  {promised.group(1)}"
            )
        printed(*values, **options)

    return checked
