"""Waiting texts share a call; nobody waits for a batch to fill, and nobody suffers from another's text."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.embedding.base import Embedding, Reading
from cache_service.embedding.batching import BatchingEmbedder, passes
from cache_service.embedding.packed import LANE_PIECES, PASS_PIECES, Matrix
from cache_service.errors import EmbeddingError


class ScriptedEngine:
    """A text is its own number of pieces; its vector points along its first letter. `gate` holds the worker."""

    model_id, dimension = "scripted@1", 128

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def read(self, text: str) -> Reading:
        """Fails for "unreadable"."""
        if text == "unreadable":
            raise EmbeddingError("unreadable")
        return Reading(text, (0,) * (len(text) + 2), tuple(text), (), None)

    def forward(self, readings: Sequence[Reading], lane: int | None = None) -> Matrix:
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


class Lanes(ScriptedEngine):
    """Of two lanes; notes who had which, and whether two passes were where one may be. `gate` holds each of them."""

    def __init__(self) -> None:
        super().__init__(lanes=2)
        self.had: list[tuple[int | None, tuple[str, ...]]] = []
        self.running: list[int | None] = []
        self.clashes = 0
        self.came = threading.Semaphore(0)
        self._noting = threading.Lock()

    def forward(self, readings: Sequence[Reading], lane: int | None = None) -> Matrix:
        """As scripted."""
        with self._noting:
            self.clashes += lane in self.running or None in self.running or (lane is None and bool(self.running))
            self.running.append(lane)
            self.had.append((lane, tuple(reading.text for reading in readings)))
        self.came.release()
        try:
            return super().forward(readings)
        finally:
            with self._noting:
                self.running.remove(lane)


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


async def test_what_is_begun_needs_nobody_who_waits() -> None:
    """The thread is at work before its caller lets the loop go on."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    begun = embedder.begin(engine.read("one"))
    assert engine.entered.wait(10)
    assert letter(await begun) == "o"
    await embedder.aclose()


async def test_what_waits_goes_together() -> None:
    """In one pass, whatever the lengths; each caller still gets its own texts, in its own order."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    waiting = [asyncio.create_task(embedder.embed([character * 10, character * 3])) for character in "abcdefgh"]
    await settle()
    engine.gate.set()
    for character, result in zip("abcdefgh", await asyncio.gather(*waiting), strict=True):
        assert [letter(each) for each in result] == [character, character]
        assert [len(each.pieces) for each in result] == [10, 3]
    assert [letter(each) for each in await first] == ["f"]
    assert [len(call) for call in engine.calls] == [1, 16]  # the first alone, then all that waited
    await embedder.aclose()


async def test_a_pass_is_bounded_and_the_oldest_goes_first() -> None:
    """Nobody is passed over for a text that would fit better, and nothing is lost where a pass is full."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    long, short = "l" * (PASS_PIECES - 2), "s" * 60
    order = [short, long, short, short, short, short, short, "x"]
    waiting = [asyncio.create_task(embedder.embed([text])) for text in order]
    await settle()
    engine.gate.set()
    await asyncio.gather(first, *waiting)
    assert [text for call in engine.calls[1:] for text in call] == order
    assert [len(call) for call in engine.calls[1:]] == [1, 1, 4, 2]
    await embedder.aclose()


@given(lengths=st.lists(st.integers(2, PASS_PIECES), max_size=60))
def test_every_text_is_in_one_pass_in_order_and_none_is_too_long(lengths: list[int]) -> None:
    """And no pass could have taken the next text too."""
    made = list(passes(Reading("", (0,) * length, (), (), None) for length in lengths))
    sums = [sum(len(reading.ids) for reading in one) for one in made]
    assert [len(reading.ids) for one in made for reading in one] == lengths
    assert all(pieces <= PASS_PIECES for pieces in sums)
    assert all(pieces + len(after[0].ids) > PASS_PIECES for pieces, after in zip(sums, made[1:], strict=False))


