"""One store, killed at each of its system calls, and each of its fsyncs failing: what was acknowledged is there afterwards.

Needs strace. Without it these promises are not tried, which the skipped test says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cache_service.store.blobs import FOLDERS, FileBlobStore
from cache_service.store.sql import open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest
from tests.fakes.storing import picture

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="KILL POINTS AND FAILED FSYNCS NOT TRIED: strace is not installed"
)

CALLS = ("mkdir", "write", "fsync", "rename", "pwrite64", "fdatasync", "ftruncate", "unlink")
MOST_POINTS = 80


def store_one(url: str, root: Path, name: str, inject: str) -> subprocess.CompletedProcess[str]:
    """Stores an entry of that name with a fault in one system call."""
    call = inject.split(":")[0]
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={inject}", sys.executable]
    return subprocess.run(
        [*command, "-m", "tests.fakes.store_one", url, str(root), name],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def make_most_folders(root: Path) -> None:
    """All but five: a kill at each of these stands for all."""
    root.mkdir()
    for name in FOLDERS[:-5]:
        (root / name).mkdir()


async def whole(url: str, root: Path, names: list[str]) -> None:
    """Everything acknowledged is there, nothing is half done."""
    store, blobs = await open_store(url), await FileBlobStore.open(root)
    assert await store.check(fix=False) == []
    for name in names:
        entry = await store.find(digest(name), embedding_model=MODEL)
        assert entry is not None, name
        assert await blobs.read(entry.outputs[0].blob or "") == picture(name)
    await store.aclose()


@pytest.mark.parametrize("call", CALLS)
async def test_a_store_killed_at_any_system_call_is_whole_or_not_there(make_sqlite: MakeDatabase, call: str) -> None:
    url = make_sqlite()
    root = Path(f"{url.removeprefix('sqlite:///')}.blobs")
    make_most_folders(root)
    acknowledged: list[str] = []
    for point in range(1, MOST_POINTS):
        ended = store_one(url, root, f"{call} {point}", f"{call}:signal=KILL:when={point}")
        if ended.stdout == f"stored|{call} {point}\n":
            acknowledged.append(f"{call} {point}")
        if ended.returncode == 0:
            break
        await whole(url, root, acknowledged[-1:])
    else:
        pytest.fail("more system calls than thought of")
    assert point > 1, "nothing was killed"
    await whole(url, root, acknowledged)


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
async def test_nothing_is_acknowledged_after_a_failed_fsync(make_sqlite: MakeDatabase, call: str) -> None:
    """The process ends as it must (70), or had acknowledged before the fault came, in closing."""
    url = make_sqlite()
    root = Path(f"{url.removeprefix('sqlite:///')}.blobs")
    acknowledged: list[str] = []
    refused = 0
    for point in range(1, 10):
        name = f"{call} {point}"
        ended = store_one(url, root, name, f"{call}:error=EIO:when={point}")
        if ended.stdout:
            acknowledged.append(name)
        else:
            assert ended.returncode == 70, ended.stderr
            refused += 1
        await whole(url, root, acknowledged)
    assert refused, "no fsync failed"
