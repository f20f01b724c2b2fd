"""The cross-encoder at run time: two lists of word pieces to one logit for each order, by ONNX Runtime.

Its word embeddings are those of the embedding model, frozen, and come as a table of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from cache_service.errors import VerificationError
from cache_service.verification.pair_pieces import PairPieces, pair_pieces

WORDS, TYPES, MASK, LOGIT = "words", "types", "mask", "logit"


class CrossEncoder:
    """Reads a pair in both orders. Safe to use from several threads at once.

    model: the .onnx file's bytes. words: float16 table, one row for each word piece. threads: of one forward pass.
    Raises VerificationError where the model can't be loaded or run.
    """

    def __init__(self, model: bytes, words: npt.NDArray[np.float16], *, threads: int = 2) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other threads want the cores
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's errors share no base but this
            raise VerificationError(f"the cross-encoder can't be loaded: {error}") from error
        self._words = words

    def logits(self, first: Sequence[int], second: Sequence[int]) -> tuple[float, float] | None:
        """The logit of (first, second) and of (second, first); above 0: the same. None where the pair is too long to be read."""
        pairs = pair_pieces(first, second), pair_pieces(second, first)
        if pairs[0] is None or pairs[1] is None:
            return None
        try:
            (found,) = self._session.run([LOGIT], self._inputs((pairs[0], pairs[1])))
        except Exception as error:  # as above
            raise VerificationError(f"the cross-encoder failed: {error}") from error
        return float(found[0]), float(found[1])

    def _inputs(self, pairs: tuple[PairPieces, PairPieces]) -> dict[str, npt.NDArray[np.generic]]:
        length = max(len(pair.ids) for pair in pairs)
        ids, types = np.zeros((2, length), np.int64), np.zeros((2, length), np.int64)
        mask = np.zeros((2, length), np.float32)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair.ids)] = pair.ids
            types[row, : len(pair.types)] = pair.types
            mask[row, : len(pair.ids)] = 1.0
        return {WORDS: self._words[ids].astype(np.float32), TYPES: types, MASK: mask}
