"""Whether a server began again, by what it says of how long it is up."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple, Optional

#: Clocks that count whole seconds, and a timer process that lags, are this far apart without a restart.
_LAG, _LAG_PART = 2.0, 0.1


class Uptime(NamedTuple):
    """What the command ``uptime`` said."""

    since: str
    """When the server began, in its words; empty when it did not say."""
    seconds: int
    """How long it was up."""
    moment: float
    """When it said so, by the monotonic clock."""


def read_uptime(said: Any) -> Optional[Uptime]:
    """What the command ``uptime`` has just said; None when it is something else.

    >>> read_uptime({"Now": "...", "Up since": "Wed Nov 25 13:04:40 2026", "Up time": "12 [sec]"})[:2]
    ('Wed Nov 25 13:04:40 2026', 12)
    """
    found = re.match(r"\d+", str(said.get("Up time", ""))) if isinstance(said, dict) else None
    return Uptime(str(said.get("Up since", "")), int(found.group()), time.monotonic()) if found else None


def is_another(before: Uptime, after: Uptime) -> bool:
    """Whether the server began again in between."""
    if before.since and after.since:
        return before.since != after.since
    return began_again(before.seconds, after.seconds, after.moment - before.moment)


def began_again(before: int, after: int, seconds: float) -> bool:
    """Whether a server that was up for ``before`` seconds, and ``after`` so many seconds later, has begun again.

    >>> began_again(1000, 1010, 10.0), began_again(1000, 3, 10.0)
    (False, True)
    """
    return after < before or after < before + seconds - max(_LAG, _LAG_PART * seconds)
