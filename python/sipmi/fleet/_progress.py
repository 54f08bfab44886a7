"""The progress of a fleet on a terminal: a bar with rich, a line without it. Other outputs get nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Union

from ._policy import Progress

#: A terminal is written to at most so often, in seconds.
_SHORTEST = 0.1


@contextlib.contextmanager
def shown(progress: Union[bool, Progress], command: str) -> Iterator[Progress]:
    """Return the function to call for each node that is done."""
    if callable(progress):
        yield progress
    elif not progress or not sys.stderr.isatty():
        yield lambda done, total, last: None
    else:
        try:
            import rich.progress
        except ImportError:
            line = _Line(command)
            try:
                yield line
            finally:
                line.end()
        else:
            with _bar(rich.progress, command) as bar:
                yield bar


@contextlib.contextmanager
def _bar(rich_progress: Any, command: str) -> Iterator[Progress]:
    import rich.console

    console = rich.console.Console(stderr=True)
    columns = [
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("[red]{task.fields[failed]}"),
        rich_progress.TimeElapsedColumn(),
    ]
    with rich_progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(command, total=None, failed="")
        failures = 0

        def tell(done: int, total: int, last: Any) -> None:
            nonlocal failures
            failures += last.error is not None
            bar.update(task, completed=done, total=total, failed=f"{failures} failed" if failures else "")

        yield tell


class _Line:
    """One line that is written over and over."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._failures = 0
        self._next = 0.0

    def __call__(self, done: int, total: int, last: Any) -> None:
        self._failures += last.error is not None
        if done == total or time.monotonic() >= self._next:
            failed = f", {self._failures} failed" if self._failures else ""
            sys.stderr.write(f"\r\x1b[K{self._command}: {done} of {total} nodes{failed}")
            sys.stderr.flush()
            self._next = time.monotonic() + _SHORTEST

    def end(self) -> None:
        """Leaves an empty line."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
