"""Hooks of mkdocs: notebooks become pages, links to files of the repository become their names."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_config(config: Any) -> Any:
    """The navigation has notebooks under the names of the pages that they become."""
    config["nav"] = json.loads(json.dumps(config["nav"]).replace(".ipynb", ".md"))
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to notebooks lead to their pages."""
    return markdown.replace(".ipynb)", ".md)")


def on_files(files: Files, config: Any) -> Files:
    """Every notebook of ``docs/notebooks`` is a page, with what its cells said when they were run."""
    for found in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(found)
        notebook = json.loads((Path(config["docs_dir"]) / found.src_uri).read_text())
        files.append(File.generated(config, found.src_uri.replace(".ipynb", ".md"), content=page(notebook)))
    return files


def page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source.strip():
            parts.append(f"```python\n{source}\n```")
            parts += [told for output in cell["outputs"] if (told := shown(output))]
    return "\n\n".join(parts) + "\n"


def shown(output: dict[str, Any]) -> str:
    """The output of a cell, as a notebook shows it."""
    bundle = output.get("data", {})
    if output["output_type"] == "stream":
        inside = f"<pre>{escape(''.join(output['text']))}</pre>"
    elif "text/html" in bundle:
        inside = "".join(bundle["text/html"])
    elif "text/plain" in bundle:
        inside = f"<pre>{escape(''.join(bundle['text/plain']))}</pre>"
    else:
        return ""
    # One block of HTML has no empty line.
    return f'<div class="nb-output">{re.sub(chr(10) + "{2,}", chr(10), inside)}</div>'
