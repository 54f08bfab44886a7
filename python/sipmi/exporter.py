"""Statistics of servers for Prometheus: a collector for ``prometheus_client`` (``pip install 'sipmi[metrics]'``).

It asks any OpenSIPS, of any generation, when it is scraped. A server of sipmi has metrics of its own.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

from ._numbers import Timeout
from ._options import check_option
from .client import Client
from .errors import MiError, StatisticNotFound
from .fleet import Fleet
from .statistics import COUNTER, GAUGE, SHORTEST_INTERVAL, Reading, Value

if TYPE_CHECKING:
    from prometheus_client import Metric

log: logging.Logger = logging.getLogger("sipmi.exporter")

#: Statistics of which there is one for each process, socket or domain: their group, what is in their name, and what
#: they are called together.
_FAMILIES = (
    ("pkmem", re.compile(r"(?P<process>\d+)-(?P<what>.+)"), "pkmem_{what}"),
    ("load", re.compile(r"(?P<what>load|load1m|load10m)-proc-(?P<process>\d+)"), "process_{what}"),
    ("load", re.compile(r"(?P<socket>.+)-(?P<what>load)"), "socket_{what}"),
    ("usrloc", re.compile(r"(?P<domain>.+)-(?P<what>users|contacts|expires)"), "usrloc_{what}"),
)
#: The unit in Prometheus, and the factor.
_UNITS = {"bytes": ("_bytes", 1.0), "seconds": ("_seconds", 1.0), "percent": ("_percent", 1.0),
          "microseconds": ("_seconds", 1e-6)}  # fmt: skip
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]+")


@dataclasses.dataclass(frozen=True)
class _Metric:
    """A statistic as Prometheus has it."""

    name: str
    kind: str
    labels: dict[str, str]
    number: float
    of: str

    @classmethod
    def of_value(cls, value: Value) -> _Metric:
        group, _, name = value.name.partition(":")
        labels: dict[str, str] = {}
        for family, pattern, common in _FAMILIES:
            found = pattern.fullmatch(name) if family == group else None
            if found is not None:
                labels = found.groupdict()
                name = common.format(what=labels.pop("what"))
                break
        else:
            name = name if name.startswith(group) else f"{group}_{name}"
        suffix, factor = _UNITS.get(value.unit, ("", 1.0))
        name = _NOT_IN_NAMES.sub("_", name)
        name = name[:-3] if value.unit == "microseconds" and name.endswith("_us") else name
        return cls(name + suffix, value.kind, labels, value * factor, value.name)


class Collector:
    """Asks servers for their statistics when it is scraped, at most once a second.

    A statistic ``group:name`` becomes ``opensips_group_name``, with its unit and, of a counter, ``_total`` at the end.
    Those of processes have the labels ``process``, ``pid`` and ``type``, from ``ps``; those of user location
    ``domain``. ``opensips_up`` is 0 for a server that does not answer; it has no other samples then.

    :param mi: a client of a server, or a fleet, whose nodes are told apart by the label ``node``.
    :param selectors: what to ask for, as in ``mi.statistics(...)``; all when there is none.
    :param prefix: what names begin with.
    :param labels: what is added to every sample.
    :param timeout: seconds that an answer may take; that of the client or fleet by default.

    >>> import sipmi
    >>> from prometheus_client import CollectorRegistry
    >>> server = sipmi.Server("billing")
    >>> server.listen("udp:127.0.0.1:0")
    >>> registry = CollectorRegistry()
    >>> with server, sipmi.connect(server.addresses[0]) as mi:
    ...     registry.register(Collector(mi, "mi_datagram:"))
    ...     registry.get_sample_value("opensips_up"), registry.get_sample_value("opensips_mi_datagram_errors_total")
    (1.0, 0.0)
    """

    def __init__(
        self,
        mi: Union[Client, Fleet],
        *selectors: Union[str, Iterable[str]],
        prefix: str = "opensips",
        labels: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> None:
        check_option("Collector()", "timeout", timeout, Optional[Timeout])
        self._mi = mi
        self._selectors = selectors
        self._prefix = prefix
        self._labels = dict(labels or {})
        self._timeout = timeout
        self._lock = threading.Lock()
        self._warned: dict[str, tuple[str, ...]] = {}
        self._collected: list[Metric] = []
        self._expires = 0.0

    def describe(self) -> list[Metric]:
        """Nothing: only the servers can say what there is, and they are not asked before they are scraped."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the metrics; a scrape within a second of another one gets the same."""
        with self._lock:
            began = time.monotonic()
            if began >= self._expires:
                self._collected = self._ask()
                self._expires = began + SHORTEST_INTERVAL
            return iter(self._collected)

    def _ask(self) -> list[Metric]:
        families = _Families(self._prefix)
        if isinstance(self._mi, Fleet):
            readings = self._mi.statistics(*self._selectors, timeout=self._timeout)
            split = [one.name for one in readings if one.value is not None and _has_processes(one.value)]
            listed = self._mi._only(split).call("ps", timeout=self._timeout).ok if split else {}
            for one in readings:
                own = {**self._labels, "node": one.name}
                reading = one.value
                if isinstance(one.error, StatisticNotFound):
                    reading = self._empty(one.address, one.error)
                elif reading is not None:
                    self._warn_of(one.address, reading.missing)
                families.add_server(reading, listed.get(one.name), own, one.elapsed)
        else:
            began = time.monotonic()
            reading, listed_here = self._ask_one(self._mi)
            families.add_server(reading, listed_here, self._labels, time.monotonic() - began)
        return families.metrics()

    def _empty(self, address: str, error: StatisticNotFound) -> Reading:
        """Make a reading without statistics: the server answered, and has none of them."""
        self._warn_of(address, (str(error.data),))
        return Reading({}, address=address, time=time.time())

    def _warn_of(self, address: str, missing: tuple[str, ...]) -> None:
        """Log, once, which of the selected statistics a server does not have."""
        if missing and self._warned.get(address) != missing:
            log.warning("%s: get_statistics: no such statistics: %s", address, ", ".join(missing))
        self._warned[address] = missing

    def _ask_one(self, mi: Client) -> tuple[Optional[Reading], Any]:
        try:
            reading = mi.statistics(*self._selectors, timeout=self._timeout)
            self._warn_of(reading.address, reading.missing)
        except StatisticNotFound as error:
            return self._empty(mi.address, error), None
        except MiError as error:
            log.info("%s was not scraped: %s", mi.address, error)
            return None, None
        if not _has_processes(reading):
            return reading, None
        try:
            return reading, mi.call("ps", timeout=self._timeout)
        except MiError as error:
            log.info("the processes of %s are not known: %s", mi.address, error)
            return reading, None


