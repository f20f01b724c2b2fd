"""Calibrating with the models that ship: what was written is what the service then decides by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cache_service import bootstrap
from cache_service.calibration import NEVER
from cache_service.config import Settings
from cache_service.errors import ConfigurationError, VerificationError

ROOT = Path(__file__).parents[2]
PAIRS = ROOT / "tests" / "data" / "verification_pairs.jsonl"


def learned(**more: Any) -> Settings:
    """Settings with the trained verifier."""
    return Settings(models_dir=ROOT / "models", verifier="learned", profile="verified", **more)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the project's own pairs, and paraphrases that only models can judge."""
    rows = PAIRS.read_text("utf-8").splitlines()[::6]
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    paraphrases = [
        {"a": "a man standing next to his bicycle", "b": "a man stands beside his bike", "same": True},
        {"a": "a fox larger than a bear", "b": "a bear smaller than a fox", "same": True},
        {"a": "a dog chasing a cat", "b": "a cat chasing a dog", "same": False},
    ]
    path.write_text("\n".join([*rows, *map(json.dumps, paraphrases)]) + "\n", "utf-8")
    return path


async def test_what_is_written_is_what_is_served_by(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "thresholds.json"
    report = await bootstrap.calibrate(learned(), {"images": [pairs]}, allowed=0.9, keep=False, out=out)
    written = json.loads(out.read_text())
    assert set(written["serve"]) == {"images", "chat"}  # rows say of which operation they are
    proved = [kind for kind, least in written["serve"]["images"].items() if least != NEVER]
    assert proved
    found = await bootstrap.evaluate(learned(verifier_thresholds=out), pairs, operation="images")
    counted = [route.found for routes in report.routes.values() for route in routes.values()]
    equal_keys = found.how["equal key"]
    assert found.gates[0.85].total.hits == sum(one.hits for one in counted) + equal_keys


async def test_thresholds_that_do_not_fit_are_refused_at_the_start(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "thresholds.json"
    strict = learned(similarity_threshold=0.95)
    await bootstrap.calibrate(strict, {"images": [pairs]}, allowed=0.9, keep=False, out=out)
    await bootstrap.verifier(strict.model_copy(update={"verifier_thresholds": out}))
    with pytest.raises(ConfigurationError, match=r"calibrated for candidates from cosine 0\.95"):
        await bootstrap.verifier(learned(verifier_thresholds=out))
    out.write_text(json.dumps(json.loads(out.read_text()) | {"model": "f" * 64}))
    stale = strict.model_copy(update={"verifier_thresholds": out})
    with pytest.raises(VerificationError, match="another model"):
        await bootstrap.verifier(stale)
    await bootstrap.calibrate(stale, {"images": [pairs]}, allowed=0.9, keep=False, out=out)  # and calibrating mends it
    await bootstrap.verifier(stale)


async def test_rules_alone_are_measured_and_nothing_is_written(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "thresholds.json"
    settings = Settings(models_dir=ROOT / "models", verifier="rules")
    report = await bootstrap.calibrate(settings, {"images": [pairs]}, allowed=None, keep=False, out=out)
    assert not out.exists()
    assert report.routes == {}
    gates = dict(report.gates["images"])
    assert {0.92, 0.85} <= set(gates)
    assert gates[0.85].served_different == 0
