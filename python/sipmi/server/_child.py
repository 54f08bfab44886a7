"""A process of a server, as its supervisor sees it."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Optional

from ._exports import Process

#: Seconds until a dead process is replaced, doubled after each early death up to the longest pause. A process that had
#: served is replaced sooner, since callers wait for its successor.
FIRST_PAUSE = 0.05
LONGEST_PAUSE_IN_SERVICE = 0.5
LONGEST_PAUSE = 5.0
#: Seconds of life after which a death is no longer early.
GROWN_UP = 2.0


class Child:
    """The rank of a process: its present pid, and its replacement when it dies."""

    def __init__(self, rank: int, name: str, process: Optional[Process]) -> None:
        self.rank = rank
        self.name = name
        #: None: a worker, which serves.
        self.process = process
        self.pid = 0
        #: The supervisor's end of its pipe: the child sends a NUL when it is ready, or an error. End of file tells the
        #: child that the supervisor has died.
        self.pipe: Optional[int] = None
        self.said = b""
        self.is_ready = False
        self.is_done = False
        self.log_level = 0
        #: The end of the last process, in words.
        self.end = ""
        self.born = 0.0
        self.pause = FIRST_PAUSE
        #: The time of the next fork.
        self.due: Optional[float] = None

    @property
    def is_alive(self) -> bool:
        return self.pid > 0

    def schedule(self, now: float) -> None:
        """Set the time of the next fork after a death."""
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
