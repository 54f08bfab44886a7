"""Completion from a live server: its commands, their parameters, its statistics. For the shell and for shells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .. import _core
from ..client import Client
from ..errors import MiError

if TYPE_CHECKING:
    from ..schema import CommandSchema

#: Seconds to wait at most for words that might be typed.
PATIENCE = 2.0

#: A word that could follow, and its meaning.
Choice = tuple[str, str]


class Live:
    """Commands and parameters of one server, each asked for once. Errors give no words."""

    def __init__(self, mi: Client) -> None:
        self.mi = mi
        self.known: dict[str, CommandSchema] = {}
        """The answers so far."""
        self._statistics: dict[str, list[str]] = {}

    def commands(self, begun: str) -> Iterator[Choice]:
        """Those that begin so, or else older names that do; then those that have it elsewhere: "dump" finds ul_dump."""
        names = self.names()
        if begun in names:
            self.schema(begun)
        begin = [name for name in names if name.startswith(begun)]
        if begun and not begin:
            # On 4.x, the names of older versions.
            older = map(_core.flat_command_name, names)
            begin = [name for name in older if name.startswith(begun) and name not in names]
        inside = [name for name in names if begun in name and name not in begin] if len(begun) > 1 else []
        return ((name, _core.command_risk(name) or "") for name in [*begin, *inside])

    def arguments(self, command: str, given: Sequence[str], begun: str) -> Iterator[Choice]:
        """Return the next parameters of a command."""
        if command.rpartition(":")[2] in ("which", "help"):
            yield from self.commands(begun)
        elif _core.list_position(command) == 0 and "statistics" in command:
            yield from self.selectors(begun)
        elif _core.flat_command_name(command) in map(_core.flat_command_name, self.names()):
            recipes = self.schema(command).recipes or ()
            taken = {word.partition("::")[0] for word in given if "::" in word}
            fitting = [recipe for recipe in recipes if taken <= set(recipe)]
            names = dict.fromkeys(name for recipe in fitting for name in recipe if name not in taken)
            yield from matching(begun, ((f"{name}::", "parameter") for name in names))

    def selectors(self, begun: str) -> Iterator[Choice]:
        """Return parameters of the server's own commands: groups, and names without their group."""
        listed = self._listed("all")
        groups = dict.fromkeys(name.partition(":")[0] for name in listed)
        names = dict.fromkeys(name.partition(":")[2] for name in listed) if begun else ()
        return matching(begun, [*((f"{group}:", "group") for group in groups), *((name, "") for name in names)])

    def statistics(self, begun: str) -> Iterator[Choice]:
        """Groups; after the colon, what is in one."""
        group, colon, _ = begun.partition(":")
        if colon:
            return matching(begun, ((name, "") for name in self._listed(f"{group}:")))
        groups = dict.fromkeys(name.partition(":")[0] for name in self._listed("all"))
        return matching(begun, ((f"{name}:", "group") for name in groups))

    def names(self) -> list[str]:
        """All commands."""
        return self.mi.cmd._ipython_key_completions_()

    def schema(self, command: str) -> CommandSchema:
        """All about a command."""
        if command not in self.known:
            self.known.update(self._described(command))
        return self.known[command]

    def _described(self, command: str) -> dict[str, CommandSchema]:
        from ..schema import CommandSchema

        try:
            return {command: self.mi.commands(command)[command]}
        except (MiError, KeyError):
            return {command: CommandSchema(command)}

    def _listed(self, group: str) -> list[str]:
        if group not in self._statistics:
            try:
                said = self.mi.call("get_statistics", [group], timeout=min(PATIENCE, self.mi.timeout))
            except MiError:
                return []
            self._statistics[group] = list(said) if isinstance(said, dict) else []
        return self._statistics[group]


def matching(begun: str, choices: Iterable[Choice]) -> Iterator[Choice]:
    """Those that begin so."""
    return (choice for choice in choices if choice[0].startswith(begun))
