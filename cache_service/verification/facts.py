"""Everything the rules compare, taken from one prompt: plain JSON, so that it can be stored beside the vector."""

from __future__ import annotations

import hashlib
import re
from typing import TypedDict

from cache_service.embedding.base import Seen
from cache_service.verification import tables
from cache_service.verification.forms import forms_of, genders_of, ones_of, tense_of
from cache_service.verification.owners import (
    Part,
    by_article,
    by_neighbour,
    by_unit,
    described,
    labelled,
    reads_as_description,
)
from cache_service.verification.scan import Token, clean, collapse, scan, without_accents, without_cjk_spaces
from cache_service.verification.segments import (
    are_several,
    dependents_attached,
    is_named,
    is_thing,
    joined,
    name_a_place,
    segments_of,
)
from cache_service.verification.structure import Segment, bindings, structure
from cache_service.verification.words import Surface, canonical, in_two_forms, reads_as_english, surfaces

# Longer texts are compared whole: equal or unsure. The embedder reads 256 word pieces, about 1,100 characters.
LONGEST = 3_000
# Marks that can carry meaning in code and formulas; in a picture's prompt they don't.
_MARKS = re.compile(r"[()\[\]{}/*_~|\\]|-(?=\s?[\d(])|(?<!\w)\.(?=\w)")
# … unless they stand between words: "actor/actress", "(not stainless steel)".
_ASIDES = re.compile(r"(?<=[a-z])\s?/\s?(?=[a-z])|(?<!\w)\([A-Za-z][A-Za-z ',]{2,200}\)(?!\w)")
# Signs that a text is code or a formula, where each letter and its case count.
_CODE = re.compile(
    r"[{}=\\_|<>^*\[\]]|\w\(|\(\)|\d\s?[+*]\s?\d|\d[+*/][A-Za-z]\b|\d\s[-/]\s\w|\w\s[+*/]\s\w|\b\w\s-\s\w\b"
)
_MAYBE_CODE = re.compile(r"[()\[\]{}/*_~|\\=<>^+\-]|\.\w")  # every match of those three has one of these
_INDENTED = re.compile(r"^[ \t]+(?=\S)", re.MULTILINE)
# Quotes, and lines that are indented: here white space is text.
_SPACE_MATTERS = re.compile(r"[\"`“„«‹「『‘]|(?<!\w)'|\n[ \t]+\S")
_FEW = 2  # words of each segment, where all of them are short
_TYING = tables.ORDER_WORDS | frozenset(("former", "latter"))
_PRONOUNS = tables.PRONOUNS - _TYING
_DENYING = tables.NEGATIONS | {"@without"}
_LAST_MARK = re.compile(r"[?.!](?=[\s\"'”’)]*$)")


class Facts(TypedDict):
    """One prompt.

    whole: SHA-256 of the text, white space collapsed where it is none of quotes or code. long: nothing else but `unseen` and `tail` was taken.
    unseen: pieces of text the embedder has no pieces for; tail: SHA-256 of what lies after its window, "" if nothing.
    english: the rules of English apply; otherwise a segment is its lower-case words and nothing more.
    plain: all words after normalising, in order. verbatim: quotes, code and links; symbols, foreign, accented: as written.
    code: looks like code or a formula; marks: its punctuation; indents: leading white space of lines; ends: the last mark, as ?.!
    numbers, counts, colours, materials: canonical words with the word each stands before. finish: numbers in quality tags.
    cased: words whose capital decides their meaning, as written. names: capitalised words. genders: "his", "her".
    segments: per comma segment its parts; groups: each one's words, sorted, where there are several;
    labelled: see `owners.labelled`. described: see `owners.described`, in other languages `by_article`.
    by_unit: see `owners.by_unit`. beside: see `owners.by_neighbour`, in other languages. told: segments with a pronoun, in order.
    ordered: their order matters; bound: it matters what stands beside what. words: all canonical words, as said.
    forms: see `forms_of`. ones: see `ones_of`. tense: past, future.
    postures, media: what `structure` took out; turned: verbs whose passive it made active.
    """

    whole: str
    long: bool
    unseen: list[str]
    tail: str
    english: bool
    plain: str
    verbatim: list[str]
    symbols: list[str]
    foreign: list[str]
    accented: list[str]
    code: bool
    marks: str
    indents: list[str]
    ends: str
    numbers: list[str]
    finish: list[str]
    counts: list[list[str]]
    colours: list[list[str]]
    negations: list[str]
    cased: list[str]
    names: list[str]
    genders: list[str]
    segments: list[list[str]]
    groups: list[str]
    labelled: list[list[str]]
    described: list[list[str]]
    by_unit: list[list[str]]
    beside: list[list[str]]
    told: list[str]
    ordered: bool
    bound: bool
    words: list[str]
    forms: dict[str, str]
    ones: list[str]
    tense: list[str]
    postures: list[str]
    media: list[str]
    turned: list[str]


