"""Waiting for a condition, with a deadline, in a thread and on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Callable

#: Seconds in which every awaited condition holds, on a loaded machine too.
DEADLINE = 30.0
#: Seconds between two looks, where no event tells of the change.
INTERVAL = 0.005


def eventually(condition: Callable[[], Any], message: str = "", *, within: float = DEADLINE) -> Any:
    """Wait until a condition holds, and return its value.

    :param condition: Is called until its value is true.
    :param message: The expectation, for the error; none by default.
    :param within: The deadline in seconds, 30 by default.
    """
    deadline = time.monotonic() + within
    while not (found := condition()):
        _check(deadline, message, within)
        threading.Event().wait(INTERVAL)
    return found


async def eventually_async(condition: Callable[[], Any], message: str = "", *, within: float = DEADLINE) -> Any:
    """Wait on an event loop until a condition holds, and return its value; see :func:`eventually`."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        _check(deadline, message, within)
        await asyncio.sleep(INTERVAL)
    return found


def settled(read: Callable[[], Any], *, quiet: float = 0.1, within: float = DEADLINE) -> Any:
    """Wait until a value has not changed for ``quiet`` seconds, and return it."""
    deadline = time.monotonic() + within
    value, since = read(), time.monotonic()
    while time.monotonic() < since + quiet:
        _check(deadline, "the value settles", within)
        threading.Event().wait(INTERVAL)
        if (now := read()) != value:
            value, since = now, time.monotonic()
    return value


def _check(deadline: float, message: str, within: float) -> None:
    assert time.monotonic() < deadline, f"did not happen within {within} s: {message or 'the condition'}"
