"""How fast pages of `/admin` are with many entries, and what asking for them all the time costs exact hits.

`python benchmarks/admin.py [ENTRIES]` (200,000). The real store (SQLite), index, routes and edge, in this process and without a socket; the cache, of
which administration asks nothing, is scripted. Prompts are made of 2,000 words by Zipf's law, 5 % of the entries are tagged, 20 namespaces. Each
route is asked `ROUNDS` times, from the first page and from the middle. What it doesn't show: a network, PostgreSQL, and a database much larger than
this machine's memory, whose pages come from the disk.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from cache_service.index.faiss import FaissIndex
from cache_service.jobs.client_keys import ClientKeys
from cache_service.jobs.inspect import Inspector
from cache_service.store import tables
from cache_service.store.engine import Database
from cache_service.store.migrations import migrate
from cache_service.store.rows import entry_values, output_values, vector_values
from cache_service.store.sql import open_store
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.entries import digest, new_entry, output, stored_vector
from tests.fakes.service import ADMIN_TOKEN, make_bench

ROUNDS = 30
BAR = 0.100  # seconds at the 95th percentile
CHUNK = 5000
ROUTES = {
    "entries": {}, "by namespace": {"namespace": "ns-3"}, "by model": {"model": "painter-2"}, "by tag": {"tag": "campaign"},
    "by age": {"older_than": "1000"}, "by a common word": {"text": "w0"}, "by a rare word": {"text": "w1999"},
    "by beginnings": {"text": "w1* w2"}, "by all at once": {"text": "w0", "namespace": "ns-3", "model": "painter-2", "older_than": "10"},
    "by what nothing has": {"operation": "chat", "namespace": "ns-3"},
}  # fmt: skip


async def fill(url: str, count: int) -> None:
    """Rows as a store writes them, in bulk."""
    database, rng, embedder = Database(url), np.random.default_rng(1), FakeEmbedder()
    now = time.time()
    for start in range(0, count, CHUNK):
        words = np.minimum(rng.zipf(1.3, size=(CHUNK, 12)) - 1, 1999)
        rows: dict[str, list[Any]] = {"entries": [], "outputs": [], "vectors": [], "tags": []}
        for n in range(start, min(start + CHUNK, count)):
            new = new_entry(
                f"e{n}", prompt=" ".join(f"w{word}" for word in words[n - start]), namespace=f"ns-{n % 20}",
                model=f"painter-{n % 3}", created_at=now - (count - n) * 0.1, outputs=(output(f"e{n}"),),
                vector=stored_vector(*rng.normal(size=embedder.dimension), model_id=embedder.model_id),
            )  # fmt: skip
            rows["entries"].append({"id": n + 1, **entry_values(new)})
            rows["outputs"].append(output_values(n + 1, 0, new.outputs[0]))
            assert new.vector is not None
            rows["vectors"].append(vector_values(n + 1, new.vector))
            if n % 20 == 0:
                rows["tags"].append({"entry_id": n + 1, "tag": "campaign"})

        async def write(connection: Any, rows: dict[str, list[Any]] = rows) -> None:
            for name, values in rows.items():
                await connection.execute(sa.insert(getattr(tables, name)), values)

        await database.write(write)
    await database.aclose()


async def timed(client: Any, path: str, query: dict[str, str], rounds: int = ROUNDS) -> list[float]:
    """Seconds of each answer."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        response = await client.get(path, params=query)
        took.append(time.perf_counter() - started)
        assert response.status_code == 200, response.text
    return took


def line(name: str, took: list[float], bar: float | None = BAR) -> bool:
    """Prints the percentiles; whether the bar is held."""
    p50, p95, worst = (1000 * float(np.percentile(took, q)) for q in (50, 95, 100))
    held = bar is None or p95 <= 1000 * bar
    print(f"{name:32} p50 {p50:8.1f} ms   p95 {p95:8.1f} ms   max {worst:8.1f} ms   {'' if held else 'over the bar'}")
    return held


async def hits(store: Any, count: int, rounds: int) -> list[float]:
    """Seconds of exact look-ups of entries spread over the store."""
    took = []
    for n in range(rounds):
        started = time.perf_counter()
        assert await store.find(digest(f"e{(n * 7919) % count}"), embedding_model=FakeEmbedder().model_id) is not None
        took.append(time.perf_counter() - started)
    return took


async def main(count: int) -> None:
    """Fills a database, then measures."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/cache.db"
        await migrate(url)
        started = time.perf_counter()
        await fill(url, count)
        size = (await asyncio.to_thread(Path(folder, "cache.db").stat)).st_size
        print(f"{count:,} entries written in {time.perf_counter() - started:.0f} s, {size / 1e6:,.0f} MB")
        store, bench, embedder = await open_store(url), make_bench(), FakeEmbedder()
        index, rng = (
            FaissIndex(Path(folder, "index"), embedder.dimension, small_partition=2000),
            np.random.default_rng(2),
        )
        for n in range(count):
            vector = rng.normal(size=embedder.dimension).astype(np.float32)
            index.add(n + 1, digest(f"partition {n % 500}"), vector / np.linalg.norm(vector))
        bench.service.admin, bench.service.keys = store, ClientKeys(store)
        bench.service.inspector = Inspector(store, store, index, embedder, bench.service.requests)
        held = True
        async with bench.client(ADMIN_TOKEN) as client:
            await client.get("/admin/stats")  # the first one adds everything up
            for name, query in ROUTES.items():
                held &= line(f"{name}: first page", await timed(client, "/admin/entries", query))
                middle = {**query, "after": f"{time.time() - count * 0.05:.6f},{count // 2}"}
                held &= line(f"{name}: from the middle", await timed(client, "/admin/entries", middle))
            for path in (f"/admin/entries/{count // 2}", "/admin/stats", "/admin/requests", "/admin/keys", "/admin/audit",
                         "/admin/overview", "/admin/thresholds", "/admin/charts/traffic", "/", "/console/main.js"):  # fmt: skip
                held &= line(path, await timed(client, path, {}))
            line(
                "like a prompt",
                await timed(client, "/admin/entries", {"similar_to": "w1 w2", "similarity": "0.5"}),
                None,
            )
            alone = await hits(store, count, 3000)

            async def look() -> None:
                while True:
                    for query in ROUTES.values():
                        await client.get("/admin/entries", params=query)
                        await asyncio.sleep(0.05)

            looking = asyncio.create_task(look())
            beside = await hits(store, count, 3000)
            looking.cancel()
        line("exact look-up, alone", alone, None)
        line("exact look-up, pages beside", beside, None)
        print(f"p99 beside / alone: {np.percentile(beside, 99) / np.percentile(alone, 99):.2f}")
        print(f"every page {'within' if held else 'NOT within'} {1000 * BAR:.0f} ms at the 95th percentile")
        await index.aclose()
        await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000))
