"""Many distinct prompts and their vectors, made by the model that serves: `python benchmarks/_prompts.py --data FOLDER --out FOLDER`.

Takes every prompt of the pair and prompt files in `--data` (members `a`, `b`, `prompt` of JSON lines, lines of text files; gzip or
not) and fills up with sentences of a small grammar: pictures and questions whose slots vary, so that each has many near neighbours.
Shuffled, then embedded in shards, each sorted by length, so that what is there already can be used while the rest is made; run
again, it goes on where it stopped. Writes `prompts.jsonl` and `vectors.npy` (float32, one row a prompt, zero until it is made).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cache_service.embedding.base import Embedding
from cache_service.embedding.batching import embed_texts
from cache_service.embedding.onnx import OnnxEngine, load_engine
from cache_service.index.rows import Matrix

MODELS = Path(__file__).resolve().parent.parent / "models"
SHARD = 8192

ADJECTIVES = (
    "red", "blue", "green", "yellow", "black", "white", "wooden", "rusty", "glass", "tiny", "huge", "old", "shiny", "broken",
    "striped", "golden", "paper", "stone", "snow-covered", "neon", "transparent", "furry", "plastic", "silver", "burning",
)  # fmt: skip
THINGS = (
    "cat", "dog", "horse", "robot", "teapot", "bicycle", "lighthouse", "piano", "dragon", "castle", "submarine", "violin", "fox",
    "typewriter", "astronaut", "sailing boat", "windmill", "owl", "suitcase", "telescope", "tractor", "umbrella", "candle",
    "motorcycle", "whale", "accordion", "bear", "rocket", "tram", "chess board", "cactus", "greenhouse", "lantern", "clock",
    "elephant", "bridge", "hot-air balloon", "bookshelf", "waterfall", "knight", "penguin", "sofa", "bakery", "guitar",
)  # fmt: skip
PLACES = (
    "on a beach", "in heavy rain", "in a library", "on the moon", "under water", "at night", "in a crowded market", "on a roof",
    "in a pine forest", "beside a canal", "in the desert", "in an empty swimming pool", "on a train platform", "in the fog",
    "at sunset", "in a kitchen", "on top of a mountain", "in a narrow street", "behind a waterfall", "in a wheat field",
)  # fmt: skip
RELATIONS = (
    "next to",
    "behind",
    "on top of",
    "in front of",
    "below",
    "holding",
    "looking at",
    "leaning against",
    "inside",
)
STYLES = (
    "oil painting", "watercolour", "pixel art", "35mm photograph", "charcoal sketch", "studio lighting", "isometric render",
    "ukiyo-e woodblock print", "low poly", "comic book", "blueprint", "macro photograph", "stained glass", "vaporwave",
)  # fmt: skip
ACTIONS = (
    "reset my password", "learn Spanish", "cook rice", "open a bank account", "fix a leaking tap", "write a cover letter", "sort a list",
    "lose weight", "train for a marathon", "sell a used car", "remove a stain", "renew a passport", "grow tomatoes", "parse JSON",
    "start a podcast", "read sheet music", "patent an idea", "plan a wedding", "repair a bicycle", "negotiate a salary",
    "invest in bonds", "brew coffee", "adopt a cat", "change a tyre", "write a will", "build a website", "cancel a subscription",
)  # fmt: skip
CIRCUMSTANCES = (
    "in Germany", "in India", "in Python", "at home", "without money", "in ten minutes", "for the first time", "on a phone", "abroad",
    "as a student", "in winter", "before Monday", "online", "by myself", "with a small child", "after moving", "on Linux", "at work",
)  # fmt: skip
QUESTIONS = (
    "How do I {}?", "How can I {}?", "What is the best way to {}?", "What do I need to {}?", "Is it possible to {}?",
    "How long does it take to {}?", "How much does it cost to {}?", "Why is it so hard to {}?", "Who can help me to {}?",
    "Explain step by step how to {}.", "What are common mistakes when people {}?", "Should I {}?",
)  # fmt: skip


def real_prompts(data: Path) -> Iterator[str]:
    """Every prompt of the files, as it stands there."""
    for path in sorted(data.iterdir()):
        name = path.name.removesuffix(".gz")
        if not name.endswith((".jsonl", ".txt")):
            continue
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            for line in lines:
                if name.endswith(".txt"):
                    yield line.strip()
                else:
                    row = json.loads(line)
                    yield from (row[member].strip() for member in ("a", "b", "prompt") if member in row)


def made_prompts(draw: random.Random) -> Iterator[str]:
    """Sentences of the grammar, without end; some come twice."""
    while True:
        thing, other = draw.choice(THINGS), draw.choice(THINGS)
        first, second = draw.choice(ADJECTIVES), draw.choice(ADJECTIVES)
        place, style = draw.choice(PLACES), draw.choice(STYLES)
        yield f"a {first} {thing} {draw.choice(RELATIONS)} a {second} {other}, {style}"
        yield f"{draw.choice(('two', 'three', 'a', 'seven', 'one', 'a pair of'))} {first} {thing} {place}, {style}"
        circumstance = draw.choice(CIRCUMSTANCES)
        yield draw.choice(QUESTIONS).format(f"{draw.choice(ACTIONS)} {circumstance}")
        action = f"{draw.choice(ACTIONS)} and {draw.choice(ACTIONS)} {draw.choice(CIRCUMSTANCES)}"
        yield draw.choice(QUESTIONS).format(f"{action} {circumstance}")


def prompts(data: Path, count: int) -> list[str]:
    """That many distinct prompts, the real ones first of all, shuffled; always the same."""
    draw = random.Random(7)
    chosen: dict[str, None] = dict.fromkeys(prompt for prompt in real_prompts(data) if prompt)
    for prompt in made_prompts(draw):
        if len(chosen) >= count:
            break
        chosen[prompt] = None
    shuffled = list(chosen)[:count]
    draw.shuffle(shuffled)
    return shuffled


def embed(engine: OnnxEngine, texts: Sequence[str]) -> Matrix:
    """In passes as the service makes them."""
    made = np.empty((len(texts), engine.dimension), np.float32)
    for row, outcome in enumerate(embed_texts(engine, texts)):
        if not isinstance(outcome, Embedding):
            raise outcome
        made[row] = outcome.vector
    return made


def main() -> None:
    """Makes what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=260_000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    texts = prompts(options.data, options.count)
    with (options.out / "prompts.jsonl").open("w") as file:
        file.writelines(f"{json.dumps(text)}\n" for text in texts)
    engine = load_engine(MODELS, threads=1)
    path = options.out / "vectors.npy"
    shape = (len(texts), engine.dimension)
    fresh = not path.exists()
    vectors = np.lib.format.open_memmap(path, "w+" if fresh else "r+", np.float32, shape if fresh else None)  # type: ignore[no-untyped-call]
    began, made = time.perf_counter(), 0
    for start in range(0, len(texts), SHARD):
        shard = texts[start : start + SHARD]
        if vectors[start + len(shard) - 1].any():
            continue
        vectors[start : start + len(shard)] = embed(engine, shard)
        vectors.flush()
        made += len(shard)
        print(f"{start + len(shard)} of {len(texts)}, {made / (time.perf_counter() - began):.0f} a second", flush=True)


if __name__ == "__main__":
    main()
