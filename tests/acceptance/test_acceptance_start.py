"""Starting and stopping: what can't work says so in one line, commands find the service, and a stop loses nothing."""

from __future__ import annotations

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Server, run

KEY = "a-key-of-the-shop"
SLOW = {"model": "gpt-image-2", "prompt": "a slow picture", "size": "64x64"}
GENERATIONS = "/v1/images/generations"


def _one_line(stderr: str) -> str:
    (line,) = [line for line in stderr.splitlines() if not line.startswith("{")]  # the rest is the log
    assert line.startswith("cache-service: ")
    return line


def _until_in_flight(server: Server) -> None:
    with server.client() as client:
        while _in_flight(client, server) < 1:
            time.sleep(0.01)  # another process: there is no clock of ours to move


def _in_flight(client: httpx.Client, server: Server) -> int:
    """Requests in flight, without the question itself."""
    in_flight: int = client.get("/admin/stats", headers=server.admin).json()["requests_in_flight"]
    return in_flight - 1


@pytest.mark.parametrize("allowed_hosts", ["127.0.0.1,localhost", "cache.example"])
def test_commands_find_a_service_that_listens_on_every_address(tmp_path: Path, allowed_hosts: str) -> None:
    """The lock names an address that can be connected to, and the commands a host that is served."""
    settings = {"host": "0.0.0.0", "client_keys": f"shop:{KEY}", "allowed_hosts": allowed_hosts}  # noqa: S104
    server = Server(tmp_path / "data", settings).start()
    try:
        assert server.url.startswith("http://127.0.0.1:")
        rows = tmp_path / "rows.txt"
        rows.write_text("a fox\n")
        warmed = run(server.data_dir, "warm", str(rows), "--json", "-p", "size=64x64", **settings)
        assert warmed.returncode == 0, warmed.stderr
        assert json.loads(warmed.stdout)["generated"] == 1
        purged = run(server.data_dir, "purge", "--all", "--yes", "--json", **settings)
        assert purged.returncode == 0, purged.stderr
        assert json.loads(purged.stdout)["count"] == 1
    finally:
        assert server.stop() == 0


def test_commands_work_by_themselves_whatever_hosts_are_served(tmp_path: Path) -> None:
    purged = run(tmp_path / "data", "purge", "--all", "--yes", "--json", allowed_hosts="cache.example")
    assert purged.returncode == 0, purged.stderr


def test_an_open_address_without_keys_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    refused = run(data_dir, "serve", host="0.0.0.0")  # noqa: S104
    assert refused.returncode == 1
    assert "client_keys" in _one_line(refused.stderr)
    assert not data_dir.exists()


def test_a_data_directory_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "lock").mkdir(parents=True)
    refused = run(tmp_path / "data", "serve")
    assert refused.returncode == 1
    assert "CACHE_SERVICE_DATA_DIR" in _one_line(refused.stderr)


def test_what_the_simulator_cannot_do_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        attempts = {
            "--port or --host": ["--port", port],
            "the simulator can't listen on": ["--port", "70000"],
            "expected seconds from 0": ["--latency=-3", "--port", "0"],
            "--latency nan": ["--latency=nan", "--port", "0"],
        }
        for said, arguments in attempts.items():
            refused = run(tmp_path / "data", "simulate", *arguments)
            assert refused.returncode == 1, arguments
            assert said in _one_line(refused.stderr)


@pytest.mark.parametrize(
    "url", ["http://[x", "http://", "http://:80/v1", "http://h:no/v1", "http://a@h/v1", "http://h/?a"]
)
def test_a_base_url_that_is_none_is_refused_with_the_settings(tmp_path: Path, url: str) -> None:
    refused = run(tmp_path / "data", "config", "show", upstream_base_url=url)
    assert refused.returncode == 1
    assert "CACHE_SERVICE_UPSTREAM_BASE_URL" in _one_line(refused.stderr)


def test_probes_are_answered_while_the_service_drains(tmp_path: Path) -> None:
    """An orchestrator sees a living process that wants no more work; what was begun is answered and stored."""
    server = Server(tmp_path / "data", {"simulator_latency": 2.5}).start()
    assert server.process is not None
    with ThreadPoolExecutor(1) as pool, server.client() as client:
        answer = pool.submit(client.post, GENERATIONS, json=SLOW)
        _until_in_flight(server)
        server.process.send_signal(signal.SIGTERM)
        while httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200:
            pass  # the signal is on its way
        assert not answer.done()
        assert httpx.get(f"{server.url}/livez", trust_env=False).status_code == 200
        unready = httpx.get(f"{server.url}/readyz", trust_env=False)
        assert (unready.status_code, unready.json()["reasons"]) == (503, ["draining"])
        late = httpx.post(f"{server.url}{GENERATIONS}", json=SLOW, trust_env=False)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "stopping")
        assert "retry-after" in late.headers
        assert "stored" in answer.result().headers["cache-status"]
        assert server.process.wait() == 0


def test_fifty_generations_in_flight_are_answered_and_stored_before_the_end(tmp_path: Path) -> None:
    """Each client gets its picture, the process ends with 0, and the next one serves all of them."""
    server = Server(tmp_path / "data", {"simulator_latency": 3.0, "upstream_max_in_flight": 50}).start()
    assert server.process is not None
    bodies = [{**SLOW, "prompt": f"picture {number} of a series", "size": "64x64"} for number in range(50)]
    with ThreadPoolExecutor(50) as pool, server.client() as client:
        answers = [pool.submit(client.post, GENERATIONS, json=body) for body in bodies]
        with server.client() as other:
            while _in_flight(other, server) + sum(answer.done() for answer in answers) < 50:
                time.sleep(0.01)  # another process: there is no clock of ours to move
        server.process.send_signal(signal.SIGTERM)
        while httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200:
            pass  # the signal is on its way
        assert httpx.get(f"{server.url}/livez", trust_env=False).status_code == 200
        told = [answer.result() for answer in answers]
        assert server.process.wait() == 0
    assert [answer.status_code for answer in told] == [200] * 50
    assert all("stored" in answer.headers["cache-status"] for answer in told)
    server.start()
    with server.client() as client:
        again = [client.post(GENERATIONS, json=body) for body in bodies]
    assert all(answer.headers["cache-status"].startswith("cache_service; hit") for answer in again)
    assert [answer.json()["data"] for answer in again] == [answer.json()["data"] for answer in told]
    assert server.stop() == 0


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """However long the grace and the generation are."""
    server = Server(tmp_path / "data", {"simulator_latency": 600, "shutdown_grace": 600}).start()
    assert server.process is not None
    with ThreadPoolExecutor(1) as pool, server.client() as client:
        answer = pool.submit(client.post, GENERATIONS, json=SLOW)
        _until_in_flight(server)
        server.process.send_signal(signal.SIGTERM)
        while httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200:
            pass  # two signals at the same moment are one
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert answer.exception() is not None or answer.result().status_code >= 500


def test_the_grace_is_one_deadline_for_requests_and_generations(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", {"simulator_latency": 600, "shutdown_grace": 1}).start()
    with ThreadPoolExecutor(1) as pool, server.client() as client:
        pool.submit(client.post, GENERATIONS, json=SLOW)
        _until_in_flight(server)
        assert server.stop() == 0
    assert "cut off" in server.log()
