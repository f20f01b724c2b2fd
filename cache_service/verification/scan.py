"""A prompt cut into tokens, none of its characters lost: words, numbers, marks, and what is compared byte for byte.

Linear in the text: every pattern is bounded or can't overlap with what follows it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

from cache_service.verification import tables
from cache_service.verification.remembered import remembered

Kind = Literal["word", "number", "quote", "code", "link", "foreign", "symbol", "break"]


class Token(NamedTuple):
    """kind and text; a quote's text is what stands between the marks, a break's the mark itself. lower: the text in small letters."""

    kind: Kind
    text: str
    lower: str


# Full-width and half-width ASCII, ligatures and odd spaces are other encodings of the same text. Superscripts, fractions, circled
# and mathematical letters are not: x² is not x2.
_SAME_TEXT = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: " ", 0xA0: " ", 0x202F: " ", 0x2007: " ", 0x2009: " ",
    0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl",
    0x2019: "'", 0x2BC: "'", 0x2010: "-", 0x2011: "-", 0x2212: "-",
}  # fmt: skip

_QUOTED = (
    r'"([^"\n]{1,400})"|“([^”\n]{1,400})”|„([^“”\n]{1,400})[“”]|«([^»\n]{1,400})»|‹([^›\n]{1,400})›'
    r"|「([^」\n]{1,400})」|『([^』\n]{1,400})』|‘([^'’\n]{1,400})[’']"
    r"|(?<![\w'])'((?:[^'\n]|(?<=\w)'(?=\w)){1,200})'(?![\w'])"
)
# The first two are most of a prompt and only save time: without them `quiet` and `word` would match the same text.
_TOKEN = re.compile(
    r"(?P<space> \s*)"
    r"|(?P<plain>[A-Za-z]+(?=[ ,\n]|\Z))"
    r"|(?P<code>```.*?```|`[^`\n]{1,400}`)"
    rf"|(?P<quote>{_QUOTED})"
    r"|(?P<link>(?:https?|ftp)://[^\s<>\"]{1,2000}|www\.[^\s<>\"]{1,2000}|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64})"
    r"|(?P<initials>(?<![\w.])(?:(?:[A-Za-z]\.){2,}|[A-Z]\.[A-Z])(?!\w))"
    r"|(?P<identifier>(?<!\w)(?:[A-Za-z]\w*\.(?=[a-z])\w+(?:\.\w+)*|[A-Za-z]*_\w+|[A-Za-z]\w*_\w*))"
    r"|(?P<number>(?<![\w.])[-+]?\d+(?:[.,:/\-–]\d+)*(?![^\W_]))"
    r"|(?P<word>[^\W_]+(?:'[^\W\d_]+)?)"
    r"|(?P<weight>:\d{1,2}(?:\.\d{1,3})?(?=\)))"
    r"|(?P<break>(?<!\S)--(?=[A-Za-z])|[.,;:!?…\n—–|、。，；：！？؟،¿¡])"
    r"|(?P<quiet>\s+|['\-()\[\]{}/*_~`‘’])"
    r"|(?P<symbol>[^\w\s.,;:!?…—–|、。，；：！？؟،¿¡'\-()\[\]{}/*~`‘’]+|.)",
    re.DOTALL,
)
_INSIDE_QUOTES = range(_TOKEN.groupindex["quote"] + 1, _TOKEN.groupindex["link"])
_LEAST_NAME = 4  # letters: "año" is no "ano"
_NO_ACCENT = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ß": "ss", "æ": "ae", "œ": "oe"}
)
_MONEY = {"$": "dollars", "€": "euros"}
_LATIN = re.compile(r"[a-zà-öø-ÿ\u0100-\u024f\u1e00-\u1eff0-9']+", re.IGNORECASE)
_SPACE_IN_CJK = re.compile(r"(?<=[\u3040-\u30ff\u3400-\u9fff]) +(?=[\u3040-\u30ff\u3400-\u9fff])")
# After these a text is spelled out even without quotation marks: "a sign that reads OPEN".
_SPELLING = tables.words("says saying spelling spells captioned labeled labelled titled")
_SPELLED_AFTER = (
    ("that", "reads"),
    ("which", "reads"),
    *(("the", noun) for noun in ("text", "words", "caption", "inscription")),
)
_MAYBE_SPELLED_AFTER = _SPELLING | {last for _, last in _SPELLED_AFTER}
_NOT_SPELLED = tables.words("that it a an the his her i we you they he she to")


def clean(text: str) -> str:
    """NFC, the same text in one encoding, outer white space gone."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_SAME_TEXT)
    return text.strip()


