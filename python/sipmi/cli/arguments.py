"""Parameters as a shell has them: strings, of which some have a name and some are lists."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Callable, Optional

from .._core import cataloged_recipes, flat_command_name, legacy_recipes, list_position
from ..client import Client, Reply
from .ending import Usage


def ask(
    mi: Client, command: str, arguments: Sequence[str], *, read: Callable[[str], Any], force: bool = False
) -> Reply:
    """Calls with the strings of a shell: those that a list is wanted for become one.

    :param read: what becomes of each value: :func:`read_json`, or ``str`` to leave it as it is.
    :param force: True to send it in spite of a limit or hazard of the server, as :meth:`sipmi.Client.call` does.
    """
    pairs = [(name, read(value)) for name, value in split_all(command, arguments)]
    return ask_pairs(mi, command, pairs, force=force)


def ask_pairs(mi: Client, command: str, pairs: Sequence[tuple[str, Any]], *, force: bool = False) -> Reply:
    """Calls with names, or "", and values: those that a list is wanted for become one."""
    pairs = with_list(command, pairs)
    if all(isinstance(value, str) for _, value in pairs):
        return mi.request_strings(command, pairs, force=force)
    positional, named = parted(pairs)
    # A parameter may be called as one of request() is.
    return Reply(mi._core.request(command, tuple(positional), named, mi.timeout, force))


def read_arguments(command: str, arguments: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """The strings of a shell as what a call is given by position, and by name.

    >>> read_arguments("get_statistics", ["core:", "load:"]), read_arguments("dlg_list", ["callid=7", "from_tag::a"])
    (([['core:', 'load:']], {}), ([], {'callid': '7', 'from_tag': 'a'}))
    """
    pairs = [(name, read_json(value)) for name, value in split_all(command, arguments)]
    return parted(with_list(command, pairs))


def parted(pairs: Sequence[tuple[str, Any]]) -> tuple[list[Any], dict[str, Any]]:
    """Values without names, and those with."""
    return [value for name, value in pairs if not name], {name: value for name, value in pairs if name}


def with_list(command: str, pairs: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Names and values, where those that a list is wanted for have become one."""
    place = list_position(command)
    if place is None or len(pairs) <= place or isinstance(pairs[place][1], list):
        return list(pairs)
    return [*pairs[:place], (pairs[place][0], [value for _, value in pairs[place:]])]


def split_all(command: str, arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Return names, or "", and values: ``name=value`` too, where the command may have a parameter of that name.

    >>> split_all("ul_add", ["aor=alice"]), split_all("cache_store", ["local", "key", "a=b"])
    ([('aor', 'alice')], [('', 'local'), ('', 'key'), ('', 'a=b')])
    """
    recipes = cataloged_recipes(flat_command_name(command)) or legacy_recipes(command)
    known = None if recipes is None else {name for recipe in recipes for name in recipe}
    return [_split_by_equals(argument, known) for argument in arguments]


def _split_by_equals(argument: str, known: Optional[set[str]]) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    is_name = bool(equals) and name.isidentifier() and (known is None or name in known)
    return (name, value) if is_name else split(argument)


def split(argument: str) -> tuple[str, str]:
    """``name::value`` as text wires have it; anything else has no name.

    >>> split("aor::alice"), split("::a::b"), split("sip:a@b"), split("{::1}")
    (('aor', 'alice'), ('', 'a::b'), ('', 'sip:a@b'), ('', '{::1}'))
    """
    name, separator, value = argument.partition("::")
    if separator and not name:
        return "", value
    is_name = bool(separator) and all(char.isalnum() or char in "_-." for char in name)
    return (name, value) if is_name else ("", argument)


def read_json(value: str) -> Any:
    """A list or object, when it is written as one."""
    if value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            pass
    return value


def with_stdin(arguments: Sequence[str], write: Callable[[str], str] = str) -> list[str]:
    """Arguments with the text of standard input in the place of ``-`` or ``name::-``; ``::-`` is a dash.

    :param write: gives the argument that stands for a text.
    """
    dashes = [argument for argument in arguments if argument != "::-" and split(argument)[1] == "-"]
    if not dashes:
        return list(arguments)
    if len(dashes) > 1:
        raise Usage("standard input can be one argument, not several")
    data = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    text = data[:-1] if data.endswith("\n") else data
    return [f"{argument[:-1] or '::'}{write(text)}" if argument in dashes else argument for argument in arguments]
