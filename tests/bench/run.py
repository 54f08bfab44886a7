"""Measures sipmi's speed beside what it is compared with, and prints one table.

Subject and baseline run in turns (A B, B A, ...), on the same kind of socket, with the same clients. Where
both take the same clients, a turn is a slice of 0.1 s within one process; else it is a round, a process of
its own. A figure is the median over the turns of the ratio within each. `--help` lists the options.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, Optional

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

#: Seconds that a process of a round may take beyond the round itself.
GRACE = 20.0

REQUESTS = {
    ("text", "datagram"): ":{command}:\n",
    ("jsonrpc", "datagram"): '{{"jsonrpc":"2.0","method":"{command}","id":1}}',
    ("text", "fifo"): ":{command}:{{reply}}\n\n",
    ("jsonrpc", "fifo"): ':{{reply}}:{{"jsonrpc":"2.0","method":"{command}","id":1}}',
}

#: Over HTTP a transport is the load crate's `tcp`, and the wire says where the request goes.
HTTP_REQUESTS = {
    "jsonrpc": ("/mi", "application/json", '{{"jsonrpc":"2.0","method":"{command}","id":1}}'),
    "xmlrpc": ("/RPC2", "text/xml", "<methodCall><methodName>{command}</methodName><params></params></methodCall>"),
}

#: A reply FIFO's name of the Rust client, for its length: `load_`, ten digits, `_`, four digits.
REPLY_NAME = "load_0000000000_0000"


@dataclasses.dataclass(frozen=True)
class Figures:
    """The measurements of one side."""

    #: Calls a second, one figure a round.
    rates: list[float]
    p50_us: float
    p99_us: float
    errors: int
    wrong: int
    first_error: str
    #: Processor time of the server for each call.
    cpu_us: float

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


#: Runs this many rounds of this many seconds; gives the figures of the baseline and of the subject.
Contest = Callable[[int, float], tuple[Figures, Figures]]
#: Runs one round of a number of seconds on one side.
Side = Callable[[float], Figures]


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    baseline: str
    prepare: Prepare
    #: 0: nothing, the row is there to be looked at.
    wanted: float
    #: The ratio that OpenSIPS in C reaches against the same baseline.
    in_c: str = ""
    #: `ratio` of calls a second, or `ms`: the subject's own 99th percentile.
    unit: str = "ratio"


class Skipped(Exception):
    """A row cannot be measured here."""


class Bench:
    """The measured server, and everything else that runs."""

    def __init__(self, load: Path, directory: Path, stack: contextlib.ExitStack) -> None:
        self.load = load
        self.directory = directory
        self.files = 0
        self.server = self.start(stack, [sys.executable, "-X", "faulthandler", str(HERE / "server.py"), str(directory)])
        self.addresses: dict[str, str] = json.loads(read_line(self.server))

    def start(self, stack: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[str]:
        """Starts a process that ends with the stack."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(end, process)
        return process

    def check(self, row: Row) -> None:
        """Ends the run when the measured server has ended: nothing after that would mean anything."""
        code = self.server.poll()
        if code is not None:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise SystemExit(f"{row.what}: the measured server ended with {how}")

    def file(self, content: bytes) -> str:
        """A file with this content."""
        self.files += 1
        path = self.directory / f"content_{self.files}"
        path.write_bytes(content)
        return str(path)

    def bare(self, transport: str) -> str:
        """The server's address as the Rust clients take it: without scheme and query."""
        if transport == "tcp":
            return self.addresses["http"].split("/")[2]
        return self.addresses[transport].split(":", 1)[1].split("?", 1)[0]

    def request(self, transport: str, wire: str, command: str) -> str:
        """A file with a request."""
        if transport == "tcp":
            path, content_type, form = HTTP_REQUESTS[wire]
            body = form.format(command=command)
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
            return self.file(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        form = REQUESTS[wire, "fifo" if transport == "fifo" else "datagram"]
        return self.file(form.format(command=command).encode())

    def reply(self, transport: str, request: str, address: Optional[str] = None) -> str:
        """A file with what the server replies to a request."""
        command = [str(self.load), "once", transport, "--address", address or self.bare(transport)]
        command += ["--request", request, "--dir", str(self.directory)]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=GRACE, check=True)
        return self.file(done.stdout)

    def echo(self, stack: contextlib.ExitStack, transport: str, request: str, reply: str) -> tuple[str, int]:
        """Starts a raw echo with replies like this one. Its address and process."""
        self.files += 1
        path = str(self.directory / f"echo_{self.files}")
        command = [str(self.load), "echo", transport, "--reply", reply, "--reply-dir", str(self.directory)]
        command += ["--address", "127.0.0.1:0" if transport in ("udp", "tcp") else path]
        frame = Path(request).read_text().replace("{reply}", REPLY_NAME)
        command += ["--frame", str(len(frame))]
        process = self.start(stack, command)
        return read_line(process).split(" ", 1)[1], process.pid

    def other(self, stack: contextlib.ExitStack, kind: str) -> tuple[str, int]:
        """Starts the same handler under another server. Its address and process."""
        process = self.start(stack, [sys.executable, str(HERE / "others.py"), kind])
        return read_line(process).split(" ", 1)[1], process.pid

    def clients(self, transport: str, address: str, pid: int, request: str, expect: str, **options: Any) -> list[str]:
        """The command of Rust clients in closed loops."""
        command = [str(self.load), "call", transport, "--address", address, "--pid", str(pid)]
        command += ["--request", request, "--expect", expect, "--dir", str(self.directory)]
        return command + [word for name, value in options.items() for word in (f"--{name}", str(value))]

    def own_clients(self, transport: str, request: str, expect: str, **options: Any) -> list[str]:
        """The command of Rust clients of the measured server."""
        return self.clients(transport, self.bare(transport), self.server.pid, request, expect, **options)

    def python_client(self, kind: str, transport: str, command: str) -> list[str]:
        """The command of one Python client of the measured server in a closed loop."""
        return [sys.executable, str(HERE / "client.py"), kind, self.addresses[transport], command]


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args} ended with {process.wait(GRACE)}")
    return line.strip()


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process: a server by closing its input, whatever stays by force."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if "server.py" not in " ".join(map(str, process.args)):  # type: ignore[arg-type]
        process.kill()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def measure(command: list[str], seconds: float) -> list[Figures]:
    """Runs a client to its end and reads what it says."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds + GRACE, check=True)
    return [Figures(**target) for target in json.loads(done.stdout)]


def one_side(command: list[str], clients_on: str = "") -> Side:
    """Clients as a side; `clients_on` is the processor where they are kept."""
    command = [*taskset(clients_on), *command]
    return lambda seconds: measure([*command, "--seconds", str(seconds)], seconds)[0]


def turns(baseline: Side, subject: Side, *, shortest: float = 0.0) -> Contest:
    """Sides that take turns, each in a process of its own for each round."""

    def contest(rounds: int, seconds: float) -> tuple[Figures, Figures]:
        found: dict[str, list[Figures]] = {"baseline": [], "subject": []}
        for number in range(rounds):
            order = [("baseline", baseline), ("subject", subject)]
            for name, side in order if number % 2 == 0 else reversed(order):
                found[name].append(side(max(seconds, shortest)))
        return together(found["baseline"]), together(found["subject"])

    return contest


def together(rounds: list[Figures]) -> Figures:
    """The rounds of a side as one."""
    middle = {name: statistics.median(getattr(one, name) for one in rounds) for name in ("p50_us", "p99_us", "cpu_us")}
    return Figures(
        rates=[rate for one in rounds for rate in one.rates],
        errors=sum(one.errors for one in rounds),
        wrong=sum(one.wrong for one in rounds),
        first_error=next((one.first_error for one in rounds if one.first_error), ""),
        **middle,
    )


def taskset(processors: str) -> list[str]:
    return ["taskset", "--cpu-list", processors] if processors else []


#: How long a slice is where both sides share one client process.
SLICE = 0.1
#: Slices for each side before the clients are restarted: where the scheduler once puts a client and its server,
#: it leaves them, and that decides more than anything else.
BATCH = 4


def slices(command: list[str], pinned: dict[int, int], clients_on: str = "") -> Contest:
    """Sides that take turns within one process, a slice of time each.

    `pinned` says which process is kept on which processor, `clients_on` where the clients are.
    """
    command = [*taskset(clients_on), *command]

    def contest(rounds: int, seconds: float) -> tuple[Figures, Figures]:
        left = max(3, round(rounds * seconds / SLICE))
        sides: tuple[list[Figures], list[Figures]] = ([], [])
        with contextlib.ExitStack() as stack:
            for pid, processor in pinned.items():
                stack.enter_context(pin(pid, processor))
            while left > 0:
                count = left if pinned else min(left, BATCH)
                left -= count
                words = [*command, "--rounds", str(count), "--seconds", str(SLICE)]
                for side, figures in zip(sides, measure(words, 2 * count * SLICE)):
                    side.append(figures)
        return together(sides[0]), together(sides[1])

    return contest


@contextlib.contextmanager
def pin(pid: int, processor: int) -> Iterator[None]:
    """Keeps all threads of a process on one processor for a while."""
    before = os.sched_getaffinity(pid)

    def move(allowed: set[int]) -> None:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), allowed)

    move({processor})
    try:
        yield
    finally:
        move(before)


#: Makes a contest; what it starts ends with the stack.
Prepare = Callable[[Bench, contextlib.ExitStack], Contest]
#: Something that goes on beside the measured calls.
Disturbance = Callable[[Bench, float], contextlib.AbstractContextManager[None]]

# -- rows -----------------------------------------------------------------------------------------


def against_echo(
    transport: str, wire: str, command: str, pinned: Optional[tuple[int, int]] = None, **options: Any
) -> Prepare:
    """The measured server beside a raw echo with replies of the same size.

    `pinned` are the processors of the servers and of the clients.
    """

    def prepare(bench: Bench, stack: contextlib.ExitStack) -> Contest:
        request = bench.request(transport, wire, command)
        reply = bench.reply(transport, request)
        address, pid = bench.echo(stack, transport, request, reply)
        other = {"other": bench.bare(transport), "other-pid": bench.server.pid}
        clients = bench.clients(transport, address, pid, request, reply, **other, **options)
        if pinned is None:
            return slices(clients, {})
        return slices(clients, dict.fromkeys((pid, bench.server.pid), pinned[0]), str(pinned[1]))

    return prepare


def against_other(kind: str, wire: str, clients: int) -> Prepare:
    """The measured server beside the same handler under another server, each with its own reply."""

    def prepare(bench: Bench, stack: contextlib.ExitStack) -> Contest:
        need_package({"aiohttp": "aiohttp"}.get(kind, "xmlrpc"))
        request = bench.request("tcp", wire, "account")
        address, pid = bench.other(stack, kind)
        theirs = bench.clients("tcp", address, pid, request, bench.reply("tcp", request, address), clients=clients)
        own = bench.own_clients("tcp", request, bench.reply("tcp", request), clients=clients)
        return turns(one_side(theirs), one_side(own))

    return prepare


def beside(transport: str, clients: int, disturb: Disturbance, pinned: Optional[tuple[int, int]] = None) -> Prepare:
    """The measured server undisturbed and disturbed."""

    def prepare(bench: Bench, stack: contextlib.ExitStack) -> Contest:
        request = bench.request(transport, "jsonrpc", "account")
        reply = bench.reply(transport, request)
        command = bench.own_clients(transport, request, reply, clients=clients)
        quiet = one_side(command, "" if pinned is None else str(pinned[1]))
        if pinned is not None:
            stack.enter_context(pin(bench.server.pid, pinned[0]))

        def disturbed(seconds: float) -> Figures:
            with disturb(bench, seconds):
                return quiet(seconds)

        return turns(quiet, disturbed, shortest=1.2)

    return prepare


def sleeper(transport: str) -> Disturbance:
    """A client whose every call takes a second."""

    @contextlib.contextmanager
    def disturb(bench: Bench, seconds: float) -> Iterator[None]:
        request = bench.request(transport, "jsonrpc", "nap")
        command = [str(bench.load), "call", transport, "--address", bench.bare(transport)]
        command += ["--request", request, "--expect", request, "--dir", str(bench.directory)]
        with background([*command, "--seconds", str(seconds)], seconds):
            yield

    return disturb


def bad_client(kind: str, command: str, pause: float) -> Disturbance:
    """A FIFO client that does not fetch its replies."""

    @contextlib.contextmanager
    def disturb(bench: Bench, seconds: float) -> Iterator[None]:
        request = bench.request("fifo", "jsonrpc", command)
        words = [str(bench.load), "stall", kind, "--address", bench.bare("fifo"), "--request", request]
        words += ["--dir", str(bench.directory), "--pause", str(pause)]
        with background(words, 0):
            yield

    return disturb


@contextlib.contextmanager
def background(command: list[str], seconds: float) -> Iterator[None]:
    """A process beside the measured ones; with `seconds` it is waited for, else ended."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.1)
        if process.poll() is not None:
            raise SystemExit(f"{command} ended with {process.returncode}")
        yield
        if seconds:
            process.wait(seconds + GRACE)
    finally:
        process.kill()
        process.wait()


