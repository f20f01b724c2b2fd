"""The embedder for processors that multiply bfloat16: MiniLM through OpenVINO, in half the time of ONNX Runtime. Imports no torch.

The weights lie on disk as 16-bit floats and are mapped. What bfloat16 changes of a vector is far below what a threshold tells apart
(cosine ≥ 0.9999 to the original), so both engines' vectors are of one model; see docs/adr.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cache_service.embedding.base import Reading
from cache_service.embedding.batching import BatchingEmbedder
from cache_service.embedding.manifest import (
    DEFAULT_MODEL,
    TOKENIZER,
    Model,
    check_files,
    openvino_names,
    read_made,
    read_model,
)
from cache_service.embedding.packed import HIDDEN, IDS, POSITIONS, TEXTS, Matrix, pack, unpack
from cache_service.embedding.word_pieces import WordPieceReader
from cache_service.errors import EmbeddingError

STEP, LONG_STEP, LONG = 8, 16, 64
"""A row's length is rounded up to a multiple of the first, above `LONG` pieces of the second: kernels are compiled for each length, 10 to
35 ms and half a megabyte, and 20 lengths are few."""

WARM = range(STEP, LONG + 1, STEP)
"""Lengths whose kernels are compiled ahead; the others' when they first come."""


class OpenVinoEmbedder(BatchingEmbedder):
    """The model of `models_dir`, loaded now: about 0.3 s of CPU and file work, so construct it in a thread.

    threads: of one forward pass; 0 takes the cores this process may use.
    Raises EmbeddingError if the library or a file is missing, or a file is altered (which digest is said).
    """

    def __init__(self, models_dir: Path, *, threads: int = 0, name: str = DEFAULT_MODEL) -> None:
        engine = load_engine(models_dir, threads=threads, name=name)
        super().__init__(engine)
        self._thread.submit(engine.warm)  # while the rest of the service starts


def is_installed() -> bool:
    """Whether the library is there; it isn't imported."""
    return importlib.util.find_spec("openvino") is not None


def is_quickest(models_dir: Path, name: str = DEFAULT_MODEL) -> bool:
    """Whether the library is there, the model was made for it, and the processor multiplies bfloat16. Raises EmbeddingError."""
    if not is_installed():
        return False
    model = read_model(models_dir, name)
    if not set(openvino_names(model)) <= read_made(models_dir, model).files.keys():
        return False
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load_engine(models_dir: Path, *, threads: int = 0, name: str = DEFAULT_MODEL) -> OpenVinoEngine:
    """Checks the files' digests, then builds the engine from them."""
    model = read_model(models_dir, name)
    made = read_made(models_dir, model)
    graph, weights = openvino_names(model)
    if not {graph, weights} <= made.files.keys():
        raise EmbeddingError(
            f"{model.name} was not made for OpenVINO: install cache-service[openvino], then `make model`"
        )
    cache = models_dir / "cache"
    check_files(cache, {file: made.files[file] for file in (graph, weights, TOKENIZER)})
    return OpenVinoEngine(model, cache / graph, cache / TOKENIZER, threads=threads)


class OpenVinoEngine:
    """The model itself; see `Engine`."""

    def __init__(self, model: Model, graph: Path, tokenizer: Path, *, threads: int = 0) -> None:
        core = _core()
        exact = "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads or len(os.sched_getaffinity(0))),
            "INFERENCE_PRECISION_HINT": "f32" if exact else "bf16",
            "ENABLE_CPU_PINNING": "NO",  # the event loop needs the cores too
        }
        try:
            self._request = core.compile_model(str(graph), "CPU", settings).create_infer_request()
            self._reader = WordPieceReader(Tokenizer.from_file(str(tokenizer)), model.max_pieces)
        except Exception as error:  # both libraries raise their own kinds, of no common root
            raise EmbeddingError(f"the embedding model can't be loaded: {type(error).__name__}") from error
        self.model_id = model.id
        self.dimension = model.dimension

    def read(self, text: str) -> Reading:
        """As the tokenizer's file says."""
        return self._reader.read(text)

    def forward(self, readings: Sequence[Reading]) -> Matrix:
        """One row, a little longer than its texts."""
        pieces = sum(len(reading.ids) for reading in readings)
        return unpack(self._hidden(readings, row_length(pieces)), readings)

    def warm(self) -> None:
        """Compiles the kernels of usual lengths: 0.1 s."""
        for length in WARM:
            self._hidden([], length)

    def _hidden(self, readings: Sequence[Reading], length: int) -> Matrix:
        inputs = dict(zip((IDS, POSITIONS, TEXTS), pack(readings, length), strict=True))
        hidden: Matrix = self._request.infer(inputs, share_inputs=True, share_outputs=True)[HIDDEN]
        return hidden


def row_length(pieces: int) -> int:
    """The length that a row of so many pieces is given."""
    step = STEP if pieces <= LONG else LONG_STEP
    return -(-pieces // step) * step


def convert(graph: Path, target: Path) -> None:
    """Writes `target` (.xml) and the weights beside it (.bin) from an ONNX file. Raises EmbeddingError."""
    from openvino import save_model

    save_model(_core().read_model(str(graph)), str(target), compress_to_fp16=True)


def _core() -> Any:
    try:
        from openvino import Core  # here, since it is an extra
    except ImportError as error:
        raise EmbeddingError("OpenVINO is not installed: install cache-service[openvino]") from error
    return Core()
