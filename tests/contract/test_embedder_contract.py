"""What `embedding/base` promises, held by the engine that serves, by the reference, and by the fake."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache_service.embedding import export
from cache_service.embedding.base import Embedder
from cache_service.embedding.onnx import OnnxEmbedder
from cache_service.embedding.openvino import OpenVinoEmbedder, is_installed
from cache_service.embedding.sentence_transformer import SentenceTransformerEmbedder
from cache_service.errors import EmbeddingError
from tests.fakes.embedder import FakeEmbedder

MODELS = Path(__file__).parents[2] / "models"
WITH_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="the reference needs cache-service[model]"
)
WITH_OPENVINO = pytest.mark.skipif(not is_installed(), reason="this engine needs cache-service[openvino]")
SAME = 0.9999
"""Least cosine between what two engines, or two passes of one, make of a text."""

SAMPLES = [
    "a cat on a windowsill, watercolour",
    "two dogs chasing a red ball in the rain, 35mm film photo, dramatic light",
    "What is the capital of Australia?",
    "Eine Katze schläft auf der Fensterbank",
    "一只猫坐在海边的沙滩上",
    "I ❤️ NY 🐱",
    "def f(x):\n    return x + 1",
    "",
    ".",
    "lighthouse " * 400,
]


@pytest.fixture(scope="module")
def models() -> Path:
    """The folder of the models, exported if that wasn't done yet."""
    assert export.main(["--models-dir", str(MODELS)]) == 0
    return MODELS


@pytest.fixture(scope="module")
def onnx(models: Path) -> OnnxEmbedder:
    """The engine that serves, loaded once."""
    return OnnxEmbedder(models)


@pytest.fixture(scope="module")
def openvino(models: Path) -> OpenVinoEmbedder:
    """The engine that serves on processors that multiply bfloat16."""
    return OpenVinoEmbedder(models)


@pytest.fixture(
    scope="module",
    params=["onnx", pytest.param("openvino", marks=WITH_OPENVINO), pytest.param("reference", marks=WITH_TORCH), "fake"],
)
def embedder(request: pytest.FixtureRequest, models: Path) -> Iterator[Embedder]:
    """Each implementation, loaded once."""
    if request.param in ("onnx", "openvino"):
        yield request.getfixturevalue(request.param)
    elif request.param == "reference":
        yield SentenceTransformerEmbedder(models)
    else:
        yield FakeEmbedder()


async def test_vectors_are_float32_of_unit_length(embedder: Embedder) -> None:
    """Their inner product is then the cosine."""
    for embedding in await embedder.embed(SAMPLES):
        assert embedding.vector.dtype == np.float32
        assert embedding.vector.shape == (embedder.dimension,)
        assert float(np.linalg.norm(embedding.vector)) == pytest.approx(1.0, abs=1e-5)


async def test_there_is_one_embedding_for_each_text_in_order(embedder: Embedder) -> None:
    """However long the texts are, and where one comes twice."""
    texts = [*SAMPLES, *reversed(SAMPLES)]
    together = await embedder.embed(texts)
    assert len(together) == len(texts)
    for text, embedding in zip(texts, together, strict=True):
        [alone] = await embedder.embed([text])
        assert float(alone.vector @ embedding.vector) >= SAME
        assert (alone.pieces, alone.unknown, alone.cut) == (embedding.pieces, embedding.unknown, embedding.cut)
    assert await embedder.embed([]) == []


async def test_what_means_the_same_is_closer_than_what_does_not(embedder: Embedder) -> None:
    """Or the vectors are of no use."""
    asked, close, far = (
        each.vector
        for each in await embedder.embed(
            ["a cat sleeping on a windowsill", "a cat asleep on a windowsill", "SELECT name FROM users"]
        )
    )
    assert float(asked @ close) > 0.5 > float(asked @ far)


@pytest.mark.parametrize(
    ("text", "unseen"), [("一只猫坐在海边", "猫"), ("一只狗坐在海边", "狗"), ("a 🐱 on a mat", "🐱")]
)
async def test_characters_without_a_piece_are_reported(embedder: Embedder, text: str, unseen: str) -> None:
    """Two prompts that differ only there have the same vector; the verifier must compare them itself."""
    [embedding] = await embedder.embed([text])
    at = text.index(unseen)
    assert any(start <= at < end for start, end in embedding.unknown)


