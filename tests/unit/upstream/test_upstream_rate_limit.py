"""How fast a limit pool may be used."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.upstream.base import Cost
from cache_service.upstream.limit_headers import LimitState
from cache_service.upstream.meter import (
    CUT,
    DAY,
    EASE,
    GRAIN,
    GUARD,
    LEAST_FACTOR,
    MINUTE,
    OTHERS_FORGOTTEN,
    REGAIN,
    Charge,
    Meter,
)
from cache_service.upstream.rate_limit import (
    Admit,
    Limits,
    Never,
    RateLimit,
    Wait,
    drain_seconds,
    refund_refusal,
    settle,
)
from cache_service.upstream.wording import RefusalText

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
    for _ in range(2):  # large calls go in pairs
        rate.reserve(IMAGE, 0.0)
    verdict = rate.decide(IMAGE, 0.0)
    assert isinstance(verdict, Wait)
    assert verdict.until == pytest.approx(6.0 * EASE, abs=0.3)


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
        assert settled._room_at(asked, now) >= exact._room_at(asked, now) - 1e-6
        assert settled._level_now(now) >= exact._level_now(now) - 1e-6


@given(errors=st.lists(st.floats(-0.3, 0.3), min_size=30, max_size=60))
def test_estimates_that_are_off_either_way_cost_none_of_the_rate(errors: list[float]) -> None:
    """What is settled late moves the pacing as much as what is used beyond: it holds the use, not the guesses."""
    meter, now = Meter(60_000), 0.0
    for error in errors:
        used = round(1_000 * (1 + error))
        charge = meter.charge("tokens", 1_000, now)
        settle((charge,), Cost(1, 0, used), now)
        assert meter._next - now == pytest.approx(used * meter.interval * EASE)
        now = meter._next


def test_what_has_leaked_already_is_not_given_back_again() -> None:
    """Five units are gone from the bucket after 35 s; giving them back must not take the next five out."""
    meter = Meter(10)
    early = meter.charge("images", 5, 0.0)
    meter.charge("images", 5, 35.0)
    meter.give_back(early, 5, 36.0)
    assert meter._level_now(36.0) == pytest.approx(5 - 10 / 60)
    assert meter._sent == 5


@given(reserved=st.integers(1, 50), used=st.integers(0, 60), later=st.floats(0, 70))
def test_what_is_settled_counts_as_what_was_used(reserved: int, used: int, later: float) -> None:
    """Within the minute the pool holds the use, neither more nor less."""
    rate = RateLimit(Limits(tokens=100))
    reservation = rate.reserve(Cost(1, 0, reserved), 0.0)
    settle(reservation, Cost(1, 0, used), later)
    expected = 0 if later >= MINUTE + GUARD else used
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


def test_a_daily_limit_is_learnt_from_its_refusal() -> None:
    """Limit 200, Used 200 a day: one request now and then, as the upstream's own bucket leaks, and none refused again."""
    rate = RateLimit(Limits())
    rate.observe_refusal(RefusalText("requests", "day", 200, 200, 1), 432.0, now=0.0)
    assert rate.decide(Cost(), 0.0) == Wait(432.0)
    first = send_when_admitted(rate, Cost(), 0.0)
    assert send_when_admitted(rate, Cost(), first) == pytest.approx(864.0)


def test_a_daily_limit_of_tokens_is_obeyed_by_its_wait_alone() -> None:
    rate = RateLimit(Limits())
    rate.observe_refusal(RefusalText("tokens", "day", 200, 200, 1), 432.0, now=0.0)
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


# --- what isn't configured: learnt, slowed, forgotten ---------------------------------------------------------------


def images_state(limit: float, used: float = 1, *, bucket: bool = True) -> LimitState:
    return LimitState("images", limit, used, bucket)


def test_a_refusal_that_nothing_explains_slows_down_and_admissions_speed_up_again() -> None:
    """Four per cent less for a refusal, so much more for a hundred admissions; never below a fifth."""
    meter = Meter(60)
    meter.refused(at=0.0, now=1.0)
    assert meter.factor == pytest.approx(1 - CUT)
    for _ in range(100):
        meter.admitted()
    assert meter.factor == pytest.approx(1 - CUT + 100 * REGAIN)
    for second in range(2, 100):
        meter.refused(at=float(second), now=float(second))
    assert meter.factor == LEAST_FACTOR


