"""Look-alikes: distinct prompts that the embedding model takes for the same."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import vocabulary as v
from pairs import Pair, split_of
from sentence_transformers import SentenceTransformer

FILE = "mined"
FLOOR = 0.85  # cosine from which two distinct prompts may become candidates
NO_CONTENT = frozenset(
    v.words(
        "a an the of and in on with by art artstation trending highly very detailed detail details intricate sharp focus hd 4 8 k 4k 8k "
        "high quality resolution octane render cgsociety illustration digital painting concept smooth hyper ultra realistic photorealistic "
        "beautiful stunning masterpiece cinematic lighting style"
    )
)


def embed(texts: Sequence[str], minilm: Path) -> np.ndarray:
    """Unit vectors of the texts, float32, shape (texts, 384)."""
    with torch.autocast("cpu", torch.bfloat16):
        return SentenceTransformer(str(minilm), device="cpu").encode(
            list(texts), batch_size=64, normalize_embeddings=True, convert_to_numpy=True
        )


def mined_pairs(folder: Path, minilm: Path) -> list[Pair]:
    """Negative pairs of `image_prompts.txt` and `image_prompts_real.txt.gz` over the floor, both prompts of one split."""
    drawn = [line for line in (folder / "image_prompts.txt").read_text("utf-8").splitlines() if line.strip()]
    with gzip.open(folder / "image_prompts_real.txt.gz", "rt", encoding="utf-8") as lines:
        real = [line.strip() for line in lines if line.strip()]
    made = []
    for name, texts, floor in (("mined_parti", drawn, 0.80), ("mined_real", real, FLOOR)):
        vectors = embed(texts, minilm)
        for start in range(0, len(texts), 1000):
            close = np.argwhere(vectors[start : start + 1000] @ vectors.T >= floor)
            for row, column in close:
                a, b = texts[start + row], texts[column]
                if start + row < column and split_of(a) == split_of(b) and (name == "mined_parti" or _differ(a, b)):
                    made.append(Pair(a, b, False, FILE, name, split_of(a)))
    return made


def _differ(a: str, b: str) -> bool:
    """Whether words of content differ, which a label "different" needs in prompts that people varied themselves."""
    one, two = (set(re.findall(r"\w+", text.lower())) - NO_CONTENT for text in (a, b))
    return len(one ^ two) >= 2 and min(len(one - two), len(two - one)) >= 1
