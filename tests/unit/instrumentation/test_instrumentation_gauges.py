"""What is asked for at each scrape: limit pools, keys and budgets as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache_service.budget import Use
from cache_service.instrumentation.events import UpstreamCalled
from cache_service.instrumentation.gauges import GAUGES, Gauges
from cache_service.instrumentation.prometheus import PrometheusMetrics
from cache_service.upstream.base import PoolUse

PAGE = Path(__file__).parents[3] / "docs/reference/metrics.md"
POOL = PoolUse(
    "art", ("art/key-1", "art/key-2"), {"images": 60.0, "tokens": None}, {"images": 12.5}, 3, keys_out=("art/key-2",)
)


def series(metrics: PrometheusMetrics) -> dict[str, float]:
    lines = (line for line in metrics.render()[0].decode().splitlines() if line.startswith("cache_service_"))
    return {
        name.removeprefix("cache_service_"): float(value) for name, _, value in (line.rpartition(" ") for line in lines)
    }


def test_pools_keys_and_budgets_are_shown_as_they_stand() -> None:
    """Also before anything was called; a limit that isn't there is infinite."""
    metrics = PrometheusMetrics()
    pools, budgets = [POOL], [Use("client", "web", 5.0, 1.25, 0.5), Use("day", "", 20.0, 3.0, 0.5)]
    metrics.collect_from(Gauges(lambda: pools, lambda: budgets, clock=lambda: 0.0))
    found = series(metrics)
    assert found['pool_limit{dimension="images",pool="art"}'] == 60
    assert found['pool_limit{dimension="tokens",pool="art"}'] == float("inf")
    assert found['pool_used{dimension="images",pool="art"}'] == 12.5
    assert found['pool_share_of_maximum_ratio{dimension="images",pool="art"}'] == 0
    assert found['pool_in_flight{pool="art"}'] == 3
    assert found['pool_healthy{pool="art"}'] == 1
    assert (found['key_healthy{key="art/key-1",pool="art"}'], found['key_healthy{key="art/key-2",pool="art"}']) == (
        1,
        0,
    )
    assert found['budget_limit_usd{client="web",scope="client"}'] == 5
    assert found['budget_spent_usd{client="",scope="day"}'] == 3
    assert found['budget_reserved_usd{client="web",scope="client"}'] == 0.5
    pools[:] = []
    assert 'pool_healthy{pool="art"}' not in series(metrics)


def test_the_share_of_the_maximum_is_what_was_made_of_what_could_have_been() -> None:
    """Over five minutes; refused calls make nothing; what is older is forgotten."""
    clock = {"now": 1000.0}
    gauges = Gauges(lambda: [POOL], list, clock=lambda: clock["now"])
    for _ in range(45):  # 60 a minute allowed
        clock["now"] += 1.0
        gauges(UpstreamCalled("images", "art/key-1", "ok", 10.0, 0.0, 1, 100, "art"))
        gauges(UpstreamCalled("images", "art/key-1", "rate_limit", 0.1, 0.0, 0, 0, "art"))
    clock["now"] += 45.0
    assert gauges.share(POOL, "images") == pytest.approx(0.5)
    assert gauges.share(POOL, "tokens") == 0
    clock["now"] += 400.0
    assert gauges.share(POOL, "images") == 0


def test_a_pool_at_its_limit_for_long_is_at_one() -> None:
    clock = {"now": 0.0}
    gauges = Gauges(lambda: [POOL], list, clock=lambda: clock["now"])
    for _ in range(3600):
        clock["now"] += 1.0
        gauges(UpstreamCalled("images", "art/key-1", "ok", 10.0, 0.0, 1, 100, "art"))
    assert gauges.share(POOL, "images") == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("name", GAUGES)
def test_every_gauge_is_documented(name: str) -> None:
    text, labels = GAUGES[name]
    shown = ", ".join(f"`{label}`" for label in labels)
    assert f"| `cache_service_{name}` | gauge | {shown} | {text} |" in PAGE.read_text("utf-8")
