"""The supervisor of several processes: it forks them before any thread exists, and replaces those that die.

The process that called ``run`` serves no requests. Its one thread sleeps until a child ends, a signal comes or a child
writes into its pipe. Only it forks, so that no other thread holds a lock at a fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NoReturn, Optional

from .._core import MOST_PROCESSES, Processes, end_with_parent, prepare_exit
from ._child import Child, describe_exit
from ._exports import Process
from ._logging import reopen_logs
from ._systemd import ServiceManager
from ._watchdog import Watchdog
from ._worker import Service, Worker, adopt_log_level

log = logging.getLogger("sipmi.server")

#: Signals that wait while a child is forked.
CAUGHT = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
#: Seconds between two tries to deliver the replies of dead workers.
RETRY = 0.005
#: Seconds between two checks of the endpoints.
ROUND = 0.4
#: Seconds that a child may take beyond the drain timeout before it is killed.
GRACE = 1.0


class Supervisor:
    """Forks the processes of a server and supervises them until it is told to stop."""

    def __init__(
        self,
        service: Service,
        workers: int,
        processes: list[Process],
        drain_timeout: float,
        watchdog: Optional[float] = None,
    ) -> None:
        self.service = service
        self.drain_timeout = drain_timeout
        self.children: list[Child] = []
        for _ in range(workers):
            self.children.append(Child(len(self.children) + 1, "MI worker", None))
        for process in processes:
            for _ in range(process.count):
                self.children.append(Child(len(self.children) + 1, process.name, process))
        if len(self.children) >= MOST_PROCESSES:
            raise ValueError(f"expected less than {MOST_PROCESSES} processes, found {len(self.children)}")
        self.watchdog = None if watchdog is None else Watchdog(watchdog, drain_timeout + GRACE)
        self.manager = ServiceManager()
        self.reader: Optional[Child] = None
        self.has_started = False
        self.stopping = 0
        self.reload = False
        self.round = 0.0

    def stop(self) -> None:
        """End all processes; any of them may call this."""
        os.kill(self.pid, signal.SIGTERM)

    def run(self) -> None:
        """Supervise until a signal says to stop."""
        check_threads()
        self.pid = os.getpid()
        workers = sum(child.process is None for child in self.children)
        self.core = Processes(self.service.core, workers)
        try:
            adopt_log_level(self.core, 0)
            for child in self.children:
                child.log_level = self.core.log_level(child.rank)
            for rank, name in [(0, "attendant"), *((child.rank, child.name) for child in self.children)]:
                self.core.name(rank, name)
            self.core.set(0, os.getpid(), "running")
            with self._signals():
                try:
                    self._start()
                    self._supervise()
                finally:
                    self._stop()
        finally:
            self.core.close()

    # -- signals ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(*_: object) -> None:
            self.stopping += 1

        def reload(*_: object) -> None:
            self.reload = True

        actions = {
            signal.SIGINT: stop,
            signal.SIGTERM: stop,
            signal.SIGHUP: reload,
            signal.SIGCHLD: lambda *_: None,
        }
        self.woken, wakes = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(wakes, False)
        self.pipes = {self.woken, wakes}
        before = {number: signal.signal(number, action) for number, action in actions.items()}
        fd_before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd_before)
            for number, action in before.items():
                signal.signal(number, action)
            for fd in self.pipes:
                os.close(fd)

    def _wait(self, until: float) -> None:
        """Sleep until a signal comes, a child writes into its pipe, or a deadline."""
        pipes = {child.pipe: child for child in self.children if child.pipe is not None}
        if self.core.answer_orphans():
            until = min(until, time.monotonic() + RETRY)
        timeout = max(0.0, until - time.monotonic())
        for fd in select.select([self.woken, *pipes], [], [], timeout)[0]:
            if fd == self.woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 1024)
            else:
                pipes[fd].said += self._read(pipes[fd])

    def _read(self, child: Child) -> bytes:
        assert child.pipe is not None
        said = b""
        # A killed child with unread data in its pipe resets it.
        with contextlib.suppress(ConnectionResetError):
            said = os.read(child.pipe, 65536)
        if not said:
            self._forget_pipe(child)
        return said

    def _forget_pipe(self, child: Child) -> None:
        if child.pipe is not None:
            self.pipes.discard(child.pipe)
            os.close(child.pipe)
            child.pipe = None

    # -- life -------------------------------------------------------------------------------------

    def _start(self) -> None:
        workers = [child for child in self.children if child.process is None]
        groups: list[tuple[Optional[Process], list[Child]]] = [(None, workers)]
        for extra in dict.fromkeys(child.process for child in self.children if child.process is not None):
            groups.append((extra, [child for child in self.children if child.process is extra]))
        for process, children in groups:
            self._fork(process, children)
        while not all(child.is_ready for child in self.children):
            if self.stopping:
                return
            for child in self.children:
                if child.said:
                    raise RuntimeError(child.said.decode())
                if not child.is_alive and not child.is_done:
                    raise RuntimeError(f"process {child.rank} ({child.name}) {child.end}")
            self._wait(time.monotonic() + ROUND)
            self._read_reports()
            self._reap()
        self.has_started = True
        self.service.announce()
        self.manager.ready(f"{len(self.children)} processes")

    def _supervise(self) -> None:
        while not self.stopping:
            now = time.monotonic()
            if now >= self.round:
                self.round = now + min(ROUND, self.manager.pause)
                self._check_endpoints()
            if self.reload:
                self._reload()
            self._replace(now)
            self._kill_hung_workers(now)
            due = [child.due for child in self.children if child.due is not None]
            if self.watchdog is not None:
                due.append(now + self.watchdog.pause)
            self._wait(min([self.round, *due]))
            self._read_reports()
            self._reap()

    def _kill_hung_workers(self, now: float) -> None:
        """Kills workers whose heartbeats have stopped. They are replaced as any that dies."""
        if self.watchdog is None:
            return
        workers = [child for child in self.children if child.process is None and child.is_alive and child.is_ready]
        for child in self.watchdog.hung(workers, now):
            log.error(
                "process %d (%s, pid %d) has run no Python for %g s (watchdog), and is killed: a handler keeps the "
                "interpreter lock, or the process was stopped",
                *(child.rank, child.name, child.pid, self.watchdog.seconds),
            )
            os.kill(child.pid, signal.SIGKILL)

    def _check_endpoints(self) -> None:
        adopt_log_level(self.core, 0)
        for child in self.children:
            level = self.core.log_level(child.rank)
            if level != child.log_level and child.process is not None and child.is_alive:
                # Its thread is at its function; a signal has it look.
                os.kill(child.pid, signal.SIGHUP)
            child.log_level = level
        for message in self.core.restore():
            log.warning("%s", message)
        self.manager.alive()

    def _reload(self) -> None:
        self.reload = False
        self.manager.reloading()
        reopen_logs()
        self._check_endpoints()
        self._signal_all(signal.SIGHUP)
        log.info("reloaded")
        self.manager.ready(f"{len(self.children)} processes")

    def _read_reports(self) -> None:
        """Read the reports of children: a NUL says that one is ready, anything else is an error."""
        for child in self.children:
            if child.said == b"\0":
                child.said = b""
                child.is_ready = True
                self.core.set(child.rank, child.pid, "running")
        self._choose_reader()

    def _choose_reader(self) -> None:
        """Choose the worker that reads the FIFOs, and another one when it has died."""
        if self.reader is not None:
            return
        for child in self.children:
            if child.process is None and child.is_ready and child.is_alive and child.pipe is not None:
                with contextlib.suppress(OSError):
                    os.write(child.pipe, b"F")
                    self.reader = child
                    return

    def _reap(self) -> None:
        reap_orphans({child.pid for child in self.children if child.is_alive})
        for child in self.children:
            if child.is_alive:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._handle_end(child, status)
        self._choose_reader()

    def _handle_end(self, child: Child, status: int) -> None:
        """Handle the end of a child."""
        now = time.monotonic()
        if child.pipe is not None:
            child.said += self._read(child)
        self._forget_pipe(child)
        pid, child.pid = child.pid, 0
        if child is self.reader:
            self.reader = None
        self.core.bury(child.rank)
        child.end = describe_exit(status)
        child.is_done = child.process is not None and status == 0
        self.core.set(child.rank, 0, "absent" if child.is_done or self.stopping else "dead")
        if child.is_done:
            # Its report may have come with its end.
            child.is_ready, child.said = True, b""
            return
        if self.stopping:
            return
        child.schedule(now)
        if self.has_started:
            why = child.said.strip(b"\0").decode(errors="replace")
            child.said = b""
            log.error("process %d (%s, pid %d) %s", child.rank, child.name, pid, child.end + (why and f": {why}"))

    def _replace(self, now: float) -> None:
        for child in self.children:
            if child.due is not None and now >= child.due:
                child.due = None
                try:
                    self._fork(child.process, [child])
                except (OSError, RuntimeError) as error:
                    child.schedule(now)
                    log.error("process %d (%s) cannot be replaced: %s", child.rank, child.name, error)

    # -- forking ----------------------------------------------------------------------------------

    def _fork(self, process: Optional[Process], children: list[Child]) -> None:
        hook("pre_fork", process)
        try:
            for child in children:
                self._fork_one(child)
        finally:
            hook("post_fork", process)

    def _fork_one(self, child: Child) -> None:
        ours, theirs = socket_pair()
        sys.stdout.flush()
        sys.stderr.flush()
        child.is_ready, child.said, child.born = False, b"", time.monotonic()
        if self.watchdog is not None:
            self.watchdog.reset(child.rank)
        # Signals wait until the child has actions of its own.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(ours)
                self._run_child(child, theirs, blocked)
            child.pid, child.pipe = pid, ours
            self.pipes.add(ours)
            self.core.set(child.rank, pid, "starting")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(theirs)

    def _run_child(self, child: Child, pipe: int, mask: Iterable[int]) -> NoReturn:
        """Run a child, from its fork to its exit."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for fd in self.pipes:
                os.close(fd)
            self.manager.leave()
            worker = Worker(child.rank, child.process, pipe, self.core, self.service, self.watchdog, self.drain_timeout)
            worker.take_signals(mask)
            end_with_parent(pipe, self.drain_timeout + GRACE)
            code = worker.live()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            log.exception("process %d (%s) failed", child.rank, child.name)
        finally:
            with contextlib.suppress(BaseException):
                prepare_exit()
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    # -- end --------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Ask all children to end, wait for them, and kill those that do not."""
        self.manager.stopping()
        calls = self.stopping
        self.stopping = max(1, self.stopping)
        for child in self.children:
            if child.is_alive:
                self.core.set(child.rank, child.pid, "stopping")
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self.drain_timeout + GRACE
        while any(child.is_alive for child in self.children):
            if time.monotonic() >= deadline or self.stopping > max(1, calls):
                self._signal_all(signal.SIGKILL)
                deadline = time.monotonic() + ROUND
            self._wait(min(deadline, time.monotonic() + ROUND))
            self._reap()
        reap_orphans(set())
        deadline = time.monotonic() + ROUND
        while self.core.answer_orphans() and time.monotonic() < deadline:
            time.sleep(RETRY)

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self.children:
            if child.is_alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, number)


# -- the world around -----------------------------------------------------------------------------


def check_threads() -> None:
    """Check that no other thread could hold a lock at a fork."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("run with processes forks, and waits for signals: expected a call from the main thread")
    if others:
        names = ", ".join(others)
        raise RuntimeError(
            f"run with processes forks, which is safe only before there are threads; found {names}. "
            "Begin threads in an Export's init, or in a Process, instead."
        )


def hook(name: str, process: Optional[Process]) -> None:
    function = getattr(process, name, None)
    if process is None or function is None:
        return
    try:
        function()
    except Exception as error:
        raise RuntimeError(f"{name} of process {process.name!r} failed: {error}") from error


def socket_pair() -> tuple[int, int]:
    """Return two connected descriptors."""
    import socket

    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def reap_orphans(known: set[int]) -> None:
    """When running as PID 1, reap orphaned children so that they do not remain zombies."""
    if os.getpid() != 1:
        return
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in known:
            return
        os.waitpid(ended.si_pid, os.WNOHANG)
