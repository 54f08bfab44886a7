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
        """Declare an event, so that clients can subscribe to it (``evi_publish_event``). A second call does nothing.

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
        """Send an event to its subscribers and return their number (``evi_raise_event``).

        Each subscriber gets it in the form of the wire by which it subscribed: text or a JSON-RPC notification. The
        call waits for no subscriber; an event that cannot be sent is dropped and counted. It may be called from any
        thread, and from handlers. It declares an event that is not declared.

        :param params: values by name, or without names in a list; None, the default, sends none.
        :raises ValueError: no wire can carry the name, or the name of a parameter.
        :raises TypeError: a value cannot be sent.

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
        """The subscribers with their delivery counts; the latest first for each event.

        >>> server = Server("billing")
        >>> server.event("E_SUB_ADDED")
        >>> server.call("event_subscribe", "E_SUB_ADDED", "udp:127.0.0.1:9999", 60)
        'OK'
        >>> [(subscriber.event, subscriber.socket, subscriber.sent) for subscriber in server.subscribers]
        [('E_SUB_ADDED', 'udp:127.0.0.1:9999', 0)]
        >>> server.stop()
        """
        return [Subscriber(*described) for described in self._core.subscribers]
