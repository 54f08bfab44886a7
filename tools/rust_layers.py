"""Check the imports of the Rust sources: no circle between the modules of a folder, none that runs up a layer.

Reads ``use`` declarations and paths that begin with ``crate``, ``super``, ``self`` or a child module. A re-export is
an import of the module that defines the item. Tests are left out. The exit status is 1 when something is wrong.

    python tools/rust_layers.py [FOLDER_OF_SOURCES]
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

#: The layers of the crate, the lowest first. A module imports from lower layers, and from its own without a circle.
LAYERS = (
    "sys",
    "tree item peer request response dialect clock flush",
    "catalog convert address",
    "codec",
    "transport net",
    "command",
    "client server affinity",
    "gateway",
    "python",
)

#: Folders that still have circles, they or a folder below them. The list only gets shorter.
NOT_YET_CLEAN: tuple[str, ...] = (
    "affinity",
    "codec",
    "python",
)

#: Imports that still run up: the importing module and the layer above it.
NOT_YET_DOWNWARD: tuple[tuple[str, str], ...] = ()

Path = tuple[str, ...]

_LITERALS_AND_COMMENTS = re.compile(
    r"""\bb?r(\#*)".*?"\1 | "(?:\\.|[^"\\])*" | b?'(?:\\.[^']*|[^'\\])' | //[^\n]* | /\*.*?\*/ | \(in[ ][^)]*\)""",
    re.DOTALL | re.VERBOSE,
)
_TEST_ONLY = re.compile(r"#\[cfg\((?:test|all\(test[^\]]*)\)?\)\]")
_USE = re.compile(r"\buse\s+([^;]+);")
_PATH = re.compile(r"(?<![\w:])((?:crate|super|self)(?:::\w+)+|[a-z]\w*(?:::\w+)+)")
_INLINE_MODULE = re.compile(r"\bmod\s+(\w+)\s*\{")


@dataclass
class Module:
    """A file of sources, and what it imports."""

    path: Path
    code: str
    #: The names that ``use`` brings in, each with the path that it stands for.
    names: dict[str, Path] = field(default_factory=dict)
    #: The paths of all that the file mentions.
    mentioned: set[Path] = field(default_factory=set)
    #: Modules of which everything is brought in.
    globs: set[Path] = field(default_factory=set)


def read(sources: pathlib.Path) -> dict[Path, Module]:
    """The modules below a folder, by their paths."""
    modules: dict[Path, Module] = {}
    for file in sorted(sources.rglob("*.rs")):
        parts = file.relative_to(sources).with_suffix("").parts
        path = parts[:-1] if parts[-1] in ("mod", "lib") else parts
        if path[-1:] != ("tests",):
            modules[path] = Module(path, without_tests(_LITERALS_AND_COMMENTS.sub(" ", file.read_text("utf-8"))))
    for module in modules.values():
        _read_paths(module, module.path, module.code, modules)
    return modules


def without_tests(code: str) -> str:
    """Code without the items that only tests have.

    >>> without_tests("use a; #[cfg(test)] mod tests { use b; fn f() {} } fn g() {}")
    'use a;  fn g() {}'
    """
    while found := _TEST_ONLY.search(code):
        end = found.end()
        while end < len(code) and code[end] not in ";{":
            end += 1
        code = code[: found.start()] + code[_end_of_block(code, end) if code[end : end + 1] == "{" else end + 1 :]
    return code


def _end_of_block(code: str, start: int) -> int:
    depth = 0
    for at in range(start, len(code)):
        depth += (code[at] == "{") - (code[at] == "}")
        if depth == 0:
            return at + 1
    return len(code)


def _read_paths(module: Module, at: Path, code: str, modules: dict[Path, Module]) -> None:
    """Notes what a piece of code imports, of which `at` is the module. Modules within it are pieces of their own."""
    while found := _INLINE_MODULE.search(code):
        end = _end_of_block(code, found.end() - 1)
        _read_paths(module, (*at, found[1]), code[found.end() : end - 1], modules)
        code = code[: found.start()] + code[end:]
    for found in _USE.finditer(code):
        for path, name in branches(found[1]):
            whole = _absolute(path, at, modules)
            if whole is None:
                continue
            if name == "*":
                module.globs.add(whole)
            elif at == module.path:
                module.names[name] = whole
            module.mentioned.add(whole)
    for found in _PATH.finditer(_USE.sub(" ", code)):
        whole = _absolute(tuple(found[1].split("::")), at, modules)
        if whole is not None:
            module.mentioned.add(whole)


def branches(tree: str) -> Iterator[tuple[Path, str]]:
    """The paths of a tree of ``use``, each with the name under which it is known.

    >>> list(branches("a::{self, b::{C, D as E}, f::*}"))
    [(('a',), 'a'), (('a', 'b', 'C'), 'C'), (('a', 'b', 'D'), 'E'), (('a', 'f'), '*')]
    """
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    prefix = tuple(part.strip() for part in head.split("::") if part.strip())
    if brace:
        for branch in _split(rest.rpartition("}")[0]):
            for path, name in branches(branch):
                yield (prefix, prefix[-1]) if path == ("self",) else ((*prefix, *path), name)
        return
    *first, last = prefix
    last, _, name = last.partition(" as ")
    if last == "*":
        yield tuple(first), "*"
    else:
        yield (*first, last.strip()), (name or last).strip()


