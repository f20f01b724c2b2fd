"""Reads what the upstream tells about waiting: headers, Go durations and the text of a 429. Pure.

    Rate limit reached for M in organization O on tokens per min (TPM): Limit 30000, Used 29446, Requested 821.
    Please try again in 534ms. Visit …

`retry-after-ms` is exact and beats `retry-after`, which is seconds (rounded up) or an HTTP date; the text comes last. A date
is read against the same answer's `date` header, so that a skewed clock on either side doesn't matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

from cache_service.upstream.meter import Dimension

LevelName: TypeAlias = Literal["organization", "project"]

LONGEST_WAIT = 86_400.0
"""Seconds. The longest limits are daily; a larger figure is an error, and would close a pool for ever."""
LONGEST_TEXT = 2_000

_NUMBER = r"([\d][\d,]*(?:\.\d+)?)"
_WHAT = re.compile(r"\bon ([a-z][a-z -]{0,40}?) per (min|day)", re.IGNORECASE)
_LIMIT = re.compile(r"\bLimit:? " + _NUMBER)
_USED = re.compile(r"\bUsed:? " + _NUMBER)
_REQUESTED = re.compile(r"\bRequested:? " + _NUMBER)
_FAMILY = re.compile(r"\(for limit ([\w.-]{1,64})\)")
_PROJECT = re.compile(r"\bin project\b", re.IGNORECASE)
_TRY_AGAIN = re.compile(r"\btry again in ([\d.]+[a-zµ]+(?:[\d.]+[a-zµ]+)*)", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DIMENSIONS: tuple[tuple[str, Dimension], ...] = (("token", "tokens"), ("image", "images"), ("request", "requests"))


@dataclass(frozen=True, slots=True)
class RefusalText:
    """What a 429 says in words: which dimension, over which period ("min" or "day"), and the state of the upstream's bucket.

    level: whose limit it is. family: the name of the limit that several models share, empty where none is told.
    """

    dimension: Dimension
    period: str
    limit: float | None = None
    used: float | None = None
    requested: float | None = None
    level: LevelName = "organization"
    family: str = ""


def parse_refusal(message: str) -> RefusalText | None:
    """The state of the bucket that a 429's message tells, or None if it tells no dimension."""
    text = message[:LONGEST_TEXT]
    what = _WHAT.search(text)
    if what is None:
        return None
    dimension = next((name for word, name in _DIMENSIONS if word in what[1].lower()), None)
    if dimension is None:
        return None
    family = _FAMILY.search(text)
    return RefusalText(
        dimension,
        what[2].lower(),
        _number(_LIMIT, text),
        _number(_USED, text),
        _number(_REQUESTED, text),
        "project" if _PROJECT.search(text) else "organization",
        family[1] if family else "",
    )


def parse_told_wait(message: str) -> float | None:
    """Seconds of "Please try again in 1m20s", or None."""
    told = _TRY_AGAIN.search(message[:LONGEST_TEXT])
    return parse_duration(told[1].rstrip(".")) if told else None


def parse_duration(text: str) -> float | None:
    """Seconds of a Go duration ("1h2m3.5s", "6m0s", "120ms"), or None if it is none."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return min(sum(float(number) * _SECONDS[unit] for number, unit in parts), LONGEST_WAIT)


def parse_wait(headers: Mapping[str, str], wall_clock: float) -> float | None:
    """Seconds that the headers tell to wait, or None where they tell nothing usable (0, negative, no number)."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = _finite(headers.get(name, ""))
        if value is not None:
            return min(value * scale, LONGEST_WAIT) if value > 0 else None
    at = parse_date(headers.get("retry-after", ""))
    if at is None:
        return None
    sent = parse_date(headers.get("date", ""))
    wait = at - (wall_clock if sent is None else sent)
    return min(wait, LONGEST_WAIT) if wait > 0 else None


def parse_date(text: str) -> float | None:
    """Unix seconds of an HTTP date, or None if it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _number(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.search(text)
    return float(found[1].replace(",", "")) if found else None


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
