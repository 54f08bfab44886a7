"""The events of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

from .._core import Server as CoreServer
from ._exports import Subscriber


class EventSource:
    """The part of a server that raises events."""

    _core: CoreServer

    def event(self, name: str) -> None:
        """Makes an event known, so that it can be subscribed to (``evi_publish_event``). Twice does no harm.

        Clients that subscribe to an unknown event get an error, so declare events before the server starts.

        :param name: "E_SUB_ADDED": 1 to 128 printable ASCII characters without blanks, quotes and colons.
        :raises ValueError: no wire can carry the name.

        >>> server = Server("billing")
        >>> server.event("E_SUB_ADDED")
        >>> server.events
        ['E_SUB_ADDED']
        """
        self._core.declare_event(name)

    def raise_event(self, name: str, params: Union[Mapping[str, Any], Sequence[Any], None] = None) -> int:
        """Sends an event to its subscribers and says how many there are (``evi_raise_event``).

        Each gets it in the form of the wire by which it subscribed: text or a JSON-RPC notification. Nobody is
        waited for, whatever a subscriber does; what cannot be sent is dropped and counted. May be called from any
        thread, and from handlers. An event that is not declared is, by this.

        :param params: values by name, or without names in a list.
        :raises ValueError: no wire can carry the name, or the name of a parameter.
        :raises TypeError: a value is none that can be sent.

        >>> server = Server("billing")
        >>> server.raise_event("E_SUB_ADDED", {"user": "alice"})
        0
        """
        return self._core.raise_event(name, params)

    @property
    def events(self) -> list[str]:
        """The names of all events, in the order in which they were declared; their numbers count from 0."""
        return self._core.events

    @property
    def subscribers(self) -> list[Subscriber]:
        """Who subscribed to events, and what became of what they were sent; the latest first for each event.

        >>> server = Server("billing")
        >>> server.event("E_SUB_ADDED")
        >>> server.call("event_subscribe", "E_SUB_ADDED", "udp:127.0.0.1:9999", 60)
        'OK'
        >>> [(subscriber.event, subscriber.socket, subscriber.sent) for subscriber in server.subscribers]
        [('E_SUB_ADDED', 'udp:127.0.0.1:9999', 0)]
        >>> server.stop()
        """
        return [Subscriber(*described) for described in self._core.subscribers]
