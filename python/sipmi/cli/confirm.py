"""Asking a person before what cannot be taken back: calls that end, registrations that are dropped, reloads, a kill."""

from __future__ import annotations

import sys

from .._core import command_risk
from .ending import Failure


def confirm(command: str, where: str, *, yes: bool) -> None:
    """Asks on a terminal before a risk. Scripts cannot be asked and are not.

    :param where: the server, or how many of them.
    :raises Failure: the answer was no.
    """
    what = command_risk(command)
    if what is None or yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print(f"{command} {what}, at {where}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print(file=sys.stderr)
    if answer.strip().lower() not in ("y", "yes"):
        raise Failure(f"{command} was not sent", "with --yes nothing is asked")
