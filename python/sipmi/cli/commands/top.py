"""``sipmi top``: the statistics of a server, live."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from ..ending import OK, exit_code
from ..options import add_address, add_client_options, add_http_options, add_json, client
from ..output import print_json
from ..servers import resolve
from ._board import Board
from .watch import Absent, add_interval, sample_value


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "top",
        help="the statistics of a server, live",
        description="Shows a server's statistics as they change: rates, history, what is busiest first.",
        epilog="Keys: q quits, space stands still, s sorts, / filters, i hides what is idle, the arrows select,\n"
        "Enter draws a chart of it, + and - ask less and more often.\n"
        "Without a terminal, or with --count, each reading is printed.",
    )
    add_address(parser)
    parser.add_argument(
        "--only", action="append", metavar="STATISTIC", help="a group (core:) or one of it; once or more, all"
    )
    add_interval(parser)
    add_json(parser, "print a line of JSON for each reading")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    target = resolve(options.address)
    selectors = options.only or ["all"]
    is_live = sys.stdin.isatty() and sys.stdout.isatty() and not options.json and options.count is None
    with client(target, options) as mi:
        board = Board(target.name, options.interval)
        if is_live:
            from ..extras import need

            need("prompt_toolkit", "top")
            from ._screen import run_live

            return run_live(mi, board, selectors)
        code, absent = OK, Absent()
        for sample in mi.watch(selectors, interval=options.interval, count=options.count):
            code = OK if sample.error is None else exit_code(sample.error)
            absent.tell(sample)
            if options.json:
                print_json(sample_value(sample))
                continue
            board.take(sample)
            print(printed(board), flush=True)
        return code


def printed(board: Board) -> str:
    """A picture for where there is no screen: everything, and no keys."""
    columns = shutil.get_terminal_size((120, 24)).columns
    lines = "".join(text for _, text in board.draw(columns, len(board.rows) + 6)).split("\n")
    return "\n".join(line.rstrip() for line in lines[:-1]).rstrip() + "\n"
