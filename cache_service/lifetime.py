"""How long an answer stays fresh: by operation, by model, and never long for what is volatile. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds; 0 is for ever.

    operations: by name. models: by the model asked for, or the beginning of its name and `*`; where one fits, the longest, it counts
    instead of the operation's. volatile: the most for what asks about now, whatever the others say.
    """

    operations: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, float] = field(default_factory=dict)
    volatile: float = 0.0

    def seconds(self, operation: str, model: str | None, *, volatile: bool) -> float:
        """Of one answer."""
        usual = self._of_model(model or "")
        if usual is None:
            usual = self.operations.get(operation, 0.0)
        if not volatile or not self.volatile:
            return usual
        return min(usual, self.volatile) if usual else self.volatile

    def _of_model(self, model: str) -> float | None:
        fitting = [
            name
            for name in self.models
            if name == model or (name.endswith("*") and model.startswith(name.removesuffix("*")))
        ]
        return self.models[max(fitting, key=lambda name: (name == model, len(name)))] if fitting else None
