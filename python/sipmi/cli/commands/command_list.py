"""``sipmi commands``: the commands of a server, or of a version of OpenSIPS."""

from __future__ import annotations

import argparse
from typing import Any

from ..ending import ERROR_ANSWER, OK, complain
from ..options import ADDRESS_HELP, add_client_options, add_http_options, add_json, client
from ..output import print_json, table
from ..servers import resolve


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "commands",
        help="the commands of a server with their parameters",
        description="Lists the commands of a server with their parameters, and whether they change something.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\nsipmi commands edge1 'ul_*'",
    )
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="see below")
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="only those: ul_*, usrloc:*")
    parser.add_argument("--no-help", action="store_true", help="leave out the help of each command, a request for each")
    add_json(parser, "print one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    target = resolve(options.address)
    with client(target, options) as mi:
        found = list(mi.commands(options.pattern, help=not options.no_help).values())
    if not found:
        return complain(ERROR_ANSWER, f"{target.name}: no command is called {options.pattern}")
    if options.json:
        print_json([command.to_dict() for command in found])
        return OK
    effect = {True: "read", False: "write"}
    rows = [[str(command), command.module or "", effect[command.read_only], command.help] for command in found]
    print(table(["command", "module", "effect", "help"], rows))
    return OK
