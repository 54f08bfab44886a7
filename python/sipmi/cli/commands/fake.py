"""``sipmi fake``: an OpenSIPS to try things on, with living numbers."""

from __future__ import annotations

import argparse
from typing import Any

from ..ending import OK, TRANSPORT, complain
from ..options import add_json
from .serve import announce

#: Where it serves unless told otherwise: nothing of a real OpenSIPS is there.
ADDRESSES = ("http://127.0.0.1:8888", "udp:127.0.0.1:8080")


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "fake",
        help="an OpenSIPS to try things on",
        description="Serves as OpenSIPS of a version does, with commands, statistics, users and calls, until Ctrl-C.\n"
        "It needs no OpenSIPS and sends no SIP.",
        epilog="sipmi fake 4.0 --traffic\nsipmi fake 2.4 --listen fifo:/tmp/opensips_fifo --users 500",
    )
    parser.add_argument(
        "version", nargs="?", default="4.0", help="1.8, 1.11, 2.4, 3.2, 3.4, 3.6, 4.0 or 4.1 (default: 4.0)"
    )
    parser.add_argument(
        "--listen",
        action="append",
        default=[],
        metavar="ADDRESS",
        help=f"where it serves; once or more (default: {' and '.join(ADDRESSES)})",
    )
    parser.add_argument("--users", type=count, default=20, metavar="N", help="registered users (default: 20)")
    parser.add_argument("--calls", type=count, default=5, metavar="N", help="calls in progress, about (default: 5)")
    parser.add_argument("--traffic", action="store_true", help="let users register and calls come and go")
    add_json(parser, "print the addresses as one line of JSON")
    parser.set_defaults(run=run)


def count(text: str) -> int:
    """Read a number from 0 to 100,000 (argparse's ``type``)."""
    number = int(text)
    if not 0 <= number <= 100_000:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 100000, got {text}")
    return number


def run(options: argparse.Namespace) -> int:
    from ...testing import FakeOpenSIPS
    from ...testing.fake.traffic import Traffic

    fake = FakeOpenSIPS(options.version, listen=options.listen or ADDRESSES)
    traffic = Traffic(fake, users=options.users, calls=options.calls)
    fake.server._when_ready = lambda: announce(fake.server, as_json=options.json)
    if options.traffic:
        traffic.start()
    try:
        fake.open()
        fake.server.run()
    except OSError as error:
        return complain(TRANSPORT, str(error), "is another server running there? See --listen")
    finally:
        traffic.stop()
        fake.stop()
    return OK
