"""The reference embedder: the model as sentence-transformers runs it, from local files only. Three times slower, needs torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cache_service.embedding.base import Reading
from cache_service.embedding.batching import ALONE, BatchingEmbedder
from cache_service.embedding.manifest import DEFAULT_MODEL, TOKENIZER, check_files, find_weights, read_model
from cache_service.embedding.packed import Matrix
from cache_service.embedding.word_pieces import WordPieceReader
from cache_service.errors import EmbeddingError


class SentenceTransformerEmbedder(BatchingEmbedder):
    """The model of `models_dir`'s manifest, loaded now: seconds of CPU work, so construct it in a thread.

    weights: folder with the model's files; else they are taken from the installed package.
    Raises EmbeddingError if the library or a file is missing, or a file is altered (which digest is said).
    """

    def __init__(
        self, models_dir: Path, *, weights: Path | None = None, threads: int = 0, name: str = DEFAULT_MODEL
    ) -> None:
        super().__init__(SentenceTransformerEngine(models_dir, weights=weights, threads=threads, name=name))


class SentenceTransformerEngine:
    """The model itself; see `Engine`."""

    lanes = 1

    def __init__(
        self, models_dir: Path, *, weights: Path | None = None, threads: int = 0, name: str = DEFAULT_MODEL
    ) -> None:
        model = read_model(models_dir, name)
        folder = weights or find_weights(model)
        check_files(folder, model.files)
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
        try:
            import sentence_transformers  # here, since it takes seconds and only this class needs it
            import torch
        except ImportError as error:
            raise EmbeddingError("`sentence-transformers` is not installed: install cache-service[model]") from error
        if threads:
            torch.set_num_threads(threads)
        try:
            self._model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise EmbeddingError(f"the embedding model can't be loaded: {type(error).__name__}") from error
        self._reader = WordPieceReader(Tokenizer.from_file(str(folder / TOKENIZER)), model.max_pieces)
        self.model_id = model.id
        self.dimension = model.dimension

    def read(self, text: str) -> Reading:
        """As the tokenizer's file says."""
        return self._reader.read(text)

    def forward(self, readings: Sequence[Reading], lane: int | None = ALONE) -> Matrix:
        """Everything from the text on is the library's own work."""
        texts = [reading.text for reading in readings]
        vectors = self._model.encode(
            texts, batch_size=len(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(vectors, np.float32)
