"""The board of `sipmi top`: samples in, colored text out. It knows no terminal."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Optional

from ...display import amount, bar_chart, rate, span, sparkline

if TYPE_CHECKING:
    from ...statistics import Sample, Value

#: As many samples as are kept of each statistic; more than a wide terminal shows.
KEPT = 300
#: The share of the newest sample in what rows are sorted by: they should not jump.
SMOOTHING = 0.3

#: Shown in the head; as a row it would move for ever.
UPTIME = "core:timestamp"

ORDERS = ("activity", "name", "value")

#: Names of statistics whose growth is a problem.
TROUBLE = ("err", "fail", "drop", "bad_", "timeout", "unsupported", "reject", "negative", "waiting", "lost")

#: Entries of the head, where the server has them: a label, the statistic, and the total that it is a part of.
GAUGES = (
    ("load", "load:load", None),
    ("shm", "shmem:used_size", "shmem:total_size"),
    ("calls", "dialog:active_dialogs", None),
    ("transactions", "tm:inuse_transactions", None),
    ("users", "usrloc:registered_users", None),
)

Fragments = list[tuple[str, str]]


class Row:
    """One statistic over time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Optional[Value] = None
        self.rate: Optional[float] = None
        self.activity: float = 0.0
        self.values: deque[Optional[float]] = deque(maxlen=KEPT)
        self.is_trouble: bool = any(word in name.lower() for word in TROUBLE)

    def take(self, value: Optional[Value], sample: Sample) -> None:
        """Return its value in a sample; None if the sample lacks it."""
        if value is None:
            self.rate = None
            self.values.append(None)
            return
        self.value = value
        self.rate = sample.rates.get(self.name)
        is_counter = value.kind == "counter"
        if not is_counter:
            self.values.append(float(value))
        elif self.rate is not None:
            self.values.append(self.rate)
        change = 0 if sample.change is None else sample.change.get(self.name, 0)
        moved = self.rate if is_counter else abs(change)
        self.activity += SMOOTHING * ((moved or 0.0) - self.activity)

    @property
    def is_counter(self) -> bool:
        return self.value is not None and self.value.kind == "counter"

    @property
    def is_idle(self) -> bool:
        return len({value for value in self.values if value is not None}) <= 1 and not self.rate


