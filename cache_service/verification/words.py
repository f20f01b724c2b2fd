"""Tokens as canonical words: one spelling, one form, one word for the same thing. English only; see `reads_as_english`.

A canonical word is a string whose first character says what it is: `@` a relation ("@on"), `&` a conjunction, `~` grammar that may
be dropped ("~a", "~be", "~that"), `#` a number, `=` something compared byte for byte, else a content word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from cache_service.verification import tables
from cache_service.verification.scan import Token
from cache_service.verification.synonyms import CANONICAL

_OPENINGS = tuple((re.compile(pattern), tuple(words.split())) for pattern, words in tables.OPENINGS)
_OPENING_WORDS = 12
_UNITS = frozenset(tables.MEASURES) | frozenset(
    ("km", "kg", "cm", "mm", "m", "g", "oz", "am", "pm", "lb", "mph", "inr", "usd", "eur")
)
_MIXED = re.compile(r"(\d+(?:[.,]\d+)*)([a-z]+)")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_CONTRACTION = re.compile(r"(?:n't|'(?:s|re|m|ve|ll|d|t))$")
_NO_NOUNS = tables.ATTRIBUTES | tables.MEDIA | frozenset(("movie", "color", "start", "quick", "quickly"))
_VOWELS = "aeiouy"
_LEAST_THOUSANDS = 20
_LONG_WORD = 30  # letters; longer ones aren't remembered
# A verb's trunk with these ends lost an e: captur(e), settl(e), provid(e).
_SILENT_E = tuple(
    tables.words(
        "bl tl pl gl dl zl kl fl tur sur gur jur par clar quir spir mir plor stor gnor amin agin bin rmin vid cid sid guid lud lcom ecom elet plet mpet"
    )
)
_NEVER_SILENT_E = "wxylh" + _VOWELS


def reads_as_english(words: Sequence[str]) -> bool:
    """Whether the rules of English may be used on these lower-case words: unless marks of another language prevail."""
    foreign = sum(word in tables.FOREIGN_MARKS for word in words)
    english = sum(word in tables.ENGLISH_MARKS for word in words)
    if foreign == 0 and english == 0:
        return all(word.isascii() for word in words)
    return english >= foreign


def surfaces(tokens: Sequence[Token]) -> list[tuple[str, bool]]:
    """The words of one segment as written, lower-case, contractions and hyphens opened, each with "this is a name's case".

    Numbers come as `#digits`, verbatim tokens as `=text`.
    """
    found: list[tuple[str, bool]] = []
    for kind, text in tokens:
        if kind == "word":
            name = text[:1].isupper() and text not in ("I", "A")
            said = "usa" if text == "US" else text.lower()
            found.extend((part, name) for part in _opened(said) if part)
            if (
                text in ("k", "K", "d", "D") and len(found) > 1 and found[-2][0][:1] == "#"
            ):  # "8 k", as crawled prompts have it
                found[-2:] = [(f"{found[-2][0]}{text.lower()}", False)]
        elif kind == "number":
            found.append((f"#{_plain_number(text)}", False))
        else:
            found.append((f"={text}", False))
    return _number_words(found)


def canonical(words: Sequence[tuple[str, bool]], *, keep_names: bool, apart: frozenset[str] = frozenset()) -> list[str]:
    """One segment's surfaces as canonical words. keep_names: capitals mean something here, so names keep their form.

    apart: words that the prompt has in two forms ("a person watching people", "a couch behind a sofa"): they stay as written.
    """
    done: list[str] = []
    at = _open_request(words, done)
    while at < len(words):
        word, name = words[at]
        phrase = _phrase(words, at)
        if phrase is not None:
            length, replacement = phrase
            done.extend(replacement)
            at += length
            continue
        if word == "am" and done and done[-1][0] == "#":  # the hour, not the verb
            done.append("ante-meridiem")
        elif word in apart or (word in tables.DO and at == len(words) - 1):  # "what does it do"
            done.append(word)
        else:
            done.append(_word(word, name=name and keep_names and at > 0, after=done[-1] if done else "~"))
        at += 1
    return done


def in_two_forms(words: Sequence[str]) -> frozenset[str]:
    """Nouns that the prompt has as singular and plural, and words that have a synonym beside them."""
    by_meaning: dict[str, set[str]] = {}
    for word in words:
        if word[0].isalpha() and word not in tables.RELATIONS:
            spelled = tables.SPELLINGS.get(word, word)
            form = stem(spelled)
            meaning = CANONICAL.get(form, form)
            if not word.endswith(("ing", "ed")) and meaning not in _NO_NOUNS:
                by_meaning.setdefault(meaning, set()).add(spelled)
    return frozenset(word for forms in by_meaning.values() if len(forms) > 1 for word in forms)


def stem(word: str) -> str:
    """The base form of a lower-case English word, as far as suffixes and a table of exceptions tell."""
    return _stem(word) if len(word) <= _LONG_WORD else _base(word)


def _base(word: str) -> str:
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


_stem = lru_cache(maxsize=8192)(_base)  # a prompt's words are asked for three times, and people use few


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


def _number_words(words: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Numbers said in words: "twenty five" → #25, "two hundred" → #200, "third" → #3rd, "5pm" → #5 pm; "one" and "a" stay words."""
    done: list[tuple[str, bool]] = []
    total = part = 0
    running = ""
    for word, name in words:
        if word in tables.TENS and not running:
            total, part, running = 0, int(tables.TENS[word]), "tens"
        elif word in tables.UNITS_OF_TEN and running in ("", "power"):
            part, running = part + int(tables.UNITS_OF_TEN[word]), "unit"
        elif running == "tens" and (
            word == "one" or (word in tables.UNITS_OF_TEN and int(tables.UNITS_OF_TEN[word]) in range(1, 10))
        ):
            part, running = part + (1 if word == "one" else int(tables.UNITS_OF_TEN[word])), "unit"
        elif word in tables.POWERS and (running or (done and done[-1][0] in ("one", "a", "#1"))):
            if not running:
                done.pop()
                part = 1
            power = int(tables.POWERS[word])
            total, part, running = (total + part) * power, 0, "power"
        else:
            if running:
                done.append((f"#{total + part}", False))
                total, part, running = 0, 0, ""
            if word in tables.TENS or word in tables.UNITS_OF_TEN:
                part, running = (
                    int(tables.TENS.get(word) or tables.UNITS_OF_TEN[word]),
                    "tens" if word in tables.TENS else "unit",
                )
                continue
            done.extend((piece, name) for piece in _mixed(word))
    if running:
        done.append((f"#{total + part}", False))
    return done


