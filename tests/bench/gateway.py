"""The cost that a gateway adds to a call: UDP before UDP, and HTTP before a FIFO, beside the same call without it.

One client in a closed loop, the upstream, the gateway and the client each a process of its own, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

CLIENT = Path(__file__).parent / "client.py"
COMMAND = "pwd"

UPSTREAM = """
import sys, sipmi
server = sipmi.Server("opensips", emulate=sys.argv[1])
server.listen("udp:127.0.0.1:0")
server.listen(f"fifo:{sys.argv[2]}/mi_fifo", reply_dir=sys.argv[2])
with server:
    print(*server.addresses, sep="\\n", flush=True)
    sys.stdin.read()
"""

GATEWAY = """
import sys
from sipmi.gateway import make_gateway
options = {"cache": {"*": 60.0}} if sys.argv[3] == "cached" else {}
with make_gateway(sys.argv[1], [sys.argv[2]], **options) as server:
    print(*server.addresses, sep="\\n", flush=True)
    sys.stdin.read()
"""


@contextmanager
def running(script: str, *arguments: str, addresses: int) -> Iterator[list[str]]:
    """A process that prints where it listens and ends with its input."""
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield [process.stdout.readline().strip() for _ in range(addresses)]
        finally:
            process.communicate(timeout=10)


def measure(address: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, str(CLIENT), "sipmi", address, COMMAND, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    figures: dict[str, Any] = json.loads(done.stdout)[0]
    assert not figures["errors"], figures["first_error"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long one turn takes")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="mi"))
        udp, fifo = stack.enter_context(running(UPSTREAM, "4.0", directory, addresses=2))

        def gateway(upstream: str, listen: str, cached: str = "") -> str:
            return stack.enter_context(running(GATEWAY, upstream, listen, cached, addresses=1))[0]

        ways = {
            "UDP": udp,
            "UDP -> UDP": gateway(udp, "udp:127.0.0.1:0"),
            "UDP -> UDP, kept": gateway(udp, "udp:127.0.0.1:0", "cached"),
            "FIFO": fifo,
            "HTTP -> FIFO": gateway(fifo, "http://127.0.0.1:0"),
            "HTTP -> FIFO, kept": gateway(fifo, "http://127.0.0.1:0", "cached"),
        }
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for _ in range(options.turns):
            for name, address in ways.items():
                turns[name].append(measure(address, options.seconds))
    print(f"{'':20} {'calls/s':>9} {'p50 us':>8} {'p99 us':>8} {'added us':>9}")
    for name, measured in turns.items():
        rate, p50, p99 = (
            statistics.median(figures["rates"][0] if part == "rate" else figures[part] for figures in measured)
            for part in ("rate", "p50_us", "p99_us")
        )
        direct = statistics.median(figures["p50_us"] for figures in turns["UDP" if name.startswith("UDP") else "FIFO"])
        added = f"{p50 - direct:9.1f}" if "->" in name else ""
        print(f"{name:20} {rate:9.0f} {p50:8.1f} {p99:8.1f} {added}")


if __name__ == "__main__":
    main()
