"""Decisions: freshness by RFC 9111, the threshold, and that only `Same` is ever served."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.decision import Directives, Hit, Judged, Miss, MissReason, StaleHit, decide_exact, decide_semantic
from cache_service.store.entry import Entry
from cache_service.verification.base import Different, Same, Unsure, Verdict


def entry(created: float = 0.0, expires: float | None = None, number: int = 1) -> Entry:
    return Entry(number, "k", "p", "n", "images", "m", "prompt", {}, {}, {}, (), created, expires, exact_only=False)


def test_nothing_stored_is_a_miss() -> None:
    assert decide_exact(None, Directives(), 0) == Miss(MissReason.NO_ENTRY)
    assert decide_exact(None, Directives(no_cache=True), 0) == Miss(MissReason.NO_CACHE)


@pytest.mark.parametrize(
    ("directives", "age", "expires", "kind"),
    [
        ({}, 10, None, Hit),
        ({}, 10, 11, Hit),
        ({}, 11, 11, Miss),  # section 4.2: fresh while its age is below its lifetime
        ({"max_age": 10}, 10, None, Hit),
        ({"max_age": 9}, 10, None, Miss),
        ({"min_fresh": 5}, 10, 15, Hit),
        ({"min_fresh": 6}, 10, 15, Miss),
        ({"max_stale": float("inf")}, 1000, 1, StaleHit),
        ({"max_stale": 5}, 10, 5, StaleHit),
        ({"max_stale": 4}, 10, 5, Miss),
        ({"max_stale": 100, "max_age": 9}, 10, 5, Miss),
        ({"no_cache": True}, 0, None, Miss),
    ],
)
def test_freshness(directives: dict[str, Any], age: float, expires: float | None, kind: type) -> None:
    assert isinstance(decide_exact(entry(0, expires), Directives(**directives), age), kind)


def test_stale_if_error_is_kept_for_the_error_only() -> None:
    decision = decide_exact(entry(0, 5), Directives(stale_if_error=10), 12)
    assert isinstance(decision, Miss)
    assert decision.fallback is not None
    assert (decision.fallback.allowed, decision.fallback.staleness) == ("stale-if-error", 7)
    late = decide_exact(entry(0, 5), Directives(stale_if_error=10), 16)
    assert isinstance(late, Miss)
    assert late.fallback is None


def test_a_clock_that_went_back_gives_age_zero() -> None:
    decision = decide_exact(entry(created=100), Directives(), 40)
    assert isinstance(decision, Hit)
    assert decision.age == 0


@pytest.mark.parametrize(("now", "ttl"), [(100, 10), (95, 5), (91, 1), (90, None), (0, None), (105, 5), (110, None)])
def test_what_a_clock_that_was_ahead_stored_is_not_immortal(now: float, ttl: float | None) -> None:
    """It is fresh within its lifetime of when it was made, on either side, and never says more than its lifetime."""
    decision = decide_exact(entry(created=100, expires=110), Directives(), now)
    assert (decision.ttl if isinstance(decision, Hit) else None) == ttl


VERDICT = st.sampled_from([Same("s"), Different("d"), Unsure("u")])
JUDGED = st.lists(st.tuples(st.floats(0.8, 1.0), VERDICT, st.none() | st.floats(0, 100)), max_size=6)


@given(JUDGED, st.none() | st.floats(0, 1), st.floats(0, 120))
def test_only_same_over_both_thresholds_is_ever_served(
    rows: list[tuple[float, Verdict, float | None]], asked: float | None, now: float
) -> None:
    judged = [
        Judged(entry(0, expires, n), similarity, verdict) for n, (similarity, verdict, expires) in enumerate(rows)
    ]
    decision = decide_semantic(judged, Directives(similarity=asked), 0.92, now)
    fit = [
        one
        for one in judged
        if isinstance(one.verdict, Same)
        and one.similarity >= max(0.92, asked or 0)
        and (one.entry.expires_at is None or one.entry.expires_at > now)
    ]
    if fit:
        assert isinstance(decision, Hit)
        assert decision.entry == fit[0].entry
    else:
        assert isinstance(decision, Miss)


def test_a_client_never_loosens_the_threshold() -> None:
    judged = [Judged(entry(), 0.9, Same("s"))]
    assert isinstance(decide_semantic(judged, Directives(similarity=0.1), 0.92, 0), Miss)
    assert isinstance(decide_semantic(judged, Directives(similarity=0.0), 0.92, 0), Miss)
    assert isinstance(decide_semantic(judged, Directives(), 0.9, 0), Hit)


def test_a_miss_says_what_was_nearest() -> None:
    decision = decide_semantic([Judged(entry(), 0.95, Different("count 3 / 4"))], Directives(), 0.92, 0)
    assert decision == Miss(MissReason.DIFFERENT, "different: count 3 / 4", 0.95)
