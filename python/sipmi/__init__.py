"""The OpenSIPS Management Interface: serve it and call it, on every wire of every generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core import ASYNC, AsyncHandler, Attr, Command, Counter, Node, RequestContext, Tree, __version__
from .errors import (
    AmbiguousMethod,
    CallTimeout,
    ChangedParameterWarning,
    CodecError,
    Fault,
    InvalidParams,
    MethodNotFound,
    MiError,
    OldServerWarning,
    RequestRefused,
    StatisticNotFound,
    TransportError,
    UnclearReplyWarning,
)

if TYPE_CHECKING:
    from . import events
    from .client import AsyncClient, Client, Commands, Reply, Secret, ServerInfo, connect, connect_async
    from .diagnosis import Diagnosis, Finding, doctor
    from .fleet import AsyncFleet, Fleet, FleetError, FleetResult, Unhealthy
    from .schema import CommandSchema, Schema, SchemaDiff
    from .server import Export, Flags, Process, ProcessFlags, Server, Subscriber, current_request

#: Names that are imported on first use, with their modules: a client need not wait for the import of the server. The
#: imports above, which type checkers read, are the same.
_LATER = {
    "AsyncClient": "client",
    "AsyncFleet": "fleet",
    "Client": "client",
    "CommandSchema": "schema",
    "Commands": "client",
    "Diagnosis": "diagnosis",
    "Export": "server",
    "Finding": "diagnosis",
    "Flags": "server",
    "Fleet": "fleet",
    "FleetError": "fleet",
    "FleetResult": "fleet",
    "Process": "server",
    "ProcessFlags": "server",
    "Reply": "client",
    "Schema": "schema",
    "SchemaDiff": "schema",
    "Secret": "client",
    "Server": "server",
    "ServerInfo": "client",
    "Subscriber": "server",
    "Unhealthy": "fleet",
    "connect": "client",
    "connect_async": "client",
    "current_request": "server",
    "doctor": "diagnosis",
}
#: Modules that are available without an import of their own.
_MODULES = frozenset({"affinity", "client", "display", "errors", "events", "exporter", "fleet", "gateway", "metrics",
                      "schema", "server", "statistics", "testing"})  # fmt: skip

__all__ = [
    "ASYNC",
    "AmbiguousMethod",
    "AsyncClient",
    "AsyncFleet",
    "AsyncHandler",
    "Attr",
    "CallTimeout",
    "ChangedParameterWarning",
    "Client",
    "CodecError",
    "Command",
    "CommandSchema",
    "Commands",
    "Counter",
    "Diagnosis",
    "Export",
    "Fault",
    "Finding",
    "Flags",
    "Fleet",
    "FleetError",
    "FleetResult",
    "InvalidParams",
    "MethodNotFound",
    "MiError",
    "Node",
    "OldServerWarning",
    "Process",
    "ProcessFlags",
    "Reply",
    "RequestContext",
    "RequestRefused",
    "Schema",
    "SchemaDiff",
    "Secret",
    "Server",
    "ServerInfo",
    "StatisticNotFound",
    "Subscriber",
    "TransportError",
    "Tree",
    "UnclearReplyWarning",
    "Unhealthy",
    "__version__",
    "connect",
    "connect_async",
    "current_request",
    "doctor",
    "events",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    thing = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return thing


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name[:2] == name[-2:] == "__")})
