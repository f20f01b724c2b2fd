"""A hit never crosses a partition: a hundred thousand look-ups over real SQL and real FAISS, with prompts that are all everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache_service.index.faiss import FaissIndex
from cache_service.jobs.follow import Follower
from cache_service.store.entry import StoredVector
from cache_service.store.migrations import migrate
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.entries import MODEL, digest, new_entry

PARTITIONS, PROMPTS, DIMENSION = 50, 40, 384
EXAMPLES, LOOKUPS = 100, 1000  # 100,000 look-ups in all

Filled = tuple[asyncio.AbstractEventLoop, FaissIndex, SqlEntryStore, np.ndarray, dict[int, str], set[str]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Every prompt in every partition but one in five, so that the nearest vector is often just across a border."""
    directory = tmp_path_factory.mktemp("partitions")
    loop = asyncio.new_event_loop()
    vectors = np.random.default_rng(5).standard_normal((PROMPTS, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    async def fill() -> tuple[FaissIndex, SqlEntryStore, dict[int, str], set[str]]:
        url = f"sqlite:///{directory}/cache.db"
        await migrate(url)
        store = await open_store(url)
        partition_of, present = {}, set()
        for partition in range(PARTITIONS):
            for prompt in range(PROMPTS):
                if (partition + prompt) % 5 == 0:
                    continue
                name = f"{partition}/{prompt}"
                vector = StoredVector(MODEL, vectors[prompt], "1", {})
                stored = await store.put(new_entry(name, partition=digest(f"p{partition}"), vector=vector), "keep")
                partition_of[stored.entry.id] = stored.entry.partition
                present.add(name)
        index = FaissIndex(directory / "index", DIMENSION, small_partition=20)  # so that large ones are searched too
        await Follower(store, index, embedding_model=MODEL).start()
        return index, store, partition_of, present

    index, store, partition_of, present = loop.run_until_complete(fill())
    yield loop, index, store, vectors, partition_of, present
    loop.run_until_complete(store.aclose())
    loop.run_until_complete(index.aclose())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_hit_crosses_a_partition_and_what_is_there_is_found(filled: Filled, seed: int) -> None:
    loop, index, _, vectors, partition_of, present = filled
    random = np.random.default_rng(seed)

    async def look_up() -> None:
        for partition, prompt in zip(
            random.integers(0, PARTITIONS, LOOKUPS), random.integers(0, PROMPTS, LOOKUPS), strict=True
        ):
            label = digest(f"p{partition}")
            found = await index.search(label, vectors[prompt], limit=5, floor=0.92)
            assert all(partition_of[candidate.entry_id] == label for candidate in found)
            assert bool(found) == (f"{partition}/{prompt}" in present)

    loop.run_until_complete(look_up())


def test_what_the_index_finds_is_filed_in_that_partition_in_sql_too(filled: Filled) -> None:
    loop, index, store, vectors, _partition_of, _ = filled
    for partition in range(PARTITIONS):
        label = digest(f"p{partition}")
        found = loop.run_until_complete(index.search(label, vectors[partition % PROMPTS], limit=5, floor=-1.0))
        rows = loop.run_until_complete(store.fetch([candidate.entry_id for candidate in found], embedding_model=MODEL))
        assert {row.partition for row in rows.values()} == {label}
        assert len(rows) == len(found)
