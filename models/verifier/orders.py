"""Short prompts in which only the order of the words differs: what exchanging does to each preposition, verb and connective.

In `DIRECTED` the ends can't be exchanged, in `MUTUAL` they can; whole phrases of place and time may stand in front or behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import vocabulary as v
from pairs import Pair
from scenes import article, plural
from synthetic import FILE, careless

DIRECTED = (
    "on",
    "on top of",
    "in",
    "inside",
    "under",
    "behind",
    "in front of",
    "above",
    "below",
    "to the left of",
    "to the right of",
    "with",
    "without",
    "from",
    "for",
    "made of",
    "full of",
    "covered in",
    "against",
    "at",
    "into",
    "through",
    "over",
    "instead of",
    "but not",
    "rather than",
    "bigger than",
    "holding",
    "wearing",
    "carrying",
    "looking at",
    "pointing at",
    "running from",
    "running towards",
    "walking behind",
    "sitting on",
    "standing on",
    "hanging from",
    "painted on",
    "shaped like",
    "dressed as",
    "inspired by",
    "followed by",
    "turning into",
)
MUTUAL = (
    "and",
    "next to",
    "near",
    "beside",
    "together with",
    "as well as",
    "across from",
    "far from",
    "or",
    "close to",
    "versus",
)
ASKED_DIRECTED = (
    "Is {a} better than {b}?",
    "How do I convert {a} to {b}?",
    "Can {a} cause {b}?",
    "Does {a} lead to {b}?",
    "Why is {a} more popular than {b}?",
    "Does {a} come from {b}?",
    "How do I get from {a} to {b}?",
    "Should I learn {a} before {b}?",
    "Does {a} depend on {b}?",
    "Can I replace {a} with {b}?",
    "Is {a} part of {b}?",
    "Who taught {a} about {b}?",
    "Translate from {a} into {b}",
    "How does {a} affect {b}?",
    "Why does {a} need {b}?",
    "Is every {a} a kind of {b}?",
)
ASKED_MUTUAL = (
    "What is the difference between {a} and {b}?",
    "What do {a} and {b} have in common?",
    "Can I mix {a} and {b}?",
    "Are {a} and {b} the same?",
    "Compare {a} and {b}",
    "Are {a} and {b} related?",
    "Is {a} similar to {b}?",
    "How far apart are {a} and {b}?",
    "Should I buy {a} or {b}?",
    "Which is cheaper, {a} or {b}?",
)
TOPICS = (v.SUBJECT_WORDS, v.LANGUAGES, v.CITIES, v.COUNTRIES, v.DISEASES, v.DRUGS, v.NAMES, v.PROFESSIONS)


def order_pairs(split: str, size: int, seed: int) -> list[Pair]:
    """About `size` pairs; equal calls give equal pairs."""
    random = Random(f"{seed} {split} orders")
    made: dict[tuple[str, str], Pair] = {}
    while len(made) < size:
        kind = random.random()
        if kind < 0.3:
            a, b, same = _question(random)
        elif kind < 0.5:
            a, b, same = _fronted(random)
        else:
            a, b, same = _scene(random)
        if random.random() < 0.15:
            b = careless(random, b)
        if a != b:
            made.setdefault((a, b), Pair(a, b, same, FILE, "order_same" if same else "order", split))
    return list(made.values())


def _thing(random: Random) -> str:
    noun = random.choice(random.choice((v.PEOPLE, v.ANIMALS, v.THINGS)))
    kind = random.random()
    if kind < 0.15:
        return plural(noun)
    if kind < 0.3:
        return f"the {noun}"
    return article(noun) if kind < 0.75 else article(f"{random.choice(v.COLORS)} {noun}")


def _two(random: Random) -> tuple[str, str]:
    while (one := _thing(random)) == (two := _thing(random)):
        pass
    return one, two


def _scene(random: Random) -> tuple[str, str, bool]:
    one, two = _two(random)
    mutual = random.random() < 0.35
    middle = random.choice(MUTUAL if mutual else DIRECTED)
    end = random.choice(("", "", "", " " + random.choice(v.PLACES), ", " + random.choice(v.STYLES)))
    begin = random.choice(("", "", "", random.choice(random.choice(v.MEDIA)) + " "))
    return f"{begin}{one} {middle} {two}{end}", f"{begin}{two} {middle} {one}{end}", mutual


def _fronted(random: Random) -> tuple[str, str, bool]:
    """A phrase of place or time in front or behind; beside it, perhaps, exchanged ends."""
    one, two = _two(random)
    middle, place = random.choice(DIRECTED), random.choice(v.PLACES + v.TIMES)
    exchanged = random.random() < 0.5
    first, second = (two, one) if exchanged else (one, two)
    comma = random.choice((", ", " "))
    return f"{one} {middle} {two} {place}", f"{place}{comma}{first} {middle} {second}", not exchanged


def _question(random: Random) -> tuple[str, str, bool]:
    one, two = random.sample(_topics(random), 2)
    mutual = random.random() < 0.4
    form = random.choice(ASKED_MUTUAL if mutual else ASKED_DIRECTED)
    return form.format(a=one, b=two), form.format(a=two, b=one), mutual


def _topics(random: Random) -> Sequence[str]:
    return random.choice(TOPICS)
