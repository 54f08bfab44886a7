"""Docstrings as mkdocstrings shows them: examples become code, and the roles of Sphinx become code, too."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod|exc):`~?\.?([^`]+)`")


class Docstrings(griffe.Extension):
    """Rewrites the text of every docstring before it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = examples_first(fenced(_ROLE.sub(r"`\1`", obj.docstring.value)))


def examples_first(text: str) -> str:
    """The text with its examples before its fields: what follows a field would be taken for a part of it.

    >>> print(examples_first("Adds.\\n\\n:param a: one\\n\\n```pycon\\n>>> 1\\n```"))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1
    ```
    <BLANKLINE>
    :param a: one
    """
    fields = re.search(r"^:\w[^\n]*:", text, re.MULTILINE)
    if fields is None:
        return text
    said, told = text[: fields.start()], text[fields.start() :]
    examples = re.findall(r"^```pycon\n.*?^```$", told, re.DOTALL | re.MULTILINE)
    for example in examples:
        told = told.replace(example, "")
    return "\n\n".join(part.strip() for part in [said, *examples, told] if part.strip())


def fenced(text: str) -> str:
    """The text with its doctests, and what follows a ``::``, in fences.

    >>> print(fenced("Adds.\\n\\n>>> 1 + 1\\n2\\n\\nThat is all."))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    That is all.
    """
    out: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.lstrip().startswith(">>>") and not inside:
            out += ["```pycon"]
            inside = True
        elif inside and not line.strip():
            out += ["```"]
            inside = False
        out.append(line.lstrip() if inside and line.startswith("    >>>") else line)
    return "\n".join([*out, *(["```"] if inside else [])])
