"""Two providers over real sockets, from one TOML file: the primary fails in every way it can, and what the client gets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cache_service import config
from cache_service.api.app import create_app
from cache_service.bootstrap import open_service
from cache_service.simulator.config import Account, SimulatorConfig
from cache_service.simulator.faults import Fault, FaultKind
from cache_service.simulator.limits import Dimension, Limit, LimitPool
from cache_service.simulator.server import SimulatorServer
from cache_service.simulator.simulator import Simulator

PROMPT = "a red fox asleep under an oak"
BODY = {"model": "gpt-image-2", "prompt": PROMPT, "size": "1024x1024", "quality": "high"}
WHOLE = ("reduced-quality", "cached-similar", "alternative-provider")
ORGANIZATION = "org-simulator"


@dataclass
class Pair:
    """The service and the two simulators behind it. file: its settings."""

    file: Path
    admin: dict[str, str]
    client: httpx.AsyncClient
    primary: Simulator
    other: Simulator

    async def ask(self, steering: str = "", **change: Any) -> httpx.Response:
        headers = {"cache-control": steering} if steering else {}
        return await self.client.post("/v1/images/generations", json={**BODY, **change}, headers=headers)

    def asked_there(self) -> int:
        return self.other.stats.calls.total()


@asynccontextmanager
async def pair(
    folder: Path,
    *faults: Fault,
    fallback: Sequence[str] = WHOLE,
    pools: Sequence[LimitPool] = (),
    accounts: Sequence[Account] = (),
    more: str = "",
) -> AsyncIterator[Pair]:
    """A running service, configured by one file."""
    async with AsyncExitStack() as stack:
        primary = SimulatorServer(
            SimulatorConfig(faults=faults, latency=0.0, pools=tuple(pools), accounts=tuple(accounts))
        )
        other = SimulatorServer(SimulatorConfig(latency=0.0, accounts=(Account("sk-other"),)))
        for server in (primary, other):
            stack.push_async_callback(server.stop)
        file = folder / "service.toml"
        file.write_text(
            f'data_dir = "{folder}/data"\nfallback = {json.dumps(list(fallback))}\nupstream_base_url = "{await primary.start()}"\n'
            f'embedding_threads = 1\n{more}\n[[upstream_alternatives]]\nname = "second"\nbase_url = "{await other.start()}"\n'
            'api_keys = ["sk-other"]\nheaders = { x-team = "a-secret-of-ours" }\nprofile = "tier-5"\n'
            'models = { gpt-image-2 = "gpt-image-2.5-sunburst", gpt-6-luna = "gpt-6-luna" }\n'
        )

        def read() -> config.Settings:
            return config.load({}, config_file=file)[0]

        service = await stack.enter_async_context(open_service(read(), read_settings=read))
        admin = {"authorization": f"Bearer {service.admin_token.get_secret_value()}"}
        transport = httpx.ASGITransport(create_app(service))
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=60.0)
        )
        yield Pair(file, admin, client, primary.simulator, other.simulator)


@pytest.mark.parametrize(
    "kind",
    [FaultKind.OVERLOADED, FaultKind.SERVER_ERROR, FaultKind.HTML_502, FaultKind.INSUFFICIENT_QUOTA, FaultKind.UNAUTHORIZED,
     FaultKind.FORBIDDEN, FaultKind.MODEL_NOT_FOUND, FaultKind.TRUNCATED_BODY, FaultKind.REDIRECT, FaultKind.HUGE_BODY,
     FaultKind.MANY_HEADERS],
)  # fmt: skip
async def test_whatever_befalls_the_primary_another_provider_answers(tmp_path: Path, kind: FaultKind) -> None:
    fault = Fault(kind, size=300_000_000 if kind is FaultKind.HUGE_BODY else 1_000)
    async with pair(tmp_path, fault, fallback=["alternative-provider"]) as world:
        response = await world.ask()
        assert response.status_code == 200, response.text
        assert 'detail="fallback=alternative-provider"' in response.headers["cache-status"]
        assert response.json()["data"][0]["b64_json"]
        assert world.asked_there() == 1
        again = await world.ask()
        assert "hit;" in again.headers["cache-status"]
        assert world.asked_there() == 1
        metrics = (await world.client.get("/metrics")).text
        counted = 'cache_service_fallbacks_total{operation="images",outcome="answered",step="alternative-provider"} 2.0'
        assert counted in metrics


@pytest.mark.parametrize("kind", [FaultKind.MODERATION_BLOCKED])
async def test_what_the_primary_refuses_to_make_nobody_else_is_asked_for(tmp_path: Path, kind: FaultKind) -> None:
    async with pair(tmp_path, Fault(kind)) as world:
        response = await world.ask("similar-if-error, stale-if-error")
        assert response.status_code == 400
        assert "fallback" not in response.headers["cache-status"]
        assert world.asked_there() == 0


async def test_the_primarys_own_word_is_told_where_nothing_helps_and_shows_no_secret(tmp_path: Path) -> None:
    async with pair(tmp_path, Fault(FaultKind.INSUFFICIENT_QUOTA)) as world:
        world.other.faults.add(Fault(FaultKind.UNAUTHORIZED, message="no a-secret-of-ours here"))
        response = await world.ask()
        assert response.status_code == 429
        assert 'detail="no fallback: cached-similar, alternative-provider failed"' in response.headers["cache-status"]
        problem = await world.client.post("/v1/generate", json={"operation": "images", "request": BODY})
        for text in (response.text, problem.text, (await world.client.get("/metrics")).text):
            assert "a-secret-of-ours" not in text
            assert "sk-other" not in text


async def test_pictures_that_are_too_dear_are_made_in_less_quality(tmp_path: Path) -> None:
    """A limit of tokens that a high picture never fits: a medium one does."""
    limits = {Dimension.TOKENS: Limit(3_000), Dimension.REQUESTS: Limit(1_000)}
    more = "upstream_tokens_per_minute = 3000"
    async with pair(
        tmp_path, pools=[LimitPool(ORGANIZATION, limits)], fallback=["reduced-quality"], more=more
    ) as world:
        response = await world.ask()
        assert response.status_code == 200, response.text
        assert 'detail="fallback=reduced-quality"' in response.headers["cache-status"]
        assert response.json()["quality"] == "medium"
        explicit = await world.ask(quality="medium")
        assert "hit; key=" in explicit.headers["cache-status"]


async def test_a_deadline_that_cant_be_met_is_met_elsewhere(tmp_path: Path) -> None:
    more = "upstream_requests_per_minute = 1\nupstream_timeout = 20"
    async with pair(tmp_path, fallback=["alternative-provider"], more=more) as world:
        await world.ask(prompt="a first picture that takes the minute")
        second = await world.ask(prompt="a lighthouse on a cliff")
        third = await world.ask(prompt="three green apples in a bowl")
        assert second.status_code == third.status_code == 200
        assert 'detail="fallback=alternative-provider"' in third.headers["cache-status"]


async def test_a_hanging_primary_leaves_time_for_another(tmp_path: Path) -> None:
    more = "upstream_attempt_timeout = 0.3"
    async with pair(tmp_path, Fault(FaultKind.HUNG), fallback=["alternative-provider"], more=more) as world:
        response = await world.ask()
        assert response.status_code == 200
        assert "fallback=alternative-provider" in response.headers["cache-status"]


async def test_generate_says_who_answered_and_by_which_step(tmp_path: Path) -> None:
    async with pair(tmp_path, Fault(FaultKind.UNAUTHORIZED), fallback=["alternative-provider"]) as world:
        response = await world.client.post("/v1/generate", json={"operation": "images", "request": BODY})
        told = response.json()["cache"]
        assert (told["decision"], told["fallback"], told["provider"]) == ("miss", "alternative-provider", "second")
        declined = await world.client.post(
            "/v1/generate", json={"operation": "images", "request": BODY, "cache": {"no_fallback": True}}
        )
        assert declined.status_code == 502


async def test_a_client_gets_another_size_only_if_it_asks(tmp_path: Path) -> None:
    async with pair(tmp_path, fallback=[]) as world:
        stored = await world.ask(size="1536x1024", quality="low")
        world.primary.faults.add(Fault(FaultKind.INSUFFICIENT_QUOTA))
        assert (await world.ask()).status_code == 429
        served = await world.ask("similar-if-error")
        assert served.json()["data"] == stored.json()["data"]
        assert "fallback=cached-similar semantic" in served.headers["cache-status"]
        other = await world.ask("similar-if-error", prompt="a blue fox asleep under an oak")
        assert other.status_code == 429


async def test_chat_goes_to_another_provider_too_also_as_a_stream(tmp_path: Path) -> None:
    async with pair(tmp_path, Fault(FaultKind.UNAUTHORIZED), fallback=["alternative-provider"]) as world:
        body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "why is the sky blue"}]}
        whole = await world.client.post("/v1/chat/completions", json=body)
        assert whole.json()["choices"]
        stream = await world.client.post("/v1/chat/completions", json={**body, "stream": True})
        assert "data: [DONE]" in stream.text
        assert "fallback=alternative-provider" in stream.headers["cache-status"]


async def test_a_reload_takes_other_keys_of_every_provider_and_names_what_needs_a_restart(tmp_path: Path) -> None:
    """The calls after it carry them."""
    keys = 'upstream_api_keys = ["sk-old"]'
    async with pair(tmp_path, fallback=[], accounts=[Account("sk-new")], more=keys) as world:
        assert (await world.ask()).status_code == 502
        text = world.file.read_text().replace("sk-old", "sk-new").replace("sk-other", "sk-third")
        world.file.write_text(f"small_partition = 7\n{text}")
        reloaded = await world.client.post("/admin/reload", headers=world.admin)
        assert reloaded.json() == {
            "changed": ["upstream_api_keys", "upstream_alternatives"],
            "after_restart": ["small_partition"],
        }
        assert (await world.ask()).status_code == 200
        shown = (await world.client.get("/admin/stats", headers=world.admin)).json()
        assert shown["upstream"]["pools"][0]["healthy"]
