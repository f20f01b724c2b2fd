"""What a simulator has done, to be looked at by tests and benchmarks."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

RECENT_PROMPTS = 1000


@dataclass(slots=True)
class Stats:
    """What has happened. images: pictures delivered or being made. refused: by code (or status). faults: by kind."""

    calls: Counter[str] = field(default_factory=Counter)
    admitted: int = 0
    images: int = 0
    tokens: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    prompts: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT_PROMPTS))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "calls": dict(self.calls),
            "admitted": self.admitted,
            "images": self.images,
            "tokens": self.tokens,
            "refused": dict(self.refused),
            "faults": dict(self.faults),
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "prompts": list(self.prompts),
        }
