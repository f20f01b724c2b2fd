"""Where one part of a prompt ends: what a comma parts, what it only seems to part, and whether the order of the parts counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from cache_service.verification import tables
from cache_service.verification.scan import Token
from cache_service.verification.words import Surface

Spoken: TypeAlias = list[list[Surface]]  # segments

_PLACE_NAMES = tables.PLACES | frozenset(tables.GRAMMAR)
_OWNED = tables.POSSESSIVES | tables.words("my our your some several")
# Alone between commas these say what the thing before is like.
_BINDING = tables.COLOURS | tables.SIZES


def segments_of(tokens: Sequence[Token]) -> tuple[list[list[Token]], list[str]]:
    """The tokens between commas, points and line ends; and for each segment the marks that end it, as many as stand there."""
    segments: list[list[Token]] = []
    ends: list[str] = []
    opens = True
    for at, token in enumerate(tokens):
        if token.kind != "break":
            if opens:
                segments.append([])
                ends.append("")
            segments[-1].append(token)
            opens = False
        elif not _joins(tokens, at):
            if ends:
                ends[-1] += token.text
            opens = True
    return segments, ends


def _joins(tokens: Sequence[Token], at: int) -> bool:
    """The comma of "May 30, 2020" and the point of "Dr. Smith" part nothing."""
    if not 0 < at < len(tokens) - 1:
        return False
    before, after = tokens[at - 1], tokens[at + 1]
    if tokens[at].text == ",":
        return before.kind == after.kind == "number" and len(before.text) <= 2 and len(after.text) == 4
    return tokens[at].text == "." and before.kind == "word" and before.lower in tables.ABBREVIATIONS


def joined(spoken: Spoken) -> Spoken:
    """Puts together what a comma only seems to part.

    "A door, which is large" → a door which is large; "as of 2019, who won the cup" → who won the cup as of 2019.
    """
    done: Spoken = []
    for segment in spoken:
        if (
            done
            and done[-1][0].word not in tables.RELATIONS
            and segment[0].word in tables.RELATIVES
            and len(segment) > 1
            and segment[1].word in tables.BE
        ):
            done[-1] = done[-1] + segment
        else:
            done.append(segment)
    if len(done) != 2:
        return done
    first, second = done
    if first[0].word in tables.RELATIONS and second[0].word not in tables.RELATIONS and len(first) <= 8:
        return [second + first]
    if second[0].word in tables.RELATIONS and first[0].word not in tables.RELATIONS and len(second) <= 8:
        return [first + second]
    return done


def are_several(spoken: Spoken) -> bool:
    """Whether more than one segment begins like a thing of its own: "a dog", "two cats"."""
    return len(spoken) > 1 and sum(map(is_thing, spoken)) > 1


def dependents_attached(segments: list[list[str]], *, several: bool) -> list[list[str]]:
    """A segment that only describes belongs to the one before it, where there are several things it could belong to.

    "A cat, black, a dog, white" is not "a cat, white, a dog, black"; in a list of tags about one thing "with a hat" may stand anywhere.
    """
    done: list[list[str]] = []
    for segment in segments:
        if segment and done and done[-1] and _describes(segment[0], several):
            done[-1] = [*done[-1][:-1], f"{done[-1][-1]},{' '.join(segment)}"]
        else:
            done.append(list(segment))
    return done


def is_thing(segment: Sequence[Surface], *, owned: bool = False) -> bool:
    """Whether a segment begins like a thing of its own: "a dog", "two cats". owned: "my dog" too."""
    if len(segment) < 2:
        return False
    first, second = segment[0].word, segment[1].word
    if owned and first in _OWNED:
        return True
    return first in ("a", "an", "the", "one") or (first[0] == "#" and first[1:].isdigit() and second[0].isalpha())


def _describes(part: str, several: bool) -> bool:
    words = part.split(" ")
    if _BINDING.issuperset(words):
        return True
    return several and (
        (len(words) < 4 and not _BINDING.isdisjoint(words))
        or words[0] in ("wear", "hold")
        or (part.startswith("|") and not part.startswith(("|@by", "|@style", "|@at", "|@in|")))
    )


def name_a_place(spoken: Spoken, words: Sequence[str]) -> bool:
    """Whether a part says where another is: "top: a cat, bottom: a dog". words: all of the segments."""
    return not tables.PLACES.isdisjoint(words) and any(map(_is_place, spoken))


def _is_place(segment: list[Surface]) -> bool:
    words = [said.word for said in segment]
    return not tables.PLACES.isdisjoint(words) and _PLACE_NAMES.issuperset(words)
