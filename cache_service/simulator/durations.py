"""Durations as the upstream writes them: Go's (`12ms`, `8.64s`, `6m0s`, `1h2m3.5s`), to the millisecond."""

from __future__ import annotations

import math


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded up, so that whoever waits that long isn't early."""
    return math.ceil(round(seconds * 1000, 6))


def go_duration(seconds: float) -> str:
    """The duration as Go's `time.Duration.String` writes it."""
    total = milliseconds(seconds)
    if total == 0:
        return "0s"
    if total < 1000:
        return f"{total}ms"
    minutes, rest = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
