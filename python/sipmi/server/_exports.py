"""Commands, processes and subscribers, as the users of a server describe or see them."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Callable, Optional

from .._core import Tree
from .._numbers import Count
from .._options import check_option


class Flags(enum.IntFlag):
    """The properties of a command (``mi_export_t.flags``)."""

    NONE = 0
    ASYNC = 1
    """Answers later (``MI_ASYNC_RPL_FLAG``)."""
    NO_INPUT = 2
    """Takes no parameters (``MI_NO_INPUT_FLAG``)."""
    NAMED_PARAMS_ONLY = 4
    """Takes parameters by name only (``MI_NAMED_PARAMS_ONLY``)."""
    READ_ONLY = 8
    """Changes nothing."""


@dataclasses.dataclass(frozen=True)
class Export:
    """A command in the C programmer's form (``mi_export_t``).

    ``handler(root, param)`` takes the parameters as the nodes of a tree and returns the reply tree.
    ``init`` (``init_f``) runs once before the first command of the module.

    >>> Export("mi_get_function", "This function does ...", lambda root, param: None, flags=Flags.NO_INPUT)
    Export(name='mi_get_function', ...)
    """

    name: str
    help: str
    handler: Callable[[Tree, Any], Any]
    flags: Flags = Flags.NONE
    param: Any = None
    init: Optional[Callable[[], Any]] = None


@dataclasses.dataclass(frozen=True)
class Subscriber:
    """A subscriber of an event, with its delivery counts. A waiting event is neither sent nor dropped.

    >>> Subscriber("E_SUB_ADDED", "udp:127.0.0.1:9999", "jsonrpc", 60, 59.5, 3, 0).sent
    3
    """

    event: str
    socket: str
    """The address, as the subscriber wrote it: ``udp:host:port``, ``unix:/path``, ``tcp:host:port``."""
    wire: str
    """The form of its events: "text" or "jsonrpc"."""
    expire: int
    """The seconds of the subscription; 0: it was ended."""
    ttl: float
    """The seconds that are left."""
    sent: int
    dropped: int


class ProcessFlags(enum.IntFlag):
    """The properties of an extra process (``proc_export_t.flags``)."""

    NONE = 0
    INIT_CHILD = 1
    """It runs the ``init`` of all modules (``PROC_FLAG_INITCHILD``)."""


@dataclasses.dataclass(frozen=True)
class Process:
    """An extra process of a server (``proc_export_t``).

    ``function(rank)`` runs in each of ``count`` processes, where ``rank`` is the number that ``ps`` shows. A process
    whose function returns is done; one that dies, by an exception or otherwise, is replaced. SIGTERM ends it as
    ``sys.exit`` does.

    ``pre_fork()`` runs before these processes are forked and ``post_fork()`` after it, both in the process that called
    ``run``: at the start, and again around each replacement.

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
        check_option(f"Process({self.name!r})", "count", self.count, Count)
