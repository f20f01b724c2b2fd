"""The embedding that peers are given: the service's own MiniLM file in ONNX Runtime, one text a call, and nothing else of the service.

Runs in a peer's environment, which holds onnxruntime, tokenizers and numpy for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

DIMENSION = 384
MOST_PIECES = 256


class MiniLM:
    """known: vectors by text, taken without the model; for filling a cache only, and empty while anything is timed."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        # threads that spin less: what suits the service's own engine suits them too
        options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(
            str(folder / "all-MiniLM-L6-v2.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_PIECES)
        self.known: dict[str, np.ndarray] = {}

    def embed(self, text: str) -> np.ndarray:
        """A unit vector of 384 float32."""
        known = self.known.get(text)
        if known is not None:
            return known
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        (vectors,) = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return np.asarray(vectors[0], np.float32)
