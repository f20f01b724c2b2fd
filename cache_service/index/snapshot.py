"""A snapshot of the index: which rows of the mapped files are live, and the digests that make them trustworthy.

The vectors stay where they lie (see `rows`); the snapshot is one JSON file, written to a temporary name, fsynced and renamed.
It holds its own SHA-256 and one of the live rows of each mapped file, so a flipped bit, a cut file, another database or
another model is refused. Refusing costs a rebuild from SQL, trusting wrongly would cost wrong answers. No pickle, no FAISS
file: nothing is parsed but JSON of a known digest.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache_service.errors import StoreError
from cache_service.index.base import IndexPosition
from cache_service.index.rows import LABEL, LABELS, VECTORS, Flags, Labels, Matrix, map_files, sync_files

NAME = "snapshot.json"
FORMAT = 1
_AT_ONCE = 4096  # rows hashed at a time, about 6 MB


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the snapshot file says. live: base64 of the deflated bits, one a row. files: SHA-256 of each file's live rows."""

    format: int
    dimension: int
    model_id: str
    epoch: str
    number: int
    rows: int
    count: int
    live: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A snapshot that was checked: the mapped files, and the live rows among them."""

    position: IndexPosition
    vectors: Matrix
    labels: Labels
    live: Flags


def write(
    directory: Path, position: IndexPosition, model_id: str, vectors: Matrix, labels: Labels, live: Flags
) -> None:
    """Writes the snapshot durably. The live rows must not change meanwhile. Raises StoreError."""
    manifest = Manifest(
        format=FORMAT,
        dimension=vectors.shape[1],
        model_id=model_id,
        epoch=position.epoch,
        number=position.number,
        rows=len(live),
        count=int(live.sum()),
        live=base64.b64encode(zlib.compress(np.packbits(live).tobytes())).decode("ascii"),
        files=_digests(vectors, labels, live),
    )
    content = json.dumps(asdict(manifest), sort_keys=True)
    signed = json.dumps({"sha256": digest(content), "manifest": content})
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


def read(directory: Path, *, dimension: int, epoch: str, model_id: str) -> Snapshot | None:
    """The snapshot if it is whole, ours, and of that database and model; else None."""
    try:
        manifest = _read_manifest(directory / NAME)
        if (manifest.format, manifest.dimension, manifest.epoch, manifest.model_id) != (
            FORMAT, dimension, epoch, model_id,
        ):  # fmt: skip
            return None
        bits = np.frombuffer(zlib.decompress(base64.b64decode(manifest.live)), np.uint8)
        if len(bits) != -(-manifest.rows // 8):
            return None
        live = np.unpackbits(bits, count=manifest.rows).astype(np.bool_)
        sizes = {VECTORS: manifest.rows * dimension * 4, LABELS: manifest.rows * LABEL.itemsize}
        if any(size and (directory / name).stat().st_size < size for name, size in sizes.items()):
            return None
        vectors, labels = map_files(directory, dimension, manifest.rows)
        if manifest.files != _digests(vectors, labels, live) or manifest.count != int(live.sum()):
            return None
    except (OSError, StoreError, ValueError, TypeError, KeyError, zlib.error, RecursionError):
        return None
    return Snapshot(IndexPosition(manifest.epoch, manifest.number), vectors, labels, live)


def digest(content: str) -> str:
    """SHA-256 (hex) of a manifest's text."""
    return hashlib.sha256(content.encode()).hexdigest()


def discard(directory: Path) -> None:
    """Removes the snapshot, whose rows are about to be written over; its digests would refuse it anyway."""
    with suppress(OSError):
        (directory / NAME).unlink(missing_ok=True)


def _read_manifest(path: Path) -> Manifest:
    signed: dict[str, Any] = json.loads(path.read_text("ascii"))
    content = str(signed["manifest"])
    if digest(content) != signed["sha256"]:
        raise ValueError("the snapshot's digest is another one")
    return Manifest(**json.loads(content))


def _digests(vectors: Matrix, labels: Labels, live: Flags) -> dict[str, str]:
    """SHA-256 of the live rows of each file, in order; dead rows may be written over at any time."""
    digests = {VECTORS: hashlib.sha256(), LABELS: hashlib.sha256()}
    rows = np.flatnonzero(live)
    for start in range(0, len(rows), _AT_ONCE):
        chosen = rows[start : start + _AT_ONCE]
        digests[VECTORS].update(vectors.take(chosen, axis=0).data)
        digests[LABELS].update(labels.take(chosen).tobytes())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _sync_folder(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
