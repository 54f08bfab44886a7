"""The statistics of a server for Prometheus: ``pip install "sipmi[metrics]"``.

>>> import sipmi
>>> server = sipmi.Server("billing", version="1.4")
>>> b'sipmi_info{name="billing",version="1.4"} 1.0' in exposition(server)
True
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional, Protocol

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
    )
except ImportError as _missing:
    raise ImportError("metrics need prometheus_client: pip install 'sipmi[metrics]'") from _missing

from ._core import Server as CoreServer
from ._core import latency_classes

__all__ = ["CONTENT_TYPE", "ServerCollector", "exposition"]

#: The content type of :func:`exposition`.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: The statistics of a histogram: the class's name, and its upper bound in seconds as Prometheus writes it.
_CLASSES = {name: "+Inf" if bound is None else repr(bound) for name, bound in latency_classes()}


class Counted(Protocol):
    """A server that counts."""

    _core: CoreServer

    @property
    def name(self) -> str:
        """The name of the server."""

    @property
    def version(self) -> str:
        """The version of the server."""


class ServerCollector:
    """Collects the statistics of a server for a registry of ``prometheus_client``.

    - ``sipmi_info``: name and version of the server.
    - ``sipmi_command_seconds``: a histogram for each command that was called (label ``command``: ``module.name``),
      and ``sipmi_command_errors_total``: its answers that say an error.
    - ``sipmi_transport_seconds``: a histogram for each transport (label ``transport``: its group in
      ``get_statistics``, such as ``mi_fifo``).
    - ``sipmi_statistic_total`` for statistics that grow and ``sipmi_statistic`` for others, those of
      ``Server.statistic`` included (labels ``group``, ``name``).

    >>> import sipmi
    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> registry.register(ServerCollector(sipmi.Server("billing")))
    """

    def __init__(self, server: Counted) -> None:
        self._server = server

    def describe(self) -> Iterator[Metric]:
        """Return nothing: the metrics depend on the commands that were called."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the statistics of the server."""
        info = InfoMetricFamily("sipmi", "The server")
        info.add_metric([], {"name": self._server.name, "version": self._server.version})
        yield info
        commands, transports = _Histograms(), _Histograms()
        errors = CounterMetricFamily("sipmi_command_errors", "Answers that say an error", labels=["command"])
        growing = CounterMetricFamily("sipmi_statistic", "Statistics that grow", labels=["group", "name"])
        others = GaugeMetricFamily("sipmi_statistic", "Statistics that do not grow", labels=["group", "name"])
        for group, name, grows, value in self._server._core.statistics():
            command, _, what = name.rpartition(".") if group == "mi_cmd" else ("", "", name)
            if group == "mi_cmd":
                if what == "errors":
                    errors.add_metric([command], value)
                commands.add(command, what, value)
            elif not transports.add(group, what, value):
                (growing if grows else others).add_metric([group, name], value)
        yield commands.family("sipmi_command_seconds", "command")
        yield errors
        yield transports.family("sipmi_transport_seconds", "transport")
        yield growing
        yield others


class _Histograms:
    """Histograms by label, put together from their statistics."""

    def __init__(self) -> None:
        self._classes: dict[str, dict[str, int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, label: str, what: str, value: int) -> bool:
        """Add a statistic; return whether it is a part of a histogram."""
        if what in _CLASSES:
            self._classes.setdefault(label, {})[what] = value
        elif what == "latency_us":
            self._sums[label] = value / 1e6
        else:
            return False
        return True

    def family(self, name: str, label: str) -> Metric:
        family = HistogramMetricFamily(name, "From request to answer", labels=[label])
        for of, counts in self._classes.items():
            total, buckets = 0, []
            for what, bound in _CLASSES.items():
                total += counts.get(what, 0)
                buckets.append((bound, float(total)))
            family.add_metric([of], buckets, self._sums.get(of, 0.0))
        return family


def exposition(server: Counted, *, registry: Optional[CollectorRegistry] = None) -> bytes:
    """All that a server counts, as ``GET /metrics`` of a listener with ``metrics=True`` answers it.

    :param registry: what else to show; nothing by default.
    """
    own = CollectorRegistry()
    own.register(ServerCollector(server))
    registries = [own] if registry is None else [own, registry]
    return b"".join(generate_latest(each) for each in registries)
