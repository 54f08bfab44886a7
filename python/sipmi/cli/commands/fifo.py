"""``sipmi fifo``: call a command as ``opensipsctl fifo`` does."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..arguments import ask_pairs, with_stdin
from ..confirm import confirm
from ..ending import ERROR_ANSWER, OK
from ..opensipsctl import as_opensipsctl, quoted
from ..options import add_client_options, add_json, add_yes, client
from ..output import print_bytes, print_json
from ..servers import Target

#: Where OpenSIPS has its FIFO: 1.x and 2.x unless told otherwise, and packages of 3.x and 4.x.
USUAL_FIFOS = ("/tmp/opensips_fifo", "/run/opensips/opensips_fifo", "/var/run/opensips/opensips_fifo")


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "fifo",
        help="call a command as `opensipsctl fifo` does",
        description="Calls a command through a FIFO and prints the reply's text, as `opensipsctl fifo` does.",
    )
    parser.add_argument("command", help="ul_dump")
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="ARG",
        help="value or name::value, with the value in quotes or not, as opensipsctl takes it",
    )
    parser.add_argument(
        "--fifo",
        metavar="PATH",
        help=f"the command FIFO; OPENSIPS_FIFO, or the first that is there of {', '.join(USUAL_FIFOS[:2])}",
    )
    add_yes(parser)
    add_json(parser)
    add_client_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    path = options.fifo or os.environ.get("OPENSIPS_FIFO") or usual_fifo()
    address = path if path.startswith("fifo:") else f"fifo:{path}"
    target = Target(address, address, {})
    arguments = as_opensipsctl(with_stdin(options.arguments, quoted))
    confirm(options.command, target.name, yes=options.yes)
    with client(target, options) as mi:
        # A server of ours speaks both, and text is what scripts know.
        is_text = options.wire in (None, "auto") and not options.json and mi.generation == "sipmi"
        with client(target, options, wire="text") if is_text else mi as mi:
            reply = ask_pairs(mi, options.command, arguments)
    if options.json:
        print_json(reply.value)
        return OK
    print_bytes(without_status(reply.text))
    return OK if reply.ok else ERROR_ANSWER


def usual_fifo() -> str:
    """The first of the usual FIFOs that is there."""
    return next((path for path in USUAL_FIFOS if os.path.exists(path)), USUAL_FIFOS[0])


def without_status(text: bytes) -> bytes:
    """Return a reply as opensipsctl prints it: no first line that is ``200 OK``, and no empty lines.

    >>> without_status(b"200 OK\\nServer:: x\\n\\n")
    b'Server:: x\\n'
    """
    lines = text.split(b"\n")
    if lines[0] == b"200 OK":
        del lines[0]
    return b"".join(line + b"\n" for line in lines if line)
