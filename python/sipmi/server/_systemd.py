"""Notifications to systemd: ready, reloading, stopping and alive (``sd_notify``, Type=notify)."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from typing import Optional

log = logging.getLogger("sipmi.server")


class ServiceManager:
    """The socket that ``NOTIFY_SOCKET`` names; without it, notifications do nothing."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._socket: Optional[socket.socket] = None
        #: Seconds between two watchdog notifications.
        self.pause = watchdog_pause()
        self._next = 0.0
        #: Notifications that found the socket full, by kind: sending never blocks.
        self._untold: dict[str, str] = {}

    def ready(self, status: str) -> None:
        """Notify that the service is ready."""
        self._tell(f"READY=1\nSTATUS=Serving: {status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Notify that the service reloads; ``ready`` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Notify that the service stops."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Notify the watchdog when it is due, and send delayed notifications."""
        self._catch_up()
        now = time.monotonic()
        if self.pause < math.inf and now >= self._next:
            self._next = now + self.pause
            self._tell("WATCHDOG=1")

    def leave(self) -> None:
        """Close the socket in a forked process: only the supervisor notifies."""
        self._address = ""
        if self._socket is not None:
            self._socket.close()

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        kind = state.partition("=")[0]
        self._untold.pop(kind, None)
        self._untold[kind] = state
        self._catch_up()

    def _catch_up(self) -> None:
        for kind, state in list(self._untold.items()):
            try:
                self._send(state)
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("the service manager at %s cannot be told: %s", self._address, error)
            del self._untold[kind]

    def _send(self, state: str) -> None:
        # A name that begins with @ is abstract.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._socket.sendto(state.encode(), address)


def watchdog_pause() -> float:
    """Return the seconds between two notifications: half of the watchdog's time, infinity without a watchdog."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return math.inf
    try:
        allowed = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return math.inf
    return allowed / 2e6 if allowed > 0 else math.inf
