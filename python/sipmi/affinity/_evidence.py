"""Counters and latencies from before and after a plan is applied: :class:`Evidence`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from .._core import CpuSet, set_thread_affinity


class Caller(Protocol):
    """A client of an MI server, as `sipmi.connect` returns it."""

    def call(self, command: str, /, *args: Any, **kwargs: Any) -> Any: ...


def wait_for(seconds: float) -> list[float]:
    """Let time pass."""
    time.sleep(seconds)
    return []


class Wakeups:
    """Measures for how long a thread that sleeps for a millisecond waits for its CPU afterwards.

    The thread is one of this process, on the given CPUs, so it counts what any thread there waits for.
    """

    SLEEP = 0.001

    def __init__(self, cpus: Optional[CpuSet]) -> None:
        self._cpus = cpus
        self._late: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sipmi wakeups", daemon=True)

    def __enter__(self) -> Wakeups:
        if self._cpus is not None:
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        if self._cpus is not None:
            self._thread.join()

    def taken(self) -> tuple[float, ...]:
        """Return what was measured since the last time."""
        late, self._late = self._late, []
        return tuple(late)

    def _run(self) -> None:
        # The CPUs may be offline, or not in the cpuset of this process: then it measures where it is.
        with contextlib.suppress(OSError):
            set_thread_affinity(self._cpus or CpuSet())
        while not self._ended.is_set():
            began = time.perf_counter()
            time.sleep(self.SLEEP)
            self._late.append(max(time.perf_counter() - began - self.SLEEP, 0.0))


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
class Evidence:
    """Counts over a span of time; two of them, from before and after, show the effect of a plan.

    `counters` has `interrupts` (rate per second for each row and CPU), `softnet` (per CPU), `udp_rcvbuf_errors`,
    `voluntary_switches` and `forced_switches`; `latencies` are seconds per MI call.
    """

    counters: dict[str, Any]
    latencies: tuple[float, ...] = ()
    parts: tuple[Evidence, ...] = ()
    """The same counts of equal parts of the span, which show how much the numbers vary by themselves."""
    wakeups: tuple[float, ...] = ()
    """The seconds by which a thread that slept for a millisecond woke up late, on the CPUs of the processes."""

    @property
    def seconds(self) -> float:
        """How long it was counted."""
        return float(self.counters["seconds"])

    def latency(self, percent: float) -> Optional[float]:
        """The latency in seconds that `percent` of the calls did not exceed; None without calls."""
        return percentile(self.latencies, percent)

    @property
    def summary(self) -> dict[str, Optional[float]]:
        """One number a line, comparable between two spans: rates per second, latencies in milliseconds."""
        softnet = self.counters["softnet"]
        span = self.seconds or 1.0

        def rate(number: Optional[float]) -> Optional[float]:
            return None if number is None else number / span

        def milliseconds(value: Optional[float]) -> Optional[float]:
            return None if value is None else value * 1000

        def total(name: str) -> Optional[float]:
            return sum(self.counters[name].values()) if name in self.counters else None

        return {
            "interrupts/s": sum(row["rate"] for row in self.counters["interrupts"]),
            "CPUs with interrupts": float(len({cpu for row in self.counters["interrupts"] for cpu in row["per_cpu"]})),
            "softnet dropped/s": rate(sum(line["dropped"] for line in softnet)),
            "softnet squeezed/s": rate(sum(line["squeezed"] for line in softnet)),
            "card drops/s": rate(total("card_drops")),
            "UDP RcvbufErrors/s": rate(self.counters["udp_rcvbuf_errors"]),
            "UDP6 RcvbufErrors/s": rate(self.counters.get("udp6_rcvbuf_errors")),
            "UDP socket drops/s": rate(total("socket_drops")),
            "run delay ms/s": rate(milliseconds(self.counters.get("run_delay"))),
            "wake-up p50 us": _microseconds(percentile(self.wakeups, 50)),
            "wake-up p99 us": _microseconds(percentile(self.wakeups, 99)),
            "context switches/s": rate(self.counters["voluntary_switches"] + self.counters["forced_switches"]),
            "forced switches/s": rate(self.counters["forced_switches"]),
            "MI call p50 ms": milliseconds(self.latency(50)),
            "MI call p99 ms": milliseconds(self.latency(99)),
        }

    def compare(self, after: Evidence) -> str:
        """Return a table of before, after and the change between them.

        A change is "noise" unless each part of one span is below each part of the other. Two spans of five parts that
        differ by chance alone are so in 1 of 126 cases.
        """
        lines = [f"{'':24}{'before':>12}{'after':>12}{'change':>9}"]
        for name, old in self.summary.items():
            new = after.summary[name]
            if old is None or new is None:
                continue
            lines.append(f"{name:24}{old:12.3f}{new:12.3f}{self._change(after, name, old, new):>9}")
        return "\n".join(lines)

    def _change(self, after: Evidence, name: str, old: float, new: float) -> str:
        if old == new:
            return ""
        if not _are_apart(self._of_parts(name), after._of_parts(name)):
            return "noise"
        return "" if old == 0 else f"{(new - old) / old:+.0%}"

    def _of_parts(self, name: str) -> list[float]:
        numbers = (part.summary[name] for part in self.parts)
        return [number for number in numbers if number is not None]

    def to_dict(self) -> dict[str, Any]:
        """The counters, with the latencies' percentiles in seconds."""
        return {
            **self.counters,
            "mi_p50": self.latency(50),
            "mi_p99": self.latency(99),
            "mi_calls": len(self.latencies),
            "wakeup_p50": percentile(self.wakeups, 50),
            "wakeup_p99": percentile(self.wakeups, 99),
        }

    def __str__(self) -> str:
        rows = sorted(self.counters["interrupts"], key=lambda row: -row["rate"])
        lines = [f"{row['irq']:>6} {row['name']:28} {row['rate']:10.1f}/s  on {shares(row['per_cpu'])}" for row in rows]
        lines += [f"{name:24}{value:12.3f}" for name, value in self.summary.items() if value is not None]
        return "\n".join(lines)


def percentile(numbers: Sequence[float], percent: float) -> Optional[float]:
    """Return the number that `percent` of the numbers do not exceed; None if there are none."""
    if not numbers:
        return None
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _microseconds(value: Optional[float]) -> Optional[float]:
    return None if value is None else value * 1e6


def _are_apart(some: list[float], others: list[float]) -> bool:
    """Return True if all numbers of one list are below all of the other."""
    return bool(some and others) and (max(some) < min(others) or max(others) < min(some))


def shares(per_cpu: Mapping[str, float], *, most: int = 4) -> str:
    """The busiest CPUs of a row, as `CPU2 812/s, CPU3 40/s`."""
    busiest = sorted(per_cpu.items(), key=lambda pair: (-pair[1], int(pair[0])))
    shown = ", ".join(f"CPU{cpu} {rate:.0f}/s" for cpu, rate in busiest[:most])
    return shown + (f" and {len(busiest) - most} more" if len(busiest) > most else "")
