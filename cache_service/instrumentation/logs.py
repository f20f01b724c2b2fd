"""How log lines look: one line each, JSON for machines or text for a terminal. Whoever logs passes facts as `extra`.

An exception is told by its class and where it arose, and by its words only where those can't hold a prompt or a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import orjson

from cache_service.instrumentation.faults import whereabouts

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_NOISY = (
    "httpx",
    "httpcore",
    "uvicorn.access",
    "uvicorn.error",
    "sqlalchemy",
    "alembic",
    "faiss",
    "asyncio",
)
WRITE_EVERY: Final = 0.05  # seconds
MOST_LINES: Final = 100  # that wait to be written; about 40 KB


def configure(level: str, form: Literal["auto", "console", "json"]) -> None:
    """Sends every log line to stderr. form: `auto` is console on a terminal."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    handler = LineHandler(sys.stderr)
    handler.setFormatter(ConsoleFormatter() if console else JsonFormatter())
    # what no line shows needn't be found out for each of them (logging's own how-to, "Optimization")
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001  its documented switch for the caller's place
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:  # at DEBUG they would print headers and bodies
        logging.getLogger(name).setLevel(logging.WARNING)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines together: those of one moment of a busy loop are one write. A warning and what is worse is written at once.

    A killed process loses the lines of the last `WRITE_EVERY` seconds at most, one that exits none.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Formats the line now, whatever happens to its facts later."""
        try:
            self._lines.append(self.format(record))
            if record.levelno >= logging.WARNING or len(self._lines) >= MOST_LINES:
                self.flush()
            elif (
                len(self._lines) == 1
            ):  # asked for the first alone: Python 3.11 asks the system for its process each time
                loop = asyncio._get_running_loop()  # noqa: SLF001  documented, and raises nothing where there is none
                if loop is None:
                    self.flush()
                else:
                    loop.call_later(WRITE_EVERY, self.flush)
        except Exception:  # as every handler: a line that can't be written ends no request
            self.handleError(record)

    def flush(self) -> None:
        """Writes what waits. Python calls it at the exit."""
        with self.lock or contextlib.nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("\n".join(lines) + "\n")
            super().flush()


class FactRecord(logging.LogRecord):
    """What `logger.log(level, message, extra=facts)` makes, in a quarter of the time: nothing is found out of place, thread and process.

    For the one line of each request: `logger.handle(FactRecord(…))`, where the logger is enabled for the level. facts: none of logging's own names.
    """

    def __init__(self, logger: str, level: int, message: str, facts: Mapping[str, Any]) -> None:
        now = time.time()
        self.__dict__ = {**_blank(logger, level, message), "created": now, "msecs": now % 1 * 1000, **facts}
        self.facts = facts


@functools.cache
def _blank(logger: str, level: int, message: str) -> dict[str, Any]:
    """What all records of that kind have in common; there are two or three kinds."""
    return vars(logging.LogRecord(logger, level, "", 0, message, (), None))


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as `extra`."""
    if isinstance(record, FactRecord):
        return {name: value for name, value in record.facts.items() if value is not None}
    return {name: value for name, value in vars(record).items() if value is not None and name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; where an exception arose is a member."""
        line: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.created % 1 * 1000):03}+00:00",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts(record),
        }
        if (error := _exception(record)) is not None:
            line["exception"] = whereabouts(error)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # half of a surrogate pair, an integer beyond 64 bits
            return json.dumps(line, default=str)


@functools.lru_cache(maxsize=2)
def _second(at: int) -> str:
    """The time without its fraction; thousands of lines have the same."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class ConsoleFormatter(logging.Formatter):
    """Time, level, message, and the facts as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and where an exception arose below it."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        told = " ".join(f"{name}={value}" for name, value in facts(record).items())
        line = f"{time} {record.levelname.lower():8} {record.getMessage()} {told}".rstrip()
        error = _exception(record)
        return line if error is None else f"{line}\n    {whereabouts(error)}"


def _exception(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None
