"""Readings of statistics, and the change between two of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Optional

from .._uptime import began_again
from ..errors import MiError
from ._frames import import_pandas, make_frame
from ._meanings import COUNTER, Meaning, meaning_of

if TYPE_CHECKING:
    import pandas


class Value(int):
    """The value of a statistic: an ``int`` with its name, kind and unit.

    >>> used = Value(2048, "shmem:used_size")
    >>> used // 1024, used.unit, used.kind, used.group
    (2, 'bytes', 'gauge', 'shmem')
    """

    name: str
    """``group:name``."""
    kind: str
    """"counter": it only grows, until a reset; "gauge": it shows a state; "unknown"."""
    unit: str
    """"bytes", "seconds", "percent", or what is counted: "requests"; "" when it is not known."""

    def __new__(cls, number: int, name: str, meaning: Optional[Meaning] = None) -> Value:
        value = super().__new__(cls, number)
        value.name = name
        value.kind, value.unit = meaning or meaning_of(name)
        return value

    @property
    def group(self) -> str:
        """The part of the name before the colon."""
        return self.name.partition(":")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Value, (int(self), self.name, Meaning(self.kind, self.unit))


class Reading(Mapping[str, Value]):
    """Statistics of one server at one moment, by ``group:name``. The difference of two is a :class:`Change`."""

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
        """The address of the server."""
        self.time: float = time
        """The time of the reading, in seconds since the epoch."""
        self.uptime: Optional[int] = uptime
        """The seconds since the start of the server; None when it does not tell."""
        self.missing: tuple[str, ...] = missing
        """The selectors for which the server has no statistic."""

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
        # The monotonic clock of another machine has another origin.
        return {name: getattr(self, name, None) for cls in type(self).__mro__ for name in getattr(cls, "__slots__", ())
                if name != "_moment"}  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._moment = None
        for name, value in state.items():
            setattr(self, name, value)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dictionary for each statistic: its name, value, unit and kind."""
        return [
            {"statistic": value.name, "value": int(value), "unit": value.unit, "kind": value.kind}
            for value in self.values()
        ]

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows of :meth:`to_rows` as a table. Needs pandas."""
        return make_frame(self.to_rows(), ["statistic", "value", "unit", "kind"])

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        values = {name: int(value) for name, value in self.items()}
        return {
            "address": self.address,
            "time": self.time,
            "uptime": self.uptime,
            "missing": list(self.missing),
            "values": values,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.address}: {len(self)} statistics>"

    def _repr_html_(self) -> str:
        from ..display import html

        return html(self)


class Change(Mapping[str, int]):
    """The change from one reading to a later one, by ``group:name``.

    The change of a counter that was reset, or whose server restarted, is its new value.

    :raises ValueError: the readings are of different servers, or the second is not the later one.

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
        """True if the server restarted in between: by its uptime, or, without one, if all counters decreased."""
        self.reset: tuple[str, ...] = () if self.restarted else tuple(back)
        """The counters that were reset in between and are still below their old value."""
        restarted = {value.name for value in counters} if self.restarted else set(back)
        self._values = {
            value.name: int(value) if value.name in restarted else value - earlier[value.name] for value in both
        }
        self.rates: dict[str, float] = {value.name: self._values[value.name] / self.seconds for value in counters}
        """The rate of each counter per second."""
        self._later = later

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._later.address

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dictionary for each statistic: its name, value, change, rate per second, unit and kind."""
        return [
            {
                "statistic": name,
                "value": int(value),
                "change": self[name],
                "rate": self.rates.get(name),
                "unit": value.unit,
                "kind": value.kind,
            }
            for name, value in self._later.items()
            if name in self
        ]

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows of :meth:`to_rows` as a table. Needs pandas."""
        return make_frame(self.to_rows(), ["statistic", "value", "change", "rate", "unit", "kind"])

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return {
            "address": self.address,
            "seconds": self.seconds,
            "restarted": self.restarted,
            "reset": list(self.reset),
            "changes": dict(self._values),
            "rates": dict(self.rates),
        }

    def _repr_html_(self) -> str:
        from ..display import html

        return html(self)

    def __repr__(self) -> str:
        what = " after a restart" if self.restarted else f", {len(self.reset)} reset" if self.reset else ""
        return f"<Change of {self._later.address}: {len(self)} statistics in {self.seconds:.1f} s{what}>"


class Sample(Reading):
    """A reading of a :class:`Watch`; empty, and false, when the server did not answer."""

    __slots__ = ("change", "error")

    change: Optional[Change]
    """The change since the last sample with an answer; None for the first one, and for a gap."""
    error: Optional[MiError]
    """The error of a gap; None when there was an answer."""

    @property
    def is_gap(self) -> bool:
        """True if the server did not answer."""
        return self.error is not None

    @property
    def rates(self) -> dict[str, float]:
        """The rate of each counter per second; empty for the first sample, and for a gap."""
        return {} if self.change is None else self.change.rates

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON; the error of a gap as text."""
        change = None if self.change is None else self.change.to_dict()
        return {**super().to_dict(), "change": change, "error": None if self.error is None else str(self.error)}

    def __repr__(self) -> str:
        return super().__repr__() if self.error is None else f"<Sample of {self.address}: {self.error!r}>"


def to_frame(samples: Iterable[Reading], *, rates: bool = False) -> pandas.DataFrame:
    """Return a row for each reading and a column for each statistic, by time (UTC). Gaps are rows without numbers.

    :param samples: readings, or the samples of a watch with an end: ``mi.watch(["core:"], count=60)``.
    :param rates: True returns the rates of counters per second instead of values; False by default.
    :raises ImportError: pandas is not installed.
    """
    table = import_pandas()
    rows_of_all = to_rows(samples, rates=rates)
    index = table.DatetimeIndex([row.pop("time") for row in rows_of_all], name="time")
    frame: pandas.DataFrame = table.DataFrame(rows_of_all, index=index)
    return frame


def to_rows(samples: Iterable[Reading], *, rates: bool = False) -> list[dict[str, Any]]:
    """Return a dictionary for each reading: its ``time`` (UTC), and a member for each statistic; none for a gap.

    :param samples: readings, or the samples of a watch with an end.
    :param rates: True returns the rates of counters per second instead of values; False by default.
    """
    return [{"time": _utc(sample.time), **_numbers_of(sample, rates)} for sample in samples]


def _utc(time: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time, datetime.timezone.utc)


def _numbers_of(sample: Reading, rates: bool) -> dict[str, Any]:
    if rates and isinstance(sample, Sample):
        return dict(sample.rates)
    return {name: int(value) for name, value in sample.items()}


def _is_restarted(earlier: Reading, later: Reading, seconds: float, counters: list[Value], back: list[str]) -> bool:
    if earlier.uptime is not None and later.uptime is not None:
        is_restarted = began_again(earlier.uptime, later.uptime, seconds)
        # In its first second, the uptime of a server that was restarted may be what it was before.
        if is_restarted or later.uptime > 0:
            return is_restarted
    counted = [value for value in counters if earlier[value.name] > 0]
    return bool(counted) and len(back) == len(counted)