def client_beside(
    transport: str, baseline: str, subject: str = "sipmi", pinned: Optional[tuple[int, int]] = None
) -> Prepare:
    """Two clients (`sipmi`, `opensips`, `raw`) of the measured server, one at a time."""

    def prepare(bench: Bench, stack: contextlib.ExitStack) -> Contest:
        def side(kind: str) -> Side:
            need_client(kind)
            clients_on = "" if pinned is None else str(pinned[1])
            if kind != "raw":
                return one_side(bench.python_client(kind, transport, "account"), clients_on)
            wire_transport = "tcp" if transport == "http" else transport
            request = bench.request(wire_transport, "jsonrpc", "account")
            reply = bench.reply(wire_transport, request)
            return one_side(bench.own_clients(wire_transport, request, reply), clients_on)

        if pinned is not None:
            stack.enter_context(pin(bench.server.pid, pinned[0]))
        return turns(side(baseline), side(subject))

    return prepare


def need_package(name: str) -> None:
    """Says that a package is missing."""
    if importlib.util.find_spec(name) is None:
        raise Skipped(f"the package {name} is not installed: pip install {name}")


def need_client(kind: str) -> None:
    """Says why there is no such client here."""
    import sipmi

    if kind == "sipmi" and not hasattr(sipmi, "connect"):
        raise Skipped("this version of sipmi has no client (sipmi.connect)")
    if kind == "opensips":
        need_package("opensips")


