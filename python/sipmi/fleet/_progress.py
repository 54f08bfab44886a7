"""The progress of a fleet on a terminal: a line with a bar. Other outputs get nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Union

from ._policy import Progress

#: A terminal is written to at most so often, in seconds.
_SHORTEST = 0.1
#: The length of the whole bar.
_WIDTH = 30


@contextlib.contextmanager
def shown(progress: Union[bool, Progress], command: str) -> Iterator[Progress]:
    """Return the function to call for each node that is done."""
    if callable(progress):
        yield progress
    elif not progress or not sys.stderr.isatty():
        yield lambda done, total, last: None
    else:
        line = _Line(command)
        try:
            yield line
        finally:
            line.end()


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
            bar = "#" * (_WIDTH * done // max(total, 1))
            sys.stderr.write(f"\r\x1b[K{self._command} [{bar:.<{_WIDTH}}] {done} of {total} nodes{failed}")
            sys.stderr.flush()
            self._next = time.monotonic() + _SHORTEST

    def end(self) -> None:
        """Leaves an empty line."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
