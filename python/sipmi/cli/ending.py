"""How a command ends: exit codes, and the one line with a hint that says what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from typing import Optional

from ..errors import (
    AmbiguousMethod,
    CallTimeout,
    CodecError,
    Fault,
    InvalidParams,
    MethodNotFound,
    MiError,
    RequestRefused,
    StatisticNotFound,
)
from . import colour

OK, ERROR_ANSWER, USAGE, TRANSPORT, TIMEOUT, INTERRUPTED = 0, 1, 2, 3, 4, 130


#: The hint for a reply that shows neither success nor failure.
UNCLEAR_HINT = "OpenSIPS 1.x answers nothing for both over /json and /xmlrpc; a FIFO, udp: and unix: tell them apart"


class Failure(Exception):
    """A command that failed; ``hint`` says what may help."""

    code: int = ERROR_ANSWER

    def __init__(self, message: str, hint: Optional[str] = None, *, code: Optional[int] = None) -> None:
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code


class Usage(Failure):
    """The command line does not say what can be done."""

    code = USAGE


def complain(code: int, message: str, hint: Optional[str] = None) -> int:
    """One line on what is wrong, and perhaps one on what to do about it; gives the code."""
    who, what = "sipmi:", "hint:"
    if colour.is_wanted(sys.stderr):
        who, what = colour.paint(who, colour.BOLD, colour.RED), colour.paint(what, colour.CYAN)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()  # a pipe keeps what standard error would overtake
    print(who, on_one_line(message), file=sys.stderr)
    if hint:
        print(what, on_one_line(hint), file=sys.stderr)
    return code


def on_one_line(text: str) -> str:
    """Escape a text from the wire, which may hold line ends, bytes that are no UTF-8, controls that move a cursor.

    >>> on_one_line("a\\nb\\x1b[2J \\udce9")
    'a b\\\\x1b[2J \\\\udce9'
    """
    words = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in words)


def explain(error: MiError) -> int:
    """Says what became of a call; gives the exit code."""
    return complain(exit_code(error), described(error), hint(error))


def exit_code(error: MiError) -> int:
    if isinstance(error, Fault):
        return ERROR_ANSWER
    if isinstance(error, RequestRefused):
        return USAGE
    return TIMEOUT if isinstance(error, CallTimeout) else TRANSPORT


#: Words of Python in errors, and what the command line has for them.
_OPTIONS = {
    "receive_buf_size=": "--receive-buf-size",
    "socket_buf_size=": "--socket-buf-size",
    "force=True sends": "sipmi call --force sends",
}


def described(error: MiError) -> str:
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    for keyword, option in _OPTIONS.items():
        text = text.replace(keyword, option)
    return text


#: A function of the package at the head of its message, and the name of a refused option.
_FUNCTION = re.compile(r"^\w+\(\): ")
_REFUSED_OPTION = re.compile(r"^expected (?:a )?(\w+)")


def refusal(error: Exception, options: argparse.Namespace) -> str:
    """Return the message about a refused value, with options of the command line in place of keywords.

    >>> refusal(ValueError("watch(): expected drain_timeout from 1 to 9, got 0"), argparse.Namespace(drain_timeout=0))
    'expected --drain-timeout from 1 to 9, got 0'
    """
    text = _FUNCTION.sub("", str(error))
    named = _REFUSED_OPTION.match(text)
    if named is None or getattr(options, named[1], None) is None:
        return text
    return f"expected --{named[1].replace('_', '-')}{text[named.end() :]}"


def hint(error: MiError) -> Optional[str]:
    address = error.address or "ADDRESS"
    if isinstance(error, MethodNotFound):
        return f"the commands there: sipmi call '{address}' which"
    if isinstance(error, AmbiguousMethod):
        return "write it with its module: MODULE:COMMAND"
    if isinstance(error, InvalidParams):
        return f"its parameters: sipmi call '{address}' which {error.command}"
    if isinstance(error, StatisticNotFound):
        return f"the statistics there: sipmi call '{address}' get_statistics all"
    if isinstance(error, CallTimeout):
        return "is the server busy, or does it speak another wire? See --timeout and --wire"
    if isinstance(error, CodecError):
        return "does the server speak another wire? See --wire"
    if isinstance(error, (Fault, RequestRefused)):
        return None
    return "is the server running, and is this its address?"
