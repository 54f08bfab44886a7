"""The questions that tell the commands of a server."""

from __future__ import annotations

import fnmatch
from collections.abc import Awaitable
from typing import Any, Callable, Optional

from .._core import flat_command_name, legacy_recipes
from ..errors import Fault, MethodNotFound, is_of_a_call
from ._schema import CommandSchema, Recipes

__tracebackhide__: Callable[[Any], bool] = is_of_a_call

#: Asks a command: as ``call`` of a client, awaited.
Ask = Callable[..., Awaitable[Any]]

#: The help text of servers for a command without help.
_NO_HELP = "not available for this command"


async def read_schema(
    ask: Ask, pattern: str = "*", *, help: bool = True, tells: Optional[bool] = None
) -> list[CommandSchema]:
    """Ask a server for its commands, one request at a time: ``which``, and two more for each command.

    :param tells: whether its ``which`` tells parameters; None when that is unknown. Those of 1.x and 2.x do not.
    """
    names = await read_names(ask)
    questions = Questions(ask, tells=tells, help=help)
    wanted = [name for name in names if _matches(name, pattern)]
    return [await questions.command(name) for name in wanted]


async def read_names(ask: Ask) -> list[str]:
    """Ask for the names of all commands."""
    names = await ask("which")
    return [str(name) for name in names] if isinstance(names, list) else []


class Questions:
    """The requests about commands that a server can answer."""

    def __init__(self, ask: Ask, *, tells: Optional[bool] = None, help: bool = True) -> None:
        self._ask = ask
        self._tells = tells
        self._helps = help

    async def command(self, name: str) -> CommandSchema:
        """Ask for the parameters, the module and the help of one command."""
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
                # A command without recipes takes any parameters.
                return tuple(tuple(map(str, recipe)) for recipe in said) or None
            # It ignores the parameter and lists its commands again.
            self._tells = False if isinstance(said, list) else self._tells
        known = legacy_recipes(name)
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


def _matches(name: str, pattern: str) -> bool:
    flat = flat_command_name(name)
    is_meant = any(fnmatch.fnmatchcase(known, pattern) for known in (name, flat))
    # A pattern without wildcards may be a third name, such as ``debug``.
    return is_meant or flat == flat_command_name(pattern)
