"""What a server offers: its commands with parameters and help, and what two servers offer differently.

``mi.commands()`` and ``mi.diff(other)`` are made of what is here, and so is completion.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import inspect
import threading
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Callable, Optional, Protocol

from . import _core
from ._calling import AsyncCaller, Caller, finish
from .errors import Fault, MethodNotFound, MiError

#: How a command is asked: as ``call`` of a client, awaited.
Ask = Callable[..., Awaitable[Any]]

#: The sets of parameters that may be given together.
Recipes = tuple[tuple[str, ...], ...]

#: What servers say of a command without help.
_NO_HELP = "not available for this command"

#: Seconds that completion waits for an answer.
_COMPLETION_TIMEOUT = 2.0

#: Seconds between two questions that completion asks: real servers have one process to answer them.
PAUSE = 1.0


@dataclasses.dataclass(frozen=True)
class CommandSchema:
    """A command that a server offers.

    >>> command = CommandSchema("cache_store", recipes=(("system", "attr", "value"),
    ...                                                 ("system", "attr", "value", "expire")))
    >>> print(command.signature, command.module, command.read_only)
    (system, attr, value, expire=None) cache False
    """

    name: str
    """As the server lists it: "ul_dump", "usrloc:dump"."""
    module: Optional[str] = None
    """The module that exports it, as the server says, or else as 4.0 has it; None when nobody knows."""
    recipes: Optional[Recipes] = None
    """The sets of parameters that may be given, each in order; None when neither the server nor a table says."""
    help: str = ""
    """One line for people; empty when there is none, or the server was not asked."""

    def __post_init__(self) -> None:
        if self.module is None:
            prefix, colon, _ = self.name.partition(":")
            object.__setattr__(self, "module", prefix if colon else _core.command_module(self.name))

    @property
    def flat_name(self) -> str:
        """The name by which it is the same command in every version: that from before 4.0.

        >>> CommandSchema("usrloc:dump").flat_name
        'ul_dump'
        """
        return _core.flat_command_name(self.name)

    @property
    def read_only(self) -> bool:
        """Whether it is known to change nothing."""
        return _core.is_read_only_command(self.name)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all its parameters, each once."""
        return tuple(dict.fromkeys(name for recipe in self.recipes or () for name in recipe))

    @property
    def signature(self) -> inspect.Signature:
        """The parameters as a function would have them: what is in every recipe is required.

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

    def as_dict(self) -> dict[str, Any]:
        """What JSON takes."""
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
    """The commands of one server by name; those of other versions' names are found too.

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
        found = self._commands.get(name) or self._by_flat_name.get(_core.flat_command_name(name))
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)

    @property
    def server(self) -> str:
        """Who it is of: "udp:127.0.0.1:8080 (OpenSIPS 4.0.1)"."""
        who = "sipmi" if self.generation == "sipmi" else "OpenSIPS"
        return f"{self.address} ({who} {self.version})" if self.version else self.address

    def diff(self, other: Schema) -> SchemaDiff:
        """What another server offers differently."""
        return SchemaDiff.between(self, other)

    def as_dict(self) -> dict[str, Any]:
        """What JSON takes."""
        return {
            "address": self.address,
            "generation": self.generation,
            "version": self.version,
            "commands": [command.as_dict() for command in self.values()],
        }

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
    """What two servers offer differently. False when they offer the same; printed, it is a list for people.

    Commands that versions call differently are the same command; names alone make no difference.

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
    """What only the first server offers."""
    only_right: tuple[CommandSchema, ...]
    """What only the second server offers."""
    renamed: tuple[tuple[CommandSchema, CommandSchema], ...]
    """What both offer by different names, with the same parameters as far as is known."""
    changed: tuple[tuple[CommandSchema, CommandSchema], ...]
    """What takes different parameters."""

    @classmethod
    def between(cls, left: Schema, right: Schema) -> SchemaDiff:
        """Compares two schemas."""
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

    def as_dict(self) -> dict[str, Any]:
        """What JSON takes."""
        pairs = {"renamed": self.renamed, "changed": self.changed}
        return {
            "left": self.left.server,
            "right": self.right.server,
            "only_left": [command.as_dict() for command in self.only_left],
            "only_right": [command.as_dict() for command in self.only_right],
            **{name: [[a.as_dict(), b.as_dict()] for a, b in listed] for name, listed in pairs.items()},
        }

    def __bool__(self) -> bool:
        return bool(self.only_left or self.only_right or self.changed or self.versions[0] != self.versions[1])

    def __str__(self) -> str:
        lines = [f"--- {self.left.server}", f"+++ {self.right.server}"] if self.left.server else []
        lines += [f"- {command}" for command in self.only_left]
        lines += [f"+ {command}" for command in self.only_right]
        lines += [f"~ {a} -> {b}" for a, b in self.changed]
        lines += [f"= {a.name} -> {b.name}" for a, b in self.renamed]
        return "\n".join(lines)


# -- asking ---------------------------------------------------------------------------------------


async def read_schema(
    ask: Ask, pattern: str = "*", *, help: bool = True, tells: Optional[bool] = None
) -> list[CommandSchema]:
    """Asks a server for its commands, one question at a time: ``which``, and two more for each command.

    :param tells: whether its ``which`` tells parameters, if that is known: 1.x and 2.x do not.
    """
    names = await read_names(ask)
    questions = Questions(ask, tells=tells, help=help)
    wanted = [name for name in names if _matches(name, pattern)]
    return [await questions.command(name) for name in wanted]


async def read_names(ask: Ask) -> list[str]:
    """The names of all commands, as the server lists them."""
    names = await ask("which")
    return [str(name) for name in names] if isinstance(names, list) else []


class Questions:
    """Asks about commands, and no more than a server can answer."""

    def __init__(self, ask: Ask, *, tells: Optional[bool] = None, help: bool = True) -> None:
        self._ask = ask
        self._tells = tells
        self._helps = help

    async def command(self, name: str) -> CommandSchema:
        """All about one command."""
        recipes = await self._recipes(name)
        help, module = await self._help(name)
        return CommandSchema(name, module, recipes, help)

    async def _recipes(self, name: str) -> Optional[Recipes]:
        if self._tells is not False:
            try:
                said = await self._ask("which", name)
            except Fault:
                said = None
            if isinstance(said, list) and all(isinstance(recipe, list) for recipe in said):
                # No recipe at all: it takes whatever it is given.
                return tuple(tuple(map(str, recipe)) for recipe in said) or None
            # It lists its commands again, whatever it is asked.
            self._tells = False if isinstance(said, list) else self._tells
        known = _core.legacy_recipes(name)
        return None if known is None else tuple(tuple(recipe) for recipe in known)

    async def _help(self, name: str) -> tuple[str, Optional[str]]:
        if not self._helps:
            return "", None
        try:
            said = await self._ask("help", name)
        except MethodNotFound:
            self._helps = False
            return "", None
        except Fault:
            return "", None
        if not isinstance(said, dict):
            return "", None
        help, module = str(said.get("Help", "")), said.get("Exported by")
        return "" if help == _NO_HELP else help, None if module is None else str(module)


class Completion:
    """What completion knows of a server. Asks at most once a second, and nothing twice."""

    def __init__(self) -> None:
        self._names: Optional[list[str]] = None
        self._commands: dict[str, CommandSchema] = {}
        self._next = 0.0
        self._lock = threading.Lock()

    def learn(self, schema: Schema) -> None:
        """Keeps what is known already."""
        self._names = list(schema)
        self._commands.update(schema)

    def names(self, ask: Callable[[], list[str]]) -> list[str]:
        """All names; none when the server does not answer, or was asked a moment ago."""
        if self._names is None and self._may_ask():
            try:
                self._names = ask()
            except MiError:
                return []
        return list(self._names or ())

    def command(self, name: str, ask: Callable[[], CommandSchema]) -> CommandSchema:
        """All about one command; what is known without asking when the server cannot be asked now."""
        known = self._commands.get(name)
        if known is not None:
            return known
        if self._may_ask():
            try:
                return self._commands.setdefault(name, ask())
            except MiError:
                pass
        recipes = _core.legacy_recipes(name)
        return CommandSchema(name, recipes=None if recipes is None else tuple(tuple(recipe) for recipe in recipes))

    def _may_ask(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return False
            self._next = now + PAUSE
            return True


# -- of a client ----------------------------------------------------------------------------------


class Described(Caller, Protocol):
    """A client that knows the generation and version of its server."""

    @property
    def generation(self) -> Optional[str]:
        """The generation of the server."""

    @property
    def version(self) -> Optional[str]:
        """The version of the server."""


class AsyncDescribed(AsyncCaller, Protocol):
    """An awaited client that knows the generation and version of its server."""

    @property
    def generation(self) -> Awaitable[Optional[str]]:
        """The generation of the server."""

    @property
    def version(self) -> Awaitable[Optional[str]]:
        """The version of the server."""


def commands_of(client: Described, completion: Completion, pattern: str = "*", *, help: bool = True) -> Schema:
    """Return the commands of the server of a client.

    :param completion: learns a complete schema.
    """
    generation, version = client.generation, client.version
    tells = _tells_parameters(generation)
    listed = finish(read_schema(_asking(client, client.timeout), pattern, help=help, tells=tells))
    return _made(Schema(listed, client.address, generation, version), completion, pattern, help)


async def commands_of_async(
    client: AsyncDescribed, completion: Completion, pattern: str = "*", *, help: bool = True
) -> Schema:
    """As :func:`commands_of`, awaited."""
    generation, version = await client.generation, await client.version
    listed = await read_schema(client.call, pattern, help=help, tells=_tells_parameters(generation))
    return _made(Schema(listed, client.address, generation, version), completion, pattern, help)


def _made(schema: Schema, completion: Completion, pattern: str, help: bool) -> Schema:
    if pattern == "*" and help:
        completion.learn(schema)
    return schema


def names_for_completion(client: Caller, completion: Completion) -> list[str]:
    """Return all names that the server knows; none when it does not answer."""
    ask = _asking(client, min(client.timeout, _COMPLETION_TIMEOUT))
    return completion.names(lambda: finish(read_names(ask)))


def describe_for_completion(client: Described, completion: Completion, name: str) -> CommandSchema:
    """Describe a command with what the server says now, or with what is known without it."""
    ask = _asking(client, min(client.timeout, _COMPLETION_TIMEOUT))

    def describe() -> CommandSchema:
        return finish(Questions(ask, tells=_tells_parameters(client.generation)).command(name))

    return completion.command(name, describe)


def _asking(client: Caller, timeout: float) -> Ask:
    async def ask(command: str, *args: str) -> Any:
        return client.call(command, *args, timeout=timeout)

    return ask


def _tells_parameters(generation: Optional[str]) -> Optional[bool]:
    """Whether servers of a generation say what a command takes; None when they have to be asked."""
    return False if generation in ("1.x", "2.x") else None


# -- small parts ----------------------------------------------------------------------------------


def _matches(name: str, pattern: str) -> bool:
    flat = _core.flat_command_name(name)
    is_meant = any(fnmatch.fnmatchcase(known, pattern) for known in (name, flat))
    # A pattern without wildcards may be a third name, such as ``debug``.
    return is_meant or flat == _core.flat_command_name(pattern)


def _take_different(left: CommandSchema, right: CommandSchema) -> bool:
    if left.recipes is None or right.recipes is None:
        return False
    return set(left.recipes) != set(right.recipes)


def _signature(recipes: Recipes) -> inspect.Signature:
    """Positions as far as every recipe agrees with the ones before it; the rest by name."""
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
