"""Keeps API keys out of what clients and logs may see. Pure.

Upstreams repeat the key in their error text ("Incorrect API key provided: sk-…"), whole or shortened. Known keys are replaced
literally wherever they stand; one of fewer than 8 characters ("test", for a server that wants any) only where it is a word of
its own. What looks like a key is replaced too, known or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MASK = b"***"
SHORT = 8
"""Characters. No provider's key is shorter, and replacing a short word everywhere would garble the answer."""
_LOOKS_LIKE_A_KEY = re.compile(rb"\bsk-[\w.*\-]{4,}")
_AFTER_ITS_NAME = re.compile(rb"(?i)\b(key provided:? |bearer )(?!\*\*\*)[^\s\"'\\,;]+")


def mask_secrets(text: bytes, secrets: Iterable[str]) -> bytes:
    """The text with every key replaced by `***`."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for written in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}:
            literal = re.escape(written.encode())
            text = re.sub(literal if len(secret) >= SHORT else rb"(?<!\w)" + literal + rb"(?!\w)", MASK, text)
    text = _LOOKS_LIKE_A_KEY.sub(MASK, text)
    return _AFTER_ITS_NAME.sub(rb"\1" + MASK, text)
