"""Counters and latencies from before and after a plan is applied: :class:`Evidence`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Protocol


class Caller(Protocol):
    """A client of an MI server, as `sipmi.connect` returns it."""

    def call(self, command: str, /, *args: Any, **kwargs: Any) -> Any: ...


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
class Evidence:
    """Counts over a span of time; two of them, from before and after, show the effect of a plan.

    `counters` has `interrupts` (rate per second for each row and CPU), `softnet` (per CPU), `udp_rcvbuf_errors`,
    `voluntary_switches` and `forced_switches`; `latencies` are seconds per MI call.
    """

    counters: dict[str, Any]
    latencies: tuple[float, ...] = ()
    parts: tuple[Evidence, ...] = ()
    """The same counts of equal parts of the span, which show how much the numbers vary by themselves."""

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
        }

    def __str__(self) -> str:
        rows = sorted(self.counters["interrupts"], key=lambda row: -row["rate"])
        lines = [f"{row['irq']:>6} {row['name']:28} {row['rate']:10.1f}/s  on {shares(row['per_cpu'])}" for row in rows]
        lines += [f"{name:24}{value:12.3f}" for name, value in self.summary.items() if value is not None]
        return "\n".join(lines)


def _are_apart(some: list[float], others: list[float]) -> bool:
    """Return True if all numbers of one list are below all of the other."""
    return bool(some and others) and (max(some) < min(others) or max(others) < min(some))


def shares(per_cpu: Mapping[str, float], *, most: int = 4) -> str:
    """The busiest CPUs of a row, as `CPU2 812/s, CPU3 40/s`."""
    busiest = sorted(per_cpu.items(), key=lambda pair: (-pair[1], int(pair[0])))
    shown = ", ".join(f"CPU{cpu} {rate:.0f}/s" for cpu, rate in busiest[:most])
    return shown + (f" and {len(busiest) - most} more" if len(busiest) > most else "")
