"""The command line as argparse reads it, with complaints of one line and options between arguments."""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn, Optional

from .ending import Usage


class Help(argparse.HelpFormatter):
    """Help whose lines stay lines, and are broken where they are too long for the terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = (textwrap.wrap(line, width, initial_indent=indent) or [""] for line in text.splitlines())
        return "\n".join(piece for pieces in lines for piece in pieces)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises :class:`Usage` in place of printing a page and ending the process."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Help)
        options["allow_abbrev"] = False
        #: Its options and arguments, in order: for completion and the man page, as argparse lists them nowhere.
        self.actions: list[argparse.Action] = []
        self.subcommands: Optional[Subcommands] = None
        super().__init__(**options)
        self._is_inside = False

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        action = super().add_argument(*names, **options)
        self.actions.append(action)
        return action

    def add_mutually_exclusive_group(self, **options: Any) -> Any:
        return _Recording(super().add_mutually_exclusive_group(**options), self.actions)

    def add_subparsers(self, **options: Any) -> Any:
        self.subcommands = Subcommands(super().add_subparsers(**options))
        return self.subcommands

    @property
    def arguments(self) -> list[argparse.Action]:
        """The actions that are no options."""
        return [action for action in self.actions if not action.option_strings]

    def error(self, message: str) -> NoReturn:
        raise Usage(message, _meant(message) or f"{self.prog} --help")

    def parse_known_args(  # type: ignore[override]
        self, args: Optional[Sequence[str]] = None, namespace: Optional[argparse.Namespace] = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Options may stand between arguments: ``sipmi call edge1 --json uptime``."""
        if self._is_inside or self.subcommands is not None:
            return super().parse_known_args(args, namespace)
        # It calls this method in turn.
        self._is_inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inside = False


class Subcommands:
    """The subcommands of a parser by name, with the help of each."""

    def __init__(self, action: Any) -> None:
        self._action = action
        self.parsers: dict[str, Parser] = {}
        self.helps: dict[str, str] = {}

    def add_parser(self, name: str, **options: Any) -> Parser:
        """Add a subcommand; without ``help`` it is not listed."""
        parser: Parser = self._action.add_parser(name, **options)
        self.parsers[name] = parser
        if "help" in options:
            self.helps[name] = options["help"]
        return parser


class _Recording:
    """A group of arguments that are recorded in the list of the parser, too."""

    def __init__(self, group: Any, actions: list[argparse.Action]) -> None:
        self._group = group
        self._actions = actions

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        action: argparse.Action = self._group.add_argument(*names, **options)
        self._actions.append(action)
        return action


def shorten_usage(parser: Parser) -> None:
    """``[OPTION...]`` for all options, here and in all subparsers: each is listed below with its meaning."""
    if parser.subcommands is not None:
        for subparser in parser.subcommands.parsers.values():
            shorten_usage(subparser)
    elif parser.usage is None:
        parser.usage = " ".join([parser.prog, "[OPTION...]", *map(_shown, parser.arguments)])


def _shown(action: argparse.Action) -> str:
    name = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else str(action.metavar or action.dest)
    shapes = {None: "{}", "?": "[{}]", "*": "[{}...]", "+": "{}..."}
    return shapes[action.nargs if action.nargs is None else str(action.nargs)].format(name)


def _meant(message: str) -> Optional[str]:
    """Return the nearest choice to a word that is none of them."""
    found = re.match(r".*invalid choice: '(?P<word>.*)' \(choose from (?P<choices>.*)\)", message)
    if found is None:
        return None
    choices = re.findall(r"[\w-]+", found["choices"])
    near = difflib.get_close_matches(found["word"], choices, 1)
    return f"did you mean {near[0]}?" if near else None
