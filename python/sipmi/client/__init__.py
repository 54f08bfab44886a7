"""Call commands: :func:`connect`, :class:`Client` and the awaited :class:`AsyncClient`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._base import ClientBase, ServerInfo, named
from ._commands import BoundCommand, Commands
from ._options import Auth, ClientOptions, ConnectOptions, Path
from ._reply import Reply
from ._secret import Secret, check_portable
from ._sync import Client, connect
from ._times import Zone

if TYPE_CHECKING:
    from ._async import AsyncClient, connect_async
    from ._loops import driver_of

#: Imported on first use: a program that blocks needs no event loop.
_LATER = {"AsyncClient": "_async", "connect_async": "_async", "driver_of": "_loops"}

__all__ = [
    "AsyncClient",
    "Auth",
    "BoundCommand",
    "Client",
    "ClientBase",
    "ClientOptions",
    "Commands",
    "ConnectOptions",
    "Path",
    "Reply",
    "Secret",
    "ServerInfo",
    "Zone",
    "check_portable",
    "connect",
    "connect_async",
    "driver_of",
    "named",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)
