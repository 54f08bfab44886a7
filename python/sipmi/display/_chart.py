"""Charts that draw themselves while samples come: one picture for all, as inline SVG, as a file, and in a widget."""

from __future__ import annotations

import asyncio
import collections
import datetime
import functools
import threading
import weakref
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ._numbers import compact

if TYPE_CHECKING:
    from typing import Protocol

    class Sampled(Protocol):
        """A source of samples that can be drawn."""

        address: str

        def __iter__(self) -> Any: ...


#: How many samples a line shows, how many lines a chart has.
WINDOW, MOST = 120, 40
#: So few lines are shown also when nothing moves.
_FEW = 8
_WIDTH, _ROW, _NAME, _VALUE = 760, 26, 250, 372
#: The room right of a line, for the numbers of its axis.
_SCALE = 122

#: Charts that run, by what they show: one of the same takes the place of the one before.
_running: weakref.WeakValueDictionary[str, Chart] = weakref.WeakValueDictionary()


class Chart:
    """A chart of a watch. :func:`sipmi.display.chart` makes it; a watch that is the last thing in a cell does too."""

    def __init__(self, watch: Sampled, *, title: Optional[str] = None) -> None:
        self._watch = watch
        self._title = watch.address if title is None else title
        self._samples: collections.deque[Any] = collections.deque(maxlen=WINDOW)
        self._count = 0
        self._error: Optional[BaseException] = None
        self._ended, self._stopped, self._resumed = threading.Event(), threading.Event(), threading.Event()
        self._resumed.set()
        self._screen: Optional[_Screen] = None
        self._task: Any = None

    # -- its life -------------------------------------------------------------------------------------

    def show(self) -> Chart:
        """Shows it in the notebook and goes on in the background. Elsewhere it prints what it is."""
        screen = _Screen.of(self)
        if screen is None:
            print(repr(self))
            return self
        self._screen = screen
        return self.start()

    def start(self) -> Chart:
        """Begins to ask, in a thread of its own, or on the running loop where the watch is asynchronous."""
        before = _running.pop(repr(self._watch), None)
        if before is not None:
            before.stop()
        _running[repr(self._watch)] = self
        if hasattr(self._watch, "__aiter__"):
            self._task = asyncio.ensure_future(self._follow_awaited())
        else:
            threading.Thread(target=self._follow, name="sipmi-chart", daemon=True).start()
        return self

    def run(self) -> Chart:
        """Asks here and now, until the watch ends: for scripts."""
        self._follow()
        if self._error is not None:
            raise self._error
        return self

    def pause(self, paused: bool = True) -> None:
        """Asks nothing more, until it is told to go on."""
        (self._resumed.clear if paused else self._resumed.set)()

    def stop(self) -> None:
        """Ends it; its last picture stays."""
        self._stopped.set()
        self._resumed.set()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Return whether it ends within a number of seconds: a watch with ``count=`` ends by itself."""
        return self._ended.wait(timeout)

    def _follow(self) -> None:
        try:
            for sample in self._watch:
                self._take(sample)
                self._resumed.wait()
                if self._stopped.is_set():
                    break
        except Exception as error:
            self._error = error
        finally:
            self._end()

    async def _follow_awaited(self) -> None:
        try:
            async for sample in self._watch:  # type: ignore[attr-defined]
                self._take(sample)
                while not self._resumed.is_set():
                    await asyncio.sleep(0.1)
                if self._stopped.is_set():
                    break
        except Exception as error:
            self._error = error
        finally:
            self._end()

    def _take(self, sample: Any) -> None:
        self._samples.append(sample)
        self._count += 1
        if self._screen is not None and not self._stopped.is_set():
            self._screen.draw()

    def _end(self) -> None:
        if self._screen is not None:
            self._screen.end()
        self._ended.set()

    # -- how it looks ---------------------------------------------------------------------------------

    def html(self) -> str:
        """The picture as it is now, to be put into a page: it takes the page's colours."""
        return f'<div style="max-width:{_WIDTH}px;color:inherit">{self._drawn("")}</div>'

    def svg(self) -> str:
        """The picture as it is now, as a file of its own, on dark ground where the reader's system is dark."""
        style = (
            "<style>.all{color:#1d2126}.ground{fill:#fff}"
            "@media(prefers-color-scheme:dark){.all{color:#e6e8ea}.ground{fill:#16181b}}</style>"
        )
        return self._drawn(f'{style}<rect class="ground" width="100%" height="100%"/>')

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html(), "image/svg+xml": self.svg()}

    def __repr__(self) -> str:
        plural = "" if self._count == 1 else "s"
        return f"<Chart of {self._watch.address}: {self._count} sample{plural}>"

    def _drawn(self, ground: str) -> str:
        samples = list(self._samples)
        drawn = [sample for sample in samples if hasattr(sample, "per_cpu")]
        body, height = _interrupts(drawn) if drawn else _statistics(samples)
        status = "waiting for the first answer" if not samples else _when(samples[-1])
        if self._error is not None:
            status = f"{type(self._error).__name__}: {self._error}"
        elif samples and getattr(samples[-1], "error", None) is not None:
            status = f"no answer: {type(samples[-1].error).__name__}"
        top = (
            f'<text x="6" y="17" font-weight="600">{escape(self._title)}</text>'
            f'<text x="{_WIDTH - 6}" y="17" text-anchor="end" opacity=".62">{escape(status[:90])}</text>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="all" viewBox="0 0 {_WIDTH} {height + 30}" width="100%" '
            f'style="max-width:{_WIDTH}px" font-family="system-ui,sans-serif" font-size="12" fill="currentColor" '
            f'role="img" aria-label="{escape(self._title)}">{ground}{top}'
            f'<g transform="translate(0 28)">{body}</g></svg>'
        )


