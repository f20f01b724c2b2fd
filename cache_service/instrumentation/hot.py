"""What is held in memory for exact hits, asked for at each scrape: how much, and how often it was of use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cache_service.bounded import Bounded

HOT: Final[Mapping[str, str]] = {
    "hot_held": "What is held in memory for exact hits: requests with their keys, entries, bodies as they go out.",
    "hot_held_bytes": "Memory that it takes, roughly.",
    "hot_hits": "How often something that was looked for there was held.",
    "hot_misses": "How often it wasn't.",
}
"""Name without prefix and `_total`: help. One label, `tier`."""

TIERS: Final = ("requests", "entries", "bodies")


class HotGauges(Collector):
    """A collector. tiers: by the label's value."""

    def __init__(self, tiers: Mapping[str, Bounded[Any, Any]]) -> None:
        self._tiers = tiers

    def collect(self) -> Iterable[Metric]:
        """As they stand."""
        families = _families()
        for name, tier in self._tiers.items():
            for family, value in zip(families, (len(tier), tier.weight, tier.hits, tier.misses), strict=True):
                family.add_metric([name], value)
        return families

    def describe(self) -> Iterable[Metric]:
        """The names, without asking anybody."""
        return _families()


def _families() -> list[GaugeMetricFamily | CounterMetricFamily]:
    kinds = (GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily, CounterMetricFamily)
    return [
        kind(f"cache_service_{name}", text, labels=["tier"])
        for kind, (name, text) in zip(kinds, HOT.items(), strict=True)
    ]
