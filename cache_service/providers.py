"""Who can be asked to generate: the primary, and the alternatives that a fallback may turn to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from cache_service.operations.base import Asked, Operation
from cache_service.upstream.base import Call, Upstream, Urgency

ANY_MODEL = "*"
"""In a map of models: what every model that isn't named is called there."""


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """One upstream. models: what it calls a model, where that is another name; the cache key keeps the name as asked."""

    name: str
    upstream: Upstream
    models: Mapping[str, str] = field(default_factory=dict)

    def call(
        self,
        operation: Operation,
        asked: Asked,
        *,
        n: int,
        deadline: float,
        priority: int,
        impatient: bool = False,
        stream: bool = False,
        urgency: Urgency | None = None,
    ) -> Call:
        """The call that a generation makes."""
        body = operation.forward(asked, prompt=asked.prompt, n=n)
        model = asked.model
        if model is not None and self.models:
            model = body["model"] = _there(self.models, model)
        return Call(
            path=operation.path,
            body=orjson.dumps(body),
            deadline=deadline,
            cost=operation.reserve(asked, n),
            model=model,
            stream=stream,
            priority=priority,
            impatient=impatient,
            urgency=urgency,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """A provider that is asked when the primary fails, in its own words: those are what its answers are filed under.

    models: what it calls a model; one that isn't named isn't offered, unless there is no map at all. drop: parameters that it
    doesn't take. operations: those that it serves, empty for all.
    """

    provider: Provider
    models: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()

    def offers(self, operation: str, body: Mapping[str, Any]) -> bool:
        """Whether it may be asked."""
        model = body.get("model")
        known = not self.models or model in self.models or ANY_MODEL in self.models
        return known and (not self.operations or operation in self.operations)

    def translated(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request as this provider is asked it."""
        kept = {name: value for name, value in body.items() if name not in self.drop}
        model = body.get("model")
        return kept | {"model": _there(self.models, model)} if isinstance(model, str) else kept


@dataclass(frozen=True, slots=True, eq=False)
class Providers:
    """The primary, and the alternatives in the order in which they are tried."""

    primary: Provider
    alternatives: Sequence[Alternative] = ()

    def alternative(self, name: str) -> Alternative:
        """The alternative of that name. Raises KeyError."""
        return {one.provider.name: one for one in self.alternatives}[name]


def _there(models: Mapping[str, str], asked: str) -> str:
    return models.get(asked, models.get(ANY_MODEL, asked))
