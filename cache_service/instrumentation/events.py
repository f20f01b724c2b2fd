"""What the service tells about itself: frozen events, handed to a hook. The core names no metrics library.

The commonest are named tuples, which are made in half the time. No event holds a prompt, a picture or a key; `model` and `key_name` are names from configuration or bounded by the hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable


class RequestServed(NamedTuple):
    """One request of a generation route was answered.

    decision: "hit", "stale-hit", "miss", "partial", "collapsed", "bypass" or "error"; kind: "exact", "semantic" or "".
    reason: why, one of a bounded set of words. seconds: from the first byte in to the last byte out being ready.
    error: of decision "error" the class, one of `prometheus.ERRORS`. model, quality: as asked; the hook bounds them. saved_usd: what its
    outputs cost when they were made, of an answer that wasn't paid anew.
    """

    operation: str
    decision: str
    kind: str
    reason: str
    status: int
    seconds: float
    similarity: float | None = None
    error: str = ""
    model: str = ""
    quality: str = ""
    saved_usd: float | None = None


class StepTimed(NamedTuple):
    """One of the eight steps took `seconds`."""

    operation: str
    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CandidateJudged:
    """The verifier decided on one candidate: "same", "different" or "unsure"."""

    operation: str
    verdict: str
    similarity: float
    seconds: float


@dataclass(frozen=True, slots=True)
class UpstreamCalled:
    """One attempt at the upstream ended. outcome: "ok" or the error's class ("rate_limit", "timeout" …).

    pool: the limit pool that the key belongs to. concurrent_limit: what a relay said it allows at once, None where none did.
    """

    operation: str
    key_name: str
    outcome: str
    seconds: float
    queued: float
    images: int = 0
    tokens: int = 0
    pool: str = ""
    concurrent_limit: int | None = None


@dataclass(frozen=True, slots=True)
class MaybePaidTwice:
    """A call that the upstream was at work on timed out or broke off, and is repeated."""

    operation: str


@dataclass(frozen=True, slots=True)
class ModelEnds:
    """The upstream has announced that a model in use ends in `days` days; 0 and below: it has."""

    model: str
    days: int


@dataclass(frozen=True, slots=True)
class UsdSpent:
    """A generation was paid. sure: False where it may have been paid for nothing."""

    operation: str
    usd: float
    sure: bool = True


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """An answer was served but couldn't be stored. stage: "spool", "blob", "sql" or "index"."""

    operation: str
    stage: str


@dataclass(frozen=True, slots=True)
class NotStored:
    """An answer was served and rightly not stored. reason: "purged", "incomplete", "no-store", "too large" …"""

    operation: str
    reason: str


@dataclass(frozen=True, slots=True)
class TierFailed:
    """A tier couldn't be asked and was passed over. tier: "exact", "embedding", "index" or "verifier"."""

    operation: str
    tier: str


@dataclass(frozen=True, slots=True)
class FellBack:
    """The upstream had failed and a step of the fallback's chain was tried. outcome: "answered" or "failed"."""

    operation: str
    step: str
    outcome: str


@dataclass(frozen=True, slots=True)
class EntriesRemoved:
    """Entries went. cause: "purged", "expired" or "evicted"."""

    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """A generation of an earlier process was found in the spool. outcome: "stored", "incomplete", "purged" or "unreadable"."""

    outcome: str


@dataclass(frozen=True, slots=True)
class ShadowHit:
    """In shadow mode: a semantic hit was found and verified, and something of its own was generated."""

    operation: str
    similarity: float


@dataclass(frozen=True, slots=True)
class FeedbackGiven:
    """A client judged a semantic hit: "wrong" or "right"; or an operator took that back: "undone". mode: "on" or "shadow"."""

    operation: str
    verdict: str
    mode: str


@dataclass(frozen=True, slots=True)
class HitsUnrecorded:
    """Semantic hits were served that no feedback can name: too many waited to be recorded, or the store failed."""

    count: int


@dataclass(frozen=True, slots=True)
class BatchItemEnded:
    """An item of a batch ended. outcome: "hit", "generated", "failed", "skipped" or "cancelled"."""

    operation: str
    outcome: str


@dataclass(frozen=True, slots=True)
class BatchesInProgress:
    """So many batches run in this process now."""

    count: int


@dataclass(frozen=True, slots=True)
class ConnectionCut:
    """A client's connection was ended early. reason: "late", "large_head", "malformed", "not_taken", "idle" or "crowded"."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreHeld:
    """What is stored, as of the last look: entries, and bytes of their pictures."""

    entries: int
    blob_bytes: int


Event: TypeAlias = (
    RequestServed
    | StepTimed
    | CandidateJudged
    | UpstreamCalled
    | MaybePaidTwice
    | ModelEnds
    | UsdSpent
    | StoreFailed
    | NotStored
    | TierFailed
    | FellBack
    | EntriesRemoved
    | Recovered
    | ShadowHit
    | FeedbackGiven
    | HitsUnrecorded
    | StoreHeld
    | BatchItemEnded
    | BatchesInProgress
    | ConnectionCut
)
Hook: TypeAlias = Callable[[Event], None]


Takes: TypeAlias = Mapping[type, Callable[[Any], None]]
"""By class of event what takes it."""


@runtime_checkable
class Choosy(Protocol):
    """A hook of some events."""

    @property
    def takes(self) -> Takes:
        """Those, and what takes them."""

    def __call__(self, event: Event) -> None:
        """Takes any, those as `takes` says."""


def ignore(event: Event) -> None:
    """A hook that does nothing."""


def to_all(*hooks: Hook) -> Hook:
    """A hook that tells each of them. One with `takes`, by class of event what takes it, is told of those alone."""
    listeners: dict[type, tuple[Hook, ...]] = {}

    def tell(event: Event) -> None:
        kind = type(event)
        found = listeners.get(kind)
        if found is None:
            every = (hook.takes.get(kind) if isinstance(hook, Choosy) else hook for hook in hooks)
            found = listeners[kind] = tuple(hook for hook in every if hook is not None)
        for hook in found:
            hook(event)

    return tell
