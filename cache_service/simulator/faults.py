"""Everything that can go wrong upstream, as data: what, for whom, when, how often.

Pure: time and the random draw are arguments; a plan only counts down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from cache_service.simulator.limits import QuotaExhausted
from cache_service.simulator.refusals import Refusal, moderated, quota_exhausted, unknown_key, unknown_model


class FaultKind(StrEnum):
    """What goes wrong. The first group refuses, the second damages an answer, the third a stream."""

    SLOW_DOWN = "slow_down"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    MODEL_NOT_FOUND = "model_not_found"
    MODERATION_BLOCKED = "moderation_blocked"
    HTML_502 = "html_502"
    REDIRECT = "redirect"

    TRUNCATED_BODY = "truncated_body"
    """Content-Length tells more than is sent, then the connection closes."""
    SHORT_BODY = "short_body"
    """Content-Length tells, and the body is, only half of the JSON."""
    CUT_CHUNK = "cut_chunk"
    """A chunked body without its last chunk, then the connection closes."""
    WRONG_CONTENT = "wrong_content"
    """A 200 of plain text."""
    EMPTY_BODY = "empty_body"
    CUT_BASE64 = "cut_base64"
    """Valid JSON; the picture's base64 ends in the middle of a group of four."""
    CUT_PICTURE = "cut_picture"
    """Valid base64 of half a picture."""
    ERROR_IN_200 = "error_in_200"
    NO_DATA = "no_data"
    """A 200 without `data` or `choices`."""
    HUGE_BODY = "huge_body"
    GZIP_BOMB = "gzip_bomb"
    MANY_HEADERS = "many_headers"
    HUNG = "hung"
    """Nothing, until the client goes away."""
    HELD = "held"
    """Nothing, until the control route releases it; then the right answer."""
    DRIP = "drip"
    """The right answer, one byte a second."""

    STREAM_ERROR = "stream_error"
    """An error event after the stream began."""
    STREAM_CUT = "stream_cut"
    """The stream ends properly, but without `[DONE]` or `completed`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble and when it strikes.

    times: how many calls it strikes, None for no end. probability: of each call that it could strike. start, end: seconds
    on the simulator's clock, counted from its start. operation, model, key, marker: only calls of that operation, model,
    API key, or with that text in the prompt. status, code, message, headers: instead of the kind's own. size: of the
    huge body in bytes, of the bomb in megabytes, or the number of headers. delay: seconds before it strikes.
    """

    kind: FaultKind
    times: int | None = None
    probability: float = 1.0
    start: float = 0.0
    end: float = math.inf
    operation: str | None = None
    model: str | None = None
    key: str | None = None
    marker: str | None = None
    status: int | None = None
    code: str | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    delay: float = 0.0

    def strikes(self, call: CallFacts, elapsed: float, draw: float) -> bool:
        """Whether it strikes this call. elapsed: seconds since the simulator's start. draw: uniform in [0, 1)."""
        return (
            self.start <= elapsed < self.end
            and (self.operation is None or self.operation == call.operation)
            and (self.model is None or self.model == call.model)
            and (self.key is None or self.key == call.key)
            and (self.marker is None or self.marker in call.prompt)
            and draw < self.probability
        )


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a fault may look at."""

    operation: str
    model: str
    key: str
    prompt: str


class FaultPlan:
    """The faults that are due: those configured, and those added while running."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._due: list[tuple[Fault, int | None]] = [(fault, fault.times) for fault in faults]

    def add(self, fault: Fault) -> None:
        """From now on this one too; it goes before those that are there."""
        self._due.insert(0, (fault, fault.times))

    def clear(self) -> None:
        """No faults any more."""
        self._due.clear()

    def choose(self, call: CallFacts, elapsed: float, draw: Callable[[], float]) -> Fault | None:
        """The first fault that strikes this call, counted down; `draw` is asked once for each fault with a probability."""
        for index, (fault, left) in enumerate(self._due):
            drawn = 0.0 if fault.probability >= 1.0 else draw()
            if left != 0 and fault.strikes(call, elapsed, drawn):
                if left is not None:
                    self._due[index] = (fault, left - 1)
                return fault
        return None


