"""The simulator's Batch API: files, every way a batch can end, and what its output and error files hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cache_service.simulator.app import create_app
from cache_service.simulator.clock import VirtualClock
from cache_service.simulator.config import Account, SimulatorConfig
from cache_service.simulator.faults import Fault, FaultKind
from cache_service.simulator.simulator import Simulator

IMAGES = "/v1/images/generations"


@dataclass
class Desk:
    """A simulator on a virtual clock, and a client of it."""

    client: httpx.AsyncClient
    clock: VirtualClock
    simulator: Simulator

    async def begin(self, content: bytes, endpoint: str = IMAGES) -> dict[str, Any]:
        file = (
            await self.client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", content)})
        ).json()
        created = await self.client.post(
            "/v1/batches", json={"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h",
                                 "metadata": {"ours": "1"}}
        )  # fmt: skip
        assert created.status_code == 200, created.text
        told: dict[str, Any] = created.json()
        return told

    async def now(self, batch: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = (await self.client.get(f"/v1/batches/{batch['id']}")).json()
        return told

    async def lines(self, file_id: str) -> dict[str, dict[str, Any]]:
        text = (await self.client.get(f"/v1/files/{file_id}/content")).text
        return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


async def desk_of(config: SimulatorConfig) -> AsyncIterator[Desk]:
    clock = VirtualClock()
    app = create_app(config, clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim") as client:
        yield Desk(client, clock, app.state.simulator)


@pytest.fixture
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    async for made in desk_of(getattr(request, "param", SimulatorConfig(latency=10.0))):
        yield made


def requests(*prompts: str, model: str = "gpt-image-2", url: str = IMAGES) -> bytes:
    return b"".join(
        json.dumps(
            {
                "custom_id": f"r{n}",
                "method": "POST",
                "url": url,
                "body": {"model": model, "prompt": prompt, "size": "64x64"},
            }
        ).encode()
        + b"\n"
        for n, prompt in enumerate(prompts)
    )


async def test_a_batch_goes_its_way_and_its_output_holds_what_the_route_would_answer(desk: Desk) -> None:
    batch = await desk.begin(requests("a fox", "an ö"))
    assert (batch["status"], batch["metadata"], batch["object"]) == ("validating", {"ours": "1"}, "batch")
    await desk.clock.advance(1.5)
    running = await desk.now(batch)
    assert (running["status"], running["request_counts"]) == ("in_progress", {"total": 2, "completed": 0, "failed": 0})
    await desk.clock.advance(10)
    assert (await desk.now(batch))["status"] == "finalizing"
    await desk.clock.advance(1)
    done = await desk.now(batch)
    assert (done["status"], done["request_counts"]["completed"], done["error_file_id"]) == ("completed", 2, None)
    assert (
        done["created_at"] < done["in_progress_at"] < done["finalizing_at"] < done["completed_at"] < done["expires_at"]
    )
    lines = await desk.lines(done["output_file_id"])
    assert lines.keys() == {"r0", "r1"}
    response = lines["r0"]["response"]
    assert (response["status_code"], lines["r0"]["error"]) == (200, None)
    assert response["body"]["data"][0]["b64_json"]
    assert response["body"]["usage"]["output_tokens"] > 0
    assert list(desk.simulator.stats.prompts) == ["a fox", "an ö"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"{broken\n", "invalid_json_line"),
        (b'{"custom_id": "a"}\n', "invalid_request"),
        (requests("a") + requests("b"), "duplicate_custom_id"),
        (requests("a", url="/v1/chat/completions"), "mismatched_endpoint"),
        (requests("a") + requests("b", model="gpt-image-2.5").replace(b"r0", b"r1"), "mismatched_model"),
    ],
)
async def test_a_file_that_is_wrong_fails_whole_and_nothing_is_paid(desk: Desk, content: bytes, code: str) -> None:
    batch = await desk.begin(content)
    await desk.clock.advance(2)
    failed = await desk.now(batch)
    assert (failed["status"], failed["errors"]["data"][0]["code"]) == ("failed", code)
    assert not desk.simulator.stats.images


@pytest.mark.parametrize(
    "desk", [SimulatorConfig(latency=1.0, faults=(Fault(FaultKind.SERVER_ERROR, marker="bad"),))], indirect=True
)
async def test_a_request_that_is_refused_is_in_the_error_file(desk: Desk) -> None:
    batch = await desk.begin(requests("good", "bad"))
    await desk.clock.advance(10)
    done = await desk.now(batch)
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 2, "completed": 1, "failed": 1})
    (line,) = (await desk.lines(done["error_file_id"])).values()
    assert (line["custom_id"], line["response"]["status_code"]) == ("r1", 500)


async def test_cancelling_keeps_what_is_done(desk: Desk) -> None:
    batch = await desk.begin(requests(*(str(n) for n in range(120))))
    await desk.clock.advance(12)  # 50 are done, 50 are under way
    cancelling = (await desk.client.post(f"/v1/batches/{batch['id']}/cancel")).json()
    assert cancelling["status"] == "cancelling"
    await desk.clock.advance(10)
    done = await desk.now(batch)
    assert (done["status"], done["request_counts"]["completed"]) == ("cancelled", 100)
    assert len(await desk.lines(done["output_file_id"])) == 100
    left = (await desk.lines(done["error_file_id"])).values()
    assert {line["error"]["code"] for line in left} == {"batch_cancelled"}
    assert (await desk.client.post(f"/v1/batches/{batch['id']}/cancel")).status_code == 409


@pytest.mark.parametrize("desk", [SimulatorConfig(latency=50_000.0)], indirect=True)
async def test_what_is_not_done_in_a_day_has_expired(desk: Desk) -> None:
    batch = await desk.begin(requests(*(str(n) for n in range(120))))
    await desk.clock.advance(200_000)
    done = await desk.now(batch)
    assert (done["status"], done["request_counts"]) == ("expired", {"total": 120, "completed": 100, "failed": 20})
    left = (await desk.lines(done["error_file_id"])).values()
    assert {line["error"]["code"] for line in left} == {"batch_expired"}


async def test_batches_are_listed_newest_first_a_page_at_a_time(desk: Desk) -> None:
    made = [(await desk.begin(requests("a")))["id"] for _ in range(3)]
    first = (await desk.client.get("/v1/batches", params={"limit": 2})).json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == ([made[2], made[1]], True)
    rest = (await desk.client.get("/v1/batches", params={"limit": 2, "after": first["last_id"]})).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([made[0]], False)


ACCOUNTS = (Account("one", project="a"), Account("two", project="a"), Account("three", project="b"))


@pytest.mark.parametrize("desk", [SimulatorConfig(latency=0.0, accounts=ACCOUNTS)], indirect=True)
async def test_files_and_batches_belong_to_the_project(desk: Desk) -> None:
    assert (await desk.client.get("/v1/batches")).status_code == 401
    desk.client.headers["authorization"] = "Bearer one"
    batch = await desk.begin(requests("a"))
    for key, status in (("two", 200), ("three", 404)):
        desk.client.headers["authorization"] = f"Bearer {key}"
        assert (await desk.client.get(f"/v1/batches/{batch['id']}")).status_code == status
        assert (await desk.client.get(f"/v1/files/{batch['input_file_id']}")).status_code == status


@pytest.mark.parametrize(
    "body", [{"endpoint": "/v1/embeddings"}, {"completion_window": "1h"}, {"input_file_id": "file-x"}, {"metadata": 3}]
)
async def test_a_batch_that_can_not_be_is_refused(desk: Desk, body: dict[str, Any]) -> None:
    file = (await desk.client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", requests("a"))})).json()
    right = {"input_file_id": file["id"], "endpoint": IMAGES, "completion_window": "24h"}
    assert (await desk.client.post("/v1/batches", json=right | body)).status_code == 400
    assert (
        await desk.client.post("/v1/files", data={"purpose": "joke"}, files={"file": ("a", b"x")})
    ).status_code == 400
    assert (await desk.client.post("/v1/files", json={})).status_code == 400
