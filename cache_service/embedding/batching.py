"""Texts that wait for the model share its next call.

A lone text never waits: it goes to the worker thread at once. What arrives while the thread is busy goes together in the
next round, taken in turn from each waiting call, so that a bulk of 10,000 texts delays a single one by a round at most.
Inside a round, texts are sorted by length and run in buckets with little padding, because padding is what a batch costs
(two cores, measured: batches of 32 in order of arrival 140 texts/s a core, one by one 215, sorted by length 278).

A text that fails, fails alone. No result is kept or shared between callers: a memo would tell one what another asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cache_service.embedding.base import Embedding, Vector
from cache_service.embedding.word_pieces import Reading
from cache_service.errors import EmbeddingError

Matrix: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (texts, dimension)."""

ROUND = 32
"""Texts in one round: about 0.1 s of two cores, which is the longest that a newcomer waits."""

BUCKET_PIECES = 1024
"""Pieces in one call, padding included. Throughput no longer grows above it; memory does (at 4,096: 200 MB more)."""

PADDING = 0.125
"""Share of a bucket that may be padding."""

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1 before it counts as broken."""


class Engine(Protocol):
    """A model in one thread: called by one thread at a time."""

    @property
    def model_id(self) -> str:
        """As in `Embedder`."""

    @property
    def dimension(self) -> int:
        """As in `Embedder`."""

    def read(self, text: str) -> Reading:
        """The text's word pieces. Raises EmbeddingError."""

    def forward(self, readings: Sequence[Reading]) -> Matrix:
        """One unit vector for each reading, in order; may raise anything."""


@dataclass(slots=True, eq=False)
class _Job:
    text: str
    future: asyncio.Future[Embedding]


class BatchingEmbedder:
    """An `Embedder` over an engine. Belongs to one event loop at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._calls: deque[deque[_Job]] = deque()
        self._running = False
        self._closed = False

    @property
    def model_id(self) -> str:
        """The engine's."""
        return self._engine.model_id

    @property
    def dimension(self) -> int:
        """The engine's."""
        return self._engine.dimension

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """As `Embedder` promises; one text that fails fails its whole call, and no other call."""
        if self._closed:
            raise EmbeddingError("the embedder is closed")
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        jobs = [_Job(text, loop.create_future()) for text in texts]
        # by length, so that the rounds of a bulk hold texts of like length
        self._calls.append(deque(sorted(jobs, key=lambda job: len(job.text))))
        if not self._running:
            self._next_round()
        try:
            return await asyncio.gather(*(job.future for job in jobs))
        finally:
            for job in jobs:
                job.future.cancel()  # of a call that failed or was cancelled, the rest need not be computed

    async def aclose(self) -> None:
        """Who still waits gets EmbeddingError; what runs is delivered."""
        self._closed = True
        for job in self._take(limit=None):
            job.future.set_exception(EmbeddingError("the embedder was closed"))
        self._thread.shutdown(wait=False)

    def _next_round(self) -> None:
        jobs = self._take(limit=ROUND)
        self._running = bool(jobs) and not self._closed
        if self._running:
            work = partial(embed_texts, self._engine, [job.text for job in jobs])
            done = asyncio.get_running_loop().run_in_executor(self._thread, work)
            done.add_done_callback(partial(self._deliver, jobs))

    def _take(self, *, limit: int | None) -> list[_Job]:
        """Waiting jobs, one of each call in turn; those whose caller went away are dropped."""
        jobs: list[_Job] = []
        while self._calls and (limit is None or len(jobs) < limit):
            call = self._calls.popleft()
            job = call.popleft()
            if call:
                self._calls.append(call)
            if not job.future.done():
                jobs.append(job)
        return jobs

    def _deliver(self, jobs: list[_Job], done: asyncio.Future[list[Embedding | EmbeddingError]]) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            results: Sequence[Embedding | EmbeddingError] = [
                EmbeddingError(f"embedding failed: {type(error).__name__}") for _ in jobs
            ]
        else:
            results = done.result()
        for job, result in zip(jobs, results, strict=True):
            if job.future.done():
                continue
            if isinstance(result, EmbeddingError):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)
        self._next_round()


def embed_texts(engine: Engine, texts: Sequence[str]) -> list[Embedding | EmbeddingError]:
    """What one round does, in order of the texts: an embedding, or the error of that text alone."""
    results: list[Embedding | EmbeddingError] = [EmbeddingError("not embedded")] * len(texts)
    readings: dict[int, Reading] = {}
    for place, text in enumerate(texts):
        try:
            readings[place] = engine.read(text)
        except EmbeddingError as error:
            results[place] = error
    places = list(readings)
    for bucket in buckets([len(readings[place].ids) for place in places]):
        chosen = [places[number] for number in bucket]
        outcomes = _forward(engine, [readings[place] for place in chosen])
        for place, outcome in zip(chosen, outcomes, strict=True):
            results[place] = outcome
    return results


def buckets(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Splits texts, given by their lengths, into calls: like lengths together, so that padding stays below `PADDING`."""
    bucket: list[int] = []
    pieces = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = lengths[number] * (len(bucket) + 1)  # this one is the longest so far
        if bucket and (padded > BUCKET_PIECES or padded - pieces - lengths[number] > PADDING * padded):
            yield bucket
            bucket, pieces = [], 0
        bucket.append(number)
        pieces += lengths[number]
    if bucket:
        yield bucket


def _forward(engine: Engine, readings: Sequence[Reading]) -> list[Embedding | EmbeddingError]:
    try:
        vectors = engine.forward(readings)
    except Exception as error:  # whatever the engine raises becomes that text's error
        if len(readings) > 1:
            return [outcome for reading in readings for outcome in _forward(engine, [reading])]
        failure = EmbeddingError(f"the embedding model failed: {type(error).__name__}")
        failure.__cause__ = error
        return [failure]
    return [_checked(reading, vector) for reading, vector in zip(readings, vectors, strict=True)]


def _checked(reading: Reading, vector: Vector) -> Embedding | EmbeddingError:
    # a NaN fails the comparison too
    if not abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE:
        return EmbeddingError("the embedding model gave a vector that is not of unit length")
    return Embedding(vector, reading.pieces, reading.unknown, reading.cut)
