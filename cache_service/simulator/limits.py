"""Limit pools: what an organisation or a project may use of a model family, however many keys it has.

- Limits belong to organisations and projects, never to keys; a call draws from every pool of its organisation and project
  that its model belongs to, from all of them or from none.
- Charged at admission. A refused call costs one request (where one still fits) and neither images nor tokens.
- The refusal's figures, its wait and the headers come from the same state, in the same whole numbers.

Pure: `now` (seconds, never going back) is an argument.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from cache_service.simulator.meters import Meter, Mode, make_meter

Level: TypeAlias = Literal["organization", "project"]


class Dimension(StrEnum):
    """What is limited; the values are the names in configuration and control."""

    REQUESTS = "requests"
    IMAGES = "images"
    TOKENS = "tokens"
    DAILY_REQUESTS = "requests_per_day"


PERIOD = {
    Dimension.REQUESTS: 60.0,
    Dimension.IMAGES: 60.0,
    Dimension.TOKENS: 60.0,
    Dimension.DAILY_REQUESTS: 86_400.0,
}
"""Seconds in which the limit may be used."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` a period, counted in `mode`. offset: seconds by which the server's fixed window is ahead of the clock."""

    amount: float
    mode: Mode = Mode.BUCKET
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class OtherUse:
    """Someone else who uses the same pool: `burst` calls at once, so often that `calls_per_minute` come together.

    Each call is one request, one image and `tokens` tokens, and is refused like anybody's. burst=1 is a steady consumer.
    """

    calls_per_minute: float
    burst: int = 1
    tokens: int = 0
    start: float = 0.0
    end: float = math.inf


@dataclass(frozen=True, slots=True)
class LimitPool:
    """The limits of one owner for the models that share them.

    owner: id of the organisation or project. models: patterns such as "gpt-image-*". family: the shared limit's name as
    refusals give it ("for limit gpt-image"), empty if they don't. A dimension that isn't in `limits` isn't limited.
    """

    owner: str
    limits: Mapping[Dimension, Limit]
    level: Level = "organization"
    models: tuple[str, ...] = ("*",)
    family: str = ""
    others: tuple[OtherUse, ...] = ()

    @property
    def name(self) -> str:
        """Names the pool in control calls: "owner" or "owner/family"."""
        return f"{self.owner}/{self.family}" if self.family else self.owner


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call takes."""

    requests: int = 1
    images: int = 0
    tokens: int = 0

    def of(self, dimension: Dimension) -> int:
        """The amount in that dimension."""
        match dimension:
            case Dimension.REQUESTS | Dimension.DAILY_REQUESTS:
                return self.requests
            case Dimension.IMAGES:
                return self.images
            case Dimension.TOKENS:
                return self.tokens


@dataclass(frozen=True, slots=True)
class Admitted:
    """The call was charged."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The call doesn't fit now: `limit`, `used` and `requested` as the refusal tells them, `seconds` until it fits."""

    pool: LimitPool
    dimension: Dimension
    limit: int
    used: int
    requested: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Never:
    """The call is larger than the whole limit."""

    pool: LimitPool
    dimension: Dimension
    limit: int
    requested: int


@dataclass(frozen=True, slots=True)
class QuotaExhausted:
    """The owner has spent what it may spend."""

    owner: str


