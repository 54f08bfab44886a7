"""The statistics of a server: readings with units, what changed between two of them, and readings without end.

``mi.statistics(...)`` and ``mi.watch([...])`` are made of what is here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import time
import weakref
from collections.abc import AsyncIterator, Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from . import _meanings
from ._calling import Awaiting, Blocking, Driver, finish
from ._meanings import COUNTER, GAUGE, UNKNOWN, Meaning
from ._numbers import timeout as check_timeout
from ._uptime import began_again
from .client import Client
from .errors import (
    AmbiguousMethod,
    CallTimeout,
    CodecError,
    Fault,
    InvalidParams,
    MethodNotFound,
    MiError,
    RequestRefused,
    StatisticNotFound,
    TransportError,
)

if TYPE_CHECKING:
    import pandas

    from .client import AsyncClient, ClientBase

#: A real server has one process for its FIFO or for HTTP: it is not asked more often than this, in seconds.
SHORTEST_INTERVAL = 1.0
#: Seconds that a server has been up: asked for with every reading, since it tells of a restart.
_UPTIME = "core:timestamp"
_UPTIME_NAME = "timestamp"

#: What is known of the server of each client.
_learned: weakref.WeakKeyDictionary[Any, _Learned] = weakref.WeakKeyDictionary()


class Value(int):
    """The number of a statistic: an ``int`` that knows its name, kind and unit.

    >>> used = Value(2048, "shmem:used_size")
    >>> used // 1024, used.unit, used.kind, used.group
    (2, 'bytes', 'gauge', 'shmem')
    """

    name: str
    """``group:name``."""
    kind: str
    """"counter": it only grows, until a reset; "gauge": it shows a state; "unknown": nobody says."""
    unit: str
    """"bytes", "seconds", "percent", or what is counted: "requests"; "" when it is not known."""

    def __new__(cls, number: int, name: str, meaning: Optional[Meaning] = None) -> Value:
        value = super().__new__(cls, number)
        value.name = name
        value.kind, value.unit = meaning or _meanings.meaning(name)
        return value

    @property
    def group(self) -> str:
        """The part of the name before the colon."""
        return self.name.partition(":")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Value, (int(self), self.name, Meaning(self.kind, self.unit))


class Reading(Mapping[str, Value]):
    """Statistics of one server at one moment, by ``group:name``. Two of them, subtracted, are a :class:`Change`."""

    __slots__ = ("_moment", "_values", "address", "missing", "time", "uptime")

    def __init__(
        self,
        values: Mapping[str, Value],
        *,
        address: str,
        time: float,
        uptime: Optional[int] = None,
        missing: tuple[str, ...] = (),
        moment: Optional[float] = None,
    ) -> None:
        self._values = dict(values)
        self._moment = moment
        self.address: str = address
        """Whose they are."""
        self.time: float = time
        """When they were read, in seconds since the epoch."""
        self.uptime: Optional[int] = uptime
        """Seconds that the server was up; None when it does not say."""
        self.missing: tuple[str, ...] = missing
        """What was asked for and is not there."""

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __sub__(self, earlier: Reading) -> Change:
        if not isinstance(earlier, Reading):
            return NotImplemented
        return Change(earlier, self)

    def __getstate__(self) -> dict[str, Any]:
        # On another machine its clock says nothing.
        return {name: getattr(self, name, None) for cls in type(self).__mro__ for name in getattr(cls, "__slots__", ())
                if name != "_moment"}  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._moment = None
        for name, value in state.items():
            setattr(self, name, value)

    def to_frame(self) -> pandas.DataFrame:
        """A row for each statistic: its value, unit and kind. Needs pandas."""
        rows = [(value.name, int(value), value.unit, value.kind) for value in self.values()]
        return _table(rows, ["statistic", "value", "unit", "kind"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.address}: {len(self)} statistics>"


class Change(Mapping[str, int]):
    """What changed from one reading to a later one, by ``group:name``.

    Of a counter that was reset, or whose server began again, it is what was counted since.

    :raises ValueError: the readings are of different servers, or the second is not later.

    >>> first = Reading({"a:b": Value(5, "a:b")}, address="udp:192.0.2.1:8080", time=100.0)
    >>> later = Reading({"a:b": Value(9, "a:b", Meaning("counter", "calls"))}, address="udp:192.0.2.1:8080", time=102.0)
    >>> change = later - first
    >>> change["a:b"], change.seconds, change.rates
    (4, 2.0, {'a:b': 2.0})
    """

    def __init__(self, earlier: Reading, later: Reading) -> None:
        if earlier.address != later.address:
            raise ValueError(f"expected two readings of one server, found {earlier.address} and {later.address}")
        if earlier._moment is None or later._moment is None:
            self.seconds: float = later.time - earlier.time
        else:
            self.seconds = later._moment - earlier._moment
        """Seconds between the readings."""
        if not self.seconds > 0:
            raise ValueError(f"expected the later reading minus the earlier one, found {self.seconds:.3f} seconds")
        both = [value for name, value in later.items() if name in earlier]
        counters = [value for value in both if value.kind == COUNTER]
        back = [value.name for value in counters if value < earlier[value.name]]
        self.restarted: bool = _is_restarted(earlier, later, self.seconds, counters, back)
        """Whether the server began again in between. Where it does not tell its uptime: whether all went back."""
        self.reset: tuple[str, ...] = () if self.restarted else tuple(back)
        """The counters that were reset in between, as far as they have not passed their old value again."""
        begun_again = {value.name for value in counters} if self.restarted else set(back)
        self._values = {
            value.name: int(value) if value.name in begun_again else value - earlier[value.name] for value in both
        }
        self.rates: dict[str, float] = {value.name: self._values[value.name] / self.seconds for value in counters}
        """How many a second, of each counter."""
        self._later = later

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_frame(self) -> pandas.DataFrame:
        """A row for each statistic: its value, change, rate (a second), unit and kind. Needs pandas."""
        rows = [
            (name, int(value), self[name], self.rates.get(name), value.unit, value.kind)
            for name, value in self._later.items()
            if name in self
        ]
        return _table(rows, ["statistic", "value", "change", "rate", "unit", "kind"])

    def __repr__(self) -> str:
        what = " after a restart" if self.restarted else f", {len(self.reset)} reset" if self.reset else ""
        return f"<Change of {self._later.address}: {len(self)} statistics in {self.seconds:.1f} s{what}>"


class Sample(Reading):
    """A reading of a :class:`Watch`; empty, and false, when the server did not answer."""

    __slots__ = ("change", "error")

    change: Optional[Change]
    """What changed since the last sample that was answered; None for the first one, and for a gap."""
    error: Optional[MiError]
    """Why there was no answer; None when there was one."""

    @property
    def is_gap(self) -> bool:
        """Whether the server did not answer."""
        return self.error is not None

    @property
    def rates(self) -> dict[str, float]:
        """How many a second, of each counter; empty for the first sample, and for a gap."""
        return {} if self.change is None else self.change.rates

    def __repr__(self) -> str:
        return super().__repr__() if self.error is None else f"<Sample of {self.address}: {self.error!r}>"


# -- one reading ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Selection:
    """The statistics that a caller wants, and how a server is asked for them.

    A server knows a group (``core:``), a name without its group (``rcv_requests``) and ``all``; ``group:name`` is the
    key of its replies only. So ``core:rcv_requests`` is asked for by its name or by its group, and of the reply only
    the wanted keys are kept.

    >>> selection = Selection(("core:rcv_requests", "load:"))
    >>> selection.by_name(), selection.by_group()
    (['rcv_requests', 'load:', 'timestamp'], ['core:', 'load:'])
    """

    wanted: tuple[str, ...]

    def by_name(self, except_for: Container[str] = ()) -> list[str]:
        """The selectors to send: of ``group:name`` the name, or the group if the name alone means another one."""
        return self._sent(lambda one: _group(one) if one in except_for else one.partition(":")[2])

    def by_group(self) -> list[str]:
        """The selectors to send: of ``group:name`` the group, which is right whatever else has that name."""
        return self._sent(_group)

    def keep(self, found: Mapping[str, int]) -> dict[str, int]:
        """The wanted part of a reply."""
        if "all" in self.wanted:
            return dict(found)
        exact = set(self.wanted)
        kept = (name for name in found if exact & {name, _group(name), name.partition(":")[2]})
        return {name: found[name] for name in kept}

    def missing(self, found: Mapping[str, int]) -> tuple[str, ...]:
        """The wanted selectors that a reply has nothing of."""
        return tuple(selector for selector in self.wanted if not _is_found(selector, found))

    def _sent(self, form: Callable[[str], str]) -> list[str]:
        named = [form(one) if _is_full_name(one) else one for one in self.wanted]
        # The uptime tells of a restart. It is always there, so no reply is empty, which 1.x may not tell from an error.
        has_uptime = not {"all", "core:", _UPTIME_NAME}.isdisjoint(named)
        return list(dict.fromkeys(named if has_uptime else [*named, _UPTIME_NAME]))


@dataclasses.dataclass
class _Learned:
    """What one server said before, so that it is not asked again."""

    kinds: dict[str, Meaning] = dataclasses.field(default_factory=dict)
    by_group: set[str] = dataclasses.field(default_factory=set)
    """``group:name`` whose name alone is not there, or means a statistic of another group."""


async def read(
    driver: Driver, client: Any, selectors: Iterable[Union[str, Iterable[str]]], timeout: Optional[float]
) -> Reading:
    """Reads statistics, for clients of both kinds; ``client`` is the one whose server is remembered."""
    began, clock = time.time(), time.monotonic()
    deadline = clock + (driver.timeout if timeout is None else timeout)
    selection, learned = Selection(selected(selectors)), _learned.setdefault(client, _Learned())
    found = await _ask(driver, selection.by_name(learned.by_group), deadline)
    others = [one for one in selection.missing(found) if _is_full_name(one) and one not in learned.by_group]
    if others:
        found.update(await _ask(driver, Selection(tuple(others)).by_group(), deadline))
        learned.by_group.update(others)
    took = time.monotonic() - clock
    kept = selection.keep(found)
    strange = [name for name in kept if _meanings.meaning(name).kind == UNKNOWN and name not in learned.kinds]
    if strange:
        learned.kinds.update(await _ask_kinds(driver, strange, deadline))
    return _made(selection, found, driver.address, learned.kinds, began + took / 2, clock + took / 2)


def reading_of(value: Any, error: Optional[Exception], selection: Selection, address: str, ended: float) -> Reading:
    """A reading of a reply of ``get_statistics``, or of its error. Kinds that the table does not know are unknown.

    :param ended: when the answer came, by the monotonic clock.
    :raises StatisticNotFound: the reply has none of the wanted statistics.
    """
    if error is not None and not _is_nothing(error):
        raise error
    found = {} if error is not None else _numbers(value)
    at = time.time() - (time.monotonic() - ended)
    return _made(selection, found, address, {}, at, ended)


def _made(
    selection: Selection, found: dict[str, int], address: str, kinds: Mapping[str, Meaning], at: float, moment: float
) -> Reading:
    kept, missing = selection.keep(found), selection.missing(found)
    if not kept:
        raise _not_found(address, missing)
    return Reading(
        {name: Value(number, name, kinds.get(name)) for name, number in kept.items()},
        address=address,
        time=at,
        uptime=found.get(_UPTIME),
        missing=missing,
        moment=moment,
    )


def _not_found(address: str, missing: tuple[str, ...]) -> StatisticNotFound:
    error = StatisticNotFound(404, "Statistics Not Found", ", ".join(missing))
    error.address, error.command = address, "get_statistics"
    return error


def _is_nothing(error: Exception) -> bool:
    """So say 1.x and 2.x when nothing is found; later ones answer with nothing."""
    return isinstance(error, Fault) and error.code == 404


def _numbers(value: Any) -> dict[str, int]:
    return {name: number for name, number in value.items() if _is_number(number)} if isinstance(value, dict) else {}


async def _ask(driver: Driver, selectors: list[str], deadline: float) -> dict[str, int]:
    """What ``get_statistics`` says; in several requests where one would be too long for the wire."""
    try:
        value = await driver.call("get_statistics", selectors, timeout=_left(deadline))
    except RequestRefused:
        if len(selectors) == 1:
            raise
        half = len(selectors) // 2
        first = await _ask(driver, selectors[:half], deadline)
        return {**first, **await _ask(driver, selectors[half:], deadline)}
    except Fault as fault:
        if not _is_nothing(fault):
            raise
        return {}
    return _numbers(value)


async def _ask_kinds(driver: Driver, names: list[str], deadline: float) -> dict[str, Meaning]:
    """What ``list_statistics`` says (from 2.x on) of statistics that the table does not know."""
    groups = list(dict.fromkeys(map(_group, names)))
    try:
        listed = await driver.call("list_statistics", groups, timeout=_left(deadline))
    except Fault:
        listed = {}  # 1.x has no such command
    except MiError:
        return {}  # there is a reading; their kinds are asked for next time
    kinds = {"incremental": COUNTER, "non-incremental": GAUGE}
    said = listed if isinstance(listed, dict) else {}
    return {name: Meaning(kinds.get(str(said.get(name)), UNKNOWN), _meanings.meaning(name).unit) for name in names}


def _group(name: str) -> str:
    """The selector of the group of a statistic."""
    return name.partition(":")[0] + ":"


def _is_full_name(selector: str) -> bool:
    return ":" in selector and not selector.endswith(":")


def _left(deadline: float) -> float:
    # What is over is over: the call says so, with whom it called.
    return max(deadline - time.monotonic(), 1e-6)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_found(selector: str, found: Mapping[str, int]) -> bool:
    if selector == "all":
        return bool(found)
    if selector.endswith(":"):
        return any(name.startswith(selector) for name in found)
    return selector in found or any(name.partition(":")[2] == selector for name in found)


def _is_restarted(earlier: Reading, later: Reading, seconds: float, counters: list[Value], back: list[str]) -> bool:
    if earlier.uptime is not None and later.uptime is not None:
        is_restarted = began_again(earlier.uptime, later.uptime, seconds)
        # In its first second, the uptime of a server that was restarted may be what it was before.
        if is_restarted or later.uptime > 0:
            return is_restarted
    counted = [value for value in counters if earlier[value.name] > 0]
    return bool(counted) and len(back) == len(counted)


def selected(given: Iterable[Union[str, Iterable[str]]]) -> tuple[str, ...]:
    """Selectors that were given alone or in lists; ``all`` when there is none."""
    names: list[str] = []
    for one in given:
        names.extend([one] if isinstance(one, str) else one)
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"expected names of statistics or groups, as 'core:', found {names!r}")
    return tuple(dict.fromkeys(names)) or ("all",)


def statistics_of(mi: Client, selectors: tuple[Union[str, Iterable[str]], ...], timeout: Optional[float]) -> Reading:
    """``mi.statistics(...)``."""
    return finish(read(Blocking(mi), mi, selectors, timeout))


async def statistics_of_async(
    mi: AsyncClient, selectors: tuple[Union[str, Iterable[str]], ...], timeout: Optional[float]
) -> Reading:
    """``await mi.statistics(...)``."""
    return await read(Awaiting(mi), mi, selectors, timeout)


# -- readings without end -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a watch asks for, and how often."""

    selectors: tuple[str, ...]
    interval: float
    timeout: Optional[float]
    count: Optional[int]

    def __post_init__(self) -> None:
        if not self.interval >= SHORTEST_INTERVAL:
            raise ValueError(
                f"expected an interval of at least {SHORTEST_INTERVAL:g} second, found {self.interval:g}: "
                "a server has one process for its FIFO or for HTTP, and others need it too"
            )
        if self.timeout is not None:
            check_timeout(self.timeout)


