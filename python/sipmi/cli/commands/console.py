"""``sipmi console``: the console of any server, in a browser."""

from __future__ import annotations

import argparse
from typing import Any

from ..ending import Usage
from ..options import ADDRESS_HELP, add_client_options, add_http_options, client_options
from ..servers import resolve
from .serve import serve


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "console",
        help="the console of any server, in a browser",
        description="Serves the console of a server, of any generation, on loopback until Ctrl-C, and opens it in\n"
        "a browser.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\nsipmi console fifo:/tmp/opensips_fifo",
    )
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="see below")
    parser.add_argument("--port", type=port, default=0, metavar="PORT", help="where it serves (default: a free port)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--read-only", action="store_true", help="pass on only what changes nothing")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run, processes=None, watchdog=None, drain_timeout=None, json=False)


def port(text: str) -> int:
    """Read a port (argparse's ``type``)."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text}")
    return number


def run(options: argparse.Namespace) -> int:
    from ...gateway import make_gateway

    target = resolve(options.address)
    server = make_gateway(
        target.address,
        [f"http://127.0.0.1:{options.port}"],
        listen_options={"read_only": True} if options.read_only else None,
        audit=False,
        **client_options(target, options),
    )

    def show() -> None:
        if not server.addresses:
            raise Usage("no address to serve at")
        page = server.addresses[0].removesuffix("/mi") + "/html"
        print(f"console of {target.name}: {page}", flush=True)
        if not options.no_browser:
            open_browser(page)

    return serve(server, options, when_ready=show)


def open_browser(page: str) -> None:
    """Open a page where there is a browser; without one the printed address serves."""
    import webbrowser

    try:
        webbrowser.open(page)
    except webbrowser.Error:
        return