#: Where the scheduler may put one client and its server, in a form that can be measured again: both on one
#: processor, and each on its own.
PLACES = {"on one CPU": (0, 0), "on two CPUs": (0, 1)}


def placed(what: str, transport: str, wire: str, wanted: float, in_c: str) -> Iterator[Row]:
    """Rows for one client, whose speed depends most on where the scheduler puts it."""
    yield Row(f"{what}, 1 client", "raw echo", against_echo(transport, wire, "account"), wanted, in_c)
    for place, pinned in PLACES.items():
        prepare = against_echo(transport, wire, "account", pinned)
        yield Row(f"{what}, 1 {place}", "raw echo", prepare, wanted, in_c)


def all_rows() -> Iterator[Row]:
    for transport in ("udp", "unix"):
        for wire in ("text", "jsonrpc"):
            what = f"{transport} {wire}, python handler"
            yield from placed(what, transport, wire, 0.85, "0.85-0.95")
            prepare = against_echo(transport, wire, "account", clients=8)
            yield Row(f"{what}, 8 clients", "raw echo", prepare, 0.75, "0.60-0.67")
    for transport in ("udp", "unix"):
        for wire in ("text", "jsonrpc"):
            what = f"{transport} {wire}, built-in command, 8 clients"
            yield Row(what, "raw echo", against_echo(transport, wire, "version", clients=8), 0.85)
    for wire in ("text", "jsonrpc"):
        what = f"fifo {wire}, python handler"
        yield from placed(what, "fifo", wire, 0.80, "0.86")
        yield Row(f"{what}, 4 clients", "raw echo", against_echo("fifo", wire, "account", clients=4), 0.60, "0.62")
    for wire in ("text", "jsonrpc"):
        what = f"fifo {wire}, opened 5 ms late"
        prepare = against_echo("fifo", wire, "account", late=5.0)
        yield Row(what, "raw echo, waits", prepare, 1.0, "80 ms", unit="ms")
    # One client alone on one processor, where its speed is the same from round to round.
    for transport, clients in (("udp", 1), ("udp", 8), ("unix", 8), ("fifo", 1), ("fifo", 4)):
        place, pinned = (", 1 on one CPU", (0, 0)) if clients == 1 else (f", {clients} clients", None)
        prepare = beside(transport, clients, sleeper(transport), pinned)
        yield Row(f"{transport} while a handler sleeps{place}", "without a sleeper", prepare, 0.9)
    for kind, command, pause in (
        ("never-open", "account", 0.05),
        ("never-read", "flood", 1.0),
        ("stop-midway", "flood", 1.0),
    ):
        what = f"fifo, 4 clients and one that does {kind}"
        yield Row(what, "without it", beside("fifo", 4, bad_client(kind, command, pause)), 0.9)
    http = "http jsonrpc, python handler"
    yield from placed(http, "tcp", "jsonrpc", 0.0, "")
    yield Row(f"{http}, 8 clients", "raw echo", against_echo("tcp", "jsonrpc", "account", clients=8), 0.55, "0.50-0.55")
    yield Row("http jsonrpc, 8 clients", "aiohttp", against_other("aiohttp", "jsonrpc", 8), 1.0)
    yield Row("http xmlrpc, 8 clients", "xmlrpc.server", against_other("xmlrpc", "xmlrpc", 8), 1.0)
    for transport, wanted in (("udp", 3.0), ("unix", 3.0), ("fifo", 10.0), ("http", 10.0)):
        for place, pinned in {"": None, **PLACES}.items():
            what = f"{transport}, sipmi's client {place}".rstrip()
            yield Row(what, "opensips package", client_beside(transport, "opensips", pinned=pinned), wanted)
            yield Row(what, "raw Rust client", client_beside(transport, "raw", pinned=pinned), 0.7)
            # The upper bound for a client in any language.
            what = f"{transport}, raw Rust client {place}".rstrip()
            yield Row(what, "opensips package", client_beside(transport, "opensips", "raw", pinned), 0.0)


