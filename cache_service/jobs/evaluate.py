"""`evaluate`: exactly the decisions the service would take over labelled pairs, counted by category and by gate, with their bounds.

How pairs are read and decided is in `pairs.py`, how bounds are made in `calibration.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cache_service.calibration import at_prior, upper
from cache_service.embedding.base import Embedder
from cache_service.jobs.pairs import Decided, How, Pair, decide, read_pairs
from cache_service.operations.base import Operation
from cache_service.verification.base import Same, Verifier

__all__ = ["GATES", "Evaluation", "Pair", "Point", "Tally", "evaluate", "read_pairs"]

CHUNK = 256  # pairs whose prompts are embedded together
GATES = (0.92, 0.85)  # the profiles' least cosines, both of which are always shown


@dataclass(slots=True)
class Tally:
    """Counts of one category at one gate. Rates are None where there is nothing to divide by."""

    pairs: int = 0
    same: int = 0
    hits: int = 0
    true_hits: int = 0
    candidates: int = 0
    same_candidates: int = 0

    @property
    def false_hits(self) -> int:
        """Different pairs served."""
        return self.hits - self.true_hits

    @property
    def true_hit_rate(self) -> float | None:
        """Same pairs served / same pairs."""
        return self.true_hits / self.same if self.same else None

    @property
    def false_hit_rate(self) -> float | None:
        """Different pairs served / different pairs."""
        different = self.pairs - self.same
        return self.false_hits / different if different else None

    def add(self, pair: Pair, *, hit: bool, candidate: bool = True) -> None:
        """Counts one pair that somebody judged."""
        same = bool(pair.same)
        self.pairs += 1
        self.same += same
        self.hits += hit
        self.true_hits += hit and same
        self.candidates += candidate
        self.same_candidates += candidate and same

    def as_json(self) -> dict[str, Any]:
        """As `evaluate --json` prints it."""
        return {
            "pairs": self.pairs,
            "same": self.same,
            "hits": self.hits,
            "true_hit_rate": self.true_hit_rate,
            "false_hit_rate": self.false_hit_rate,
        }

    def bounds_as_json(self, prior: float) -> dict[str, Any]:
        """Counts, bounds (one-sided, 95 %) and wrong / hits: as the pairs are mixed, and at a share `prior` of same pairs."""
        different, far = self.pairs - self.same, self.candidates - self.same_candidates
        weighted: tuple[float, float] | tuple[None, None] = (None, None)
        if self.true_hits and far:  # without both kinds among the candidates there is nothing to weigh
            weighted = at_prior(self.true_hits, self.same_candidates, self.false_hits, far, prior)
        return {
            **self.as_json(),
            "true_hits": self.true_hits,
            "false_hits": self.false_hits,
            "false_hit_bound": upper(self.false_hits, different) if different else None,
            "candidates": self.candidates,
            "same_candidates": self.same_candidates,
            "wrong_of_hits": self.false_hits / self.hits if self.hits else None,
            "wrong_of_hits_bound": upper(self.false_hits, self.hits) if self.hits else None,
            "at_prior": weighted[0],
            "at_prior_bound": weighted[1],
        }


@dataclass(slots=True)
class Gate:
    """The tallies at one gate."""

    total: Tally = field(default_factory=Tally)
    by_category: dict[str, Tally] = field(default_factory=dict)

    def add(self, decided: Decided, gate: float) -> None:
        """Counts one pair. gate: least cosine."""
        hit, candidate = decided.hit(gate), decided.candidate(gate)
        for tally in (self.total, self.by_category.setdefault(decided.pair.category, Tally())):
            tally.add(decided.pair, hit=hit, candidate=candidate)


@dataclass(frozen=True, slots=True)
class Served:
    """A pair that would be served, for a person to judge."""

    pair: Pair
    similarity: float
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The pair's row, and why it is served."""
        pair = self.pair
        row = {"a": pair.a, "b": pair.b, "same": pair.same, "category": pair.category}
        own = {"operation": pair.operation} if pair.operation else {}
        return {**row, **own, "similarity": self.similarity, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Point:
    """What a picture needs of one pair. verified: the verifier says same. score: of a verifier with thresholds, else 1 or 0."""

    same: bool
    similarity: float
    verified: bool
    score: float


@dataclass(slots=True)
class Evaluation:
    """What the pairs came to. gate: least cosine in force; gates: the same for each gate shown. unjudged: pairs nobody has judged."""

    gate: float
    prior: float = 0.5
    gates: dict[float, Gate] = field(default_factory=dict)
    wrong: list[Served] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    how: Counter[str] = field(default_factory=Counter)
    unjudged: int = 0

    @property
    def total(self) -> Tally:
        """All pairs at the gate in force."""
        return self.gates[self.gate].total

    @property
    def by_category(self) -> dict[str, Tally]:
        """The categories at the gate in force."""
        return self.gates[self.gate].by_category

    def as_json(self) -> dict[str, Any]:
        """The figures at the gate in force, without the pairs themselves."""
        return {
            **self.total.as_json(),
            "gate": self.gate,
            "by_category": {name: tally.as_json() for name, tally in sorted(self.by_category.items())},
        }

    def bounds_as_json(self) -> dict[str, Any]:
        """Each gate's figures with their bounds, and how the pairs were decided."""
        gates = {
            f"{gate:g}": {
                **found.total.bounds_as_json(self.prior),
                "by_category": {
                    name: tally.bounds_as_json(self.prior) for name, tally in sorted(found.by_category.items())
                },
            }
            for gate, found in sorted(self.gates.items(), reverse=True)
        }
        decided_by = {how.value: self.how[how.value] for how in How}
        return {"candidate_prior": self.prior, "gates": gates, "decided_by": decided_by, "unjudged": self.unjudged}

    def wrong_as_json(self) -> list[dict[str, Any]]:
        """The false hits, worst (most similar) first."""
        return [served.as_json() for served in sorted(self.wrong, key=lambda served: -served.similarity)]

    def add(self, decided: Decided) -> None:
        """Counts one pair that somebody judged."""
        pair = decided.pair
        self.how[decided.how.value] += 1
        for gate, found in self.gates.items():
            found.add(decided, gate)
        if decided.hit(self.gate) and not pair.same:
            self.wrong.append(Served(pair, decided.similarity, decided.reason))
        verified = decided.how is How.EQUAL_KEY
        score = float(verified)
        if decided.scored is not None:
            verified, score = isinstance(decided.scored.verdict, Same), decided.scored.score
        self.points.append(Point(bool(pair.same), decided.similarity, verified, score))


async def evaluate(
    pairs: Iterable[Pair],
    operation: Operation,
    *,
    embedder: Embedder,
    verifier: Verifier,
    threshold: float,
    others: Mapping[str, Operation] | None = None,
    gates: Sequence[float] = GATES,
    prior: float = 0.5,
) -> Evaluation:
    """Decides every pair as the service would with a stored. threshold: least cosine. others: operations that rows may name."""
    shown = sorted({threshold, *gates}, reverse=True)
    result = Evaluation(threshold, prior, {gate: Gate() for gate in shown})
    remaining = iter(pairs)
    while chunk := list(islice(remaining, CHUNK)):
        judged = [pair for pair in chunk if pair.same is not None]
        result.unjudged += len(chunk) - len(judged)
        for decided in await decide(
            judged, operation, others=others or {}, embedder=embedder, verifier=verifier, floor=shown[-1]
        ):
            result.add(decided)
    return result