def collapse(text: str) -> str:
    """Runs of white space as one space; none between Chinese or Japanese characters, where it separates nothing."""
    return without_cjk_spaces(" ".join(text.split()))


def without_cjk_spaces(text: str) -> str:
    """No spaces between Chinese or Japanese characters."""
    return text if text.isascii() else _SPACE_IN_CJK.sub("", text)


def keeps_accents(word: str) -> bool:
    """Whether a lower-case word is another one without them, in English too."""
    return len(word) < _LEAST_NAME or word in tables.ACCENTED


def without_accents(token: Token) -> Token:
    """A word as those type it who have no accents on their keyboard: "cafe", "Beksinski". Not where that is another word."""
    if token.kind != "word" or token.text.isascii() or keeps_accents(token.lower):
        return token
    letters = unicodedata.normalize("NFD", token.text.translate(_NO_ACCENT))
    return _token("word", "".join(letter for letter in letters if not unicodedata.combining(letter)))


def scan(text: str) -> list[Token]:
    """The tokens of a cleaned text, in order; words that are to be written in a picture as one quote."""
    tokens = _scan(text)
    if _MAYBE_SPELLED_AFTER.isdisjoint([token.lower for token in tokens]):
        return tokens
    done: list[Token] = []
    at = 0
    while at < len(tokens):
        done.append(tokens[at])
        at += 1
        if _spells(done) and at < len(tokens) and tokens[at].kind in ("word", "number", "foreign"):
            if tokens[at].lower in _NOT_SPELLED:
                continue
            end = next((i for i in range(at, len(tokens)) if tokens[i].kind == "break"), len(tokens))
            done.append(_token("quote", " ".join(token.text for token in tokens[at:end])))
            at = end
    return done


def _spells(done: list[Token]) -> bool:
    if done[-1].kind != "word":
        return False
    last = done[-1].lower
    before = done[-2].lower if len(done) > 1 else ""
    return last in _SPELLING or (before, last) in _SPELLED_AFTER


def _scan(text: str) -> list[Token]:
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        found = match.group()
        match match.lastgroup:
            case "space" | "quiet":
                pass
            case "plain" | "word":
                tokens.append(_word(found))
            case "code" | "identifier":
                tokens.append(_token("code", found))
            case "link":
                tokens.append(_token("link", found))
            case "number":
                if tokens and tokens[-1].kind == "symbol" and tokens[-1].text in _MONEY:
                    tokens[-1:] = [_token("number", found), _word(_MONEY[tokens[-1].text])]  # $5 is 5 dollars
                else:
                    tokens.append(_token("number", found))
            case "weight":  # "(masterpiece:1.2)"
                tokens.append(_token("number", found[1:]))
            case "break":  # "--ar 16:9" is a part of its own
                tokens.append(Token("break", found, found))
            case "symbol":
                tokens.append(_symbol(found, tokens))
            case "initials":  # U.S., a.m.
                tokens.append(_word(found.replace(".", "")))
            case _:  # one of the quotation styles
                tokens.append(_token("quote", next(filter(None, match.group(*_INSIDE_QUOTES)))))
    return tokens


def _token(kind: Kind, text: str) -> Token:
    return Token(kind, text, text.lower())


@remembered
def _word(text: str) -> Token:
    """A word of Latin letters, or of others."""
    return _token("word" if text.isascii() or _LATIN.fullmatch(text) else "foreign", text)


def _symbol(found: str, tokens: list[Token]) -> Token:
    if found == "&":
        return _word("and")
    if found == "%" and tokens and tokens[-1].kind == "number":
        return _word("percent")
    return _token("symbol", found)
