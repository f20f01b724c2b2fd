"""What an error of the upstream means, and what is done next."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.upstream.retry import (
    BACKOFF_MOST,
    Elsewhere,
    Fault,
    FaultKind,
    GiveUp,
    Repeat,
    RetryBudget,
    backoff,
    classify,
    classify_error_in_success,
    next_step,
    only_error,
    refusal_wait,
)
from cache_service.upstream.wording import RefusalText, parse_duration, parse_refusal, parse_told_wait, parse_wait

TPM = (
    "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-1 on tokens per min (TPM): "
    "Limit 30000, Used 29446, Requested 821. Please try again in 534ms. Visit https://example.com to learn more."
)
TOO_LARGE = "Request too large for gpt-6 on tokens per min (TPM): Limit 30000, Requested 36278. Reduce it."


def fault_of(
    status: int, code: str | None = None, type_: str | None = None, message: str = "", **headers: str
) -> Fault:
    error: dict[str, Any] = {"message": message, "type": type_, "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, named, json.dumps({"error": error}).encode(), wall_clock=1_800_000_000.0)


@pytest.mark.parametrize(
    ("status", "code", "type_", "message", "kind"),
    [
        (429, "rate_limit_exceeded", "tokens", TPM, FaultKind.RATE_LIMIT),
        (429, "rate_limit_exceeded", "tokens", TOO_LARGE, FaultKind.TOO_LARGE),
        (429, "rate_limit_exceeded", "images", "on images per min: Limit 5, Requested 10", FaultKind.TOO_LARGE),
        (429, None, None, "", FaultKind.RATE_LIMIT),
        (429, "slow_down", "rate_limit_error", "", FaultKind.SLOW_DOWN),
        (503, "slow_down", None, "", FaultKind.SLOW_DOWN),
        (503, "server_is_overloaded", None, "", FaultKind.OVERLOADED),
        (500, None, "server_error", "", FaultKind.OVERLOADED),
        (502, None, None, "", FaultKind.OVERLOADED),
        (408, None, None, "", FaultKind.OVERLOADED),
        (409, None, None, "", FaultKind.OVERLOADED),
        (429, "insufficient_quota", "insufficient_quota", "", FaultKind.QUOTA),
        (429, "credit_balance_exhausted", "insufficient_quota", "", FaultKind.QUOTA),
        (429, "project_spend_limit_exceeded", "insufficient_quota", "", FaultKind.QUOTA),
        (429, "monthly_usage_limit_exceeded", None, "", FaultKind.QUOTA),
        (400, "billing_hard_limit_reached", None, "", FaultKind.QUOTA),
        (401, "invalid_api_key", "invalid_request_error", "", FaultKind.KEY),
        (401, None, None, "", FaultKind.KEY),
        (403, None, None, "", FaultKind.MODEL),
        (404, "model_not_found", "invalid_request_error", "", FaultKind.MODEL),
        (404, None, None, "", FaultKind.PERMANENT),
        (400, "moderation_blocked", "image_generation_user_error", "", FaultKind.PERMANENT),
        (400, "content_policy_violation", None, "", FaultKind.PERMANENT),
        (400, "invalid_value", "invalid_request_error", "", FaultKind.PERMANENT),
        (422, None, None, "", FaultKind.PERMANENT),
        (302, None, None, "", FaultKind.REDIRECT),
    ],
)
def test_an_error_is_judged_by_code_then_type_then_status(
    status: int, code: str | None, type_: str | None, message: str, kind: FaultKind
) -> None:
    assert fault_of(status, code, type_, message).kind is kind


@pytest.mark.parametrize("body", [b"", b"<html>502 Bad Gateway</html>", b"[]", b'{"error": "text"}', b"[" * 100_000])
def test_an_error_without_an_error_object_is_judged_by_its_status(body: bytes) -> None:
    assert classify(502, {}, body, 0.0).kind is FaultKind.OVERLOADED
    assert classify(400, {}, body, 0.0).kind is FaultKind.PERMANENT


def test_the_text_of_a_refusal_gives_the_state_of_the_bucket() -> None:
    fault = fault_of(429, "rate_limit_exceeded", "tokens", TPM)
    assert fault.refusal == RefusalText("tokens", "min", 30_000, 29_446, 821, "organization", "gpt-image")
    assert fault.wait == pytest.approx(0.534)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("… on requests per min (RPM): Limit 3, Used 3, Requested 1.", RefusalText("requests", "min", 3, 3, 1)),
        ("… on images per min: Limit 5, Used 5, Requested 1.", RefusalText("images", "min", 5, 5, 1)),
        ("… on input-images per min (IPM): Limit 4,000, Used 4,000", RefusalText("images", "min", 4_000, 4_000)),
        ("… on requests per day (RPD): Limit 200, Used 200, Requested 1.", RefusalText("requests", "day", 200, 200, 1)),
        ("… on tokens per min (TPM): Limit: 10000 / min.", RefusalText("tokens", "min", 10_000)),
        ("Rate limit reached.", None),
        ("on bananas per min: Limit 3", None),
        ("on " + "a" * 100_000 + " per min", None),
    ],
)
def test_wordings_of_refusals(message: str, expected: RefusalText | None) -> None:
    assert parse_refusal(message) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("534ms", 0.534),
        ("12s", 12),
        ("6m0s", 360),
        ("1h2m3.5s", 3_723.5),
        ("8.64s", 8.64),
        ("120ms", 0.12),
        ("15µs", 15e-6),
    ],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert parse_told_wait(f"Please try again in {text}. Visit …") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "1d", "5s!", "5sx"])
def test_what_is_no_go_duration(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1", "retry-after-ms": "534"}, 0.534),
        ({"retry-after-ms": "1500.5"}, 1.5005),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30),  # by our own clock
        (
            {"retry-after": "Fri, 15 Jan 2027 09:00:30 GMT", "date": "Fri, 15 Jan 2027 09:00:10 GMT"},
            20,
        ),  # theirs is skewed
        ({"retry-after": "Fri, 15 Jan 2027 07:00:30 GMT", "date": "Fri, 15 Jan 2027 07:00:10 GMT"}, 20),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, None),  # past
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e300"}, 86_400),  # nothing is longer than a daily limit
        ({}, None),
    ],
)
def test_a_wait_is_read_from_every_kind_of_header(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_wait(headers, wall_clock=1_800_000_000.0) == (None if seconds is None else pytest.approx(seconds))


def test_headers_beat_the_text() -> None:
    assert fault_of(429, "rate_limit_exceeded", "tokens", TPM, retry_after="2").wait == 2
    assert fault_of(429, "rate_limit_exceeded", "tokens", TPM, retry_after="2", retry_after_ms="600").wait == 0.6


def test_a_200_with_only_an_error_is_the_error_it_names() -> None:
    body = json.dumps({"error": {"code": "rate_limit_exceeded", "message": TPM}}).encode()
    error = only_error(body)
    assert error is not None
    fault = classify_error_in_success(error, {}, body, 0.0)
    assert (fault.kind, fault.status) == (FaultKind.RATE_LIMIT, 429)
    moderated = classify_error_in_success(
        {"code": "moderation_blocked"}, {}, b'{"error": {"code": "moderation_blocked"}}', 0
    )
    assert (moderated.kind, moderated.status) == (FaultKind.PERMANENT, 400)


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [], "error": {"code": "x"}}',
        b'{"choices": [], "error": {"code": "x"}}',
        b'{"error": null}',
        b"{}",
        b"",
        b"\xff",
    ],
)
def test_a_200_with_a_result_or_without_an_error_is_no_error(body: bytes) -> None:
    assert only_error(body) is None


def step(kind: FaultKind, attempts: int = 1, maybe_paid: int = 0, draw: float = 0.5, **known: Any) -> object:
    return next_step(Fault(kind, "", **known), attempts=attempts, most_attempts=3, maybe_paid=maybe_paid, draw=draw)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.RATE_LIMIT, Elsewhere(exclude=False)),
        (FaultKind.SLOW_DOWN, Elsewhere(exclude=False)),
        (FaultKind.QUOTA, Elsewhere(exclude=False)),
        (FaultKind.KEY, Elsewhere(exclude=False)),
        (FaultKind.MODEL, Elsewhere(exclude=True)),
        (FaultKind.TOO_LARGE, Elsewhere(exclude=True)),
        (FaultKind.OVERLOADED, Repeat(0.25)),
        (FaultKind.NOT_SENT, Repeat(0.25)),
        (FaultKind.BROKEN, Repeat(0.25)),
        (FaultKind.CUT, Repeat(0.25)),
        (FaultKind.PERMANENT, GiveUp()),
        (FaultKind.REDIRECT, GiveUp()),
        (FaultKind.ANSWER_TOO_LARGE, GiveUp()),
    ],
)
def test_what_follows_each_fault(kind: FaultKind, expected: object) -> None:
    assert step(kind) == expected


def test_every_kind_of_fault_has_a_next_step() -> None:
    for kind in FaultKind:
        assert isinstance(step(kind), (Elsewhere, Repeat, GiveUp))


def test_a_call_that_may_have_been_paid_is_repeated_once_and_no_more() -> None:
    """Whether it wasn't answered or its answer was cut."""
    assert step(FaultKind.TIMEOUT, maybe_paid=1) == Repeat(0.0)
    assert step(FaultKind.TIMEOUT, attempts=2, maybe_paid=2) == GiveUp()
    assert step(FaultKind.CUT, attempts=2, maybe_paid=2) == GiveUp()
    assert step(FaultKind.BROKEN, attempts=2, maybe_paid=0) != GiveUp()


