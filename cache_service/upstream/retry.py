"""What went wrong with a call, and what to do next. Pure.

An error is judged by `error.code`, then `error.type`, then the HTTP status; the tables below are the rules. A wait that the
upstream tells is obeyed to the millisecond and never shortened; where it tells none, the wait is drawn from
[0, min(8, 0.5 * 2^n)] s (full jitter, Brooker, "Exponential Backoff And Jitter").

There is no idempotency key, so a call whose answer was lost may be paid twice. That is why a time-out, or an answer that broke
off after it began, is repeated at most once, why an answer that was too large isn't asked for again, and why repeats have a budget: a tenth of the traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from cache_service.upstream.wording import RefusalText, parse_refusal, parse_told_wait, parse_wait


class FaultKind(StrEnum):
    """What went wrong; these words are also the outcomes in metrics."""

    RATE_LIMIT = "rate_limit"
    TOO_LARGE = "too_large"
    SLOW_DOWN = "slow_down"
    QUOTA = "quota"
    KEY = "key"
    MODEL = "model"
    OVERLOADED = "overloaded"
    PERMANENT = "refused"
    REDIRECT = "redirect"
    NOT_SENT = "not_sent"
    BROKEN = "broken"
    CUT = "cut"
    ANSWER_TOO_LARGE = "answer_too_large"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed call. `status` is None where there was no HTTP answer; `wait` in seconds, None where none was told."""

    kind: FaultKind
    detail: str
    status: int | None = None
    code: str | None = None
    wait: float | None = None
    should_retry: bool | None = None
    refusal: RefusalText | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Ask again for capacity at once: it costs no attempt. `exclude`: not in this pool any more."""

    exclude: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """Call again after `delay` seconds; costs an attempt and a part of the budget."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The fault is the answer."""


Step: TypeAlias = Elsewhere | Repeat | GiveUp

BY_CODE = {
    "rate_limit_exceeded": FaultKind.RATE_LIMIT,
    "slow_down": FaultKind.SLOW_DOWN,
    "server_is_overloaded": FaultKind.OVERLOADED,
    "server_error": FaultKind.OVERLOADED,
    "insufficient_quota": FaultKind.QUOTA,
    "credit_balance_exhausted": FaultKind.QUOTA,
    "billing_hard_limit_reached": FaultKind.QUOTA,
    "invalid_api_key": FaultKind.KEY,
    "model_not_found": FaultKind.MODEL,
    "moderation_blocked": FaultKind.PERMANENT,
    "content_policy_violation": FaultKind.PERMANENT,
}
BY_CODE_ENDING = {"_spend_limit_exceeded": FaultKind.QUOTA, "_usage_limit_exceeded": FaultKind.QUOTA}
BY_TYPE = {
    "insufficient_quota": FaultKind.QUOTA,
    "rate_limit_error": FaultKind.RATE_LIMIT,
    "server_error": FaultKind.OVERLOADED,
    "invalid_request_error": FaultKind.PERMANENT,
    "image_generation_user_error": FaultKind.PERMANENT,
}
BY_STATUS = {
    401: FaultKind.KEY,
    403: FaultKind.MODEL,
    408: FaultKind.OVERLOADED,
    409: FaultKind.OVERLOADED,
    429: FaultKind.RATE_LIMIT,
}
STATUS_OF_KIND = {
    FaultKind.RATE_LIMIT: 429,
    FaultKind.TOO_LARGE: 429,
    FaultKind.SLOW_DOWN: 429,
    FaultKind.QUOTA: 429,
    FaultKind.KEY: 401,
    FaultKind.MODEL: 404,
    FaultKind.OVERLOADED: 503,
    FaultKind.PERMANENT: 400,
}
"""The status of an error that came inside a 200."""

PACED = frozenset({FaultKind.RATE_LIMIT, FaultKind.SLOW_DOWN})
"""Refusals for the rate: the pool waits, the call goes to another one or waits with it."""
NEXT_KEY = PACED | {FaultKind.QUOTA, FaultKind.KEY}
ANOTHER_POOL = frozenset({FaultKind.MODEL, FaultKind.TOO_LARGE})
FREE = NEXT_KEY | ANOTHER_POOL
"""These cost no attempt."""
BACK_OFF = frozenset({FaultKind.OVERLOADED, FaultKind.NOT_SENT, FaultKind.BROKEN, FaultKind.CUT})
TRANSIENT = NEXT_KEY | {FaultKind.OVERLOADED}
"""After these the same request may succeed later."""

BACKOFF_BASE = 0.5
BACKOFF_MOST = 8.0
"""Seconds; both as the official client has them."""
LEAST_REFUSAL_WAIT = 0.05
MAYBE_PAID = frozenset({FaultKind.TIMEOUT, FaultKind.CUT})
"""The upstream was at work, or had ended its work, when the call was lost."""
MAYBE_PAID_REPEATED = 1
"""Such calls are repeated so many times, whichever of the two they were: each repeat may be paid twice."""


