"""The project's own pairs as the service decides them: the real embedder, every gate, every verifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache_service.bootstrap import verifier
from cache_service.config import PROFILES, Settings
from cache_service.embedding import export
from cache_service.embedding.onnx import OnnxEmbedder
from cache_service.jobs.evaluate import Pair, evaluate
from cache_service.operations.base import Operation
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.verification.artefacts import make_words
from cache_service.verification.base import Verifier

ROOT = Path(__file__).parents[2]
PAIRS = ROOT / "tests" / "data" / "verification_pairs.jsonl"
OPERATIONS: dict[str, Operation] = {"images": Images(lambda *_: 1), "chat": Chat()}
LEAST_TRUE_HITS = {"strict": 0.7, "verified": 0.8}


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    """The engine that serves, loaded once."""
    assert export.main(["--models-dir", str(ROOT / "models")]) == 0
    return OnnxEmbedder(ROOT / "models", threads=1)


@pytest.fixture(params=["rules", "learned"])
async def judge(request: pytest.FixtureRequest) -> Verifier:
    """Each verifier that can be configured."""
    make_words(ROOT / "models")
    return await verifier(Settings(verifier=request.param, models_dir=ROOT / "models"))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("operation", ["images", "chat"])
async def test_nothing_different_is_served_and_most_that_is_the_same(
    embedder: OnnxEmbedder, judge: Verifier, operation: str, profile: str
) -> None:
    """The budget of false hits is nought; at least seven (strict) or eight (verified) of ten same pairs are served."""
    rows = [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]
    pairs = [Pair(row["a"], row["b"], row["same"], row["category"]) for row in rows if row["operation"] == operation]
    found = await evaluate(pairs, OPERATIONS[operation], embedder=embedder, verifier=judge, threshold=PROFILES[profile])
    assert found.wrong_as_json() == []
    rate = found.total.true_hit_rate
    assert rate is not None
    assert rate >= LEAST_TRUE_HITS[profile]