def test_calls_that_were_on_their_way_together_slow_down_once() -> None:
    meter = Meter(60)
    for _ in range(10):
        meter.refused(at=0.5, now=1.0)
    assert meter.factor == pytest.approx(1 - CUT)


def test_slow_down_cuts_the_pace_to_seven_tenths_and_it_grows_back_by_half_in_a_quarter_of_an_hour() -> None:
    rate = RateLimit(Limits(images=60))
    rate.slow_down(sent_at=0.0, now=10.0)
    rate.slow_down(sent_at=5.0, now=10.0)  # sent before the first word
    assert rate.pace(10.0) == pytest.approx(0.7)
    (charge,) = rate.reserve(IMAGE, 10.0)
    assert charge.interval == pytest.approx((MINUTE + GUARD) / 60 / 0.7)
    assert rate.pace(10.0 + 450.0) == pytest.approx(0.7 * 1.5**0.5)
    assert rate.pace(10.0 + 900.0) == 1.0


def test_a_limit_told_by_headers_holds_and_comes_back_by_them() -> None:
    rate = RateLimit()
    rate.observe_headers([images_state(50)], 0.0, 10.0)
    assert rate.meters["images"].limit == 50
    rate.observe_refusal(RefusalText("images", "min", 25, 25, 1), 2.4, now=20.0)
    rate.observe_headers([images_state(50)], 19.0, 30.0)  # of a call sent before the change
    assert rate.meters["images"].limit == 25
    rate.observe_headers([images_state(50)], 21.0, 40.0)
    assert rate.meters["images"].limit == 50


def test_a_learnt_limit_is_doubted_after_an_hour_and_set_right_by_a_refusal() -> None:
    """Nothing says that it was raised again; so it is tried, slowly, and at most to 16 times of what was known."""
    rate = RateLimit()
    text = RefusalText("images", "min", 20, 20, 1)
    rate.observe_refusal(text, 3.0, now=0.0)
    for minute in range(60):
        rate.decide(IMAGE, minute * MINUTE)
    assert rate.meters["images"].limit == 20
    grown = []
    for minute in range(60, 200):
        rate.decide(IMAGE, minute * MINUTE)
        grown.append(rate.meters["images"].limit)
    assert grown == sorted(grown)
    assert grown[15] == pytest.approx(20 * 1.05**15, rel=0.06)
    assert grown[-1] == 320
    rate.observe_refusal(text, 3.0, now=200 * MINUTE)
    rate.decide(IMAGE, 230 * MINUTE)
    assert rate.meters["images"].limit == 20


def test_a_pool_that_was_slowed_down_is_fast_again_in_the_end() -> None:
    """Also one that is hardly used, which no admissions speed up."""
    rate = RateLimit(Limits(images=5))
    for minute in range(30):
        rate.refused("images", minute * MINUTE, minute * MINUTE)
    assert rate.meters["images"].factor == LEAST_FACTOR
    rate.decide(IMAGE, 60 * MINUTE)
    assert rate.meters["images"].factor == LEAST_FACTOR
    for step in range(400):
        rate.decide(IMAGE, 90 * MINUTE + step * 30.0)
    assert rate.meters["images"].factor == 1.0


def test_a_days_limit_needs_two_answers_in_a_row() -> None:
    """A window's figures look like a day's bucket once, by chance; it would stop the pool for hours."""
    day = LimitState("requests_per_day", 10_000, 1, True)
    rate = RateLimit()
    rate.observe_headers([day], 0.0, 1.0)
    rate.observe_headers([LimitState("requests", 10_000, 1, True)], 1.0, 2.0)
    rate.observe_headers([day], 2.0, 3.0)
    assert "requests_per_day" not in rate.meters
    rate.observe_headers([day], 3.0, 4.0)
    assert rate.meters["requests_per_day"].limit == 10_000