class _Families:
    """Samples by their name."""

    def __init__(self, prefix: str) -> None:
        try:
            import prometheus_client.core as prometheus
        except ImportError as error:
            raise ImportError("metrics need prometheus_client: pip install 'sipmi[metrics]'") from error
        self._kinds = {COUNTER: prometheus.CounterMetricFamily, GAUGE: prometheus.GaugeMetricFamily}
        self._unknown = prometheus.UnknownMetricFamily
        self._prefix = prefix
        self._families: dict[str, tuple[str, Any]] = {}
        self._seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()

    def add_server(self, reading: Optional[Reading], listed: Any, own: Mapping[str, str], elapsed: float) -> None:
        """Return the value of a server; None when it did not answer."""
        up = _Metric("up", GAUGE, {}, float(reading is not None), "whether the server answered")
        took = _Metric("scrape_seconds", GAUGE, {}, elapsed, "how long it took to answer")
        for metric in (up, took):
            self._add(metric, own)
        processes = _processes(listed)
        for value in () if reading is None else reading.values():
            metric = _Metric.of_value(value)
            number = metric.labels.get("process")
            known = {} if number is None else processes.get(number, {"pid": "", "type": ""})
            self._add(metric, {**own, **known})

    def _add(self, metric: _Metric, own: Mapping[str, str]) -> None:
        labels = {**own, **metric.labels}
        key = metric.name, frozenset(labels.items())
        kind, family = self._families.get(metric.name, (metric.kind, None))
        if key in self._seen or kind != metric.kind:
            # Two names that differ only in what Prometheus has no letters for.
            log.warning("%s is left out: another statistic is called %s_%s", metric.of, self._prefix, metric.name)
            return
        self._seen.add(key)
        name = f"{self._prefix}_{metric.name}"
        if family is None:
            family = self._kinds.get(kind, self._unknown)(name, metric.of)
            self._families[metric.name] = kind, family
        family.add_sample(name + "_total" if kind == COUNTER else name, labels, metric.number)

    def metrics(self) -> list[Metric]:
        """All families."""
        return [family for _, family in self._families.values()]


def _has_processes(reading: Reading) -> bool:
    return any("process" in _Metric.of_value(value).labels for value in reading.values())


def _processes(listed: Any) -> dict[str, dict[str, str]]:
    """Return the processes that ``ps`` lists, by number."""
    rows = listed.get("Processes", []) if isinstance(listed, dict) else []
    return {
        str(row.get("ID")): {"pid": str(row.get("PID", "")), "type": str(row.get("Type", "")).strip()}
        for row in rows
        if isinstance(row, dict)
    }
