"""The drift of applied plans for Prometheus: :class:`DriftCollector`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._host import Host

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Seconds for which a collected drift is given again: to plan anew reads some hundred files.
SHORTEST_INTERVAL = 10.0


class DriftCollector:
    """Collects the drift of a machine's applied plans for a registry of ``prometheus_client``.

    - ``sipmi_affinity_plans``: how many plans are applied.
    - ``sipmi_affinity_drift``: how many items of a plan have moved since (label ``journal``); -1 for a journal that
      cannot be compared.

    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> registry.register(DriftCollector(Host()))
    >>> registry.get_sample_value("sipmi_affinity_plans") is not None
    True
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._collected: list[Metric] = []
        self._expires = 0.0

    def describe(self) -> list[Metric]:
        """Return nothing: the machine is not looked at before a scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; a scrape within ten seconds of another one gets the same."""
        now = time.monotonic()
        if now >= self._expires:
            self._collected = self._look()
            self._expires = now + SHORTEST_INTERVAL
        return iter(self._collected)

    def _look(self) -> list[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        journals = self._host.journals()
        plans = GaugeMetricFamily("sipmi_affinity_plans", "Affinity plans that are applied", value=len(journals))
        drift = GaugeMetricFamily(
            "sipmi_affinity_drift", "Items of an affinity plan that have moved since", labels=["journal"]
        )
        for journal in journals:
            drift.add_metric([journal], self._count(journal))
        return [plans, drift]

    def _count(self, journal: str) -> int:
        try:
            return len(self._host.drift(journal))
        except (OSError, LookupError, ValueError):
            return -1
