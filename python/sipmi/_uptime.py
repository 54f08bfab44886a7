"""Restarts of a server, recognized by its uptime."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple, Optional

#: Clocks that count whole seconds, and a timer process that lags, are this far apart without a restart.
_LAG, _LAG_PART = 2.0, 0.1


class Uptime(NamedTuple):
    """The reply of the command ``uptime``."""

    since: str
    """The start of the server, in its words; empty when it did not tell."""
    seconds: int
    """The seconds since its start."""
    moment: float
    """The time of the reply, by the monotonic clock."""


def read_uptime(said: Any) -> Optional[Uptime]:
    """Read a reply of the command ``uptime``; None when it has no uptime.

    >>> read_uptime({"Now": "...", "Up since": "Wed Nov 25 13:04:40 2026", "Up time": "12 [sec]"})[:2]
    ('Wed Nov 25 13:04:40 2026', 12)
    """
    found = re.match(r"\d+", str(said.get("Up time", ""))) if isinstance(said, dict) else None
    return Uptime(str(said.get("Up since", "")), int(found.group()), time.monotonic()) if found else None


def is_another(before: Uptime, after: Uptime) -> bool:
    """Return whether the server restarted in between."""
    if before.since and after.since:
        return before.since != after.since
    return began_again(before.seconds, after.seconds, after.moment - before.moment)


def began_again(before: int, after: int, seconds: float) -> bool:
    """Return whether a server restarted that was up for ``before`` seconds, and then for ``after`` seconds.

    :param seconds: the seconds between the two replies.

    >>> began_again(1000, 1010, 10.0), began_again(1000, 3, 10.0)
    (False, True)
    """
    return after < before or after < before + seconds - max(_LAG, _LAG_PART * seconds)
