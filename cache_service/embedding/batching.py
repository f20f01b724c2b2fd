"""Texts that wait for the model share its next pass.

A lone text never waits: its pass begins at once, on all threads. What arrives meanwhile, or what comes together, is spread over the engine's
lanes, passes that run at once on a part of the threads each: two passes that never wait for each other make a third more than one of which both
threads do a half. Whatever lane is free takes what waits, up to `LANE_PIECES`, in turn from each waiting call and the oldest first: a bulk of
10,000 texts delays a single one by two passes at most, and nobody is passed over. Threads go from one pass to the next without asking the
event loop, which is told of each result.

A text that fails, fails alone. No result is kept or shared between callers: a memo would tell one what another asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np

from cache_service.embedding.base import Embedding, Reading, Vector
from cache_service.embedding.packed import LANE_PIECES, PASS_PIECES, Matrix
from cache_service.errors import EmbeddingError

Outcome: TypeAlias = Embedding | EmbeddingError

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1 before it counts as broken."""

ALONE: Final = None
"""The lane of a pass that has all threads."""


class Engine(Protocol):
    """A model: `forward` is called once at a time for each lane, and alone for none; `read` by any thread."""

    @property
    def model_id(self) -> str:
        """As in `Embedder`."""

    @property
    def dimension(self) -> int:
        """As in `Embedder`."""

    @property
    def lanes(self) -> int:
        """How many passes at once get most out of the cores; with one, that has all threads."""

    def read(self, text: str) -> Reading:
        """The text's word pieces. Raises EmbeddingError."""

    def forward(self, readings: Sequence[Reading], lane: int | None = ALONE) -> Matrix:
        """One unit vector for each of at least one reading, in order; may raise anything. lane: below `lanes`."""


@dataclass(slots=True, eq=False)
class _Job:
    text: str | Reading
    future: asyncio.Future[Embedding]


