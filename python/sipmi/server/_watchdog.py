"""Notices workers whose interpreter has stopped: a handler that never gives the interpreter lock back."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._core import MOST_PROCESSES

if TYPE_CHECKING:
    from ._child import Child

#: A worker that drains counts no heartbeats.
DRAINING = 2**64 - 1
#: Heartbeats and looks within the time that a worker may be silent.
LOOKS = 4


class Watchdog:
    """Heartbeats of the workers, in memory that they share with the supervisor.

    The main thread of a worker counts them. It needs the interpreter lock for that, so they stop when another thread
    keeps the lock.

    :param seconds: how long a worker may be silent.
    :param drain_timeout: how much longer a worker may take that drains.
    """

    def __init__(self, seconds: float, drain_timeout: float) -> None:
        self.seconds = seconds
        self.drain_timeout = drain_timeout
        #: Seconds between two heartbeats, and between two looks at them.
        self.pause = seconds / LOOKS
        self._beats = memoryview(mmap.mmap(-1, 8 * MOST_PROCESSES)).cast("Q")
        #: By pid: the last heartbeat, and when it was seen first.
        self._seen: dict[int, tuple[int, float]] = {}
        self._last_look = time.monotonic()

    def beat(self, rank: int) -> None:
        """In a worker: shows that its interpreter runs."""
        self._beats[rank] = (self._beats[rank] + 1) % DRAINING

    def drain(self, rank: int) -> None:
        """In a worker: shows that it drains from now on, without heartbeats."""
        self._beats[rank] = DRAINING

    def reset(self, rank: int) -> None:
        """In the supervisor, before it forks the worker of this rank."""
        self._beats[rank] = 0

    def hung(self, workers: Iterable[Child], now: float) -> list[Child]:
        """Return the workers that have been silent for too long."""
        # The supervisor itself was suspended, with all others perhaps: their time counts from now on.
        was_away = now - self._last_look > self.seconds / 2
        self._last_look = now
        seen, self._seen = self._seen, {}
        late: list[Child] = []
        for worker in workers:
            beat = self._beats[worker.rank]
            known, since = seen.get(worker.pid, (None, now))
            if beat != known or was_away:
                since = now
            allowed = self.seconds + (self.drain_timeout if beat == DRAINING else 0.0)
            if now - since >= allowed:
                late.append(worker)
                since = now
            self._seen[worker.pid] = (beat, since)
        return late
