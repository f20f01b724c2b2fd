"""Steps 3 to 5: embed, search inside the partition, verify. Whatever fails here is a miss, never a hit, and never an error."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from cache_service.decision import Judged
from cache_service.embedding.base import Embedder, Reading
from cache_service.errors import EmbeddingError, VerificationError
from cache_service.index.base import Candidate, VectorIndex
from cache_service.instrumentation.events import CandidateJudged, Hook, TierFailed
from cache_service.question import Meaning, Question
from cache_service.store.base import EntryStore
from cache_service.store.entry import Entry, StoredVector
from cache_service.verification.base import Analysis, Different, Open, Same, Unsure, Verdict, Verifier

log = logging.getLogger(__name__)

AT_ONCE, SCREENED_AT_ONCE = 400, 2
"""Characters of a prompt, and stored prompts no longer than that, which the loop analyses and compares itself: 1.5 ms at most and mostly a
tenth, as much as a thread costs. Also how long a prompt is split into word pieces there."""

READ_AT_MOST = 2
"""Candidates of one prompt that the verifier's dear stages (a cross-encoder, 4 to 8 ms each) look at."""


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

    @property
    def verifier(self) -> Verifier:
        """Who verifies."""
        return self._verifier

    async def understand(self, question: Question) -> bool:
        """Step 3, once for a request. False where the prompt can't be compared by meaning."""
        if question.meaning is None and question.asked.semantic:
            started = self._monotonic()
            question.meaning = await self.embed(question.key.prompt, question.asked.operation)
            self._hook(question.took("embed", self._monotonic() - started))
        return question.meaning is not None

    async def embed(self, prompt: str, operation: str) -> Meaning | None:
        """None where the model or the analysis failed: the prompt is then found exactly only.

        The analysis needs what the model sees of the prompt, not the vector, so it is made while the model works.
        """
        try:
            async with asyncio.timeout(self._embed_timeout):
                read, at_once = self._embedder.read, len(prompt) <= AT_ONCE
                reading = read(prompt) if at_once else await asyncio.to_thread(read, prompt)
                embedded = self._embedder.begin(reading)
                analysed = self._analysed(prompt, reading, operation, at_once=at_once)
                if at_once:  # nothing waits for the analysis, and a task for each costs half as much
                    analysis, embedding = await analysed, await embedded
                else:
                    analysis, embedding = await asyncio.gather(analysed, embedded)
        except (EmbeddingError, TimeoutError):
            log.exception("a prompt could not be embedded; it is found exactly only")
            self._hook(TierFailed(operation, "embedding"))
            return None
        return None if analysis is None else Meaning(embedding, analysis)

    async def _analysed(self, prompt: str, reading: Reading, operation: str, *, at_once: bool) -> Analysis | None:
        try:
            if at_once:
                return self._verifier.analyse(prompt, reading)
            return await asyncio.to_thread(self._verifier.analyse, prompt, reading)
        except Exception:  # fail closed, whatever a verifier does
            log.exception("a prompt could not be analysed; it is found exactly only")
            self._hook(TierFailed(operation, "verifier"))
            return None

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
        """Step 5. The candidates' rows with the verdicts, the most similar first; ends at the first that is plainly `Same`.

        denied: why feedback forbids an entry, which is then not verified. Raises StoreError.
        """
        if not candidates:
            return []
        rows = await self._store.fetch([c.entry_id for c in candidates], embedding_model=self.embedding_model)
        found: list[tuple[Candidate, Entry]] = [
            (candidate, entry)
            for candidate in candidates
            # purged a moment ago, or an index that isn't what it should be: compared once more on the row
            if (entry := rows.get(candidate.entry_id)) is not None and entry.partition == partition
        ]
        denials = [denied(entry) for _, entry in found]
        compared = [
            None if denial else (await self._stored(entry, operation), candidate.similarity)
            for (candidate, entry), denial in zip(found, denials, strict=True)
        ]
        verdicts = iter(await self._judge(meaning.analysis, [pair for pair in compared if pair is not None], operation))
        judged = []
        for (candidate, entry), denial in zip(found, denials, strict=True):
            verdict = Different(denial) if denial else next(verdicts, None)
            if verdict is None:  # not judged, since a closer one is the same
                break
            judged.append(Judged(entry, candidate.similarity, verdict))
        return judged

    async def first_equal(
        self, meaning: Meaning, others: Sequence[tuple[Analysis | None, float]], operation: str
    ) -> int | None:
        """Which of the others (analysis and cosine; by position) the verifier takes for the same prompt; None if none."""
        verdicts = await self._judge(meaning.analysis, others, operation)
        return next((place for place, verdict in enumerate(verdicts) if isinstance(verdict, Same)), None)

    def stored_vector(self, meaning: Meaning) -> StoredVector:
        """The meaning as it is filed with an entry."""
        analysis = meaning.analysis
        facts = {"prompt": analysis.prompt, "facts": analysis.facts}
        return StoredVector(self.embedding_model, meaning.embedding.vector, analysis.version, facts)

    async def _stored(self, entry: Entry, operation: str) -> Analysis | None:
        """The entry's analysis, made anew if an older verifier made it; None where that fails."""
        if entry.analysis is not None and entry.analysis_version == self._verifier.version:
            return Analysis(entry.analysis_version, entry.analysis["prompt"], entry.analysis["facts"])
        again = await self.embed(entry.prompt, operation)
        return None if again is None else again.analysis

    async def _judge(
        self, asked: Analysis, compared: Sequence[tuple[Analysis | None, float]], operation: str
    ) -> list[Verdict]:
        """The verifier's word on each, in order and up to the first that is plainly the same. A failure or a time-out is `Unsure`.

        compared: analyses, None where there is none, with their similarity.
        """
        if not compared:
            return []
        judging = Judging(self._verifier, asked, operation, self._monotonic)
        analyses = [analysis for analysis, _ in compared]
        started = self._monotonic()
        try:
            settled = _is_short(asked, analyses) and judging.screen(analyses)
            left = self._verify_timeout - (self._monotonic() - started)
            if settled and left >= 0:
                found = judging.found
            else:
                found = await asyncio.wait_for(asyncio.to_thread(judging.all, analyses), left)
        except TimeoutError:
            self._hook(TierFailed(operation, "verifier"))
            found = [(Unsure("the verifier was late"), self._verify_timeout)] * len(compared)
        for _ in range(judging.failures):
            self._hook(TierFailed(operation, "verifier"))
        for (verdict, seconds), (_, similarity) in zip(found, compared, strict=False):
            self._hook(CandidateJudged(operation, type(verdict).__name__.lower(), similarity, seconds))
        return [verdict for verdict, _ in found]


