"""The driver of each event loop: calls of all clients on that loop go on in its turns."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref

from . import _core

_drivers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _core.Driver] = weakref.WeakKeyDictionary()


def driver_of(loop: asyncio.AbstractEventLoop) -> _core.Driver:
    """The driver of a loop that runs on this thread; made at its first call."""
    driver = _drivers.get(loop)
    if driver is None:
        for other in [other for other in _drivers if other.is_closed()]:
            # Whoever closed it does not wait for its calls any more.
            _drivers.pop(other).close()
        driver = _drivers[loop] = _core.Driver()
        loop.add_reader(driver.fileno(), driver.turn)
    return driver


@atexit.register
def _close_all() -> None:
    for driver in list(_drivers.values()):
        driver.close()


# The loops of the parent do not run in a child, which has no part in their calls.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drivers.clear)