def classify(status: int, headers: Mapping[str, str], body: bytes, wall_clock: float) -> Fault:
    """The fault that an HTTP answer outside 2xx is.

    headers: names in lower case. wall_clock: Unix seconds, for a `retry-after` date in an answer that has no `date`.
    """
    if 300 <= status < 400:
        return Fault(FaultKind.REDIRECT, f"the upstream answered a redirect ({status}), which isn't followed", status)
    error = error_object(body) or {}
    code, type_ = _word(error.get("code")), _word(error.get("type"))
    message = error.get("message")
    text = message if isinstance(message, str) else ""
    refusal = parse_refusal(text)
    kind = _kind(status, code, type_)
    if kind is FaultKind.RATE_LIMIT and _never_fits(text, refusal):
        kind = FaultKind.TOO_LARGE
    wait = parse_wait(headers, wall_clock)
    return Fault(
        kind=kind,
        detail=f"the upstream answered {status}" + (f" ({code})" if code else ""),
        status=status,
        code=code,
        wait=parse_told_wait(text) if wait is None else wait,
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "").lower()),
        refusal=refusal,
        headers=headers,
        body=body,
    )


def classify_error_in_success(error: Mapping[str, Any], headers: Mapping[str, str], body: bytes, now: float) -> Fault:
    """The fault that a 200 with only an `error` object names, with the status it should have had."""
    kind = _kind(None, _word(error.get("code")), _word(error.get("type")))
    return classify(STATUS_OF_KIND[kind], headers, body, now)


def error_object(body: bytes) -> Mapping[str, Any] | None:
    """The `error` object of a JSON body, if it has one."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else None


def only_error(body: bytes) -> Mapping[str, Any] | None:
    """The `error` object of a body that holds no result beside it. A large body isn't looked at: it holds one."""
    if len(body) > 64 * 1024 or b'"error"' not in body:
        return None
    error = error_object(body)
    return error if error and not json.loads(body).keys() & {"data", "choices", "output"} else None


def next_step(fault: Fault, *, attempts: int, most_attempts: int, maybe_paid: int, draw: float) -> Step:
    """What to do after a fault.

    attempts: calls that count, this one included. maybe_paid: those of a kind in MAYBE_PAID, this one
    included. draw: from [0, 1).
    """
    if fault.kind in ANOTHER_POOL:
        return Elsewhere(exclude=True)
    if fault.kind in NEXT_KEY:
        # told not to come back: this pool is out for the call, another one isn't meant
        return Elsewhere(exclude=fault.should_retry is False and fault.kind in PACED)
    if fault.should_retry is False or attempts >= most_attempts:
        return GiveUp()
    if fault.kind in MAYBE_PAID and maybe_paid > MAYBE_PAID_REPEATED:
        return GiveUp()
    if fault.kind is FaultKind.TIMEOUT:
        return Repeat(0.0)  # it has waited long enough
    if fault.kind in BACK_OFF or fault.should_retry:
        return Repeat(max(fault.wait or 0.0, backoff(attempts - 1, draw)))
    return GiveUp()


def refusal_wait(fault: Fault, refusals: int, draw: float) -> float:
    """Seconds that a pool takes no calls after a refusal for its rate: as told, else longer with each refusal."""
    return fault.wait if fault.wait is not None else max(LEAST_REFUSAL_WAIT, backoff(refusals, draw))


def backoff(failures: int, draw: float) -> float:
    """Seconds to wait after that many earlier failures; full jitter."""
    return draw * min(BACKOFF_MOST, BACKOFF_BASE * 2.0 ** min(failures, 10))


class RetryBudget:
    """How many repeats are allowed: a tenth of the calls, and one a minute however few calls there are.

    Repeats during an outage would else multiply the load just when it hurts (Finagle's RetryBudget).
    """

    def __init__(self, share: float = 0.1, per_second: float = 1 / 60, most: float = 10.0) -> None:
        self._share, self._per_second, self._most = share, per_second, most
        self._saved = most
        self._at = float("-inf")

    def called(self) -> None:
        """A call began that is no repeat."""
        self._saved = min(self._most, self._saved + self._share)

    def spend(self, now: float) -> bool:
        """Takes one repeat; False if there is none left."""
        if self._at > float("-inf"):
            self._saved = min(self._most, self._saved + (now - self._at) * self._per_second)
        self._at = now
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


def _kind(status: int | None, code: str | None, type_: str | None) -> FaultKind:
    if code in BY_CODE:
        return BY_CODE[code]
    for ending, kind in BY_CODE_ENDING.items():
        if code and code.endswith(ending):
            return kind
    if type_ == "insufficient_quota":
        return FaultKind.QUOTA
    if status is None:
        return BY_TYPE.get(type_ or "", FaultKind.OVERLOADED)
    if status >= 500:
        return FaultKind.OVERLOADED
    return BY_STATUS.get(status, FaultKind.PERMANENT)


def _never_fits(text: str, refusal: RefusalText | None) -> bool:
    if "request too large" in text.lower():
        return True
    if refusal is None or refusal.limit is None or refusal.requested is None:
        return False
    return refusal.requested > refusal.limit


def _word(value: object) -> str | None:
    """A member that should be a short word, as text for logs and decisions."""
    if value is None or isinstance(value, (dict, list)):
        return None
    return str(value)[:64]
