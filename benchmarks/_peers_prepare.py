"""Makes, once, what the comparison asks: paraphrases that read alike, and the vectors of all that is stored before the clock runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _peers_workload import FORMS, Workload, workload

from cache_service.bootstrap.models import embedder, verifier
from cache_service.config import Settings
from cache_service.embedding.base import Embedder
from cache_service.verification.base import Same, Verifier

ROOT = Path(__file__).resolve().parent.parent
NEAREST = 0.925
"""Cosine of a paraphrase: above every peer's gate of 0.92, whatever its arithmetic."""
FRESH = 4000


async def prepare(prompts: Sequence[str], entries: int, folder: Path) -> Path:
    """A folder with `workload.json` and `vectors.npy` (of the stored prompts, in order); made unless it's there."""
    folder = folder / hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:12]
    done = folder / f"{entries}"
    if (done / "vectors.npy").exists():
        return done
    done.mkdir(parents=True, exist_ok=True)
    settings = Settings(models_dir=ROOT / "models")
    model = await embedder(settings)
    try:
        known = folder / "paraphrases.json"
        if not known.exists():
            known.write_text(json.dumps(await _paraphrases(prompts, model, await verifier(settings))))
        load = workload(prompts, json.loads(known.read_text()), entries=entries, fresh=FRESH)
        vectors = await _vectors(model, load.prompts)
    finally:
        await model.aclose()
    (done / "workload.json").write_text(json.dumps(vars(load)))
    np.save(done / "vectors.npy", vectors)
    return done


def read(folder: Path) -> tuple[Workload, np.ndarray]:
    """What was prepared."""
    return Workload(**json.loads((folder / "workload.json").read_text())), np.load(folder / "vectors.npy")


async def _paraphrases(prompts: Sequence[str], model: Embedder, judge: Verifier) -> dict[str, str]:
    """The first form of each prompt that is near it and that our verifier calls the same, so that all can be asked for hits."""
    stored = await model.embed(list(prompts))
    found: dict[str, str] = {}
    near: set[str] = set()
    for form in FORMS:
        left = [(one, vector) for one, vector in zip(prompts, stored, strict=True) if one not in found]
        said = await model.embed([form.format(prompt) for prompt, _ in left])
        for (prompt, before), after in zip(left, said, strict=True):
            if float(before.vector @ after.vector) < NEAREST:
                continue
            near.add(prompt)
            asked, kept = judge.analyse(form.format(prompt), after), judge.analyse(prompt, before)
            if isinstance(judge.verify(asked, kept, "chat"), Same):
                found[prompt] = form.format(prompt)
    print(
        f"of {len(prompts)} prompts {len(near)} have a paraphrase at cosine {NEAREST}, {len(found)} one that is verified"
    )
    return found


async def _vectors(model: Embedder, texts: Sequence[str]) -> np.ndarray:
    rows = []
    for start in range(0, len(texts), 2000):
        rows += [one.vector for one in await model.embed(texts[start : start + 2000])]
    return np.stack(rows)
