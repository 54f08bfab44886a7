"""Serve commands: :class:`Server` and what describes them."""

from ._exports import Export, Flags, Process, ProcessFlags, Subscriber
from ._forward import forward as forward
from ._forward_options import ForwardOptions, Rights
from ._options import CommandOptions, ListenOptions
from ._server import Server, current_request

__all__ = [
    "CommandOptions",
    "Export",
    "Flags",
    "ForwardOptions",
    "ListenOptions",
    "Process",
    "ProcessFlags",
    "Rights",
    "Server",
    "Subscriber",
    "current_request",
]
