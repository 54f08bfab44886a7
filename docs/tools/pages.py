"""Hooks of mkdocs: notebooks become pages, links to files of the repository become their names."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_config(config: Any) -> Any:
    """The navigation: notebooks by the pages that they become, and no pages that are not there yet."""
    config["nav"] = [found for one in config["nav"] if (found := there(one, Path(config["docs_dir"])))]
    return config


def there(part: Any, docs: Path) -> Any:
    """A part of the navigation, without what is not there."""
    if isinstance(part, str):
        return part.replace(".ipynb", ".md") if (docs / part).exists() else None
    ((title, inside),) = part.items()
    if isinstance(inside, list):
        inside = [found for one in inside if (found := there(one, docs))]
    else:
        inside = there(inside, docs)
    return {title: inside} if inside else None


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
    """What a cell gave, as a notebook would show it."""
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
