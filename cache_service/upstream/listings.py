"""Reads what the upstream lists: a project's rate limits, for an admin key, and the models with the dates on which they end. Pure.

`GET /v1/organization/projects/{id}/rate_limits` → `{data: [{model, max_requests_per_1_minute, …}], has_more, last_id}`
`GET /v1/models` → `{data: [{id, shutdown_date: "YYYY-MM-DD" | null}]}`

A figure of 0 or below means nothing, like in the headers. What isn't of that shape is passed over: it is only a hint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from cache_service.upstream.rate_limit import Limits

MOST_ROWS = 1_000
"""Rows of a list that are read; an organisation has some hundred models."""


@dataclass(frozen=True, slots=True)
class LimitsPage:
    """One page. after: where the next one begins, empty at the end."""

    limits: Mapping[str, Limits]
    after: str = ""


def read_limits(body: bytes) -> LimitsPage:
    """Limits by model."""
    listed = _object(body)
    limits = {}
    for row in _rows(listed):
        model = row.get("model")
        found = Limits(
            requests=_figure(row.get("max_requests_per_1_minute")),
            images=_figure(row.get("max_images_per_1_minute")),
            tokens=_figure(row.get("max_tokens_per_1_minute")),
            requests_per_day=_figure(row.get("max_requests_per_1_day")),
        )
        if isinstance(model, str) and found != Limits():
            limits[model] = found
    last = listed.get("last_id")
    return LimitsPage(limits, last if listed.get("has_more") is True and isinstance(last, str) else "")


def read_ends(body: bytes) -> dict[str, date]:
    """The day from which a model answers 404, of those for which one is announced."""
    ends = {}
    for row in _rows(_object(body)):
        model, day = row.get("id"), row.get("shutdown_date")
        if isinstance(model, str) and isinstance(day, str):
            try:
                ends[model] = date.fromisoformat(day)
            except ValueError:
                continue
    return ends


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _rows(listed: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = listed.get("data")
    return [row for row in data[:MOST_ROWS] if isinstance(row, dict)] if isinstance(data, list) else []


def _figure(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        return None
    return float(value)
