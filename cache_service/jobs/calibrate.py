"""`calibrate`: from which score each route's pairs are served, so that wrong / hits stays within what is allowed, with the evidence.

The sequence and its bounds are in `calibration.py`. A route that the pairs don't prove is left to the rules alone: a threshold that no
score reaches. Pairs with equal keys say nothing of a verifier and are left out, as are those that would never be compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cache_service.calibration import CONFIDENCE, NEVER, Calibration, Flags, as_json, calibrate, evidence, needed
from cache_service.embedding.base import Embedder
from cache_service.errors import ConfigurationError
from cache_service.jobs.evaluate import CHUNK
from cache_service.jobs.pairs import Decided, How, Pair, decide
from cache_service.operations.base import Operation
from cache_service.verification.base import Verifier

FORMAT = 1  # of the file; `verification/thresholds.py` reads it
RULES = 1.0  # the score of what the rules serve, which no threshold takes back
STEPS = (0.98, 0.96, 0.94, 0.92, 0.90, 0.88, 0.85)  # gates that are shown, from the floor on


class Outcome(StrEnum):
    """What the pairs say of a route."""

    PROVED = "proved"
    TOO_FEW = "too few pairs"
    NOT_WITHIN = "not within what is allowed"


@dataclass(frozen=True, slots=True)
class Aim:
    """What is wanted. floor: least cosine of a candidate. prior: share of same pairs among them. allowed: wrong / hits, by operation."""

    floor: float
    prior: float
    allowed: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of pairs of an operation. threshold: what is written; found: its evidence, at `NEVER` that of the rules alone."""

    outcome: Outcome
    threshold: float
    found: Calibration
    groups: int
    kept: bool = False

    def as_json(self) -> dict[str, Any]:
        """As the file holds it."""
        raw = self.found.raw
        return {
            "outcome": self.outcome.value,
            **as_json(self.found),
            "threshold": round(self.threshold, 6),
            "hits": self.found.hits,
            "wrong": self.found.served_different,
            "raw_wrong_of_hits": None if raw is None else round(raw, 6),
            "raw_bound": round(self.found.raw_bound, 6),
            "groups_of_different": self.groups,
            "kept_from_before": self.kept,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What calibrating came to, by operation. routes is empty for a verifier without thresholds. how: by what pairs were decided."""

    aim: Aim
    routes: Mapping[str, Mapping[str, Route]]
    gates: Mapping[str, Sequence[tuple[float, Calibration]]]
    how: Mapping[str, Counter[str]]

    def as_json(self) -> dict[str, Any]:
        """The evidence as the file holds it."""
        return {
            "floor": self.aim.floor,
            "prior": self.aim.prior,
            "confidence": CONFIDENCE,
            "allowed": dict(self.aim.allowed),
            "serve": {
                operation: {kind: route.threshold for kind, route in routes.items()}
                for operation, routes in self.routes.items()
            },
            "evidence": {
                operation: {kind: route.as_json() for kind, route in routes.items()}
                for operation, routes in self.routes.items()
            },
            "by_gate": {
                operation: {f"{gate:g}": _gate_as_json(found) for gate, found in steps}
                for operation, steps in self.gates.items()
            },
            "pairs": {operation: dict(how) for operation, how in self.how.items()},
        }


async def decide_all(
    pairs: Iterable[Pair],
    operation: Operation,
    *,
    others: Mapping[str, Operation],
    embedder: Embedder,
    verifier: Verifier,
    floor: float,
) -> list[Decided]:
    """Every pair decided, without the prompts of those that nothing is learnt from. Raises ConfigurationError."""
    found: list[Decided] = []
    remaining = iter(pairs)
    while chunk := list(islice(remaining, CHUNK)):
        found += await decide(chunk, operation, others=others, embedder=embedder, verifier=verifier, floor=floor)
    return found


def choose(
    decided: Sequence[Decided],
    aim: Aim,
    *,
    kinds: Sequence[str],
    in_force: Mapping[str, Mapping[str, float]],
    keep: bool,
) -> Report:
    """The thresholds and their evidence. Pure.

    kinds: the verifier's routes, none where it has no thresholds. in_force: by operation and route, what `keep` keeps where the pairs
    are too few to show anything.
    """
    routes, gates, how = {}, {}, {}
    for operation in sorted({one.operation for one in decided}):
        all_own = [one for one in decided if one.operation == operation]
        own = _once(all_own)
        how[operation] = _how(own, aim.floor)
        how[operation]["repeated"] = len(all_own) - len(own)
        candidates = [one for one in own if _counts(one, aim.floor)]
        if kinds:
            before = in_force[operation] if keep else {}
            routes[operation] = {kind: _route(candidates, kind, operation, aim, before.get(kind)) for kind in kinds}
        thresholds = {kind: route.threshold for kind, route in routes.get(operation, {}).items()}
        gates[operation] = _by_gate(candidates, thresholds, aim)
    return Report(aim, routes, gates, how)


def write(report: Report, path: Path, *, model: str, files: Mapping[str, str], about: Mapping[str, Any]) -> None:
    """The file that the setting `verifier_thresholds` names. model: digest. files: SHA-256 by name. Raises ConfigurationError."""
    content = {"format": FORMAT, "model": model, **about, **report.as_json(), "data_sha256": dict(files)}
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        partial.replace(path)
    except OSError as error:
        raise ConfigurationError(f"thresholds can't be written: {error}") from error


def _route(candidates: Sequence[Decided], kind: str, operation: str, aim: Aim, before: float | None) -> Route:
    own = [one for one in candidates if one.scored is not None and one.scored.route == kind]
    score, same = _arrays(own)
    allowed = aim.allowed[operation]
    found = calibrate(score, same, [one.pair.category for one in own], allowed, aim.prior)
    different = [one for one in own if not one.pair.same]
    groups = len({one.pair.group or id(one) for one in different})
    if found.threshold != NEVER:
        return Route(Outcome.PROVED, found.threshold, found, groups)
    few = not same.any() or len(different) < needed(allowed, aim.prior)
    outcome = Outcome.TOO_FEW if few else Outcome.NOT_WITHIN
    if few and before is not None:
        return Route(outcome, before, evidence(before, score >= before, same, aim.prior), groups, kept=True)
    return Route(outcome, NEVER, evidence(NEVER, score >= RULES, same, aim.prior), groups)


def _by_gate(
    candidates: Sequence[Decided], thresholds: Mapping[str, float], aim: Aim
) -> list[tuple[float, Calibration]]:
    """What the verifier with these thresholds comes to at stricter gates: the same figures over fewer candidates."""
    score, same = _arrays(candidates)
    least = np.array(
        [min(thresholds.get(one.scored.route, RULES), RULES) for one in candidates if one.scored is not None], float
    )
    similarity = np.array([one.similarity for one in candidates], float)
    steps = sorted({aim.floor, *(gate for gate in STEPS if gate > aim.floor)}, reverse=True)
    result = []
    for gate in steps:
        over = similarity >= gate
        result.append((gate, evidence(gate, (score >= least)[over], same[over], aim.prior)))
    return result


def _arrays(candidates: Sequence[Decided]) -> tuple[np.ndarray[Any, Any], Flags]:
    scores = np.array([one.scored.score for one in candidates if one.scored is not None], float)
    return scores, np.array([bool(one.pair.same) for one in candidates], bool)


def _counts(one: Decided, floor: float) -> bool:
    """Whether the pair is evidence: judged, compared, over the floor."""
    return one.pair.same is not None and one.how is How.COMPARED and one.similarity >= floor and one.scored is not None


def _once(decided: Sequence[Decided]) -> list[Decided]:
    """Without rows that repeat another one: the same evidence counts once."""
    rows = {json.dumps([one.pair.a, one.pair.b, one.pair.same]): one for one in decided}
    return list(rows.values())


def _how(decided: Sequence[Decided], floor: float) -> Counter[str]:
    """What became of all pairs, so that none is left out silently."""
    found: Counter[str] = Counter()
    for one in decided:
        if one.pair.same is None:
            found["not judged"] += 1
        elif one.how is How.COMPARED and one.similarity < floor:
            found["below the floor"] += 1
        else:
            found[one.how.value] += 1
    return found


def _gate_as_json(found: Calibration) -> dict[str, Any]:
    raw = found.raw
    values = as_json(found)
    del values["threshold"]
    return {
        **values,
        "raw_wrong_of_hits": None if raw is None else round(raw, 6),
        "raw_bound": round(found.raw_bound, 6),
    }
