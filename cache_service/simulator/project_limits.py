"""A project's rate limits as the upstream's administration lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cache_service.simulator.limits import Dimension, Level, LimitPools

MEMBERS = {
    Dimension.REQUESTS: "max_requests_per_1_minute",
    Dimension.TOKENS: "max_tokens_per_1_minute",
    Dimension.IMAGES: "max_images_per_1_minute",
    Dimension.DAILY_REQUESTS: "max_requests_per_1_day",
}


def project_limits(
    models: Sequence[str], pools: LimitPools, owners: Mapping[Level, str], *, has_more: bool
) -> dict[str, Any]:
    """One page; `last_id` is where the next begins. A dimension without a limit isn't listed."""
    data = []
    for model in models:
        row: dict[str, Any] = {"object": "project.rate_limit", "id": f"rl-{model}", "model": model}
        for dimension, member in MEMBERS.items():
            limit = pools.limit_of(owners, model, dimension)
            if limit is not None:
                row[member] = limit
        data.append(row)
    return {
        "object": "list",
        "data": data,
        "first_id": models[0] if models else None,
        "last_id": models[-1] if models else None,
        "has_more": has_more,
    }
