"""A data directory with many entries, written straight to SQLite: `python benchmarks/_filled.py --out FOLDER --entries 1000000`.

The rows are what as many stores would have left, checksums and all, so the service starts on them and serves them: chat questions
as clients of one or several namespaces asked them, each with an answer, a vector, what it is worth, and now and then a tag. The
change feed is as after its keeping time: empty, so an index is built from SQL. About 20,000 entries a second; nothing is durable
before the end, so what a killed run leaves is to be thrown away.

Vectors are those of `--vectors` (an .npy as `_prompts.py` makes it), and, where there are more entries than vectors, variations of them
(cosine about 0.9); without the file they are random directions in groups.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cache_service.cache_key.key import CacheKey, form
from cache_service.embedding.manifest import DEFAULT_MODEL, read_model
from cache_service.index.rows import Matrix
from cache_service.operations.chat import Chat
from cache_service.store.entry import NewEntry, Output, StoredVector
from cache_service.store.eviction import Bounds, Ranking, made, ranking_for
from cache_service.store.migrations import migrate
from cache_service.store.rows import entry_values, output_values, vector_values

MODELS = Path(__file__).resolve().parent.parent / "models"
PAGE = 5_000
WORDS = (
    "amber", "bridge", "candle", "delta", "ember", "forest", "garden", "harbour", "island", "jasmine", "kettle", "lantern", "meadow",
    "needle", "orchard", "pepper", "quartz", "river", "saddle", "timber", "umbrella", "velvet", "willow", "yarrow", "zinc", "anchor",
    "basket", "copper", "dragon", "engine", "feather", "glacier",
)  # fmt: skip
MODEL_NAMES = ("gpt-6-luna", "gpt-6-terra", "gpt-6-sol")
QUESTION = "What should I know about the {} {} and the {} {}, number {}?"
ANSWER = "It depends on the {0}: ask again once the {1} is known. " * 8


def variations(known: Matrix | None, count: int) -> Iterator[Matrix]:
    """Pages of unit vectors: the known ones, then variations of them; without them, groups of four around random directions."""
    random = np.random.default_rng(1)
    for start in range(0, count, PAGE):
        numbers = np.arange(start, min(start + PAGE, count))
        if known is None:
            of_groups = np.random.default_rng(start)
            made = np.repeat(of_groups.standard_normal((PAGE // 4, 384), np.float32), 4, axis=0)[: len(numbers)]
            made += 0.25 * random.standard_normal(made.shape, np.float32)
        else:
            made = known[numbers % len(known)].astype(np.float32)
            new = numbers >= len(known)
            made[new] += 0.025 * random.standard_normal((int(new.sum()), made.shape[1]), np.float32)
        yield made / np.linalg.norm(made, axis=1, keepdims=True)


def entries(number: int, vectors: Matrix, model_id: str, namespaces: int, count: int) -> Iterator[NewEntry]:
    """As many chat entries as there are vectors, the first of them the `number`-th. The last of all was made now."""
    draw, now = np.random.default_rng(number), time.time()
    words = np.array(WORDS)[draw.integers(0, len(WORDS), (len(vectors), 6))].tolist()
    for own, vector in zip(words, vectors, strict=True):
        namespace = "default" if number % namespaces == 0 else f"tenant-{number % namespaces}"
        model = MODEL_NAMES[number // namespaces % len(MODEL_NAMES) if namespaces > 1 else 0]
        prompt = QUESTION.format(*own[:4], number)
        key = key_of(prompt, namespace, model)
        message = {"role": "assistant", "content": ANSWER.format(*own[4:])}
        answer = {
            "object": "chat.completion",
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }
        usage = {"prompt_tokens": 20, "completion_tokens": 120, "total_tokens": 140}
        yield NewEntry(
            exact_key=key.exact, key_version=key.version, partition=key.partition, namespace=namespace, operation="chat",
            model=model, prompt=prompt, prompt_digest=key.prompt_digest, request=body_of(prompt, model), envelope={},
            made={"model": model}, outputs=(Output(answer, int(now), usage, usd=0.001 * (1 + number % 7)),),
            vector=StoredVector(model_id, vector, "none", {"prompt": prompt, "facts": {}}),
            created_at=now - 0.5 * (count - number), expires_at=None, began=0, client=f"client-{number % 50}", group="simulator",
            tags=frozenset({"campaign"}) if number % 20 == 0 else frozenset(),
        )  # fmt: skip
        number += 1


def body_of(prompt: str, model: str) -> dict[str, Any]:
    """The request that asked for it."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


