"""kill -9 at any moment: nothing acknowledged is lost, nothing paid is paid twice, and `check` finds nothing."""

from __future__ import annotations

import itertools
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.acceptance.conftest import Server, run

REQUESTS = 1000
CLIENTS = 16


def test_kill_9_in_the_middle_of_a_thousand_requests_loses_nothing_acknowledged(tmp_path: Path) -> None:
    server = Server(tmp_path / "data").start()
    acknowledged: dict[str, bytes] = {}
    answered = itertools.count(1)
    kill_at = random.Random(7).randrange(REQUESTS // 3, 2 * REQUESTS // 3)  # noqa: S311  not a secret
    killed = threading.Event()

    def ask(number: int) -> None:
        prompt = f"picture number {number} of a series, object {number * 7919}"
        body = {"model": "gpt-image-2", "prompt": prompt, "size": "64x64"}
        try:
            answer = client.post("/v1/images/generations", json=body)
        except httpx.TransportError:
            return
        if answer.is_success and "stored" in answer.headers["cache-status"]:
            acknowledged[prompt] = answer.content
        if next(answered) == kill_at:
            killed.set()
            server.kill()

    with server.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(REQUESTS)))
    assert killed.is_set()
    assert len(acknowledged) >= kill_at - CLIENTS

    found = run(server.data_dir, "check", "--json")
    unexpected = [
        problem for problem in json.loads(found.stdout) if problem["kind"] != "picture that no entry refers to"
    ]
    assert unexpected == [], found.stderr

    server.start()
    with server.client() as client:
        for prompt, body in acknowledged.items():
            again = client.post(
                "/v1/images/generations",
                json={"model": "gpt-image-2", "prompt": prompt, "size": "64x64"},
                headers={"cache-control": "only-if-cached"},
            )
            assert again.status_code == 200, prompt
            assert json.loads(again.content) == json.loads(body), "byte-equal pictures"
    assert server.stop() == 0
    assert json.loads(run(server.data_dir, "check", "--json").stdout) == []


def test_the_second_process_on_a_data_directory_is_refused_naming_the_first(server: Server) -> None:
    assert server.process is not None
    second = run(server.data_dir, "serve")
    assert second.returncode == 1
    assert f"process {server.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_term_ends_with_exit_code_0_after_what_is_in_flight_is_stored(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", {"simulator_latency": 1.0}).start()
    body = {"model": "gpt-image-2", "prompt": "a slow picture", "size": "64x64"}
    with ThreadPoolExecutor(1) as pool, server.client() as client:
        answer = pool.submit(client.post, "/v1/images/generations", json=body)
        with server.client() as other:
            while other.get("/admin/stats", headers=server.admin).json()["requests_in_flight"] < 2:
                pass  # one of them is the question itself
        assert server.stop() == 0
        assert "stored" in answer.result().headers["cache-status"]
    server.start()
    with server.client() as client:
        assert client.post("/v1/images/generations", json=body).headers["cache-status"].startswith("cache_service; hit")
    server.stop()
