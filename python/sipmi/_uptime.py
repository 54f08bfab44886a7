"""Whether a server began again, by how long it says that it is up."""

from __future__ import annotations

import re
from typing import Any, Optional

#: Clocks that count whole seconds, and a timer process that lags, are this far apart without a restart.
_LAG, _LAG_PART = 2.0, 0.1


def seconds_up(uptime: Any) -> Optional[int]:
    """What the command ``uptime`` says; None when it says something else.

    >>> seconds_up({"Now": "...", "Up since": "...", "Up time": "12 [sec]"})
    12
    """
    found = re.match(r"\d+", str(uptime.get("Up time", ""))) if isinstance(uptime, dict) else None
    return int(found.group()) if found else None


def began_again(before: int, after: int, seconds: float) -> bool:
    """Whether a server that was up for ``before`` seconds, and ``after`` so many seconds later, has begun again.

    >>> began_again(1000, 1010, 10.0), began_again(1000, 3, 10.0)
    (False, True)
    """
    return after < before or after < before + seconds - max(_LAG, _LAG_PART * seconds)
