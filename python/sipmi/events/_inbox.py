"""An event, and the queue in which events wait to be taken."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from typing import Any, Optional, Union

from .._core import decode_event
from .._numbers import Count
from .._options import check_option
from ..errors import CodecError
from ._sockets import Source

log: logging.Logger = logging.getLogger("sipmi.events")

#: The number of datagrams that are read before other sockets are looked at.
_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Event:
    """An event of a server.

    >>> event = Event("E_UL_AOR_INSERT", {"aor": "alice"}, "udp:192.0.2.1:5060", 1700000000.0)
    >>> event.params["aor"]
    'alice'
    """

    name: str
    """``E_UL_AOR_INSERT``; over TCP, the method that the socket was subscribed with, if there is one."""
    params: Union[dict[str, Any], list[Any]]
    """The values by name; a list when none has a name. Text events have ``str`` values, JSON events typed ones."""
    source: str
    """The sender: ``udp:host:port``, ``tcp:host:port``, ``unix:`` and a path if it has one."""
    received: float
    """The time of arrival, in seconds since the epoch."""


class Inbox:
    """A bounded queue of received events, with counts of what was lost."""

    def __init__(self, max_queue: int, overflow: str) -> None:
        check_option("events()", "max_queue", max_queue, Count)
        if overflow not in ("wait", "drop"):
            raise ValueError(f"expected overflow of 'wait' or 'drop', found {overflow!r}")
        self.waiting: collections.deque[Event] = collections.deque()
        self.max_queue = max_queue
        self.drops: bool = overflow == "drop"
        self.dropped: int = 0
        self.unreadable: int = 0

    @property
    def is_full(self) -> bool:
        """True if no more should be read."""
        return len(self.waiting) >= self.max_queue and not self.drops

    @property
    def room(self) -> int:
        """The number of events that may be read at once."""
        return _AT_ONCE if self.drops else min(_AT_ONCE, max(1, self.max_queue - len(self.waiting)))

    def read(self, source: Source, found: bytes) -> tuple[Optional[Event], Optional[bytes]]:
        """Decode an event; return it with the reply that its sender wants."""
        try:
            name, params, _, reply = decode_event(found)
        except CodecError as error:
            self.unreadable += 1
            log.warning("%s sent what is no event: %s", source.name, error)
            return None, None
        return Event(name, params, source.name, time.time()), reply

    def add(self, event: Event) -> None:
        """Queue an event; a full queue that may drop events drops the oldest one."""
        if len(self.waiting) >= self.max_queue and self.drops:
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append(event)