async def test_plain_text_is_wholly_seen(embedder: Embedder) -> None:
    """White space, case and accents are not reported."""
    for embedding in await embedder.embed(["A red café\tin\r\n the\u00a0rain — naïve", "", " \n"]):
        assert (embedding.unknown, embedding.cut) == ((), None)


async def test_text_beyond_the_window_is_reported_as_cut(embedder: Embedder) -> None:
    """From its first unread character on; what follows changes nothing of the vector."""
    text = " ".join(["lighthouse"] * 254)
    whole, cut, other = await embedder.embed([text, text + " a cat sleeps", text + " the dog runs away"])
    assert whole.cut is None
    assert cut.cut == other.cut == len(text) + 1
    assert len(cut.pieces) == 254
    assert float(cut.vector @ other.vector) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("text", ["\ud800", "a cat \udfff on a mat"])
async def test_text_that_is_no_unicode_is_an_error_of_its_own(embedder: Embedder, text: str) -> None:
    """Of that call; others, also beside it, go on."""
    broken, fine = await asyncio.gather(embedder.embed([text]), embedder.embed(["a cat"]), return_exceptions=True)
    assert isinstance(broken, EmbeddingError)
    assert isinstance(fine, list)


async def test_a_closed_embedder_refuses_and_closes_twice(models: Path) -> None:
    """An EmbeddingError, so that the exact tier goes on."""
    each: Embedder
    for each in (OnnxEmbedder(models), FakeEmbedder()):
        await each.embed(["a cat"])
        await each.aclose()
        await each.aclose()
        with pytest.raises(EmbeddingError):
            await each.embed(["a cat"])
        with pytest.raises(EmbeddingError):
            await each.begin(each.read("a cat"))


async def test_a_reading_serves_in_place_of_its_text(embedder: Embedder) -> None:
    """It says already what the model sees, and leads to the same embedding, also where it is begun before it is waited for."""
    for text in SAMPLES:
        reading = embedder.read(text)
        (of_reading,), (of_text,) = await embedder.embed([reading]), await embedder.embed([text])
        seen = (of_text.pieces, of_text.unknown, of_text.cut)
        assert (reading.pieces, reading.unknown, reading.cut) == seen
        assert (of_reading.pieces, of_reading.unknown, of_reading.cut) == seen
        assert float(of_reading.vector @ of_text.vector) >= SAME
        begun = await embedder.begin(reading)
        assert (begun.pieces, begun.unknown, begun.cut) == seen
        assert float(begun.vector @ of_text.vector) >= SAME


@WITH_TORCH
@pytest.mark.parametrize("name", ["onnx", pytest.param("openvino", marks=WITH_OPENVINO)])
async def test_a_serving_engine_and_the_reference_agree(
    name: str, models: Path, request: pytest.FixtureRequest
) -> None:
    """The same id, the same pieces, and cosine ≥ 0.9999 for each text, alone and in a batch."""
    ours: Embedder = request.getfixturevalue(name)
    reference = SentenceTransformerEmbedder(models)
    assert ours.model_id == reference.model_id
    for texts in (SAMPLES, *([text] for text in SAMPLES)):
        for one, other in zip(await ours.embed(texts), await reference.embed(texts), strict=True):
            assert float(one.vector @ other.vector) >= SAME
            assert (one.pieces, one.unknown, one.cut) == (other.pieces, other.unknown, other.cut)
    await reference.aclose()


@given(text=st.text(alphabet=st.characters(), max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_an_embedding_or_an_embedding_error(onnx: OnnxEmbedder, text: str) -> None:
    """Nothing else, and its spans lie inside the text, in order."""
    try:
        [embedding] = asyncio.run(onnx.embed([text]))
    except EmbeddingError:
        return
    assert float(np.linalg.norm(embedding.vector)) == pytest.approx(1.0, abs=1e-5)
    assert all(0 <= start < end <= len(text) for start, end in embedding.unknown)
    assert list(embedding.unknown) == sorted(embedding.unknown)
