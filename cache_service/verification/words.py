"""Tokens as canonical words: one spelling, one form, one word for the same thing. English only; see `reads_as_english`.

A canonical word is a string whose first character says what it is: `@` a relation ("@on"), `&` a conjunction, `~` grammar that may
be dropped ("~a", "~be", "~that"), `#` a number, `=` something compared byte for byte, else a content word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from cache_service.verification import tables
from cache_service.verification.remembered import remembered
from cache_service.verification.scan import Token
from cache_service.verification.synonyms import CANONICAL

_OPENING = re.compile("|".join(f"({pattern})" for pattern, _ in tables.OPENINGS))
_OPENED_AS = tuple(tuple(words.split()) for _, words in tables.OPENINGS)
_OPENING_WORDS = 12
_NUMBER_WORDS = frozenset((*tables.TENS, *tables.UNITS_OF_TEN, *tables.POWERS))
_UNITS = frozenset(tables.MEASURES) | frozenset(
    ("km", "kg", "cm", "mm", "m", "g", "oz", "am", "pm", "lb", "mph", "inr", "usd", "eur")
)
_MIXED = re.compile(r"(\d+(?:[.,]\d+)*)([a-z]+)")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_CONTRACTION = re.compile(r"(?:n't|'(?:s|re|m|ve|ll|d|t))$")
_NO_NOUNS = tables.ATTRIBUTES | tables.MEDIA | frozenset(("movie", "color", "start", "quick", "quickly"))
_DAY = 3  # characters of "#31"
_LONGEST_OWNER = 4  # words: "the old king's horse"
_ORDERS = tables.IMPERATIVES | tables.words(
    "summarize summarise write explain list give translate describe tell compare analyze review"
)
_TAKING = frozenset(("wear", "hold", "carry", "ride"))
_NO_OWNERS = (
    tables.QUESTION_WORDS
    | tables.PRONOUNS
    | frozenset(("that", "this", "there", "here", "let", "one", "everything", "nothing"))
)
_SAID_OF = frozenset(
    (
        "asleep",
        "awake",
        "alone",
        "alive",
        "dead",
        "wrong",
        "new",
        "up",
        "next",
        "better",
        "worse",
        "happening",
        "ok",
        "like",
    )
)
_NO_NAMES = frozenset(("I", "A", "OK"))
_VOWELS = "aeiouy"
_LEAST_THOUSANDS = 20
_FEW_MARKS = 8  # words for each mark of another language: no text in one has so few
# A verb's trunk with these ends lost an e: captur(e), settl(e), provid(e).
_SILENT_E = tuple(
    tables.words(
        "bl tl pl gl dl zl kl fl tur sur gur jur par clar quir spir mir plor stor gnor amin agin bin rmin vid cid sid guid lud lcom ecom elet plet mpet"
    )
)
_NEVER_SILENT_E = "wxylh" + _VOWELS


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A word as written, lower-case, and what the tables say of it wherever it stands.

    name: it has a name's case. spelled: in American spelling. base: that without its ending. meaning: the synonym that stands for it.
    canonical: what becomes of it if it is no name. is_content: no grammar, no number, nothing verbatim. may_be_noun: can be singular or plural.
    """

    word: str
    name: bool
    spelled: str
    base: str
    meaning: str
    canonical: str
    is_content: bool
    may_be_noun: bool


def reads_as_english(words: Sequence[str]) -> bool:
    """Whether the rules of English may be used on these lower-case words: unless marks of another language prevail.

    One among many words without accents is a name's: "ukiyo-e", "les edwards".
    """
    foreign = sum(map(tables.FOREIGN_MARKS.__contains__, words))
    english = sum(map(tables.ENGLISH_MARKS.__contains__, words))
    if foreign <= english:
        return english > 0 or all(map(str.isascii, words))
    return foreign * _FEW_MARKS < len(words) and all(map(str.isascii, words))


def surfaces(tokens: Sequence[Token]) -> list[Surface]:
    """The words of one segment, contractions and hyphens opened. Numbers come as `#digits`, verbatim tokens as `=text`."""
    found: list[Surface] = []
    after_number = False
    for kind, text, _ in tokens:
        if kind == "word" and after_number and text in ("k", "K", "d", "D"):  # "8 k", as crawled prompts have it
            found[-1] = _common(f"{found[-1].word}{text.lower()}")
        elif kind == "word":
            found += _surfaces_of(text)
            after_number = False
        elif kind == "number":
            found.append(_common(f"#{_plain_number(text)}"))
            after_number = True
        else:
            found.append(_common(f"={text}"))
            after_number = False
    return found if _NUMBER_WORDS.isdisjoint([said.word for said in found]) else _number_words(found)


@remembered
def _surfaces_of(text: str) -> tuple[Surface, ...]:
    """What one word as written says: mostly one, two of "don't" and "10km"."""
    name = text[:1].isupper() and text not in _NO_NAMES and not text.startswith("I'")
    parts = _opened("usa" if text == "US" else text.lower())
    return tuple(_surface(piece, name=name) for part in parts if part for piece in _mixed(part))


