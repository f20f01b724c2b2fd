"""Where one part of a prompt ends: what a comma parts, what it only seems to part, and whether the order of the parts counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from cache_service.verification import tables
from cache_service.verification.scan import Token
from cache_service.verification.words import Surface

Spoken: TypeAlias = list[list[Surface]]  # segments

_PLACE_NAMES = tables.PLACES | frozenset(tables.GRAMMAR)
_OF_ONE = frozenset(("a", "an", "the", "one"))
_LENGTHS = tables.words("mm cm m km k d p fps kg")
_LONG_TAG = 4  # words: "blue eyes" is said of somebody, "long rows of old houses" of nobody
# Last words of what has a colour or a size and is said of all: "golden hour", "white background", "long exposure".
_OVERALL = tables.OF_THE_PICTURE | tables.words(
    "hour exposure contrast sky shadow detail quality saturation poly sunset age era"
)
_FAR = frozenset(("background", "foreground", "distance"))
_LONGEST_NAME = 4  # words: "old oak dining table"
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


def is_thing(segment: Sequence[Surface], *, owned: bool = False) -> bool:
    """Whether a segment begins like a thing of its own: "a dog", "two cats"; not "a wide shot". owned: "my dog" too."""
    if len(segment) < 2:
        return False
    first, second = segment[0].word, segment[1].word
    begins = first in _OF_ONE or (
        first[0] == "#" and first[1:].isdigit() and second[0].isalpha() and second not in _LENGTHS
    )
    return (begins or (owned and first in _OWNED)) and not _of_the_picture(segment)


def is_named(segment: Sequence[Surface]) -> bool:
    """Whether a short segment is a being or an object, by its last word: "dwarf", "old oak table"; "oak table style" is none."""
    if segment[-1].base not in tables.THINGS or len(segment) > _LONGEST_NAME:
        return False
    return not any(said.word in tables.RELATIONS for said in segment)


def _of_the_picture(segment: Sequence[Surface]) -> bool:
    """Whether a segment says how the picture is made, or what is far behind all else: "an oil painting by Rembrandt", "a sea in the background"."""
    at = next((at for at, said in enumerate(segment) if said.word in tables.RELATIONS), len(segment))
    behind = segment[at].word if at < len(segment) else ""
    made = at > 0 and segment[at - 1].base in tables.OF_THE_PICTURE and behind not in ("of", "with")
    return made or (segment[-1].word in _FAR and behind == "in")


def dependents_attached(
    segments: list[list[str]], heads: Sequence[bool], alone: Sequence[bool], *, several: bool
) -> list[list[str]]:
    """A segment that only describes belongs to the thing before it, where there are several things it could belong to.

    "A cat, black, a dog, white" is not "a cat, white, a dog, black"; in a list of tags about one thing "with a hat" or "white" may
    stand anywhere. heads: which segments are things; alone: which of them surely are, whatever else they look like ("a black dog").
    """
    if not several and sum(heads) < 2:
        return segments
    done: list[list[str]] = []
    said: dict[int, list[str]] = {}
    owner: int | None = None
    for segment, is_head, is_alone in zip(segments, heads, alone, strict=True):
        if segment and done and done[-1] and not is_alone and _describes(segment[0], several):
            said.setdefault(len(done) - 1 if owner is None else owner, []).append(" ".join(segment))
            continue
        done.append(list(segment))
        if is_head and segment:
            owner = len(done) - 1
    for at, descriptions in said.items():
        done[at][-1] = ",".join((done[at][-1], *sorted(descriptions)))
    return done


def _describes(part: str, several: bool) -> bool:
    words = part.split(" ")
    if _BINDING.issuperset(words):
        return True
    return several and (
        (len(words) < _LONG_TAG and words[0] in _BINDING and words[-1] not in _OVERALL)
        or words[0] in ("wear", "hold")
        or (part.startswith("|") and not part.startswith(("|@by", "|@style", "|@at", "|@in|")))
    )


def name_a_place(spoken: Spoken, words: Sequence[str]) -> bool:
    """Whether a part says where another is: "top: a cat, bottom: a dog". words: all of the segments."""
    return not tables.PLACES.isdisjoint(words) and any(map(_is_place, spoken))


def _is_place(segment: list[Surface]) -> bool:
    words = [said.word for said in segment]
    return not tables.PLACES.isdisjoint(words) and _PLACE_NAMES.issuperset(words)
