"""Asking a person before what cannot be taken back: calls that end, registrations that are dropped, reloads, a kill."""

from __future__ import annotations

import re
import sys
from typing import Optional

from .ending import Failure

#: What a command would do, by the words of its name. Users' own commands are named by the same habit.
_RISKS = (
    (re.compile(r"(^|[_:])(kill|shutdown)$"), "ends the server"),
    (re.compile(r"(^|[_:])(end|terminate|hangup|uac_cancel)([_:]|$)"), "ends calls"),
    (re.compile(r"^(ul_|usrloc:)rm|(^|[_:])(unregister|deregister|reg_disable)([_:]|$)"), "drops registrations"),
    (re.compile(r"(^|[_:])reload(?!_status)([_:]|$)"), "reloads what the server works with"),
)


def risk(command: str) -> Optional[str]:
    """What running a command does that a person should know of; None when that is nothing much.

    >>> risk("dlg_end_dlg"), risk("usrloc:rm_contact"), risk("dr_reload"), risk("dr_reload_status"), risk("core:kill")
    ('ends calls', 'drops registrations', 'reloads what the server works with', None, 'ends the server')
    """
    return next((what for pattern, what in _RISKS if pattern.search(command)), None)


def confirm(command: str, where: str, *, yes: bool) -> None:
    """Asks on a terminal before a risk. Scripts, which nobody can ask, are taken to know what they do.

    :param where: the server, or how many of them.
    :raises Failure: the answer was no.
    """
    what = risk(command)
    if what is None or yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print(f"{command} {what}, at {where}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print(file=sys.stderr)
    if answer.strip().lower() not in ("y", "yes"):
        raise Failure(f"{command} was not sent", "with --yes nothing is asked")
