"""What is held in memory is counted; and who takes which events."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache_service.bounded import Bounded
from cache_service.instrumentation.events import Event, HitsUnrecorded, StepTimed, Takes, to_all
from cache_service.instrumentation.hot import HOT, TIERS, HotGauges
from cache_service.instrumentation.prometheus import PrometheusMetrics

PAGE = Path(__file__).parents[3] / "docs/reference/metrics.md"


def test_each_tier_says_how_much_it_holds_and_of_what_use_that_was() -> None:
    held: Bounded[str, int] = Bounded(100)
    held.put("a", 1, 40)
    for key in ("a", "a", "b"):
        held.get(key)
    metrics = PrometheusMetrics()
    metrics.collect_from(HotGauges({"entries": held}))
    lines = metrics.render()[0].decode().splitlines()
    for line in (
        'cache_service_hot_held{tier="entries"} 1.0',
        'cache_service_hot_held_bytes{tier="entries"} 40.0',
        'cache_service_hot_hits_total{tier="entries"} 2.0',
        'cache_service_hot_misses_total{tier="entries"} 1.0',
    ):
        assert line in lines


@pytest.mark.parametrize("name", HOT)
def test_every_one_is_documented(name: str) -> None:
    page = PAGE.read_text("utf-8")
    assert f"| `cache_service_{name}" in page
    assert HOT[name] in page
    assert ", ".join(f"`{tier}`" for tier in TIERS) in page


def test_an_event_goes_to_all_but_those_that_say_they_take_others() -> None:
    class Choosy:
        """Takes one kind."""

        def __init__(self) -> None:
            self.told: list[Event] = []
            self.takes: Takes = {HitsUnrecorded: self.told.append}

        def __call__(self, event: Event) -> None:
            self.takes[type(event)](event)

    choosy = Choosy()
    every: list[Event] = []
    tell = to_all(choosy, every.append)
    events = [StepTimed("images", "key", 0.1), HitsUnrecorded(1)]
    for event in events:
        tell(event)
    assert (choosy.told, every) == (events[1:], events)
