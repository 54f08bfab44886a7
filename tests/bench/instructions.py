"""Counts the instructions of one call, on each path of the server and of the client.

The process that is measured runs under callgrind, its peer beside it. Counters are reset after a warm-up and read after
a number of calls, so start-up does not count. All run on one processor, where no thread spins for work from another
one; and what is done by the clock and not for a call, by the thread that watches over the others, is not counted. So
figures repeat within one in a hundred, whatever else the machine does.

``--compare FILE`` shows the figures beside those that ``--write FILE`` kept, and ends with 1 where a path takes more
than ``--tolerance`` times as many instructions.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

#: Calls that are counted. Half as many go before, so that caches and tables are as they stay.
CALLS = 400
#: The name of the thread that looks at the others every millisecond.
WATCH = "sipmi-watch"
#: A thread in valgrind's list of them: its number there, and the kernel's.
THREAD = re.compile(r"^Thread (\d+): status = .*\(lwpid (\d+)\)", re.M)
#: Seconds that a step may take: callgrind slows a process down some fifty times.
TIMEOUT = 120

PATHS = [
    ("udp", "jsonrpc"), ("udp", "text"), ("unix", "jsonrpc"), ("unix", "text"),
    ("fifo", "jsonrpc"), ("fifo", "text"), ("http", "jsonrpc"), ("http", "mi_json"),
]  # fmt: skip

#: A server on every transport. ``quick`` is a handler in Python, ``version`` one in Rust.
SERVER = """
import sys, sipmi
server = sipmi.Server("bench")
@server.command(read_only=True)
def quick():
    return {"user": "alice", "domain": "example.org", "credit": 2.5}
directory = sys.argv[1]
server.listen(f"fifo:{directory}/fifo", reply_dir=directory)
server.listen(f"unix:{directory}/sock")
server.listen("udp:127.0.0.1:0")
server.listen("http://127.0.0.1:0")
with server:
    print(*server.addresses, flush=True)
    sys.stdin.read()
"""

#: Calls in a loop: reads lines of an address, a wire, a command and a count.
CLIENT = """
import sys, sipmi
clients = {}
print("ready", flush=True)
for line in sys.stdin:
    address, wire, command, count = line.split()
    key = address, wire
    if key not in clients:
        clients[key] = sipmi.connect(address, wire=wire, timeout=60)
    call = clients[key].call
    for _ in range(int(count)):
        call(command)
    print("done", flush=True)
"""


class Program:
    """A Python program, watched by a tool or not, that is told what to do by lines."""

    def __init__(self, source: str, *args: str, tool: tuple[str, ...] = ()) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}
        self.process = subprocess.Popen(
            [*tool, sys.executable, "-c", source, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.first_line = self.read_line()

    def read_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the program that is measured has ended early")
        return line.strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.read_line()

    def close(self) -> None:
        self.process.communicate(timeout=TIMEOUT)


class Callgrind:
    """Counts the instructions of a program."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.tool = ("valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={directory}/out")
        self.dumps = 0

    def count(self, program: Program, run: Callable[[], None]) -> int:
        """The instructions that the program takes while ``run`` runs."""
        self._control("--zero", program)
        run()
        self._control("--dump", program)
        self.dumps += 1
        watching = self._watching(program)
        threads = Path(self.directory).glob(f"out.{self.dumps}-*")
        return sum(instructions_of(thread) for thread in threads if int(thread.suffix[-2:]) not in watching)

    def _watching(self, program: Program) -> set[int]:
        """The threads that watch over others, by the numbers that valgrind gives them. A number is used again."""
        pid = program.process.pid
        asked = ["vgdb", f"--pid={pid}", "v.info", "scheduler"]
        told = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=TIMEOUT)
        numbers = {int(task): int(number) for number, task in THREAD.findall(told.stdout + told.stderr)}
        tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip() == WATCH]
        return {numbers[int(task.name)] for task in tasks}

    def _control(self, what: str, program: Program) -> None:
        subprocess.run(
            ["callgrind_control", what, str(program.process.pid)], check=True, capture_output=True, timeout=TIMEOUT
        )


def instructions_of(dump: Path) -> int:
    totals = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M)
    assert totals is not None, "callgrind wrote no totals"
    return int(totals[1])


def paths_of(addresses: list[str]) -> Iterator[tuple[str, str, str]]:
    """Transport, wire and address of each path."""
    for transport, wire in PATHS:
        address = next(each for each in addresses if each.startswith(transport))
        yield transport, wire, address.replace("/mi", "/json") if wire == "mi_json" else address


def measure(calls: int) -> dict[str, int]:
    """The instructions per call of every path."""
    figures: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="instr") as directory, contextlib.ExitStack() as stack:
        callgrind = Callgrind(directory)
        server = Program(SERVER, directory, tool=callgrind.tool)
        stack.callback(server.close)
        client = Program(CLIENT)
        stack.callback(client.close)
        for command in ("version", "quick"):
            for transport, wire, address in paths_of(server.first_line.split()):
                name = f"server {transport} {wire} {'python' if command == 'quick' else 'rust'}"
                figures[name] = per_call(callgrind, server, client, f"{address} {wire} {command}", calls)
                show(name, figures[name])
    with tempfile.TemporaryDirectory(prefix="instr") as directory, contextlib.ExitStack() as stack:
        callgrind = Callgrind(directory)
        server = Program(SERVER, directory)
        stack.callback(server.close)
        client = Program(CLIENT, tool=callgrind.tool)
        stack.callback(client.close)
        for transport, wire, address in paths_of(server.first_line.split()):
            name = f"client {transport} {wire}"
            figures[name] = per_call(callgrind, client, client, f"{address} {wire} version", calls)
            show(name, figures[name])
    return figures


def per_call(callgrind: Callgrind, measured: Program, client: Program, what: str, calls: int) -> int:
    """The instructions of one call: the difference between many and few, divided by how many more there were."""
    client.tell(f"{what} {calls // 2}")
    few = callgrind.count(measured, lambda: client.tell(f"{what} {calls // 2}"))
    many = callgrind.count(measured, lambda: client.tell(f"{what} {calls + calls // 2}"))
    return round((many - few) / calls)


def show(name: str, figure: int) -> None:
    print(f"{name:<32}{figure:>10,}", flush=True)


def main() -> Optional[int]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls that are counted (default: {CALLS})")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="compare with kept figures")
    parser.add_argument("--tolerance", type=float, default=1.02, help="growth that is allowed (default: 1.02)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = measure(options.calls)
    if options.write:
        options.write.write_text(json.dumps(figures, indent=1) + "\n")
    if options.compare is None:
        return None
    kept = json.loads(options.compare.read_text())
    grown = []
    print(f"\n{'path':<32}{'kept':>10}{'now':>10}{'ratio':>8}")
    for name, figure in figures.items():
        if name in kept:
            ratio = figure / kept[name]
            print(f"{name:<32}{kept[name]:>10,}{figure:>10,}{ratio:>8.3f}")
            if ratio > options.tolerance:
                grown.append(name)
    if grown:
        print(f"more than {options.tolerance} times as many instructions: {', '.join(grown)}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
