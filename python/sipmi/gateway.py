"""A gateway: a server that passes what it does not know itself to a real OpenSIPS of any generation."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _numbers
from .client import Client, connect

if TYPE_CHECKING:
    from .server import Server

#: Where each forwarded request leaves an entry: who asked for what, and what came of it.
audit_log: logging.Logger = logging.getLogger("sipmi.audit")
log: logging.Logger = logging.getLogger("sipmi.gateway")

#: Who may have what run: patterns of commands and ``"@read"`` by user, network or ``"*"``.
Rights = Mapping[str, Union[str, Iterable[str]]]


def make_gateway(
    upstream: Union[str, Client],
    listen: Iterable[Union[str, tuple[str, Mapping[str, Any]]]] = (),
    *,
    name: str = "gateway",
    only: Iterable[str] = (),
    timeout: float = 5.0,
    in_flight: Optional[int] = None,
    queue: int = 4096,
    cache: Optional[Mapping[str, float]] = None,
    rights: Optional[Rights] = None,
    audit: bool = True,
    listen_options: Optional[Mapping[str, Any]] = None,
    **client_options: Any,
) -> Server:
    """A server that has no commands of its own but those of an upstream, ready to run.

    :param upstream: whom it calls, as :func:`sipmi.connect` takes it, or a client of it.
    :param listen: where it listens: addresses, or pairs of an address and its options (see :meth:`Server.listen`).
    :param name: what its server is called.
    :param listen_options: options of every endpoint.
    :param client_options: those of :func:`sipmi.connect`: ``reply_dir=``, ``auth=``, ``cafile=``, ...
    :raises ValueError: an address or option cannot be read.

    The other parameters are those of :meth:`Server.forward`.

    >>> from sipmi.testing import FakeOpenSIPS
    >>> with FakeOpenSIPS("2.4") as opensips:
    ...     gateway = make_gateway(opensips.address("fifo"), ["http://127.0.0.1:0"], cache={"get_statistics": 1.0})
    ...     with gateway, connect(gateway.addresses[0]) as mi:
    ...         mi.call("get_statistics", ["rcv_requests"])
    {'core:rcv_requests': 0}
    """
    from .server import Server

    server = Server(name)
    server.forward(
        upstream,
        only=only,
        timeout=timeout,
        in_flight=in_flight,
        queue=queue,
        cache=cache,
        rights=rights,
        audit=audit,
        **client_options,
    )
    for each in listen:
        address, options = (each, {}) if isinstance(each, str) else each
        server.listen(address, **{**(listen_options or {}), **options})
    return server


def forward(
    server: Server,
    upstream: Union[str, Client],
    *,
    only: Iterable[str] = (),
    timeout: float = 5.0,
    in_flight: Optional[int] = None,
    queue: int = 4096,
    cache: Optional[Mapping[str, float]] = None,
    rights: Optional[Rights] = None,
    audit: bool = True,
    **client_options: Any,
) -> Client:
    """What :meth:`Server.forward` does; gives the client that calls the upstream."""
    _numbers.timeout(timeout)
    if isinstance(upstream, Client):
        client = upstream
    else:
        client = connect(upstream, timeout=timeout, in_flight=in_flight, **client_options)
    options: dict[str, Any] = {
        "only": _patterns(only),
        "timeout": float(timeout),
        # One process of the server reads a FIFO; there is nothing to gain from more than one that writes.
        "threads": in_flight or (1 if client.address.startswith("fifo:") else 4),
        "queue": queue,
        "cache": dict(cache or {}),
    }
    if rights is not None:
        options["rights"] = [(who, _patterns(patterns)) for who, patterns in rights.items()]
    if audit and audit_log.isEnabledFor(logging.INFO):
        options["audit"] = _log_audit
    server._core.forward(client._core, options)
    return client


def _patterns(given: Union[str, Iterable[str]]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _log_audit(entry: str, dropped: int) -> None:
    """Logs an entry as a line of JSON; handlers find its members in the record's ``entry``."""
    if dropped:
        audit_log.warning("%d entries were dropped: the log is slower than the callers", dropped)
    audit_log.info("%s", entry, extra={"entry": json.loads(entry)})
