"""How a fleet is asked: timeout, concurrency, quorum, batches and health checks."""

# No postponed annotations: Python 3.9 cannot resolve those of a TypedDict that another one extends.

import dataclasses
import math
from typing import Any, Callable, Optional, TypedDict, Union

from .._numbers import MOST, Count, CountFromZero, Seconds, Timeout
from .._options import check_options
from ._result import NodeResult

#: Takes the number of nodes that are done, the number of all nodes, and the last result.
Progress = Callable[[int, int, Any], None]


class PolicyOptions(TypedDict, total=False):
    """The options of :meth:`sipmi.Fleet.with_options`, which describes them."""

    timeout: Timeout
    concurrency: Optional[Count]
    quorum: Union[int, float, None]
    batch: Union[int, float, None]
    max_failures: CountFromZero
    unclear: str
    check: Union[str, tuple[Any, ...], None]
    healthy: Optional[Callable[[Any], object]]
    check_within: Optional[Seconds]
    pause: Seconds
    dry_run: bool
    progress: Union[bool, Progress]


#: The options that are numbers. A quorum and a batch may be a part of the nodes, and have a check of their own.
_NUMBERS = ("timeout", "concurrency", "max_failures", "check_within", "pause", "quorum", "batch")


@dataclasses.dataclass(frozen=True)
class Policy:
    """How a fleet is asked; :meth:`sipmi.Fleet.with_options` says what each part means."""

    timeout: float = 5.0
    concurrency: Optional[int] = None
    quorum: Union[int, float, None] = None
    batch: Union[int, float, None] = None
    max_failures: int = 0
    unclear: str = "failed"
    check: Union[str, tuple[Any, ...], None] = None
    healthy: Optional[Callable[[Any], object]] = None
    check_within: Optional[float] = None
    pause: float = 0.0
    dry_run: bool = False
    progress: Union[bool, Progress] = False

    def __post_init__(self) -> None:
        check_options("Fleet()", {name: getattr(self, name) for name in _NUMBERS}, PolicyOptions)
        for name in ("quorum", "batch"):
            share = getattr(self, name)
            if share is not None and not (0 < share <= 1 if isinstance(share, float) else 1 <= share <= MOST):
                raise ValueError(f"expected a {name} of nodes, as 3, or a part of them, as 0.5; found {share!r}")
        if self.unclear not in ("failed", "ok"):
            raise ValueError(f"expected unclear answers to count as 'failed' or 'ok', found {self.unclear!r}")
        if self.quorum is not None and self.batch is not None:
            raise ValueError("expected a quorum or batches, found both: a rollout is for all nodes")
        if self.batch is None and (self.check is not None or self.pause):
            raise ValueError("a health check and a pause come between batches; say batch= too")
        if self.check is None and (self.healthy is not None or self.check_within is not None):
            raise ValueError("healthy= and check_within= belong to a health check; say check= too")

    def needed(self, nodes: int) -> Optional[int]:
        """How many nodes are enough; None when all are wanted."""
        return None if self.quorum is None else min(_share(self.quorum, nodes), nodes)

    def is_success(self, result: NodeResult) -> bool:
        """Return whether an answer counts as a success."""
        return result.ok or (result.unclear and self.unclear == "ok")

    def batches(self, names: list[str]) -> list[list[str]]:
        """Which nodes are asked together."""
        size = len(names) if self.batch is None else _share(self.batch, len(names))
        return [names[at : at + size] for at in range(0, len(names), size)] if names else []


def _share(share: Union[int, float], of: int) -> int:
    return max(1, math.ceil(share * of)) if isinstance(share, float) else share
