"""LiveServer: a server on free endpoints of its own, for tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import Any, Optional

from .. import client
from ..server import Server

#: The transports that it listens on by default.
TRANSPORTS = ("fifo", "udp", "unix", "http")


class LiveServer(Server):
    """A :class:`sipmi.Server` on a FIFO, a UDP port, a UNIX socket and an HTTP port of its own.

    Files lie in a directory of its own, which goes with it; ports are picked by the system. So any number of them may
    run at once, also in parallel test processes.

    :param name: the module that its commands belong to.
    :param transports: where it listens.
    :param listen: options of each :meth:`sipmi.Server.listen`, such as ``{"read_only": True}``.
    :param options: those of :class:`sipmi.Server`.
    :raises ValueError: there is no such transport or option.

    >>> with LiveServer("billing", transports=["udp", "http"]) as server:
    ...     @server.command
    ...     def credit(user: str) -> float:
    ...         return 2.5
    ...     with server.connect("http") as mi:
    ...         mi.call("credit", "alice")
    2.5
    """

    def __init__(
        self,
        name: str = "test",
        *,
        transports: Iterable[str] = TRANSPORTS,
        listen: Optional[dict[str, Any]] = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._directory = tempfile.TemporaryDirectory(prefix="mi")
        try:
            for transport in transports:
                self._listen(transport, dict(listen or {}))
        except BaseException:
            self._directory.cleanup()
            raise

    def stop(self, timeout: Optional[float] = None) -> None:
        """Ends serving and removes its files. Twice does no harm; it cannot be started again."""
        super().stop(timeout)
        self._directory.cleanup()

    def address(self, transport: str = "udp") -> str:
        """Where it listens on a transport: "fifo", "udp", "unix", "http".

        :raises LookupError: it does not, or it is stopped.
        """
        for address in self.addresses:
            if address.partition(":")[0].removesuffix("s") == transport.removesuffix("s"):
                return address
        raise LookupError(f"{self!r} does not listen on {transport}")

    def connect(self, transport: str = "udp", **options: Any) -> client.Client:
        """A client of it; ``options`` are those of :func:`sipmi.connect`."""
        return client.connect(self.address(transport), **options)

    def _listen(self, transport: str, options: dict[str, Any]) -> None:
        directory = self._directory.name
        if transport == "fifo":
            self.listen(f"fifo:{os.path.join(directory, 'mi_fifo')}", reply_dir=directory, **options)
        elif transport == "udp":
            self.listen("udp:127.0.0.1:0", **options)
        elif transport == "unix":
            self.listen(f"unix:{os.path.join(directory, 'mi.sock')}", **options)
        elif transport == "http":
            self.listen("http://127.0.0.1:0", **options)
        else:
            raise ValueError(f"expected a transport of {', '.join(TRANSPORTS)}, found {transport!r}")
