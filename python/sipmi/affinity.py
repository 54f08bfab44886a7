"""CPU and interrupt affinity: from a device and a server's name to a plan that is applied, verified and undone.

    >>> from sipmi.affinity import CpuSet, Host
    >>> CpuSet("0-3,8").mask
    '10f'
    >>> host = Host()                                   # Host(root="folder") reads a captured machine
    >>> host.interrupts().cpus == host.topology().online
    True

The rules are in the Rust core; this file adds what is easier said in Python. Linux only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Union

if not sys.platform.startswith("linux"):
    raise ImportError(f"sipmi.affinity needs Linux: it reads /proc and /sys; this is {sys.platform}")

from sipmi import _core
from sipmi._core import (
    Applied,
    CpuSet,
    Device,
    InterruptRow,
    InterruptTable,
    Irq,
    Irqbalance,
    Outcome,
    Plan,
    Process,
    Sample,
    Topology,
    set_thread_affinity,
    thread_affinity,
)

if TYPE_CHECKING:
    from typing import Protocol

    class Caller(Protocol):
        """A client of an MI server: what `sipmi.connect` returns."""

        def call(self, command: str, /, *args: Any, **kwargs: Any) -> Any: ...


__all__ = [
    "Applied",
    "CpuSet",
    "Device",
    "Evidence",
    "Host",
    "InterruptRow",
    "InterruptSample",
    "InterruptTable",
    "InterruptWatch",
    "Irq",
    "Irqbalance",
    "Outcome",
    "Plan",
    "Process",
    "Sample",
    "Topology",
    "set_thread_affinity",
    "thread_affinity",
]

Cpus = Union[CpuSet, str, Iterable[int]]
"""CPUs as users write them: a CpuSet, the text of a list (`"0-3,8"`), or numbers."""

Processes = Union[str, int, Process, Iterable[Process]]


class Host(_core.Host):
    """A machine: this one, or the tree of one that was captured.

    `root` is `/`, a folder with `proc/` and `sys/` in it, or a file that `capture` wrote. A captured machine takes
    writes as its kernel would, so that a plan can be rehearsed. `faults` maps paths to what shall go wrong there: an
    error name (`"EIO"`, `"read:EACCES"`), `"ignored"` (accepted, nothing changes) or `"stuck"` (accepted, the
    interrupt stays where it is); `kill_after` ends this process by SIGKILL after that many writes.

    Errors: OSError of the fitting kind with path and errno, LookupError for what does not exist, ProcessLookupError
    for a process that does not, ValueError for arguments and for files that say something else than they should.

    >>> host = Host()
    >>> host.live
    True
    """

    def __new__(
        cls,
        root: Union[str, os.PathLike[str]] = "/",
        *,
        faults: Optional[Mapping[str, str]] = None,
        kill_after: Optional[int] = None,
    ) -> Host:
        extracted = None
        if os.path.isfile(root):
            from sipmi._affinity_capture import extract

            root = extracted = extract(root)
        host = super().__new__(cls, root, faults=None if faults is None else dict(faults), kill_after=kill_after)
        if extracted is not None:
            weakref.finalize(host, shutil.rmtree, extracted, ignore_errors=True)
        return host

    def processes(
        self,
        name: Optional[str] = None,
        *,
        pidfile: Union[str, os.PathLike[str], None] = None,
        cgroup: Optional[str] = None,
        mi: Optional[Caller] = None,
        roles: Optional[Mapping[int, str]] = None,
    ) -> list[Process]:
        """All processes of a server: by name, pidfile (with all descendants), control group, or as its MI `ps` says.

        With `mi` (a client of the server) each process has its `role`: `attendant`, `SIP receiver`, `timer`. A name
        and `mi` together: the name's processes, with the roles that the server gives them.

        >>> Host().processes(cgroup="/")[0].pid > 0
        True
        """
        if mi is not None:
            roles = {**roles_of(mi.call("ps")), **(roles or {})}
        return super().processes(name, pidfile=pidfile, cgroup=cgroup, roles=None if roles is None else dict(roles))

    def plan(
        self,
        *,
        device: Union[str, Iterable[str], None] = None,
        process: Optional[Processes] = None,
        cpus: Optional[Cpus] = None,
        policy: str = "same",
        steering: bool = True,
        reuse_port: bool = False,
        irqbalance: bool = True,
    ) -> Plan:
        """Say what would have to change so that devices and processes work on the same CPUs. Changes nothing.

        - `device`: a network or block device, or several (`["eth0", "sda"]`)
        - `process`: a name, a pid, or processes from `processes()`
        - `cpus`: where; None takes the last-level cache domain nearest to the devices
        - `policy`: `"same"` (one set for all), `"siblings"` (interrupts on the first thread of each core, processes on
          the others), `"spread"` (each queue on a CPU of its own)
        - `steering`: also set RPS and XPS
        - `reuse_port`: each worker has its own socket, so that `"spread"` may give each a CPU
        - `irqbalance`: tell a running irqbalance to leave the interrupts alone

        The CPUs to choose from are those that are online and in the cpuset, never what a thread is pinned to now: made
        twice, a plan is the same plan.

        >>> plan = Host().plan(process=os.getpid(), cpus=thread_affinity())
        >>> [item["kind"] for item in plan.items]
        ['process']
        """
        devices = [device] if isinstance(device, str) else list(device or ())
        return self._plan(
            devices=devices,
            processes=self._resolve(process),
            cpus=cpus,
            policy=policy,
            steering=steering,
            reuse_port=reuse_port,
            irqbalance=irqbalance,
        )

    def _resolve(self, process: Optional[Processes]) -> list[Process]:
        if process is None:
            return []
        if isinstance(process, str):
            return self.processes(process)
        if isinstance(process, int):
            return [self.process(process)]
        if isinstance(process, Process):
            return [process]
        return list(process)

    def run(self, command: Sequence[str], *, cpus: Cpus, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command on these CPUs, as `taskset` does, and wait for it; `options` are those of `subprocess.run`.

        `taskset 3 cmd` means the mask 3: `run(cmd, cpus=CpuSet.from_mask("3"))`. The caller's affinity stays as it is.

        >>> Host().run(["true"], cpus=thread_affinity()).returncode
        0
        """
        wait = {name: options.pop(name) for name in ("input", "timeout") if name in options}
        check = options.pop("check", False)
        if options.pop("capture_output", False):
            options.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if wait.get("input") is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(command, cpus=cpus, **options) as child:
            try:
                output, errors = child.communicate(**wait)
            except BaseException:
                child.kill()
                raise
        done: subprocess.CompletedProcess[Any] = subprocess.CompletedProcess(command, child.returncode, output, errors)
        if check:
            done.check_returncode()
        return done

    def popen(self, command: Sequence[str], *, cpus: Cpus, **options: Any) -> subprocess.Popen[Any]:
        """Start a command on these CPUs (`sched_setaffinity` in the thread that forks it).

        `options` are those of `subprocess.Popen`.
        """
        if not self.live:
            raise ValueError(f"expected a live machine to run a command on, found the captured one in {self.root}")
        outcome: list[subprocess.Popen[Any]] = []
        failure: list[BaseException] = []

        # A thread of its own is moved, and the child inherits that thread's CPUs.
        def start() -> None:
            try:
                set_thread_affinity(cpus)
                outcome.append(subprocess.Popen(command, **options))
            except BaseException as error:
                failure.append(error)

        starter = threading.Thread(target=start, name="sipmi-run")
        starter.start()
        starter.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def capture(self, file: Union[str, os.PathLike[str]]) -> int:
        """Write what this module reads of the machine into a tar.gz, and return the number of files in it.

        `Host(root=file)` reads it anywhere. Command lines are cut to their first word; nothing else of processes but
        names, states and affinities is taken.
        """
        from sipmi._affinity_capture import write

        return write(self, file)

    def watch_interrupts(
        self,
        *,
        device: Optional[str] = None,
        action: Optional[str] = None,
        interval: float = 1.0,
        count: Optional[int] = None,
    ) -> InterruptWatch:
        """How many interrupts a second arrive on which CPU, again and again: an iterable of samples.

        The last thing in a notebook's cell, it is a live heat map. `device` and `action` pick rows as
        `InterruptTable.select_rows` does; all by default. `count` samples, or without end.

        >>> [sample.cpus for sample in Host().watch_interrupts(interval=0.01, count=1)] == [Host().topology().online]
        True
        """
        return InterruptWatch(self, device=device, action=action, interval=interval, count=count)

    def measure(
        self,
        *,
        device: Union[str, Iterable[str], None] = None,
        process: Optional[Processes] = None,
        seconds: float = 1.0,
        mi: Optional[Caller] = None,
        command: str = "uptime",
    ) -> Evidence:
        """Count for some seconds what a plan is meant to change.

        That is: interrupts per queue and CPU, softnet drops and squeezes, UDP RcvbufErrors, context switches of the
        processes, and with `mi` (a client) the latency of its `command`.

        >>> Host().measure(seconds=0.01).seconds > 0
        True
        """
        devices = [device] if isinstance(device, str) else list(device or ())
        irqs = sorted({irq for name in devices for irq in self.device(name).irqs}) if devices else None
        pids = [found.pid for found in self._resolve(process)]
        before = self.sample(pids)
        latencies = call_for(seconds, mi, command) if mi is not None else wait_for(seconds)
        return Evidence(self.sample(pids).since(before, irqs=irqs), tuple(latencies))


