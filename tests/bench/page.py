"""Write the table and the chart of ``docs/performance.md`` from the figures that ``run.py --json FILE`` kept."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
MARKERS = ("<!-- figures: written by tests/bench/page.py -->", "<!-- end of figures -->")

#: Sizes of the chart, in pixels.
NAME, BAR, ROW, HEAD, FOOT = 300, 420, 22, 34, 24
#: The ratio at the right end of the chart.
MOST = 1.4

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .axis { stroke: #d0d7de } .bar { fill: #2f81f7 }
.low { fill: #d29922 } .c { fill: #8b949e; fill-opacity: .45 } .goal { stroke: #24292f; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .axis { stroke: #30363d } .goal { stroke: #e6edf3 }
}
"""

Row = dict[str, Any]


def is_drawn(row: Row) -> bool:
    """Return whether a row belongs to the chart: sipmi's server beside the raw echo."""
    return bool(row["against"] == "raw echo" and row["unit"] == "ratio" and " CPU" not in row["what"])


def x(ratio: float) -> float:
    """Return the place of a ratio on the axis."""
    return NAME + min(ratio, MOST) / MOST * BAR


def range_of_c(row: Row) -> tuple[float, float]:
    """Return the ratios that OpenSIPS in C reaches; (0, 0) where it was not measured."""
    found = [float(number) for number in re.findall(r"\d\.\d+", row["in_c"])]
    return (found[0], found[-1]) if found else (0.0, 0.0)


def bars(rows: list[Row]) -> Iterator[str]:
    """Yield the SVG elements of each row: name, bar, wanted ratio, range of OpenSIPS in C."""
    for number, row in enumerate(rows):
        top = HEAD + number * ROW
        yield f'<text x="{NAME - 8}" y="{top + 14}" text-anchor="end">{escape(row["what"])}</text>'
        kind = "bar" if row["figure"] >= row["wanted"] else "low"
        yield f'<rect class="{kind}" x="{NAME}" y="{top + 3}" width="{x(row["figure"]) - NAME:.0f}" height="14"/>'
        yield f'<text x="{x(row["figure"]) + 5:.0f}" y="{top + 14}">{row["figure"]:.2f}</text>'
        least, most = range_of_c(row)
        if most:
            width = max(3.0, x(most) - x(least))
            yield f'<rect class="c" x="{x(least):.0f}" y="{top + 1}" width="{width:.0f}" height="18"/>'
        if row["wanted"]:
            goal = x(row["wanted"])
            yield f'<line class="goal" x1="{goal:.0f}" x2="{goal:.0f}" y1="{top + 1}" y2="{top + 19}"/>'


def axis(height: int) -> Iterator[str]:
    """Yield the vertical lines of the axis with their ratios."""
    for tenths in range(0, int(MOST * 10) + 1, 2):
        at = x(tenths / 10)
        yield f'<line class="axis" x1="{at:.0f}" x2="{at:.0f}" y1="{HEAD - 4}" y2="{height - FOOT}"/>'
        yield f'<text x="{at:.0f}" y="{height - 8}" text-anchor="middle">{tenths / 10:.1f}</text>'


def chart(rows: list[Row]) -> str:
    """Draw the ratios as an SVG document."""
    rows = [row for row in rows if is_drawn(row)]
    width, height = NAME + BAR + 50, HEAD + len(rows) * ROW + FOOT
    title = "Calls per second of sipmi, as a ratio to a raw echo. Grey: OpenSIPS in C. Line: wanted"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" width="{width}">',
            f"<title>{title}</title><style>{STYLE}</style>",
            f'<text x="{NAME}" y="18">{title}</text>',
            *axis(height),
            *bars(rows),
            "</svg>\n",
        ]
    )


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the table. A missed figure is bold."""
    yield "| what | baseline | baseline/s | sipmi/s | figure | wanted | OpenSIPS in C | p99, µs | server µs a call |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        in_ms = row["unit"] == "ms"
        reached = row["figure"] <= row["wanted"] if in_ms else round(row["figure"], 2) >= row["wanted"]
        figure = f"{row['figure']:.2f}" + (" ms" if in_ms else "")
        baseline, sipmi = row["baseline"], row["sipmi"]
        cells = [
            row["what"],
            row["against"],
            f"{sorted(baseline['rates'])[len(baseline['rates']) // 2]:,.0f}",
            f"{sorted(sipmi['rates'])[len(sipmi['rates']) // 2]:,.0f}",
            figure if reached else f"**{figure}**",
            f"{row['wanted']:g}" if row["wanted"] else "",
            row["in_c"],
            f"{sipmi['p99_us']:.0f}",
            f"{sipmi['cpu_us']:.1f}" if sipmi["cpu_us"] else "",
        ]
        yield "| " + " | ".join(cells) + " |"


def main() -> int:
    """Replace the figures of the page and its chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, help="the file that run.py --json wrote")
    kept = json.loads(parser.parse_args().figures.read_text())
    page = DOCS / "performance.md"
    head, _, rest = page.read_text().partition(MARKERS[0])
    _, _, foot = rest.partition(MARKERS[1])
    if not rest or not foot:
        raise SystemExit(f"{page}: expected the lines {MARKERS[0]!r} and {MARKERS[1]!r}, found none")
    figures = [MARKERS[0], "", f"{kept['machine']}. A missed figure is bold.", "", *table(kept["rows"]), "", MARKERS[1]]
    page.write_text(head + "\n".join(figures) + foot)
    (DOCS / "performance.svg").write_text(chart(kept["rows"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
