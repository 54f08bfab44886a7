"""The signals of a server that runs in one process."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any, Optional


class RunSignals:
    """Wakes :meth:`Server.run`: SIGINT and SIGTERM stop it, SIGHUP has it reopen its logs.

    Signal handlers put into a queue: the code that they interrupt could hold the lock of an event.
    """

    def __init__(self) -> None:
        #: True if a second signal asks to stop without waiting.
        self.is_hurried: bool = False
        self._is_stopping = False
        self._wishes: queue.SimpleQueue[str] = queue.SimpleQueue()

    def stop(self) -> None:
        """Wake the server to stop."""
        self._wishes.put("stop")

    def wait(self, seconds: float) -> Optional[str]:
        """Wait for "stop" or "reload"; None when neither came in time."""
        try:
            return self._wishes.get(timeout=seconds)
        except queue.Empty:
            return None

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals while this is entered; only in the main thread."""
        previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous[number] = signal.signal(number, self._stop)
            previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: self._wishes.put("reload"))
        try:
            yield
        finally:
            for caught, handler in previous.items():
                signal.signal(caught, handler)

    def _stop(self, *_: object) -> None:
        self.is_hurried = self._is_stopping
        self._is_stopping = True
        self.stop()
