"""Receive events: ``mi.events(...)``, or :func:`listen`, subscribes at a server and returns what it sends."""

from ._async import AsyncListener
from ._inbox import Event
from ._options import EventOptions
from ._sync import Listener, Receiver, listen

__all__ = ["AsyncListener", "Event", "EventOptions", "Listener", "Receiver", "listen"]