class _Sampler:
    """One after the other of a watch's samples: when, and what."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._left = plan.count
        self._due = time.monotonic()
        self._last: Optional[Reading] = None

    def wait(self) -> Optional[float]:
        """Seconds until the next sample is due; None when all have been taken."""
        if self._left is not None and self._left <= 0:
            return None
        return max(0.0, self._due - time.monotonic())

    async def sample(self, driver: Driver, client: Any) -> Sample:
        """Asks once. What was not answered is a gap; what never will be is an error."""
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
        # Whoever was late is not made up for.
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
    """Whether the next reading may be answered; statistics that were there may come back after a restart."""
    if isinstance(error, StatisticNotFound):
        return was_answered
    if isinstance(error, (MethodNotFound, AmbiguousMethod, InvalidParams)):
        return False
    if isinstance(error, TransportError):
        return error.errno is not None  # the client was closed
    return isinstance(error, (CallTimeout, CodecError, Fault))


class _WatchBase:
    """What is watched, and how often; how it is asked is for the others."""

    def __init__(self, mi: ClientBase, plan: _Plan) -> None:
        self._mi = mi
        self._plan = plan

    @property
    def address(self) -> str:
        """Whose statistics they are."""
        return self._mi.address

    @property
    def selectors(self) -> tuple[str, ...]:
        """What it asks for."""
        return self._plan.selectors

    @property
    def interval(self) -> float:
        """Seconds from one sample to the next."""
        return self._plan.interval

    def _ipython_display_(self) -> None:
        from .display import chart

        chart(self).show()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.address}: {' '.join(self.selectors)} each {self.interval:g} s>"


class Watch(_WatchBase):
    """Samples of a server's statistics, each ``interval`` seconds, as an iterable; ``mi.watch(...)`` makes it.

    Nothing is asked before it is iterated, and nothing after the loop was left. Each loop begins anew.
    """

    _mi: Client

    def __iter__(self) -> Iterator[Sample]:
        sampler, driver = _Sampler(self._plan), Blocking(self._mi)
        while (wait := sampler.wait()) is not None:
            time.sleep(wait)
            yield finish(sampler.sample(driver, self._mi))


class AsyncWatch(_WatchBase):
    """As :class:`Watch`, for ``async for``."""

    _mi: AsyncClient

    async def __aiter__(self) -> AsyncIterator[Sample]:
        sampler, driver = _Sampler(self._plan), Awaiting(self._mi)
        while (wait := sampler.wait()) is not None:
            await asyncio.sleep(wait)
            yield await sampler.sample(driver, self._mi)


def plan_of(
    selectors: Union[str, Iterable[str]], interval: float, timeout: Optional[float], count: Optional[int]
) -> _Plan:
    """What ``mi.watch(...)`` was told.

    :raises ValueError: the interval is less than a second.
    """
    return _Plan(selected([selectors]), interval, timeout, count)


# -- tables ---------------------------------------------------------------------------------------


def to_frame(samples: Iterable[Reading], *, rates: bool = False) -> pandas.DataFrame:
    """A row for each reading and a column for each statistic, by time (UTC). Gaps are rows without numbers.

    :param samples: readings, or samples of a watch that ends: ``mi.watch(["core:"], count=60)``.
    :param rates: what changed a second, of the counters of samples, in place of values.
    :raises ImportError: pandas is not installed.
    """
    table = _pandas()
    rows, times = [], []
    for sample in samples:
        rows.append(sample.rates if rates and isinstance(sample, Sample) else {n: int(v) for n, v in sample.items()})
        times.append(datetime.datetime.fromtimestamp(sample.time, datetime.timezone.utc))
    frame: pandas.DataFrame = table.DataFrame(rows, index=table.DatetimeIndex(times, name="time"))
    return frame


def _table(rows: list[tuple[Any, ...]], columns: list[str]) -> pandas.DataFrame:
    frame: pandas.DataFrame = _pandas().DataFrame(rows, columns=columns).set_index(columns[0])
    return frame


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("tables need pandas: pip install 'sipmi[notebook]'") from error
    return pandas


__all__ = [
    "COUNTER",
    "GAUGE",
    "SHORTEST_INTERVAL",
    "UNKNOWN",
    "AsyncWatch",
    "Change",
    "Meaning",
    "Reading",
    "Sample",
    "Value",
    "Watch",
    "to_frame",
]
