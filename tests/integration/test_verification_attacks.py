"""Prompts crafted to collide with a stored one are not served: a small, seeded part of `benchmarks/attacks.py`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.attacks import CRAFTED, Remembering, Trusting, attacks, own_seeds, served, similarity, tried
from cache_service.config import PROFILES
from cache_service.embedding import export
from cache_service.embedding.onnx import OnnxEmbedder
from cache_service.jobs.evaluate import Pair
from cache_service.verification.rules import RulesVerifier

MODELS = Path(__file__).parents[2] / "models"
SEEDS = 8


@pytest.fixture(scope="module")
def made() -> list[tuple[str, Pair]]:
    """Every kind of attack on a few prompts."""
    assert export.main(["--models-dir", str(MODELS)]) == 0
    draw = random.Random(3)  # noqa: S311 # which attacks are tried is no secret
    return list(attacks(draw.sample(own_seeds(), SEEDS), draw, similarity(MODELS)))


@pytest.fixture(scope="module")
def embedder(made: list[tuple[str, Pair]]) -> Remembering:
    """The engine that serves; reads each text once."""
    return Remembering(OnnxEmbedder(MODELS, threads=1))


@pytest.mark.parametrize("gate", PROFILES.values())
async def test_no_attack_is_served(made: list[tuple[str, Pair]], embedder: Remembering, gate: float) -> None:
    """At either gate, and in every kind."""
    found = await tried(made, RulesVerifier(), embedder, gate)
    assert [each for one in found.values() for each in one.wrong_as_json()] == []
    assert {pair.category for _, pair in made} == {*CRAFTED, "suffix, greedy"}


async def test_the_attacks_are_worth_defending_against(made: list[tuple[str, Pair]], embedder: Remembering) -> None:
    """The cosine alone serves most of them: the suite would notice a verifier that looks at nothing."""
    hits, pairs = served(await tried(made, Trusting(), embedder, PROFILES["verified"]))
    assert hits > pairs / 2
