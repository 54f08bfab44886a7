"""A process of a server of several, from its fork to its end."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import sys
from collections.abc import Iterable
from typing import Callable, Optional

from .._core import Processes
from .._core import Server as CoreServer
from ._exports import Process, ProcessFlags
from ._logging import reopen_logs, set_log_level
from ._watchdog import Watchdog

#: Seconds between two looks at the log level that other processes were told.
ROUND = 0.4


@dataclasses.dataclass(frozen=True)
class Service:
    """The parts of a server that its supervisor and workers need."""

    core: CoreServer
    run_inits: Callable[[], None]
    announce: Callable[[], None]
    """Called once all processes serve."""
    stop_coroutines: Callable[[], None]


class Worker:
    """A forked process, as it sees itself.

    :param process: the extra process that it runs; None: it serves.
    :param pipe: its end of the pipe to the supervisor.
    """

    def __init__(
        self,
        rank: int,
        process: Optional[Process],
        pipe: int,
        processes: Processes,
        service: Service,
        watchdog: Optional[Watchdog],
        drain_timeout: float,
    ) -> None:
        self.rank = rank
        self.process = process
        self.pipe = pipe
        self.processes = processes
        self.service = service
        self.watchdog = watchdog
        self.drain_timeout = drain_timeout
        self.is_ended = False
        self.reload = False

    def take_signals(self, mask: Iterable[int]) -> None:
        # Ctrl-C goes to all processes of a terminal; the supervisor tells its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGTERM, self._on_end if self.process is None else lambda *_: sys.exit(0))
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _on_hangup(self, *_: object) -> None:
        self.reload = True
        if self.process is not None:
            reopen_logs()
            adopt_log_level(self.processes, self.rank)

    def _on_end(self, *_: object) -> None:
        self.is_ended = True

    def live(self) -> int:
        process = self.process
        adopt_log_level(self.processes, self.rank)
        try:
            if process is None or process.flags & ProcessFlags.INIT_CHILD:
                self.service.run_inits()
            if process is None:
                self.processes.serve(self.rank)
        except Exception as error:
            os.write(self.pipe, str(error).encode() or repr(error).encode())
            return 1
        os.write(self.pipe, b"\0")
        if process is not None:
            process.function(self.rank)
            return 0
        self._serve()
        return 0

    def _serve(self) -> None:
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        fds = [woken, self.pipe]
        watchdog, rank = self.watchdog, self.rank
        pause = ROUND if watchdog is None else min(ROUND, watchdog.pause)
        while not self.is_ended:
            if watchdog is not None:
                watchdog.beat(rank)
            adopt_log_level(self.processes, rank)
            for fd in select.select(fds, [], [], pause)[0]:
                said = os.read(fd, 1024)
                if fd == self.pipe and b"F" in said:
                    self.processes.read_fifos()
                elif fd == self.pipe and not said:
                    # The parent has ended; a thread asks this process to end, too.
                    fds.remove(fd)
            if self.reload:
                self.reload = False
                reopen_logs()
                self.processes.look_after()
        if watchdog is not None:
            watchdog.drain(rank)
        self.service.core.stop(self.drain_timeout, None)
        self.service.stop_coroutines()


def adopt_log_level(processes: Processes, rank: int) -> None:
    """Take over a log level that another process was told."""
    global _log_level
    level = processes.log_level(rank)
    if level != _log_level:
        if _log_level is not None:
            set_log_level(level)
        _log_level = level


#: The level of this process; None before it has taken over one.
_log_level: Optional[int] = None
