"""``sipmi serve``: serve the commands of a Python file."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from .ending import OK, TRANSPORT, Usage, complain
from .output import print_bytes, print_json

if TYPE_CHECKING:
    from ..server import Server


def add(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "serve",
        help="serve the commands of a Python file",
        description="Runs the sipmi.Server that a Python file makes, until Ctrl-C or SIGTERM.",
    )
    parser.add_argument("app", help="app.py, or app.py:NAME where it makes several servers")
    parser.add_argument(
        "--listen", action="append", default=[], metavar="ADDRESS", help="another endpoint; once or more"
    )
    parser.add_argument("--json", action="store_true", help="print the addresses as one line of JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import logging

    server = find_server(options.app)
    for address in options.listen:
        server.listen(address)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server.start()
    except OSError as error:
        return complain(TRANSPORT, str(error), "is another server running there?")
    try:
        if not server.addresses:
            raise Usage(f"{server} has no endpoints: call its listen(), or give --listen ADDRESS")
        announce(server, as_json=options.json)
        # Woken now and then, so that signals are seen also where the wait cannot be interrupted.
        while server.is_running and not stop.wait(0.5):
            pass
    finally:
        server.stop()
    return OK


def announce(server: Server, *, as_json: bool) -> None:
    if as_json:
        print_json(server.addresses)
    else:
        print_bytes("".join(f"serving {server.name} at {address}\n" for address in server.addresses).encode())


def find_server(app: str) -> Server:
    """The server that a file makes."""
    import runpy

    from ..server import Server

    path, name = app, None
    if not Path(path).exists():
        path, _, name = app.rpartition(":")
    if not Path(path).is_file():
        raise Usage(f"there is no file {app}")
    sys.path.insert(0, str(Path(path).resolve().parent))
    # By this name the file knows that it is not run itself.
    names = runpy.run_path(path, run_name="sipmi_app")
    servers = {key: value for key, value in names.items() if isinstance(value, Server)}
    return choose(servers, path, name)


def choose(servers: dict[str, Server], path: str, name: Optional[str]) -> Server:
    if name is not None:
        if name not in servers:
            raise Usage(f"{path} makes no sipmi.Server called {name}{_listed(servers)}")
        return servers[name]
    if not servers:
        raise Usage(f"{path} makes no sipmi.Server")
    if len({id(server) for server in servers.values()}) > 1:
        raise Usage(f"{path} makes several servers: write {path}:NAME{_listed(servers)}")
    return next(iter(servers.values()))


def _listed(names: Iterable[str]) -> str:
    return f" (there are: {', '.join(names)})" if names else ""