class Board:
    """All rows, and how a person wants to see them."""

    def __init__(self, name: str, interval: float) -> None:
        self.name = name
        self.interval = interval
        self.version = ""
        self.rows: dict[str, Row] = {}
        self.sample: Optional[Sample] = None
        self.trouble: Optional[str] = None
        self.note: str = ""
        self.order: str = ORDERS[0]
        self.is_paused: bool = False
        self.is_filtering = False
        self.hides_idle = False
        self.shows_chart = False
        self.filter = ""
        self.selected: Optional[str] = None
        self._top = 0
        #: Samples that arrive while the picture stands still, so that nothing is missing afterwards.
        self._held: deque[Sample] = deque(maxlen=KEPT)

    def pause(self) -> None:
        """Stands still, or goes on."""
        self.is_paused = not self.is_paused
        while self._held and not self.is_paused:
            self.take(self._held.popleft())

    def take(self, sample: Sample) -> None:
        """One more sample."""
        if self.is_paused:
            self._held.append(sample)
            return
        self.trouble = None if sample.error is None else str(sample.error)
        for name in sample:
            self.rows.setdefault(name, Row(name))
        for row in self.rows.values():
            row.take(sample.get(row.name), sample)
        if sample.error is None:
            self.sample = sample
        if sample.missing:
            self.note = f"no such statistics: {', '.join(sample.missing)}"
        if sample.change is not None and sample.change.restarted:
            self.note = f"the server began again at {time.strftime('%H:%M:%S', time.localtime(sample.time))}"

    def shown(self) -> list[Row]:
        """The rows that are wanted, in their order."""
        rows = [row for row in self.rows.values() if self.filter.lower() in row.name.lower() and row.name != UPTIME]
        if self.hides_idle:
            rows = [row for row in rows if not row.is_idle]
        if self.order == "name":
            return sorted(rows, key=lambda row: row.name)
        if self.order == "value":
            return sorted(rows, key=lambda row: (-(row.value or 0), row.name))
        # Counters are rates per second; gauges of bytes or seconds would always be above them.
        return sorted(rows, key=lambda row: (not row.is_counter or row.activity == 0, -row.activity, row.name))

    def move(self, lines: int) -> None:
        """Select another row, a number of lines down."""
        names = [row.name for row in self.shown()]
        if not names:
            self.selected = None
        elif self.selected not in names:
            self.selected = names[0]
        else:
            self.selected = names[max(0, min(len(names) - 1, names.index(self.selected) + lines))]

    def sort_next(self) -> None:
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]

    # -- the picture ------------------------------------------------------------------------------

    def draw(self, columns: int, lines: int) -> Fragments:
        """The whole screen, as prompt_toolkit has it: styles and texts."""
        head = self._head(columns)
        graph = self._chart(columns, max(4, min(10, lines // 3))) if self.shows_chart else []
        foot = self._foot(columns)
        space = max(1, lines - len(head) - len(graph) - 2)
        table = self._table(columns, space)
        picture = [*head, *table, *[[] for _ in range(space + 1 - len(table))], *graph, foot]
        return [fragment for line in picture for fragment in (*_cut(line, columns), ("", "\n"))][:-1]

    def _head(self, columns: int) -> list[Fragments]:
        sample = self.sample
        up = f"   up {span(sample.uptime)}" if sample is not None and sample.uptime is not None else ""
        state = ("class:paused", " PAUSED ") if self.is_paused else ("class:quiet", f"every {self.interval:g} s")
        clock = time.strftime("%H:%M:%S", time.localtime(sample.time)) if sample is not None else ""
        left: Fragments = [("class:title", f" {self.name} "), ("", f" {self.version}{up}")]
        right: Fragments = [state, ("class:quiet", f"  {clock} ")]
        gap = columns - _width(left) - _width(right)
        line = [*left, ("", " " * max(1, gap)), *right]
        if self.trouble is not None:
            return [line, [("class:trouble", f" {self.trouble}"[:columns])], []]
        return [line, self._gauges(columns), []]

    def _gauges(self, columns: int) -> Fragments:
        line: Fragments = [("", " ")]
        for label, name, whole in GAUGES:
            row = self.rows.get(name)
            if row is None or row.value is None:
                continue
            parts: Fragments = [("class:quiet", f"{label} ")]
            total = self.rows.get(whole) if whole else None
            if total is not None and total.value:
                share = row.value / total.value
                style = "class:trouble" if share > 0.9 else "class:warm" if share > 0.7 else "class:bar"
                parts += [(style, "━" * round(share * 12)), ("class:empty", "━" * (12 - round(share * 12)))]
                parts += [("", f" {share:.0%} of {amount(total.value, total.value.unit)}")]
            else:
                bars = sparkline(row.values, 8).lstrip()
                parts += [("class:bar", f"{bars} "), ("", amount(row.value, row.value.unit))]
            if _width(line) + _width(parts) < columns:
                line += [*parts, ("", "   ")]
        if self.note and _width(line) + len(self.note) < columns:
            line.append(("class:warm", self.note))
        return line

    def _table(self, columns: int, space: int) -> list[Fragments]:
        rows = self.shown()
        names = [row.name for row in rows]
        if self.selected is not None and self.selected in names:
            place = names.index(self.selected)
            self._top = max(min(self._top, place), place - space + 1)
        self._top = max(0, min(self._top, len(rows) - space))
        width = max([len(name) for name in names[self._top : self._top + space]] + [24])
        width = min(width, max(16, columns - 38))
        spark = max(0, min(60, columns - width - 47))
        marks = {self.order: " ▼"}
        head = (
            f" {'STATISTIC' + marks.get('name', ''):<{width}} {'VALUE' + marks.get('value', ''):>14}"
            f" {'PER SECOND' + marks.get('activity', ''):>12}  {'HISTORY':<{spark}}  UNIT"
        )
        table: list[Fragments] = [[("class:head", head[:columns].ljust(columns))]]
        table += [self._line(row, width, spark, columns) for row in rows[self._top : self._top + space]]
        if not rows:
            nothing = "nothing is called so" if self.filter else "nothing moves"
            what = nothing if self.rows else "waiting for the first answer"
            table.append([("class:quiet", f" {what}")])
        return table

    def _line(self, row: Row, width: int, spark: int, columns: int) -> Fragments:
        is_selected = row.name == self.selected
        moves = bool(row.rate) if row.is_counter else not row.is_idle
        base = "class:trouble" if row.is_trouble and row.rate else "class:moving" if moves else "class:quiet"
        group, colon, name = row.name.partition(":")
        name = _shortened(name, max(4, width - len(group) - 1))
        unit = "" if row.value is None else row.value.unit
        value = "" if row.value is None else amount(row.value, unit)
        # Of what stands still, a column of zeros would only be in the way.
        per_second = rate(row.rate, unit) if row.rate else ""
        bars = sparkline(row.values, spark, from_zero=row.is_counter) if moves else " " * spark
        line: Fragments = [
            ("class:group", f" {group}{colon}"),
            (base, f"{name:<{max(0, width - len(group) - len(colon))}}"),
            (base, f" {value:>14}"),
            (f"{base} bold" if moves else base, f" {per_second:>12}"),
            ("class:trouble" if base == "class:trouble" else "class:bar", f"  {bars}"),
            ("class:quiet", f"  {unit}"),
        ]
        if is_selected:
            line = [(f"{style} class:chosen", text) for style, text in line]
            line.append(("class:chosen", " " * max(0, columns - _width(line))))
        return line

    def _chart(self, columns: int, height: int) -> list[Fragments]:
        row = self.rows.get(self.selected or "")
        if row is None or row.value is None:
            return []
        known = [value for value in row.values if value is not None] or [0.0]
        unit, kind = row.value.unit, "a second" if row.is_counter else ""
        show = rate if row.is_counter else amount
        low = min(min(known), 0.0) if row.is_counter else min(known)
        labels = [show(max(known), unit), show(low, unit)]
        margin = max(map(len, labels)) + 1
        bars = bar_chart(row.values, columns - margin - 2, height, from_zero=row.is_counter)
        title = f" {row.name} {unit} {kind}".rstrip()
        lines: list[Fragments] = [[("class:head", title.ljust(columns))]]
        for number, bar in enumerate(bars):
            label = labels[0] if number == 0 else labels[1] if number == height - 1 else ""
            lines.append([("class:quiet", f"{label:>{margin}} "), ("class:bar", bar)])
        return lines

    def _foot(self, columns: int) -> Fragments:
        if self.is_filtering:
            return [
                ("class:key", " / "),
                ("", f" {self.filter}"),
                ("class:cursor", " "),
                ("class:quiet", "  Enter keeps it, Esc clears it"),
            ]
        keys = (
            ("q", "quit"),
            ("space", "go on" if self.is_paused else "pause"),
            ("s", f"sort: {self.order}"),
            ("/", f"filter: {self.filter}" if self.filter else "filter"),
            ("i", "show idle" if self.hides_idle else "hide idle"),
            ("↑↓", "select"),
            ("enter", "chart"),
            ("+-", "slower, faster"),
        )
        line: Fragments = []
        for key, what in keys:
            part: Fragments = [("class:key", f" {key} "), ("class:does", f" {what}  ")]
            if _width(line) + _width(part) <= columns:
                line += part
        return line


def _width(line: Fragments) -> int:
    return sum(len(text) for _, text in line)


def _cut(line: Fragments, columns: int) -> Fragments:
    """As much of a line as there is room for."""
    cut: Fragments = []
    for style, text in line:
        room = columns - _width(cut)
        if room > 0:
            cut.append((style, text[:room]))
    return cut


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"
