"""The service itself as a peer: its folder filled, and the library asked as `SemanticCache` in one process."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from _peers_http import completion, port_of, upstream
from _peers_prepare import ROOT, read
from _peers_servers import chat_body
from _peers_workload import KINDS, Phase, again

from cache_service.answer import Caller, Served
from cache_service.bootstrap import open_service
from cache_service.config import Settings
from cache_service.decision import Directives
from cache_service.generation import Missing, draft_from_json
from cache_service.service import Service
from cache_service.store.entry import NewEntry, Output, SpoolHeader
from cache_service.store.sql import open_store

WRITERS = 8
UPSTREAM = "upstream-url"
DURABLE = "yes"


def settings(folder: Path, base_url: str) -> dict[str, Any]:
    """As installed, but for the upstream: it answers at once, with what belongs to the prompt."""
    return {
        "data_dir": folder,
        "models_dir": ROOT / "models",
        "upstream_base_url": base_url,
        "upstream_api_keys": ["sk-peers"],
        "log_level": "error",
    }


def body(prompt: str) -> dict[str, Any]:
    """A chat request."""
    return orjson.loads(chat_body(prompt))


async def fill(work: Path, folder: Path) -> float:
    """Stores everything, straight into SQL; what is asked later keyed and analysed as the front door does. Seconds it took."""
    load, vectors = read(work)
    began = time.perf_counter()
    async with upstream() as url, open_service(Settings(**settings(folder, url))) as service:
        waiting, drafts = iter(load.paraphrases), []

        async def keyed() -> None:
            for prompt in waiting:
                found = await service.cache.find_or_missing(
                    "chat", body(prompt), caller=Caller(), directives=Directives(no_cache=True)
                )
                assert isinstance(found, Missing), found
                known = orjson.loads(found.draft)
                drafts.append(draft_from_json(SpoolHeader(known["id"], known["began"], known["at"], known["entry"])))

        await asyncio.gather(*(keyed() for _ in range(WRITERS)))
        (folder / UPSTREAM).write_text(url)
    store = await open_store(f"sqlite:///{folder}/cache.db")
    like = drafts[0]
    assert like.vector is not None
    rest = (pair for pair in zip(load.prompts, vectors, strict=True) if pair[0] not in load.paraphrases)
    entries = itertools.chain(drafts, (_filler(like, prompt, vector) for prompt, vector in rest))

    async def write() -> None:
        for draft in entries:
            answered = orjson.loads(completion(chat_body(draft.prompt)))
            choices = {"choices": answered.pop("choices")}
            await store.put(replace(draft, envelope=answered, outputs=(Output(choices, answered["created"]),)), "keep")

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    await store.aclose()
    return time.perf_counter() - began


def filled_from(folder: Path) -> int:
    """The port of the upstream in whose name it was filled: what one made is never served in another's."""
    return port_of((folder / UPSTREAM).read_text())


def _filler(like: NewEntry, prompt: str, vector: np.ndarray) -> NewEntry:
    """One that nobody asks for: only its vector is searched."""
    assert like.vector is not None
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    unread = replace(like.vector, vector=vector, analysis_version="none", analysis={"prompt": "", "facts": {}})
    return replace(like, exact_key=digest, prompt=prompt, prompt_digest=digest, request=body(prompt), vector=unread)


async def ask(service: Service, prompt: str) -> Served:
    """One request to the library."""
    result = await service.cache.get_or_generate("chat", body(prompt), caller=Caller(), directives=Directives())
    assert isinstance(result, Served), result
    return result


def text(content: bytes) -> str:
    """The answer's text."""
    return orjson.loads(content)["choices"][0]["message"]["content"]


async def phases(
    work: Path, folder: Path, seconds: float, clients: list[int], kinds: Sequence[str] = KINDS
) -> list[Phase]:
    """As the peers' phases: exact hits, semantic hits, and stores, which are misses whose answer costs nothing to make."""
    load, _ = read(work)
    asked: dict[str, Iterator[tuple[str, str]]] = {
        "exact": again((one, one) for one in load.paraphrases),
        "semantic": again(load.paraphrases.items()),
        "store": ((one, one) for one in load.fresh),
    }
    async with upstream(filled_from(folder)) as url, open_service(Settings(**settings(folder, url))) as service:
        return [await timed(kind, service, count, seconds, asked[kind]) for count in clients for kind in kinds]


async def timed(kind: str, service: Service, clients: int, seconds: float, work: Iterator[tuple[str, str]]) -> Phase:
    """Tasks take turns at the work until the time is up."""
    spent: list[tuple[float, str, str, Served]] = []
    await ask(service, next(work)[1])

    async def client(until: float) -> None:
        while (began := time.perf_counter()) < until and (one := next(work, None)) is not None:
            served = await ask(service, one[1])
            spent.append((time.perf_counter() - began, *one, served))

    started = time.perf_counter()
    await asyncio.gather(*(client(started + seconds) for _ in range(clients)))
    elapsed = time.perf_counter() - started
    return Phase.of(
        kind, clients, elapsed, [(one, meant, asked, text(served.body)) for one, meant, asked, served in spent]
    )
