"""``sipmi call``: call a command and print its value."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ...client import Client
from ...errors import MiError
from ..arguments import ask, read_json, with_stdin
from ..confirm import confirm
from ..ending import ERROR_ANSWER, OK, UNCLEAR_HINT, USAGE, Failure, Usage, complain, explain
from ..options import ADDRESS_HELP, add_client_options, add_force, add_http_options, add_output, add_yes, client
from ..output import print_in, print_value
from ..servers import Target, take_target


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "call",
        help="call a command and print its value",
        usage="sipmi call [OPTION...] [ADDRESS] COMMAND [ARG...]",
        description="Calls a command and prints its value: a string as it is, everything else as JSON.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\n"
        "COMMAND is ul_dump, usrloc:dump; or -: lines of COMMAND [ARG...] from standard input.\n"
        "ARG is a value, name::value or name=value (::a=b is the value a=b). A JSON list or object is\n"
        "sent as one; - is standard input.",
    )
    parser.add_argument("words", nargs="+", metavar="WORD", help="[ADDRESS] COMMAND [ARG...]; see below")
    parser.add_argument("--keep-going", action="store_true", help="(lines) go on after one that fails")
    add_yes(parser)
    add_output(parser)
    add_client_options(parser)
    add_http_options(parser)
    add_force(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    words = list(options.words)
    target = take_target(words)
    if not words:
        raise Usage("expected a command after the address")
    with client(target, options) as mi:
        if words == ["-"]:
            return call_lines(mi, target, options)
        call(mi, target, words[0], with_stdin(words[1:]), options)
    return OK


def call(mi: Client, target: Target, command: str, arguments: Sequence[str], options: argparse.Namespace) -> None:
    """Calls and prints."""
    confirm(command, target.name, yes=options.yes)
    reply = ask(mi, command, arguments, read=read_json, force=options.force)
    if options.output is None:
        print_value(reply.value, as_json=options.json)
    else:
        print_in(options.output, reply)
    if reply.code is None:
        raise Failure(f"{reply.address}: {command}: unclear whether it succeeded", UNCLEAR_HINT, code=ERROR_ANSWER)


def call_lines(mi: Client, target: Target, options: argparse.Namespace) -> int:
    """Calls what standard input says, line by line. Gives the code of the first one that fails."""
    result = OK
    for line in sys.stdin:
        try:
            words = shlex.split(line, comments=True)
            if words:
                call(mi, target, words[0], words[1:], options)
            code = OK
        except MiError as error:
            code = explain(error)
        except Failure as error:
            code = complain(error.code, str(error), error.hint)
        except ValueError as error:
            code = complain(USAGE, f"{line.strip()}: {error}")
        result = result or code
        if code and not options.keep_going:
            break
    return result