Verdict: TypeAlias = Admitted | Wait | Never | QuotaExhausted


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit as the headers tell it: whole numbers, `reset` in seconds until it is full again."""

    level: Level
    dimension: Dimension
    limit: int
    remaining: int
    reset: float


@dataclass(slots=True)
class _Metered:
    """A pool and its meters; `due` is when each other consumer comes next."""

    pool: LimitPool
    meters: dict[Dimension, Meter]
    due: list[float] = field(default_factory=list)


class LimitPools:
    """All pools. Methods take the time and are called from one thread."""

    def __init__(self, pools: Iterable[LimitPool]) -> None:
        self._all = [
            _Metered(
                pool,
                {
                    dimension: make_meter(limit.mode, limit.amount, PERIOD[dimension], limit.offset)
                    for dimension, limit in pool.limits.items()
                },
                [other.start for other in pool.others],
            )
            for pool in pools
        ]
        self.exhausted: set[str] = set()
        """Organisations and projects that have spent their quota; may be changed while running."""

    def admit(self, owners: Mapping[Level, str], model: str, cost: Cost, now: float) -> Verdict:
        """Charges the call to every pool it draws from, or says why not (the longest wait of all)."""
        for owner in owners.values():
            if owner in self.exhausted:
                return QuotaExhausted(owner)
        drawn = self._drawn(owners, model, now)
        refusal = _refusal(drawn, cost, now)
        for metered in drawn:
            for dimension, meter in metered.meters.items():
                amount = cost.of(dimension)
                if refusal is None or (amount and _counts_refused(dimension) and meter.wait(amount, now) == 0):
                    meter.charge(amount, now)
        return refusal or Admitted()

    def standings(self, owners: Mapping[Level, str], model: str, now: float) -> list[Standing]:
        """What the headers say, for each limited dimension of each pool the model draws from."""
        return [
            Standing(
                level=metered.pool.level,
                dimension=dimension,
                limit=int(meter.limit),
                remaining=max(0, math.floor(meter.limit - meter.used(now) + 1e-6)),
                reset=meter.reset(now),
            )
            for metered in self._drawn(owners, model, now)
            for dimension, meter in metered.meters.items()
        ]

    def limit_of(self, owners: Mapping[Level, str], model: str, dimension: Dimension) -> int | None:
        """The smallest limit that a model has there; None where it has none."""
        limits = [
            metered.meters[dimension].limit
            for metered in self._all
            if owners.get(metered.pool.level) == metered.pool.owner
            and dimension in metered.meters
            and any(fnmatch.fnmatchcase(model, pattern) for pattern in metered.pool.models)
        ]
        return int(min(limits)) if limits else None

    def change(self, pool: str, dimension: Dimension, amount: float, now: float) -> bool:
        """Another limit from now on for the pool of that name; False if there is no such pool or dimension."""
        for metered in self._all:
            if metered.pool.name == pool and dimension in metered.meters:
                _let_others_in(metered, now)
                metered.meters[dimension].resize(amount, now)
                return True
        return False

    def _drawn(self, owners: Mapping[Level, str], model: str, now: float) -> list[_Metered]:
        drawn = [
            metered
            for metered in self._all
            if owners.get(metered.pool.level) == metered.pool.owner
            and any(fnmatch.fnmatchcase(model, pattern) for pattern in metered.pool.models)
        ]
        for metered in drawn:
            _let_others_in(metered, now)
        return drawn


def _counts_refused(dimension: Dimension) -> bool:
    return dimension in (Dimension.REQUESTS, Dimension.DAILY_REQUESTS)


def _refusal(drawn: Iterable[_Metered], cost: Cost, now: float) -> Wait | Never | None:
    longest: Wait | None = None
    for metered in drawn:
        for dimension, meter in metered.meters.items():
            amount = cost.of(dimension)
            if amount > meter.limit:
                return Never(metered.pool, dimension, int(meter.limit), amount)
            seconds = meter.wait(amount, now) if amount else 0.0
            if seconds > 0 and (longest is None or seconds > longest.seconds):
                used = meter.told_used(amount, now)
                longest = Wait(metered.pool, dimension, int(meter.limit), used, amount, seconds)
    return longest


def _let_others_in(metered: _Metered, now: float) -> None:
    """Charges what other consumers have taken up to now, each at its own time."""
    for index, other in enumerate(metered.pool.others):
        one = Cost(images=1, tokens=other.tokens)
        while metered.due[index] <= min(now, other.end):
            at = metered.due[index]
            for _ in range(other.burst):
                if _refusal([metered], one, at) is None:
                    for dimension, meter in metered.meters.items():
                        meter.charge(one.of(dimension), at)
            metered.due[index] = at + other.burst * 60.0 / other.calls_per_minute
