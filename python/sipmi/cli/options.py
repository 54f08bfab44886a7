"""Options that say how a server is reached, and the client that comes of them."""

from __future__ import annotations

import argparse
import os
from typing import Any, Optional

from ..client import Client, connect
from .ending import Usage
from .output import FORMS
from .servers import Target

ADDRESS_HELP = (
    "fifo:/path, udp:host:port, unix:/path, http(s)://host:port/path, or the name of a server\n"
    "in sipmi.toml. Without one: SIPMI_ADDRESS, or the default there."
)


def add_address(parser: argparse.ArgumentParser) -> None:
    """The server, where nothing but options follows."""
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help=ADDRESS_HELP.replace("\n", " "))


def add_client_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait for an answer; 5")
    parser.add_argument(
        "--wire",
        choices=("auto", "text", "jsonrpc", "mi_json", "xmlrpc"),
        help="what the server speaks; found out",
    )
    parser.add_argument("--reply-dir", metavar="DIRECTORY", help="(FIFO) where replies go; /tmp")
    parser.add_argument(
        "--socket-buf-size",
        type=int,
        metavar="BYTES",
        help="(UNIX) modparam socket_buf_size of the server's mi_datagram (4.0 and later); 65457",
    )


def at_least_one(text: str) -> int:
    """Read a number from 1 (argparse's ``type``)."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text}")
    return number


def add_json(parser: argparse.ArgumentParser, what: str = "print the value as one line of JSON") -> None:
    parser.add_argument("--json", action="store_true", help=what)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Let the caller choose the form of a value; ``--json`` is short for one of them."""
    parser.add_argument(
        "-o", "--output", choices=FORMS, help="the form of the value (default: text of a string, else readable JSON)"
    )
    add_json(parser)


def add_http_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="(HTTP) who calls; SIPMI_AUTH, which no list of processes shows"
    )
    parser.add_argument("--token", help="(HTTP) a bearer token; SIPMI_TOKEN")
    parser.add_argument("--cafile", metavar="FILE", help="(https) certificates that may vouch for the server, PEM")
    parser.add_argument("--cert", metavar="FILE", help="(https) the client's own certificate, PEM")
    parser.add_argument("--key", metavar="FILE", help="(https) its key, where it is not in the same file")
    parser.add_argument("--insecure", action="store_true", help="(https) believe that any server is the right one")
    parser.add_argument(
        "--receive-buf-size",
        type=int,
        metavar="BYTES",
        help="(HTTP) modparam receive_buf_size of the server's httpd (3.6 and later); 1024",
    )


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before commands that end calls, drop registrations, reload, kill"
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="send it in spite of a limit or hazard of the server, where that is possible",
    )


def client(target: Target, options: argparse.Namespace, *, wire: Optional[str] = None) -> Client:
    """A client of a server, as the options have it, and the file of servers where they say nothing."""
    return connect(target.address, **client_options(target, options, wire=wire))


def client_options(target: Target, options: argparse.Namespace, *, wire: Optional[str] = None) -> dict[str, Any]:
    """Return the options of :func:`connect` beside the address."""

    def said(name: str) -> Any:
        value = getattr(options, name, None)
        return target.options.get(name) if value is None else value

    timeout = said("timeout")
    return {
        "timeout": 5.0 if timeout is None else timeout,
        "wire": wire or said("wire") or "auto",
        "reply_dir": said("reply_dir"),
        "socket_buf_size": said("socket_buf_size"),
        **_http_options(target, options, said),
    }


def _http_options(target: Target, options: argparse.Namespace, said: Any) -> dict[str, Any]:
    """Return the options of HTTP. The environment counts for HTTP addresses alone, and after all else."""
    is_http = target.address.startswith(("http:", "https:"))
    auth, token = said("auth"), said("token")
    if is_http and auth is None and token is None and "@" not in target.address:
        auth, token = os.environ.get("SIPMI_AUTH") or None, os.environ.get("SIPMI_TOKEN") or None
    if isinstance(auth, str):
        if ":" not in auth:
            raise Usage("expected USER:PASSWORD, found no colon")
        auth = tuple(auth.split(":", 1))
    cert, key = said("cert"), said("key")
    insecure = getattr(options, "insecure", False)
    if insecure and options.cafile is not None:
        raise Usage("--cafile and --insecure exclude each other")
    if key is not None and cert is None:
        raise Usage("--key goes with --cert")
    return {
        "auth": auth,
        "token": token,
        "cafile": None if insecure else said("cafile"),
        "cert": cert if key is None else (cert, key),
        "verify": not insecure and target.options.get("verify", True),
        "receive_buf_size": said("receive_buf_size"),
    }
