"""Where the measured server's processor time goes: `profile.py udp jsonrpc account 8`.

Samples the server with `perf record` while clients call it, and groups the samples: those in the kernel by
system call, those outside by what the code is for. Wants perf(1). The build that `make` makes has no symbols, so
sipmi's own code is one group; `strip = false` under `[tool.maturin]` in pyproject.toml splits it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import run

#: The purpose of code outside the kernel, by the name of its function; the first match counts.
PARTS = (
    ("clock", r"vdso|clock_gettime|Timespec|Instant"),
    (
        "allocator",
        r"malloc|^free$|_int_free|realloc|calloc|tcache|unlink_chunk|__rdl_|__rust_(de|re)?alloc|cfree",
    ),
    ("memory copies", r"mem(cpy|move|set|cmp|chr)"),
    (
        "locks of the interpreter",
        r"GIL|(take|drop)_gil|PyEval_(Save|Restore)Thread|PyGILState|attach|pthread_",
    ),
    ("Python to value", r"python::convert|response_from_python|item_from_python"),
    ("Python handler call", r"python::handler|PyHandler|run_attached"),
    ("JSON-RPC", r"serde|jsonrpc|codec::json"),
    ("text", r"codec::text"),
    ("FIFO frames", r"fifo_frame|Framer"),
    ("lookup and parameters", r"registry|recipe|Service"),
    (
        "transport",
        r"transport::|__libc_|^(read|write|open|close|poll|fstat|recvfrom|sendto)|libc_(recv|send)",
    ),
    ("server", r"sipmi::server|sipmi::command"),
    ("sipmi, the rest", r"sipmi|core::|alloc::|std::|pyo3|nix::"),
)

WAKING = re.compile(r"try_to_wake_up|__wake_up|sock_def_readable|ep_poll_callback")


def records(script: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Thread and stack, innermost first, of each sample that `perf script` shows."""
    for block in script.split("\n\n"):
        lines = block.strip("\n").splitlines()
        if not lines:
            continue
        frames = [re.match(r"\s+[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \((.*)\)$", line) for line in lines[1:]]
        yield lines[0].split()[0], [(frame[1], frame[2]) for frame in frames if frame]


def part_of(stack: list[tuple[str, str]]) -> str:
    """The code in which a sample was taken."""
    if not stack:
        return "unknown"
    function, binary = stack[0]
    if "kernel" in binary or binary == "[unknown]":
        calls = [re.match(r"(?:__x64_sys_|__se_sys_|ksys_)(\w+)", name) for name, _ in stack]
        found = next((call[1] for call in reversed(calls) if call), None)
        if not found:
            gave_way = any(name.startswith("exit_to_user_mode_loop") for name, _ in stack)
            return "kernel: giving way to a woken client" if gave_way else "kernel: entry, interrupts"
        wakes = any(WAKING.match(name) for name, _ in stack)
        return f"kernel: {found}, waking its reader" if wakes else f"kernel: {found}"
    if re.match(r"(lib)?python3", Path(binary).name):
        return "interpreter"
    if function == "[unknown]" and Path(binary).name.startswith("_core"):
        return "sipmi"
    return next((part for part, pattern in PARTS if re.search(pattern, function)), f"other ({Path(binary).name})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the measured server's processor time goes.")
    parser.add_argument("transport", choices=["udp", "unix", "fifo", "tcp"])
    parser.add_argument("wire", choices=["text", "jsonrpc"])
    parser.add_argument("command", help="account (a Python handler), version (built in), ...")
    parser.add_argument("clients", type=int)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--functions", type=int, default=25, help="how many single functions to list")
    parser.add_argument("--pin", choices=run.PLACES, default="", help="keep server and clients there")
    parser.add_argument("--echo", action="store_true", help="profile the raw echo instead")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sipmi-profile-")))
        bench = run.Bench(run.build_load(), directory, stack)
        request = bench.request(options.transport, options.wire, options.command)
        reply = bench.reply(options.transport, request)
        address, pid = bench.bare(options.transport), bench.server.pid
        if options.echo:
            address, pid = bench.echo(stack, options.transport, request, reply)
        clients = bench.clients(options.transport, address, pid, request, reply, clients=options.clients)
        if options.pin:
            servers_on, clients_on = run.PLACES[options.pin]
            stack.enter_context(run.pin(pid, servers_on))
            clients = ["taskset", "--cpu-list", str(clients_on), *clients]
        samples = directory / "samples"
        # perf needs a while to begin; the clients go on until it has ended.
        calling = threading.Thread(target=run.one_side(clients), args=(options.seconds + 4,))
        calling.start()
        record = [
            "perf",
            "record",
            "-q",
            "-e",
            "cpu-clock",
            "-F",
            "3999",
            "-g",
            "-p",
            str(pid),
            "-o",
            str(samples),
        ]
        subprocess.run([*record, "--", "sleep", str(options.seconds)], check=True)
        calling.join()
        command = ["perf", "script", "-i", str(samples), "-F", "comm,ip,sym,symoff,dso"]
        script = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    show(script.stdout, options.functions)


def show(script: str, most: int) -> None:
    parts: collections.Counter[str] = collections.Counter()
    functions: collections.Counter[tuple[str, str]] = collections.Counter()
    for thread, stack in records(script):
        part = part_of(stack) if "watch" not in thread else "watch thread"
        parts[part] += 1
        functions[part, stack[0][0] if stack else "?"] += 1
    total = sum(parts.values())
    if not total:
        sys.exit("no samples: did the server do anything?")
    for part, count in parts.most_common():
        print(f"{count / total:6.1%}  {part}")
    print()
    for (part, function), count in functions.most_common(most):
        print(f"{count / total:6.1%}  {function[:90]}  [{part}]")


if __name__ == "__main__":
    main()
