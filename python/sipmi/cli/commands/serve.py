"""``sipmi serve``: serve the commands of a Python file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..ending import OK, TRANSPORT, Failure, Usage, complain
from ..options import add_json
from ..output import print_bytes, print_json

if TYPE_CHECKING:
    from ...server import Server


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
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="number of worker processes, each with an interpreter of its own; 1",
    )
    add_drain_timeout(parser)
    parser.add_argument(
        "--watchdog",
        type=float,
        metavar="SECONDS",
        help="kill and replace a worker of --processes that runs no Python for so long; off",
    )
    parser.add_argument(
        "--reload", action="store_true", help="begin again when a file of the app changes; for development"
    )
    add_json(parser, "print the addresses as one line of JSON")
    parser.set_defaults(run=run)


def add_drain_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--drain-timeout",
        type=float,
        metavar="SECONDS",
        help="how long running commands may go on after a signal to stop; what the server says, or 5",
    )


def run(options: argparse.Namespace) -> int:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if options.reload:
        from ._reload import serve_again

        return serve_again(options.app, lambda: serve_app(options))
    return serve_app(options)


def serve_app(options: argparse.Namespace) -> int:
    """Serves what a file makes."""
    server = find_server(options.app)
    for address in options.listen:
        server.listen(address)
    return serve(server, options)


def serve(server: Server, options: argparse.Namespace, *, when_ready: Optional[Callable[[], None]] = None) -> int:
    """Serves until a signal says to stop; once it serves it says where, or calls `when_ready`."""
    if options.watchdog is not None and options.processes is None and not server._processes:
        raise Usage("--watchdog watches the workers of several processes: give --processes N, too")
    server._when_ready = when_ready or (lambda: announce(server, as_json=options.json))
    try:
        server.run(processes=options.processes, drain_timeout=options.drain_timeout, watchdog=options.watchdog)
    except OSError as error:
        return complain(TRANSPORT, str(error), "is another server running there?")
    except RuntimeError as error:
        raise Failure(str(error)) from error
    return OK


def announce(server: Server, *, as_json: bool) -> None:
    """Says where it serves, as soon as it does."""
    if not server.addresses:
        raise Usage(f"{server} has no endpoints: call its listen(), or give --listen ADDRESS")
    if as_json:
        print_json(server.addresses)
    else:
        print_bytes("".join(f"serving {server.name} at {address}\n" for address in server.addresses).encode())


def find_server(app: str) -> Server:
    """The server that a file makes."""
    import runpy

    from ...server import Server

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