def _surface(word: str, *, name: bool) -> Surface:
    spelled = tables.SPELLINGS.get(word, word)
    base = stem(spelled)
    meaning = CANONICAL.get(base, base)
    return Surface(
        word=word,
        name=name,
        spelled=spelled,
        base=base,
        meaning=meaning,
        canonical=word if word[0] in "#=" else tables.GRAMMAR.get(spelled, meaning),
        is_content=word[0].isalpha() and word not in tables.GRAMMAR,
        may_be_noun=word[0].isalpha()
        and word not in tables.RELATIONS
        and not word.endswith(("ing", "ed"))
        and meaning not in _NO_NOUNS,
    )


@remembered
def _common(word: str) -> Surface:
    return _surface(word, name=False)


def canonical(segment: Sequence[Surface], *, keep_names: bool, apart: Set[str]) -> list[str]:
    """One segment's surfaces as canonical words. keep_names: capitals mean something here, so names keep their form.

    apart: words that the prompt has in two forms ("a person watching people", "a couch behind a sofa"): they stay as written.
    """
    words = tuple([said.word for said in segment])
    done: list[str] = []
    at = _open_request(words, done)
    while at < len(words):
        word = words[at]
        phrase = _phrase(words, at) if word in tables.PHRASE_STARTS else None
        if phrase is not None:
            length, replacement = phrase
            done.extend(replacement)
            at += length
            continue
        if word == "am" and done and done[-1][0] == "#":  # the hour, not the verb
            done.append("ante-meridiem")
        elif word in apart or (word in tables.DO and at == len(words) - 1):  # "what does it do"
            done.append(word)
        elif word in tables.RELATIVES and done and done[-1][0] not in "~@&":
            done.append("~that")
        elif word == "'s" and at - len(done) <= (owner := _owner(segment, at)) < at:
            at = _genitive(segment, at, owner, done, keep_names=keep_names)
            continue
        elif keep_names and at > 0 and segment[at].name:
            done.append(_proper(segment[at]))
        elif word[0] == "#" and done and done[-1] in tables.MONTHS and word[1:].isdigit() and len(word) <= _DAY:
            done.insert(-1, word)  # "May 30" as "30 May"
        else:
            done.append(segment[at].canonical)
        at += 1
    return done


def _owner(segment: Sequence[Surface], at: int) -> int:
    """Where the owner begins that "'s" at `at` names: "the old king's horse"; `at` where it says "is", or it can't be told."""
    if at == 0 or segment[at - 1].word in _NO_OWNERS or _owned(segment, at) == at + 1:
        return at
    start = at
    while start > 0 and segment[start - 1].is_content and segment[start - 1].base not in _TAKING:
        start -= 1
    if start == 0 and segment[0].word in _ORDERS:
        start = 1
    return start if at - start <= _LONGEST_OWNER else at


def _owned(segment: Sequence[Surface], at: int) -> int:
    """Where ends what is owned, behind "'s": "red hat"; at its beginning if it is nothing, as in "the king's dead"."""
    end = at + 1
    while end < len(segment) and segment[end].word in tables.ATTRIBUTES:
        end += 1
    start = end
    while (
        end < len(segment)
        and segment[end].is_content
        and segment[end].may_be_noun
        and segment[end].word not in _SAID_OF
    ):
        end += 1
    return end if end > start else at + 1


def _genitive(segment: Sequence[Surface], at: int, owner: int, done: list[str], *, keep_names: bool) -> int:
    """Turns it: "Hamlet's plot" → plot of Hamlet. Gives where the rest begins."""
    of = ["@of", *done[owner - at :]]
    del done[owner - at :]
    end = _owned(segment, at)
    done += [_proper(said) if keep_names and said.name else said.canonical for said in segment[at + 1 : end]]
    if done[-2:] == ["@in", "style"]:  # "in Van Gogh's style"
        done[-2:], of[0] = [], "@style"
    done += of
    return end


def in_two_forms(said: Sequence[Surface]) -> set[str]:
    """Nouns that the prompt has as singular and plural, and words that have a synonym beside them."""
    met: dict[str, str] = {}
    apart: set[str] = set()
    for one in said:
        if one.may_be_noun and (spelled := met.setdefault(one.meaning, one.spelled)) != one.spelled:
            apart |= {spelled, one.spelled}
    return apart


@remembered
def stem(word: str) -> str:
    """The base form of a lower-case English word, as far as suffixes and a table of exceptions tell."""
    if word in tables.IRREGULAR:
        return tables.IRREGULAR[word]
    if len(word) <= 3 or word in tables.UNSTEMMED or not word.isascii():
        return word
    if word.endswith("s"):
        return _without_s(word)
    if word.endswith("ing") and len(word) > 5 and any(vowel in word[:-3] for vowel in _VOWELS):
        return _verb_base(word[:-3])
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("ed") and len(word) > 4 and any(vowel in word[:-2] for vowel in _VOWELS):
        return _verb_base(word[:-2])
    return word


