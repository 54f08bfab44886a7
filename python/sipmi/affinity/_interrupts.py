"""Interrupts per second and CPU, sampled repeatedly: :class:`InterruptWatch`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from .._core import CpuSet, Host
from .._numbers import CountFromZero, Timeout
from .._options import check_option


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
    """Samples of a machine's interrupts; `Host.watch_interrupts` makes it. Each loop starts again."""

    def __init__(
        self, host: Host, *, device: Optional[str], action: Optional[str], interval: float, count: Optional[int]
    ) -> None:
        check_option("watch_interrupts()", "interval", interval, Timeout)
        check_option("watch_interrupts()", "count", count, Optional[CountFromZero])
        if device is not None:
            host.device(device)  # LookupError now, not later
        self._host, self._device, self._action = host, device, action
        self.interval: float = interval
        self._count = count

    @property
    def address(self) -> str:
        """The interrupts that are watched."""
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
        from ..display import chart

        chart(self).show()

    def __repr__(self) -> str:
        return f"<InterruptWatch of {self.address} each {self.interval:g} s>"
