"""Checks that mypy and basedpyright reject the lines of ``tests/types/options.py`` that say so, and no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE = ROOT / "tests" / "types" / "options.py"
CHECKERS = {
    "mypy": ["mypy", "--strict", "--config-file=", "--no-error-summary", str(FILE)],
    "basedpyright": ["basedpyright", "--level", "error", str(FILE)],
}


def rejected_by(command: list[str]) -> set[int]:
    """Return the lines in which a type checker finds an error."""
    environment = {**os.environ, "MYPYPATH": str(ROOT / "python"), "PYTHONPATH": str(ROOT / "python")}
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([tool, *command[1:]], capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    found = re.findall(rf"{re.escape(FILE.name)}:(\d+)\b.*error", done.stdout)
    if not found:
        sys.exit(f"{command[0]} found no error:\n{done.stdout}{done.stderr}")
    return {int(line) for line in found}


def main() -> None:
    """Compare the lines that are rejected with those that should be."""
    lines = FILE.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# rejected")}
    failures = []
    for name, command in CHECKERS.items():
        found = rejected_by(command)
        failures += [f"{name} accepts line {line}: {lines[line - 1]}" for line in sorted(expected - found)]
        failures += [f"{name} rejects line {line}: {lines[line - 1]}" for line in sorted(found - expected)]
    sys.exit("\n".join(failures) or 0)


if __name__ == "__main__":
    main()
