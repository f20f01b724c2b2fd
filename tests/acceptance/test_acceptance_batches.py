"""Batches of the installed command: they outlive the process, and the upstream's Batch API is worth its half price."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import COMMAND, Server, environment, run

BATCHES = "/v1/generate/batches"
MODEL = "gpt-image-2"
ITEMS = 120
AT_ONCE = 4
SOME = 6


@contextmanager
def simulator(folder: Path, latency: float) -> Iterator[str]:
    """`cache-service simulate` on a free port: an upstream that outlives the service. Yields its base URL."""
    process = subprocess.Popen(
        [COMMAND, "simulate", "--port", "0", "--latency", str(latency)],
        env=environment(folder / "simulator"),
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("Simulator: ").strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def stats(base_url: str) -> dict[str, Any]:
    """What the simulator has done."""
    found: dict[str, Any] = httpx.get(f"{base_url.removesuffix('/v1')}/_simulator/stats", trust_env=False).json()
    return found


def requests(number: int) -> list[str]:
    """Prompts of which no two mean the same."""
    return [f"picture number {each} of a series, object {each * 7919}" for each in range(number)]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_batch_goes_on_by_its_id_after_kill_9_and_pays_no_finished_item_twice(tmp_path: Path) -> None:
    prompts = requests(ITEMS)
    body = [
        {"operation": "images", "request": {"model": MODEL, "prompt": prompt, "size": "64x64"}}
        for prompt in [*prompts, *prompts[:10]]
    ]
    with simulator(tmp_path, 0.05) as upstream:
        server = Server(
            tmp_path / "data",
            {"upstream_base_url": upstream, "upstream_api_keys": "sk-one", "batch_concurrency": AT_ONCE},
        ).start()
        finished = []
        with server.client() as client:
            begun = client.post(BATCHES, json=body, headers={"prefer": "respond-async"})
            assert begun.status_code == 202, begun.text
            place = begun.headers["location"]
            with client.stream("GET", place, params={"follow": "true"}) as stream:
                for line in itertools.islice(stream.iter_lines(), ITEMS // 3):
                    finished += [json.loads(line)] if line.startswith('{"number"') else []
                server.kill()
        assert finished
        assert stats(upstream)["images"] < ITEMS, "in the middle"

        server.start()
        with server.client() as client:
            first, *between, last = lines(client.get(place, params={"follow": "true"}).text)
            results = [line for line in between if "number" in line]
            assert first["batch"]["id"] == last["batch"]["id"] == place.rpartition("/")[2]
            assert (last["batch"]["state"], last["batch"]["ended"]) == ("completed", len(body))
            assert [one["number"] for one in results] == list(range(1, len(body) + 1))
            assert results[: len(finished)] == finished, "what was read before the kill reads the same"
            assert {one["index"] for one in results} == set(range(len(body)))
            for one in results:
                picture = client.get(one["response"]["data"][0]["url"])
                assert (picture.status_code, picture.headers["content-type"][:6]) == (200, "image/")
        paid = Counter(stats(upstream)["prompts"])
        ours = {body[one["index"]]["request"]["prompt"] for one in finished}
        assert all(paid[prompt] == 1 for prompt in ours), "a finished item was paid twice"
        assert set(paid) == set(prompts)
        assert sum(paid.values()) <= ITEMS + AT_ONCE, "only what was in flight at the kill may be paid again"
        assert server.stop() == 0
    assert json.loads(run(server.data_dir, "check", "--json").stdout) == []


def test_warm_through_the_batch_api_of_a_live_service_costs_half(tmp_path: Path) -> None:
    """The same prompts, the same size and quality; once by the upstream's Batch API, once as calls of their own."""
    with simulator(tmp_path, 0) as upstream:
        there = {"upstream_base_url": upstream, "upstream_api_keys": "sk-one"}
        server = Server(tmp_path / "data", there).start()
        parameters = ["--model", MODEL, "-p", "size=1024x1024", "-p", "quality=low", "--json"]

        def warm(name: str, prompts: list[str], *options: str) -> dict[str, Any]:
            file = tmp_path / name
            file.write_text("\n".join(prompts))
            done = run(server.data_dir, "warm", str(file), *parameters, *options, **there)
            assert done.returncode == 0, done.stderr
            report: dict[str, Any] = json.loads(done.stdout)
            return report

        def spent() -> float:
            answer = httpx.get(f"{server.url}/admin/roi", headers=server.admin, trust_env=False).json()
            return float(answer["traffic"]["spent"])

        file = requests(2 * SOME)
        through = warm("through.txt", file[:SOME], "--via-batch-api")
        half = spent()
        assert (through["generated"], through["failed"]) == (SOME, 0)
        assert half == pytest.approx(through["usd"], abs=1e-6)
        assert stats(upstream)["images"] == SOME
        assert warm("direct.txt", file[SOME:])["generated"] == SOME
        assert 2 * half == pytest.approx(spent() - half, rel=0.02)
        again = warm("through.txt", file[:SOME])
        assert (again["hits"], again["generated"], again["usd"]) == (SOME, 0, 0)
        assert server.stop() == 0
