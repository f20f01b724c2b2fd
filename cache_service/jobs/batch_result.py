"""What one item of a batch came to, as it is filed: JSON, with pictures by reference, so that results stay small.

A stored picture is named by where it lies (`/v1/blobs/…`). One that couldn't be stored stays in the result itself, for it is paid
and is nowhere else.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson
import pybase64

from cache_service.answer import Failed, Report, Result, Served, shown
from cache_service.batch import HITS, Ended, EndState
from cache_service.errors import CacheServiceError

Problem: TypeAlias = Callable[[CacheServiceError], Mapping[str, Any]]
"""The error as problem details (RFC 9457)."""


async def ended(position: int, result: Result, problem: Problem, *, expected: float | None = None) -> Ended:
    """The item's end. expected: USD to count where a generation's price turns out to be unknown."""
    if isinstance(result, Failed):
        return failed(position, result.error, problem)
    report = result.report
    stays = report.forwarded is not None and not report.stored
    body = await asyncio.to_thread(_body, result, inline=stays)
    usd = None if report.decision in HITS else report.usd
    return Ended(
        position,
        "done",
        body,
        decision=report.decision,
        usd=expected if usd is None and report.decision not in HITS else usd,
        cache=_json(shown(report)),
        collapsed=_json(shown(_collapsed(report))),
    )


def failed(position: int, error: CacheServiceError, problem: Problem, state: EndState = "failed") -> Ended:
    """The end of an item that has no answer."""
    return Ended(position, state, _json(problem(error)))


def by_reference(body: bytes) -> bytes:
    """The answer with each picture's base64 replaced by where the picture lies; as it is where it holds none, or is no JSON."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return orjson.dumps(body.decode("utf-8", "replace"))
    items = answer.get("data") if isinstance(answer, dict) else None
    pictures = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    changed = False
    for picture in pictures:
        digest = _digest(picture.get("b64_json"))
        if digest is not None:
            del picture["b64_json"]
            picture["url"] = f"/v1/blobs/{digest}"
            changed = True
    return orjson.dumps(answer) if changed else body


def _body(served: Served, *, inline: bool) -> str:
    body = served.body
    if not inline:
        body = by_reference(body)
    elif not _is_json(body):
        body = orjson.dumps(body.decode("utf-8", "replace"))
    return _one_line(body).decode("utf-8")


def _one_line(body: bytes) -> bytes:
    """NDJSON has a value on a line; between the members of JSON, and only there, line ends can stand."""
    return (
        body.strip()
        if b"\n" not in body and b"\r" not in body
        else body.replace(b"\r", b" ").replace(b"\n", b" ").strip()
    )


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _digest(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    try:
        return hashlib.sha256(pybase64.b64decode(text, validate=True)).hexdigest()
    except (binascii.Error, ValueError):
        return None


def _collapsed(report: Report) -> Report:
    """How the same answer came to an item that is equal to the first."""
    return report._replace(decision="collapsed", collapsed=True, usd=None)


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value).decode("utf-8")