def wait_for(seconds: float) -> list[float]:
    """Let time pass."""
    time.sleep(seconds)
    return []


def call_for(seconds: float, mi: Caller, command: str) -> list[float]:
    """Call one command again and again; how long each call took, in seconds."""
    end = time.monotonic() + seconds
    taken = []
    while True:
        start = time.perf_counter()
        mi.call(command)
        taken.append(time.perf_counter() - start)
        if time.monotonic() >= end:
            return taken


def roles_of(ps: Any) -> dict[int, str]:
    """Pid and type of each process in the answer to MI `ps`: `{"Processes": [{"PID": 904, "Type": "attendant"}]}`."""
    rows = ps.get("Processes", ps) if isinstance(ps, Mapping) else ps
    rows = [rows] if isinstance(rows, Mapping) else rows
    try:
        return {int(row["PID"]): str(row.get("Type", "")) for row in rows}
    except (TypeError, KeyError, AttributeError, ValueError):
        found = repr(ps)[:120]
        raise ValueError(f"expected PID and Type of each process in the answer to ps, found {found}") from None


@dataclass(frozen=True)
class InterruptSample:
    """Interrupts a second between two looks at the table; keys are label and name of a row."""

    time: float
    """When, in seconds since the epoch."""
    cpus: CpuSet
    """The online CPUs, which `per_cpu` belongs to in this order."""
    rates: dict[tuple[str, str], float]
    per_cpu: dict[tuple[str, str], list[float]]


