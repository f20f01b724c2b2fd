"""Which model files there are, where they lie, and that they are the ones we know.

`models/manifest.toml` names each model's source files and their SHA-256. `models/cache/` holds what was made of them, beside
a `manifest.json` with the digests of what was made and of the weights it was made from.

Raised: `EmbeddingError`, which says which digest of which file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_service.errors import EmbeddingError

DEFAULT_MODEL = "all-MiniLM-L6-v2"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Model:
    """One model of `manifest.toml`.

    id: names weights and pooling. package, module, folder: the Python package that carries the files, and where in it.
    max_pieces: word pieces that are read, the two special ones among them. files: SHA-256 (hex) by relative path.
    """

    name: str
    id: str
    repository: str
    revision: str
    package: str
    module: str
    folder: str
    licence: str
    dimension: int
    max_pieces: int
    pooling: str
    files: Mapping[str, str]


def read_model(models_dir: Path, name: str = DEFAULT_MODEL) -> Model:
    """The model as `manifest.toml` describes it."""
    path = models_dir / "manifest.toml"
    try:
        return Model(name=name, **tomllib.loads(path.read_text("utf-8"))[name])
    except OSError as error:
        raise EmbeddingError(
            f"model manifest {path}: {error.strerror}; set CACHE_SERVICE_MODELS_DIR to where `make model` put it"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise EmbeddingError(f"model manifest {path} doesn't describe {name!r}: {error}") from error


def find_weights(model: Model) -> Path:
    """The folder with the model's source files in the installed package; nothing of the package is imported."""
    spec = importlib.util.find_spec(model.module)
    if spec is None or spec.origin is None:
        raise EmbeddingError(
            f"the weights of {model.name} are not installed: install {model.package}, "
            f"or name a folder with the files of {model.repository} at {model.revision}"
        )
    return Path(spec.origin).parent / model.folder


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raises unless each file exists and has its SHA-256."""
    for name, expected in files.items():
        check_digest(name, sha256_of(folder / name), expected)


def check_digest(name: str, found: str, expected: str) -> None:
    """Raises unless the two SHA-256 are equal."""
    if found != expected:
        raise EmbeddingError(f"model file {name} is not the one we know: SHA-256 {found}, expected {expected}")


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EmbeddingError(f"model file {path}: {error.strerror}; `make model` makes it") from error


@dataclass(frozen=True, slots=True)
class Made:
    """What an export made: the id of the model, SHA-256 of the weights it came from, of its own files, and the comparison.

    lowest_cosine: against sentence-transformers, over the comparison prompts.
    """

    model_id: str
    weights: str
    files: Mapping[str, str]
    lowest_cosine: float


def read_made(models_dir: Path, model: Model) -> Made:
    """The manifest beside the exported files. Raises if there is none, or if it was made from other weights."""
    path = models_dir / "cache" / "manifest.json"
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))[model.name]
        made = Made(**value)
        files = {str(name): str(digest) for name, digest in made.files.items()}
    except OSError as error:
        raise EmbeddingError(f"model manifest {path}: {error.strerror}; `make model` makes it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EmbeddingError(f"model manifest {path} is damaged; `make model` makes it anew") from error
    check_digest(WEIGHTS, made.weights, model.files[WEIGHTS])
    if not {onnx_name(model), TOKENIZER} <= files.keys():
        raise EmbeddingError(f"model manifest {path} names too few files; `make model` makes it anew")
    return made


def onnx_name(model: Model) -> str:
    """File name of the exported model inside `cache`."""
    return f"{model.name}-packed.onnx"


def openvino_names(model: Model) -> tuple[str, str]:
    """File names of the same model for OpenVINO: graph and weights."""
    return f"{model.name}-packed.xml", f"{model.name}-packed.bin"
