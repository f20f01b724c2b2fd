"""A prompt cut into tokens, none of its characters lost: words, numbers, marks, and what is compared byte for byte.

Linear in the text: every pattern is bounded or can't overlap with what follows it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

from cache_service.verification import tables

Kind = Literal["word", "number", "quote", "code", "link", "foreign", "symbol", "break"]


class Token(NamedTuple):
    """kind and text; a quote's text is what stands between the marks, a break's the mark itself."""

    kind: Kind
    text: str


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
_TOKEN = re.compile(
    r"(?P<code>```.*?```|`[^`\n]{1,400}`)"
    rf"|(?P<quote>{_QUOTED})"
    r"|(?P<link>(?:https?|ftp)://[^\s<>\"]{1,2000}|www\.[^\s<>\"]{1,2000}|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64})"
    r"|(?P<initials>(?<![\w.])(?:(?:[A-Za-z]\.){2,}|[A-Z]\.[A-Z])(?!\w))"
    r"|(?P<identifier>(?<!\w)(?:[A-Za-z]\w*\.(?=[a-z])\w+(?:\.\w+)*|[A-Za-z]*_\w+|[A-Za-z]\w*_\w*))"
    r"|(?P<number>(?<![\w.])[-+]?\d+(?:[.,:/\-–]\d+)*(?![^\W_]))"
    r"|(?P<word>[^\W_]+(?:'[^\W\d_]+)?)"
    r"|(?P<break>[.,;:!?…\n—–|、。，；：！？؟،¿¡])"
    r"|(?P<quiet>\s+|['\-()\[\]{}/*_~`‘’])"
    r"|(?P<symbol>[^\w\s.,;:!?…—–|、。，；：！？؟،¿¡'\-()\[\]{}/*~`‘’]+|.)",
    re.DOTALL,
)
_MONEY = {"$": "dollars", "€": "euros"}
_LATIN = re.compile(r"[a-zà-öø-ÿ\u0100-\u024f\u1e00-\u1eff0-9']+", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_SPACE_IN_CJK = re.compile(r"(?<=[\u3040-\u30ff\u3400-\u9fff]) +(?=[\u3040-\u30ff\u3400-\u9fff])")
# After these a text is spelled out even without quotation marks: "a sign that reads OPEN".
_SPELLING = tables.words("says saying spelling spells captioned labeled labelled titled")
_SPELLED_AFTER = (
    ("that", "reads"),
    ("which", "reads"),
    *(("the", noun) for noun in ("text", "words", "caption", "inscription")),
)
_NOT_SPELLED = tables.words("that it a an the his her i we you they he she to")


def clean(text: str) -> str:
    """NFC, the same text in one encoding, outer white space gone."""
    return unicodedata.normalize("NFC", text).translate(_SAME_TEXT).strip()


def collapse(text: str) -> str:
    """Runs of white space as one space; none between Chinese or Japanese characters, where it separates nothing."""
    return without_cjk_spaces(_SPACE.sub(" ", text)).strip()


def without_cjk_spaces(text: str) -> str:
    """No spaces between Chinese or Japanese characters."""
    return _SPACE_IN_CJK.sub("", text)


def scan(text: str) -> list[Token]:
    """The tokens of a cleaned text, in order; words that are to be written in a picture as one quote."""
    tokens = _scan(text)
    done: list[Token] = []
    at = 0
    while at < len(tokens):
        done.append(tokens[at])
        at += 1
        if _spells(done) and at < len(tokens) and tokens[at].kind in ("word", "number", "foreign"):
            if tokens[at].text.lower() in _NOT_SPELLED:
                continue
            end = next((i for i in range(at, len(tokens)) if tokens[i].kind == "break"), len(tokens))
            done.append(Token("quote", " ".join(token.text for token in tokens[at:end])))
            at = end
    return done


def _spells(done: list[Token]) -> bool:
    if done[-1].kind != "word":
        return False
    last = done[-1].text.lower()
    before = done[-2].text.lower() if len(done) > 1 else ""
    return last in _SPELLING or (before, last) in _SPELLED_AFTER


def _scan(text: str) -> list[Token]:
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        found = match.group()
        match match.lastgroup:
            case "quiet":
                pass
            case "word":
                kind: Kind = "word" if found.isascii() or _LATIN.fullmatch(found) else "foreign"
                tokens.append(Token(kind, found))
            case "code" | "identifier":
                tokens.append(Token("code", found))
            case "link":
                tokens.append(Token("link", found))
            case "number":
                if tokens and tokens[-1].kind == "symbol" and tokens[-1].text in _MONEY:
                    tokens[-1:] = [Token("number", found), Token("word", _MONEY[tokens[-1].text])]  # $5 is 5 dollars
                else:
                    tokens.append(Token("number", found))
            case "break":
                tokens.append(Token("break", found))
            case "symbol":
                tokens.append(_symbol(found, tokens))
            case "initials":  # U.S., a.m.
                tokens.append(Token("word", found.replace(".", "")))
            case _:  # one of the quotation styles
                inner = next(group for group in match.groups()[2:11] if group is not None)
                tokens.append(Token("quote", inner))
    return tokens


def _symbol(found: str, tokens: list[Token]) -> Token:
    if found == "&":
        return Token("word", "and")
    if found == "%" and tokens and tokens[-1].kind == "number":
        return Token("word", "percent")
    return Token("symbol", found)
