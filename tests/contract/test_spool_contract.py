"""What `Spool` promises, on every implementation."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache_service.errors import StoreError
from cache_service.store.base import Spooled
from cache_service.store.entry import SpoolHeader
from cache_service.store.spool import FileSpool

HEADER = SpoolHeader("gen-1", began=7, started_at=12.5, entry={"z": "猫", "a": {"n": [1, None]}})

LEAVES_BEHIND = """
import asyncio, json, os, signal, sys
from pathlib import Path
from cache_service.store.entry import SpoolHeader
from cache_service.store.spool import FileSpool
async def main():
    for header, pieces in json.loads(sys.argv[2]):
        file = await FileSpool(Path(sys.argv[1])).open(SpoolHeader(**header))
        for piece in pieces:
            await file.append(piece.encode())
    print("ready", flush=True)
    if len(sys.argv) > 3:
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def left_behind(folder: Path, *generations: tuple[str, list[str]]) -> None:
    """What a process leaves that receives those pieces and is killed."""
    work = [
        ({"generation_id": name, "began": 7, "started_at": 12.5, "entry": {"z": 1, "a": 2}}, pieces)
        for name, pieces in generations
    ]
    ended = subprocess.run([sys.executable, "-c", LEAVES_BEHIND, str(folder), json.dumps(work)], check=False)
    assert ended.returncode == -signal.SIGKILL


@contextlib.contextmanager
def receiving(folder: Path) -> Iterator[None]:
    """Another process that has received a piece and lives until the block ends; then it is killed."""
    work = '[[{"generation_id": "gen-1", "began": 1, "started_at": 1}, ["x"]]]'
    command = [sys.executable, "-c", LEAVES_BEHIND, str(folder), work, "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.communicate()


def names(folder: Path) -> list[str]:
    """What lies in the folder."""
    return [path.name for path in folder.iterdir()]


async def recovered(folder: Path) -> list[Spooled]:
    return await FileSpool(folder).recover()


async def close(found: list[Spooled]) -> None:
    for spooled in found:
        await spooled.file.discard()


async def test_a_killed_process_leaves_what_had_arrived(tmp_path: Path) -> None:
    left_behind(tmp_path, ("gen-2", ["one\n", "two"]), ("gen-1", []))
    found = await recovered(tmp_path)
    assert [(s.header.generation_id, s.body) for s in found] == [("gen-1", b""), ("gen-2", b"one\ntwo")]
    assert list(found[0].header.entry) == ["z", "a"]
    assert found[0].header == SpoolHeader("gen-1", 7, 12.5, {"z": 1, "a": 2})
    await close(found)


async def test_what_was_recovered_can_be_discarded(tmp_path: Path) -> None:
    left_behind(tmp_path, ("gen-1", ["x"]))
    await close(await recovered(tmp_path))
    assert await recovered(tmp_path) == []
    assert names(tmp_path) == []


async def test_what_was_recovered_but_not_discarded_is_there_after_the_next_crash(tmp_path: Path) -> None:
    left_behind(tmp_path, ("gen-1", ["x"]))
    first = await recovered(tmp_path)
    assert await recovered(tmp_path) == []  # nobody else takes it meanwhile
    for spooled in first:
        os.close(spooled.file._descriptor)  # type: ignore[attr-defined] # what the death of the process would do
    again = await recovered(tmp_path)
    assert [spooled.body for spooled in again] == [b"x"]
    await close(again)


async def test_generations_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    file = await FileSpool(tmp_path).open(HEADER)
    await file.append(b"piece")
    assert await recovered(tmp_path) == []
    await file.discard()
    await file.discard()
    with pytest.raises(StoreError):
        await file.append(b"late")


async def test_generations_of_another_living_process_are_left_alone(tmp_path: Path) -> None:
    with receiving(tmp_path):
        assert await recovered(tmp_path) == []
    found = await recovered(tmp_path)
    assert [spooled.body for spooled in found] == [b"x"]
    await close(found)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a spool\n",
        b"cache-service-spool 1 5",
        b"cache-service-spool 1 2 00\n{}\nbody",
        b"cache-service-spool 1 -1 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n{}\nbody",
        b"cache-service-spool 1 2 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n{}\nmembers missing",
    ],
)
async def test_an_unreadable_header_is_set_aside_not_deleted(tmp_path: Path, content: bytes) -> None:
    for _ in range(2):
        (tmp_path / "broken.spool").write_bytes(content)
        assert await recovered(tmp_path) == []
    assert [path.read_bytes() for path in sorted((tmp_path / "set-aside").iterdir())] == [content, content]


@pytest.mark.parametrize("name", ["../escape", "", "a/b", "x" * 500, "猫", "\ud800"])
async def test_any_id_makes_a_file_in_the_folder(tmp_path: Path, name: str) -> None:
    spool = FileSpool(tmp_path / "spool")
    with contextlib.suppress(StoreError):  # a lone surrogate is no JSON
        file = await spool.open(SpoolHeader(name, 1, 1.0))
        assert len(names(tmp_path / "spool")) == 1
        await file.discard()
    assert names(tmp_path) == ["spool"]
    assert names(tmp_path / "spool") == []


async def test_an_id_is_opened_once(tmp_path: Path) -> None:
    file = await FileSpool(tmp_path).open(HEADER)
    with pytest.raises(StoreError):
        await FileSpool(tmp_path).open(HEADER)
    await file.append(b"still whole")
    await file.discard()


async def test_an_empty_spool_recovers_nothing(tmp_path: Path) -> None:
    assert await recovered(tmp_path / "never made") == []
