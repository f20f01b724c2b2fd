"""The simulated upstream in one process: an hour in seconds, and no request that it can't answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache_service.simulator.app import create_app
from cache_service.simulator.clock import VirtualClock
from cache_service.simulator.config import Account, SimulatorConfig, tier
from cache_service.simulator.faults import Fault, FaultKind
from cache_service.simulator.limits import Dimension, Limit, LimitPool
from cache_service.simulator.meters import Mode
from cache_service.simulator.simulator import Simulator

IMAGES, CHAT = "/v1/images/generations", "/v1/chat/completions"
SMALL: dict[str, Any] = {"prompt": "a red cube", "size": "64x64"}


def client_of(config: SimulatorConfig, clock: VirtualClock | None = None) -> tuple[httpx.AsyncClient, Simulator]:
    """A client inside the process, and the simulator it speaks to."""
    app = create_app(config, clock=clock or VirtualClock())
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://simulator", timeout=None), app.state.simulator  # noqa: S113


@pytest.mark.parametrize("mode", list(Mode))
async def test_an_hour_of_load_passes_in_seconds(mode: Mode) -> None:
    """Tier 3 allows 50 pictures a minute; a client that sends 45 evenly and obeys waits gets them, with real latencies."""
    clock = VirtualClock()
    client, simulator = client_of(SimulatorConfig(pools=tier(3, mode=mode), latency="real"), clock)
    statuses: Counter[int] = Counter()

    async def one(at: float) -> None:
        await clock.sleep(at)
        answer = await client.post(IMAGES, json=SMALL)
        statuses[answer.status_code] += 1

    async with client:
        await clock.run(asyncio.gather(*(one(index * 60 / 45) for index in range(45 * 60))))
    assert statuses == {200: 45 * 60}
    assert 3600 - 60 <= clock.now() <= 3600 + 120
    assert simulator.stats.images == 45 * 60
    assert simulator.stats.in_flight == 0
    # Little's law: rate × mean latency of pictures this small (6 s at least) are in flight
    assert simulator.stats.most_in_flight >= 45 / 60 * 6


async def test_a_client_that_is_refused_and_waits_as_told_gets_in() -> None:
    """Six at once in tier 1: five pictures, one refusal over images with both retry headers, then the sixth."""
    clock = VirtualClock()
    client, simulator = client_of(SimulatorConfig(pools=tier(1), latency=0.0), clock)
    async with client:
        answers = [await clock.run(client.post(IMAGES, json=SMALL)) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        refused = answers[-1]
        assert refused.json()["error"]["type"] == "input-images"
        assert refused.headers["retry-after-ms"] == "12000"
        assert refused.headers["x-ratelimit-remaining-input-images"] == "0"
        await clock.advance(int(refused.headers["retry-after-ms"]) / 1000)
        assert (await clock.run(client.post(IMAGES, json=SMALL))).status_code == 200
        too_many = await clock.run(client.post(IMAGES, json={**SMALL, "n": 6}))
    assert "Request too large" in too_many.json()["error"]["message"]
    assert simulator.stats.refused == {"rate_limit_exceeded": 2}


async def test_keys_belong_to_pools_and_are_checked_when_there_are_any() -> None:
    """Two keys of one organisation share its limit; unknown and revoked keys are 401; headers tell whose key it is."""
    accounts = (
        Account("sk-one", "org-a", "proj_1"),
        Account("sk-two", "org-a", "proj_2"),
        Account("sk-old", "org-a", "proj_1", revoked=True),
    )
    pool = LimitPool("org-a", {Dimension.IMAGES: Limit(1)})
    clock = VirtualClock()
    client, _ = client_of(SimulatorConfig(accounts=accounts, pools=(pool,), latency=0.0), clock)
    async with client:
        answers = [
            await clock.run(client.post(IMAGES, json=SMALL, headers={"Authorization": f"Bearer {key}"}))
            for key in ("sk-one", "sk-two", "sk-old", "sk-nobody")
        ]
    assert [answer.status_code for answer in answers] == [200, 429, 401, 401]
    assert answers[1].headers["openai-organization"] == "org-a"
    assert answers[1].headers["openai-project"] == "proj_2"
    assert answers[3].json()["error"]["code"] == "invalid_api_key"


async def test_image_answers_may_hide_their_limits() -> None:
    """As some real ones do; chat answers tell them."""
    clock = VirtualClock()
    client, _ = client_of(SimulatorConfig(latency=0.0, image_rate_headers=False), clock)
    async with client:
        picture = await clock.run(client.post(IMAGES, json=SMALL))
        text = await clock.run(client.post(CHAT, json={"messages": [{"role": "user", "content": "hi"}]}))
    assert not [name for name in picture.headers if name.startswith("x-ratelimit")]
    assert text.headers["x-ratelimit-limit-requests"] == "1000000"
    for name in ("x-request-id", "openai-processing-ms", "openai-version"):
        assert picture.headers[name]


async def test_a_spell_of_overload_ends() -> None:
    """A minute of 503, by the simulator's clock."""
    clock = VirtualClock()
    spell = Fault(FaultKind.OVERLOADED, start=60, end=120)
    client, _ = client_of(SimulatorConfig(latency=0.0, faults=(spell,)), clock)
    statuses = []
    async with client:
        for _ in range(4):
            statuses.append((await clock.run(client.post(IMAGES, json=SMALL))).status_code)
            await clock.advance(40)
    assert statuses == [200, 200, 503, 200]


