"""Reads what an answer's headers tell about limits, and whose they are. Pure.

    x-ratelimit-limit-requests: 5000    x-ratelimit-remaining-requests: 4999    x-ratelimit-reset-requests: 12ms

`reset` is the time until nothing is used any more, not a wait. With a leaky bucket it is used * period / limit, and that is
how the period is found: 10000, 9999 and 8.64s are a limit a *day*, in the same header as a minute's. -1 and 0 mean nothing.
Names with `project-` are of the key's project, the others of its organisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from cache_service.upstream.meter import DAY, MINUTE, Dimension
from cache_service.upstream.wording import LevelName, parse_date, parse_duration

_NAMES: tuple[tuple[str, Dimension, LevelName], ...] = (
    ("requests", "requests", "organization"),
    ("project-requests", "requests", "project"),
    ("images", "images", "organization"),
    ("input-images", "images", "organization"),
    ("project-images", "images", "project"),
    ("project-input-images", "images", "project"),
    ("tokens", "tokens", "organization"),
    ("project-tokens", "tokens", "project"),
)
EXACT = 0.02
"""How far `reset` may be from the bucket's own arithmetic; the figures are rounded."""
SLIDES = 50.0
"""Seconds. A sliding minute is empty a minute after the last call; a calendar minute that has counted something ends sooner."""
FINEST = 0.005
"""Seconds to which a bucket's durations are told."""

Owner: TypeAlias = tuple[str, str]
"""Organisation and project (empty where it isn't told): who owns the limits that a key draws from."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit. bucket: `used` is the level of a leaky bucket, else what a window has counted. level: whose it is.

    sliding: that window is the minute before the answer, as far as one can see.
    """

    dimension: Dimension
    limit: float
    used: float
    bucket: bool
    level: LevelName = "organization"
    sliding: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What one answer told. owner: None where it named no organisation."""

    owner: Owner | None = None
    limits: tuple[LimitState, ...] = ()


def read_told(headers: Mapping[str, str]) -> Told:
    """What the headers tell. headers: names in lower case."""
    states: dict[tuple[str, Dimension], LimitState] = {}
    for name, dimension, level in _NAMES:
        if f"x-ratelimit-limit-{name}" not in headers:
            continue
        state = _state(headers, name, dimension, level)
        if state is None:
            continue
        known = states.get((level, state.dimension))
        if known is None or state.limit < known.limit:
            states[level, state.dimension] = state
    organization = headers.get("openai-organization", "")
    owner = (organization, headers.get("openai-project", "")) if organization else None
    return Told(owner, tuple(states.values()))


def period_of(limit: float, used: float, reset: float) -> tuple[float, bool] | None:
    """The period that fits, and whether the figures are a bucket's; None where they tell neither.

    A bucket's arithmetic is exact; a saturated sliding minute comes near it, and to it where
    nothing remains (reset 60 s, 50 of 50 used), which is why that doesn't count. Else only what can't be mistaken counts: a minute's window never lasts 90 s, and
    in its middle, used at an even pace, reset * limit / used is about a minute.
    """
    for period in (MINUTE, DAY):
        expected = used * period / limit
        if abs(reset - expected) <= max(EXACT * expected, FINEST):
            return period, used < limit and abs(reset - expected) <= FINEST
    if reset > 1.5 * MINUTE:
        return (DAY, False) if reset <= DAY else None
    return (MINUTE, False) if MINUTE / 2 <= reset * limit / used <= MINUTE * 1.5 else None


def _state(headers: Mapping[str, str], name: str, dimension: Dimension, level: LevelName) -> LimitState | None:
    limit = _number(headers.get(f"x-ratelimit-limit-{name}", ""))
    remaining = _number(headers.get(f"x-ratelimit-remaining-{name}", ""))
    reset = _seconds(headers.get(f"x-ratelimit-reset-{name}", ""), headers)
    if limit is None or remaining is None or reset is None:
        return None
    if limit <= 0 or reset <= 0 or not 0 <= remaining < limit:
        return None  # nothing is used, or nothing is meant
    found = period_of(limit, limit - remaining, reset)
    if found is None:
        return None
    period, bucket = found
    if period == DAY:
        if dimension != "requests":
            return None
        dimension = "requests_per_day"
    sliding = not bucket and period == MINUTE and reset >= SLIDES
    return LimitState(dimension, limit, limit - remaining, bucket, level, sliding)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _seconds(text: str, headers: Mapping[str, str]) -> float | None:
    """A Go duration, plain seconds, or (from some proxies) the time itself, against the answer's own `date`."""
    seconds = parse_duration(text)
    if seconds is None:
        seconds = _number(text)
    if seconds is not None or "T" not in text:
        return seconds
    sent = parse_date(headers.get("date", ""))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if sent is None or at.tzinfo is None else at.timestamp() - sent


def read_concurrent_limit(headers: Mapping[str, str]) -> int | None:
    """How many calls a relay in between allows at once, where it says so; no published API does."""
    value = _number(headers.get("x-concurrent-limit", ""))
    return int(value) if value is not None and value > 0 else None