def test_a_days_requests_may_go_at_once_and_then_as_the_day_leaks() -> None:
    rate = RateLimit(Limits(requests_per_day=200))
    for _ in range(200):
        assert rate.decide(Cost(), 0.0) == Admit()
        rate.reserve(Cost(), 0.0)
    verdict = rate.decide(Cost(), 0.0)
    assert isinstance(verdict, Wait)
    assert verdict.until == pytest.approx(DAY / 200)


def test_a_refused_request_stays_counted_in_the_day() -> None:
    rate = RateLimit(Limits(requests_per_day=200))
    refund_refusal(rate.reserve(IMAGE, 0.0), 0.05)
    assert rate.used(0.05)["requests_per_day"] == pytest.approx(1, abs=0.01)


def sample(rate: RateLimit, charge: Charge, used: float, now: float) -> float:
    """What the mirror holds after an answer told that much used."""
    rate.observe_sample((charge,), images_state(50, used), IMAGE, now)
    return rate.meters["images"]._level_now(now)


def test_what_others_took_goes_into_the_mirror_once() -> None:
    """Two answers about the same use of others, known only after both were sent, add it once."""
    rate = RateLimit(Limits(images=50))
    (first,) = rate.reserve(IMAGE, 0.0)
    (second,) = rate.reserve(IMAGE, 1.3)
    held = sample(rate, first, 30, 20.0)
    assert held == pytest.approx(30 + 1 - 20 * 50 / MINUTE)  # what leaked since is gone
    assert sample(rate, second, 30, 20.0) == pytest.approx(held, abs=0.1)


def test_an_old_answer_says_nothing_new_and_none_lowers_the_mirror() -> None:
    rate = RateLimit(Limits(images=50))
    (first,) = rate.reserve(IMAGE, 0.0)
    (second,) = rate.reserve(IMAGE, 1.3)
    held = sample(rate, second, 30, 20.0)
    assert sample(rate, first, 49, 20.0) == held
    (third,) = rate.reserve(IMAGE, 20.0)
    assert sample(rate, third, 1, 20.0) == pytest.approx(held + 1)


def test_a_smaller_own_limit_has_no_use_for_others_counts() -> None:
    """Configured 10 of 50: others may have taken 30 of 50, and still 10 are ours."""
    rate = RateLimit(Limits(images=10))
    (charge,) = rate.reserve(IMAGE, 0.0)
    assert sample(rate, charge, 30, 0.0) == 1


@pytest.mark.parametrize(("fullest", "regained"), [(45, True), (8, False)])
def test_a_bucket_that_is_told_to_be_nearly_empty_brings_the_factor_back(fullest: float, regained: bool) -> None:
    """A burst of others is over. One that never was fuller may be cut into slices, and is full at a sixth."""
    rate = RateLimit(Limits(images=50))
    (charge,) = rate.reserve(IMAGE, 0.0)
    sample(rate, charge, fullest, 10.0)
    for _ in range(10):
        rate.refused("images", 12.0, 12.0)
    slowed = rate.meters["images"].factor
    for call in range(100):
        (charge,) = rate.reserve(IMAGE, 100.0 + 2 * call)
        sample(rate, charge, 4, 110.0 + 2 * call)
    assert (rate.meters["images"].factor >= min(1.0, slowed + 0.25)) is regained
    assert slowed < 0.8


calls_of_pools = st.lists(st.tuples(st.booleans(), st.floats(0, 8), st.integers(1, 4)), min_size=4, max_size=40)


@given(calls=calls_of_pools, merged_after=st.integers(1, 30))
def test_two_counts_of_one_limit_hold_it_together_once_merged(
    calls: list[tuple[bool, float, int]], merged_after: int
) -> None:
    """After the merge, no minute that begins later holds more than the limit; what went before counts."""
    first, second = RateLimit(Limits(images=8)), RateLimit(Limits(images=8))
    now, sent = 0.0, []
    for number, (of_first, pause, images) in enumerate(calls):
        if number == merged_after:
            first.absorb(second, now)
            sent.append((now, 0))
        rate = first if of_first or number >= merged_after else second
        at = send_when_admitted(rate, Cost(1, images, 0), now + pause)
        now = max(now, at)
        sent.append((now, images))
        if number >= merged_after:
            assert sum(units for when, units in sent if now - MINUTE < when <= now) <= 8