async def test_a_lone_text_has_all_threads_and_what_came_meanwhile_is_spread() -> None:
    """A pass for each lane, as long as the other's; nobody waits for the slower one."""
    engine = Lanes()
    embedder = BatchingEmbedder(engine)
    first = await held(engine, embedder)
    waiting = [asyncio.create_task(embedder.embed([character])) for character in "abcd"]
    await settle()
    assert engine.had == [(None, ("first",))]
    engine.gate.set()
    await asyncio.gather(first, *waiting)
    spread = engine.had[1:]
    assert {lane for lane, _ in spread} <= {0, 1}
    assert sorted(text for _, texts in spread for text in texts) == [*"abcd"]
    assert ("a", "b") in [texts for _, texts in spread]
    await embedder.aclose()


async def test_what_comes_together_is_computed_at_once() -> None:
    """In as many lanes as there are."""
    engine = Lanes()
    embedder = BatchingEmbedder(engine)
    engine.gate.clear()
    both = asyncio.create_task(embedder.embed(["a", "b"]))
    for _ in "ab":
        assert await asyncio.to_thread(engine.came.acquire, timeout=10)
    assert sorted(lane for lane, _ in engine.had if lane is not None) == [0, 1]
    assert sorted(texts for _, texts in engine.had) == [("a",), ("b",)]
    engine.gate.set()
    assert [letter(each) for each in await both] == ["a", "b"]
    await embedder.aclose()


@given(calls=st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=6), min_size=1, max_size=12))
def test_a_lane_has_one_pass_at_a_time_and_a_pass_on_all_threads_none_beside_it(calls: list[list[int]]) -> None:
    """However texts come, each is computed once, and the lanes are free again in the end."""
    engine = Lanes()

    async def ask(embedder: BatchingEmbedder, texts: list[str], turns: int) -> list[Embedding]:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await embedder.embed(texts)

    async def run() -> None:
        embedder = BatchingEmbedder(engine)
        texts = [[chr(97 + place) * length for length in call] for place, call in enumerate(calls)]
        made = await asyncio.gather(*(ask(embedder, call, 3 * place) for place, call in enumerate(texts)))
        assert [[letter(each) for each in one] for one in made] == [[text[0] for text in call] for call in texts]
        assert sorted(text for _, had in engine.had for text in had) == sorted(text for call in texts for text in call)
        assert all(sum(map(len, had)) + 2 * len(had) <= LANE_PIECES for _, had in engine.had if len(had) > 1)
        engine.had.clear()
        await embedder.embed(["again"])
        await embedder.aclose()

    asyncio.run(run())
    assert engine.clashes == 0


async def test_a_text_that_was_read_is_not_read_again() -> None:
    """Whoever looks at the reading meanwhile gives it back."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    reading = embedder.read("one")
    engine.read = None  # type: ignore[assignment, method-assign]
    assert [letter(each) for each in await embedder.embed([reading])] == ["o"]
    await embedder.aclose()


async def test_a_bulk_delays_a_single_text_by_two_passes_at_most() -> None:
    """Passes are filled from each waiting call in turn."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)
    engine.gate.clear()
    bulk = asyncio.create_task(embedder.embed(["bulk"] * PASS_PIECES))
    await asyncio.to_thread(engine.entered.wait, 10)
    single = asyncio.create_task(embedder.embed(["single"]))
    await settle()
    engine.gate.set()
    await single
    assert any("single" in call for call in engine.calls[:2])
    assert len(await bulk) == PASS_PIECES
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


def test_another_loop_is_answered_while_what_the_last_one_wanted_still_runs() -> None:
    """Each hears of its own texts, and of no other's."""
    engine = ScriptedEngine()
    embedder = BatchingEmbedder(engine)

    async def goes_away() -> None:
        (await held(engine, embedder)).cancel()

    async def comes() -> list[Embedding]:
        asking = asyncio.create_task(embedder.embed(["next"]))
        await settle()
        engine.gate.set()
        return await asking

    asyncio.run(goes_away())
    assert [letter(each) for each in asyncio.run(comes())] == ["n"]


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
