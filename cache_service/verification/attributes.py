"""Attributes that have moved from one thing to another: "a soft toy and a hunter" is not "a toy and a soft hunter". Pure.

No grammar: an attribute belongs to the words that stand behind it up to the next small word ("soft toy"), or in front of what
says it afterwards ("a toy that is soft", "a car made of wood"). Where it stands with other words on the other side, and both sides'
words are in both prompts, it has moved. Other spellings of one attribute are one: big and large, metallic and made of metal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cache_service.verification.difference import FUNCTION_WORDS

_ALIKE = """
big large huge gigantic enormous massive giant|small little tiny miniature|metal metallic steel|wood wooden|gold golden|gray grey
dirty filthy grimy|rich wealthy|old aged elderly|young youthful|glad happy cheerful|quick fast rapid|beautiful gorgeous pretty
shiny glossy gleaming|round circular|purple violet|striped stripy|empty vacant|crowded packed|bright brilliant|wool woolen woollen
cube-shaped cubic|ball-shaped spherical|fluffy furry
"""
_ALONE = """
red blue green yellow orange pink brown black white beige tan maroon teal cyan magenta crimson navy silver turquoise plastic leather rubber glass
stone paper fabric ceramic cotton silk marble brass bronze concrete cardboard porcelain square triangular oval rectangular oblong hexagonal
pentagonal octagonal pyramidal conical cylindrical diamond star-shaped heart-shaped teardrop tall short long wide narrow thick thin wet dry clean
hot cold soft hard heavy light dark new ancient modern open closed broken rusty sleepy sad angry tired drunk slow full spotted dotted checkered
plain rough smooth sharp blunt transparent colorful colourful floral snowy grassy wild tame fat slim bald bearded blonde curly frozen
barefoot naked hungry injured lonely ornate framed stuffed
"""
ATTRIBUTES = {word: row.split()[0] for row in re.split(r"[|\n]", _ALIKE) if row.strip() for word in row.split()}
ATTRIBUTES |= {word: word for word in _ALONE.split()}

# "a triangular slice of pie": the attribute may be said of either.
_MEASURES = frozenset(
    re.split(
        r"\s+",
        "slice piece pair tube cup glass bottle plate bowl group bunch herd flock row pile stack box bag can sheet bit lot set",
    )
)
_RELATIVES, _BE = frozenset(("that", "which", "who")), frozenset(("is", "are", "was", "were"))
_JOINTS = frozenset(("and", ","))
_ENDS = FUNCTION_WORDS | frozenset(
    (
        *(
            "over",
            "under",
            "above",
            "below",
            "behind",
            "between",
            "against",
            "around",
            "along",
            "across",
            "through",
            "near",
            "beside",
        ),
        *(
            "off",
            "without",
            "next",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "several",
            "some",
        ),
    )
)


def moved_attribute(first: str, second: str) -> str | None:
    """The attribute that has moved, with both owners, as a reason; None if none has. Symmetric but for the order in the reason."""
    one, other = _words(first), _words(second)
    owners, others = _owners(one), _owners(other)
    said, heard = frozenset(map(_stem, one)), frozenset(map(_stem, other))
    for attribute, mine in owners.items():
        theirs = others.get(attribute)
        if mine and theirs and not mine & theirs and mine & heard and theirs & said:
            return f"attribute {attribute} {min(mine & heard)} / {attribute} {min(theirs & said)}"
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:-[a-z]+)*|\d+|[,.;:!?]", text.lower())


def _owners(words: Sequence[str]) -> dict[str, frozenset[str]]:
    """For each attribute that is said once, the words of what it may belong to."""
    found: dict[str, list[frozenset[str]]] = {}
    for at, word in enumerate(words):
        if word in ATTRIBUTES:
            found.setdefault(ATTRIBUTES[word], []).append(_before(words, at) or _behind(words, at))
    return {attribute: runs[0] for attribute, runs in found.items() if len(runs) == 1}


def _behind(words: Sequence[str], at: int) -> frozenset[str]:
    """The words behind an attribute, other attributes left out, up to what ends the phrase."""
    run: set[str] = set()
    for word in words[at + 1 :]:
        if word in ATTRIBUTES or (not run and word == "and"):
            continue
        if word == "of" and run & _MEASURES:
            continue
        if word in _ENDS or not word[0].isalpha() or (run and word.endswith("ing")):
            break
        run.add(_stem(word))
    return frozenset(run)


def _before(words: Sequence[str], at: int) -> frozenset[str]:
    """The words before "that is …", "made of …" or "is …", where the attribute is said there; none where it isn't."""
    start = _row(words, at)
    if list(words[max(start - 2, 0) : start]) == ["made", "of"]:
        start -= 2
        if start > 1 and words[start - 1] == "and" and words[start - 2] in ATTRIBUTES:  # "that is red and made of wood"
            start = _row(words, start - 1)
    elif not _is_said_of(words, start, at):
        return frozenset()
    for small in (_BE, _RELATIVES):
        if start > 0 and words[start - 1] in small:
            start -= 1
    run: set[str] = set()
    while start > 0 and _of_noun(words, start - 1):
        start -= 1
        run.add(_stem(words[start]))
    return frozenset(run)


def _row(words: Sequence[str], at: int) -> int:
    """Where the row of attributes begins that ends at `at`: "red, white and blue"."""
    while at > 0 and (words[at - 1] in ATTRIBUTES or words[at - 1] in _JOINTS):
        at -= 1
    return at


def _is_said_of(words: Sequence[str], start: int, at: int) -> bool:
    """Whether a row of attributes from `start` to `at` stands behind "is" and before nothing that it may belong to."""
    if start < 1 or words[start - 1] not in _BE:
        return False
    behind = words[at + 1] if at + 1 < len(words) else "."
    relative = start >= 2 and words[start - 2] in _RELATIVES
    return _ends(behind) or (relative and behind.endswith(("ing", "ed")))


def _ends(word: str) -> bool:
    """Whether nothing of the phrase stands behind an attribute that is said afterwards."""
    return word in _ENDS or not word[0].isalpha() or word in ATTRIBUTES


def _of_noun(words: Sequence[str], at: int) -> bool:
    """Whether a word belongs to the noun phrase that ends behind it."""
    word = words[at]
    if word == "of":
        return at > 0 and _stem(words[at - 1]) in _MEASURES
    return word not in _ENDS and word[0].isalpha() and word not in ATTRIBUTES


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
