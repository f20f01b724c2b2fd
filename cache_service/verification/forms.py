"""In which forms a prompt has its words: one dog or dogs, eating or eaten, is or was. `words.stem` forgets it, some rules need it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cache_service.verification import tables
from cache_service.verification.words import Surface

_TENSES = tables.PAST | tables.FUTURE
_DETERMINERS = tables.ARTICLES | tables.POSSESSIVES
_EXPLICIT = frozenset(("one", "#1"))
_OF_ONE = _EXPLICIT | {"~a", "~their"}


def forms_of(segment: Sequence[Surface], turned: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Canonical words and their form as a letter: s as in the dictionary, p with s, g with ing, d participle after "be", v else.

    turned: verbs whose passive was made active; they are left out.
    """
    after_be, before = False, ""
    for said in segment:
        after_be = after_be or said.word in tables.BE
        if said.is_content and said.meaning not in turned:
            is_participle = after_be and before not in _DETERMINERS  # unlike "a deleted file"
            yield said.meaning, "s" if said.spelled == said.base else _form(said, after_be=is_participle)
        before = said.word


def ones_of(said: Sequence[str]) -> list[str]:
    """What there is one of, by an article, a number or "her": "a small dog" → dog; not "a cup of" (but "one row of"), nor what stands behind a relation.

    said: one segment's canonical words.
    """
    found: list[str] = []
    if _OF_ONE.isdisjoint(said):
        return found
    for at, word in enumerate(said):
        if word in _OF_ONE and (at == 0 or said[at - 1][0] != "@"):
            end = at + 1
            while end < len(said) and said[end] in tables.ATTRIBUTES:
                end += 1
            after = said[end + 1] if end + 1 < len(said) else "~"
            stands_alone = not after[0].isalpha() and (after != "@of" or word in _EXPLICIT)
            if end < len(said) and said[end][0].isalpha() and stands_alone:
                found.append(said[end])
    return found


def tense_of(words: Sequence[str]) -> list[str]:
    """One "past" for each was, were, did, had, one "future" for each will."""
    return ["past" if word in tables.PAST else "future" for word in words if word in _TENSES]


def genders_of(words: Sequence[str]) -> list[str]:
    """Each his, her, their and its, which are dropped elsewhere."""
    return ["his" if word == "him" else word for word in words if word in tables.POSSESSIVES or word == "him"]


def _form(said: Surface, *, after_be: bool) -> str:
    word = said.spelled
    if word in tables.PLURALS or (word.endswith("s") and word not in tables.IRREGULAR):
        return "p"
    if word.endswith("ing") or word == "asleep":
        return "g"
    return "d" if after_be and said.base not in tables.RESTING else "v"
