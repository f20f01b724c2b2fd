"""What to answer with when the upstream fails: a chain of typed steps, chosen by the operator and by the request. Pure.

    reduced-quality        the same prompt asks for less: one rung down the model's ladder, then the next
    cached-similar         an entry of a verified prompt that has expired, or differs in nothing but quality or size
    alternative-provider   the same request at another provider, then the next

The operator's chain is empty unless configured: the primary alone. `stale-if-error` (RFC 5861) and `similar-if-error` add
`cached-similar` for one request, `no-fallback` takes everything away. Only a passing trouble, a spent quota, a lost key or a model that
is gone lead down the chain. What is wrong with the prompt is wrong everywhere: nobody else is asked for what one has refused to make.

What a step makes is filed and found under the key of what was really asked for there; the asked key gets nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

from cache_service.decision import Directives
from cache_service.errors import (
    BudgetExceeded,
    CacheServiceError,
    CapacityExceeded,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

MOST_RUNGS = 2
"""Lesser pictures that are tried: each may cost three calls while the upstream is in trouble."""

LEAST_TIME = 1.0
"""Seconds that must be left for a step that generates; an image takes 6 and more."""


class Step(StrEnum):
    """A kind of fallback; these words stand in settings, `Cache-Status` and metrics."""

    REDUCED_QUALITY = "reduced-quality"
    CACHED_SIMILAR = "cached-similar"
    ALTERNATIVE_PROVIDER = "alternative-provider"


class Trouble(StrEnum):
    """Why the upstream gave no answer."""

    OVERLOADED = "overloaded"
    CAPACITY = "capacity"
    TOO_LARGE = "too large"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    QUOTA = "quota"
    KEY = "key"
    MODEL = "model"
    BUDGET = "budget"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Lesser:
    """Ask for less: these parameters in place of the request's."""

    changes: Mapping[str, Any]

    @property
    def step(self) -> Step:
        """Its kind."""
        return Step.REDUCED_QUALITY


@dataclass(frozen=True, slots=True)
class Similar:
    """Serve what is stored. stale: expired by at most so many seconds. otherwise: also of another quality or size."""

    stale: float
    otherwise: bool

    @property
    def step(self) -> Step:
        """Its kind."""
        return Step.CACHED_SIMILAR


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Ask the provider of that name."""

    provider: str

    @property
    def step(self) -> Step:
        """Its kind."""
        return Step.ALTERNATIVE_PROVIDER


Way: TypeAlias = Lesser | Similar | Elsewhere


@dataclass(frozen=True, slots=True)
class Chain:
    """What the operator allows. stale: seconds that an entry may have expired ago to be served by `cached-similar`."""

    steps: tuple[Step, ...] = ()
    stale: float = math.inf

    def for_request(self, directives: Directives) -> tuple[Step, ...]:
        """The steps that one request takes, in the operator's order; one that the request adds stands before other providers."""
        if directives.no_fallback:
            return ()
        steps = list(self.steps)
        wanted = directives.stale_if_error is not None or directives.similar_if_error
        if wanted and Step.CACHED_SIMILAR not in steps:
            others = Step.ALTERNATIVE_PROVIDER in steps
            steps.insert(steps.index(Step.ALTERNATIVE_PROVIDER) if others else len(steps), Step.CACHED_SIMILAR)
        if directives.no_cache:
            steps = [step for step in steps if step is not Step.CACHED_SIMILAR]
        return tuple(steps)

    def directives(self, directives: Directives) -> Directives:
        """The request's directives with what the operator's chain adds: how stale an answer may be on an error."""
        operators = Step.CACHED_SIMILAR in self.steps and not directives.no_fallback
        if directives.no_fallback:
            return replace(directives, stale_if_error=None, similar_if_error=False)
        if not operators:
            return directives
        stale = self.stale if directives.stale_if_error is None else directives.stale_if_error
        return replace(directives, stale_if_error=stale, similar_if_error=True)

    def ways(
        self, directives: Directives, lesser: Iterable[Mapping[str, Any]], providers: Iterable[str]
    ) -> tuple[Way, ...]:
        """All that may be tried for a request, in order. directives: as `directives` gave them."""
        by_step: Mapping[Step, Sequence[Way]] = {
            Step.REDUCED_QUALITY: [Lesser(changes) for changes in lesser][:MOST_RUNGS],
            Step.CACHED_SIMILAR: [Similar(directives.stale_if_error or 0.0, directives.similar_if_error)],
            Step.ALTERNATIVE_PROVIDER: [Elsewhere(name) for name in providers],
        }
        return tuple(way for step in self.for_request(directives) for way in by_step[step])


PRIMARY_ALONE = Chain()


@dataclass(frozen=True, slots=True)
class Course:
    """One request's way down the chain. error: the primary's, told if nothing helps. left: not tried yet. tried: with the current one last."""

    error: CacheServiceError
    left: tuple[Way, ...]
    tried: tuple[Way, ...] = ()

    def next(self, trouble: Trouble, remaining: float) -> Course | None:
        """The course with its next way as the last of `tried`; None where none is left that might help.

        trouble: of the way that failed. remaining: seconds until the deadline.
        """
        for place, way in enumerate(self.left):
            if _may_help(way, trouble, remaining):
                return Course(self.error, self.left[place + 1 :], (*self.tried, way))
        return None

    @property
    def way(self) -> Way:
        """The one that is being tried."""
        return self.tried[-1]

    @property
    def step(self) -> Step:
        """Its kind."""
        return self.way.step


_OF_KIND: Mapping[str, Trouble] = {
    "rate_limit": Trouble.OVERLOADED,
    "slow_down": Trouble.OVERLOADED,
    "overloaded": Trouble.OVERLOADED,
    "too_large": Trouble.TOO_LARGE,
    "quota": Trouble.QUOTA,
    "key": Trouble.KEY,
    "model": Trouble.MODEL,
}
"""By the upstream's own words for a refusal; any other kind is the request's."""

_LESS_HELPS = frozenset({Trouble.OVERLOADED, Trouble.CAPACITY, Trouble.TOO_LARGE, Trouble.TIMEOUT})
"""Less takes fewer tokens and less time; it helps neither a spent quota nor a broken line."""


def trouble_of(error: CacheServiceError) -> Trouble:
    """What kind of trouble an error is; the request's own (no fallback) where it isn't known to be another."""
    match error:
        case BudgetExceeded():
            return Trouble.BUDGET
        case CapacityExceeded():
            return Trouble.CAPACITY
        case UpstreamTimeout():
            return Trouble.TIMEOUT
        case UpstreamUnreachable():
            return Trouble.UNREACHABLE
        case UpstreamRefused(kind=kind, transient=transient):
            return _OF_KIND.get(kind, Trouble.OVERLOADED if transient and not kind else Trouble.REQUEST)
        case UpstreamError(transient=True):
            return Trouble.UNREACHABLE
        case _:
            return Trouble.REQUEST


def _may_help(way: Way, trouble: Trouble, remaining: float) -> bool:
    if trouble is Trouble.REQUEST:
        return False
    match way:
        case Similar():
            return True
        case Elsewhere():
            return trouble is not Trouble.BUDGET and remaining > LEAST_TIME
        case Lesser(changes=changes):
            helps = trouble in _LESS_HELPS or (trouble is Trouble.MODEL and "model" in changes)
            return helps and remaining > LEAST_TIME
