"""Where an error arose, for the log: classes and places only, because an error's text may hold a prompt, a key or a URL. Pure."""

from __future__ import annotations

import traceback
from typing import Final

_MAX_CAUSES: Final = 4
_MAX_FRAMES: Final = 4


def whereabouts(error: BaseException) -> str:
    """The innermost places of an error and its causes: "StoreError at store/sql.py:88 find; caused by OperationalError at …"."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < _MAX_CAUSES:
        frames = traceback.extract_tb(cause.__traceback__)[-_MAX_FRAMES:]
        places = " < ".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        parts.append(f"{type(cause).__name__} at {places or 'unknown'}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "; caused by ".join(parts)


def _short(filename: str) -> str:
    return "/".join(filename.rsplit("/", 2)[-2:])
