"""Waiting texts share a call; nobody waits for a batch to fill, and nobody suffers from another's text."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.embedding import batching
from cache_service.embedding.base import Embedding
from cache_service.embedding.batching import BatchingEmbedder, Matrix, buckets
from cache_service.embedding.word_pieces import Reading
from cache_service.errors import EmbeddingError


class ScriptedEngine:
    """A text is its own number of pieces; its vector points along its first letter. `gate` holds the worker."""

    model_id, dimension = "scripted@1", 128

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def read(self, text: str) -> Reading:
        """Fails for "unreadable"."""
        if text == "unreadable":
            raise EmbeddingError("unreadable")
        return Reading(text, (0,) * (len(text) + 2), tuple(text), (), None)

    def forward(self, readings: Sequence[Reading]) -> Matrix:
        """Fails for a batch with "crash" in it; "nan" gives NaN."""
        self.entered.set()
        assert self.gate.wait(10)
        self.calls.append([reading.text for reading in readings])
        if any(reading.text == "crash" for reading in readings):
            raise RuntimeError("crash")
        vectors = np.zeros((len(readings), self.dimension), np.float32)
        for row, reading in enumerate(readings):
            vectors[row, ord(reading.text[0]) if reading.text else 0] = np.nan if reading.text == "nan" else 1
        return vectors


def letter(embedding: Embedding) -> str:
    """Which text it is of."""
    return chr(int(embedding.vector.argmax()))


async def held(engine: ScriptedEngine, embedder: BatchingEmbedder) -> asyncio.Task[list[Embedding]]:
    """A first call that keeps the worker busy until the gate opens."""
    engine.gate.clear()
    first = asyncio.create_task(embedder.embed(["first"]))
    await asyncio.to_thread(engine.entered.wait, 10)
    return first


async def settle() -> None:
    """Lets every task that can run, run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_text_goes_at_once() -> None:
    """It is a batch of one."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    assert [letter(each) for each in await embedder.embed(["one"])] == ["o"]
    assert engine.calls == [["one"]]
    await embedder.aclose()


async def test_what_waits_goes_together_and_is_sorted_by_length() -> None:
    """Each caller still gets its own texts, in its own order."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    waiting = [asyncio.create_task(embedder.embed([character * 40, character * 3])) for character in "abcdefgh"]
    await settle()
    engine.gate.set()
    for character, result in zip("abcdefgh", await asyncio.gather(*waiting), strict=True):
        assert [letter(each) for each in result] == [character, character]
        assert [len(each.pieces) for each in result] == [40, 3]
    assert [letter(each) for each in await first] == ["f"]
    assert [len(call) for call in engine.calls] == [1, 8, 8]  # the first alone, then the short ones, then the long ones
    await embedder.aclose()


async def test_a_bulk_delays_a_single_text_by_one_round_at_most() -> None:
    """Rounds are filled from each waiting call in turn."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    engine.gate.clear()
    bulk = asyncio.create_task(embedder.embed(["bulk"] * (batching.ROUND * 10)))
    await asyncio.to_thread(engine.entered.wait, 10)
    single = asyncio.create_task(embedder.embed(["single"]))
    await settle()
    engine.gate.set()
    await single
    assert ["single"] in engine.calls[:4]
    assert len(await bulk) == batching.ROUND * 10
    await embedder.aclose()


@pytest.mark.parametrize("bad", ["unreadable", "crash", "nan"])
async def test_a_text_that_fails_fails_alone(bad: str) -> None:
    """Also when it shared a call with others; a NaN is a failure."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    good = [asyncio.create_task(embedder.embed([character * len(bad)])) for character in "abc"]
    broken = asyncio.create_task(embedder.embed([bad]))
    await settle()
    engine.gate.set()
    assert [letter(each) for [each] in await asyncio.gather(*good)] == ["a", "b", "c"]
    with pytest.raises(EmbeddingError):
        await broken
    await first
    with pytest.raises(EmbeddingError):
        await embedder.embed(["fine", bad])
    assert await embedder.embed(["fine"])
    await embedder.aclose()


async def test_a_caller_that_goes_away_disturbs_nobody() -> None:
    """What it waited for is not even computed."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    gone = asyncio.create_task(embedder.embed(["gone"] * 100))
    stays = asyncio.create_task(embedder.embed(["stay"]))
    await settle()
    gone.cancel()
    await settle()
    first.cancel()  # this one is being computed
    engine.gate.set()
    assert [letter(each) for each in await stays] == ["s"]
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not any("gone" in call for call in engine.calls)
    assert await embedder.embed(["next"])
    await embedder.aclose()


async def test_closing_fails_who_waits_and_delivers_what_runs() -> None:
    """Nobody is left waiting for ever."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    waiting = asyncio.create_task(embedder.embed(["waiting"]))
    await settle()
    await embedder.aclose()
    with pytest.raises(EmbeddingError):
        await waiting
    engine.gate.set()
    assert [letter(each) for each in await first] == ["f"]


async def test_the_loop_goes_on_while_the_model_works() -> None:
    """The model runs in a thread of its own."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    await settle()  # would hang if the loop were blocked
    assert not first.done()
    engine.gate.set()
    await first
    await embedder.aclose()


@given(lengths=st.lists(st.integers(2, 256), max_size=batching.ROUND * 4))
def test_every_text_is_in_one_bucket_and_padding_is_bounded(lengths: list[int]) -> None:
    """At most `BUCKET_PIECES` pieces in a call, at most an eighth of them padding."""
    made = list(buckets(lengths))
    assert sorted(number for bucket in made for number in bucket) == list(range(len(lengths)))
    for bucket in made:
        padded = max(lengths[number] for number in bucket) * len(bucket)
        assert padded <= batching.BUCKET_PIECES
        assert padded - sum(lengths[number] for number in bucket) <= batching.PADDING * padded
