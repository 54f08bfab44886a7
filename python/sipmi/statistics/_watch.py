"""Samples of statistics at an interval."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Optional, TypedDict, Union

from .._calling import AsyncCaller, Awaiting, Blocking, Caller, Driver, finish
from .._numbers import CountFromZero, Interval, Timeout
from .._options import check_options
from ..errors import (
    AmbiguousMethod,
    CallTimeout,
    CodecError,
    Fault,
    InvalidParams,
    MethodNotFound,
    MiError,
    StatisticNotFound,
    TransportError,
)
from ._asking import read, selected
from ._reading import Reading, Sample

#: A real server has one process for its FIFO or for HTTP: it is not asked more often than this, in seconds.
SHORTEST_INTERVAL = 1.0


class _PlanOptions(TypedDict):
    """The numbers of a watch, which the client's ``watch()`` describes."""

    interval: Interval
    timeout: Optional[Timeout]
    count: Optional[CountFromZero]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The selectors and the interval of a watch."""

    selectors: tuple[str, ...]
    interval: float
    timeout: Optional[float]
    count: Optional[int]

    def __post_init__(self) -> None:
        numbers = {"interval": self.interval, "timeout": self.timeout, "count": self.count}
        check_options("watch()", numbers, _PlanOptions)


class _Sampler:
    """Takes the samples of a watch in turn."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._left = plan.count
        self._due = time.monotonic()
        self._last: Optional[Reading] = None

    def wait(self) -> Optional[float]:
        """Return the seconds until the next sample is due; None when all have been taken."""
        if self._left is not None and self._left <= 0:
            return None
        return max(0.0, self._due - time.monotonic())

    async def sample(self, driver: Driver, client: Any) -> Sample:
        """Take one sample. A temporary error is a gap; a lasting one is raised."""
        began, now = time.monotonic(), time.time()
        if self._left is not None:
            self._left -= 1
        error: Optional[MiError] = None
        try:
            reading = await read(driver, client, self._plan.selectors, self._plan.timeout)
        except MiError as why:
            if not _may_pass(why, self._last is not None):
                raise
            error, reading = why, Reading({}, address=driver.address, time=now)
        # A late sample does not shorten the next interval.
        self._due = max(self._due + self._plan.interval, began + SHORTEST_INTERVAL, time.monotonic())
        sample = Sample(
            reading,
            address=reading.address,
            time=reading.time,
            uptime=reading.uptime,
            missing=reading.missing,
            moment=reading._moment,
        )
        sample.error = error
        sample.change = None
        if error is None:
            if self._last is not None:
                sample.change = sample - self._last
            self._last = sample
        return sample


def _may_pass(error: MiError, was_answered: bool) -> bool:
    """Return whether the next reading may succeed; known statistics may come back after a restart."""
    if isinstance(error, StatisticNotFound):
        return was_answered
    if isinstance(error, (MethodNotFound, AmbiguousMethod, InvalidParams)):
        return False
    if isinstance(error, TransportError):
        return error.errno is not None  # the client was closed
    return isinstance(error, (CallTimeout, CodecError, Fault))


class _WatchBase:
    """The common part of the blocking and the awaited watch."""

    def __init__(self, mi: Union[Caller, AsyncCaller], plan: _Plan) -> None:
        self._mi = mi
        self._plan = plan

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._mi.address

    @property
    def selectors(self) -> tuple[str, ...]:
        """The selectors of the statistics."""
        return self._plan.selectors

    @property
    def interval(self) -> float:
        """The seconds between samples."""
        return self._plan.interval

    def _ipython_display_(self) -> None:
        from ..display import chart

        chart(self).show()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.address}: {' '.join(self.selectors)} each {self.interval:g} s>"


class Watch(_WatchBase):
    """Samples of a server's statistics, each ``interval`` seconds, as an iterable; ``mi.watch(...)`` makes it.

    It sends requests only while it is iterated. Each loop starts again.
    """

    _mi: Caller

    def __iter__(self) -> Iterator[Sample]:
        sampler, driver = _Sampler(self._plan), Blocking(self._mi)
        while (wait := sampler.wait()) is not None:
            time.sleep(wait)
            yield finish(sampler.sample(driver, self._mi))


class AsyncWatch(_WatchBase):
    """A :class:`Watch` for ``async for``."""

    _mi: AsyncCaller

    async def __aiter__(self) -> AsyncIterator[Sample]:
        sampler, driver = _Sampler(self._plan), Awaiting(self._mi)
        while (wait := sampler.wait()) is not None:
            await asyncio.sleep(wait)
            yield await sampler.sample(driver, self._mi)


def plan_of(
    selectors: Union[str, Iterable[str]], interval: float, timeout: Optional[float], count: Optional[int]
) -> _Plan:
    """Make the plan of ``mi.watch(...)``.

    :raises ValueError: the interval is less than a second.
    """
    return _Plan(selected([selectors]), interval, timeout, count)
