"""Runs the notebooks, each in a kernel of its own: `make notebooks` checks them, `--write` keeps their output."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"


#: Put before a notebook, it has no widgets: charts are pictures that are replaced.
NO_WIDGETS = "import sys; sys.modules['anywidget'] = None"


def execute(path: Path, before: str = "") -> nbformat.NotebookNode:
    """The notebook with what its cells say now; a cell that fails raises."""
    notebook = nbformat.read(path, as_version=4)
    if before:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
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


def check_charts(*notebooks: nbformat.NotebookNode) -> None:
    """The last pictures of the charts are there, with widgets and without, and have come to their end."""
    for notebook in notebooks:
        bundles = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
        charts = [bundle for bundle in bundles if "image/svg+xml" in bundle]
        if len(charts) != 2 or not all("<polyline" in bundle["text/html"] for bundle in charts):
            raise SystemExit(f"expected two charts with lines, found {len(charts)}")
        if any("widget-view" in kind for bundle in charts for kind in bundle):
            raise SystemExit("a chart that has ended is still a widget")


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
        elif path.stem == "watching":
            check_charts(notebook, execute(path, NO_WIDGETS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
