"""What is stored: an entry (one canonical request) and its ordered outputs, a purge's predicate, hits and feedback. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Output:
    """One picture or one chat answer.

    item: the JSON members that belong to this output alone. Images: the members of `data[i]` without `b64_json`.
        Chat: the whole answer without `created` and `usage`.
    blob: SHA-256 (hex) of the picture's bytes, None where the output has none; `size` in bytes, `media_type` from its magic bytes.
    created: the upstream's `created`, Unix seconds; replayed with a hit.
    usage: this output's share of the upstream's `usage`; the shares of one call add up to what the upstream said.
    usd: what it cost when it was made, None where no price was known; it isn't covered by the row's checksum.
    """

    item: Mapping[str, Any]
    created: int
    usage: Mapping[str, Any] | None = None
    blob: str | None = None
    size: int = 0
    media_type: str | None = None
    upstream_request_id: str | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StoredVector:
    """The vector of an entry beside the id of the model that made it, and the verifier's analysis of the prompt."""

    model_id: str
    vector: npt.NDArray[np.float32]
    analysis_version: str
    analysis: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What one generation produced, as it is to be filed.

    exact_key, partition: hex digests. prompt_digest: SHA-256 (hex) of the normalised prompt, for a purge by prompt.
    prompt: as asked. request: the canonical request, so that a new key version can re-key by a job.
    envelope: the answer's members that all outputs share. made: what was really made (model, quality, size, provider).
    vector: None for an entry that is found exactly only.
    created_at, expires_at: Unix seconds; None never expires.
    began: the change number read before the generation began; a purge with a larger number forbids storing.
    client: name of the client key that asked; group: the upstream group.
    """

    exact_key: str
    key_version: int
    partition: str
    namespace: str
    operation: str
    model: str | None
    prompt: str
    prompt_digest: str
    request: Mapping[str, Any]
    envelope: Mapping[str, Any]
    made: Mapping[str, Any]
    outputs: tuple[Output, ...]
    vector: StoredVector | None
    created_at: float
    expires_at: float | None
    began: int
    tags: frozenset[str] = frozenset()
    client: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored entry as it is served: live or expired, never quarantined.

    analysis_version and analysis are empty where the entry has no vector of the current embedding model.
    """

    id: int
    exact_key: str
    partition: str
    namespace: str
    operation: str
    model: str | None
    prompt: str
    request: Mapping[str, Any]
    envelope: Mapping[str, Any]
    made: Mapping[str, Any]
    outputs: tuple[Output, ...]
    created_at: float
    expires_at: float | None
    exact_only: bool
    analysis_version: str | None = None
    analysis: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Similar:
    """Entries whose vector of `model_id` has cosine ≥ `at_least` with `vector`."""

    model_id: str
    vector: npt.NDArray[np.float32]
    at_least: float


@dataclass(frozen=True, slots=True)
class PurgePredicate:
    """Which entries a purge takes: all given members must match; `everything` alone matches any entry.

    key: exact key. created_before: Unix seconds. A predicate with no member given matches nothing.
    """

    key: str | None = None
    prompt_digest: str | None = None
    similar: Similar | None = None
    tag: str | None = None
    namespace: str | None = None
    operation: str | None = None
    model: str | None = None
    created_before: float | None = None
    everything: bool = False

    @property
    def empty(self) -> bool:
        """True if it names nothing at all."""
        return not self.everything and all(
            m is None
            for m in (
                self.key, self.prompt_digest, self.similar, self.tag,
                self.namespace, self.operation, self.model, self.created_before,
            )
        )  # fmt: skip

    def matches(self, entry: NewEntry) -> bool:
        """Whether an entry about to be stored falls under this purge. A vector of another model can't be compared: it matches."""
        if self.everything:
            return True
        if self.empty:
            return False
        if self.similar is not None:
            if entry.vector is None:
                return False
            comparable = entry.vector.model_id == self.similar.model_id
            if comparable and float(entry.vector.vector @ self.similar.vector) < self.similar.at_least:
                return False
        return (
            (self.key is None or self.key == entry.exact_key)
            and (self.prompt_digest is None or self.prompt_digest == entry.prompt_digest)
            and (self.tag is None or self.tag in entry.tags)
            and (self.namespace is None or self.namespace == entry.namespace)
            and (self.operation is None or self.operation == entry.operation)
            and (self.model is None or self.model == entry.model)
            and (self.created_before is None or entry.created_at < self.created_before)
        )


Judgement: TypeAlias = Literal["wrong", "right"]
"""What a client says of a semantic hit."""


@dataclass(frozen=True, slots=True)
class ServedHit:
    """One prompt answered with what another prompt had made: a semantic hit, a join by meaning, or missing outputs added to it.

    asked_*, stored_*: exact key and prompt digest of the request and of the entry that answered it. at: Unix seconds.
    shadow: it was found and verified, but something of its own was generated.
    """

    namespace: str
    operation: str
    request_id: str
    asked_key: str
    asked_digest: str
    stored_key: str
    stored_digest: str
    similarity: float
    at: float
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Feedback:
    """A client's verdict on a semantic hit. number: its place in the change feed, and its id. at: Unix seconds.

    client: name of the client key. undone: number of the change that undid it, None while it holds.
    asked_prompt, stored_prompt: where they are (still) prompts of entries, and only in lists.
    """

    number: int
    hit: ServedHit
    verdict: Judgement
    client: str
    at: float
    undone: int | None = None
    asked_prompt: str | None = None
    stored_prompt: str | None = None


Charge: TypeAlias = Literal["paid", "not-stored", "maybe-paid"]
"""How a generation was paid for: stored too; answered, but not stored; or lost, so that it may have been charged (a time-out, a cut)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What daily sums are kept by. model, size and quality as made, where that is known; "" where nobody said."""

    operation: str
    client: str
    model: str = ""
    size: str = ""
    quality: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """One generation that was paid or may have been: a row of the ledger.

    id: random, so that a payment told twice is filed once. at: Unix seconds. usd: None where no price is known.
    estimated: the upstream didn't say what it used, so `usd` is the most that the catalog expects.
    """

    id: str
    at: float
    kind: Kind
    charge: Charge
    usd: float | None
    estimated: bool = False
    outputs: int = 1
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """Requests or payments added up. usd: paid, or saved by hits; unpriced: how many of `count` have no known price."""

    count: int = 0
    outputs: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(
            self.count + other.count,
            self.outputs + other.outputs,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.usd + other.usd,
            self.unpriced + other.unpriced,
        )


@dataclass(frozen=True, slots=True)
class Daily:
    """What is added up in one row: a day (number of days since 1970, UTC), what was asked, and how it was answered.

    answer: a `Charge`, or the decision on a request ("hit", "semantic-hit", "miss" …).
    """

    day: int
    kind: Kind
    answer: str


@dataclass(frozen=True, slots=True)
class Spent:
    """USD: of one day by client, of that day in all, and since the ledger began."""

    by_client: Mapping[str, float]
    day: float
    total: float


@dataclass(frozen=True, slots=True)
class SpoolHeader:
    """What the spool knows of a generation before its first byte: enough to store the answer after a crash.

    entry: JSON of everything in NewEntry that is known before the answer; written by `semantic_cache`, opaque to the spool.
    """

    generation_id: str
    began: int
    started_at: float
    entry: Mapping[str, Any] = field(default_factory=dict)
