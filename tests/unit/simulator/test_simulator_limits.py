"""Limits belong to organisations, projects and model families; headers and refusals say exactly what the state is."""

from __future__ import annotations

import pytest

from cache_service.simulator.config import tier
from cache_service.simulator.durations import go_duration
from cache_service.simulator.limits import (
    Admitted,
    Cost,
    Dimension,
    Level,
    Limit,
    LimitPool,
    LimitPools,
    Never,
    OtherUse,
    QuotaExhausted,
    Wait,
)
from cache_service.simulator.refusals import limit_headers, rate_limited, too_large

OWNERS: dict[Level, str] = {"organization": "org-a", "project": "proj_a"}
MODEL = "gpt-image-2"


def pools(**limits: float) -> LimitPools:
    """One pool of organisation org-a."""
    return LimitPools([LimitPool("org-a", {Dimension(name): Limit(amount) for name, amount in limits.items()})])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.012, "12ms"),
        (0.120, "120ms"),
        (1.0, "1s"),
        (8.64, "8.64s"),
        (360.0, "6m0s"),
        (3723.5, "1h2m3.5s"),
        (0.0, "0s"),
        (0.0001, "1ms"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    """Rounded up to a millisecond."""
    assert go_duration(seconds) == text


@pytest.mark.parametrize(("limit", "remaining", "reset"), [(5000, 4999, "12ms"), (60, 59, "1s"), (500, 499, "120ms")])
def test_headers_have_the_upstream_s_arithmetic(limit: int, remaining: int, reset: str) -> None:
    """As in captured traffic: reset = used · 60 / limit."""
    table = pools(requests=limit)
    assert isinstance(table.admit(OWNERS, MODEL, Cost(), 0.0), Admitted)
    assert limit_headers(table.standings(OWNERS, MODEL, 0.0)) == {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": reset,
    }


def test_the_requests_header_may_be_the_daily_limit() -> None:
    """10000, 9999, 8.64s: whichever of minute and day has less left."""
    table = pools(requests=20_000, requests_per_day=10_000)
    table.admit(OWNERS, MODEL, Cost(), 0.0)
    headers = limit_headers(table.standings(OWNERS, MODEL, 0.0))
    assert headers["x-ratelimit-limit-requests"] == "10000"
    assert headers["x-ratelimit-remaining-requests"] == "9999"
    assert headers["x-ratelimit-reset-requests"] == "8.64s"


def test_a_refusal_over_tokens_tells_limit_used_requested_and_wait() -> None:
    """30000, 29446, 821: 534 ms, in the message and in both retry headers."""
    table = pools(tokens=30_000)
    table.admit(OWNERS, "gpt-x", Cost(tokens=29_446), 0.0)
    verdict = table.admit(OWNERS, "gpt-x", Cost(tokens=821), 0.0)
    assert isinstance(verdict, Wait)
    refusal = rate_limited(verdict, "gpt-x")
    assert "in organization org-a on tokens per min (TPM): Limit 30000, Used 29446, Requested 821." in refusal.message
    assert "Please try again in 534ms." in refusal.message
    assert (refusal.status, refusal.type, refusal.code) == (429, "tokens", "rate_limit_exceeded")
    assert refusal.headers == {"retry-after-ms": "534", "retry-after": "1"}
    assert isinstance(table.admit(OWNERS, "gpt-x", Cost(tokens=821), 0.534), Admitted)


def test_a_refusal_over_images_names_the_family() -> None:
    """5 of 5 used, 1 asked: 12 s."""
    table = LimitPools(tier(1, organization="org-a"))
    for _ in range(5):
        table.admit(OWNERS, MODEL, Cost(images=1), 0.0)
    verdict = table.admit(OWNERS, "gpt-image-1.5", Cost(images=1), 0.0)
    assert isinstance(verdict, Wait)
    refusal = rate_limited(verdict, "gpt-image-1.5")
    assert "(for limit gpt-image) in organization org-a on input-images per min" in refusal.message
    assert "Limit 5, Used 5, Requested 1. Please try again in 12s." in refusal.message
    assert refusal.headers["retry-after"] == "12"


def test_what_never_fits_is_told_so() -> None:
    """The words are "Request too large"; there is no wait."""
    table = pools(tokens=30_000)
    verdict = table.admit(OWNERS, "gpt-x", Cost(tokens=36_278), 0.0)
    assert isinstance(verdict, Never)
    refusal = too_large(verdict, "gpt-x")
    assert refusal.message.startswith("Request too large for gpt-x")
    assert "Limit 30000, Requested 36278" in refusal.message
    assert not refusal.headers


def test_a_refused_call_costs_a_request_and_nothing_else() -> None:
    """Remaining requests fall, remaining tokens and images stay."""
    table = pools(requests=10, tokens=1000, images=10)
    table.admit(OWNERS, MODEL, Cost(tokens=900, images=1), 0.0)
    assert isinstance(table.admit(OWNERS, MODEL, Cost(tokens=200, images=1), 0.0), Wait)
    remaining = {standing.dimension: standing.remaining for standing in table.standings(OWNERS, MODEL, 0.0)}
    assert remaining == {Dimension.REQUESTS: 8, Dimension.TOKENS: 100, Dimension.IMAGES: 9}


def test_keys_of_one_organisation_share_and_projects_have_their_own() -> None:
    """The project is full while the organisation isn't; another project still gets in, until the organisation is full."""
    table = LimitPools(
        [
            LimitPool("org-a", {Dimension.IMAGES: Limit(3)}),
            LimitPool("proj_a", {Dimension.IMAGES: Limit(2)}, level="project"),
        ]
    )
    one = Cost(images=1)
    other: dict[Level, str] = {"organization": "org-a", "project": "proj_b"}
    foreign: dict[Level, str] = {"organization": "org-b", "project": "proj_c"}
    assert isinstance(table.admit(OWNERS, MODEL, one, 0.0), Admitted)
    assert isinstance(table.admit(OWNERS, MODEL, one, 0.0), Admitted)
    refused = table.admit(OWNERS, MODEL, one, 0.0)
    assert isinstance(refused, Wait)
    assert refused.pool.owner == "proj_a"
    assert isinstance(table.admit(other, MODEL, one, 0.0), Admitted)
    assert isinstance(table.admit(other, MODEL, one, 0.0), Wait)
    assert isinstance(table.admit(foreign, MODEL, one, 0.0), Admitted)
    assert "x-ratelimit-remaining-project-input-images" in limit_headers(table.standings(OWNERS, MODEL, 0.0))


@pytest.mark.parametrize("burst", [1, 3])
def test_other_consumers_take_their_part(burst: int) -> None:
    """They take 20 of 50 a minute, steadily or in bursts: 29 a minute always get in, 40 don't."""
    limits = {Dimension.IMAGES: Limit(50)}
    for mine, all_in in ((29, True), (40, False)):
        table = LimitPools([LimitPool("org-a", limits, others=(OtherUse(calls_per_minute=20, burst=burst),))])
        got = [table.admit(OWNERS, MODEL, Cost(images=1), index * 60 / mine) for index in range(mine * 60)]
        assert all(isinstance(verdict, Admitted) for verdict in got) is all_in


def test_other_consumers_show_in_the_headers() -> None:
    """Remaining falls by what they took, and is back once they have gone."""
    others = (OtherUse(calls_per_minute=60, burst=10, end=5.0),)
    table = LimitPools([LimitPool("org-a", {Dimension.IMAGES: Limit(50)}, others=others)])
    assert [table.standings(OWNERS, MODEL, at)[0].remaining for at in (0.0, 60.0)] == [40, 50]


def test_limits_change_and_quota_ends_while_running() -> None:
    """As an operator's change or an empty credit balance does."""
    table = pools(images=5)
    assert table.change("org-a", Dimension.IMAGES, 1, 0.0)
    assert not table.change("org-z", Dimension.IMAGES, 1, 0.0)
    assert isinstance(table.admit(OWNERS, MODEL, Cost(images=2), 0.0), Never)
    table.exhausted.add("org-a")
    assert table.admit(OWNERS, MODEL, Cost(images=1), 0.0) == QuotaExhausted("org-a")


@pytest.mark.parametrize(
    ("number", "tokens", "images"),
    [(1, 100_000, 5), (2, 250_000, 20), (3, 800_000, 50), (4, 3_000_000, 150), (5, 8_000_000, 250)],
)
def test_usage_tiers_have_the_published_limits(number: int, tokens: int, images: int) -> None:
    """Tokens and images a minute of gpt-image-2."""
    (pool,) = tier(number)
    assert {name: limit.amount for name, limit in pool.limits.items()} == {
        Dimension.TOKENS: tokens,
        Dimension.IMAGES: images,
    }
