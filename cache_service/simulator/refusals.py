"""Refusals in the upstream's words: status, `{"error": {message, type, param, code}}`, and the headers that say when to return."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cache_service.simulator.durations import go_duration, milliseconds
from cache_service.simulator.limits import Dimension, LimitPool, Never, QuotaExhausted, Standing, Wait


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no result. extra: further members of the error object."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def envelope(self) -> dict[str, Any]:
        """The body, before it becomes JSON."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": {**error, **self.extra}}


class Refused(Exception):
    """Carries a refusal out of the way of one request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


KINDS = {
    Dimension.REQUESTS: ("requests", "requests per min (RPM)"),
    Dimension.IMAGES: ("input-images", "input-images per min"),
    Dimension.TOKENS: ("tokens", "tokens per min (TPM)"),
    Dimension.DAILY_REQUESTS: ("requests", "requests per day (RPD)"),
}
"""The refusal's `type`, which is also the word in the headers, and how its message names the limit."""

MORE = "Visit https://platform.openai.com/account/rate-limits to learn more."


def rate_limited(verdict: Wait, model: str) -> Refusal:
    """429: used up for now; both headers say when it fits."""
    kind, label = KINDS[verdict.dimension]
    wait = milliseconds(verdict.seconds)
    return Refusal(
        429,
        f"Rate limit reached for {model}{_for(verdict.pool)} on {label}: Limit {verdict.limit}, Used {verdict.used}, "
        f"Requested {verdict.requested}. Please try again in {go_duration(verdict.seconds)}. {MORE}",
        type=kind,
        code="rate_limit_exceeded",
        headers={"retry-after-ms": str(wait), "retry-after": str(math.ceil(wait / 1000))},
    )


def too_large(verdict: Never, model: str) -> Refusal:
    """429: larger than the whole limit, so that waiting is no use."""
    kind, label = KINDS[verdict.dimension]
    return Refusal(
        429,
        f"Request too large for {model}{_for(verdict.pool)} on {label}: Limit {verdict.limit}, "
        f"Requested {verdict.requested}. The input or output tokens must be reduced in order to run successfully. {MORE}",
        type=kind,
        code="rate_limit_exceeded",
    )


def quota_exhausted(verdict: QuotaExhausted) -> Refusal:
    """429: nothing more is paid for."""
    return Refusal(
        429,
        f"You exceeded your current quota ({verdict.owner}), please check your plan and billing details.",
        type="insufficient_quota",
        code="credit_balance_exhausted",
    )


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> Refusal:
    """400: the request can't be answered as it is."""
    return Refusal(400, message, param=param, code=code)


def unknown_key(key: str) -> Refusal:
    """401; of the key only its ends are told."""
    if not key:
        return Refusal(401, "You didn't provide an API key. Send it as `Authorization: Bearer YOUR_KEY`.")
    shown = f"{key[:3]}***{key[-4:]}" if len(key) > 12 else "***"
    return Refusal(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


def unknown_model(model: str) -> Refusal:
    """404: no such model, or no longer."""
    return Refusal(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )


def moderated(operation: str) -> Refusal:
    """400: permanent for the prompt."""
    if operation == "images":
        return Refusal(
            400,
            "Your request was rejected by the safety system.",
            type="image_generation_user_error",
            code="moderation_blocked",
            extra={"moderation_details": {"moderation_stage": "input", "categories": ["violence"]}},
        )
    return Refusal(400, "Your request was rejected by our usage policies.", code="content_policy_violation")


def limit_headers(standings: Iterable[Standing]) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-…`; of a minute's and a day's requests, the one with less left is told."""
    told: dict[str, Standing] = {}
    for standing in standings:
        level = "project-" if standing.level == "project" else ""
        name = level + KINDS[standing.dimension][0]
        if name not in told or standing.remaining < told[name].remaining:
            told[name] = standing
    headers = {}
    for name, standing in told.items():
        headers[f"x-ratelimit-limit-{name}"] = str(standing.limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(standing.remaining)
        headers[f"x-ratelimit-reset-{name}"] = go_duration(standing.reset)
    return headers


def _for(pool: LimitPool) -> str:
    family = f" (for limit {pool.family})" if pool.family else ""
    return f"{family} in {pool.level} {pool.owner}"
