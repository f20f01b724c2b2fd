"""Which entries go when there are too many: bounds, and what an entry is worth keeping. Pure.

An entry's priority is computed when it is stored and when it was asked for, never by looking at the others, so that the least of
them is found by an index. Three rules, one table:

- `lru`: when it was last asked for.
- `lfu`: how often it was asked for. `cost`: the same, times what it cost to make, divided by the share of the bounds it takes: the money
  that keeping it saves for its place. Both are added to the priority of what was evicted last, the *floor*, which rises as the cache
  turns over: so what was often asked for long ago makes way, at the cache's own pace and without a number to set. This is LFU with
  dynamic aging and Greedy-Dual-Size-Frequency (Cherkasova 1998; Arlitt et al. 2000, as in Squid).

What has expired, or is quarantined, goes before anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

PolicyName: TypeAlias = Literal["cost", "lru", "lfu"]

SLACK: Final = 0.005
"""Share of a bound that is freed at once, so that not every store has to evict; "within 1 %" leaves as much again."""

UNKNOWN_USD: Final = 0.01
"""What an entry counts as having cost whose price isn't known: about a small picture's."""

_LEAST_USD: Final = 1e-6
_LEAST_SHARE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Held:
    """How much there is. blob_bytes: of every entry's pictures; one that two entries share counts for both."""

    entries: int = 0
    blob_bytes: int = 0

    def __add__(self, other: Held) -> Held:
        return Held(self.entries + other.entries, self.blob_bytes + other.blob_bytes)

    def __sub__(self, other: Held) -> Held:
        return Held(self.entries - other.entries, self.blob_bytes - other.blob_bytes)


NOTHING: Final = Held()


@dataclass(frozen=True, slots=True)
class Bound:
    """The most there may be; None is unbounded."""

    entries: int | None = None
    blob_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Excess:
    """What has to go, of one namespace or (None) of all; a member ≤ 0 isn't exceeded."""

    namespace: str | None
    entries: int
    blob_bytes: int

    @property
    def only_pictures(self) -> bool:
        """True where evicting an entry without pictures would free nothing."""
        return self.entries <= 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """total: of all namespaces together. each: of every namespace that isn't named in `named`."""

    total: Bound = Bound()
    each: Bound = Bound()
    named: Mapping[str, Bound] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is any bound at all."""
        every = (self.total, self.each, *self.named.values())
        return any(bound.entries is not None or bound.blob_bytes is not None for bound in every)

    def of(self, namespace: str) -> Bound:
        """The namespace's own."""
        return self.named.get(namespace, self.each)

    def fits(self, namespace: str, new: Held) -> bool:
        """Whether it could be stored at all, if everything else went."""
        return all(
            most is None or amount <= most
            for bound in (self.of(namespace), self.total)
            for amount, most in ((new.entries, bound.entries), (new.blob_bytes, bound.blob_bytes))
        )

    def exceeded(self, namespace: str, its: Held, total: Held) -> bool:
        """Whether the namespace's bound or the total is; looks at no other namespace."""
        return _over(namespace, self.of(namespace), its) is not None or _over(None, self.total, total) is not None

    def excess(self, held: Mapping[str, Held]) -> Excess | None:
        """The first bound that is exceeded, a namespace's before the total; None if all hold. Frees `SLACK` more."""
        for namespace in sorted(held):
            if over := _over(namespace, self.of(namespace), held[namespace]):
                return over
        return _over(None, self.total, sum(held.values(), NOTHING))