def _is_short(asked: Analysis, stored: Sequence[Analysis | None]) -> bool:
    texts = [asked.prompt, *(analysis.prompt for analysis in stored if analysis is not None)]
    return len(stored) <= SCREENED_AT_ONCE and max(map(len, texts)) <= AT_ONCE


class Judging:
    """One prompt against several others: cheap stages for all of them, the dear ones for the likeliest few.

    failures: how often the verifier raised. A candidate whose verification fails is unsure; the others go on.
    """

    def __init__(self, verifier: Verifier, asked: Analysis, operation: str, monotonic: Callable[[], float]) -> None:
        self.failures = 0
        self._verifier = verifier
        self._asked = asked
        self._operation = operation
        self._monotonic = monotonic
        self._said: list[tuple[Verdict | Open, float]] = []

    @property
    def found(self) -> list[tuple[Verdict, float]]:
        """A verdict and the seconds it took for each, up to the first that is the same without a model."""
        return [(_unread(said), seconds) for said, seconds in self._said]

    def screen(self, stored: Sequence[Analysis | None]) -> bool:
        """The cheap stages; whether that settles it."""
        for analysis in stored:
            self._said.append(self._asking(self._verifier.screen, analysis))
            if isinstance(self._said[-1][0], Same):
                return True
        return not any(isinstance(said, Open) for said, _ in self._said)

    def all(self, stored: Sequence[Analysis | None]) -> list[tuple[Verdict, float]]:
        """What every stage says, the cheap ones only if they haven't been asked. In a thread."""
        if not self._said and self.screen(stored):
            return self.found
        doubtful = [(said.likely, -place) for place, (said, _) in enumerate(self._said) if isinstance(said, Open)]
        for _, place in sorted(doubtful, reverse=True)[:READ_AT_MOST]:
            said, seconds = self._asking(self._verifier.verify, stored[-place])
            self._said[-place] = said, self._said[-place][1] + seconds
            if isinstance(said, Same):
                break
        return self.found

    def _asking(
        self, ask: Callable[[Analysis, Analysis, str], Verdict | Open], stored: Analysis | None
    ) -> tuple[Verdict | Open, float]:
        started = self._monotonic()
        said: Verdict | Open
        if stored is None:
            return Unsure("the stored prompt can't be analysed"), 0.0
        try:
            said = _checked(ask(self._asked, stored, self._operation))
        except Exception:  # fail closed for the candidate, whatever a verifier does
            log.exception("the verifier failed on a candidate")
            self.failures += 1
            said = Unsure("the verifier failed")
        return said, self._monotonic() - started


def _checked(said: Verdict | Open) -> Verdict | Open:
    if not isinstance(said, Same | Different | Unsure | Open):
        raise VerificationError(f"the verifier said {type(said).__name__}")
    return said


def _unread(said: Verdict | Open) -> Verdict:
    return Unsure(f"{said.reason}; another is likelier") if isinstance(said, Open) else said
