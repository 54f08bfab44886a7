"""Extra processes of a server, as its users describe them (``proc_export_t``)."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Callable, Optional


class ProcessFlags(enum.IntFlag):
    """What an extra process asks for (``proc_export_t.flags``)."""

    NONE = 0
    INIT_CHILD = 1
    """The ``init`` of all modules is run in it (``PROC_FLAG_INITCHILD``)."""


@dataclasses.dataclass(frozen=True)
class Process:
    """An extra process of a server (``proc_export_t``).

    ``function(rank)`` is run in each of ``count`` processes, where ``rank`` is the number that ``ps`` shows. One that
    returns is done; one that dies, by an exception or otherwise, is replaced. SIGTERM ends it as ``sys.exit`` does.

    ``pre_fork()`` is run before these processes are forked and ``post_fork()`` after it, both in the process that
    called ``run``: at the start, and again around each replacement.

    >>> Process("MI stats", print, count=2, flags=ProcessFlags.INIT_CHILD).name
    'MI stats'
    """

    name: str
    function: Callable[[int], Any]
    count: int = 1
    pre_fork: Optional[Callable[[], Any]] = None
    post_fork: Optional[Callable[[], Any]] = None
    flags: ProcessFlags = ProcessFlags.NONE

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"expected a count of 1 or more for the process {self.name!r}, found {self.count}")
