"""The verifier's trained files: which there are, that they are the ones we know, and the word table made beside them.

`models/verifier/manifest.toml` holds SHA-256 of each file in that folder and of the word table, which
`python -m cache_service.verification.artefacts` (part of `make model`) takes from the embedding model's weights.

Raised: `VerificationError`, which says which digest of which file.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cache_service.errors import VerificationError
from cache_service.verification.cross_encoder import CrossEncoder
from cache_service.verification.difference import ROUTES
from cache_service.verification.learned import VERSION, Models, Thresholds
from cache_service.verification.thresholds import own_thresholds
from cache_service.verification.trees import Trees

FOLDER = "verifier"  # inside the folder of models
ENCODER, TREES, THRESHOLDS, TOKENIZER = "cross_encoder.onnx", "trees.npz", "thresholds.json", "tokenizer.json"
TABLE = "word_vectors.npy"  # inside `cache`


def load(models_dir: Path, *, threads: int = 2, own: Path | None = None) -> Models:
    """The trained files, each checked by its digest. own: thresholds that `calibrate` wrote. Raises VerificationError."""
    manifest = _manifest(models_dir)
    files = {name: _checked(models_dir / FOLDER / name, digest) for name, digest in manifest["files"].items()}
    table = models_dir / "cache" / TABLE
    _checked(table, manifest["words"]["sha256"])
    words = open_words(table)
    try:
        found = json.loads(files[THRESHOLDS])
        thresholds = Thresholds(
            str(found["version"]), float(found["first"]), {route: float(found["serve"][route]) for route in ROUTES}
        )
        first, last = (Trees.from_bytes(files[TREES], name) for name in ("first", "last"))
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"the verifier's files in {models_dir / FOLDER} are damaged: {error}") from error
    digest = _digest(manifest, thresholds.first)
    if own is not None:
        thresholds = replace(thresholds, **own_thresholds(_own(own), str(own), digest))
    encoder = CrossEncoder(files[ENCODER], words, threads=threads)
    tokenizer = _checked(models_dir / "cache" / TOKENIZER, manifest["words"]["tokenizer_sha256"])
    return Models(encoder, first, last, thresholds, words, tokenizer, digest)


def _digest(manifest: Mapping[str, Any], first: float) -> str:
    """Of all that makes a score; not of the thresholds that scores are compared with."""
    parts = [VERSION, manifest["files"][ENCODER], manifest["files"][TREES], manifest["words"]["sha256"], repr(first)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _own(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(
            f"thresholds {path}: {error.strerror}; `cache-service calibrate` writes them"
        ) from error


def open_words(path: Path) -> npt.NDArray[np.float16]:
    """The table of word vectors, shape (pieces, 384), mapped: only the rows in use are in memory. Raises VerificationError."""
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise VerificationError(f"word vectors {path}: {error}; `make model` makes them") from error
    if table.dtype != np.float16 or table.ndim != 2:
        raise VerificationError(f"word vectors {path} are none; `make model` makes them anew")
    return cast("npt.NDArray[np.float16]", table)


def make_words(models_dir: Path, weights: Path | None = None) -> bool:
    """Writes the word table from the embedding model's weights; False if it is there and intact. Raises VerificationError.

    weights: folder with `model.safetensors` and `tokenizer.json`; else the installed package's.
    """
    about = _manifest(models_dir)["words"]
    target = models_dir / "cache" / TABLE
    try:
        _checked(target, about["sha256"])
        _checked(models_dir / "cache" / TOKENIZER, about["tokenizer_sha256"])
    except VerificationError:
        pass
    else:
        return False
    folder = weights or _installed(about)
    source = _checked(folder / "model.safetensors", about["weights_sha256"])
    from safetensors.numpy import load as read_tensors  # here, since only making the table needs it

    data = word_table(read_tensors(source)[about["tensor"]])
    if (found := hashlib.sha256(data).hexdigest()) != about["sha256"]:
        raise VerificationError(f"the word table made has SHA-256 {found}, expected {about['sha256']}")
    target.parent.mkdir(parents=True, exist_ok=True)
    for path, content in (
        (target, data),
        (target.parent / TOKENIZER, _checked(folder / TOKENIZER, about["tokenizer_sha256"])),
    ):
        partial = path.with_suffix(".tmp")
        partial.write_bytes(content)
        partial.replace(path)
    return True


def word_table(vectors: npt.NDArray[np.float32]) -> bytes:
    """The .npy file of the vectors as float16."""
    file = BytesIO()
    np.save(file, vectors.astype(np.float16), allow_pickle=False)
    return file.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 made or intact, 1 refused or impossible (standard error says why)."""
    parser = argparse.ArgumentParser(description="Make the verifier's word table from the embedding model.")
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--weights", type=Path, help="folder with the model's files; else the installed package")
    options = parser.parse_args(arguments)
    try:
        made = make_words(options.models_dir, options.weights)
    except VerificationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"verifier's word table: {'made' if made else 'intact'}\n")
    return 0


def _installed(about: Mapping[str, Any]) -> Path:
    """The weights' folder in the installed package; nothing of the package is imported."""
    spec = importlib.util.find_spec(about["module"])
    if spec is None or spec.origin is None:
        raise VerificationError(f"the embedding model's weights are not installed: install {about['package']}")
    return Path(spec.origin).parent / str(about["folder"])


def _manifest(models_dir: Path) -> dict[str, Any]:
    path = models_dir / FOLDER / "manifest.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise VerificationError(f"the verifier's manifest {path}: {error}") from error


def _checked(path: Path, digest: str) -> bytes:
    """A file's bytes, if they have the digest."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VerificationError(f"verifier file {path}: {error.strerror}; `make model` makes it") from error
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise VerificationError(f"verifier file {path.name} is not the one we know: SHA-256 {found}, expected {digest}")
    return data


if __name__ == "__main__":
    sys.exit(main())
