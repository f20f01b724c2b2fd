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

# A quoted part, or a run of white space. A quote mark that never closes is no quote (an apostrophe, inches).
# Single straight quotes count only around a word boundary, so that "don't … can't" isn't taken for a quotation.
_QUOTED_OR_SPACE = re.compile(
    r"""
    (?P<quoted>
        "[^"]*" | “[^”]*” | „[^“”]*[“”] | «[^»]*» | »[^«]*« | ‘[^’]*’(?!\w) | (?<!\w)'[^']*'(?!\w) | `[^`]*`
        | 「[^」]*」 | 『[^』]*』
    )
    | (?P<space>\s+)
    """,
    re.VERBOSE,
)


def normalise(prompt: str, *, verbatim: bool) -> str:
    """The prompt as it enters the key; idempotent. verbatim: keep white space (chat)."""
    composed = unicodedata.normalize("NFC", prompt)
    if verbatim:
        return composed
    return _QUOTED_OR_SPACE.sub(lambda match: match["quoted"] or " ", composed).strip()


def prompt_digest(prompt: str) -> str:
    """SHA-256 (hex) of the prompt without regard to white space, so that a purge by prompt finds it in every operation."""
    return hashlib.sha256(normalise(prompt, verbatim=False).encode()).hexdigest()
