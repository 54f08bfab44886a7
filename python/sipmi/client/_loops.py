"""The driver of each event loop, which advances the calls of all clients on that loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref

from .._core import Driver

_drivers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Driver] = weakref.WeakKeyDictionary()


def driver_of(loop: asyncio.AbstractEventLoop) -> Driver:
    """Return the driver of a loop that runs on this thread; the first call makes it."""
    driver = _drivers.get(loop)
    if driver is None:
        for other in [other for other in _drivers if other.is_closed()]:
            # No call of a closed loop is awaited any more.
            _drivers.pop(other).close()
        driver = _drivers[loop] = Driver()
        loop.add_reader(driver.fileno(), driver.turn)
    return driver


@atexit.register
def _close_all() -> None:
    for driver in list(_drivers.values()):
        driver.close()


# The loops of the parent do not run in a child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drivers.clear)