def test_attempts_are_bounded() -> None:
    assert step(FaultKind.OVERLOADED, attempts=2) != GiveUp()
    assert step(FaultKind.OVERLOADED, attempts=3) == GiveUp()


def test_the_upstreams_order_beats_the_table() -> None:
    """`x-should-retry` is an order."""
    assert step(FaultKind.OVERLOADED, should_retry=False) == GiveUp()
    assert step(FaultKind.PERMANENT, should_retry=True) == Repeat(0.25)
    assert step(FaultKind.RATE_LIMIT, should_retry=False) == Elsewhere(exclude=True)


def test_a_told_wait_is_never_shortened() -> None:
    assert step(FaultKind.OVERLOADED, wait=7.0) == Repeat(7.0)
    assert refusal_wait(Fault(FaultKind.RATE_LIMIT, "", wait=0.534), 3, 0.9) == 0.534
    assert refusal_wait(Fault(FaultKind.RATE_LIMIT, ""), 0, 0.0) > 0


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_back_off_is_drawn_from_zero_to_its_growing_bound(failures: int, draw: float) -> None:
    assert 0 <= backoff(failures, draw) <= min(BACKOFF_MOST, 0.5 * 2 ** min(failures, 20))


def test_repeats_stay_at_a_tenth_of_the_traffic() -> None:
    """While everything fails, the load grows by a tenth, not threefold."""
    budget = RetryBudget()
    repeats = 0
    for number in range(10_000):
        budget.called()
        repeats += budget.spend(now=number * 0.001)
    assert 990 <= repeats <= 1_030


def test_little_traffic_can_still_repeat() -> None:
    budget = RetryBudget()
    spent = sum(budget.spend(now=0.0) for _ in range(100))
    assert spent == 10
    assert not budget.spend(now=5.0)
    assert budget.spend(now=65.0)