def key_of(prompt: str, namespace: str, model: str) -> CacheKey:
    """Its key: the first in its partition is formed in full, for the others only the prompt is put in."""
    partition = partition_of(namespace, model)
    exact = hashlib.sha256(f"{partition}\n{prompt}".encode()).hexdigest()
    return CacheKey(partition, exact, prompt, hashlib.sha256(prompt.encode()).hexdigest())


@cache
def partition_of(namespace: str, model: str) -> str:
    """Where a chat question of that namespace and model is searched; what `key_of` shortens is checked once here."""
    prompt = QUESTION.format(*WORDS[:4], 0)
    key = form(Chat().parse(body_of(prompt, model)), namespace=namespace, group="simulator")
    assert key.exact == hashlib.sha256(f"{key.partition}\n{prompt}".encode()).hexdigest()
    assert key.prompt_digest == hashlib.sha256(prompt.encode()).hexdigest()
    return key.partition


def rows_of(entry_id: int, new: NewEntry, ranking: Ranking) -> dict[str, dict[str, Any]]:
    """What a store of it writes, by table."""
    (output,), vector = new.outputs, new.vector
    assert vector is not None
    its = made(new.created_at, 0, output.usd)
    return {
        "entries": {"id": entry_id, **entry_values(new)},
        "outputs": output_values(entry_id, 0, output),
        "vectors": vector_values(entry_id, vector),
        "worth": {
            "entry_id": entry_id, "namespace": new.namespace, "blob_bytes": 0, "usd": its.usd, "hits": its.hits,
            "last_used": its.last_used, "priority": ranking.value(its),
        },
    }  # fmt: skip


def fill(folder: Path, count: int, *, known: Matrix | None = None, namespaces: int = 1, model_id: str = "") -> None:
    """Makes `folder` a data directory with a database of that many entries. namespaces: above one, three models in each."""
    url = f"sqlite:///{folder}/cache.db"
    asyncio.run(migrate(url))
    model_id = model_id or read_model(MODELS, DEFAULT_MODEL).id
    ranking = ranking_for("cost", Bounds())
    connection = sqlite3.connect(folder / "cache.db", isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000", "locking_mode=EXCLUSIVE"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    number = 0
    for page in variations(known, count):
        tables: dict[str, list[dict[str, Any]]] = {}
        for new in entries(number, page, model_id, namespaces, count):
            number += 1
            for table, row in rows_of(number, new, ranking).items():
                tables.setdefault(table, []).append(row)
            tables.setdefault("tags", []).extend({"entry_id": number, "tag": tag} for tag in new.tags)
        for table, rows in tables.items():
            names = list(rows[0]) if rows else []
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 (our own names)
            connection.executemany(statement, [tuple(row.values()) for row in rows])
    connection.execute(
        "INSERT INTO entry_words(entry_words) VALUES ('rebuild')"
    )  # else the first search learns them all
    connection.execute("UPDATE counter SET number = ?, ranking = ?", (count, ranking.rule))
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def first_prompt(folder: Path) -> str:
    """A prompt that was filled in, of the default namespace and the first model."""
    connection = sqlite3.connect(folder / "cache.db")
    (prompt,) = connection.execute("SELECT prompt FROM entries WHERE id = 1").fetchone()
    connection.close()
    return str(prompt)


def main() -> None:
    """Fills a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--namespaces", type=int, default=1)
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    known = None if options.vectors is None else np.load(options.vectors, mmap_mode="r")
    options.out.mkdir(mode=0o700, parents=True)
    began = time.perf_counter()
    fill(options.out, options.entries, known=known, namespaces=options.namespaces)
    took = time.perf_counter() - began
    print(f"{options.entries:,} entries in {took:.0f} s, {(options.out / 'cache.db').stat().st_size / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