def _mixed(word: str) -> tuple[str, ...]:
    if word in tables.ORDINALS:
        return (f"#{tables.ORDINALS[word]}",)
    if word.isalpha():
        return (word,)
    match = _MIXED.fullmatch(word)
    if match is None:
        return (word,) if not any(letter.isdigit() for letter in word) or word[:1] in "#=" else (f"#{word}",)
    number, unit = match.groups()
    if unit == "k" and "." not in number and "," not in number and int(number) >= _LEAST_THOUSANDS:
        return (f"#{number}000",)  # 30k; 4k, 8k and 16k are qualities of a picture
    if unit in ("st", "nd", "rd", "th") or unit not in _UNITS:
        return (f"#{word}",)
    return (f"#{number}", unit)


def _open_request(words: Sequence[tuple[str, bool]], done: list[str]) -> int:
    """Drops how the request is opened ("can you tell me", "what is the best way to"); gives where the rest begins."""
    at = 0
    while at < len(words):
        head = " ".join(word for word, _ in words[at : at + _OPENING_WORDS])
        for pattern, replacement in _OPENINGS:
            match = pattern.match(head)
            if match is not None:
                at += len(match.group().split())
                done.extend(replacement)
                break
        else:
            return at
        if replacement:
            return at
    return at


def _phrase(words: Sequence[tuple[str, bool]], at: int) -> tuple[int, tuple[str, ...]] | None:
    for parts, replacement in tables.PHRASE_STARTS.get(words[at][0], ()):
        if len(words) - at >= len(parts) and all(words[at + i][0] == part for i, part in enumerate(parts)):
            return len(parts), replacement
    return None


def _word(word: str, *, name: bool, after: str) -> str:
    if word[:1] in "#=":
        return word
    if word in tables.RELATIVES and after[0] not in "~@&":
        return "~that"
    word = tables.SPELLINGS.get(word, word)
    if word in tables.GRAMMAR and not (name and word in tables.MEASURES):
        return tables.GRAMMAR[word]
    if not name:
        word = stem(word)
    return CANONICAL.get(word, word)