def _when(sample: Any) -> str:
    return datetime.datetime.fromtimestamp(sample.time).strftime("%H:%M:%S")


# -- statistics: a line each --------------------------------------------------------------------------


def _statistics(samples: Sequence[Any]) -> tuple[str, int]:
    """A row for each statistic: its name, what it is now, and how it was. Of counters, how many a second."""
    values = {name: value for sample in samples for name, value in sample.items() if name != "core:timestamp"}
    rows: list[str] = []
    still = 0
    for name, value in values.items():
        is_rate = value.kind == "counter"
        line = [(sample.rates if is_rate else sample).get(name) for sample in samples]
        if not any(line) and not value and len(values) > _FEW:
            still += 1
        elif len(rows) < MOST:
            rows.append(_line(len(rows), name, line, value.unit, is_rate))
    more = len(values) - still - len(rows)
    notes = [f"{still} are 0 all the time"] * (still > 0) + [f"{more} more"] * (more > 0)
    if rows:
        rows.append(_axis(samples, len(rows), _VALUE + 14, _WIDTH - _SCALE))
    if notes:
        rows.append(_text(6, len(rows), "; ".join(notes), dim=True))
    return "".join(rows), max(1, len(rows)) * _ROW


def _axis(samples: Sequence[Any], row: int, left: float, right: float) -> str:
    """The axis of time below the lines: from the first sample to the last one."""
    y = row * _ROW + 2
    line = f'<line x1="{left:.1f}" y1="{y}" x2="{right:.1f}" y2="{y}" stroke="currentColor" opacity=".4"/>'
    seconds = samples[-1].time - samples[0].time
    begin = _text(left, row, f"{_elapsed(seconds)} ago", dim=True) if round(seconds) else ""
    return line + begin + _text(right, row, "now", anchor="end", dim=True)