async def test_a_model_ends_on_its_shutdown_date() -> None:
    """404 from that day on (UTC), listed beforehand."""
    clock = VirtualClock(epoch=1_796_082_000.0)  # 2026-11-30T21:00Z
    client, _ = client_of(SimulatorConfig(latency=0.0, shutdown_dates={"gpt-image-1.5": "2026-12-01"}), clock)
    async with client:
        body = {**SMALL, "model": "gpt-image-1.5"}
        assert (await client.get("/v1/models/gpt-image-1.5")).json()["shutdown_date"] == "2026-12-01"
        assert (await clock.run(client.post(IMAGES, json=body))).status_code == 200
        await clock.advance(6 * 3600)
        gone = await clock.run(client.post(IMAGES, json=body))
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_held_call_goes_on_when_released() -> None:
    """So that a test can look while a generation is in flight."""
    clock = VirtualClock()
    client, simulator = client_of(SimulatorConfig(latency=0.0, faults=(Fault(FaultKind.HELD, times=1),)), clock)
    async with client:
        held = asyncio.ensure_future(client.post(IMAGES, json=SMALL))
        await clock.advance(60)
        assert not held.done()
        assert (await client.get("/_simulator/stats")).json()["in_flight"] == 1
        await client.post("/_simulator/release")
        assert (await clock.run(held)).status_code == 200
    assert simulator.stats.plain()["prompts"] == ["a red cube"]


async def test_the_control_route_steers_and_says_what_is_wrong() -> None:
    """Faults, limits, quota."""
    clock = VirtualClock()
    client, _ = client_of(SimulatorConfig(latency=0.0, pools=tier(2)), clock)
    async with client:
        assert (await client.post("/_simulator/faults", json={"kind": "hung", "tims": 1})).status_code == 400
        assert (await client.post("/_simulator/faults", content=b"[")).status_code == 400
        assert (await client.post("/_simulator/faults", json={"kind": "slow_down"})).status_code == 200
        assert (await clock.run(client.post(IMAGES, json=SMALL))).json()["error"]["code"] == "slow_down"
        await client.delete("/_simulator/faults")
        pool = "org-simulator/gpt-image"
        changed = {"pool": pool, "dimension": "images", "amount": 1}
        assert (await client.post("/_simulator/limits", json=changed)).status_code == 200
        assert (await client.post("/_simulator/limits", json={**changed, "amount": []})).status_code == 400
        assert (await client.post("/_simulator/limits", json={**changed, "pool": "x"})).status_code == 400
        assert (await clock.run(client.post(IMAGES, json={**SMALL, "n": 2}))).status_code == 429
        await client.post("/_simulator/limits", json={"pool": "org-simulator", "exhausted": True})
        spent = await clock.run(client.post(IMAGES, json=SMALL))
        assert spent.json()["error"]["type"] == "insufficient_quota"
        await client.post("/_simulator/limits", json={"pool": "org-simulator", "exhausted": False})
        assert (await clock.run(client.post(IMAGES, json=SMALL))).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (IMAGES, b""),
        (IMAGES, b"[1]"),
        (IMAGES, b"{"),
        (IMAGES, b'{"prompt": NaN}'),
        (IMAGES, b"\xff"),
        (IMAGES, b"[" * 200_000),
        (IMAGES, b"{}"),
        (IMAGES, b'{"prompt": ""}'),
        (IMAGES, b'{"prompt": 7}'),
        (IMAGES, json.dumps({"prompt": "x" * 32_001}).encode()),
        (IMAGES, b'{"prompt": "x", "n": 11}'),
        (IMAGES, b'{"prompt": "x", "n": 0}'),
        (IMAGES, b'{"prompt": "x", "n": "2"}'),
        (CHAT, b"{}"),
        (CHAT, b'{"messages": []}'),
        (CHAT, b'{"messages": "hi"}'),
        (CHAT, b'{"messages": [1]}'),
        (CHAT, b'{"messages": [{"role": "user"}], "n": 129}'),
        (CHAT, b'{"messages": [], "seed": ' + b"9" * 5000 + b"}"),
    ],
)
async def test_what_cannot_be_answered_is_a_400_in_the_upstream_s_envelope(path: str, body: bytes) -> None:
    """Message, type, param and code, always."""
    client, _ = client_of(SimulatorConfig(latency=0.0))
    async with client:
        answer = await client.post(path, content=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_unknown_paths_methods_and_large_bodies_are_told_in_the_envelope() -> None:
    """404, 405, 413."""
    client, _ = client_of(SimulatorConfig(latency=0.0, max_body_bytes=1000))
    async with client:
        answers = [
            await client.get("/v1/nothing"),
            await client.get(IMAGES),
            await client.post(IMAGES, content=b" " * 1001),
        ]
    assert [answer.status_code for answer in answers] == [404, 405, 413]
    assert all("error" in answer.json() for answer in answers)


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        ({"model": "string"}, "model_not_found"),
        ({"model": "dall-e-3"}, "model_not_found"),
        ({"model": "gpt-6-luna"}, "model_not_found"),
        ({"size": "256x256"}, "invalid_value"),
        ({"size": "4000x1000"}, "invalid_value"),
        ({"size": "1000x1000"}, "invalid_value"),
        ({"quality": "hd"}, "invalid_value"),
        ({"quality": "xhigh"}, "invalid_value"),
        ({"style": "vivid"}, "unknown_parameter"),
        ({"response_format": "url"}, "unknown_parameter"),
        ({"effort": "low"}, "unknown_parameter"),
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value"),
    ],
)
async def test_odd_image_requests_are_ignored_or_refused(odd: dict[str, Any], code: str) -> None:
    """Ignored by default, refused when strict."""
    body = {"prompt": "x", "model": "gpt-image-2", "size": "1024x1024", **odd}
    for strict in (False, True):
        clock = VirtualClock()
        client, _ = client_of(SimulatorConfig(latency=0.0, strict=strict), clock)
        async with client:
            answer = await clock.run(client.post(IMAGES, json=body))
        assert answer.status_code == ((404 if code == "model_not_found" else 400) if strict else 200)
        assert not strict or answer.json()["error"]["code"] == code


