"""What `index/base` promises, held by the real index and by its fake: one suite, and a state machine beside a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cache_service.embedding.base import Vector
from cache_service.index import large_partition
from cache_service.index.base import IndexPosition, VectorIndex
from cache_service.index.faiss import FaissIndex
from tests.fakes.index import BruteForceIndex

DIMENSION = 8
Open = Callable[[], VectorIndex]


def unit(*numbers: float) -> Vector:
    """The direction of those first coordinates."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.float32(np.linalg.norm(vector))


def at_angle(cosine: float) -> Vector:
    """A direction with that cosine to X."""
    return unit(cosine, float(np.sqrt(1 - cosine**2)))


X, Y = unit(1), unit(0, 1)


@pytest.fixture(params=["faiss", "faiss-large", "fake"])
def open_index(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens an index on the same storage each time; `faiss-large` gives every partition of two an index of its own."""
    if request.param == "fake":
        disk: dict[str, Any] = {}
        return lambda: BruteForceIndex(DIMENSION, disk)
    return lambda: FaissIndex(tmp_path, DIMENSION, small_partition=1 if request.param == "faiss-large" else 100)


async def opened(open_index: Open, *, epoch: str = "e", model: str = "m") -> tuple[VectorIndex, bool]:
    """An index after `load`, and whether it found a snapshot."""
    index = open_index()
    return index, await index.load(epoch=epoch, model_id=model)


async def test_the_most_similar_comes_first_and_nothing_below_the_floor(open_index: Open) -> None:
    """The floor is inclusive."""
    index, _ = await opened(open_index)
    for entry_id, cosine in enumerate([0.5, 0.99, 0.0, 0.95]):
        index.add(entry_id, "p", at_angle(cosine))
    index.add(9, "p", X)
    found = await index.search("p", X, limit=10, floor=0.9)
    assert [c.entry_id for c in found] == [9, 1, 3]
    assert [c.similarity for c in found] == pytest.approx([1.0, 0.99, 0.95], abs=1e-6)
    assert [c.entry_id for c in await index.search("p", X, limit=10, floor=0.0)] == [9, 1, 3, 0, 2]
    assert [c.entry_id for c in await index.search("p", X, limit=10, floor=1.0)] == [9]
    assert [c.entry_id for c in await index.search("p", X, limit=2, floor=0.9)] == [9, 1]
    await index.aclose()


async def test_equally_similar_entries_come_by_smaller_id(open_index: Open) -> None:
    """So that the same lookup gives the same answer on every node."""
    index, _ = await opened(open_index)
    for entry_id in (7, 3, 9, 1, 5, *range(100, 140)):
        index.add(entry_id, "p", at_angle(0.97))
    assert [c.entry_id for c in await index.search("p", X, limit=3, floor=0.9)] == [1, 3, 5]
    await index.aclose()


async def test_the_nearest_of_all_partitions_are_found_for_operators(open_index: Open) -> None:
    """The most similar first, ties by smaller id, as in a search; what was removed isn't there."""
    index, _ = await opened(open_index)
    for entry_id, place, vector in ((1, "p", X), (2, "q", X), (3, "r", Y), (4, "q", X)):
        index.add(entry_id, place, vector)
    index.remove(4)
    assert [(c.entry_id, c.similarity) for c in await index.nearest(X, limit=9, floor=0.5)] == [(1, 1.0), (2, 1.0)]
    assert [c.entry_id for c in await index.nearest(X, limit=1, floor=0.5)] == [1]
    assert [c.entry_id for c in await index.nearest(X, limit=9, floor=-1.0)] == [1, 2, 3]


async def test_a_search_never_leaves_its_partition(open_index: Open) -> None:
    """Equal vectors in another partition are not found."""
    index, _ = await opened(open_index)
    for entry_id in range(10):
        index.add(entry_id, f"p{entry_id % 2}", X)
    assert {c.entry_id for c in await index.search("p1", X, limit=10, floor=-1)} == {1, 3, 5, 7, 9}
    assert await index.search("p2", X, limit=10, floor=-1) == []
    await index.aclose()


async def test_adding_an_entry_again_replaces_its_vector_and_partition(open_index: Open) -> None:
    """It is found once, where it is now."""
    index, _ = await opened(open_index)
    index.add(1, "p", X)
    index.add(2, "p", X)
    index.add(1, "p", Y)
    assert [c.entry_id for c in await index.search("p", X, limit=9, floor=0.5)] == [2]
    index.add(2, "q", X)
    assert await index.search("p", X, limit=9, floor=0.5) == []
    assert [c.entry_id for c in await index.search("q", X, limit=9, floor=0.5)] == [2]
    assert len(index) == 2
    assert index.partition_of(2) == "q"
    await index.aclose()


async def test_a_removed_entry_is_gone_and_an_unknown_one_is_no_error(open_index: Open) -> None:
    """A purge must hold."""
    index, _ = await opened(open_index)
    index.add(1, "p", X)
    index.add(2, "p", X)
    index.add(3, "p", X)
    index.remove(2)
    index.remove(77)
    assert [c.entry_id for c in await index.search("p", X, limit=9, floor=0.5)] == [1, 3]
    assert set(index.entry_ids()) == {1, 3}
    assert index.partition_of(2) is None
    index.remove(1)
    index.remove(3)
    assert len(index) == 0
    assert await index.search("p", X, limit=9, floor=-1) == []
    await index.aclose()


@pytest.mark.parametrize("damaged", [[np.nan] * DIMENSION, [np.inf] + [0] * 7, [0.0] * DIMENSION, [3.0] + [0] * 7])
async def test_a_damaged_vector_makes_its_entry_unfindable(open_index: Open, damaged: list[float]) -> None:
    """It fails closed, also where the entry was fine before, and the rest goes on."""
    index, _ = await opened(open_index)
    index.add(1, "p", X)
    index.add(2, "p", X)
    index.add(1, "p", np.array(damaged, np.float32))
    assert [c.entry_id for c in await index.search("p", X, limit=9, floor=-1)] == [2]
    assert len(index) == 1
    await index.aclose()


async def test_clear_forgets_everything_also_the_position(open_index: Open) -> None:
    """And the index can be filled anew."""
    index, _ = await opened(open_index)
    index.add(1, "p", X)
    index.advance(IndexPosition("e", 5))
    index.clear()
    assert (len(index), index.position) == (0, None)
    assert await index.search("p", X, limit=9, floor=-1) == []
    index.add(1, "q", X)
    assert [c.entry_id for c in await index.search("q", X, limit=9, floor=-1)] == [1]
    await index.aclose()


async def test_a_saved_index_answers_the_same_after_a_restart(open_index: Open) -> None:
    """Exactly as at the save: what came later is in the change feed."""
    index, loaded = await opened(open_index)
    assert not loaded
    for entry_id in range(6):
        index.add(entry_id, f"p{entry_id % 2}", at_angle(1 - entry_id / 100))
    index.remove(4)
    index.advance(IndexPosition("e", 41))
    await index.save()
    before = await index.search("p0", X, limit=9, floor=0.5)
    index.remove(0)  # not saved: the change feed will say so again
    index.add(99, "p0", X)
    await index.aclose()
    again, loaded = await opened(open_index)
    assert loaded
    assert again.position == IndexPosition("e", 41)
    assert await again.search("p0", X, limit=9, floor=0.5) == before
    assert set(again.entry_ids()) == {0, 1, 2, 3, 5}
    again.add(100, "p0", X)
    assert [c.entry_id for c in await again.search("p0", X, limit=2, floor=0.5)] == [0, 100]
    await again.aclose()


@pytest.mark.parametrize(("epoch", "model"), [("other", "m"), ("e", "other")])
async def test_a_snapshot_of_another_database_or_model_is_refused(open_index: Open, epoch: str, model: str) -> None:
    """Its ids and vectors mean something else there."""
    index, _ = await opened(open_index)
    index.add(1, "p", X)
    index.advance(IndexPosition("e", 1))
    await index.save()
    await index.aclose()
    again, loaded = await opened(open_index, epoch=epoch, model=model)
    assert (loaded, len(again), again.position) == (False, 0, None)
    await again.aclose()


async def test_an_index_without_position_leaves_nothing_to_trust(open_index: Open) -> None:
    """A half-built index is not a snapshot."""
    index, _ = await opened(open_index)
    index.add(1, "p", X)
    await index.save()
    await index.aclose()
    assert not (await opened(open_index))[1]


async def test_closing_twice_is_no_error(open_index: Open) -> None:
    """Shutting down may be asked for twice."""
    index, _ = await opened(open_index)
    index.add(1, "p", X)
    await index.aclose()
    await index.aclose()


class IndexMachine(RuleBasedStateMachine):
    """Whatever is done to the index, it answers exactly as comparing with every entry does."""

    ids = st.integers(0, 30)
    partitions = st.sampled_from(["a", "b", "c"])
    # few directions, so that equal and nearly equal similarities are common
    vectors = st.lists(st.integers(-1, 1), min_size=3, max_size=3).filter(any).map(lambda numbers: unit(*numbers))

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory()
        self.disk: dict[str, Any] = {}
        self.number = 0
        self.sizes = (large_partition.PENDING, large_partition.REMOVED, large_partition.PROPOSED)
        # so that few steps reach FAISS, and it has to be asked twice
        large_partition.PENDING, large_partition.REMOVED, large_partition.PROPOSED = 2, 1, 2

    def run(self, awaitable: Any) -> Any:
        """Waits for it."""
        return self.loop.run_until_complete(awaitable)

    def open(self, *, expected: bool) -> None:
        """Both after a start of the process."""
        self.index = FaissIndex(Path(self.folder.name), DIMENSION, small_partition=4)
        self.model = BruteForceIndex(DIMENSION, self.disk)
        assert self.run(self.model.load(epoch="e", model_id="m")) is expected
        assert self.run(self.index.load(epoch="e", model_id="m")) is expected

    @initialize()
    def start(self) -> None:
        """On an empty disk."""
        self.open(expected=False)

    @rule(entry_id=ids, partition=partitions, vector=vectors)
    def add(self, entry_id: int, partition: str, vector: Vector) -> None:
        """Or replace."""
        self.index.add(entry_id, partition, vector)
        self.model.add(entry_id, partition, vector)

    @rule(entry_ids=st.lists(ids, min_size=1, max_size=8))
    def remove(self, entry_ids: list[int]) -> None:
        """Some may be unknown."""
        for entry_id in entry_ids:
            self.index.remove(entry_id)
            self.model.remove(entry_id)

    @rule()
    def clear(self) -> None:
        """Before a rebuild."""
        self.index.clear()
        self.model.clear()
        self.disk.clear()

    @rule()
    def save(self) -> None:
        """At a new position."""
        self.number += 1
        for index in (self.index, self.model):
            index.advance(IndexPosition("e", self.number))
            self.run(index.save())

    @rule()
    def settle(self) -> None:
        """Else the worker may be anywhere."""
        self.run(self.index.settle())

    @rule()
    def restart(self) -> None:
        """What was not saved is gone in both."""
        self.run(self.index.aclose())
        self.open(expected="snapshot" in self.disk)

    @rule(partition=partitions, vector=vectors, limit=st.integers(1, 12), floor=st.sampled_from([-1.0, 0.0, 0.5, 0.92]))
    def search(self, partition: str, vector: Vector, limit: int, floor: float) -> None:
        """In a partition that may be empty, small or large."""
        found = self.run(self.index.search(partition, vector, limit=limit, floor=floor))
        assert found == self.run(self.model.search(partition, vector, limit=limit, floor=floor))

    @invariant()
    def holds_the_same(self) -> None:
        """Entries, partitions and position."""
        if hasattr(self, "index"):
            assert len(self.index) == len(self.model)
            assert self.index.position == self.model.position
            for entry_id in self.model.entry_ids():
                assert self.index.partition_of(entry_id) == self.model.partition_of(entry_id)

    def teardown(self) -> None:
        """Frees the loop and the folder."""
        self.run(self.index.aclose())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()
        large_partition.PENDING, large_partition.REMOVED, large_partition.PROPOSED = self.sizes


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
