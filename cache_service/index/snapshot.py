"""A snapshot of the index: which rows of the mapped files are live, and the digests that make them trustworthy.

The vectors stay where they lie (see `rows`); the snapshot is one JSON file, written to a temporary name, fsynced and renamed.
It holds its own SHA-256, one of the live rows of each block of the mapped files, and the names of the files with the large partitions'
cells, which are their SHA-256. So saving writes little and hashes what has changed, and a flipped bit, a cut file, another database or
another model is refused. Refusing costs a rebuild from SQL (of cells: from the vectors), trusting wrongly would cost wrong answers.
No pickle; FAISS reads a file only after its digest was compared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cache_service.errors import StoreError
from cache_service.index import cells as cells_of
from cache_service.index.base import IndexPosition
from cache_service.index.cells import Cells
from cache_service.index.rows import BLOCK, LABEL, LABELS, VECTORS, Flags, Labels, Matrix, map_files, sync_files

NAME = "snapshot.json"
FORMAT = 2
HASHING = 4
"""Threads that hash at a start, at most; each does 1 to 2 GB a second."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the snapshot file says.

    live: base64 of the deflated bits, one a row. blocks: SHA-256 of each block's live rows.
    cells: by partition (its key in hex), the SHA-256 of the file with its cells.
    """

    format: int
    dimension: int
    model_id: str
    epoch: str
    number: int
    rows: int
    count: int
    live: str
    blocks: list[str]
    cells: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What a snapshot is of. live: flags, up to the last row used. cells: digests of their files by partition."""

    position: IndexPosition
    model_id: str
    vectors: Matrix
    labels: Labels
    live: Flags
    blocks: list[str] = field(default_factory=list)
    cells: Mapping[int, str] = field(default_factory=dict)


def write(directory: Path, content: Content, changed: Collection[int]) -> list[str]:
    """Writes the snapshot durably and returns the blocks' digests. The live rows must not change meanwhile. Raises StoreError.

    content.blocks: those of the last snapshot; changed: which of them can't be taken over.
    """
    live, known = content.live, content.blocks
    again = [number for number in range(_blocks(len(live))) if number in changed or number >= len(known)]
    blocks = [*known, *[""] * (_blocks(len(live)) - len(known))]
    for number in again:
        blocks[number] = _digest(content.vectors, content.labels, live, number)
    manifest = Manifest(
        format=FORMAT,
        dimension=content.vectors.shape[1],
        model_id=content.model_id,
        epoch=content.position.epoch,
        number=content.position.number,
        rows=len(live),
        count=int(live.sum()),
        live=base64.b64encode(zlib.compress(np.packbits(live).tobytes(), 1)).decode("ascii"),
        blocks=blocks,
        cells={f"{key:032x}": digest for key, digest in content.cells.items()},
    )
    text = json.dumps(asdict(manifest), sort_keys=True)
    signed = json.dumps({"sha256": digest(text), "manifest": text})
    temporary = directory / f"{NAME}.tmp"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(live):
            sync_files(directory)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(signed)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / NAME)
        _sync_folder(directory)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"index snapshot in {directory}: {error.strerror}") from error
    _remove_cells(directory, but=content.cells.values())
    return blocks


def read(directory: Path, *, dimension: int, epoch: str, model_id: str) -> Content | None:
    """The snapshot if it is whole, ours, and of that database and model; else None. Cells are not looked at: see `read_cells`."""
    try:
        manifest = _read_manifest(directory / NAME)
        if (manifest.format, manifest.dimension, manifest.epoch, manifest.model_id) != (
            FORMAT, dimension, epoch, model_id,
        ):  # fmt: skip
            return None
        bits = np.frombuffer(zlib.decompress(base64.b64decode(manifest.live)), np.uint8)
        if len(bits) != -(-manifest.rows // 8) or len(manifest.blocks) != _blocks(manifest.rows):
            return None
        live = np.unpackbits(bits, count=manifest.rows).astype(np.bool_)
        sizes = {VECTORS: manifest.rows * dimension * 4, LABELS: manifest.rows * LABEL.itemsize}
        if any(size and (directory / name).stat().st_size < size for name, size in sizes.items()):
            return None
        vectors, labels = map_files(directory, dimension, manifest.rows)
        if manifest.count != int(live.sum()) or manifest.blocks != _digests(vectors, labels, live):
            return None
        cells = {int(key, 16): str(name) for key, name in manifest.cells.items()}
    except (OSError, StoreError, ValueError, TypeError, KeyError, AttributeError, zlib.error, RecursionError):
        return None
    position = IndexPosition(manifest.epoch, manifest.number)
    return Content(position, manifest.model_id, vectors, labels, live, manifest.blocks, cells)


def digest(text: str) -> str:
    """SHA-256 (hex) of a manifest's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def discard(directory: Path) -> None:
    """Removes the snapshot, whose rows are about to be written over; its digests would refuse it anyway."""
    with suppress(OSError):
        (directory / NAME).unlink(missing_ok=True)
    _remove_cells(directory, but=())


def write_cells(directory: Path, cells: Cells) -> str:
    """Writes them durably to a file that is named for their SHA-256 (hex), and returns that. Raises StoreError."""
    temporary = directory / "cells.tmp"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        )  # FAISS keeps its mode
        cells.write(temporary)
        with temporary.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        temporary.replace(_cells_file(directory, name))
    except OSError as error:
        raise StoreError(f"index file {temporary}: {error.strerror}") from error
    return name


def holds_cells(directory: Path, name: str) -> bool:
    """Whether a file with that digest for a name is there."""
    return _cells_file(directory, name).exists()


def read_cells(directory: Path, name: str, dimension: int) -> Cells | None:
    """The cells whose SHA-256 (hex) that is; None where they are damaged or gone."""
    path = _cells_file(directory, name)
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != name:
                return None
    except OSError:
        return None
    return cells_of.read(path, dimension)


def _cells_file(directory: Path, name: str) -> Path:
    return directory / f"cells-{name}.faiss"


def _remove_cells(directory: Path, *, but: Iterable[str]) -> None:
    kept = {_cells_file(directory, name) for name in but}
    with suppress(OSError):
        for path in directory.glob("cells*"):
            if path not in kept:
                path.unlink(missing_ok=True)


def _read_manifest(path: Path) -> Manifest:
    signed: dict[str, Any] = json.loads(path.read_text("ascii"))
    text = str(signed["manifest"])
    if digest(text) != signed["sha256"]:
        raise ValueError("the snapshot's digest is another one")
    return Manifest(**json.loads(text))


def _blocks(rows: int) -> int:
    return -(-rows // BLOCK)


def _digests(vectors: Matrix, labels: Labels, live: Flags) -> Sequence[str]:
    """Of every block; on several cores, since a start waits for it."""
    with ThreadPoolExecutor(min(HASHING, len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(lambda number: _digest(vectors, labels, live, number), range(_blocks(len(live)))))


def _digest(vectors: Matrix, labels: Labels, live: Flags, number: int) -> str:
    """SHA-256 (hex) of the block's live rows, in order; dead rows may be written over at any time."""
    rows = slice(number * BLOCK, min((number + 1) * BLOCK, len(live)))
    chosen = live[rows]
    hashed = hashlib.sha256()
    for array in (vectors[rows], labels[rows].view(np.uint8).reshape(-1, LABEL.itemsize)):
        hashed.update(array.data if chosen.all() else array[chosen].data)
    return hashed.hexdigest()


def _sync_folder(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
