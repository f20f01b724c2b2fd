"""A request's JSON object, bounded in size."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request

from cache_service.simulator.refusals import Refusal, Refused, bad_request

LARGE_JSON = 64 * 1024
"""Bytes from which JSON is read in a thread."""


async def read_object(request: Request, most_bytes: int) -> dict[str, Any]:
    """The JSON object that was sent. Raises Refused: too large, no JSON, no object."""
    text = await read_body(request, most_bytes)
    try:
        body = _read_json(text) if len(text) < LARGE_JSON else await asyncio.to_thread(_read_json, text)
    except (ValueError, RecursionError):
        raise Refused(bad_request("We could not parse the JSON body of your request.")) from None
    if not isinstance(body, dict):
        raise Refused(bad_request("The body must be a JSON object."))
    return body


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The bytes that were sent. Raises Refused: too large."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise Refused(Refusal(413, f"The body is larger than {most_bytes} bytes."))
        parts.append(part)
    return b"".join(parts)


def _read_json(text: bytes) -> Any:
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
