"""The command ``sipmi``: call commands and serve them from a shell.

Exit codes: 0 success, 1 the server answered with an error, 2 usage, 3 the server cannot be reached or
understood, 4 no answer in time, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from . import __version__
from .client import Client, Reply, connect
from .errors import (
    AmbiguousMethod,
    CallTimeout,
    CodecError,
    Fault,
    InvalidParams,
    MethodNotFound,
    MiError,
    RequestRefused,
)
from .server import Server

OK, ERROR_ANSWER, USAGE, TRANSPORT, TIMEOUT, INTERRUPTED = 0, 1, 2, 3, 4, 130

#: Where OpenSIPS 1.x and 2.x have their FIFO unless told otherwise.
DEFAULT_FIFO = "/tmp/opensips_fifo"

#: Commands that take a list, and its place. A shell has only strings, and nothing on the wire says which.
LISTS = {
    "get_statistics": 0,
    "list_statistics": 0,
    "reset_statistics": 0,
    "statistics:get": 0,
    "statistics:list": 0,
    "statistics:reset": 0,
    "raise_event": 1,
    "evi:raise": 1,
    "dlg_push_var": 2,
    "dialog:push_var": 2,
    "trace_start": 0,
    "tracer:start": 0,
    "fs_subscribe": 1,
    "fs_unsubscribe": 1,
    "freeswitch_scripting:subscribe": 1,
    "freeswitch_scripting:unsubscribe": 1,
    "b2b_trigger_scenario": 3,
    "b2b_logic:trigger_scenario": 3,
}


class Usage(Exception):
    """The command line does not say what can be done."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command and gives its exit code.

    :param arguments: without the program's name; those of the process by default.

    >>> main(["call", "udp:127.0.0.1", "uptime"])
    2
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:  # argparse has printed what is wrong, or the help
        return end.code if isinstance(end.code, int) else USAGE
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. Nothing more is flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Usage as error:
        return _complain(USAGE, str(error), f"sipmi {options.subcommand} --help")
    except MiError as error:
        return _complain(_exit_code(error), _described(error), _hint(error))
    except (ValueError, NotImplementedError) as error:
        return _complain(USAGE, str(error), f"sipmi {options.subcommand} --help")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sipmi",
        description="The OpenSIPS Management Interface: call commands and serve them.",
        epilog="Exit codes: 0 success, 1 error answer, 2 usage, 3 transport, 4 timeout, 130 Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"sipmi {__version__}")
    subcommands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for add in (_add_call, _add_fifo, _add_serve):
        add(subcommands)
    if sys.platform.startswith("linux"):
        from ._cli_affinity import add_commands

        add_commands(subcommands)
    return parser


def _complain(code: int, message: str, hint: Optional[str] = None) -> int:
    """One line on what is wrong, and perhaps one on what to do about it."""
    # What came from a wire may hold anything.
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    print(f"sipmi: {line}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return code


def _exit_code(error: MiError) -> int:
    if isinstance(error, Fault):
        return ERROR_ANSWER
    if isinstance(error, RequestRefused):
        return USAGE
    return TIMEOUT if isinstance(error, CallTimeout) else TRANSPORT


def _described(error: MiError) -> str:
    if isinstance(error, Fault):
        return f"{error.address}: {error.command}: {error}"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _hint(error: MiError) -> Optional[str]:
    address = error.address or "ADDRESS"
    if isinstance(error, MethodNotFound):
        return f"the commands there: sipmi call '{address}' which"
    if isinstance(error, AmbiguousMethod):
        return "write it with its module: MODULE:COMMAND"
    if isinstance(error, InvalidParams):
        return f"its parameters: sipmi call '{address}' which {error.command}"
    if isinstance(error, CallTimeout):
        return "is the server busy, or does it speak another wire? See --timeout and --wire"
    if isinstance(error, CodecError):
        return "does the server speak another wire? See --wire"
    if isinstance(error, (Fault, RequestRefused)):
        return None
    return "is the server running, and is this its address?"


# -- calls ----------------------------------------------------------------------------------------


def _add_client_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="how long to wait; 5")
    parser.add_argument(
        "--wire",
        choices=("auto", "text", "jsonrpc", "mi_json", "xmlrpc"),
        default="auto",
        help="what the server speaks",
    )
    parser.add_argument("--reply-dir", metavar="DIRECTORY", help="(FIFO) where replies go; /tmp")
    parser.add_argument("--json", action="store_true", help="print the value as one line of JSON")


