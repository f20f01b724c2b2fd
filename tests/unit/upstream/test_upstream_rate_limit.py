"""How fast a limit pool may be used."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.upstream.base import Cost
from cache_service.upstream.rate_limit import (
    GRAIN,
    GUARD,
    MINUTE,
    Admit,
    Charge,
    Limits,
    Meter,
    Never,
    RateLimit,
    RefusalText,
    Wait,
    drain_seconds,
    refund_refusal,
    settle,
)

IMAGE = Cost(requests=1, images=1, tokens=1_756)


def send_when_admitted(rate: RateLimit, cost: Cost, now: float) -> float:
    """Waits as told and reserves; returns when."""
    verdict = rate.decide(cost, now)
    while isinstance(verdict, Wait):
        assert verdict.until > now
        now = verdict.until
        verdict = rate.decide(cost, now)
    assert verdict == Admit()
    rate.reserve(cost, now)
    return now


def most_in_a_minute(sent: list[tuple[float, int]]) -> int:
    """The largest sum in any half-open minute."""
    return max(sum(units for at, units in sent if start <= at < start + MINUTE) for start, _ in sent)


def test_what_is_not_limited_costs_nothing() -> None:
    rate = RateLimit(Limits())
    for _ in range(10_000):
        assert rate.decide(Cost(1, 10, 1_000_000), 5.0) == Admit()
        assert rate.reserve(Cost(1, 10, 1_000_000), 5.0) == ()


@pytest.mark.parametrize("limit", [5, 20, 50, 250, 5_000])
def test_a_limit_is_used_up_to_the_guard(limit: int) -> None:
    """Endless demand gets all of the limit but 0.4 %, evenly: at no time more than a quarter second's worth at once."""
    rate = RateLimit(Limits(images=limit))
    times = [0.0]
    while times[-1] < 10 * MINUTE:
        times.append(send_when_admitted(rate, Cost(1, 1, 0), times[-1]))
    assert len(times) - 1 >= 10 * limit * MINUTE / (MINUTE + GUARD + GRAIN)
    burst = 1 + limit * GUARD / MINUTE
    assert max(sum(1 for at in times[1:2_000] if start <= at < start + 1e-3) for start in times[1:200]) <= burst + 1


def test_an_idle_pool_admits_at_once_and_a_used_one_says_when() -> None:
    rate = RateLimit(Limits(images=5))
    assert rate.decide(IMAGE, 100.0) == Admit()
    rate.reserve(IMAGE, 100.0)
    verdict = rate.decide(IMAGE, 100.0)
    assert isinstance(verdict, Wait)
    assert 11.5 < verdict.until - 100.0 <= (MINUTE + GUARD) / 5


def test_the_scarcest_dimension_decides() -> None:
    rate = RateLimit(Limits(requests=1_000, images=1_000, tokens=17_560))
    rate.reserve(IMAGE, 0.0)
    verdict = rate.decide(IMAGE, 0.0)
    assert isinstance(verdict, Wait)
    assert verdict.until == pytest.approx(6.0, abs=0.3)


def test_more_pictures_than_a_minute_allows_never_fit() -> None:
    verdict = RateLimit(Limits(images=5)).decide(Cost(1, 6, 0), 0.0)
    assert verdict == Never("6 images in one call, where the limit is 5 a minute")


def test_an_estimate_of_tokens_above_the_limit_takes_the_whole_limit() -> None:
    """Chat without a maximum reserves the most that is possible; that must not shut small accounts out."""
    rate = RateLimit(Limits(tokens=30_000))
    assert rate.decide(Cost(1, 0, 128_000), 0.0) == Admit()
    (charge,) = rate.reserve(Cost(1, 0, 128_000), 0.0)
    assert charge.units == 30_000


def test_half_a_request_a_minute_is_one_in_two_minutes() -> None:
    rate = RateLimit(Limits(requests=0.5))
    first = send_when_admitted(rate, Cost(), 0.0)
    assert send_when_admitted(rate, Cost(), 0.0) - first == pytest.approx(2 * MINUTE + GUARD)


costs = st.builds(Cost, requests=st.just(1), images=st.integers(0, 4), tokens=st.integers(0, 4_000))


@given(
    calls=st.lists(st.tuples(st.floats(0, 40), costs), min_size=2, max_size=60),
    requests=st.integers(1, 30),
    images=st.integers(4, 30),
    tokens=st.integers(4_000, 20_000),
)
def test_never_more_than_the_limit_in_any_minute(
    calls: list[tuple[float, Cost]], requests: int, images: int, tokens: int
) -> None:
    """Whatever is asked and when: so a leaky bucket, a fixed minute and a sliding window of the upstream all hold."""
    rate = RateLimit(Limits(requests, images, tokens))
    now, sent = 0.0, []
    for pause, cost in calls:
        now = send_when_admitted(rate, cost, now + pause)
        sent.append((now, cost))
    for name, limit in (("requests", requests), ("images", images), ("tokens", tokens)):
        assert most_in_a_minute([(at, getattr(cost, name)) for at, cost in sent]) <= limit


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 30), st.integers(1, 10), st.integers(0, 10), st.floats(0, 90)), min_size=1, max_size=30
    ),
    asked=st.integers(1, 10),
)
def test_settling_is_never_ahead_of_having_reserved_the_right_amount(
    steps: list[tuple[float, int, int, float]], asked: int
) -> None:
    """Giving back makes no capacity out of nothing, however late it comes."""
    settled, exact = Meter(10), Meter(10)
    now = 0.0
    pending: list[tuple[float, Charge, int]] = []
    for pause, reserved, used, delay in steps:
        used = min(used, reserved)
        now += pause
        for due, charge, units in sorted((one for one in pending if one[0] <= now), key=lambda one: one[0]):
            settled.give_back(charge, units, due)
        pending = [one for one in pending if one[0] > now]
        pending.append((now + delay, settled.charge("images", reserved, now), reserved - used))
        if used:
            exact.charge("images", used, now)
        assert settled.earliest(asked, now) >= exact.earliest(asked, now) - 1e-6
        assert max(settled._next, now) >= max(exact._next, now) - 1e-6  # nor the pacing by itself, nor the mirror
        assert settled._level_now(now) >= exact._level_now(now) - 1e-6


