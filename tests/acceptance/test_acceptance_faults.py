"""What the machine does to a service: too few file descriptors, a copy made while it runs, a process stopped for a while."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.conftest import Server, run


def ask(server: Server, prompt: str) -> tuple[int, str]:
    with server.client() as client:
        body = {"model": "m", "prompt": prompt, "size": "64x64"}
        answer = client.post("/v1/images/generations", json=body)
    return answer.status_code, answer.headers.get("cache-status", "")


def test_too_few_file_descriptors_pass(tmp_path: Path) -> None:
    """Idle connections take them all; as soon as those close the service answers again, without a restart."""
    server = Server(tmp_path / "data").start()
    assert server.process is not None
    assert ask(server, "a red fox in the snow")[0] == 200
    held = len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208
    _, most = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (held + 8, most))
    host, _, port = server.url.removeprefix("http://").partition(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(40)]
    for connection in idle:
        connection.close()
    assert "hit" in ask(server, "a red fox in the snow")[1]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (most, most))
    assert "stored" in ask(server, "a blue whale under a bridge")[1]
    assert server.stop() == 0


def test_a_folder_copied_while_the_service_runs_starts_or_check_says_what_is_wrong(tmp_path: Path) -> None:
    """`backup` is the way to do it; a plain copy is at least never served wrongly."""
    server = Server(tmp_path / "data").start()
    for number in range(5):
        ask(server, f"picture number {number} of a series, object {number * 7919}")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert server.stop() == 0
    found = run(tmp_path / "copy", "check", "--fix")
    assert found.returncode in (0, 3), found.stderr
    copy = Server(tmp_path / "copy").start()
    for number in range(5):
        assert ask(copy, f"picture number {number} of a series, object {number * 7919}")[0] == 200
    assert copy.stop() == 0
    assert run(tmp_path / "copy", "check").returncode == 0


def test_a_process_that_is_stopped_for_a_while_goes_on_where_it_was(server: Server) -> None:
    """What was asked meanwhile is answered, and what was stored is a hit."""
    assert server.process is not None
    assert "stored" in ask(server, "a red fox in the snow")[1]
    os.kill(server.process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, server, f"picture {number} of a whale") for number in range(4)]
        os.kill(server.process.pid, signal.SIGCONT)
        assert [each.result()[0] for each in asked] == [200] * 4
    assert "hit" in ask(server, "a red fox in the snow")[1]