def _add_http_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--auth", metavar="USER:PASSWORD", help="(HTTP) who calls; SIPMI_AUTH, which no list of processes shows"
    )
    parser.add_argument("--token", help="(HTTP) a bearer token; SIPMI_TOKEN")
    parser.add_argument("--cafile", metavar="FILE", help="(https) certificates that may vouch for the server, PEM")
    parser.add_argument("--cert", metavar="FILE", help="(https) the client's own certificate, PEM")
    parser.add_argument("--key", metavar="FILE", help="(https) its key, where it is not in the same file")
    parser.add_argument("--insecure", action="store_true", help="(https) believe that any server is the right one")


def _connect(address: str, options: argparse.Namespace) -> Client:
    http = _http_options(options) if hasattr(options, "auth") else {}
    return connect(address, timeout=options.timeout, wire=options.wire, reply_dir=options.reply_dir, **http)


def _http_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of HTTP. The environment counts for HTTP addresses alone, and after the command line."""
    is_http = options.address.startswith(("http:", "https:"))
    auth, token = options.auth, options.token
    if is_http and auth is None and token is None and "@" not in options.address:
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


def _add_call(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "call",
        help="call a command and print its value",
        description="Calls a command and prints its value: a string as it is, everything else as JSON.",
    )
    parser.add_argument("address", help="fifo:/path, udp:host:port, unix:/path or http(s)://host:port/path")
    parser.add_argument("command", help="ul_dump, usrloc:dump")
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="ARG",
        help="value, or name::value; a value that is a JSON list or object is sent as one",
    )
    _add_client_options(parser)
    _add_http_options(parser)
    parser.set_defaults(run=_call)


def _call(options: argparse.Namespace) -> int:
    with _connect(options.address, options) as mi:
        reply = _ask(mi, options.command, options.arguments, read=_read_json)
    value = reply.value
    if isinstance(value, str) and not options.json:
        _print(value.encode("utf-8", "surrogateescape") + b"\n")
    else:
        _print_json(value, spread=not options.json)
    return OK


def _ask(mi: Client, command: str, arguments: Sequence[str], *, read: Callable[[str], Any]) -> Reply:
    """Calls with the strings of a shell: those that a list is wanted for become one."""
    pairs = [_split(argument) for argument in arguments]
    values = [read(value) for _, value in pairs]
    place = LISTS.get(command)
    if place is not None and len(pairs) > place and not isinstance(values[place], list):
        name = pairs[place][0]
        pairs = [*pairs[:place], (name, "")]
        values = [*values[:place], values[place:]]
    if all(isinstance(value, str) for value in values):
        return mi.request_strings(command, [(name, value) for (name, _), value in zip(pairs, values)])
    positional = [value for (name, _), value in zip(pairs, values) if not name]
    named = {name: value for (name, _), value in zip(pairs, values) if name}
    return Reply(mi._core.request(command, tuple(positional), named, mi.timeout))


def _split(argument: str) -> tuple[str, str]:
    """``name::value`` as text wires have it; anything else has no name.

    >>> _split("aor::alice"), _split("::a::b"), _split("sip:a@b"), _split("{::1}")
    (('aor', 'alice'), ('', 'a::b'), ('', 'sip:a@b'), ('', '{::1}'))
    """
    name, separator, value = argument.partition("::")
    if separator and not name:
        return "", value
    is_name = bool(separator) and all(char.isalnum() or char in "_-." for char in name)
    return (name, value) if is_name else ("", argument)


def _read_json(value: str) -> Any:
    """A list or object, when it is written as one."""
    if value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            pass
    return value


def _print_json(value: Any, *, spread: bool) -> None:
    # ASCII alone: bytes that are not UTF-8 become lone surrogates, which a terminal does not take.
    text = json.dumps(value, indent=2) if spread else json.dumps(value, separators=(",", ":"))
    _print(text.encode() + b"\n")


def _print(output: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def _add_fifo(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "fifo",
        help="call a command as `opensipsctl fifo` does",
        description="Calls a command through a FIFO and prints the reply's text, as `opensipsctl fifo` does.",
    )
    parser.add_argument("command", help="ul_dump")
    parser.add_argument("arguments", nargs="*", metavar="ARG", help="value, or name::value")
    parser.add_argument(
        "--fifo",
        metavar="PATH",
        default=os.environ.get("OPENSIPS_FIFO") or DEFAULT_FIFO,
        help=f"the command FIFO; OPENSIPS_FIFO, or {DEFAULT_FIFO}",
    )
    _add_client_options(parser)
    parser.set_defaults(run=_fifo)


def _fifo(options: argparse.Namespace) -> int:
    address = options.fifo if options.fifo.startswith("fifo:") else f"fifo:{options.fifo}"
    with _connect(address, options) as mi:
        if options.wire == "auto" and not options.json and mi.generation == "sipmi":
            # It speaks both, and this is the text that scripts know.
            options.wire = "text"
            mi = _connect(address, options)
        reply = _ask(mi, options.command, options.arguments, read=str)
    if options.json:
        _print_json(reply.value, spread=False)
        return OK
    _print(_without_status(reply.text))
    return OK if reply.ok else ERROR_ANSWER


def _without_status(text: bytes) -> bytes:
    """What opensipsctl prints of a reply: no first line that is ``200 OK``, and no empty lines.

    >>> _without_status(b"200 OK\\nServer:: x\\n\\n")
    b'Server:: x\\n'
    """
    lines = text.split(b"\n")
    if lines[0] == b"200 OK":
        del lines[0]
    return b"".join(line + b"\n" for line in lines if line)


# -- serving --------------------------------------------------------------------------------------


def _add_serve(subcommands: Any) -> None:
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
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    server = _find_server(options.app)
    for address in options.listen:
        server.listen(address)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server.start()
    except OSError as error:
        return _complain(TRANSPORT, str(error), "is another server running there?")
    try:
        if not server.addresses:
            raise Usage(f"{server} has no endpoints: call its listen(), or give --listen ADDRESS")
        _announce(server, as_json=options.json)
        # Woken now and then, so that signals are seen also where the wait cannot be interrupted.
        while server.is_running and not stop.wait(0.5):
            pass
    finally:
        server.stop()
    return OK


def _announce(server: Server, *, as_json: bool) -> None:
    if as_json:
        _print_json(server.addresses, spread=False)
    else:
        _print("".join(f"serving {server.name} at {address}\n" for address in server.addresses).encode())


def _find_server(app: str) -> Server:
    """The server that a file makes."""
    path, name = app, None
    if not Path(path).exists():
        path, _, name = app.rpartition(":")
    if not Path(path).is_file():
        raise Usage(f"there is no file {app}")
    sys.path.insert(0, str(Path(path).resolve().parent))
    # By this name the file knows that it is not run itself.
    names = runpy.run_path(path, run_name="sipmi_app")
    servers = {key: value for key, value in names.items() if isinstance(value, Server)}
    return _choose(servers, path, name)


def _choose(servers: dict[str, Server], path: str, name: Optional[str]) -> Server:
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


if __name__ == "__main__":
    sys.exit(main())
