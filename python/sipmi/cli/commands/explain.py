"""``sipmi explain``: what a command does, by the catalog and by a server."""

from __future__ import annotations

import argparse
import difflib
from typing import Any, Optional

from ..._core import (
    canonical_command_name,
    cataloged_commands,
    cataloged_recipes,
    cataloged_versions,
    command_module,
    command_risk,
    flat_command_name,
    is_read_only_command,
    legacy_recipes,
    list_position,
)
from ..ending import ERROR_ANSWER, OK, Usage, complain
from ..options import ADDRESS_HELP, add_client_options, add_http_options, add_json, client
from ..output import print_json
from ..servers import Target, find


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "explain",
        help="what a command takes and does, and its names in each version",
        usage="sipmi explain [OPTION...] [ADDRESS] COMMAND",
        description="Explains a command: its names and parameters in each version of OpenSIPS, whether it changes\n"
        "something, and what it can harm. With an ADDRESS it also asks that server.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\nsipmi explain ul_show_contact",
    )
    parser.add_argument("words", nargs="+", metavar="WORD", help="[ADDRESS] COMMAND; see below")
    add_json(parser, "print one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    words = list(options.words)
    target = find(words[0]) if len(words) > 1 else None
    if target is not None:
        del words[0]
    if len(words) != 1:
        raise Usage(f"expected a command, got {' '.join(words) or 'none'}")
    [name] = words
    facts = known(name)
    if target is not None:
        facts.update(asked(target, name, options))
    if facts["versions"] == [] and not facts.get("on"):
        near = difflib.get_close_matches(flat_command_name(name), sorted(all_names()), 1)
        hint = f"did you mean {near[0]}?" if near else "sipmi commands ADDRESS lists those of a server"
        return complain(ERROR_ANSWER, f"no command is called {name}", hint)
    if options.json:
        print_json(facts)
    else:
        print("\n".join(lines(facts)))
    return OK


def all_names() -> set[str]:
    return {name for version in cataloged_versions() for name in cataloged_commands(version) or ()}


def known(name: str) -> dict[str, Any]:
    """Return what the catalog knows of a command."""
    flat = flat_command_name(name)
    return {
        "command": flat,
        "since_4_0": canonical_command_name(flat),
        "module": command_module(flat),
        "versions": [version for version in cataloged_versions() if flat in (cataloged_commands(version) or ())],
        "parameters": cataloged_recipes(flat) or legacy_recipes(flat),
        "list_parameter": list_position(flat),
        "read_only": is_read_only_command(flat),
        "risk": command_risk(flat),
    }


def asked(target: Target, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a server says of a command."""
    with client(target, options) as mi:
        schema = mi.commands()
        command = schema.get(name)
        return {
            "server": target.name,
            "version": schema.version,
            "on": None if command is None else str(command),
        }


def lines(facts: dict[str, Any]) -> list[str]:
    """Return the facts as lines for people."""
    effect = "changes nothing" if facts["read_only"] else "changes something"
    named = f", {facts['since_4_0']} from 4.0 on" if facts["since_4_0"] not in (None, facts["command"]) else ""
    told = [f"{facts['command']}{named} (module {facts['module'] or 'unknown'})"]
    if facts["versions"]:
        told.append(f"  in OpenSIPS {', '.join(facts['versions'])}")
    told += [f"  takes {shown(recipe)}" for recipe in facts["parameters"] or ()]
    if facts["list_parameter"] is not None:
        told.append(f"  parameter {facts['list_parameter'] + 1} is a list")
    told.append(f"  {effect}" + (f": {facts['risk']}" if facts["risk"] else ""))
    if "server" in facts:
        told.append(f"  on {facts['server']} ({facts['version'] or 'version unknown'}): {facts['on'] or 'not there'}")
    return told


def shown(recipe: Optional[list[str]]) -> str:
    return " ".join(recipe) if recipe else "no parameters"
