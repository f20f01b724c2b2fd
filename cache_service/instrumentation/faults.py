"""Where an error arose, for the log: classes and places, because an error's text may hold a prompt, a key or a URL. Pure.

The words of some are known to hold none: ours about the store, the model and the settings, and the operating system's.
"""

from __future__ import annotations

import traceback
from typing import Final

from cache_service.errors import ConfigurationError, EmbeddingError, StoreError, VerificationError

_MAX_CAUSES: Final = 4
_MAX_FRAMES: Final = 4
_WORDS_OF_OURS: Final = (StoreError, EmbeddingError, VerificationError, ConfigurationError)


def whereabouts(error: BaseException) -> str:
    """The innermost places of an error and its causes: "StoreError (no space left) at store/sql.py:88 find; caused by OSError at …"."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < _MAX_CAUSES:
        frames = traceback.extract_tb(cause.__traceback__)[-_MAX_FRAMES:]
        places = " < ".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        parts.append(f"{type(cause).__name__}{_words(cause)} at {places or 'unknown'}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "; caused by ".join(parts)


def _words(error: BaseException) -> str:
    if isinstance(error, _WORDS_OF_OURS):
        return f" ({error})"
    if isinstance(error, OSError) and error.strerror:  # without the file's name
        return f" ({error.strerror})"
    return ""


def _short(filename: str) -> str:
    return "/".join(filename.rsplit("/", 2)[-2:])
