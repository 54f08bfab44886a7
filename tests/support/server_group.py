"""Several servers that start and stop together."""

from __future__ import annotations

import sipmi


class ServerGroup:
    """Servers by name. A subclass creates them."""

    servers: dict[str, sipmi.Server]

    @property
    def nodes(self) -> dict[str, str]:
        """The address of each server."""
        return {name: server.addresses[0] for name, server in self.servers.items()}

    def stop(self) -> None:
        """Stop all servers."""
        for server in self.servers.values():
            server.stop()
