"""Forwarding of requests to another server."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, Union

from .._core import Server as CoreServer
from .._options import check_options
from ..client import Client, connect
from ._forward_options import ForwardOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Gets an entry for each forwarded request: the caller, the command and the outcome.
audit_log: logging.Logger = logging.getLogger("sipmi.audit")


class Forwarding(Protocol):
    """A server that can forward."""

    _core: CoreServer


def forward(server: Forwarding, upstream: Union[str, Client], **options: Unpack[ForwardOptions]) -> Client:
    """Forward what a server does not know itself, as :meth:`Server.forward` does; return the client of the upstream."""
    check_options("forward()", options, ForwardOptions)
    given: dict[str, Any] = {**options}
    timeout = given.pop("timeout", 5.0)
    only, queue = given.pop("only", ()), given.pop("queue", 4096)
    cache, rights, audit = given.pop("cache", None), given.pop("rights", None), given.pop("audit", True)
    client = upstream if isinstance(upstream, Client) else connect(upstream, timeout=timeout, **given)
    core_options: dict[str, Any] = {
        "only": _patterns(only),
        "timeout": float(timeout),
        # One process of the server reads a FIFO; there is nothing to gain from more than one that writes.
        "threads": given.get("max_in_flight") or (1 if client.address.startswith("fifo:") else 4),
        "queue": queue,
        "cache": dict(cache or {}),
    }
    if rights is not None:
        core_options["rights"] = [(who, _patterns(patterns)) for who, patterns in rights.items()]
    if audit and audit_log.isEnabledFor(logging.INFO):
        core_options["audit"] = _log_audit
    server._core.forward(client._core, core_options)
    return client


def _patterns(given: Union[str, Iterable[str]]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _log_audit(entry: str, dropped: int) -> None:
    """Log an entry as a line of JSON; handlers find its members in the record's ``entry``."""
    if dropped:
        audit_log.warning("%d entries were dropped: the log is slower than the callers", dropped)
    audit_log.info("%s", entry, extra={"entry": json.loads(entry)})