# -- the run --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Measured:
    """A row and what came of it."""

    row: Row
    baseline: Figures
    subject: Figures

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round, in order of size."""
        pairs = zip(self.baseline.rates, self.subject.rates)
        return sorted(mine / other if other else 0.0 for other, mine in pairs)

    @property
    def figure(self) -> float:
        """The figure that is compared with the wanted one."""
        return self.subject.p99_us / 1000 if self.row.unit == "ms" else statistics.median(self.ratios)

    @property
    def is_reached(self) -> bool:
        wanted = self.row.wanted
        return self.figure <= wanted if self.row.unit == "ms" else round(self.figure, 2) >= wanted

    @property
    def trouble(self) -> str:
        """Calls that failed, on either side."""
        sides = ((self.row.baseline, self.baseline), ("sipmi", self.subject))
        bad = [(name, side.errors + side.wrong, side.first_error) for name, side in sides]
        return "; ".join(f"{name}: {count} bad calls ({error})" for name, count, error in bad if count)


def run_row(bench: Bench, row: Row, rounds: int, seconds: float) -> Measured:
    with contextlib.ExitStack() as stack:
        try:
            contest = row.prepare(bench, stack)
            contest(1, 0.2)
            measured = Measured(row, *contest(rounds, seconds))
        except subprocess.SubprocessError as error:
            bench.check(row)
            raise SystemExit(f"{row.what}: {error}") from None
        bench.check(row)
        return measured


#: Headings and widths.
COLUMNS = {
    "what": 43,
    "baseline": 17,
    "base/s": 7,
    "sipmi/s": 7,
    "ratio": 7,
    "half lie in": 11,
    "wanted": 7,
    "in C": 9,
    "p50/p99 us": 20,
    "cpu us": 10,
    "": 0,
}
LEFT = ("what", "baseline", "")


def line(texts: Iterable[str]) -> str:
    columns = zip(texts, COLUMNS.items())
    aligned = (text.ljust(width) if name in LEFT else text.rjust(width) for text, (name, width) in columns)
    return " ".join(aligned).rstrip()


def cells(measured: Measured) -> tuple[str, ...]:
    row, sides = measured.row, (measured.baseline, measured.subject)
    in_ms = row.unit == "ms"
    ratios = measured.ratios
    quarter = len(ratios) // 4
    mark = "" if measured.is_reached else "<-- above" if in_ms else "<-- below"
    return (
        row.what,
        row.baseline,
        *(f"{side.rate:.0f}" for side in sides),
        f"{measured.figure:.2f} ms" if in_ms else f"{measured.figure:.2f}",
        "" if in_ms else f"{ratios[quarter]:.2f}..{ratios[-1 - quarter]:.2f}",
        f"<={row.wanted:g} ms" if in_ms else f"{row.wanted:.2f}" if row.wanted else "-",
        row.in_c or "-",
        "|".join(f"{side.p50_us:.0f}/{side.p99_us:.0f}" for side in sides),
        "|".join(f"{side.cpu_us:.1f}" if side.cpu_us else "-" for side in sides),
        " ".join(part for part in (mark, measured.trouble) if part),
    )


def build_load() -> Path:
    """Builds the Rust part; its path."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target" / "bench"))
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(HERE / "Cargo.toml")]
    subprocess.run([*command, "--target-dir", str(target)], check=True)
    return target / "release" / "load"