def _split(branches_of_tree: str) -> Iterator[str]:
    depth, begin = 0, 0
    for at, char in enumerate(branches_of_tree):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            yield branches_of_tree[begin:at]
            begin = at + 1
    if branches_of_tree[begin:].strip():
        yield branches_of_tree[begin:]


def _absolute(path: Path, at: Path, modules: dict[Path, Module]) -> Path | None:
    """A path from the root of the crate; None for one that leads to another crate."""
    first, rest = path[0], path[1:]
    if first == "crate":
        return rest
    if first == "self":
        return (*at, *rest)
    if first == "super":
        while first == "super":
            at = at[:-1]
            first, rest = (rest[0], rest[1:]) if rest else ("", ())
        return (*at, first, *rest) if first else at
    return (*at, *path) if (*at, first) in modules else None


def defining(path: Path, modules: dict[Path, Module], seen: frozenset[Path] = frozenset()) -> Path | None:
    """The module that defines what a path leads to, through re-exports."""
    if path in modules:
        return path
    if path in seen:
        return None
    for length in range(len(path) - 1, -1, -1):
        module = modules.get(path[:length])
        if module is None:
            continue
        name, rest = path[length], path[length + 1 :]
        if name in module.names:
            return defining((*module.names[name], *rest), modules, seen | {path})
        return module.path
    return None


def imports(modules: dict[Path, Module]) -> set[tuple[Path, Path]]:
    """Each module with each other one of which it imports something."""
    found = set()
    for module in modules.values():
        for path in module.mentioned:
            target = defining(path, modules)
            if target is not None and target != module.path:
                found.add((module.path, target))
    return found


def within(folder: Path, edges: set[tuple[Path, Path]]) -> dict[tuple[str, str], tuple[Path, Path]]:
    """The imports between the modules of a folder, each with one that shows it.

    The file of the folder itself is called ``mod``.
    """
    depth = len(folder)
    found: dict[tuple[str, str], tuple[Path, Path]] = {}
    for source, target in sorted(edges):
        if source[:depth] == folder == target[:depth]:
            above, below = (path[depth] if len(path) > depth else "mod" for path in (source, target))
            if above != below:
                found.setdefault((above, below), (source, target))
    return found


def circles(arrows: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The groups of modules of which each imports each other, over the others perhaps.

    >>> circles([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])
    [['a', 'b', 'c']]
    """
    graph: dict[str, set[str]] = {}
    for source, target in arrows:
        graph.setdefault(source, set()).add(target)
    reached = {start: _reachable(start, graph) for start in graph}
    in_circle = [start for start in graph if start in reached[start]]
    groups = {
        frozenset(other for other in in_circle if other in reached[start] and start in reached[other])
        for start in in_circle
    }
    return sorted(sorted(group) for group in groups)


def _reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        new = graph.get(left.pop(), set()) - found
        found |= new
        left += new
    return found


def complaints(sources: pathlib.Path) -> Iterator[str]:
    """Return the faults of the imports below a folder, a line each."""
    modules = read(sources)
    edges = imports(modules)
    yield from _circles_of_folders(modules, edges)
    yield from _upward_imports(modules, edges)


def _circles_of_folders(modules: dict[Path, Module], edges: set[tuple[Path, Path]]) -> Iterator[str]:
    unclean = set()
    # The root declares all modules and re-exports some; nothing of it is anyone's.
    for folder in sorted({path[:length] for path in modules for length in range(len(path))}):
        arrows = within(folder, edges if folder else {edge for edge in edges if all(edge)})
        groups = circles(arrows)
        excused = [name for name in NOT_YET_CLEAN if folder[: name.count("/") + 1] == tuple(name.split("/"))]
        if groups and excused:
            unclean.update(excused)
            continue
        for group in groups:
            yield f"src/{'/'.join(folder)}: the modules {', '.join(group)} import each other"
            for (above, below), (source, target) in sorted(arrows.items()):
                if above in group and below in group:
                    yield f"    {'::'.join(source)} imports {'::'.join(target)}"
    for name in NOT_YET_CLEAN:
        if name not in unclean:
            yield f"src/{name} has no circle any more: take it out of NOT_YET_CLEAN"


def _upward_imports(modules: dict[Path, Module], edges: set[tuple[Path, Path]]) -> Iterator[str]:
    layer = {name: place for place, line in enumerate(LAYERS) for name in line.split()}
    for name in sorted({path[0] for path in modules if path} - set(layer)):
        yield f"src/{name} is in no layer: add it to LAYERS"
    excused = set()
    for source, target in sorted(edge for edge in edges if all(edge)):
        if layer.get(source[0], 0) >= layer.get(target[0], 0):
            continue
        if (source[0], target[0]) in NOT_YET_DOWNWARD:
            excused.add((source[0], target[0]))
        else:
            yield f"{'::'.join(source)} imports {'::'.join(target)}, which is in a higher layer"
    for pair in NOT_YET_DOWNWARD:
        if pair not in excused:
            yield f"{pair[0]} no longer imports {pair[1]}: take it out of NOT_YET_DOWNWARD"


def main() -> int:
    """Print what is wrong."""
    sources = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "src"
    wrong = list(complaints(sources))
    print(
        "\n".join(wrong)
        if wrong
        else "Rust imports: no circle in a folder or between folders, and none runs up a layer"
    )
    if NOT_YET_CLEAN:
        print(f"not yet clean: {', '.join(NOT_YET_CLEAN)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