# --- what others take of a window ------------------------------------------------------------------------------------


def window_of(meter: Meter, others: int, until: float, start: float = 0.0) -> float:
    """A call whenever one may go, each answered 10 s later with what the upstream's minute counted then; the next free time."""
    now = start
    pending: list[tuple[float, Charge, float]] = []
    while now < until:
        while pending and pending[0][0] <= now:
            _, charge, used = pending.pop(0)
            meter.observe_window(charge, 1, used, now)
        if meter.earliest(1, now) <= now:
            charge = meter.charge("images", 1, now)
            pending.append((now + 10, charge, meter.used(now) + others))
        now += 0.1
    return meter.used(now)


def test_room_is_left_for_what_others_take_of_a_window() -> None:
    """Thirty fit in the minute, ten are others': our own are twenty."""
    meter = Meter(30)
    assert window_of(meter, others=10, until=600.0) == pytest.approx(20, abs=1)


def test_where_nobody_else_is_a_windows_count_costs_nothing() -> None:
    meter = Meter(20)
    assert window_of(meter, others=0, until=600.0) == pytest.approx(20, abs=1)


def test_what_was_sent_before_a_limit_was_known_is_not_others_doing() -> None:
    """The upstream's minute counts thirty of ours; this count began with the thirty-first."""
    meter = Meter(50)
    for second in range(20):
        charge = meter.charge("images", 1, float(second))
        meter.observe_window(charge, 1, 30 + meter.used(float(second)), second + 10.0)
    assert meter.earliest(20, 30.0) <= 30.0 + MINUTE
    assert not meter.crowded(50, 30.0)


def test_what_is_known_of_others_is_forgotten() -> None:
    meter = Meter(30)
    window_of(meter, others=10, until=300.0)
    now = 300.0 + 2 * OTHERS_FORGOTTEN
    for _ in range(29):
        now = max(now, meter.earliest(1, now))
        meter.charge("images", 1, now)
    assert meter.used(now) > 25


def test_a_refusal_that_known_others_explain_leaves_them_more_and_slows_nothing() -> None:
    meter = Meter(30)
    window_of(meter, others=10, until=300.0)
    before = meter.earliest(10, 300.0)
    assert meter.crowded(30, 300.0)
    assert meter.factor == 1.0
    assert meter.earliest(10, 300.0) >= before
    assert not Meter(30).crowded(30, 300.0)  # nobody is known


@given(errors=st.lists(st.floats(-0.3, 0.3), min_size=40, max_size=80))
def test_the_window_keeps_room_for_estimates_that_may_be_too_low(errors: list[float]) -> None:
    """As much as they have been off so far; none where they were right."""
    exact, guessed = Meter(60_000), Meter(60_000)
    now = 0.0
    for error in errors:
        for meter, used in ((exact, 500), (guessed, round(500 * (1 + error)))):
            charge = meter.charge("tokens", 500, now)
            settle((charge,), Cost(1, 0, used), now)
        now += 0.1
    now += 120.0
    while guessed.earliest(500, now) <= now:
        guessed.charge("tokens", 500, now)
    while exact.earliest(500, now) <= now:
        exact.charge("tokens", 500, now)
    assert guessed.used(now) <= exact.used(now)


def test_a_refusal_that_our_own_estimates_explain_is_not_others_doing() -> None:
    meter = Meter(60_000)
    for second in range(100):
        charge = meter.charge("tokens", 500, second * 0.5)
        settle((charge,), Cost(1, 0, 400 if second % 2 else 600), second * 0.5)
    open_ones = [meter.charge("tokens", 500, 50.0) for _ in range(20)]
    assert meter.explains(meter.used(50.0) + 300, 50.0)
    assert not meter.explains(meter.used(50.0) + 10_000, 50.0)
    assert len(open_ones) == 20


def test_what_others_took_once_costs_nothing_later() -> None:
    """An average that goes towards zero must not keep back the last unit of each minute."""
    meter = Meter(20)
    window_of(meter, others=10, until=120.0)
    assert window_of(meter, others=0, until=1_200.0, start=120.0) == pytest.approx(20, abs=0.5)
