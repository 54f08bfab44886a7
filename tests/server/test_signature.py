"""Parameters of a handler whose annotations cannot be evaluated, on every version of Python."""

from __future__ import annotations

import sys
from typing import Any

from sipmi.server._signature import describe_parameters, hints_of


class Unevaluated:
    """A callable whose annotations raise when they are read, as those of a function may since Python 3.14."""

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        raise NameError("name 'Subscriber' is not defined")

    def __call__(self) -> None: ...


def test_annotations_that_raise_when_read_are_ignored() -> None:
    assert hints_of(Unevaluated()) == {}


def test_unresolved_text_leaves_other_annotations_their_types() -> None:
    def handler(user: Subscriber, count: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    described, _ = describe_parameters(handler)
    assert [(name, kind) for name, kind, *_ in described] == [("user", "any"), ("count", "int")]


if sys.version_info >= (3, 14):

    def test_a_name_that_is_missing_at_run_time_leaves_other_annotations_their_types() -> None:
        found: dict[str, Any] = {}
        source = "def handler(user: Subscriber, count: int): return user"
        exec(compile(source, "app.py", "exec", dont_inherit=True), found)
        described, _ = describe_parameters(found["handler"])
        assert [(name, kind) for name, kind, *_ in described] == [("user", "any"), ("count", "int")]
