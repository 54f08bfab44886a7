"""The OpenSIPS Management Interface: serve it and call it, on every wire of every generation."""

from . import events
from ._core import Attr, Command, Counter, Node, RequestContext, Tree, __version__
from .client import Client, Commands, Reply, connect
from .errors import (
    AmbiguousMethod,
    CallTimeout,
    CodecError,
    Fault,
    InvalidParams,
    MethodNotFound,
    MiError,
    RequestRefused,
    TransportError,
)
from .server import Export, Flags, Server, Subscriber, current_request

__all__ = [
    "AmbiguousMethod",
    "Attr",
    "CallTimeout",
    "Client",
    "CodecError",
    "Command",
    "Commands",
    "Counter",
    "Export",
    "Fault",
    "Flags",
    "InvalidParams",
    "MethodNotFound",
    "MiError",
    "Node",
    "Reply",
    "RequestContext",
    "RequestRefused",
    "Server",
    "Subscriber",
    "TransportError",
    "Tree",
    "__version__",
    "connect",
    "current_request",
    "events",
]
