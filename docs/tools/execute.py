"""Runs the notebooks, each in a kernel of its own: `make notebooks` checks them, `--write` keeps their output."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells say now; a cell that fails raises."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)
    return notebook


def kept(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without the state of widgets: the last picture of a chart is there anyway."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            output.get("data", {}).pop("image/svg+xml", None)
    return notebook


def main() -> int:
    """Runs all, or those that are named."""
    names = [name for name in sys.argv[1:] if not name.startswith("-")]
    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        began = time.monotonic()
        notebook = execute(path)
        told = sum(bool(cell.get("outputs")) for cell in notebook.cells)
        print(f"{path.name}: {told} cells with output in {time.monotonic() - began:.1f} s")
        if not told:
            raise SystemExit(f"{path.name} says nothing")
        if "--write" in sys.argv:
            nbformat.write(kept(notebook), path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
