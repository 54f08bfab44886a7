"""``sipmi diff``: the differences between the commands of two servers."""

from __future__ import annotations

import argparse
from typing import Any

from ..ending import OK
from ..options import ADDRESS_HELP, add_client_options, add_http_options, add_json, client
from ..output import print_json
from ..servers import resolve


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "diff",
        help="the differences between the commands of two servers",
        description="Compares the commands of two servers, of any versions. Different names of one command are no\n"
        "difference. - is only on the first, + only on the second, = has another name there, ~ takes other parameters.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\nsipmi diff udp:127.0.0.1:8080 http://127.0.0.1:8888/mi",
    )
    parser.add_argument("left", metavar="ADDRESS", help="the first server")
    parser.add_argument("right", metavar="ADDRESS", help="the second server")
    add_json(parser, "print one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    targets = [resolve(word) for word in (options.left, options.right)]
    with client(targets[0], options) as left, client(targets[1], options) as right:
        difference = left.commands().diff(right.commands())
    if options.json:
        print_json(difference.to_dict())
    else:
        print(difference if difference else "no difference")
    return OK
