"""``sipmi fifo``: call a command as ``opensipsctl fifo`` does."""

from __future__ import annotations

import argparse
import os
from typing import Any

from .arguments import ask
from .ending import ERROR_ANSWER, OK
from .options import add_client_options, client
from .output import print_bytes, print_json

#: Where OpenSIPS 1.x and 2.x have their FIFO unless told otherwise.
DEFAULT_FIFO = "/tmp/opensips_fifo"


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "fifo",
        help="call a command as `opensipsctl fifo` does",
        description="Calls a command through a FIFO and prints the reply's text, as `opensipsctl fifo` does.",
    )
    parser.add_argument("command", help="ul_dump")
    parser.add_argument("arguments", nargs="*", metavar="ARG", help="value, or name::value")
    parser.add_argument(
        "--fifo",
        metavar="PATH",
        default=os.environ.get("OPENSIPS_FIFO") or DEFAULT_FIFO,
        help=f"the command FIFO; OPENSIPS_FIFO, or {DEFAULT_FIFO}",
    )
    add_client_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    address = options.fifo if options.fifo.startswith("fifo:") else f"fifo:{options.fifo}"
    with client(address, options) as mi:
        if options.wire == "auto" and not options.json and mi.generation == "sipmi":
            # It speaks both, and this is the text that scripts know.
            options.wire = "text"
            mi = client(address, options)
        reply = ask(mi, options.command, options.arguments, read=str)
    if options.json:
        print_json(reply.value)
        return OK
    print_bytes(without_status(reply.text))
    return OK if reply.ok else ERROR_ANSWER


def without_status(text: bytes) -> bytes:
    """What opensipsctl prints of a reply: no first line that is ``200 OK``, and no empty lines.

    >>> without_status(b"200 OK\\nServer:: x\\n\\n")
    b'Server:: x\\n'
    """
    lines = text.split(b"\n")
    if lines[0] == b"200 OK":
        del lines[0]
    return b"".join(line + b"\n" for line in lines if line)
