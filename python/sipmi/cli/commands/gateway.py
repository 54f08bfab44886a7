"""``sipmi gateway``: a server that passes everything on to another one, of any generation."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..ending import Usage
from ..options import ADDRESS_HELP, add_client_options, add_http_options, add_json, client_options
from ..servers import resolve
from .serve import add_drain_timeout, serve

if TYPE_CHECKING:
    from ...server import ListenOptions


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "gateway",
        help="serve what another server offers, on every wire",
        description="Serves the commands of another server, of any generation, on every wire and transport: an old\n"
        "FIFO over HTTPS, with answers that are kept for a while, and with rights by user and network.",
        epilog=f"ADDRESS is {ADDRESS_HELP}\n"
        "--rights is WHO=WHAT[,WHAT...]: a user, a network or *, and patterns of commands or @read.",
    )
    parser.add_argument("address", metavar="ADDRESS", help="whom it calls: an address or a name; see below")
    parser.add_argument(
        "--listen", action="append", required=True, metavar="ADDRESS", help="where it serves; once or more"
    )
    parser.add_argument(
        "--cache", action="append", default=[], metavar="COMMAND=SECONDS", help="how long an answer is good: get_*=1"
    )
    parser.add_argument("--rights", action="append", default=[], metavar="WHO=WHAT", help="who may do what; see below")
    parser.add_argument("--only", action="append", default=[], metavar="COMMAND", help="pass on only these: ul_*")
    parser.add_argument("--read-only", action="store_true", help="pass on only what changes nothing")
    parser.add_argument("--allow-from", action="append", metavar="NETWORK", help="serve only these: 10.0.0.0/8")
    parser.add_argument("--serve-tls", metavar="FILE", help="(https) certificate chain and key, PEM")
    parser.add_argument(
        "--serve-auth", action="append", default=[], metavar="USER:PASSWORD", help="(HTTP) who may call; once or more"
    )
    parser.add_argument("--no-audit", action="store_true", help="log no line for each request")
    add_drain_timeout(parser)
    add_json(parser, "print the addresses as one line of JSON")
    add_client_options(parser)
    add_http_options(parser)
    parser.set_defaults(run=run, processes=None, watchdog=None)


def run(options: argparse.Namespace) -> int:
    import logging

    from ...gateway import make_gateway

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    target = resolve(options.address)
    rights = {who: what.split(",") for who, what in _pairs(options.rights, "WHO=WHAT")}
    server = make_gateway(
        target.address,
        [(address, listen_options(address, options)) for address in options.listen],
        only=options.only,
        cache={command: _seconds(value) for command, value in _pairs(options.cache, "COMMAND=SECONDS")} or None,
        rights=rights or None,
        listen_options={"read_only": True} if options.read_only else None,
        audit=not options.no_audit,
        **client_options(target, options),
    )
    return serve(server, options)


def listen_options(address: str, options: argparse.Namespace) -> ListenOptions:
    """Return the options of one endpoint that its transport has."""
    said: ListenOptions = {}
    is_http = address.startswith("http")
    if options.allow_from and (is_http or address.startswith("udp:")):
        said["allow_from"] = options.allow_from
    if options.serve_tls is not None and address.startswith("https"):
        said["tls"] = options.serve_tls
    if options.serve_auth and is_http:
        said["auth"] = dict(_pairs(options.serve_auth, "USER:PASSWORD", ":"))
    return said


def _pairs(given: Iterable[str], expected: str, between: str = "=") -> list[tuple[str, str]]:
    return [_pair(said, expected, between) for said in given]


def _pair(said: str, expected: str, between: str = "=") -> tuple[str, str]:
    name, found, value = said.partition(between)
    if not (name and found):
        raise Usage(
            f"expected {expected}, found {said!r}" if between == "=" else f"expected {expected}, found no colon"
        )
    return name, value


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Usage(f"expected seconds, found {text!r}") from None
