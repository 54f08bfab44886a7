"""HTML of readings, schemas and diagnoses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Optional

from ._numbers import amount, rate
from ._parts import MOST, table


def _head(title: str, *facts: str) -> str:
    return f'<b>{escape(title)}</b> <span class="d">{" · ".join(map(escape, facts))}</span>'


def _rows(heads: list[str], rows: Iterable[Iterable[str]], total: int) -> str:
    shown = [[escape(cell) for cell in row] for row, _ in zip(rows, range(MOST))]
    return table(heads, shown, more=total - len(shown))


def show_reading(reading: Any) -> str:
    error = getattr(reading, "error", None)
    facts = [f"{len(reading)} statistics"] if error is None else [f"no answer: {error}"]
    rows = ([value.name, amount(value, value.unit), value.unit, value.kind] for value in reading.values())
    return _head(reading.address, *facts) + _rows(["statistic", "value", "unit", "kind"], rows, len(reading))


def show_change(change: Any) -> str:
    facts = [f"{len(change)} statistics in {change.seconds:.1f} s"]
    if change.restarted:
        facts.append("the server restarted")
    rows = ([row["statistic"], amount(row["value"], row["unit"]), f"{row['change']:+,}", _rate(row), row["unit"]]
            for row in change.to_rows())  # fmt: skip
    heads = ["statistic", "value", "change", "per second", "unit"]
    return _head(change.address, *facts) + _rows(heads, rows, len(change))


def _rate(row: Mapping[str, Any]) -> str:
    return "" if row["rate"] is None else rate(row["rate"], row["unit"])


def show_schema(schema: Any) -> str:
    rows = ([str(one), one.module or "", _effect(one), one.help] for one in schema.values())
    heads = ["command", "module", "effect", "help"]
    return _head(schema.server, f"{len(schema)} commands") + _rows(heads, rows, len(schema))


def _effect(command: Any) -> str:
    return "read" if command.read_only else "write"


def show_diff(diff: Any) -> str:
    pairs: list[tuple[str, Optional[Any], Optional[Any]]] = [
        *(("only left", command, None) for command in diff.only_left),
        *(("only right", None, command) for command in diff.only_right),
        *(("parameters", a, b) for a, b in diff.changed),
        *(("name", a, b) for a, b in diff.renamed),
    ]
    rows = ([what, str(a or ""), str(b or "")] for what, a, b in pairs)
    left, right = diff.left.server or "left", diff.right.server or "right"
    return _head("difference", f"{len(pairs)} commands") + _rows(["", left, right], rows, len(pairs))


def show_diagnosis(diagnosis: Any) -> str:
    kinds = {"ok": "", "hint": "w", "problem": "e"}
    rows = [
        [
            f'<span class="b {kinds.get(finding.level, "i")}">{escape(finding.level)}</span>',
            escape(finding.text),
            f"<code>{escape(finding.fix or '')}</code>",
        ]
        for finding in diagnosis.findings
    ]
    problems = len(diagnosis.problems)
    told = "no problem" if not problems else f"{problems} problem{'' if problems == 1 else 's'}"
    return _head(diagnosis.address, told) + table(["", "finding", "remedy"], rows)
