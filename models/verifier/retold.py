"""Real pairs told of other things: a word that both captions have becomes another one in both, so that the label stays and neither
sentence can be known by heart. And pairs across a caption's own paraphrases, which the file holds only side by side.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from random import Random

import vocabulary as v
from pairs import Pair
from scenes import plural
from synthetic import FILE

PLACES = v.words(
    "street road beach park field kitchen bathroom bedroom room lake river ocean forest mountain hill yard garden restaurant "
    "store office sidewalk parking_lot court stadium airport station desert zoo farm runway harbor church tower counter shelf "
    "floor wall roof ceiling corner grass snow sand water mud"
)
FOOD = v.words(
    "bread cheese chicken beef rice pasta soup salad sushi bacon ham egg butter broccoli corn onion pepper potato lettuce "
    "coffee tea wine beer juice milk chocolate cream sugar pie donut doughnut hotdog hamburger pancake waffle fruit meat vegetables"
)
MORE = v.words(
    "racket bat frisbee ski board bike truck van taxi tractor wagon carriage cart trailer airplane jet helicopter ship ferry "
    "meter hydrant pole tower monitor computer mouse remote controller printer speaker microwave stove dishwasher cabinet drawer "
    "dresser couch stool rug curtain carpet plant bush leaf stick stone brick pole gate step stairs tie suit dress coat uniform "
    "sunglasses scissors toothbrush napkin tray pan pot bag purse wallet poster painting photo picture map card letter magazine"
)


def _classes() -> dict[str, tuple[str, ...]]:
    """For each word, singular or plural, the words of its class in the same number."""
    classes = {}
    states = tuple(row[0] for row in v.STATES)
    for table in (v.COLORS, states, v.SHAPES, tuple(row[0] for row in v.MATERIALS)):
        classes |= dict.fromkeys(table, table)
    for nouns in (v.PEOPLE, v.ANIMALS, tuple(dict.fromkeys(v.THINGS + MORE)), PLACES, FOOD):
        table = tuple(noun for noun in nouns if " " not in noun)
        several = tuple(plural(noun) for noun in table)
        classes |= dict.fromkeys(several, several) | dict.fromkeys(table, table)
    return classes


CLASSES = _classes()


def across_paraphrases(split: str, pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs that follow from a caption with several paraphrases: these are the same, and what differs from the caption differs from all."""
    same, different = defaultdict(dict), defaultdict(dict)
    for pair in pairs:
        for one, other in ((pair.a, pair.b), (pair.b, pair.a)):
            (same if pair.same else different)[_plain(one)].setdefault(_plain(other), other)
    known = {frozenset((_plain(pair.a), _plain(pair.b))) for pair in pairs}
    made: dict[frozenset[str], Pair] = {}
    for caption in sorted(same):
        alike = sorted(same[caption])
        new = [(same[caption][a], same[caption][b], True) for a, b in combinations(alike, 2)]
        new += [
            (same[caption][a], different[caption][b], False) for a in alike for b in sorted(different.get(caption, ()))
        ]
        for a, b, label in new:
            key = frozenset((_plain(a), _plain(b)))
            if len(key) == 2 and key not in known:
                made.setdefault(key, Pair(a, b, label, FILE, "caption_across", split))
    return list(made.values())


def retold_pairs(split: str, pairs: Sequence[Pair], size: int, seed: int) -> list[Pair]:
    """About `size` of the pairs with one to three words exchanged on both sides alike; equal calls give equal pairs."""
    random = Random(f"{seed} {split} retold")
    made: dict[tuple[str, str], Pair] = {}
    for _ in range(20 * size):
        if len(made) >= size:
            break
        pair = random.choice(pairs)
        a, b = pair.a, pair.b
        shared = [word for word in sorted(_words(a) & _words(b)) if word in CLASSES]
        for word in random.sample(shared, min(len(shared), random.choice((1, 2, 2, 3)))):
            new = random.choice(CLASSES[word])
            if new not in _words(a) | _words(b):
                a, b = _told(a, word, new), _told(b, word, new)
        if a != pair.a:
            made.setdefault((a, b), Pair(a, b, pair.same, FILE, "caption_retold", split))
    return list(made.values())


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def _told(text: str, old: str, new: str) -> str:
    """The text with a word put for another wherever it stands, and the article before it that goes with it."""

    def put(match: re.Match[str]) -> str:
        article, word = match[1] or "", match[2]
        said = new[0].upper() + new[1:] if word[0].isupper() else new
        if article:
            article = f"{article[0]}{'n' if new[0] in 'aeiou' else ''} "
        return article + said

    return re.sub(rf"\b(an? )?({re.escape(old)})\b", put, text, flags=re.IGNORECASE)
