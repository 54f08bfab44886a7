"""``sipmi doctor``: why a server cannot be talked to, and what to type about it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from .. import colour
from ..ending import ERROR_ANSWER, OK
from ..options import add_address, add_client_options, add_http_options, add_json, client_options
from ..output import print_json
from ..servers import resolve

if TYPE_CHECKING:
    from ...diagnosis import Diagnosis

COLOURS = {"ok": colour.GREEN, "hint": colour.YELLOW, "problem": colour.RED}


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "doctor",
        help="why a server cannot be talked to, and what to type about it",
        description="Looks why a server cannot be talked to: files, rights, processes, sockets, certificates,\n"
        "and what it answers to the question for its version. As root it sees more.\n"
        "Ends with 1 when there is a problem.",
    )
    add_address(parser)
    parser.add_argument(
        "--events-at", metavar="SOCKET", help="also whether the server reaches where events are to go: udp:host:port"
    )
    add_json(parser, "print one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ...diagnosis import doctor

    target = resolve(options.address)
    diagnosis = doctor(target.address, event_address=options.events_at, **client_options(target, options))
    if options.json:
        print_json(diagnosis.to_dict())
    else:
        print(told(diagnosis, painted=colour.is_wanted(sys.stdout)))
    return OK if diagnosis.ok else ERROR_ANSWER


def told(diagnosis: Diagnosis, *, painted: bool) -> str:
    """A diagnosis for people."""
    if not painted:
        return str(diagnosis)
    lines = [colour.paint(diagnosis.address, colour.BOLD)]
    for finding in diagnosis.findings:
        first, *fixes = str(finding).splitlines()
        lines.append(colour.paint(first[:8], colour.BOLD, COLOURS[finding.level]) + first[8:])
        lines += [colour.paint(line, colour.CYAN) for line in fixes]
    return "\n".join(lines)
