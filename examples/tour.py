"""The main job on real endpoints: one server, called in every way there is. Prints a table; exit 0, or 1 and a reason.

It serves `billing.py` on a FIFO, a UDP port, a UNIX socket and over HTTP, and calls it

- with sipmi's own client, in every wire that a transport has;
- with the `opensips` package, the official client of OpenSIPS 3.x and 4.x;
- with the standard library's `xmlrpc.client`;
- with a shell, doing what opensipsctl does: mkfifo, cat, printf.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import billing
from opensips.mi import OpenSIPSMI

import sipmi

#: The steps of `opensipsctl fifo CMD ARG...`, in a few lines of shell.
SHELL_CLIENT = r"""
set -eu
fifo=$1; dir=$2; command=$3; shift 3
reply=shell_reply_$$
mkfifo -m a+w "$dir/$reply"
trap 'rm -f "$dir/$reply"' EXIT
cat "$dir/$reply" &
{ printf ':%s:%s\n' "$command" "$reply"; for arg in "$@"; do printf '%s\n' "$arg"; done; printf '\n'; } > "$fifo"
wait
"""


@dataclass
class Row:
    """One call, as the table shows it."""

    client: str
    transport: str
    wire: str
    request: str
    reply: str
    milliseconds: float


def call(client: str, transport: str, wire: str, command: str, args: list[Any], run: Callable[[], Any]) -> Row:
    """Runs a call and times it."""
    began = time.perf_counter()
    reply = run()
    elapsed = (time.perf_counter() - began) * 1000
    request = " ".join([command, *map(str, args)])
    shown = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
    return Row(client, transport, wire, request, " | ".join(shown.split("\n")), elapsed)


#: Every client makes these calls. The last one is answered with an error, which is shown like any other answer.
CALLS: list[tuple[str, list[Any]]] = [
    ("version", []),
    ("sub_add", ["alice", "example.org", 2.5]),
    ("sub_dump", []),
    ("probe", ["sip:alice@example.org"]),
    ("cdrs", [2]),
    ("sub_rm", ["unknown"]),
]


def own_client(addresses: list[str]) -> Iterator[Row]:
    """sipmi's client over all transports, in every wire that they have."""
    for address in addresses:
        for wire, place in wires(address).items():
            with sipmi.connect(place, wire=wire, timeout=5.0) as mi:
                for command, args in CALLS:
                    yield call("sipmi", address.split(":")[0], wire, command, args, lambda: answer(mi, command, args))  # noqa: B023


def wires(address: str) -> dict[str, str]:
    """The wires of a transport, and where each is spoken."""
    if not address.startswith("http:"):
        return {"text": address, "jsonrpc": address}
    root = address.rpartition("/")[0]
    return {"jsonrpc": address, "mi_json": f"{root}/json", "xmlrpc": f"{root}/RPC2"}


def answer(mi: sipmi.Client, command: str, args: list[Any]) -> Any:
    """The value, or the error that the server answered."""
    try:
        return mi.call(command, *args)
    except sipmi.Fault as fault:
        return f"{type(fault).__name__}: {fault}"


def official_client(endpoints: dict[str, dict[str, Any]]) -> Iterator[Row]:
    """The `opensips` package over all transports."""
    for transport, options in endpoints.items():
        mi = OpenSIPSMI("datagram" if transport in ("udp", "unix") else transport, **options)
        for command, args in CALLS:
            yield call("opensips", transport, "jsonrpc", command, args, lambda: official_answer(mi, command, args))  # noqa: B023


def official_answer(mi: OpenSIPSMI, command: str, args: list[Any]) -> Any:
    try:
        return mi.execute(command, args)
    except Exception as error:  # it has one class for everything
        return f"{type(error).__name__}: {error}"


def library_client(root: str) -> Iterator[Row]:
    """xmlrpc.client."""
    with xmlrpc.client.ServerProxy(f"{root}/RPC2", allow_none=True) as proxy:
        for command, args in CALLS:
            yield call("xmlrpc.client", "http", "xmlrpc", command, args, lambda: library_answer(proxy, command, args))  # noqa: B023


def library_answer(proxy: xmlrpc.client.ServerProxy, command: str, args: list[Any]) -> Any:
    try:
        return getattr(proxy, command)(*args)
    except xmlrpc.client.Fault as fault:
        return f"Fault: {fault.faultCode} {fault.faultString}"


def shell_client(fifo: str, directory: str) -> Iterator[Row]:
    """mkfifo, cat, printf."""
    for command, args in CALLS:
        line = ["sh", "-c", SHELL_CLIENT, "sh", fifo, directory, command, *map(str, args)]
        yield call("shell", "fifo", "text", command, args, lambda: run_shell(line))  # noqa: B023


def run_shell(line: list[str]) -> str:
    done = subprocess.run(line, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise RuntimeError(f"the shell client failed: {done.stderr.strip()}")
    return done.stdout.strip("\n")


def print_table(rows: list[Row]) -> None:
    """Columns as wide as what they hold; the reply takes what the terminal has left."""
    heads = ["client", "over", "wire", "request", "ms", "reply"]
    table = [[r.client, r.transport, r.wire, r.request, f"{r.milliseconds:.2f}", r.reply] for r in rows]
    widths = [max(len(line[column]) for line in [heads, *table]) for column in range(5)]
    room = max(40, shutil.get_terminal_size((160, 24)).columns - sum(widths) - 2 * 5)
    for line in [heads, ["-" * width for width in widths] + ["-" * room], *table]:
        cells = [cell.ljust(width) for cell, width in zip(line, widths)]
        reply = line[5] if len(line[5]) <= room else line[5][: room - 1] + "…"
        print("  ".join([*cells, reply]).rstrip())


def check(rows: list[Row]) -> None:
    """Every client got the answer that the server gave."""
    for row in rows:
        expected = {"version": "sipmi", "sub_add": "sip:alice@example.org", "sub_rm": "No such subscriber"}
        wanted = expected.get(row.request.split()[0], "")
        if wanted not in row.reply or not row.reply:
            raise RuntimeError(f"{row.client} over {row.transport} ({row.wire}): {row.request} gave {row.reply!r}")


def main() -> int:
    """Serves, calls, prints."""
    with tempfile.TemporaryDirectory(prefix="sipmi") as directory:
        fifo, unix = os.path.join(directory, "fifo"), os.path.join(directory, "sock")
        billing.server.listen(f"fifo:{fifo}", reply_dir=directory)
        billing.server.listen("udp:127.0.0.1:0")
        billing.server.listen(f"unix:{unix}")
        billing.server.listen("http://127.0.0.1:0")
        with billing.server as server:
            print(f"serving {', '.join(server.addresses)}\n")
            port = int(server.addresses[1].rpartition(":")[2])
            official = {
                "fifo": {"fifo_file": fifo, "fifo_file_fallback": fifo, "fifo_reply_dir": directory},
                "udp": {"datagram_ip": "127.0.0.1", "datagram_port": port, "datagram_timeout": 5},
                "unix": {"datagram_unix_socket": unix, "datagram_timeout": 5},
                "http": {"url": server.addresses[3]},
            }
            root = server.addresses[3].rpartition("/")[0]
            rows = [*own_client(server.addresses), *official_client(official), *library_client(root)]
            rows += shell_client(fifo, directory)
            print_table(rows)
            check(rows)
            print(f"\n{len(rows)} calls, every one answered")
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main())
        except Exception as error:
            print(f"the tour failed: {error}", file=sys.stderr)
            sys.exit(1)
    sys.exit(130)