@dataclass(frozen=True, slots=True)
class Worth:
    """What one entry is worth keeping. usd: its price, None if unknown. hits: since it was made. last_used: Unix seconds."""

    blob_bytes: int
    usd: float | None
    hits: int
    last_used: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """How priorities are computed. per_entry, per_byte: the share of the bounds that one takes.

    one_floor: all namespaces make room for each other, so that their priorities must compare; else each has a floor of its own.
    """

    policy: PolicyName = "cost"
    per_entry: float = 1.0
    per_byte: float = 0.0
    one_floor: bool = True

    @property
    def rule(self) -> str:
        """Text that differs whenever priorities would; priorities of two rules are never compared."""
        return f"{self.policy} {self.per_entry!r} {self.per_byte!r} {self.one_floor}"

    @property
    def ages(self) -> bool:
        """Whether the floor counts."""
        return self.policy != "lru"

    def floor_of(self, namespace: str) -> str:
        """The name of the floor on which the namespace's entries stand."""
        return ALL if self.one_floor else namespace

    def value(self, worth: Worth) -> float:
        """The priority above the floor: the smaller, the sooner it goes."""
        return POLICIES[self.policy](worth, self)


ALL: Final = "*"
"""Name of the floor of all namespaces; no namespace can have it."""


def made(at: float, blob_bytes: int, usd: float | None) -> Worth:
    """Of an entry that is made now."""
    return Worth(blob_bytes, usd, 0, at)


def asked(worth: Worth, times: int, at: float) -> Worth:
    """After it was asked for `times` times, the last time at `at`."""
    return replace(worth, hits=worth.hits + times, last_used=max(worth.last_used, at))


def last_use(worth: Worth, _ranking: Ranking) -> float:
    """The longest unused goes first."""
    return worth.last_used


def requests(worth: Worth, _ranking: Ranking) -> float:
    """The least asked for goes first, its making counted as once."""
    return worth.hits + 1.0


def saving(worth: Worth, ranking: Ranking) -> float:
    """Requests × USD ÷ share of the bounds."""
    usd = UNKNOWN_USD if worth.usd is None else max(worth.usd, _LEAST_USD)
    return (worth.hits + 1) * usd / max(ranking.per_entry + ranking.per_byte * worth.blob_bytes, _LEAST_SHARE)


POLICIES: Final[Mapping[PolicyName, Callable[[Worth, Ranking], float]]] = {
    "cost": saving,
    "lru": last_use,
    "lfu": requests,
}


def ranking_for(policy: PolicyName, bounds: Bounds) -> Ranking:
    """The ranking under those bounds: what is scarce is what an entry pays for, entries or bytes or both."""
    every = (bounds.total, bounds.each, *bounds.named.values())
    entries = next((bound.entries for bound in every if bound.entries is not None), None)
    blob_bytes = next((bound.blob_bytes for bound in every if bound.blob_bytes is not None), None)
    if entries is None and blob_bytes is None:
        return Ranking(policy)
    one_floor = bounds.total != Bound()
    return Ranking(policy, 1 / entries if entries else 0.0, 1 / blob_bytes if blob_bytes else 0.0, one_floor)


@dataclass(frozen=True, slots=True)
class Evictable:
    """An entry that may go."""

    entry_id: int
    namespace: str
    blob_bytes: int
    priority: float | None = None  # None: it goes whatever its priority is


def chosen(candidates: Iterable[Evictable], excess: Excess) -> Sequence[Evictable]:
    """As many of the candidates, in their order, as it takes; all of them where they aren't enough."""
    going: list[Evictable] = []
    entries, blob_bytes = excess.entries, excess.blob_bytes
    for candidate in candidates:
        if entries <= 0 and blob_bytes <= 0:
            break
        if entries <= 0 and not candidate.blob_bytes:
            continue
        going.append(candidate)
        entries -= 1
        blob_bytes -= candidate.blob_bytes
    return going


def _over(namespace: str | None, bound: Bound, held: Held) -> Excess | None:
    entries, blob_bytes = (
        amount - math.floor(most * (1 - SLACK)) if most is not None and amount > most else 0
        for amount, most in ((held.entries, bound.entries), (held.blob_bytes, bound.blob_bytes))
    )
    return Excess(namespace, entries, blob_bytes) if entries > 0 or blob_bytes > 0 else None