def gather(prompt: str, seen: Seen) -> Facts:
    """The facts of one prompt; linear in its length, never raises on any text."""
    text = clean(prompt)
    facts = _nothing_yet()
    space_matters = _SPACE_MATTERS.search(text) is not None
    facts["whole"] = _digest(text if space_matters else collapse(text))
    facts["unseen"] = [clean(prompt[start:end]).casefold() for start, end in seen.unknown]
    facts["tail"] = "" if seen.cut is None else _digest(collapse(clean(prompt[seen.cut :])))
    if len(text) > LONGEST:
        facts["long"] = True
        return facts
    tokens = scan(text if space_matters else without_cjk_spaces(text))
    _verbatim(text, tokens, facts)
    lower = [token.lower for token in tokens if token.kind == "word"]
    facts["english"] = not facts["foreign"] and reads_as_english(lower)
    if facts["accented"] and facts["english"]:
        tokens = [without_accents(token) for token in tokens]
    segments, ends = segments_of(tokens)
    if facts["english"]:
        _english(segments, ends, facts)
    else:
        _as_written(segments, ends, facts)
    return facts


def _as_written(segments: list[list[Token]], ends: list[str], facts: Facts) -> None:
    said = [[_as_it_is(token) for token in segment] for segment in segments]
    parts = [Part(words, end, " ".join(words)) for words, end in zip(said, ends, strict=True)]
    facts["labelled"] = labelled(parts)
    facts["described"], facts["beside"] = by_article(parts), by_neighbour(parts)
    facts["segments"] = [[part.text] for part in parts]
    facts["words"] = sorted(word for segment in said for word in segment)
    facts["plain"] = " ".join(word for segment in said for word in segment)
    facts["numbers"] = [word for word in facts["words"] if _has_digit(word)]


def _english(segments: list[list[Token]], ends: list[str], facts: Facts) -> None:
    spoken = [surfaces(segment) for segment in segments]
    everything = [each for segment in spoken for each in segment]
    written = [each.word for each in everything]
    facts["plain"] = " ".join(written)
    keep_names = _case_means_something(spoken)
    apart = in_two_forms(everything)
    postures_out = sum([each.base in tables.POSTURES for each in everything]) == 1
    if ":" not in ends and len(together := joined(spoken)) < len(spoken):
        spoken, ends = together, [","] * len(together)
    parts: list[Part] = []
    for at, segment in enumerate(spoken):
        if len(spoken) > 1 and _is_no_part(segment, facts):
            continue
        said = canonical(segment, keep_names=keep_names, apart=apart)
        built = structure(said, first=at == 0, postures_out=postures_out)
        _collect(segment, said, built, facts)
        if len(spoken) > 1:
            parts.append(_part(segment, ends[at], built))
        if keep_names:
            facts["names"] += [each.word for each in segment[1:] if each.name]
    several, place = are_several(spoken), name_a_place(spoken, written)
    tied = len(parts) > 1 and _ownership(parts, facts, several=several)
    facts["ordered"] = place or tied or not _TYING.isdisjoint(written)
    facts["bound"] = facts["bound"] or place or several or not tables.SEQUENCE.isdisjoint(written)
    facts["numbers"] = [word for word in facts["words"] if word[0] not in "@&=" and _has_digit(word)]
    facts["negations"] = sorted([word for word in facts["words"] if word in _DENYING])
    if len(facts["groups"]) < 2:
        facts["groups"] = []
    facts["tense"], facts["genders"] = tense_of(written), genders_of(written)


def _part(segment: list[Surface], end: str, built: Segment) -> Part:
    words = [each.spelled for each in segment]
    named = is_named(segment) and _PRONOUNS.isdisjoint(words) and not reads_as_description(words)
    return Part(words, end, " ".join(built.parts), is_thing(segment, owned=True), named)


def _ownership(parts: list[Part], facts: Facts, *, several: bool) -> bool:
    """What belongs to what between commas; whether a pronoun could mean more than one of the things."""
    facts["labelled"], facts["described"], facts["by_unit"] = labelled(parts), described(parts), by_unit(parts)
    facts["told"] = [part.text for part in parts if not _PRONOUNS.isdisjoint(part.words)]
    heads = [part.is_thing or part.is_named for part in parts]
    things = sum(heads)
    if not several:
        if things < 2 and any(len(part.words) > _FEW for part in parts):
            return False
        heads = [not reads_as_description(part.words) for part in parts]  # "cube, red, steel ball"
    alone = [part.is_thing and part.is_named for part in parts]
    segments = dependents_attached(facts["segments"], heads, alone, several=several)
    facts["bound"] = len(segments) < len(facts["segments"])
    facts["segments"] = segments
    return bool(facts["told"]) and things > 1


