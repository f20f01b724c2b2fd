"""How a prompt is normalised before it becomes part of a key: numbered steps, each of which never changes what is asked for.

1. NFC: one code point sequence for what looks and means the same (Unicode Standard Annex #15).
2. White space: runs become one space, ends are cut; not inside quotes, where it may be part of what a picture shows.
   Chat messages keep theirs: it may be code.
Case stays: "NASA" and "nasa", or quoted text in a picture, are different requests.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator

# Opening mark → the pattern that closes it. Straight single quotes count only at a word's edge, so that "don't … can't" is no
# quotation. A mark that never closes is no quote (an apostrophe, inches).
_CLOSING = {
    '"': re.compile('"'),
    "“": re.compile("”"),
    "„": re.compile("[“”]"),
    "«": re.compile("»"),
    "»": re.compile("«"),
    "‘": re.compile(r"’(?!\w)"),
    "'": re.compile(r"'(?!\w)"),
    "`": re.compile("`"),
    "「": re.compile("」"),
    "『": re.compile("』"),
}
_OPENING = re.compile(r"""["“„«»‘`「『]|(?<!\w)'""")
_SPACE = re.compile(r"\s+")


def normalise(prompt: str, *, verbatim: bool) -> str:
    """The prompt as it enters the key; idempotent, linear in its length. verbatim: keep white space (chat)."""
    composed = unicodedata.normalize("NFC", prompt)
    if verbatim:
        return composed
    return "".join(text if quoted else _SPACE.sub(" ", text) for quoted, text in _parts(composed.strip())).strip()


def prompt_digest(prompt: str) -> str:
    """SHA-256 (hex) of the prompt without regard to white space, so that a purge by prompt finds it in every operation."""
    return hashlib.sha256(normalise(prompt, verbatim=False).encode()).hexdigest()


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """The text in order, cut into (is it quoted, with its marks?, part). Each kind of mark is searched in vain only once."""
    start = position = 0
    never_closes: set[str] = set()
    while opening := _OPENING.search(text, position):
        mark = opening.group()
        closing = None if mark in never_closes else _CLOSING[mark].search(text, opening.end())
        if closing is None:
            never_closes.add(mark)
            position = opening.end()
            continue
        yield False, text[start : opening.start()]
        yield True, text[opening.start() : closing.end()]
        start = position = closing.end()
    yield False, text[start:]
