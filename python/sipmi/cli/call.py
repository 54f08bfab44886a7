"""``sipmi call``: call a command and print its value."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import ask, read_json
from .ending import OK
from .options import add_client_options, add_http_options, client
from .output import print_value


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "call",
        help="call a command and print its value",
        description="Calls a command and prints its value: a string as it is, everything else as JSON.",
    )
    parser.add_argument("address", help="fifo:/path, udp:host:port, unix:/path or http(s)://host:port/path")
    parser.add_argument("command", help="ul_dump, usrloc:dump")
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="ARG",
        help="value, or name::value; a value that is a JSON list or object is sent as one",
    )
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with client(options.address, options) as mi:
        reply = ask(mi, options.command, options.arguments, read=read_json)
    print_value(reply.value, as_json=options.json)
    return OK