class BatchingEmbedder:
    """An `Embedder` over an engine. Belongs to one event loop at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._several = engine.lanes > 1
        self._most = LANE_PIECES if self._several else PASS_PIECES
        self._threads = ThreadPoolExecutor(engine.lanes, thread_name_prefix="embedding")
        self._lock = threading.Lock()  # of the next four, which the loop and the threads share
        self._calls: deque[deque[_Job]] = deque()
        self._waiting = 0  # jobs in them
        self._free = list(range(engine.lanes))
        self._alone = False  # the one lane at work has all threads
        self._closed = False

    @property
    def model_id(self) -> str:
        """The engine's."""
        return self._engine.model_id

    @property
    def dimension(self) -> int:
        """The engine's."""
        return self._engine.dimension

    def read(self, text: str) -> Reading:
        """The engine's."""
        return self._engine.read(text)

    async def embed(self, texts: Sequence[str | Reading]) -> list[Embedding]:
        """As `Embedder` promises; one text that fails fails its whole call, and no other call."""
        if self._closed:
            raise EmbeddingError("the embedder is closed")
        if not texts:
            return []
        jobs = [self._job(text) for text in texts]
        self._put(jobs)
        try:
            return await asyncio.gather(*(job.future for job in jobs))
        finally:
            for job in jobs:
                job.future.cancel()  # of a call that failed or was cancelled, the rest need not be computed

    def begin(self, reading: Reading) -> asyncio.Future[Embedding]:
        """As `Embedder` promises."""
        if self._closed:
            raise EmbeddingError("the embedder is closed")
        job = self._job(reading)
        self._put([job])
        return job.future

    async def aclose(self) -> None:
        """Who still waits gets EmbeddingError; what runs is delivered."""
        self._closed = True
        with self._lock:
            waiting = [job for call in self._calls for job in call]
            self._calls.clear()
            self._waiting = 0
        for job in waiting:
            if not job.future.done():
                job.future.set_exception(EmbeddingError("the embedder was closed"))
        self._threads.shutdown(wait=False)

    def _job(self, text: str | Reading) -> _Job:
        return _Job(text, asyncio.get_running_loop().create_future())

    def _put(self, jobs: Sequence[_Job]) -> None:
        with self._lock:
            self._calls.append(deque(jobs))
            self._waiting += len(jobs)
        self._begin_lane()

    def _begin_lane(self) -> None:
        """Sets a lane to work where one is free, something waits and no pass has all threads."""
        with self._lock:
            if self._closed or self._alone or not self._free or not self._waiting:
                return
            self._alone = len(self._free) == self._engine.lanes and (self._waiting == 1 or not self._several)
            lane = self._free.pop()
        self._threads.submit(self._passes, lane)

    def _passes(self, lane: int) -> None:
        """One pass after the other until nothing waits; runs in a thread."""
        while True:
            most = self._share()
            jobs, readings = self._next_pass(most)
            self._begin_lane()  # with what is left
            if readings:
                _tell(jobs, forward(self._engine, readings, ALONE if self._alone else lane))
                self._alone = self._alone and not self._several  # what waited meanwhile is spread
            elif self._leave(lane):
                return

    def _share(self) -> int:
        """How many of those that wait a lane is to take now: the free ones get as many."""
        with self._lock:
            if self._several and self._waiting > 1:
                self._alone = False  # others came before the thread was awake
            return -(-self._waiting // (1 + len(self._free)))

    def _next_pass(self, most: int) -> tuple[list[_Job], list[Reading]]:
        """At most so many, as far as they have room in one pass."""
        jobs: list[_Job] = []
        readings: list[Reading] = []
        pieces = 0
        while len(jobs) < most and (job := self._take()) is not None:
            reading = read(self._engine, job.text)
            if isinstance(reading, EmbeddingError):
                _tell([job], [reading])
                continue
            pieces += len(reading.ids)
            if readings and pieces > self._most:
                self._put_back(_Job(reading, job.future))
                break
            jobs.append(job)
            readings.append(reading)
        return jobs, readings

    def _take(self) -> _Job | None:
        """A job of the call whose turn it is; those whose caller went away are dropped."""
        with self._lock:
            while self._calls:
                call = self._calls.popleft()
                job = call.popleft()
                self._waiting -= 1
                if call:
                    self._calls.append(call)
                if not job.future.done():
                    return job
        return None

    def _put_back(self, job: _Job) -> None:
        """It is the next one's first."""
        with self._lock:
            self._calls.appendleft(deque([job]))
            self._waiting += 1

    def _leave(self, lane: int) -> bool:
        """Whether nothing waits: the lane is free, and who comes from now on has to begin one."""
        with self._lock:
            if not self._waiting:
                self._free.append(lane)
                self._alone = False
            return not self._waiting


def read(engine: Engine, text: str | Reading) -> Reading | EmbeddingError:
    """The text's pieces, unless it has been read already."""
    if isinstance(text, Reading):
        return text
    try:
        return engine.read(text)
    except EmbeddingError as error:
        return error


def embed_texts(engine: Engine, texts: Iterable[str]) -> list[Outcome]:
    """In passes as the embedder makes them: an embedding of each text, or the error of that text alone."""
    readings = [read(engine, text) for text in texts]
    outcomes = (
        outcome
        for one in passes(reading for reading in readings if isinstance(reading, Reading))
        for outcome in forward(engine, one)
    )
    return [reading if isinstance(reading, EmbeddingError) else next(outcomes) for reading in readings]


def passes(readings: Iterable[Reading], most: int = PASS_PIECES) -> Iterator[list[Reading]]:
    """As many together as a pass has room for, in order. most: pieces in one."""
    chosen: list[Reading] = []
    pieces = 0
    for reading in readings:
        pieces += len(reading.ids)
        if chosen and pieces > most:
            yield chosen
            chosen, pieces = [], len(reading.ids)
        chosen.append(reading)
    if chosen:
        yield chosen


def forward(engine: Engine, readings: Sequence[Reading], lane: int | None = ALONE) -> list[Outcome]:
    """What one pass makes of each; where it fails, each is tried alone."""
    try:
        vectors = engine.forward(readings, lane)
    except Exception as error:  # whatever the engine raises becomes that text's error
        if len(readings) > 1:
            return [outcome for reading in readings for outcome in forward(engine, [reading], lane)]
        failure = EmbeddingError(f"the embedding model failed: {type(error).__name__}")
        failure.__cause__ = error
        return [failure]
    return [_checked(reading, vector) for reading, vector in zip(readings, vectors, strict=True)]


def _checked(reading: Reading, vector: Vector) -> Outcome:
    # a NaN fails the comparison too
    if not abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE:
        return EmbeddingError("the embedding model gave a vector that is not of unit length")
    return Embedding(vector, reading.pieces, reading.unknown, reading.cut)


def _tell(jobs: Sequence[_Job], outcomes: Sequence[Outcome]) -> None:
    """Each job's own loop hears of it, once for the pass; a new loop may wait while what an old one wanted still runs."""
    told: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Outcome]]] = {}
    for job, outcome in zip(jobs, outcomes, strict=True):
        told.setdefault(job.future.get_loop(), []).append((job, outcome))
    for loop, results in told.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(_deliver, results)


def _deliver(results: Sequence[tuple[_Job, Outcome]]) -> None:
    for job, outcome in results:
        if job.future.done():
            continue
        if isinstance(outcome, EmbeddingError):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
