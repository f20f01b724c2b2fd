"""Where one part of a prompt ends: what a comma parts, what it only seems to part, and whether the order of the parts counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from cache_service.verification import tables
from cache_service.verification.scan import Token

# Segments of surfaces: (word, whether it has a name's case), as `words.surfaces` gives them.
Spoken: TypeAlias = list[list[tuple[str, bool]]]

# Alone between commas these say what the thing before is like.
_BINDING = tables.COLOURS | tables.SIZES


def segments_of(tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens between commas, points and line ends."""
    segments: list[list[Token]] = [[]]
    for at, token in enumerate(tokens):
        if token.kind == "break":
            if not _joins(tokens, at):
                segments.append([])
        else:
            segments[-1].append(token)
    return [segment for segment in segments if segment]


def _joins(tokens: Sequence[Token], at: int) -> bool:
    """The comma of "May 30, 2020" and the point of "Dr. Smith" part nothing."""
    if not 0 < at < len(tokens) - 1:
        return False
    before, after = tokens[at - 1], tokens[at + 1]
    if tokens[at].text == ",":
        return before.kind == after.kind == "number" and len(before.text) <= 2 and len(after.text) == 4
    return tokens[at].text == "." and before.kind == "word" and before.text.lower() in tables.ABBREVIATIONS


def joined(spoken: Spoken) -> Spoken:
    """Puts together what a comma only seems to part.

    "A door, which is large" → a door which is large; "as of 2019, who won the cup" → who won the cup as of 2019.
    """
    done: Spoken = []
    for segment in spoken:
        if (
            done
            and done[-1][0][0] not in tables.RELATIONS
            and segment[0][0] in tables.RELATIVES
            and len(segment) > 1
            and segment[1][0] in tables.BE
        ):
            done[-1] = done[-1] + segment
        else:
            done.append(segment)
    if len(done) != 2:
        return done
    first, second = done
    if first[0][0] in tables.RELATIONS and second[0][0] not in tables.RELATIONS and len(first) <= 8:
        return [second + first]
    if second[0][0] in tables.RELATIONS and first[0][0] not in tables.RELATIONS and len(second) <= 8:
        return [first + second]
    return done


def dependents_attached(segments: list[list[str]], spoken: Spoken) -> list[list[str]]:
    """A segment that only describes belongs to the one before it, where there are several it could belong to.

    "A cat, black, a dog, white" is not "a cat, white, a dog, black"; in a list of tags about one thing "with a hat" may stand anywhere.
    """
    several = sum(map(_is_thing, spoken)) > 1
    done: list[list[str]] = []
    for segment in segments:
        if segment and done and done[-1] and _describes(segment[0], several):
            done[-1] = [*done[-1][:-1], f"{done[-1][-1]},{' '.join(segment)}"]
        else:
            done.append(list(segment))
    return done


def _is_thing(segment: list[tuple[str, bool]]) -> bool:
    """Begins like a thing of its own: "a dog", "two cats"."""
    words = [word for word, _ in segment[:2]]
    if len(words) < 2:
        return False
    return words[0] in ("a", "an", "the", "one") or (
        words[0][0] == "#" and words[0][1:].isdigit() and words[1][0].isalpha()
    )


def _describes(part: str, several: bool) -> bool:
    words = part.split(" ")
    if all(word in _BINDING for word in words):
        return True
    return several and (
        (len(words) < 4 and not _BINDING.isdisjoint(words))
        or words[0] in ("wear", "hold")
        or (part.startswith("|") and not part.startswith(("|@by", "|@style", "|@at", "|@in|")))
    )


def order_counts(spoken: Spoken) -> bool:
    """Whether the parts are tied together: "then", "it", a place that a part is named for ("top: a cat, bottom: a dog")."""
    words = {word for segment in spoken for word, _ in segment}
    if words & (tables.ORDER_WORDS | tables.PRONOUNS):
        return True
    return any(_is_place([word for word, _ in segment]) for segment in spoken)


def bound(spoken: Spoken) -> bool:
    """Whether the parts tell of several things one after the other, so that moving a part gives it to another thing."""
    words = {word for segment in spoken for word, _ in segment}
    return (
        sum(map(_is_thing, spoken)) > 1
        or not tables.SEQUENCE.isdisjoint(words)
        or any(_is_place([word for word, _ in segment]) for segment in spoken)
    )


def _is_place(words: list[str]) -> bool:
    return not tables.PLACES.isdisjoint(words) and all(
        word in tables.PLACES or word in tables.GRAMMAR for word in words
    )
