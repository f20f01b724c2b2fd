"""What clients' feedback on semantic hits means from now on: pairs that are denied, prompts that are exact-only, a tighter threshold. Pure.

- The newest verdict on a pair of prompts counts, in both directions and whatever the parameters. `wrong` denies the pair.
- A prompt whose stored answer was wrong for two different prompts is served exactly only.
- Of a namespace's judged pairs a Beta posterior says how large the share of wrong hits is. As soon as its lower bound passes
  what is allowed (δ), the threshold rises; as the evidence grows old, it comes down again.

Digests are of prompts (`prompt_digest`), so that what was learnt outlives a purge, and holds for another size of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from cache_service.beta import beta_quantile
from cache_service.store.entry import Feedback, ServedHit

STRIKES: Final = 2
"""Different prompts for which an entry was wrong, until it is exact-only: one may be the asker's mistake, two are the entry's."""

CERTAINTY: Final = 0.95
"""Of the share of wrong hits being above δ, before the threshold rises."""

STRICTEST: Final = 0.01
"""δ of an operation that has none, such as one that this release doesn't know any more."""

RECOMPUTE_AFTER: Final = 60.0  # seconds a threshold is used; evidence loses half its weight in weeks

Scope: TypeAlias = tuple[str, str]
"""Namespace and operation."""

Pair: TypeAlias = tuple[str, str, str, str]
"""Namespace, operation and the two digests in order."""


@dataclass(frozen=True, slots=True)
class Policy:
    """δ: share of semantic hits that may be wrong, by operation. strength: pairs the prior is worth. half_life: seconds."""

    delta: Mapping[str, float]
    strength: float = 50.0
    half_life: float = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the semantic hits of one namespace and operation may be trusted. wrong, right: judged pairs, by their weight now."""

    namespace: str
    operation: str
    wrong: float
    right: float
    bound: float
    threshold: float


class Standing:
    """All feedback that holds, as it bears on the next decision. Answers from memory."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._judged: dict[Pair, dict[int, Feedback]] = {}
        self._strikes: dict[tuple[str, str, str], set[str]] = {}
        self._evidence: dict[Scope, set[Pair]] = {}
        self._thresholds: dict[Scope, tuple[float, float, float]] = {}

    def apply(self, feedback: Iterable[Feedback]) -> None:
        """Takes feedback in, new or undone, in any order and as often as it comes."""
        for one in feedback:
            hit = one.hit
            pair = _pair(hit.namespace, hit.operation, hit.asked_digest, hit.stored_digest)
            scope = pair[:2]
            given = self._judged.setdefault(pair, {})
            if one.undone is None:
                given[one.number] = one
            else:
                given.pop(one.number, None)
            if given:
                self._evidence.setdefault(scope, set()).add(pair)
            else:
                del self._judged[pair]
                self._evidence.get(scope, set()).discard(pair)
            self._count_strikes(pair)
            self._thresholds.pop(scope, None)

    def denial(self, namespace: str, operation: str, asked: str, stored: str) -> str | None:
        """Why what the stored prompt made may not be served for the asked one; None if it may. asked, stored: digests."""
        if not self.heeds(namespace, operation):
            return None
        newest = self._newest(_pair(namespace, operation, asked, stored))
        if newest is not None and newest.verdict == "wrong":
            return "a client said so"
        if self.is_exact_only(namespace, operation, stored):
            return f"wrong for {STRIKES} other prompts"
        return None

    def heeds(self, namespace: str, operation: str) -> bool:
        """Whether there is any feedback that could deny something."""
        return bool(self._evidence.get((namespace, operation)))

    def newest(self, hit: ServedHit) -> Feedback | None:
        """The feedback that counts for the hit's pair, in either direction."""
        return self._newest(_pair(hit.namespace, hit.operation, hit.asked_digest, hit.stored_digest))

    def is_exact_only(self, namespace: str, operation: str, stored: str) -> bool:
        """Whether the prompt's entry is served for its own prompt alone."""
        return len(self._strikes.get((namespace, operation, stored), ())) >= STRIKES

    def threshold(self, namespace: str, operation: str, operators: float, now: float) -> float:
        """The cosine a semantic hit needs here: the operator's, or more. now: Unix seconds."""
        scope = (namespace, operation)
        if not self._evidence.get(scope):
            return operators
        known = self._thresholds.get(scope)
        if known is None or known[0] != operators or abs(now - known[1]) > RECOMPUTE_AFTER:
            known = (operators, now, self._trust(scope, operators, now).threshold)
            self._thresholds[scope] = known
        return known[2]

    def trust(self, operators: float, now: float) -> Sequence[Trust]:
        """Every namespace and operation that has feedback, for the operator to see."""
        return [self._trust(scope, operators, now) for scope in sorted(self._evidence) if self._evidence[scope]]

    def _trust(self, scope: Scope, operators: float, now: float) -> Trust:
        weights = {"wrong": 0.0, "right": 0.0}
        for pair in self._evidence[scope]:
            newest = self._newest(pair)
            assert newest is not None  # noqa: S101  for the type checker: evidence is what was judged
            weights[newest.verdict] += 0.5 ** (max(0.0, now - newest.at) / self._policy.half_life)
        delta = self._policy.delta.get(scope[1], STRICTEST)
        bound = wrong_share(weights["wrong"], weights["right"], delta=delta, strength=self._policy.strength)
        return Trust(*scope, weights["wrong"], weights["right"], bound, tightened(operators, bound, delta))

    def _newest(self, pair: Pair) -> Feedback | None:
        given = self._judged.get(pair)
        return given[max(given)] if given else None

    def _count_strikes(self, pair: Pair) -> None:
        namespace, operation, *digests = pair
        newest = self._newest(pair)
        for stored, other in (digests, digests[::-1]):
            strikes = self._strikes.setdefault((namespace, operation, stored), set())
            if newest is not None and newest.verdict == "wrong" and newest.hit.stored_digest == stored:
                strikes.add(other)
            else:
                strikes.discard(other)
            if not strikes:
                del self._strikes[namespace, operation, stored]


def wrong_share(wrong: float, right: float, *, delta: float, strength: float) -> float:
    """The share of wrong hits that is exceeded with `CERTAINTY`, after so many judged pairs.

    Lower quantile of Beta(strength·δ + wrong, strength·(1 − δ) + right): the prior says δ, and is worth `strength` pairs.
    """
    return beta_quantile(1 - CERTAINTY, strength * delta + wrong, strength * (1 - delta) + right)


def tightened(threshold: float, bound: float, delta: float) -> float:
    """The distance that a hit may have shrinks as the share of wrong hits exceeds δ: twice δ leaves half the distance."""
    return threshold if bound <= delta else 1 - (1 - threshold) * delta / bound


def _pair(namespace: str, operation: str, one: str, other: str) -> Pair:
    return (namespace, operation, one, other) if one <= other else (namespace, operation, other, one)
