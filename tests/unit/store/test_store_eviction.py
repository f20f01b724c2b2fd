"""Which entries go: the rules as tables and properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.store.eviction import (
    POLICIES,
    SLACK,
    Bound,
    Bounds,
    Evictable,
    Excess,
    Held,
    Ranking,
    Worth,
    asked,
    chosen,
    made,
    ranking_for,
)

DAY = 86400.0
NOW = 1_800_000_000.0
amounts = st.integers(0, 10**6)


def worth(*times: float, usd: float | None = 0.04, blob_bytes: int = 10**6) -> Worth:
    """Of an entry made at the first of the times and asked for at the others."""
    its = made(times[0], blob_bytes, usd)
    for at in times[1:]:
        its = asked(its, 1, at)
    return its


@pytest.mark.parametrize(
    ("policy", "goes", "stays"),
    [
        ("lru", {"asked": (NOW, NOW + 1)}, {"asked": (NOW, NOW + 2)}),
        ("lru", {"asked": (NOW, NOW + 1, NOW + 1, NOW + 1)}, {"asked": (NOW, NOW + 2)}),
        ("lfu", {"asked": (NOW, NOW + 9)}, {"asked": (NOW, NOW + 1, NOW + 2)}),
        ("cost", {"asked": (NOW,), "usd": 0.01}, {"asked": (NOW,), "usd": 0.19}),
        ("cost", {"asked": (NOW,)}, {"asked": (NOW, NOW)}),
        ("cost", {"asked": (NOW,), "blob_bytes": 3 * 10**6}, {"asked": (NOW,)}),
        ("cost", {"asked": (NOW,), "usd": 0.04}, {"asked": (NOW, NOW, NOW, NOW, NOW), "usd": 0.01}),
        ("cost", {"asked": (NOW,), "usd": None}, {"asked": (NOW,), "usd": 0.02}),
    ],
)
def test_what_goes_first(policy: str, goes: dict[str, object], stays: dict[str, object]) -> None:
    """Each line: the first goes before the second."""
    ranking = Ranking(policy, 1e-5, 1e-9)  # type: ignore[arg-type]
    first, second = (
        worth(*how.pop("asked"), **how)  # type: ignore[misc,arg-type]
        for how in (dict(goes), dict(stays))
    )
    assert ranking.value(first) < ranking.value(second)


@given(st.lists(st.floats(0, DAY), min_size=1, max_size=10), st.sampled_from(sorted(POLICIES)))
def test_being_asked_for_never_lowers_a_priority(ago: list[float], policy: str) -> None:
    """Whatever the clock does."""
    ranking = Ranking(policy)  # type: ignore[arg-type]
    now = made(NOW, 10, 0.1)
    for each in ago:
        after = asked(now, 1, NOW - each)
        assert ranking.value(after) >= ranking.value(now)
        now = after


@given(st.dictionaries(st.sampled_from("abc"), st.builds(Held, amounts, amounts)), amounts, amounts, amounts)
def test_what_is_over_goes_down_to_just_below_the_bound(
    held: dict[str, Held], total: int, each: int, size: int
) -> None:
    """Once everything in excess is gone no bound is exceeded, and no more than the slack was freed beyond."""
    bounds = Bounds(Bound(total or None, size or None), Bound(each or None), {"a": Bound(None, size or None)})
    for _ in range(20):
        over = bounds.excess(held)
        if over is None:
            break
        names = [over.namespace] if over.namespace is not None else sorted(held, key=lambda n: -held[n].entries)
        entries, blob_bytes = max(over.entries, 0), max(over.blob_bytes, 0)
        for name in names:
            taken = Held(min(entries, held[name].entries), min(blob_bytes, held[name].blob_bytes))
            held[name] -= taken
            entries, blob_bytes = entries - taken.entries, blob_bytes - taken.blob_bytes
    assert bounds.excess(held) is None
    bound = Bounds(Bound(1000))
    over = bound.excess({"a": Held(2000)})
    assert over is not None
    assert 2000 - over.entries == math.floor(1000 * (1 - SLACK))


@given(st.lists(amounts, max_size=20), st.integers(-5, 20), st.integers(-5, 10**6))
def test_no_more_is_chosen_than_it_takes(sizes: list[int], entries: int, blob_bytes: int) -> None:
    """In the order given, and none without pictures where only bytes are too many."""
    candidates = [Evictable(number, "n", size) for number, size in enumerate(sizes)]
    excess = Excess(None, entries, blob_bytes)
    going = chosen(candidates, excess)
    assert [one.entry_id for one in going] == sorted(one.entry_id for one in going)
    if going:
        short = going[:-1]
        assert len(short) < max(entries, 0) or sum(one.blob_bytes for one in short) < blob_bytes
    if excess.only_pictures:
        assert all(one.blob_bytes for one in going)


def test_what_is_scarce_is_what_an_entry_pays_for() -> None:
    """Under a bound on entries alone size doesn't matter, under one on bytes only size does."""
    for bounds, alike in ((Bounds(Bound(1000)), True), (Bounds(each=Bound(blob_bytes=10**9)), False)):
        ranking = ranking_for("cost", bounds)
        small, large = (ranking.value(worth(NOW, blob_bytes=size)) for size in (1000, 10**6))
        assert (small == large) is alike
        assert small >= large


def test_what_is_larger_than_a_bound_never_fits() -> None:
    """It isn't stored, rather than that all else goes for it."""
    bounds = Bounds(Bound(10, 1000), named={"small": Bound(blob_bytes=100)})
    assert bounds.fits("any", Held(1, 1000))
    assert not bounds.fits("any", Held(1, 1001))
    assert not bounds.fits("small", Held(1, 101))
    assert not Bounds().any