async def test_good_requests_pass_when_strict() -> None:
    """Standard sizes, free sizes of newer models, all known parameters."""
    clock = VirtualClock()
    client, _ = client_of(SimulatorConfig(latency=0.0, strict=True), clock)
    async with client:
        for body in (
            {"model": "gpt-image-2", "size": "1536x864", "quality": "high", "background": "opaque", "user": "u"},
            {"model": "gpt-image-2.5-flare", "size": "auto", "quality": "max", "moderation": "low"},
            {"model": "gpt-image-1.5", "size": "1024x1536", "output_format": "webp", "output_compression": 5},
        ):
            answer = await clock.run(client.post(IMAGES, json={"prompt": "x", **body}))
            assert answer.status_code == 200, answer.text
        hello = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "hi"}]}
        assert (await clock.run(client.post(CHAT, json=hello))).status_code == 200
        assert (await clock.run(client.post(CHAT, json={**hello, "model": "nobody"}))).status_code == 404
        assert (await client.get("/v1/models/nobody")).status_code == 404


async def test_what_was_really_made_is_told() -> None:
    """`auto` and dead values become something real; the caller's id is echoed."""
    clock = VirtualClock()
    client, _ = client_of(SimulatorConfig(latency=0.0), clock)
    body = {"prompt": "x", "size": "auto", "quality": "auto", "background": "auto", "user": "u-1", "n": 2}
    async with client:
        made = (await clock.run(client.post(IMAGES, json=body))).json()
    assert (made["size"], made["quality"], made["background"]) == ("1024x1024", "medium", "opaque")
    assert (made["output_format"], made["safety_identifier"], len(made["data"])) == ("png", "u-1", 2)
    assert made["data"][0] != made["data"][1]
    assert made["usage"]["output_tokens"] == 2 * 1756
    assert made["created"] == 1_795_000_000


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "model",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "stream",
        "partial_images",
        "frame_count",
        "user",
        "svg",
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "max_tokens",
        "stream_options",
        "logprobs",
        "functions",
        "function_call",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, plain, max_size=6), plain, st.booleans(), st.booleans())
async def test_no_request_makes_it_fail(odd: dict[str, Any], content: Any, images: bool, strict: bool) -> None:
    """Whatever JSON is sent: an answer or a 4xx, never a 500 and never an exception."""
    subject: dict[str, Any] = {"prompt": content} if images else {"messages": [{"role": "user", "content": content}]}
    body = {"size": "32x32", **odd, **subject}
    clock = VirtualClock()
    client, simulator = client_of(SimulatorConfig(latency=0.0, strict=strict), clock)
    async with client:
        sent = json.dumps(body).encode()
        answer = await clock.run(client.post(IMAGES if images else CHAT, content=sent))
    assert answer.status_code in (200, 400, 404)
    assert simulator.stats.in_flight == 0
