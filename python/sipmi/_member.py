"""A process of a server of several, as it sees itself: from its fork to its end."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

from . import _core
from ._logs import reopen_logs, set_log_level
from ._processes import ProcessFlags

if TYPE_CHECKING:
    from ._supervisor import Child, Supervisor

#: How often it looks what others were told.
ROUND = 0.4


class Member:
    """A child, as it sees itself."""

    def __init__(self, supervisor: Supervisor, child: Child, pipe: int) -> None:
        self.supervisor = supervisor
        self.server = supervisor.server
        self.child = child
        self.pipe = pipe
        self.is_ended = False
        self.reload = False

    def take_signals(self, mask: Iterable[int]) -> None:
        # Ctrl-C goes to all processes of a terminal; the one that looks after the others tells them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGTERM, self._on_end if self.child.process is None else lambda *_: sys.exit(0))
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _on_hangup(self, *_: object) -> None:
        self.reload = True
        if self.child.process is not None:
            reopen_logs()
            adopt_log_level(self.supervisor.core, self.child.rank)

    def _on_end(self, *_: object) -> None:
        self.is_ended = True

    def live(self) -> int:
        process = self.child.process
        adopt_log_level(self.supervisor.core, self.child.rank)
        try:
            if process is None or process.flags & ProcessFlags.INIT_CHILD:
                self.server._run_inits()
            if process is None:
                self.supervisor.core.serve(self.child.rank)
        except Exception as error:
            os.write(self.pipe, str(error).encode() or repr(error).encode())
            return 1
        os.write(self.pipe, b"\0")
        if process is not None:
            process.function(self.child.rank)
            return 0
        self._serve()
        return 0

    def _serve(self) -> None:
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        fds = [woken, self.pipe]
        watchdog, rank = self.supervisor.watchdog, self.child.rank
        pause = ROUND if watchdog is None else min(ROUND, watchdog.pause)
        while not self.is_ended:
            if watchdog is not None:
                watchdog.beat(rank)
            adopt_log_level(self.supervisor.core, rank)
            for fd in select.select(fds, [], [], pause)[0]:
                said = os.read(fd, 1024)
                if fd == self.pipe and b"F" in said:
                    self.supervisor.core.read_fifos()
                elif fd == self.pipe and not said:
                    # The parent has ended; a thread asks this process to end, too.
                    fds.remove(fd)
            if self.reload:
                self.reload = False
                reopen_logs()
                self.supervisor.core.look_after()
        if watchdog is not None:
            watchdog.drain(rank)
        self.server._core.stop(self.supervisor.drain_timeout, None)
        self.server._loop.stop()


def adopt_log_level(core: _core.Processes, rank: int) -> None:
    """Another process may have been told of a new one."""
    global _log_level
    level = core.log_level(rank)
    if level != _log_level:
        if _log_level is not None:
            set_log_level(level)
        _log_level = level


#: That of this process, as far as it was adopted.
_log_level: Optional[int] = None
