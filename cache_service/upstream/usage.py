"""Finds the `usage` object in an answer that passes by, without parsing megabytes of base64. Pure.

Works on a whole body and on the pieces of a stream alike: `"usage"` as a member name can't stand inside a JSON string (its
quotes would be escaped there), and what follows it is small.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NAME = b'"usage"'
LONGEST = 8 * 1024
"""Bytes of the object that are looked at; real ones have about 300."""
_SUMS = (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens"))


class UsageFinder:
    """Feed it every piece in order; `usage` is the last one seen, None until then."""

    def __init__(self) -> None:
        self.usage: Mapping[str, Any] | None = None
        self._kept = b""

    def feed(self, piece: bytes) -> None:
        """Looks at the next piece; at most 8 KiB of it are kept."""
        text = self._kept + piece if self._kept else piece
        self._kept = text[-(len(NAME) - 1) :]
        end = len(text)
        while (at := text.rfind(NAME, 0, end)) >= 0:
            rest = text[at + len(NAME) : at + len(NAME) + LONGEST].decode("utf-8", "replace").lstrip(" :\t\r\n")
            try:
                value, _ = json.JSONDecoder().raw_decode(rest)
            except (ValueError, RecursionError):
                if len(text) - at < LONGEST:
                    self._kept = text[at:]  # cut: the rest is in the next piece
            else:
                if isinstance(value, dict):
                    self.usage = value
                    return
            end = at


def total_tokens(usage: Mapping[str, Any] | None) -> int | None:
    """Input and output together, or None where the usage doesn't say."""
    if usage is None:
        return None
    total = _count(usage.get("total_tokens"))
    if total is not None:
        return total
    for names in _SUMS:
        counts = [_count(usage.get(name)) for name in names]
        if all(count is not None for count in counts):
            return sum(count for count in counts if count is not None)
    return None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
