"""Whether something stored may be served: pure decisions over (entry, directives, verdicts, now). Freshness lives here.

Rules (RFC 9111, request directives of section 5.2.1, and our extensions):
- `no-cache`: nothing stored is served. `only-if-cached`: nothing is generated.
- `max-age=N`: nothing older than N seconds. `min-fresh=N`: it must stay fresh for N more. `max-stale[=N]`: expired by at most N is fine.
- `stale-if-error[=N]`: expired by at most N is fine if the upstream fails (RFC 5861, section 4). `similar-if-error`: so is another
  quality or size. `no-fallback`: neither, nor anything else that wasn't asked for (`fallback.py`).
- `exact-only`: no semantic hit. `similarity=S`: a semantic hit needs cosine ≥ S; a client may tighten the operator's threshold, never loosen it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, TypeAlias

from cache_service.store.entry import Entry
from cache_service.verification.base import Different, Same, Unsure, Verdict

Kind: TypeAlias = Literal["exact", "semantic"]


@dataclass(frozen=True, slots=True)
class Directives:
    """How one request steers the cache. Durations in seconds; `math.inf` where a directive came without a number."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    exact_only: bool = False
    max_age: float | None = None
    max_stale: float | None = None
    min_fresh: float | None = None
    stale_if_error: float | None = None
    similarity: float | None = None
    similar_if_error: bool = False
    no_fallback: bool = False

    def threshold(self, operators: float) -> float:
        """The cosine a semantic hit needs: the client's where it is stricter than the operator's."""
        return max(operators, self.similarity or operators)


class MissReason(StrEnum):
    """Why nothing stored is served; bounded, so that it may be a metric's label."""

    NO_CACHE = "no-cache"
    NO_ENTRY = "no entry"
    NO_CANDIDATE = "no candidate"
    EXACT_ONLY = "exact only"
    TOO_OLD = "too old"
    EXPIRED = "expired"
    DIFFERENT = "different"
    UNSURE = "unsure"
    TIER_FAILED = "tier failed"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Hit:
    """The entry may be served as fresh. `reason` is the verifier's for a semantic hit; ages in seconds, `ttl` None for ever."""

    entry: Entry
    kind: Kind
    similarity: float
    reason: str
    age: float
    ttl: float | None


@dataclass(frozen=True, slots=True)
class StaleHit:
    """The entry has expired `staleness` seconds ago; `allowed` says whether the client takes it as it is, or only on an error."""

    entry: Entry
    kind: Kind
    similarity: float
    reason: str
    age: float
    staleness: float
    allowed: Literal["max-stale", "stale-if-error"]


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing stored is served. `detail` is for people ("different: count 3 / 4"); `nearest` the best similarity seen.

    fallback: an expired entry that may be served if the upstream fails. shadow: what would have been served but for shadow mode.
    rejected: the nearest entry that the verifier took for another request, or wasn't sure of.
    """

    reason: MissReason
    detail: str = ""
    nearest: float | None = None
    fallback: StaleHit | None = None
    shadow: Hit | StaleHit | None = None
    rejected: Entry | None = field(default=None, compare=False)


Decision: TypeAlias = Hit | StaleHit | Miss


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with its row, its cosine and what the verifier said."""

    entry: Entry
    similarity: float
    verdict: Verdict


def decide_exact(entry: Entry | None, directives: Directives, now: float) -> Decision:
    """What the exact tier says. now: Unix seconds."""
    if directives.no_cache:
        return Miss(MissReason.NO_CACHE)
    if entry is None:
        return Miss(MissReason.NO_ENTRY)
    return _fresh_enough(entry, "exact", 1.0, "equal key", directives, now)


def decide_semantic(judged: Sequence[Judged], directives: Directives, threshold: float, now: float) -> Decision:
    """What the semantic tier says of its candidates, the most similar first; the first that may be served is.

    threshold: the operator's least cosine. A verdict other than `Same` is a miss for that candidate.
    """
    floor = directives.threshold(threshold)
    best: Miss | None = None
    for candidate in judged:
        if candidate.similarity < floor:
            continue
        match candidate.verdict:
            case Same(reason):
                decision = _fresh_enough(candidate.entry, "semantic", candidate.similarity, reason, directives, now)
            case Different(reason):
                decision = Miss(
                    MissReason.DIFFERENT, f"different: {reason}", candidate.similarity, rejected=candidate.entry
                )
            case Unsure(reason):
                decision = Miss(MissReason.UNSURE, f"unsure: {reason}", candidate.similarity, rejected=candidate.entry)
        if not isinstance(decision, Miss):
            return decision
        if best is None or (best.fallback is None and decision.fallback is not None):
            best = decision
    return best or Miss(MissReason.NO_CANDIDATE, nearest=max((c.similarity for c in judged), default=None))


def in_shadow(decision: Decision) -> Decision:
    """What shadow mode makes of the semantic tier's decision: nothing is served by meaning, and the miss says what would have been."""
    if isinstance(decision, Miss):
        return replace(decision, fallback=None)
    return Miss(MissReason.SHADOW, f"shadow hit {decision.entry.exact_key}", decision.similarity, shadow=decision)


def _fresh_enough(
    entry: Entry, kind: Kind, similarity: float, reason: str, directives: Directives, now: float
) -> Decision:
    """Freshness by RFC 9111, section 4.2. An entry from the future has age 0: the clock went back.

    Such an entry is fresh for no longer than its lifetime before and after it was made: one of a far future would never expire.
    """
    age = max(0.0, now - entry.created_at)
    if directives.max_age is not None and age > directives.max_age:
        return Miss(MissReason.TOO_OLD, f"{age:.0f} s old, asked for at most {directives.max_age:.0f} s", similarity)
    remaining = math.inf if entry.expires_at is None else entry.expires_at - now
    if now < entry.created_at and entry.expires_at is not None:
        remaining = (entry.expires_at - entry.created_at) - (entry.created_at - now)
    if remaining > 0 and remaining >= (directives.min_fresh or 0.0):
        return Hit(entry, kind, similarity, reason, age, None if remaining == math.inf else remaining)
    staleness = max(0.0, -remaining)
    if directives.max_stale is not None and staleness <= directives.max_stale:
        return StaleHit(entry, kind, similarity, reason, age, staleness, "max-stale")
    fallback = None
    if directives.stale_if_error is not None and staleness <= directives.stale_if_error:
        fallback = StaleHit(entry, kind, similarity, reason, age, staleness, "stale-if-error")
    return Miss(MissReason.EXPIRED, f"expired {staleness:.0f} s ago", similarity, fallback)