def test_what_has_leaked_already_is_not_given_back_again() -> None:
    """Five units are gone from the bucket after 35 s; giving them back must not take the next five out."""
    meter = Meter(10)
    early = meter.charge("images", 5, 0.0)
    meter.charge("images", 5, 35.0)
    next_before = meter._next
    meter.give_back(early, 5, 36.0)
    assert meter._level_now(36.0) == pytest.approx(5 - 10 / 60)
    assert meter._next == next_before
    assert meter._sent == 5


@given(reserved=st.integers(1, 50), used=st.integers(0, 60), later=st.floats(0, 70))
def test_what_is_settled_counts_as_what_was_used(reserved: int, used: int, later: float) -> None:
    """Within the minute the pool holds the use, neither more nor less."""
    rate = RateLimit(Limits(tokens=100))
    reservation = rate.reserve(Cost(1, 0, reserved), 0.0)
    settle(reservation, Cost(1, 0, used), later)
    expected = max(0, used - reserved) if later >= MINUTE + GUARD else used
    if later < MINUTE or later >= MINUTE + GUARD:
        assert rate.used(later)["tokens"] >= expected
        assert rate.meters["tokens"]._sent == expected


def test_a_refused_call_costs_a_request_and_nothing_else() -> None:
    rate = RateLimit(Limits(requests=100, images=100, tokens=100_000))
    refund_refusal(rate.reserve(IMAGE, 0.0), 0.05)
    assert {name: round(units) for name, units in rate.used(0.05).items()} == {"requests": 1, "images": 0, "tokens": 0}


def test_the_mirror_waits_exactly_as_long_as_the_upstream_says() -> None:
    """Limit 30000, Used 29446, Requested 821: "try again in 534ms" is what our own arithmetic gives."""
    rate = RateLimit(Limits())
    rate.observe_refusal(RefusalText("tokens", "min", 30_000, 29_446, 821), 0.0, now=7.0)
    verdict = rate.decide(Cost(1, 0, 821), 7.0)
    assert isinstance(verdict, Wait)
    assert verdict.until == pytest.approx(7.0 + 0.534)
    assert rate.decide(Cost(1, 0, 821), 7.534) == Admit()
    assert rate.decide(Cost(1, 0, 554), 7.0) == Admit()


def test_an_unlimited_pool_learns_its_limit_from_a_refusal() -> None:
    """Without it, every waiting call would try again at the told time, and all but one be refused again."""
    rate = RateLimit(Limits())
    rate.observe_refusal(RefusalText("images", "min", 5, 5, 1), 12.0, now=0.0)
    first = send_when_admitted(rate, IMAGE, 0.0)
    assert first == pytest.approx(12.0)
    assert send_when_admitted(rate, IMAGE, first) - first == pytest.approx((MINUTE + GUARD) / 5, rel=0.02)


def test_a_daily_limit_is_obeyed_by_its_wait_alone() -> None:
    rate = RateLimit(Limits())
    rate.observe_refusal(RefusalText("requests", "day", 200, 200, 1), 432.0, now=0.0)
    assert rate.decide(Cost(), 0.0) == Wait(432.0)
    assert rate.meters == {}


def test_the_time_a_queue_needs_is_never_overstated() -> None:
    """A call is refused for its deadline only where it can't be met: the bound lies below what really happens."""
    for pools, ahead in itertools.product((1, 3), (0, 1, 7, 40)):
        rates = [RateLimit(Limits(images=5)) for _ in range(pools)]
        bound = drain_seconds(rates, Cost(ahead, ahead, 0), Cost(1, 1, 0))
        at = 0.0
        for _ in range(ahead + 1):
            rate = min(rates, key=lambda rate: rate.meters["images"].earliest(1, at))
            at = send_when_admitted(rate, Cost(1, 1, 0), at)
        assert bound <= at + 1e-6
        assert bound >= at - 2 * 12.1


def test_the_window_stays_small() -> None:
    """Ten thousand requests a minute keep at most some 1,200 rows."""
    rate = RateLimit(Limits(requests=10_000))
    now = 0.0
    for _ in range(15_000):
        now = send_when_admitted(rate, Cost(), now)
    assert len(rate.meters["requests"]._rows) <= 1_210
