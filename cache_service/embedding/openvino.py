"""The embedder for processors that multiply bfloat16: MiniLM through OpenVINO, in half the time of ONNX Runtime. Imports no torch.

The weights lie on disk as 16-bit floats and are mapped. What bfloat16 changes of a vector is far below what a threshold tells apart
(cosine ≥ 0.9999 to the original), so both engines' vectors are of one model; see docs/adr.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cache_service.embedding.base import Reading
from cache_service.embedding.batching import ALONE, BatchingEmbedder
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

MOST_LANES = 8
"""Passes at once; where there are more threads, each has several."""

NICENESS = 4
"""Of lanes' threads, which compute without a pause: else the event loop waits for the end of their time slice, 1 to 3 ms, whenever something comes.
Prompts/s of 32 clients over HTTP at 0, 1, 2, 3, 5: 440, 463, 485, 527, 510."""

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
        self._threads.submit(engine.warm)  # while the rest of the service starts


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
    """The model itself; see `Engine`. It is there twice: for one pass on all threads, and for several at once."""

    def __init__(self, model: Model, graph: Path, tokenizer: Path, *, threads: int = 0) -> None:
        self._graph = graph
        self._threads = threads or len(os.sched_getaffinity(0))
        self.lanes = min(self._threads, MOST_LANES)
        try:
            self._alone = self._compile("LATENCY", streams=1)
            self._request = self._alone.create_infer_request()
            # what the library makes at its first use, it makes under a lock of its own: threads that came first together would wait for ever
            _hidden(self._request, [], STEP)
            self._reader = WordPieceReader(Tokenizer.from_file(str(tokenizer)), model.max_pieces)
        except Exception as error:  # both libraries raise their own kinds, of no common root
            raise EmbeddingError(f"the embedding model can't be loaded: {type(error).__name__}") from error
        self._beside: Any = None  # compiled when it is first needed, or by `warm`
        self._requests: list[Any] = []
        self._compiling = threading.Lock()
        self.model_id = model.id
        self.dimension = model.dimension

    def read(self, text: str) -> Reading:
        """As the tokenizer's file says."""
        return self._reader.read(text)

    def forward(self, readings: Sequence[Reading], lane: int | None = ALONE) -> Matrix:
        """One row, a little longer than its texts."""
        request = self._request if lane is ALONE else self._lanes()[lane]
        return unpack(_hidden(request, readings, sum(len(reading.ids) for reading in readings)), readings)

    def warm(self) -> None:
        """Compiles what is compiled late: the kernels of usual lengths, 0.1 s, and the lanes' model with its own, 0.3 s."""
        _compile_kernels([self._alone.create_infer_request()])  # requests of its own: texts may be under way
        if self._lanes():
            _compile_kernels([self._beside.create_infer_request() for _ in range(self.lanes)])

    def _lanes(self) -> list[Any]:
        with self._compiling:
            if self.lanes > 1 and not self._requests:
                with ThreadPoolExecutor(1, initializer=_give_way) as thread:  # the library's threads inherit it
                    self._beside = thread.submit(self._compile, "THROUGHPUT", streams=self.lanes).result()
                self._requests = [self._beside.create_infer_request() for _ in range(self.lanes)]
            return self._requests

    def _compile(self, hint: str, *, streams: int) -> Any:
        core = _core()
        exact = "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings = {
            "PERFORMANCE_HINT": hint,
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(self._threads),
            "INFERENCE_PRECISION_HINT": "f32" if exact else "bf16",
            "ENABLE_CPU_PINNING": "NO",  # the event loop needs the cores too
        }
        return core.compile_model(str(self._graph), "CPU", settings)


def _give_way() -> None:
    """Lets others have the core before this thread and those that it begins."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _hidden(request: Any, readings: Sequence[Reading], pieces: int) -> Matrix:
    hidden: Matrix = request.infer(_inputs(readings, pieces), share_inputs=True, share_outputs=True)[HIDDEN]
    return hidden


def _compile_kernels(requests: Sequence[Any]) -> None:
    for length in WARM:
        for (
            request
        ) in requests:  # by `infer` alone: `start_async` for several of them damages the heap (OpenVINO 2026.4)
            _hidden(request, [], length)


def _inputs(readings: Sequence[Reading], pieces: int) -> dict[str, Any]:
    return dict(zip((IDS, POSITIONS, TEXTS), pack(readings, row_length(pieces)), strict=True))


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
