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
        super().__init__(**options)
        self._is_inside = False

    def error(self, message: str) -> NoReturn:
        raise Usage(message, _meant(message) or f"{self.prog} --help")

    def parse_known_args(  # type: ignore[override]
        self, args: Optional[Sequence[str]] = None, namespace: Optional[argparse.Namespace] = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Options may stand between arguments: ``sipmi call edge1 --json uptime``."""
        if self._is_inside or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        # It calls this method in turn.
        self._is_inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_inside = False


def shorten_usage(parser: argparse.ArgumentParser) -> None:
    """``[OPTION...]`` for all options, here and in all subparsers: each is listed below with its meaning."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in nested:
        for subparser in action.choices.values():
            shorten_usage(subparser)
    if parser.usage is None and not nested:
        words = (_shown(action) for action in parser._actions if not action.option_strings)
        parser.usage = " ".join([parser.prog, "[OPTION...]", *words])


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
