"""What the headers of an answer tell about limits and their owner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.simulator.durations import go_duration
from cache_service.upstream.limit_headers import LimitState, Told, period_of, read_told
from cache_service.upstream.meter import DAY, MINUTE


def headers(name: str, limit: object, remaining: object, reset: object, **more: str) -> dict[str, str]:
    found = {
        f"x-ratelimit-limit-{name}": str(limit),
        f"x-ratelimit-remaining-{name}": str(remaining),
        f"x-ratelimit-reset-{name}": str(reset),
    }
    return found | {key.replace("_", "-"): value for key, value in more.items()}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (headers("requests", 5000, 4999, "12ms"), LimitState("requests", 5000, 1, True)),
        (headers("requests", 60, 59, "1s"), LimitState("requests", 60, 1, True)),
        (headers("requests", 10000, 9999, "8.64s"), LimitState("requests_per_day", 10000, 1, True)),
        (headers("tokens", 30000, 15000, "30s"), LimitState("tokens", 30000, 15000, True)),
        (headers("input-images", 5, 4, "12s"), LimitState("images", 5, 1, True)),
        (headers("project-tokens", 1000, 500, 30), LimitState("tokens", 1000, 500, True, "project")),
        (headers("requests", 500, 250, "45s"), LimitState("requests", 500, 250, False)),
        (headers("requests", 500, 250, "6h0m0s"), LimitState("requests_per_day", 500, 250, False)),
        (headers("requests", 60, 30, "2026-11-25T10:00:30Z", date="Wed, 25 Nov 2026 10:00:00 GMT"),
         LimitState("requests", 60, 30, True)),
    ],
)  # fmt: skip
def test_the_period_follows_from_the_figures(told: dict[str, str], expected: LimitState) -> None:
    assert read_told(told).limits == (expected,)


@pytest.mark.parametrize(
    "told",
    [
        headers("requests", -1, -1, "0s"),
        headers("requests", 0, 0, "0s"),
        headers("requests", 500, 500, "0s"),
        headers("requests", 500, -1, "1s"),
        headers("requests", 500, 400, "soon"),
        headers("requests", "many", 400, "1s"),
        headers("requests", "inf", 400, "1s"),
        headers("requests", 500, 499, "59s"),
        headers("tokens", 10_000, 9_999, "8.64s"),
        headers("requests", 60, 30, "2026-11-25T10:00:30Z"),
        {"x-ratelimit-limit-requests": "500"},
    ],
)
def test_what_means_nothing_teaches_nothing(told: dict[str, str]) -> None:
    assert read_told(told) == Told()


def test_the_owner_is_the_organisation_and_its_project() -> None:
    assert read_told({"openai-organization": "org-1", "openai-project": "p"}).owner == ("org-1", "p")
    assert read_told({"openai-organization": "org-1"}).owner == ("org-1", "")
    assert read_told({"openai-project": "p"}).owner is None


def test_an_organisations_limit_and_its_projects_are_told_apart() -> None:
    both = headers("requests", 10_000, 9_000, "6s") | headers("project-requests", 60, 59, "1s")
    assert read_told(both).limits == (
        LimitState("requests", 10_000, 1_000, True),
        LimitState("requests", 60, 1, True, "project"),
    )


def test_of_two_names_for_one_limit_the_smaller_is_taken() -> None:
    both = headers("images", 50, 49, "1.2s") | headers("input-images", 20, 19, "3s")
    assert read_told(both).limits == (LimitState("images", 20, 1, True),)


@given(limit=st.integers(1, 10**7), share=st.floats(0.0001, 1), period=st.sampled_from([MINUTE, DAY]))
def test_a_buckets_period_is_found_from_any_use_of_any_limit(limit: int, share: float, period: float) -> None:
    """Unless it is too little to tell a minute's milliseconds from a day's; then nothing is claimed that is wrong."""
    used = max(1, int(limit * share))
    reset = read_told(headers("requests", limit, limit - used, go_duration(used * period / limit))).limits
    if reset and used * DAY / limit > 0.05:
        assert reset[0].dimension == ("requests" if period == MINUTE else "requests_per_day")
        assert period_of(limit, used, used * period / limit) == (period, used < limit)


@pytest.mark.parametrize(("reset", "sliding"), [("59.2s", True), ("30s", False)])
def test_a_sliding_minute_is_told_from_a_calendar_minute(reset: str, sliding: bool) -> None:
    """The one is empty a minute after the last call, the other when it ends."""
    (state,) = read_told(headers("requests", 50, 5, reset)).limits
    assert (state.bucket, state.sliding) == (False, sliding)
