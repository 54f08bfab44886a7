"""The command ``sipmi``: call commands, serve them, and watch servers, from a shell.

Exit codes: 0 success, 1 the server answered with an error or what was asked for could not be done, 2 usage,
3 the server cannot be reached or understood, 4 no answer in time, 130 Ctrl-C.

Each subcommand is a file in ``commands``: its ``add`` describes it to argparse, its ``run`` does it and
gives the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Callable, Optional

from .._core import __version__
from ..errors import MiError
from .commands import (
    call,
    cert,
    command_list,
    completion,
    console,
    diff,
    doctor,
    events,
    explain,
    fake,
    fifo,
    fleet,
    gateway,
    health,
    irq,
    pin,
    serve,
    shell,
    top,
    uac,
    watch,
)
from .ending import INTERRUPTED, OK, USAGE, Failure, complain, refusal
from .ending import explain as explain_error
from .parser import Parser, shorten_usage

#: In the order in which the help lists them.
SUBCOMMANDS = (
    call, fifo, shell, top, watch, events, command_list, explain, diff, health, doctor, console, uac, fleet, serve,
    gateway, fake, cert, completion,
)  # fmt: skip
#: Those that need Linux.
LINUX_SUBCOMMANDS = (irq, pin)

EXIT_CODES = "Exit codes: 0 success, 1 error answer, 2 usage, 3 transport, 4 timeout, 130 Ctrl-C."


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command and gives its exit code.

    :param arguments: without the program's name; those of the process by default.

    >>> main(["call", "udp:127.0.0.1", "uptime"])
    2
    """
    usage = "sipmi --help"
    options = argparse.Namespace()
    try:
        words = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
        if words[:2] == ["__complete", "--"]:
            return completion.run(make_parser(), words[2:])
        options = make_parser().parse_args(words, options)
        usage = f"sipmi {options.subcommand} --help"
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except SystemExit as end:  # argparse has printed the help or the version
        return end.code if isinstance(end.code, int) else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has closed the pipe. Nothing more is flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Failure as error:
        return complain(error.code, str(error), error.hint or (usage if error.code == USAGE else None))
    except MiError as error:
        return explain_error(error)
    except (ValueError, NotImplementedError) as error:
        return complain(USAGE, refusal(error, options), usage)


def make_parser() -> Parser:
    """The whole command line, as argparse has it."""
    parser = Parser(
        prog="sipmi",
        usage="sipmi SUBCOMMAND [OPTION...] [ARG...]",
        description="Calls, serves and watches the OpenSIPS Management Interface.",
        epilog=f"{EXIT_CODES}\nSIPMI SUBCOMMAND --help says more, and so does `man sipmi`.".replace("SIPMI", "sipmi"),
    )
    parser.add_argument("--version", action="version", version=f"sipmi {__version__}")
    subcommands = parser.add_subparsers(prog="sipmi", dest="subcommand", metavar="SUBCOMMAND", required=True)
    for subcommand in SUBCOMMANDS:
        subcommand.add(subcommands)
    if sys.platform.startswith("linux"):
        for subcommand in LINUX_SUBCOMMANDS:
            subcommand.add(subcommands)
    shorten_usage(parser)
    return parser