class InterruptWatch:
    """Samples of a machine's interrupts; `Host.watch_interrupts` makes it. Each loop begins anew."""

    def __init__(
        self, host: Host, *, device: Optional[str], action: Optional[str], interval: float, count: Optional[int]
    ) -> None:
        if not interval > 0:
            raise ValueError(f"expected an interval of more than 0 seconds, found {interval}")
        if device is not None:
            host.device(device)  # LookupError now, not later
        self._host, self._device, self._action = host, device, action
        self.interval: float = interval
        self._count = count

    @property
    def address(self) -> str:
        """What is watched."""
        what = self._device or self._action or "all"
        return f"interrupts of {what}" + ("" if self._host.live else f" in {self._host.root}")

    def __iter__(self) -> Iterator[InterruptSample]:
        table, clock, left = self._host.interrupts(), time.monotonic(), self._count
        while left is None or left > 0:
            time.sleep(max(0.0, clock + self.interval - time.monotonic()))
            earlier, before = table, clock
            table, clock, now = self._host.interrupts(), time.monotonic(), time.time()
            wanted = {row.label for row in table.select_rows(device=self._device, action=self._action)}
            rows = [row for row in table.rates(earlier, clock - before) if row["label"] in wanted]
            left = None if left is None else left - 1
            yield InterruptSample(
                now,
                table.cpus,
                {(row["label"], row["name"]): row["rate"] for row in rows},
                {(row["label"], row["name"]): [row["per_cpu"].get(cpu, 0.0) for cpu in table.cpus] for row in rows},
            )

    def _ipython_display_(self) -> None:
        from .display import chart

        chart(self).show()

    def __repr__(self) -> str:
        return f"<InterruptWatch of {self.address} each {self.interval:g} s>"


