"""The common part of the blocking and the awaited listener."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Callable, Optional

from ._inbox import Event, Inbox
from ._route import Route, SocketAddress, parse
from ._sockets import Sources
from ._subscription import Subscription

log: logging.Logger = logging.getLogger("sipmi.events")


class Receiving:
    """The sockets of a receiver and its counts of lost events."""

    _inbox: Inbox
    _sources: Optional[Sources] = None
    _lost = 0

    @property
    def address(self) -> str:
        """The address at which it listens, as ``event_subscribe`` takes it.

        :raises RuntimeError: the listener is not entered.
        """
        if self._sources is None:
            raise RuntimeError("it has no address before it is entered")
        return self._sources.address

    @property
    def unreadable(self) -> int:
        """The number of messages that could not be decoded."""
        return self._inbox.unreadable

    @property
    def dropped(self) -> int:
        """The number of events that a full queue, or (over UDP) a full socket buffer of the kernel, has dropped.

        The kernel reports its number with the next event.
        """
        return self._inbox.dropped + (self._lost if self._sources is None else self._sources.lost)


class Subscribed(Receiving):
    """The subscription of a receiver."""

    _subscription: Subscription
    _endpoint: Endpoint

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the subscribed events; patterns are resolved when the listener is entered."""
        return self._subscription.names

    @property
    def socket(self) -> str:
        """The address that the server was told: ``udp:host:port``, ``unix:/path`` or ``tcp:host:port``.

        :raises RuntimeError: the listener is not entered.
        """
        return self._endpoint.advertise or self._endpoint.route.seen_from_server(self.address)

    @property
    def restarts(self) -> int:
        """The number of restarts of the server, each followed by a new subscription."""
        return self._subscription.restarts


#: Seconds that callbacks wait after a subscription could not be renewed.
FAILED_WAIT = 1.0


def call_one(function: Callable[[Event], Any], event: Event) -> Any:
    """Call a callback with one event and log an exception."""
    try:
        return function(event)
    except Exception:
        log.exception("the callback for %s failed", event.name)
        return None


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """The address at which events are received, and the one that the server is told."""

    at: SocketAddress
    route: Route
    advertise: Optional[str]

    @classmethod
    def for_server(cls, mi_address: str, at: str, advertise: Optional[str]) -> Endpoint:
        route = Route.to(mi_address)
        place = parse(route.own_address(at))
        if advertise is None:
            route.check(place)
        return cls(place, route, advertise)
