"""Log lines: one each, and never with the words of an error that may hold a prompt."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys

import pytest

from cache_service.errors import StoreError, UpstreamTimeout
from cache_service.instrumentation.logs import MOST_LINES, ConsoleFormatter, FactRecord, JsonFormatter, LineHandler

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


class Written(io.StringIO):
    """Says when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


def _handler() -> tuple[LineHandler, Written]:
    stream = Written()
    handler = LineHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler, stream


def _record(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("x", level, __file__, 1, message, (), None)


def test_without_a_loop_a_line_is_written_at_once() -> None:
    handler, stream = _handler()
    handler.emit(_record("one"))
    assert stream.getvalue() == "one\n"


async def test_lines_of_a_busy_loop_are_written_together_and_in_order() -> None:
    """A timer of the loop writes them."""
    handler, stream = _handler()
    for word in ("one", "two", "three"):
        handler.emit(_record(word))
    assert stream.getvalue() == ""
    await stream.written.wait()
    assert stream.getvalue() == "one\ntwo\nthree\n"


async def test_a_warning_is_written_at_once_with_what_came_before_it() -> None:
    handler, stream = _handler()
    handler.emit(_record("one"))
    handler.emit(_record("two", logging.WARNING))
    assert stream.getvalue() == "one\ntwo\n"


async def test_no_more_than_so_many_lines_wait() -> None:
    handler, stream = _handler()
    for number in range(MOST_LINES):
        handler.emit(_record(str(number)))
    assert stream.getvalue().count("\n") == MOST_LINES


async def test_an_exit_loses_no_line() -> None:
    """The interpreter flushes every handler."""
    handler, stream = _handler()
    handler.emit(_record("one"))
    logging.shutdown([lambda: handler])
    assert stream.getvalue() == "one\n"


@pytest.mark.parametrize("fact", ["\ud800", 2**70])
def test_a_fact_that_fast_json_refuses_is_told_all_the_same(fact: object) -> None:
    record = _record("odd")
    record.fact = fact
    assert json.loads(JsonFormatter().format(record))["fact"] == fact


def test_a_record_of_facts_is_told_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is passed as `extra`, without what is None; on handlers of others the facts are attributes."""
    monkeypatch.setattr("time.time", lambda: 1_764_000_000.0625)
    told: dict[str, object] = {"status": 200, "kind": None, "seconds": 0.25}
    usual = logging.getLogger("x").makeRecord("x", logging.INFO, "", 0, "request", (), None, extra=told)
    quick = FactRecord("x", logging.INFO, "request", told)
    for form in (
        JsonFormatter(),
        ConsoleFormatter(),
        logging.Formatter("%(name)s %(levelname)s %(status)s %(message)s"),
    ):
        assert form.format(quick) == form.format(usual)
    line = json.loads(JsonFormatter().format(quick))
    assert line["time"] == "2025-11-24T16:00:00.062+00:00"
    assert (line["status"], "kind" in line) == (200, False)
