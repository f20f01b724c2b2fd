"""In which forms a prompt has its words: one dog or dogs, eating or eaten, is or was. `words.stem` forgets it, some rules need it."""

from __future__ import annotations

from collections.abc import Sequence

from cache_service.verification import tables
from cache_service.verification.synonyms import CANONICAL
from cache_service.verification.words import stem

_TENSES = tables.PAST | tables.FUTURE


def forms_of(words: Sequence[str], turned: frozenset[str]) -> dict[str, str]:
    """Canonical word → its forms as letters: s as in the dictionary, p with s, g with ing, d participle after "be", v else.

    words: one segment's surfaces. turned: verbs whose passive was made active; they are left out.
    """
    found: dict[str, str] = {}
    after_be = False
    for at, word in enumerate(words):
        after_be = after_be or word in tables.BE
        described = at > 0 and (
            words[at - 1] in tables.ARTICLES or words[at - 1] in tables.POSSESSIVES
        )  # "a deleted file"
        if not word[0].isalpha() or word in tables.GRAMMAR:
            continue
        spelled = tables.SPELLINGS.get(word, word)
        base = stem(spelled)
        meaning = CANONICAL.get(base, base)
        if meaning in turned:
            continue
        form = _form(spelled, base, after_be=after_be and not described)
        if form not in found.get(meaning, ""):
            found[meaning] = found.get(meaning, "") + form
    return found


def ones_of(said: Sequence[str]) -> list[str]:
    """What there is one of, by an article, a number or "her": "a small dog" → dog; not "a cup of", nor what stands behind a relation.

    said: one segment's canonical words.
    """
    found = []
    for at, word in enumerate(said):
        if word in ("~a", "~their", "one", "#1") and (at == 0 or said[at - 1][0] != "@"):
            end = at + 1
            while end < len(said) and said[end] in tables.ATTRIBUTES:
                end += 1
            after = said[end + 1] if end + 1 < len(said) else "~"
            if end < len(said) and said[end][0].isalpha() and not after[0].isalpha() and after != "@of":
                found.append(said[end])
    return found


def tense_of(words: Sequence[str]) -> list[str]:
    """One "past" for each was, were, did, had, one "future" for each will."""
    return ["past" if word in tables.PAST else "future" for word in words if word in _TENSES]


def genders_of(words: Sequence[str]) -> list[str]:
    """Each his, her, their and its, which are dropped elsewhere."""
    return ["his" if word == "him" else word for word in words if word in tables.POSSESSIVES or word == "him"]


def _form(word: str, base: str, *, after_be: bool) -> str:
    if word == base:
        return "s"
    if word in tables.PLURALS or (word.endswith("s") and word not in tables.IRREGULAR):
        return "p"
    if word.endswith("ing") or word == "asleep":
        return "g"
    return "d" if after_be and base not in tables.RESTING else "v"