def _elapsed(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _told(number: float, unit: str, is_rate: bool) -> str:
    """A number with its unit: 67.1 MB, 12 requests/s."""
    unit = {"bytes": "B", "seconds": "s", "percent": "%"}.get(unit, unit)
    text = compact(number)
    if unit == "B" and text[-1].isalpha():
        text, unit = text[:-1], f"{text[-1]}B"
    return f"{text} {unit}{'/s' if is_rate else ''}".strip()


def _text(x: float, row: int, text: str, *, anchor: str = "start", dim: bool = False) -> str:
    faint = ' opacity=".62"' if dim else ""
    return f'<text x="{x:g}" y="{row * _ROW + 17}" text-anchor="{anchor}"{faint}>{escape(text)}</text>'


def _line(row: int, name: str, line: Sequence[Optional[float]], unit: str, is_rate: bool) -> str:
    known = [value for value in line if value is not None]
    now = "" if not line or line[-1] is None else _told(line[-1], unit, is_rate)
    shown = name if len(name) <= 38 else f"{name[:37]}…"
    drawn = _text(6, row, shown) + _text(_VALUE, row, now, anchor="end")
    if not known:
        return drawn
    low, high = (0.0 if is_rate else min(known)), max(known)
    left, right, top, bottom = _VALUE + 14, _WIDTH - _SCALE, row * _ROW + 4, row * _ROW + 22
    step = (right - left) / max(len(line) - 1, 1)
    points = [
        None if value is None else (left + index * step, bottom - (bottom - top) * _share(value, low, high))
        for index, value in enumerate(line)
    ]
    for piece in _pieces(points):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
        area = f"{piece[0][0]:.1f},{bottom} {path} {piece[-1][0]:.1f},{bottom}"
        drawn += f'<polygon points="{area}" fill="#2f7de1" opacity=".18"/>'
        drawn += f'<polyline points="{path}" fill="none" stroke="#2f7de1" stroke-width="1.5" stroke-linejoin="round"/>'
        if len(piece) == 1:
            drawn += f'<circle cx="{piece[0][0]:.1f}" cy="{piece[0][1]:.1f}" r="2" fill="#2f7de1"/>'
    # A line without a lower end begins at 0, and one of a single value has no axis.
    scale = _told(high, unit, is_rate)
    if low != high:
        scale = f"{compact(low)} to {scale}"
    return f"<g><title>{escape(name)}: {escape(scale)}</title>{drawn}</g>" + _text(
        _WIDTH - 6, row, scale, anchor="end", dim=True
    )


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else (0.5 if high else 0.0)


def _pieces(points: Iterable[Optional[tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    """The lines between gaps."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(point)
    return [piece for piece in pieces if piece]


# -- interrupts: a heat map ---------------------------------------------------------------------------


def _interrupts(samples: Sequence[Any]) -> tuple[str, int]:
    """A row for each interrupt: how many a second, on which CPU, and how that was before."""
    last = samples[-1]
    cpus = list(last.cpus)
    totals = {key: sum(sample.rates.get(key, 0.0) for sample in samples) for key in last.rates}
    rows = [key for key, total in totals.items() if total > 0 or len(totals) <= _FEW]
    if len(rows) > MOST:
        busiest = sorted(rows, key=lambda key: -totals[key])[:MOST]
        rows = [key for key in rows if key in busiest]
    most = max((rate for rates in last.per_cpu.values() for rate in rates), default=0.0)
    left, right = _NAME + 62, _WIDTH - 190
    size = min((right - left) / max(len(cpus), 1), 46)
    drawn = "".join(
        f'<text x="{left + (index + 0.5) * size:.1f}" y="12" text-anchor="middle" font-size="10" opacity=".62">'
        f"{cpu}</text>"
        for index, cpu in enumerate(cpus)
        if len(cpus) <= 16 or cpu % 8 == 0
    )
    drawn += f'<text x="{_NAME + 54}" y="12" text-anchor="end" font-size="10" opacity=".62">interrupts/s on CPU</text>'
    for number, key in enumerate(rows, 1):
        name = f"{key[0]} {key[1]}".strip()
        line = [sample.rates.get(key) for sample in samples]
        y = number * _ROW
        drawn += _text(6, number, name if len(name) <= 38 else f"{name[:37]}…")
        drawn += _text(_NAME + 54, number, f"{compact(last.rates[key])}/s", anchor="end")
        for index, rate in enumerate(last.per_cpu[key]):
            share = 0.08 + 0.85 * (rate / most) ** 0.5 if rate and most else 0.0
            fill = f'fill="#f0781e" fill-opacity="{share:.2f}"' if share else 'fill="#808080" fill-opacity=".13"'
            drawn += (
                f'<rect x="{left + index * size + 0.5:.1f}" y="{y + 3}" width="{size - 1:.1f}" height="20" {fill}>'
                f"<title>{escape(name)}, CPU {cpus[index]}: {rate:.1f}/s</title></rect>"
            )
        drawn += _spark(line, right + 12, _WIDTH - 6, y)
    drawn += _axis(samples, len(rows) + 1, right + 12, _WIDTH - 6)
    if len(rows) < len(totals):
        drawn += _text(6, len(rows) + 1, f"{len(totals) - len(rows)} more are silent", dim=True)
    return drawn, (len(rows) + 2) * _ROW


def _spark(line: Sequence[Optional[float]], left: float, right: float, y: float) -> str:
    high = max((value for value in line if value is not None), default=0.0)
    step = (right - left) / max(len(line) - 1, 1)
    points = [
        None if value is None else (left + index * step, y + 22 - 18 * _share(value, 0.0, high))
        for index, value in enumerate(line)
    ]
    return "".join(
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in piece)}" fill="none" stroke="#2f7de1" '
        f'stroke-width="1.5"/>'
        for piece in _pieces(points)
    )


# -- where it is shown --------------------------------------------------------------------------------


class _Screen:
    """The place in a notebook where a chart is: a widget where there is anywidget, else a picture that is replaced."""

    def __init__(self, chart: Chart, display: Any) -> None:
        self._chart = weakref.ref(chart)
        self._widget = _make_widget(chart)
        self._handle = display(self._bundle(), raw=True, display_id=True)

    @staticmethod
    def of(chart: Chart) -> Optional[_Screen]:
        """None where there is no notebook."""
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            return None
        if getattr(get_ipython(), "kernel", None) is None:
            return None
        return _Screen(chart, display)

    def draw(self) -> None:
        """Shows what has come."""
        chart = self._chart()
        if chart is None:
            return
        if self._widget is not None:
            self._widget.html = chart.html()
        else:
            self._handle.update(self._bundle(), raw=True)

    def end(self) -> None:
        """Leaves the last picture where the chart was, for readers of the notebook."""
        widget, self._widget = self._widget, None
        self._handle.update(self._bundle(), raw=True)
        if widget is not None:
            widget.close()

    def _bundle(self) -> dict[str, Any]:
        chart = self._chart()
        bundle: dict[str, Any] = {} if chart is None else dict(chart._repr_mimebundle_())
        if self._widget is not None:
            shown = self._widget._repr_mimebundle_()
            data = shown[0] if isinstance(shown, tuple) else shown
            bundle.update({kind: view for kind, view in data.items() if kind.startswith("application/")})
        return bundle


@functools.lru_cache(maxsize=1)
def _widget_class() -> Any:
    """The widget's class; None where anywidget is not installed."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        return None

    class ChartWidget(anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
        _esm = Path(__file__).with_name("notebook.js").read_text()
        html = traitlets.Unicode("").tag(sync=True)
        paused = traitlets.Bool(False).tag(sync=True)

    return ChartWidget


def _make_widget(chart: Chart) -> Any:
    cls = _widget_class()
    if cls is None:
        return None
    widget, held = cls(html=chart.html()), weakref.ref(chart)

    def pause(change: Any) -> None:
        drawn = held()
        if drawn is not None:
            drawn.pause(change["new"])

    widget.observe(pause, names="paused")
    return widget
