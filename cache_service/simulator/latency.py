"""How long an answer takes: lognormal around a median by model, quality and size, or a fixed number of seconds.

Measured by third parties: Flare low 6–12 s, medium 15 s, Sunburst high 35 s, max 87 s; the upstream says up to two minutes.
Pure: the normal draw is an argument.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from cache_service.simulator.catalog import Latency

Setting: TypeAlias = float | Literal["real"]

SPREAD = 0.5
"""Sigma of the lognormal: two thirds of the answers within a factor of 1.65 of the median."""

SHORTEST, LONGEST = 6.0, 120.0
"""Seconds between which a picture's latency is clipped."""

CHAT_FIRST_TOKEN = 0.6
CHAT_SECONDS_PER_TOKEN = 1 / 80
CHAT_LONGEST = 60.0
FIRST_TOKEN_SHARE = 0.3
"""Part of a chat answer's time before its first token, where the time is fixed."""


def image_seconds(setting: Setting, latency: Latency, quality: str, pixels: int, normal: float) -> float:
    """Seconds until the pictures are there. pixels: of one picture. normal: a draw with mean 0 and variance 1."""
    if setting != "real":
        return setting
    median = latency.median.get(quality, max(latency.median.values()))
    drawn = median * math.sqrt(pixels / 1024**2) * math.exp(SPREAD * normal)
    return min(LONGEST, max(SHORTEST, drawn))


def chat_seconds(setting: Setting, output_tokens: int, normal: float) -> tuple[float, float]:
    """Seconds until the first token, and from there to the last."""
    if setting != "real":
        return setting * FIRST_TOKEN_SHARE, setting * (1 - FIRST_TOKEN_SHARE)
    factor = math.exp(SPREAD * normal)
    first = CHAT_FIRST_TOKEN * factor
    return first, min(CHAT_LONGEST - CHAT_FIRST_TOKEN, output_tokens * CHAT_SECONDS_PER_TOKEN * factor)