def _collect(segment: list[Surface], said: list[str], built: Segment, facts: Facts) -> None:
    """What one segment adds. said: its canonical words; built: what they belong to."""
    kept = [word for word in said if word[0] != "~"]
    facts["words"] += kept
    facts["groups"].append(" ".join(sorted(kept)))
    facts["segments"].append(built.parts)
    facts["postures"] += built.postures
    facts["media"] += built.media
    facts["turned"] += built.turned
    facts["counts"] += bindings(said, None)
    facts["colours"] += bindings(said, tables.COLOURS)
    facts["ones"] += ones_of(said)
    forms = facts["forms"]
    for word, form in forms_of(segment, built.turned):
        if form not in (met := forms.get(word, "")):
            forms[word] = "".join(sorted(met + form))


def _has_digit(word: str) -> bool:
    return not word.isalpha() and any(letter.isdigit() for letter in word)


def _verbatim(text: str, tokens: list[Token], facts: Facts) -> None:
    shouted = len(tokens) > 2 and text.upper() == text
    for at, (kind, found, lower) in enumerate(tokens):
        if kind == "word":
            if not found.isascii():
                facts["accented"] += _accented(found)
            if lower in tables.CASE_BOUND and not (lower in tables.MONTHS and _beside_a_number(tokens, at)):
                facts["cased"] += _cased(found, opens=at == 0 or tokens[at - 1].kind == "break", shouted=shouted)
        elif kind in ("quote", "code", "link"):
            facts["verbatim"].append(found)
        elif kind == "symbol":
            facts["symbols"].append(found)
        elif kind == "foreign":
            facts["foreign"].append(found.casefold())
    if _MAYBE_CODE.search(text):
        facts["code"] = _CODE.search(text) is not None
        facts["marks"] = "".join(_MARKS.findall(_ASIDES.sub(" ", text)))
    if "\n" in text:
        facts["indents"] = _INDENTED.findall(text)
    last = _LAST_MARK.search(text)
    facts["ends"] = last.group() if last else ""


def _beside_a_number(tokens: list[Token], at: int) -> bool:
    """Whether "march" is the month."""
    return any(0 <= beside < len(tokens) and tokens[beside].kind == "number" for beside in (at - 1, at + 1))


def _accented(word: str) -> list[str]:
    lower = word.replace("İ", "i").lower()
    return [] if lower.isascii() else [lower]


def _cased(word: str, *, opens: bool, shouted: bool) -> list[str]:
    """The word with its capital if that decides what it means; a capital at a sentence's beginning says nothing."""
    lower = word.lower()
    if lower in tables.ACRONYMS:
        return [word if word.isupper() and not shouted else lower]
    return [word] if lower in tables.CASE_BOUND and not shouted and (word == lower or not opens) else []


def _as_it_is(token: Token) -> str:
    if token.kind in ("word", "foreign"):
        return token.text.replace("İ", "i").casefold()
    return f"={token.text}" if token.kind == "quote" else token.text


def _case_means_something(spoken: list[list[Surface]]) -> bool:
    """False where most words are capitalised, as in a title."""
    inner = [said.name for segment in spoken for said in segment[1:] if said.word[0].isalpha()]
    return sum(inner) * 2 <= len(inner)


def _is_no_part(segment: list[Surface], facts: Facts) -> bool:
    """Whether the segment is a greeting or only says how well the picture is to be made; the numbers of that are kept."""
    words = [said.word for said in segment if said.word not in tables.VERY]
    if " ".join(words).replace("#", "") in tables.QUALITY:
        facts["finish"] += [word for word in words if word[0] == "#"]
        return True
    return tables.GREETINGS.issuperset(words) and len(words) == len(segment)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _nothing_yet() -> Facts:
    return Facts(
        whole="", long=False, unseen=[], tail="", english=False, plain="", verbatim=[], symbols=[], foreign=[], accented=[],
        code=False, marks="", indents=[], ends="", numbers=[], finish=[], counts=[], colours=[], negations=[], cased=[], names=[],
        genders=[], segments=[], groups=[], labelled=[], described=[], by_unit=[], beside=[], told=[], ordered=False, bound=False, words=[], forms={}, ones=[], tense=[], postures=[], media=[], turned=[],
    )  # fmt: skip
