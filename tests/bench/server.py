"""The server that is measured: one Python handler of each kind, on a FIFO, a UDP port, a UNIX socket and over HTTP."""

from __future__ import annotations

import contextlib
import json
import sys
import time

import sipmi


def main(directory: str) -> None:
    server = sipmi.Server("bench", version="1.0")

    @server.command(read_only=True)
    def account() -> dict:
        """Show an account."""
        return {"aor": "sip:alice@example.org", "credit": 25, "online": True}

    @server.command(read_only=True)
    def nap() -> None:
        """Sleep for a second."""
        time.sleep(1.0)

    @server.command(read_only=True)
    def flood() -> str:
        """Give ten megabytes."""
        return "x" * 10_000_000

    server.listen("udp:127.0.0.1:0")
    server.listen(f"unix:{directory}/sipmi.sock")
    server.listen(f"fifo:{directory}/sipmi_fifo", reply_dir=directory)
    server.listen("http://127.0.0.1:0")
    with server, contextlib.suppress(KeyboardInterrupt):
        addresses = {address.split(":", 1)[0]: address for address in server.addresses}
        print(json.dumps(addresses), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
