"""How long a service with many entries takes to be ready, and how much memory it holds then and after some traffic.

What it shows: a cold start of one process whose index is built from SQL, and a second one from the snapshot. What it doesn't:
a cold page cache, real pictures (the entries share one), vectors of real prompts (these are random).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from pathlib import Path

import numpy as np
from latency import Client, service

from cache_service.embedding.onnx import load_engine
from cache_service.store.entry import NewEntry, Output, StoredVector
from cache_service.store.migrations import migrate
from cache_service.store.sql import open_store

ROOT = Path(__file__).resolve().parent.parent


async def fill(folder: Path, entries: int, model_id: str) -> None:
    """Stores that many entries in fifty partitions."""
    url = f"sqlite:///{folder}/cache.db"
    await migrate(url)
    store = await open_store(url)
    random = np.random.default_rng(1)
    for number in range(entries):
        vector = random.standard_normal(384).astype(np.float32)
        stored = StoredVector(model_id, vector / np.linalg.norm(vector), "none", {"prompt": "", "facts": {}})
        key = hashlib.sha256(str(number).encode()).hexdigest()
        partition = hashlib.sha256(str(number % 50).encode()).hexdigest()
        new = NewEntry(
            exact_key=key,
            key_version=1,
            partition=partition,
            namespace="default",
            operation="chat",
            model="m",
            prompt=f"prompt {number} " * 10,
            prompt_digest=key,
            request={"messages": [{"role": "user", "content": f"prompt {number} " * 10}]},
            envelope={},
            made={},
            outputs=(Output({"choices": [{"message": {"content": "x" * 1000}}]}, 1),),
            vector=stored,
            created_at=time.time(),
            expires_at=None,
            began=0,
        )
        await store.put(new, "keep")
    await store.aclose()


def megabytes(pid: int) -> float:
    """Resident memory of the process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    """Fills, starts twice, and asks a little."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--entries", type=int, default=10_000)
    arguments.add_argument("--requests", type=int, default=300)
    options = arguments.parse_args()
    model_id = load_engine(ROOT / "models").model_id
    print(f"{options.entries} entries")
    with service(lambda folder: asyncio.run(fill(folder, options.entries, model_id))) as running:
        for start in ("from SQL", "from the snapshot"):
            began = time.perf_counter()
            running.start()
            ready = time.perf_counter() - began
            at_first = megabytes(running.pid)
            client = Client(running.port)
            for number in range(options.requests):
                body = {
                    "model": "gpt-image-2",
                    "size": "1024x1024",
                    "prompt": f"{start}: a picture of {number % 50} apples",
                }
                client.post("/v1/images/generations", body)
            print(
                f"{start:18} ready after {ready:5.2f} s, {at_first:4.0f} MB, {megabytes(running.pid):4.0f} MB after {options.requests} requests"
            )
            running.stop()


if __name__ == "__main__":
    main()
