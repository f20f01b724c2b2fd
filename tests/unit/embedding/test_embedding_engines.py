"""Which engine serves, and how it is fed."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cache_service.bootstrap import models as bootstrap
from cache_service.config import Settings
from cache_service.embedding import export, openvino
from cache_service.embedding.base import Reading
from cache_service.embedding.onnx import OnnxEmbedder
from cache_service.embedding.openvino import LONG_STEP, OpenVinoEmbedder, row_length
from cache_service.embedding.packed import PASS_PIECES, pack, unpack

MODELS = Path(__file__).parents[3] / "models"
WITH_OPENVINO = pytest.mark.skipif(not openvino.is_installed(), reason="this engine needs cache-service[openvino]")


@pytest.mark.parametrize(
    ("embedder", "quickest", "engine"),
    [
        pytest.param("auto", True, OpenVinoEmbedder, marks=WITH_OPENVINO),
        ("auto", False, OnnxEmbedder),
        pytest.param("openvino", False, OpenVinoEmbedder, marks=WITH_OPENVINO),
        ("onnx", True, OnnxEmbedder),
    ],
)
async def test_the_engine_is_what_the_processor_can_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, embedder: str, quickest: bool, engine: type
) -> None:
    """A named one is taken whatever the processor says."""
    assert export.main(["--models-dir", str(MODELS)]) == 0
    monkeypatch.setattr(openvino, "is_quickest", lambda folder, name: quickest)
    made = await bootstrap.embedder(Settings.model_validate({"models_dir": MODELS, "embedder": embedder}))
    assert type(made) is engine
    await made.aclose()


def test_without_the_library_another_engine_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setattr(openvino, "is_installed", lambda: False)
    assert not openvino.is_quickest(MODELS)


def test_rows_have_few_lengths_and_room_for_their_texts() -> None:
    """Kernels are compiled for each length."""
    lengths = {pieces: row_length(pieces) for pieces in range(1, PASS_PIECES + 1)}
    assert len(set(lengths.values())) <= 20
    assert all(pieces <= length < pieces + LONG_STEP for pieces, length in lengths.items())
    assert max(lengths.values()) == PASS_PIECES


def test_texts_of_a_row_keep_apart() -> None:
    """Positions begin anew with each, what is left over belongs to none, and each has the mean of its own pieces."""
    readings = [Reading("", ids, (), (), None) for ids in ((5, 6, 7), (8, 9))]
    ids, positions, texts = pack(readings, 8)
    assert ids.tolist() == [5, 6, 7, 8, 9, 0, 0, 0]
    assert positions.tolist() == [0, 1, 2, 0, 1, 0, 0, 0]
    assert texts.tolist() == [0, 0, 0, 1, 1, -1, -1, -1]
    hidden = np.array([[1, 0], [1, 0], [1, 0], [0, 2], [0, 4], [9, 9], [9, 9], [9, 9]], np.float32)
    assert unpack(hidden, readings).tolist() == [[1, 0], [0, 1]]


@WITH_OPENVINO
def test_lanes_make_what_a_pass_on_all_threads_makes() -> None:
    """Within rounding, each lane and at once."""
    assert export.main(["--models-dir", str(MODELS)]) == 0
    engine = openvino.load_engine(MODELS, threads=2)
    assert engine.lanes == 2
    readings = [engine.read(f"a photograph of {number} red cubes on a blue sphere") for number in range(8)]
    alone = engine.forward(readings)
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda lane: engine.forward(readings[lane * 2 :], lane), [0, 1]))
    for lane, vectors in enumerate(made):
        assert np.sum(vectors * alone[lane * 2 :], axis=1).min() > 0.9999
    assert openvino.load_engine(MODELS, threads=1).lanes == 1


FIRST_TOGETHER = """
import sys, threading
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from cache_service.embedding import openvino
engine = openvino.load_engine(Path(sys.argv[1]), threads=2)
reading, both = engine.read("a red cube"), threading.Barrier(2)
def one(lane):
    both.wait()
    return engine.forward([reading], lane)
with ThreadPoolExecutor(2) as threads:
    assert len(list(threads.map(one, [0, 1]))) == 2
"""


@WITH_OPENVINO
def test_lanes_that_are_a_processs_first_work_dont_wait_for_each_other() -> None:
    """They did in every third process, for ever: the library makes things of its own at its first use."""
    assert export.main(["--models-dir", str(MODELS)]) == 0
    begun = [subprocess.Popen([sys.executable, "-c", FIRST_TOGETHER, str(MODELS)]) for _ in range(4)]
    try:
        assert [process.wait(120) for process in begun] == [0] * 4
    finally:
        for process in begun:
            process.kill()
