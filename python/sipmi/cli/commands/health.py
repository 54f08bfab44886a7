"""``sipmi health``: whether a server answers, for containers and load balancers."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..ending import OK, exit_code
from ..options import add_address, add_client_options, add_http_options, add_json, client
from ..output import print_json
from ..servers import resolve


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "health",
        help="whether a server answers, by the exit code",
        description="Asks a server for its version. Ends with 0 when it answers, with 3 when it cannot be reached,\n"
        "with 4 when it does not answer in time.",
        epilog="HEALTHCHECK CMD sipmi health http://127.0.0.1:8888/mi --timeout 2",
    )
    add_address(parser)
    add_json(parser, "print one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ...errors import MiError

    target = resolve(options.address)
    began = time.perf_counter()
    try:
        with client(target, options) as mi:
            info = mi.server_info()
    except MiError as error:
        if not options.json:
            raise
        print_json({"server": target.name, "ok": False, "error": str(error)})
        return exit_code(error)
    elapsed = time.perf_counter() - began
    if options.json:
        print_json({"server": target.name, "ok": True, "version": info.version, "generation": info.generation,
                    "wire": info.wire, "seconds": round(elapsed, 6)})  # fmt: skip
    else:
        print(f"{target.name}: ok, {info.version or info.generation} over {info.wire}, {elapsed * 1000:.1f} ms")
    return OK