def _without_s(word: str) -> str:
    if word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("shes", "ches", "xes", "sses", "zzes", "oes")):
        return word[:-2]
    return word[:-1]


def _verb_base(trunk: str) -> str:
    """Undoes what the suffix did: "runn" → run, "mak" → make, "walk" → walk."""
    if len(trunk) > 2 and trunk[-1] == trunk[-2] and trunk[-1] not in "lsz":
        return trunk[:-1]
    if trunk[-1] in "vcuz" or (trunk[-1] in "sg" and trunk[-2] not in "sng") or trunk.endswith(_SILENT_E):
        return trunk + "e"
    vowels = sum(letter in _VOWELS for letter in trunk)
    ends_vowel_consonant = (
        len(trunk) > 2 and trunk[-1] not in _NEVER_SILENT_E and trunk[-2] in _VOWELS and trunk[-3] not in _VOWELS
    )
    if ends_vowel_consonant and (vowels == 1 or (trunk.endswith(("at", "ut")) and vowels > 1)):
        return trunk + "e"
    return trunk


def _opened(word: str) -> list[str]:
    """Contractions as words: "don't" → do, not; "dog's" → dog, 's."""
    if word in tables.RUN_TOGETHER:  # "dont", "cannot"
        return [tables.RUN_TOGETHER[word], "not"]
    ending = _CONTRACTION.search(word) if "'" in word else None
    if ending is None:
        return [word]
    head, tail = word[: ending.start()], ending.group()
    if tail in ("n't", "'t"):
        return [{"ca": "can", "wo": "will", "sha": "shall"}.get(head, head), "not"]
    return [head, {"'ll": "will", "'ve": "have", "'d": "would"}.get(tail, tail)]


def _plain_number(text: str) -> str:
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def _number_words(segment: list[Surface]) -> list[Surface]:
    """Numbers said in words: "twenty five" → #25, "two hundred" → #200; "one" and "a" stay words."""
    done: list[Surface] = []
    total = part = 0
    running = ""
    for said in segment:
        word = said.word
        if word in tables.TENS and not running:
            total, part, running = 0, int(tables.TENS[word]), "tens"
        elif word in tables.UNITS_OF_TEN and running in ("", "power"):
            part, running = part + int(tables.UNITS_OF_TEN[word]), "unit"
        elif running == "tens" and (
            word == "one" or (word in tables.UNITS_OF_TEN and int(tables.UNITS_OF_TEN[word]) in range(1, 10))
        ):
            part, running = part + (1 if word == "one" else int(tables.UNITS_OF_TEN[word])), "unit"
        elif word in tables.POWERS and (running or (done and done[-1].word in ("one", "a", "#1"))):
            if not running:
                done.pop()
                part = 1
            power = int(tables.POWERS[word])
            total, part, running = (total + part) * power, 0, "power"
        else:
            if running:
                done.append(_common(f"#{total + part}"))
                total, part, running = 0, 0, ""
            if word in tables.TENS or word in tables.UNITS_OF_TEN:
                part, running = (
                    int(tables.TENS.get(word) or tables.UNITS_OF_TEN[word]),
                    "tens" if word in tables.TENS else "unit",
                )
                continue
            done.append(said)
    if running:
        done.append(_common(f"#{total + part}"))
    return done


def _mixed(word: str) -> tuple[str, ...]:
    """Ordinals, and digits with letters: "third" → #3rd, "5pm" → #5 pm."""
    if word in tables.ORDINALS:
        return (f"#{tables.ORDINALS[word]}",)
    if word.isalpha():
        return (word,)
    match = _MIXED.fullmatch(word)
    if match is None:
        return (word,) if not any(letter.isdigit() for letter in word) else (f"#{word}",)
    number, unit = match.groups()
    if unit == "k" and "." not in number and "," not in number and int(number) >= _LEAST_THOUSANDS:
        return (f"#{number}000",)  # 30k; 4k, 8k and 16k are qualities of a picture
    if unit in ("st", "nd", "rd", "th") or unit not in _UNITS:
        return (f"#{word}",)
    return (f"#{number}", unit)


def _open_request(words: tuple[str, ...], done: list[str]) -> int:
    """Drops how the request is opened ("can you tell me", "what is the best way to"); gives where the rest begins."""
    at = 0
    while match := _OPENING.match(" ".join(words[at : at + _OPENING_WORDS])):
        at += len(match.group().split())
        if match.lastindex and (replacement := _OPENED_AS[match.lastindex - 1]):
            done.extend(replacement)
            break
    return at


def _phrase(words: tuple[str, ...], at: int) -> tuple[int, tuple[str, ...]] | None:
    for parts, replacement in tables.PHRASE_STARTS[words[at]]:
        if words[at : at + len(parts)] == parts:
            return len(parts), replacement
    return None


def _proper(said: Surface) -> str:
    """What becomes of a name: its ending stays, and what is also a measure is none here."""
    if said.word[0] == "#" or (said.spelled in tables.GRAMMAR and said.spelled not in tables.MEASURES):
        return said.canonical
    return CANONICAL.get(said.spelled, said.spelled)
