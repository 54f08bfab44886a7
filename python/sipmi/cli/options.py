"""Options that say how a server is reached, and the client that comes of them."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..client import Client, connect
from .ending import Usage


def add_client_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="how long to wait; 5")
    parser.add_argument(
        "--wire",
        choices=("auto", "text", "jsonrpc", "mi_json", "xmlrpc"),
        default="auto",
        help="what the server speaks",
    )
    parser.add_argument("--reply-dir", metavar="DIRECTORY", help="(FIFO) where replies go; /tmp")
    parser.add_argument("--json", action="store_true", help="print the value as one line of JSON")


def add_http_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="(HTTP) who calls; SIPMI_AUTH, which no list of processes shows"
    )
    parser.add_argument("--token", help="(HTTP) a bearer token; SIPMI_TOKEN")
    parser.add_argument("--cafile", metavar="FILE", help="(https) certificates that may vouch for the server, PEM")
    parser.add_argument("--cert", metavar="FILE", help="(https) the client's own certificate, PEM")
    parser.add_argument("--key", metavar="FILE", help="(https) its key, where it is not in the same file")
    parser.add_argument("--insecure", action="store_true", help="(https) believe that any server is the right one")


def client(address: str, options: argparse.Namespace) -> Client:
    """A client of the server at an address, as the options have it."""
    http = _http_options(address, options) if hasattr(options, "auth") else {}
    return connect(address, timeout=options.timeout, wire=options.wire, reply_dir=options.reply_dir, **http)


def _http_options(address: str, options: argparse.Namespace) -> dict[str, Any]:
    """What was said of HTTP. The environment counts for HTTP addresses alone, and after the command line."""
    is_http = address.startswith(("http:", "https:"))
    auth, token = options.auth, options.token
    if is_http and auth is None and token is None and "@" not in address:
        auth, token = os.environ.get("SIPMI_AUTH") or None, os.environ.get("SIPMI_TOKEN") or None
    if auth is not None and ":" not in auth:
        raise Usage("expected USER:PASSWORD, found no colon")
    if options.key is not None and options.cert is None:
        raise Usage("--key goes with --cert")
    return {
        "auth": None if auth is None else tuple(auth.split(":", 1)),
        "token": token,
        "cafile": options.cafile,
        "cert": options.cert if options.key is None else (options.cert, options.key),
        "verify": not options.insecure,
    }
