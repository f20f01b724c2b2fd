"""How log lines look: one line each, JSON for machines or text for a terminal. Whoever logs passes facts as `extra`.

An exception is told by its class and where it arose, and by its words only where those can't hold a prompt or a key.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

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


def configure(level: str, form: Literal["auto", "console", "json"]) -> None:
    """Sends every log line to stderr. form: `auto` is console on a terminal."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ConsoleFormatter() if console else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:  # at DEBUG they would print headers and bodies
        logging.getLogger(name).setLevel(logging.WARNING)


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; where an exception arose is a member."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts(record),
        }
        if (error := _exception(record)) is not None:
            line["exception"] = whereabouts(error)
        return json.dumps(line, ensure_ascii=False, default=str)


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
