"""The embedder for any processor: MiniLM through ONNX Runtime, in 32-bit floats. Imports no torch and is ready in well under a second."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from cache_service.embedding.base import Reading
from cache_service.embedding.batching import ALONE, BatchingEmbedder
from cache_service.embedding.manifest import (
    DEFAULT_MODEL,
    TOKENIZER,
    Model,
    check_files,
    onnx_name,
    read_made,
    read_model,
)
from cache_service.embedding.packed import HIDDEN, IDS, POSITIONS, TEXTS, Matrix, pack, unpack
from cache_service.embedding.word_pieces import WordPieceReader
from cache_service.errors import EmbeddingError


class OnnxEmbedder(BatchingEmbedder):
    """The model of `models_dir`, loaded now: about 0.3 s of CPU and file work, so construct it in a thread.

    threads: of one forward pass; 0 takes the cores this process may use.
    Raises EmbeddingError if a file is missing, altered (which digest is said) or no model.
    """

    def __init__(self, models_dir: Path, *, threads: int = 0, name: str = DEFAULT_MODEL) -> None:
        super().__init__(load_engine(models_dir, threads=threads, name=name))


def load_engine(models_dir: Path, *, threads: int = 0, name: str = DEFAULT_MODEL) -> OnnxEngine:
    """Checks the files' digests, then builds the engine from them."""
    model = read_model(models_dir, name)
    made = read_made(models_dir, model)
    cache = models_dir / "cache"
    check_files(cache, {file: made.files[file] for file in (onnx_name(model), TOKENIZER)})
    return OnnxEngine(model, cache / onnx_name(model), cache / TOKENIZER, threads=threads)


class OnnxEngine:
    """The model itself; see `Engine`."""

    lanes = 1  # lanes would be a second session's: a third more prompts/s, for 84 MB

    def __init__(self, model: Model, graph: Path, tokenizer: Path, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # a plan is kept for each shape, and every text has its own
        options.log_severity_level = 3  # errors
        # Threads spin between kernels, which are microseconds apart, but not for long and not after the pass: the event loop
        # needs the cores. p50 on two cores with others at work: 7.7 ms, against 19 (spinning as by default) and 6.6 (never);
        # the fastest pass, undisturbed: 2.9, 2.9 and 3.6 ms.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            # by path: of bytes, the session would keep a copy (90 MB)
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            self._reader = WordPieceReader(Tokenizer.from_file(str(tokenizer)), model.max_pieces)
        except Exception as error:  # both libraries raise their own kinds, of no common root
            raise EmbeddingError(f"the embedding model can't be loaded: {type(error).__name__}") from error
        self.model_id = model.id
        self.dimension = model.dimension

    def read(self, text: str) -> Reading:
        """As the tokenizer's file says."""
        return self._reader.read(text)

    def forward(self, readings: Sequence[Reading], lane: int | None = ALONE) -> Matrix:
        """One row as long as its texts."""
        ids, positions, texts = pack(readings, sum(len(reading.ids) for reading in readings))
        (hidden,) = self._session.run([HIDDEN], {IDS: ids, POSITIONS: positions, TEXTS: texts})
        return unpack(np.asarray(hidden, np.float32), readings)
