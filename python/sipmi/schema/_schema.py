"""The commands of a server with their parameters, and the differences between two servers."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from .._core import command_module, flat_command_name, is_read_only_command

#: The sets of parameters that may be given together.
Recipes = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class CommandSchema:
    """A command that a server offers.

    >>> command = CommandSchema("cache_store", recipes=(("system", "attr", "value"),
    ...                                                 ("system", "attr", "value", "expire")))
    >>> print(command.signature, command.module, command.read_only)
    (system, attr, value, expire=None) cache False
    """

    name: str
    """The name in the server's list: "ul_dump", "usrloc:dump"."""
    module: Optional[str] = None
    """The module that exports it, by the server or by 4.0; None when it is unknown."""
    recipes: Optional[Recipes] = None
    """The sets of parameters that may be given, each in order; None when they are unknown."""
    help: str = ""
    """One line of help; empty when there is none, or the server was not asked."""

    def __post_init__(self) -> None:
        if self.module is None:
            prefix, colon, _ = self.name.partition(":")
            object.__setattr__(self, "module", prefix if colon else command_module(self.name))

    @property
    def flat_name(self) -> str:
        """The name that identifies the command in every version: the one before 4.0.

        >>> CommandSchema("usrloc:dump").flat_name
        'ul_dump'
        """
        return flat_command_name(self.name)

    @property
    def read_only(self) -> bool:
        """True if it is known to change nothing."""
        return is_read_only_command(self.name)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all its parameters, each once."""
        return tuple(dict.fromkeys(name for recipe in self.recipes or () for name in recipe))

    @property
    def signature(self) -> inspect.Signature:
        """The parameters as those of a function: a parameter of every recipe is required.

        >>> dialogs = CommandSchema("dlg_list", recipes=((), ("callid",), ("callid", "from_tag"), ("index", "counter")))
        >>> print(dialogs.signature)
        (callid=None, from_tag=None, *, index=None, counter=None)
        """
        if self.recipes is not None:
            try:
                return _signature(self.recipes)
            except ValueError:  # a name that Python does not take
                pass
        rest = (("args", inspect.Parameter.VAR_POSITIONAL), ("kwargs", inspect.Parameter.VAR_KEYWORD))
        return inspect.Signature([inspect.Parameter(name, kind) for name, kind in rest])

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        recipes = None if self.recipes is None else [list(recipe) for recipe in self.recipes]
        return {
            "name": self.name,
            "module": self.module,
            "recipes": recipes,
            "help": self.help,
            "read_only": self.read_only,
        }

    def __str__(self) -> str:
        return f"{self.name}{self.signature}"


class Schema(Mapping[str, CommandSchema]):
    """The commands of one server by name; the names of other versions are found, too.

    >>> schema = Schema([CommandSchema("usrloc:dump", recipes=((), ("brief",)))], "udp:127.0.0.1:8080", "4.x", "4.0.1")
    >>> "ul_dump" in schema, schema["ul_dump"].name, list(schema)
    (True, 'usrloc:dump', ['usrloc:dump'])
    """

    __slots__ = ("_by_flat_name", "_commands", "address", "generation", "version")

    def __init__(
        self,
        commands: list[CommandSchema],
        address: str = "",
        generation: Optional[str] = None,
        version: Optional[str] = None,
    ) -> None:
        self._commands = {command.name: command for command in commands}
        self._by_flat_name = {command.flat_name: command for command in commands}
        self.address: str = address
        self.generation: Optional[str] = generation
        self.version: Optional[str] = version

    def __getitem__(self, name: str) -> CommandSchema:
        found = self._commands.get(name) or self._by_flat_name.get(flat_command_name(name))
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)

    @property
    def server(self) -> str:
        """The server: "udp:127.0.0.1:8080 (OpenSIPS 4.0.1)"."""
        who = "sipmi" if self.generation == "sipmi" else "OpenSIPS"
        return f"{self.address} ({who} {self.version})" if self.version else self.address

    def diff(self, other: Schema) -> SchemaDiff:
        """Compare with another server."""
        return SchemaDiff.between(self, other)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return {
            "address": self.address,
            "generation": self.generation,
            "version": self.version,
            "commands": [command.to_dict() for command in self.values()],
        }

    def _repr_html_(self) -> str:
        from ..display import html

        return html(self)

    def __str__(self) -> str:
        effect = {True: "read", False: "write"}
        rows = [
            (str(command), command.module or "", effect[command.read_only], command.help) for command in self.values()
        ]
        return _table(rows)

    def __repr__(self) -> str:
        return f"<Schema of {self.server}: {len(self)} commands>"


@dataclasses.dataclass(frozen=True)
class SchemaDiff:
    """The differences between two servers. False when they have none; printed, it is a readable list.

    Different names of one command are no difference.

    >>> old = Schema([CommandSchema("ul_dump", recipes=((),)), CommandSchema("debug")])
    >>> new = Schema([CommandSchema("usrloc:dump", recipes=((), ("brief",))), CommandSchema("mem:shm_check")])
    >>> print(old.diff(new))
    - debug(*args, **kwargs)
    + mem:shm_check(*args, **kwargs)
    ~ ul_dump() -> usrloc:dump(brief=None)
    """

    left: Schema
    right: Schema
    only_left: tuple[CommandSchema, ...]
    """The commands that only the first server offers."""
    only_right: tuple[CommandSchema, ...]
    """The commands that only the second server offers."""
    renamed: tuple[tuple[CommandSchema, CommandSchema], ...]
    """The commands that have different names and no known difference of parameters."""
    changed: tuple[tuple[CommandSchema, CommandSchema], ...]
    """The commands that take different parameters."""

    @classmethod
    def between(cls, left: Schema, right: Schema) -> SchemaDiff:
        """Compare two schemas."""
        ours = {command.flat_name: command for command in left.values()}
        theirs = {command.flat_name: command for command in right.values()}
        both = [(command, theirs[name]) for name, command in ours.items() if name in theirs]
        changed = [pair for pair in both if _take_different(*pair)]
        return cls(
            left,
            right,
            only_left=tuple(command for name, command in ours.items() if name not in theirs),
            only_right=tuple(command for name, command in theirs.items() if name not in ours),
            renamed=tuple((a, b) for a, b in both if a.name != b.name and (a, b) not in changed),
            changed=tuple(changed),
        )

    @property
    def versions(self) -> tuple[Optional[str], Optional[str]]:
        """The versions of both servers."""
        return self.left.version, self.right.version

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        pairs = {"renamed": self.renamed, "changed": self.changed}
        return {
            "left": self.left.server,
            "right": self.right.server,
            "only_left": [command.to_dict() for command in self.only_left],
            "only_right": [command.to_dict() for command in self.only_right],
            **{name: [[a.to_dict(), b.to_dict()] for a, b in listed] for name, listed in pairs.items()},
        }

    def _repr_html_(self) -> str:
        from ..display import html

        return html(self)

    def __bool__(self) -> bool:
        return bool(self.only_left or self.only_right or self.changed or self.versions[0] != self.versions[1])

    def __str__(self) -> str:
        lines = [f"--- {self.left.server}", f"+++ {self.right.server}"] if self.left.server else []
        lines += [f"- {command}" for command in self.only_left]
        lines += [f"+ {command}" for command in self.only_right]
        lines += [f"~ {a} -> {b}" for a, b in self.changed]
        lines += [f"= {a.name} -> {b.name}" for a, b in self.renamed]
        return "\n".join(lines)


def _take_different(left: CommandSchema, right: CommandSchema) -> bool:
    if left.recipes is None or right.recipes is None:
        return False
    return set(left.recipes) != set(right.recipes)


def _signature(recipes: Recipes) -> inspect.Signature:
    """Return a signature: positional up to the first difference between recipes, by name after it."""
    in_order = sorted(recipes, key=len)
    chain: tuple[str, ...] = in_order[0] if in_order else ()
    for recipe in in_order:
        if recipe[: len(chain)] == chain:
            chain = recipe
    names = {name for recipe in recipes for name in recipe}
    required = {name for name in names if all(name in recipe for recipe in recipes)}
    others = dict.fromkeys(name for recipe in recipes for name in recipe if name not in chain)
    parameters, optional_before = [], False
    for name in (*chain, *others):
        optional_before |= name in chain and name not in required
        by_name = name in others or (optional_before and name in required)
        kind = inspect.Parameter.KEYWORD_ONLY if by_name else inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = inspect.Parameter.empty if name in required else None
        parameters.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind))


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column), default=0) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
