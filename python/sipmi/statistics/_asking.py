"""The questions that read the statistics of a server."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Container, Iterable, Mapping
from typing import Any, Callable, Optional, TypedDict, Union

from .._calling import AsyncCaller, Awaiting, Blocking, Caller, Driver, finish
from .._numbers import Timeout
from .._options import check_options
from ..errors import Fault, MiError, RequestRefused, StatisticNotFound, is_of_a_call
from ._meanings import COUNTER, GAUGE, UNKNOWN, Meaning, meaning_of
from ._reading import Reading, Value

__tracebackhide__: Callable[[Any], bool] = is_of_a_call

#: The seconds that a server has been up: asked for with every reading, since it tells of a restart.
_UPTIME = "core:timestamp"
_UPTIME_NAME = "timestamp"

#: The memory about the server of each client.
_learned: weakref.WeakKeyDictionary[Any, _Learned] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Selection:
    """The statistics that a caller wants, and the selectors to ask a server for.

    A server knows a group (``core:``), a name without its group (``rcv_requests``) and ``all``; ``group:name`` is the
    key of its replies only. So ``core:rcv_requests`` is asked for by its name or by its group, and of the reply only
    the wanted keys are kept.

    >>> selection = Selection(("core:rcv_requests", "load:"))
    >>> selection.by_name(), selection.by_group()
    (['rcv_requests', 'load:', 'timestamp'], ['core:', 'load:'])
    """

    wanted: tuple[str, ...]

    def by_name(self, except_for: Container[str] = ()) -> list[str]:
        """Return the selectors to send: for ``group:name`` the name, or the group where the name is ambiguous."""
        return self._sent(lambda one: _group(one) if one in except_for else one.partition(":")[2])

    def by_group(self) -> list[str]:
        """Return the selectors to send: for ``group:name`` the group, which is never ambiguous."""
        return self._sent(_group)

    def keep(self, found: Mapping[str, int]) -> dict[str, int]:
        """Return the wanted part of a reply."""
        if "all" in self.wanted:
            return dict(found)
        exact = set(self.wanted)
        kept = (name for name in found if exact & {name, _group(name), name.partition(":")[2]})
        return {name: found[name] for name in kept}

    def missing(self, found: Mapping[str, int]) -> tuple[str, ...]:
        """Return the wanted selectors for which a reply has no statistic."""
        return tuple(selector for selector in self.wanted if not _is_found(selector, found))

    def _sent(self, form: Callable[[str], str]) -> list[str]:
        named = [form(one) if _is_full_name(one) else one for one in self.wanted]
        # The uptime tells of a restart. Every server has it, so no reply is empty, which 1.x cannot tell from an error.
        has_uptime = not {"all", "core:", _UPTIME_NAME}.isdisjoint(named)
        return list(dict.fromkeys(named if has_uptime else [*named, _UPTIME_NAME]))


@dataclasses.dataclass
class _Learned:
    """Earlier answers of one server, so that it is not asked again."""

    kinds: dict[str, Meaning] = dataclasses.field(default_factory=dict)
    by_group: set[str] = dataclasses.field(default_factory=set)
    """``group:name`` whose name alone is unknown, or belongs to another group."""


async def read(
    driver: Driver, client: Any, selectors: Iterable[Union[str, Iterable[str]]], timeout: Optional[float]
) -> Reading:
    """Read statistics.

    :param client: the client whose server is remembered.
    """
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
    strange = [name for name in kept if meaning_of(name).kind == UNKNOWN and name not in learned.kinds]
    if strange:
        learned.kinds.update(await _ask_kinds(driver, strange, deadline))
    return _made(selection, found, driver.address, learned.kinds, began + took / 2, clock + took / 2)


def reading_of(value: Any, error: Optional[Exception], selection: Selection, address: str, ended: float) -> Reading:
    """Make a reading of a reply or error of ``get_statistics``. A kind that the table does not have is unknown.

    :param ended: the time of the reply, by the monotonic clock.
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
    """Return whether an error means that no statistic was found: 1.x and 2.x send 404, later ones an empty reply."""
    return isinstance(error, Fault) and error.code == 404


def _numbers(value: Any) -> dict[str, int]:
    return {name: number for name, number in value.items() if _is_number(number)} if isinstance(value, dict) else {}


async def _ask(driver: Driver, selectors: list[str], deadline: float) -> dict[str, int]:
    """Ask ``get_statistics``, in several requests where one would be too long for the wire."""
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
    """Ask ``list_statistics`` (2.x and later) for the kinds that the table does not have."""
    groups = list(dict.fromkeys(map(_group, names)))
    try:
        listed = await driver.call("list_statistics", groups, timeout=_left(deadline))
    except Fault:
        listed = {}  # 1.x has no such command
    except MiError:
        return {}  # there is a reading; the next one asks for their kinds
    kinds = {"incremental": COUNTER, "non-incremental": GAUGE}
    said = listed if isinstance(listed, dict) else {}
    return {name: Meaning(kinds.get(str(said.get(name)), UNKNOWN), meaning_of(name).unit) for name in names}


def _group(name: str) -> str:
    """Return the selector of the group of a statistic."""
    return name.partition(":")[0] + ":"


def _is_full_name(selector: str) -> bool:
    return ":" in selector and not selector.endswith(":")


def _left(deadline: float) -> float:
    # After the deadline, the call itself raises CallTimeout with the address.
    return max(deadline - time.monotonic(), 1e-6)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_found(selector: str, found: Mapping[str, int]) -> bool:
    if selector == "all":
        return bool(found)
    if selector.endswith(":"):
        return any(name.startswith(selector) for name in found)
    return selector in found or any(name.partition(":")[2] == selector for name in found)


def selected(given: Iterable[Union[str, Iterable[str]]]) -> tuple[str, ...]:
    """Flatten selectors that are given alone or in lists; ``all`` when there is none."""
    names: list[str] = []
    for one in given:
        names.extend([one] if isinstance(one, str) else one)
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"expected names of statistics or groups, as 'core:', found {names!r}")
    return tuple(dict.fromkeys(names)) or ("all",)


class _Options(TypedDict):
    """The numbers of ``statistics()``, which the client describes."""

    timeout: Optional[Timeout]


def statistics_of(mi: Caller, selectors: tuple[Union[str, Iterable[str]], ...], timeout: Optional[float]) -> Reading:
    """Read statistics for ``mi.statistics(...)``."""
    check_options("statistics()", {"timeout": timeout}, _Options)
    return finish(read(Blocking(mi), mi, selectors, timeout))


async def statistics_of_async(
    mi: AsyncCaller, selectors: tuple[Union[str, Iterable[str]], ...], timeout: Optional[float]
) -> Reading:
    """Read statistics for ``await mi.statistics(...)``."""
    check_options("statistics()", {"timeout": timeout}, _Options)
    return await read(Awaiting(mi), mi, selectors, timeout)
