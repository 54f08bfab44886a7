"""A process of a server, as its supervisor sees it."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Optional

from ._exports import Process

#: One that died is replaced after this long, twice as long after each that dies young, up to the longest: of those
#: that had begun to serve, since callers wait for the next, and of those that never came so far.
FIRST_PAUSE = 0.05
LONGEST_PAUSE_IN_SERVICE = 0.5
LONGEST_PAUSE = 5.0
#: One that lived for so long did not die young.
GROWN_UP = 2.0


class Child:
    """The place of a process: which one it is now, and what becomes of it when it dies."""

    def __init__(self, rank: int, name: str, process: Optional[Process]) -> None:
        self.rank = rank
        self.name = name
        #: None: a worker, which serves.
        self.process = process
        self.pid = 0
        #: Our end of its pipe. What it sends: that it is ready, or why not. Its end: that we have ended.
        self.pipe: Optional[int] = None
        self.said = b""
        self.is_ready = False
        self.is_done = False
        self.log_level = 0
        #: How the last one ended.
        self.end = ""
        self.born = 0.0
        self.pause = FIRST_PAUSE
        #: When to fork it again.
        self.due: Optional[float] = None

    @property
    def is_alive(self) -> bool:
        return self.pid > 0

    def schedule(self, now: float) -> None:
        """It has died: sets when it is forked again."""
        if now - self.born >= GROWN_UP:
            self.pause = FIRST_PAUSE
        longest = LONGEST_PAUSE_IN_SERVICE if self.is_ready else LONGEST_PAUSE
        self.due = now + min(self.pause, longest)
        self.pause = min(self.pause * 2, longest)


def describe_exit(status: int) -> str:
    """Describe how a process ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(number).name}"
        return f"was ended by signal {number}"
    return f"ended with code {os.WEXITSTATUS(status)}"
