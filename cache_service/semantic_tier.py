"""Steps 3 to 5: embed, search inside the partition, verify. Whatever fails here is a miss, never a hit, and never an error."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from cache_service.decision import Judged
from cache_service.embedding.base import Embedder
from cache_service.errors import EmbeddingError, VerificationError
from cache_service.index.base import Candidate, VectorIndex
from cache_service.instrumentation.events import CandidateJudged, Hook, StepTimed, TierFailed
from cache_service.question import Meaning, Question
from cache_service.store.base import EntryStore
from cache_service.store.entry import Entry, StoredVector
from cache_service.verification.base import Analysis, Different, Same, Unsure, Verdict, Verifier

log = logging.getLogger(__name__)


class SemanticTier:
    """Finds stored prompts that ask for the same thing.

    embed_timeout: seconds after which a prompt counts as not embeddable. verify_timeout: after which a verdict is unsure.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        index: VectorIndex,
        store: EntryStore,
        verifier: Verifier,
        hook: Hook,
        candidates: int,
        embed_timeout: float,
        verify_timeout: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.embedding_model = embedder.model_id
        self._embedder = embedder
        self._index = index
        self._store = store
        self._verifier = verifier
        self._hook = hook
        self._candidates = candidates
        self._embed_timeout = embed_timeout
        self._verify_timeout = verify_timeout
        self._monotonic = monotonic

    async def understand(self, question: Question) -> bool:
        """Step 3, once for a request. False where the prompt can't be compared by meaning."""
        if question.meaning is None and question.asked.semantic:
            started = self._monotonic()
            question.meaning = await self.embed(question.key.prompt, question.asked.operation)
            self._hook(StepTimed(question.asked.operation, "embed", self._monotonic() - started))
        return question.meaning is not None

    async def embed(self, prompt: str, operation: str) -> Meaning | None:
        """None where the model or the analysis failed: the prompt is then found exactly only."""
        try:
            async with asyncio.timeout(self._embed_timeout):
                (embedding,) = await self._embedder.embed([prompt])
        except (EmbeddingError, TimeoutError):
            log.exception("a prompt could not be embedded; it is found exactly only")
            self._hook(TierFailed(operation, "embedding"))
            return None
        try:
            analysis = await asyncio.to_thread(self._verifier.analyse, prompt, embedding)
        except Exception:  # fail closed, whatever a verifier does
            log.exception("a prompt could not be analysed; it is found exactly only")
            self._hook(TierFailed(operation, "verifier"))
            return None
        return Meaning(embedding, analysis)

    async def search(self, partition: str, meaning: Meaning, floor: float) -> list[Candidate]:
        """Step 4. The closest entries of the partition, cosine ≥ floor."""
        return await self._index.search(partition, meaning.embedding.vector, limit=self._candidates, floor=floor)

    async def verify(
        self,
        candidates: Sequence[Candidate],
        partition: str,
        meaning: Meaning,
        operation: str,
        *,
        denied: Callable[[Entry], str | None] = lambda entry: None,
    ) -> list[Judged]:
        """Step 5. The candidates' rows with the verdicts, the most similar first; ends at the first `Same`. Raises StoreError.

        denied: why feedback forbids an entry, which is then not verified.
        """
        if not candidates:
            return []
        rows = await self._store.fetch([c.entry_id for c in candidates], embedding_model=self.embedding_model)
        judged = []
        for candidate in candidates:
            entry = rows.get(candidate.entry_id)
            if entry is None or entry.partition != partition:
                continue  # purged a moment ago, or an index that isn't what it should be: compared once more on the row
            denial = denied(entry)
            verdict = (
                Different(denial) if denial else await self._verdict(meaning, entry, candidate.similarity, operation)
            )
            judged.append(Judged(entry, candidate.similarity, verdict))
            if isinstance(verdict, Same):
                break
        return judged

    async def first_equal(
        self,
        meaning: Meaning,
        others: Iterable[tuple[StoredVector | None, Analysis | None]],
        floor: float,
        operation: str,
    ) -> int | None:
        """Which of the others (by position) the verifier takes for the same prompt, cosine ≥ floor; None if none."""
        for position, (vector, analysis) in enumerate(others):
            if vector is None or analysis is None:
                continue
            similarity = float(vector.vector @ meaning.embedding.vector)
            if similarity >= floor and isinstance(
                await self._judge(meaning.analysis, analysis, similarity, operation), Same
            ):
                return position
        return None

    def stored_vector(self, meaning: Meaning) -> StoredVector:
        """The meaning as it is filed with an entry."""
        analysis = meaning.analysis
        facts = {"prompt": analysis.prompt, "facts": analysis.facts}
        return StoredVector(self.embedding_model, meaning.embedding.vector, analysis.version, facts)

    async def _verdict(self, meaning: Meaning, entry: Entry, similarity: float, operation: str) -> Verdict:
        if entry.analysis is not None and entry.analysis_version == self._verifier.version:
            stored = Analysis(entry.analysis_version, entry.analysis["prompt"], entry.analysis["facts"])
        else:  # of an older verifier: analysed anew
            again = await self.embed(entry.prompt, operation)
            if again is None:
                return Unsure("the stored prompt can't be analysed")
            stored = again.analysis
        return await self._judge(meaning.analysis, stored, similarity, operation)

    async def _judge(self, asked: Analysis, stored: Analysis, similarity: float, operation: str) -> Verdict:
        """The verifier's word; a failure or a time-out is `Unsure`."""
        started = self._monotonic()
        verdict: Verdict
        try:
            judging = asyncio.to_thread(self._checked, asked, stored, operation)
            verdict = await asyncio.wait_for(judging, self._verify_timeout)
        except TimeoutError:
            self._hook(TierFailed(operation, "verifier"))
            verdict = Unsure("the verifier was late")
        except Exception:  # fail closed for the candidate, whatever a verifier does
            log.exception("the verifier failed on a candidate")
            self._hook(TierFailed(operation, "verifier"))
            verdict = Unsure("the verifier failed")
        seconds = self._monotonic() - started
        self._hook(CandidateJudged(operation, type(verdict).__name__.lower(), similarity, seconds))
        return verdict

    def _checked(self, asked: Analysis, stored: Analysis, operation: str) -> Verdict:
        verdict = self._verifier.verify(asked, stored, operation)
        if not isinstance(verdict, Same | Different | Unsure):
            raise VerificationError(f"the verifier said {type(verdict).__name__}")
        return verdict
