"""Peers that are servers. In a peer's environment, `python _peers_servers.py NAME WORK MODELS SCRATCH PORT UPSTREAM` runs it until it is ended.

Elsewhere this module only says how each is asked. All run in one process pinned to one core, the clients on the other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GATE = 0.92
KEY = "sk-4f1c77ab90d25e3b8a6641f0c2d97e58"  # made up, as every server is asked with one


@dataclass(frozen=True)
class Asked:
    """How a server is asked. fill: whether it is filled over HTTP; semantic: whether it has a semantic tier besides the exact one."""

    lookup: str
    store: str
    lookup_body: Callable[[str], bytes]
    store_body: Callable[[str], bytes]
    text: Callable[[bytes], str | None]
    fill: bool
    semantic: bool
    durable: str


def chat_body(prompt: str) -> bytes:
    """A chat request. The temperature is said because one of the peers caches only cool ones."""
    message = {"role": "user", "content": prompt}
    return json.dumps({"model": "peers-model", "temperature": 0, "messages": [message]}).encode()


def chat_text(content: bytes) -> str | None:
    """The answer's text."""
    return json.loads(content)["choices"][0]["message"]["content"]


def _put_body(prompt: str) -> bytes:
    from _peers_workload import answer

    return json.dumps({"prompt": prompt, "answer": answer(prompt)}).encode()


def _get_body(prompt: str) -> bytes:
    return json.dumps({"prompt": prompt}).encode()


def _got_text(content: bytes) -> str | None:
    found = json.loads(content)
    return found["answer"] if isinstance(found, dict) else None


def _chat(*, fill: bool, semantic: bool, durable: str) -> Asked:
    path = "/v1/chat/completions"
    return Asked(path, path, chat_body, chat_body, chat_text, fill, semantic, durable)


SERVERS = {
    "gptcache-server": Asked("/get", "/put", _get_body, _put_body, _got_text, False, True, "rows yes, index at exit"),
    "litellm-proxy": _chat(fill=True, semantic=False, durable="no"),
    "cachellm": _chat(fill=True, semantic=True, durable="no"),
    "ours-server": _chat(fill=False, semantic=True, durable="yes"),
}
ENVIRONMENT = {"gptcache-server": "gptcache", "litellm-proxy": "litellm", "cachellm": "cachellm"}


def _gptcache(work: Path, models: Path, scratch: Path, port: int, _: str) -> None:
    """Its own server's app; the command line can't name an embedding that is no download, so it is set up here."""
    from types import SimpleNamespace

    import numpy as np
    import uvicorn
    from _peers_model import DIMENSION, MiniLM
    from _peers_workload import answer
    from gptcache import Config, cache
    from gptcache.adapter.api import init_similar_cache
    from gptcache_server.server import app

    model = MiniLM(models)
    embedding = SimpleNamespace(dimension=DIMENSION, to_embeddings=lambda text, **_: model.embed(text))
    init_similar_cache(
        data_dir=str(scratch),
        embedding=embedding,
        post_func=lambda answers: answers[0],
        config=Config(similarity_threshold=1 - 2 * (1 - GATE) / 4, enable_token_counter=False),
    )
    prompts = json.loads((work / "workload.json").read_text())["prompts"]
    model.known = dict(zip(prompts, np.load(work / "vectors.npy"), strict=True))
    cache.import_data(prompts, [answer(prompt) for prompt in prompts])
    model.known = {}
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def _litellm(_: Path, __: Path, scratch: Path, port: int, upstream: str) -> None:
    """Its own command with its in-memory cache, which looks up exact requests only, and holds 200 unless told otherwise."""
    scratch.mkdir(parents=True, exist_ok=True)
    config = {
        "model_list": [
            {
                "model_name": "peers-model",
                "litellm_params": {"model": "openai/peers-model", "api_base": upstream, "api_key": "sk-peers"},
            }
        ],
        "general_settings": {"master_key": KEY},  # it refuses to start without
        "litellm_settings": {"cache": True, "cache_params": {"type": "local", "ttl": 86400}},
    }
    (scratch / "config.json").write_text(json.dumps(config))  # JSON is YAML
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    import litellm.caching.in_memory_cache as memory

    first, *others = memory.InMemoryCache.__init__.__defaults__  # the bound of entries; no setting leads to it
    assert first == memory.DEFAULT_MAX_SIZE_IN_MEMORY
    memory.InMemoryCache.__init__.__defaults__ = (10_000_000, *others)
    from litellm.proxy.proxy_cli import run_server

    sys.argv = ["litellm", "--config", str(scratch / "config.json"), "--host", "127.0.0.1", "--port", str(port)]
    sys.argv += ["--telemetry", "False"]
    run_server()


def _cachellm(work: Path, models: Path, _: Path, port: int, upstream: str) -> None:
    """Its own app with its in-memory backend; its embedding would be downloaded, so the same model is put in its place."""
    import numpy as np

    os.environ |= {
        "CACHELLM_BACKEND": "memory",
        "CACHELLM_MEMORY_MAX_ENTRIES": "10000000",
        "CACHELLM_OPENAI_BASE_URL": upstream,
        "CACHELLM_OPENAI_API_KEY": "sk-peers",
        "CACHELLM_DISCOVER_MODELS": "false",
        "CACHELLM_LOG_LEVEL": "ERROR",
        "CACHELLM_PII_GUARD": "false",
    }
    for category in ("default", "factual", "classification", "creative", "volatile", "conversational"):
        os.environ[f"CACHELLM_THRESHOLD_{category.upper()}"] = str(GATE)
    import asyncio

    import cachellm.api.deps as deps
    import uvicorn
    from _peers_model import DIMENSION, MiniLM
    from cachellm.embeddings.base import Embedder

    model = MiniLM(models)
    prompts = json.loads((work / "workload.json").read_text())["prompts"]
    model.known = dict(zip(prompts, np.load(work / "vectors.npy"), strict=True))  # its exact tier answers these later

    class Same(Embedder):
        name, dim = "all-MiniLM-L6-v2", DIMENSION

        async def embed(self, text: str) -> np.ndarray:
            known = model.known.get(text)
            return known if known is not None else await asyncio.to_thread(model.embed, text)

        async def embed_batch(self, texts: list[str]) -> list[np.ndarray]:
            return [await self.embed(text) for text in texts]

    deps.build_embedder = lambda settings: Same()
    uvicorn.run("cachellm.api.app:create_app", factory=True, host="127.0.0.1", port=port, log_config=None)


if __name__ == "__main__":
    {"gptcache-server": _gptcache, "litellm-proxy": _litellm, "cachellm": _cachellm}[sys.argv[1]](
        Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]), sys.argv[6]
    )
