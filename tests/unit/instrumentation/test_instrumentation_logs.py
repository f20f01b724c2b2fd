"""Log lines: one each, and never with the words of an error that may hold a prompt."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from cache_service.errors import StoreError, UpstreamTimeout
from cache_service.instrumentation.logs import ConsoleFormatter, JsonFormatter

CANARY = "canary-prompt"


def _lines(error: Exception, cause: Exception | None = None) -> list[str]:
    """As both formats tell of an exception."""
    try:
        _fail(error, cause)
    except Exception:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", (), sys.exc_info())
    return [JsonFormatter().format(record), ConsoleFormatter().format(record)]


def _fail(error: Exception, cause: Exception | None) -> None:
    try:
        if cause is not None:
            _fail(cause, None)
    except Exception as first:
        raise error from first
    raise error


@pytest.mark.parametrize(
    "error", [RuntimeError(CANARY), UpstreamTimeout(CANARY), UnicodeEncodeError("x", CANARY, 0, 1, "y")]
)
def test_an_errors_words_are_not_told(error: Exception) -> None:
    """Nor those of what caused it; where it arose is."""
    for line in [*_lines(error), *_lines(StoreError("the store failed"), error)]:
        assert CANARY not in line
        assert "test_instrumentation_logs.py" in line
        assert type(error).__name__ in line


def test_words_that_an_operator_needs_are_told() -> None:
    """Ours about the store, and the operating system's, without the file's name."""
    for line in _lines(StoreError("writing to the database failed"), OSError(28, "No space left on device", CANARY)):
        assert "writing to the database failed" in line
        assert "No space left on device" in line
        assert CANARY not in line


def test_a_json_line_is_one_line() -> None:
    for line in _lines(StoreError("two\nlines"))[:1]:
        assert "\n" not in line
        assert json.loads(line)["level"] == "error"
