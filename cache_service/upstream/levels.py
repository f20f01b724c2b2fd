"""One owner's limits, an organisation's or a project's: what is configured for it, and what was learnt by model. Pure.

A call draws from its project and from the project's organisation; both must admit it, and what a refusal or a header tells goes to
the level that it names. Models that the upstream counts together ("for limit gpt-image") share one limiter from the
first refusal that says so.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cache_service.upstream.meter import DIMENSIONS, Meter
from cache_service.upstream.rate_limit import Limits, RateLimit

UNKNOWN = Limits()
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
MODELS_REMEMBERED = 64
"""Models of which something is known. Names come from clients, so there is a bound; the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Families:
    """Models that are known to share their limits. assumed: by family, until the upstream tells its own. of: the family of a model."""

    assumed: Mapping[str, Limits] = field(default_factory=dict)
    of: Mapping[str, str] = field(default_factory=dict)


NO_FAMILIES = Families()


class Level:
    """limits: the most that is used, whatever the upstream allows. assumed: of each model until the upstream tells its own.

    families: the same of models that share their limits.
    """

    def __init__(self, limits: Limits = UNKNOWN, assumed: Limits = UNKNOWN, families: Families = NO_FAMILIES) -> None:
        self.rate = RateLimit(limits)
        self._assumed = assumed
        self._assumed_of = {_shared(family): known for family, known in families.assumed.items()}
        self._known = {model: _shared(family) for model, family in families.of.items() if family in families.assumed}
        self._models: OrderedDict[str | None, RateLimit] = OrderedDict()
        self._families: dict[str, str] = {}
        self._told: Mapping[str, Limits] = {}
        self._told_at = 0.0

    def limiters(self, model: str | None) -> list[RateLimit]:
        """What a call of that model must pass."""
        # beside a family that is limited, a model that isn't must be seen not to be: else slots follow from the family alone
        if self._assumed is not UNKNOWN or self._assumed_of or model in self._told:
            return [self.rate, self.learnt(model)]
        known = self._models.get(self._family(model))
        return [self.rate] if known is None else [self.rate, known]

    def learnt(self, model: str | None) -> RateLimit:
        """The limiter for what is learnt of the model, made where there is none."""
        name = self._family(model)
        known = self._models.get(name)
        if known is None:
            while len(self._models) >= MODELS_REMEMBERED:
                self._models.popitem(last=False)
            known = self._models[name] = RateLimit(self._assumed_of.get(name or "", self._assumed))
            if model is not None and model in self._told:
                known.observe_limits(self._told[model], self._told_at)
        return known

    def tell(self, limits: Mapping[str, Limits], now: float) -> None:
        """The upstream listed the limits by model; they hold until others are told."""
        self._told, self._told_at = limits, now
        for model, told in limits.items():
            known = self._models.get(self._family(model))
            if known is not None:
                known.observe_limits(told, now)

    def all(self) -> Iterator[RateLimit]:
        """Every limiter."""
        yield self.rate
        yield from self._models.values()

    def share(self, model: str | None, family: str, now: float) -> None:
        """The model's limits are those of a family, named by the upstream."""
        shared = _shared(family)
        if model is None or self._family(model) == shared:
            return
        while len(self._families) >= MODELS_REMEMBERED:
            self._families.pop(next(iter(self._families)))
        alone = self._models.pop(self._family(model), None)
        self._families[model] = shared
        if alone is not None:
            known = self._models.get(shared)
            if known is None:
                self._models[shared] = alone
            else:
                known.absorb(alone, now)

    def calls_per_second(self) -> float | None:
        """What the limits a minute allow, by the size that calls have had; None where nothing limits them."""
        rates = [rate for rate in (_calls_per_second(self.rate.meters.values()), self._learnt_rate()) if rate]
        return min(rates, default=None)

    def absorb(self, other: Level, now: float) -> None:
        """Both were one and the same owner's: the smaller limits hold, for what both have sent."""
        self.rate.absorb(other.rate, now)
        if other._told_at >= self._told_at and other._told:
            self._told, self._told_at = other._told, other._told_at
        for model, family in other._families.items():
            self._families.setdefault(model, family)
        for name, learnt in other._models.items():
            mine = self._models.get(name)
            if mine is None:
                self._models[name] = learnt
            else:
                mine.absorb(learnt, now)

    def tightest(self, now: float) -> dict[str, tuple[float, float]]:
        """By dimension: limit and use of the meter that is used most."""
        found: dict[str, tuple[float, float]] = {}
        for limiter in self.all():
            for dimension, meter in limiter.meters.items():
                limit, used = meter.limit, meter.used(now)
                if dimension not in found or used * found[dimension][0] > found[dimension][1] * limit:
                    found[dimension] = (limit, used)
        return found

    def slowed(self, now: float) -> float:
        """The least factor that paces any model."""
        return min(
            limiter.pace(now) * min((meter.factor for meter in limiter.meters.values()), default=1.0)
            for limiter in self.all()
        )

    def _family(self, model: str | None) -> str | None:
        if model is None:
            return None
        return self._families.get(model) or self._known.get(_SNAPSHOT.sub("", model), model)

    def _learnt_rate(self) -> float | None:
        rates = [_calls_per_second(limiter.meters.values()) for limiter in self._models.values()]
        return sum(rate or 0.0 for rate in rates) if rates and all(rates) else None


def _shared(family: str) -> str:
    return f"limit {family}"  # no model has a space in its name


def tighter(levels: Iterable[Level], now: float) -> dict[str, tuple[float, float]]:
    """By dimension: limit and use of the meter that is used most on the whole path, in the dimensions' order."""
    found: dict[str, tuple[float, float]] = {}
    for level in levels:
        for dimension, (limit, used) in level.tightest(now).items():
            if dimension not in found or used * found[dimension][0] > found[dimension][1] * limit:
                found[dimension] = (limit, used)
    return {dimension: found[dimension] for dimension in DIMENSIONS if dimension in found}


def _calls_per_second(meters: Iterable[Meter]) -> float | None:
    return min((rate for meter in meters if (rate := meter.calls_per_second)), default=None)
