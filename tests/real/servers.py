"""The real OpenSIPS servers that a run is given: versions, and the addresses of each.

``4.0=fifo:/run/opensips/opensips_fifo,udp:127.0.0.1:8080,http://127.0.0.1:8888/mi 2.4=unix:/run/mi.sock`` names two.
"""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Optional
from urllib.parse import urlsplit

import sipmi

#: Seconds that an answer may take. An asynchronous command, or one that OpenSIPS delays, takes the longest.
TIMEOUT = 5.0
#: Seconds that a server may take until it answers again after a restart.
RESTART_TIMEOUT = 30.0


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One address of a real server."""

    version: str
    address: str

    @property
    def transport(self) -> str:
        """ "fifo", "udp", "unix" or "http"."""
        return "http" if self.address.startswith("http") else self.address.partition(":")[0]

    @property
    def label(self) -> str:
        """The transport, and the root of HTTP: "udp", "http/mi"."""
        return self.transport + (urlsplit(self.address).path if self.transport == "http" else "")

    @property
    def is_html(self) -> bool:
        """True if the address serves pages for people: mi_html, or mi_http before 3.0."""
        path = urlsplit(self.address).path if self.transport == "http" else ""
        return path == "/html" or (path == "/mi" and self.generation in ("1.x", "2.x"))

    @property
    def generation(self) -> str:
        """The generation that the version belongs to: "2.x" for 2.4; master is the newest."""
        major = self.version.partition(".")[0]
        return f"{major}.x" if major.isdigit() else "4.x"

    @property
    def is_typed(self) -> bool:
        """True if values have types on the wire: JSON-RPC and the XML-RPC of 3.x and 4.x."""
        return self.generation in ("3.x", "4.x")

    @property
    def loses_errors(self) -> bool:
        """True if an error and a success without nodes are one answer: 1.11's mi_json and /xmlrpc."""
        return self.generation == "1.x" and self.label in ("http/json", "http/xmlrpc")

    @property
    def loses_nesting(self) -> bool:
        """True if replies are lines without indentation: mi_xmlrpc of 1.x."""
        return self.generation == "1.x" and self.label == "http/RPC2"

    @property
    def is_xml(self) -> bool:
        return self.label in ("http/RPC2", "http/xmlrpc")

    def connect(self, **options: Any) -> sipmi.Client:
        return sipmi.connect(self.address, **{"timeout": TIMEOUT, **options})

    def is_alive(self) -> bool:
        """Return whether the server answers ``version`` on this address."""
        try:
            with self.connect(timeout=2.0) as mi:
                return "Server" in mi.call("version")
        except sipmi.MiError:
            return False

    def __str__(self) -> str:
        return f"{self.version}-{self.label}"


@dataclasses.dataclass(frozen=True)
class RealServer:
    """One version with its addresses."""

    version: str
    endpoints: tuple[Endpoint, ...]
    restart_command: Optional[str] = None

    @cached_property
    def callable_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints without those of pages."""
        return tuple(endpoint for endpoint in self.endpoints if not endpoint.is_html)

    def endpoint(self, *transports: str) -> Optional[Endpoint]:
        """The first endpoint of the first of these transports that the server has."""
        found = (each for transport in transports for each in self.callable_endpoints if each.transport == transport)
        return next(found, None)

    def restart(self) -> None:
        """Runs the restart command and waits until every endpoint answers."""
        assert self.restart_command is not None
        subprocess.run(
            self.restart_command.format(version=self.version), shell=True, check=True, timeout=RESTART_TIMEOUT
        )
        self.await_alive()

    def await_alive(self) -> None:
        """Waits until every endpoint answers."""
        deadline = time.monotonic() + RESTART_TIMEOUT
        for endpoint in self.callable_endpoints:
            while not endpoint.is_alive():
                assert time.monotonic() < deadline, f"{endpoint.address} does not answer"

    def __str__(self) -> str:
        return self.version


def parse(text: str, restart_command: Optional[str] = None) -> tuple[RealServer, ...]:
    """Reads what ``--opensips`` was given."""
    return tuple(_servers(text, restart_command))


def _servers(text: str, restart_command: Optional[str]) -> Iterator[RealServer]:
    for word in text.split():
        version, equals, addresses = word.partition("=")
        if not equals or not addresses:
            raise ValueError(f"--opensips: expected VERSION=ADDRESS,ADDRESS..., got {word!r}")
        endpoints = (Endpoint(version, address) for address in addresses.split(","))
        yield RealServer(version, tuple(endpoints), restart_command)