def describe_machine() -> str:
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    return (
        f"{os.cpu_count()} x {model[1] if model else platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures sipmi's speed beside raw baselines.")
    parser.add_argument("--quick", action="store_true", help="two rounds of 0.4 s, and fewer rows")
    parser.add_argument("--rounds", type=int, default=0, help="rounds a row; 5")
    parser.add_argument("--seconds", type=float, default=0.0, help="seconds a round; 1")
    parser.add_argument("--only", metavar="PATTERN", default="", help="rows that match this")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every round's figures here")
    parser.add_argument("--list", action="store_true", help="print the rows' names and end")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    seconds = options.seconds or (0.4 if options.quick else 1.0)
    rows = [row for row in all_rows() if re.search(options.only, f"{row.what} {row.baseline}")]
    if options.quick:
        rows = [row for row in rows if row.wanted and "two CPUs" not in row.what]
    if options.list:
        print("\n".join(f"{row.what}  ({row.baseline})" for row in rows))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load = build_load()
    print(f"{describe_machine()}; {rounds} rounds of {seconds:g} s, in turns; pairs are baseline|sipmi")
    print(line(COLUMNS), flush=True)
    done: list[Measured] = []
    skipped: list[str] = []
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sipmi-bench-")))
        bench = Bench(load, directory, stack)
        for row in rows:
            try:
                measured = run_row(bench, row, rounds, seconds)
            except Skipped as why:
                skipped.append(f"{row.what} ({row.baseline}): NOT MEASURED: {why}")
                print(skipped[-1], flush=True)
                continue
            done.append(measured)
            print(line(cells(measured)), flush=True)
    judged = [one for one in done if one.row.wanted]
    print(
        f"{sum(one.is_reached for one in judged)} of {len(judged)} reach what is wanted; load {os.getloadavg()[0]:.2f}"
    )
    if skipped:
        print(f"!!! {len(skipped)} rows were not measured, see above")
    if options.json:
        write_json(options.json, done)
    return 0


def write_json(path: Path, done: list[Measured]) -> None:
    entries = [
        {
            "what": one.row.what,
            "against": one.row.baseline,
            "figure": one.figure,
            "unit": one.row.unit,
            "wanted": one.row.wanted,
            "in_c": one.row.in_c,
            "baseline": dataclasses.asdict(one.baseline),
            "sipmi": dataclasses.asdict(one.subject),
        }
        for one in done
    ]
    path.write_text(json.dumps({"machine": describe_machine(), "rows": entries}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
