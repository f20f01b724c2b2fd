"""What the machine does to a service: too few file descriptors, a copy made while it runs, a process stopped for a while."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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


def _broken_by_an_error(image: Path, folder: Path) -> Callable[[], None]:
    """Mounts a file system there; what is returned makes it report an error and turn read-only. Skips where that can't be done."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("NOT TRIED: a file system that turns read-only; it needs root and mkfs.ext4 (Debian: e2fsprogs)")
    image.write_bytes(b"")
    os.truncate(image, 64 * 2**20)
    folder.mkdir()
    made = subprocess.run(["mkfs.ext4", "-q", "-F", image], check=False)
    mounted = made.returncode == 0 and subprocess.run(
        ["mount", "-o", "loop,errors=remount-ro", image, folder], check=False, capture_output=True
    ).returncode == 0  # fmt: skip
    device = Path(f"/sys/dev/block/{os.major(folder.stat().st_dev)}:{os.minor(folder.stat().st_dev)}").resolve().name
    trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    if not mounted or not trigger.exists():
        if mounted:
            subprocess.run(["umount", folder], check=True)
        pytest.skip("NOT TRIED: a file system that turns read-only; it needs root, loop devices and ext4")
    return lambda: trigger.write_text("an error made by a test")  # type: ignore[return-value]


def test_a_file_system_that_turns_read_only_stops_storing_and_nothing_else(tmp_path: Path) -> None:
    """Hits are served, misses are generated and not stored, and `/readyz` says why; a restart couldn't store either, so it goes on."""
    folder = tmp_path / "mounted"
    break_it = _broken_by_an_error(tmp_path / "image", folder)
    server = Server(folder)  # its log lies beside it
    try:
        server.start()
        assert "stored" in ask(server, "a red fox in the snow")[1]
        break_it()
        status, told = ask(server, "a blue whale under a bridge")
        assert (status, "not stored" in told) == (200, True)
        with server.client() as client:
            while (ready := client.get("/readyz")).status_code == 200:
                time.sleep(0.05)  # another process: there is no clock of ours to move
        assert "restart once the disk is well" in ready.text
        while "the file system is read-only" not in server.log():
            time.sleep(0.05)
        assert "hit" in ask(server, "a red fox in the snow")[1]
        assert ask(server, "an owl in a teapot")[0] == 200
        assert server.stop() == 70
    finally:
        server.kill()
        subprocess.run(["umount", folder], check=True)


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
