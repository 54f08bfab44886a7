"""The configuration of an imitated server, which all its modules read."""

from __future__ import annotations

import dataclasses
from typing import Callable

from ...server import Server


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A version with its loaded modules and sockets, on a server.

    :ivar version: the version that is imitated, such as "2.4".
    :ivar modules: the loadable modules that the configuration loads.
    :ivar hazards: whether it hangs, swallows and dies where the version does.
    :ivar sip_socket: the SIP socket that it reports.
    :ivar server: the server that carries its commands.
    :ivar stop: ends the server, as the command ``kill`` does.
    """

    version: str
    modules: tuple[str, ...]
    hazards: bool
    sip_socket: str
    server: Server
    stop: Callable[[], None]

    def loads(self, module: str) -> bool:
        """Return whether the configuration loads a module."""
        return module in self.modules

    @property
    def http_socket(self) -> str:
        """The address at which ``ps`` reports that HTTP is served."""
        found = [address for address in self.server.addresses if address.startswith("http:")]
        return found[0].split("/")[2] if found else "127.0.0.1:8888"