REFUSALS: Mapping[FaultKind, Refusal] = {
    FaultKind.SLOW_DOWN: Refusal(
        429,
        "Slow down: your request rate grew too quickly. Reduce it to its original level and increase it gradually.",
        type="rate_limit_error",
        code="slow_down",
    ),
    FaultKind.RATE_LIMITED: Refusal(429, "Rate limit reached.", type="requests", code="rate_limit_exceeded"),
    FaultKind.OVERLOADED: Refusal(
        503,
        "Our servers are currently overloaded. Please try again later.",
        type="service_unavailable_error",
        code="server_is_overloaded",
    ),
    FaultKind.SERVER_ERROR: Refusal(
        500, "The server had an error while processing your request.", type="server_error", code="server_error"
    ),
    FaultKind.ERROR_IN_200: Refusal(
        200, "The server had an error while processing your request.", type="server_error", code="server_error"
    ),
    FaultKind.STREAM_ERROR: Refusal(
        200, "The server had an error while processing your request.", type="server_error", code="server_error"
    ),
    FaultKind.FORBIDDEN: Refusal(
        403,
        "Your organization must be verified to use this model.",
        code="organization_must_be_verified",
    ),
}
"""Refusals that are the same for every call."""


REFUSING = frozenset(
    {
        FaultKind.SLOW_DOWN,
        FaultKind.RATE_LIMITED,
        FaultKind.OVERLOADED,
        FaultKind.SERVER_ERROR,
        FaultKind.INSUFFICIENT_QUOTA,
        FaultKind.UNAUTHORIZED,
        FaultKind.FORBIDDEN,
        FaultKind.MODEL_NOT_FOUND,
        FaultKind.MODERATION_BLOCKED,
    }
)
"""Kinds that refuse; the other refusals above stand inside an answer."""


def refusal_of(fault: Fault, call: CallFacts) -> Refusal | None:
    """The refusal that a fault of the first group makes (and the error object of an answer that holds one), or None."""
    match fault.kind:
        case FaultKind.UNAUTHORIZED:
            made = unknown_key(call.key)
        case FaultKind.MODEL_NOT_FOUND:
            made = unknown_model(call.model)
        case FaultKind.MODERATION_BLOCKED:
            made = moderated(call.operation)
        case FaultKind.INSUFFICIENT_QUOTA:
            made = quota_exhausted(QuotaExhausted("your organization"))
        case kind if kind in REFUSALS:
            made = REFUSALS[kind]
        case _:
            return None
    return Refusal(
        status=fault.status or made.status,
        message=fault.message or made.message,
        type=made.type,
        code=fault.code or made.code,
        param=made.param,
        headers={**made.headers, **fault.headers},
        extra=made.extra,
    )


def fault_from(wanted: Mapping[str, Any]) -> Fault:
    """The fault that a control call describes. Raises ValueError that says what is wrong."""
    known = {entry.name for entry in fields(Fault)}
    unknown = set(wanted) - known
    if unknown:
        raise ValueError(f"unknown members: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    try:
        values = {name: _PLAIN[name](value) for name, value in wanted.items() if value is not None}
        return Fault(**values)
    except (TypeError, ValueError, AttributeError) as exc:
        raise ValueError(str(exc)) from exc


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "kind": FaultKind,
    "times": int,
    "probability": float,
    "start": float,
    "end": float,
    "operation": str,
    "model": str,
    "key": str,
    "marker": str,
    "status": int,
    "code": str,
    "message": str,
    "headers": lambda value: {str(name): str(told) for name, told in value.items()},
    "size": int,
    "delay": float,
}