@dataclass(frozen=True)
class Evidence:
    """What was counted in a span of time; two of them, before and after, say what a plan has brought.

    `counters` has `interrupts` (rate per second for each row and CPU), `softnet` (per CPU), `udp_rcvbuf_errors`,
    `voluntary_switches` and `forced_switches`; `latencies` are seconds per MI call.
    """

    counters: dict[str, Any]
    latencies: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it was counted."""
        return float(self.counters["seconds"])

    def latency(self, percent: float) -> Optional[float]:
        """The latency in seconds that `percent` of the calls did not exceed; None without calls."""
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def summary(self) -> dict[str, Optional[float]]:
        """One number a line, comparable between two spans: rates per second, latencies in milliseconds."""
        softnet = self.counters["softnet"]
        span = self.seconds or 1.0

        def rate(number: Optional[float]) -> Optional[float]:
            return None if number is None else number / span

        def milliseconds(value: Optional[float]) -> Optional[float]:
            return None if value is None else value * 1000

        return {
            "interrupts/s": sum(row["rate"] for row in self.counters["interrupts"]),
            "CPUs with interrupts": float(len({cpu for row in self.counters["interrupts"] for cpu in row["per_cpu"]})),
            "softnet dropped/s": rate(sum(line["dropped"] for line in softnet)),
            "softnet squeezed/s": rate(sum(line["squeezed"] for line in softnet)),
            "UDP RcvbufErrors/s": rate(self.counters["udp_rcvbuf_errors"]),
            "context switches/s": rate(self.counters["voluntary_switches"] + self.counters["forced_switches"]),
            "forced switches/s": rate(self.counters["forced_switches"]),
            "MI call p50 ms": milliseconds(self.latency(50)),
            "MI call p99 ms": milliseconds(self.latency(99)),
        }

    def compare(self, after: Evidence) -> str:
        """A table of before, after and the change between them."""
        lines = [f"{'':24}{'before':>12}{'after':>12}{'change':>9}"]
        for name, old in self.summary.items():
            new = after.summary[name]
            if old is None or new is None:
                continue
            change = "" if old == 0 else f"{(new - old) / old:+.0%}"
            lines.append(f"{name:24}{old:12.3f}{new:12.3f}{change:>9}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The counters, with the latencies' percentiles in seconds."""
        return {
            **self.counters,
            "mi_p50": self.latency(50),
            "mi_p99": self.latency(99),
            "mi_calls": len(self.latencies),
        }

    def __str__(self) -> str:
        rows = sorted(self.counters["interrupts"], key=lambda row: -row["rate"])
        lines = [f"{row['irq']:>6} {row['name']:28} {row['rate']:10.1f}/s  on {shares(row['per_cpu'])}" for row in rows]
        lines += [f"{name:24}{value:12.3f}" for name, value in self.summary.items() if value is not None]
        return "\n".join(lines)


def shares(per_cpu: Mapping[str, float], *, most: int = 4) -> str:
    """The busiest CPUs of a row, as `CPU2 812/s, CPU3 40/s`."""
    busiest = sorted(per_cpu.items(), key=lambda pair: (-pair[1], int(pair[0])))
    shown = ", ".join(f"CPU{cpu} {rate:.0f}/s" for cpu, rate in busiest[:most])
    return shown + (f" and {len(busiest) - most} more" if len(busiest) > most else "")
