"""The clients of `limiter_sockets.py`, each in a process of its own: `_limiter_clients.py NAME JSON`.

JSON: `{"base_url", "keys", "limit", "seconds"}`. Demand never ends; what comes of it is counted at the upstream. What a client needs is
imported when it runs, so that another interpreter can run it. Exit code 3: it isn't installed there.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

MODEL = "gpt-6-luna"
MESSAGES = [{"role": "user", "content": "Say one word."}]
NOT_INSTALLED = 3
IN_FLIGHT = 24
"""Calls at once that Little's law asks for, and some more: answers take 2 s."""
Setting = Mapping[str, Any]


async def ours(setting: Setting) -> None:
    """The service's caller: a pool for each key, their limits known."""
    from cache_service.errors import UpstreamError
    from cache_service.upstream.base import Call, Cost
    from cache_service.upstream.caller import UpstreamCaller
    from cache_service.upstream.key_pool import NamedKey, PoolConfig
    from cache_service.upstream.openai import OpenAITransport
    from cache_service.upstream.rate_limit import Limits

    pools = [
        PoolConfig(f"pool-{n}", (NamedKey(f"key-{n}", key),), Limits(requests=setting["limit"]))
        for n, key in enumerate(setting["keys"])
    ]
    transport = OpenAITransport(setting["base_url"], max_answer_bytes=2**20)
    caller = UpstreamCaller(transport, pools, group="benchmark")
    body = json.dumps({"model": MODEL, "messages": MESSAGES}).encode()

    async def one() -> None:
        call = Call("/chat/completions", body, time.monotonic() + 600, Cost(requests=1, tokens=50), MODEL)
        try:
            async with caller.send(call) as reply:
                async for _ in reply.pieces:
                    pass
        except UpstreamError:
            await asyncio.sleep(0.05)

    await _forever(one, IN_FLIGHT * len(pools), setting["seconds"])


def official(workers: int) -> Callable[[Setting], Awaitable[None]]:
    """The official client with its own retries; the keys in turn."""

    async def run(setting: Setting) -> None:
        import openai

        clients = [_client(openai, setting, key) for key in setting["keys"]]
        turn = itertools.cycle(clients)

        async def one() -> None:
            try:
                await next(turn).chat.completions.create(model=MODEL, messages=MESSAGES)
            except openai.OpenAIError:
                await asyncio.sleep(0.05)

        await _forever(one, workers, setting["seconds"])

    return run


async def aiolimiter(setting: Setting) -> None:
    """A leaky bucket of aiolimiter for each key, before the official client."""
    import openai
    from aiolimiter import AsyncLimiter

    pairs = [(_client(openai, setting, key), AsyncLimiter(setting["limit"], 60)) for key in setting["keys"]]
    turn = itertools.cycle(pairs)

    async def one() -> None:
        client, limiter = next(turn)
        try:
            async with limiter:
                await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        except openai.OpenAIError:
            await asyncio.sleep(0.05)

    await _forever(one, IN_FLIGHT * len(pairs), setting["seconds"])


async def litellm(setting: Setting) -> None:
    """LiteLLM's router over three deployments that know their limit, usage-based, with its own retries."""
    import litellm as library
    from litellm import Router

    library.suppress_debug_info = True
    router = Router(
        model_list=[
            {
                "model_name": "chat",
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_key": key,
                    "api_base": setting["base_url"],
                    "rpm": setting["limit"],
                },
            }
            for key in setting["keys"]
        ],
        routing_strategy="usage-based-routing-v2",
        num_retries=2,
    )

    async def one() -> None:
        try:
            await router.acompletion(model="chat", messages=MESSAGES)
        except Exception:  # whatever it raises is an answer of the router
            await asyncio.sleep(0.05)

    await _forever(one, IN_FLIGHT * len(setting["keys"]), setting["seconds"])


CLIENTS: Mapping[str, Callable[[Setting], Awaitable[None]]] = {
    "ours": ours,
    "official client, 10 workers": official(10),
    "official client, 1,000 workers": official(1_000),
    "aiolimiter": aiolimiter,
    "LiteLLM's router": litellm,
}


def _client(openai: Any, setting: Setting, key: str) -> Any:
    return openai.AsyncOpenAI(base_url=setting["base_url"], api_key=key, timeout=600)


async def _forever(one: Callable[[], Awaitable[None]], workers: int, seconds: float) -> None:
    async def work() -> None:
        while True:
            await one()

    tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> int:
    """Runs one client for the given time."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    try:
        asyncio.run(CLIENTS[sys.argv[1]](json.loads(sys.argv[2])))  # type: ignore[arg-type]
    except ImportError as missing:
        sys.stderr.write(f"{missing}\n")
        return NOT_INSTALLED
    return 0


if __name__ == "__main__":
    sys.exit(main())
