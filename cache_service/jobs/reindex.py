"""Vectors of another embedding model beside those in force, and what would be decided otherwise with them.

Nothing that is served changes: each model's vectors lie in SQL under its id and are never compared with another's. The switch is the
setting `embedding_model`, and so is the way back, for the old vectors stay.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cache_service.embedding.base import Embedder
from cache_service.errors import EmbeddingError
from cache_service.store.base import EntryStore
from cache_service.store.entry import Entry, StoredVector
from cache_service.verification.base import Analysis, Same, Verifier

PAGE = 64  # prompts embedded at once: a few rounds of the model, so that what serves beside it isn't held up for long

CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """Entries whose prompt was looked up among the others, by what either model would have served for it.

    same: the same entry, or nothing. other: another entry. gained, lost: a hit with the new model only, or with the old one only.
    """

    compared: int
    same: int
    other: int
    gained: int
    lost: int


async def embed_missing(store: EntryStore, embedder: Embedder, verifier: Verifier) -> tuple[int, int]:
    """Files a vector of the embedder's model for every entry that has one of another; how many, and how many failed. Resumable."""
    done = failed = last = 0
    while page := await store.without_vector(embedding_model=embedder.model_id, after_id=last, limit=PAGE):
        last = page[-1][0]
        stored: dict[int, StoredVector] = {}
        for entry_id, prompt in page:
            try:
                (embedding,) = await embedder.embed([prompt])
            except EmbeddingError:
                failed += 1
                continue
            analysis = await asyncio.to_thread(verifier.analyse, prompt, embedding)
            facts = {"prompt": analysis.prompt, "facts": analysis.facts}
            stored[entry_id] = StoredVector(embedder.model_id, embedding.vector, analysis.version, facts)
        done += await store.set_vectors(stored)
    return done, failed


async def agreement(
    store: EntryStore, old: str, new: str, verifier: Verifier, *, threshold: float, most: int
) -> Agreement:
    """Looks up to `most` stored prompts up among the others of their partition, with the vectors of either model, and verifies."""
    served = [await _served(store, model, verifier, threshold, most) for model in (old, new)]
    counts: Counter[str] = Counter()
    for entry_id in served[0].keys() & served[1].keys():
        before, after = served[0][entry_id], served[1][entry_id]
        counts["same" if before == after else "gained" if before is None else "lost" if after is None else "other"] += 1
    return Agreement(counts.total(), counts["same"], counts["other"], counts["gained"], counts["lost"])


async def _served(
    store: EntryStore, model: str, verifier: Verifier, threshold: float, most: int
) -> dict[int, int | None]:
    """By entry, the other entry that its prompt would be answered with."""
    partitions = defaultdict(list)
    read = last = 0
    while read < most and (rows := await store.scan_vectors(embedding_model=model, after_id=last, limit=1000)):
        for row in rows[: most - read]:
            partitions[row.partition].append(row)
        read, last = read + len(rows), rows[-1].entry_id
    decided: dict[int, int | None] = {}
    for rows in partitions.values():
        ids = [row.entry_id for row in rows]
        entries = await store.fetch(ids, embedding_model=model)
        matrix = np.stack([row.vector for row in rows])
        for position, entry_id in enumerate(ids):
            cosines = matrix @ matrix[position]
            cosines[position] = -1.0
            near = [ids[each] for each in np.argsort(-cosines)[:CANDIDATES] if cosines[each] >= threshold]
            if entry_id in entries:
                candidates = [entries[each] for each in near if each in entries]
                decided[entry_id] = await asyncio.to_thread(_first_same, verifier.verify, entries[entry_id], candidates)
    return decided


def _first_same(
    verify: Callable[[Analysis, Analysis, str], object], asked: Entry, candidates: list[Entry]
) -> int | None:
    for candidate in candidates:
        if asked.analysis is None or candidate.analysis is None:
            continue
        if isinstance(verify(_analysis(asked), _analysis(candidate), asked.operation), Same):
            return candidate.id
    return None


def _analysis(entry: Entry) -> Analysis:
    assert entry.analysis is not None  # noqa: S101  for the type checker: asked before
    return Analysis(entry.analysis_version or "", entry.analysis["prompt"], entry.analysis["facts"])
