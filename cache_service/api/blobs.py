"""`GET /v1/blobs/{sha256}`: a stored picture, read through a live entry of the caller's namespace.

Whatever can't be read (another tenant's, purged, expired, never there, no digest at all) answers the very same 404.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.exchange import caller_of
from cache_service.api.problems import RangeNotSatisfiable
from cache_service.errors import NotFound, StoreCorrupt
from cache_service.service import Service
from cache_service.store.entry import Output

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})?-([0-9]{1,18})?", re.IGNORECASE)
_ETAG: Final = re.compile(r'(?:W/)?("[\x21\x23-\x7e]*")')
_SHOWN: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
"""Types that a browser may show in place; all else (SVG can hold scripts) is a download."""


class BlobRoutes:
    """`/v1/blobs`. now: gives Unix seconds."""

    def __init__(self, service: Service, access: Access, now: Callable[[], float] = time.time) -> None:
        self._service = service
        self._now = now
        self.router = APIRouter(dependencies=[Depends(access.client)], default_response_class=Response)
        path = "/v1/blobs/{sha256}"
        self.router.add_api_route(path, self.blob, methods=["GET"], **descriptions.BLOB)
        self.router.add_api_route(path, self.blob, methods=["HEAD"], **descriptions.BLOB_HEAD)

    async def blob(self, request: Request) -> Response:
        """The picture's bytes, or the part of them that `Range` names."""
        digest: str = request.path_params["sha256"]
        output = await self._readable(digest, request)
        etag = f'"{digest}"'
        headers = _headers(digest, etag, output.media_type)
        if _matches(request.headers.getlist("if-none-match"), etag):
            return Response(None, 304, headers)
        span = _span(request, etag, output.size) if request.method == "GET" else None
        if span is not None and span.start >= span.stop:
            raise RangeNotSatisfiable(output.size)
        status = 200
        if span is not None:
            status = 206
            headers["content-range"] = f"bytes {span.start}-{span.stop - 1}/{output.size}"
        span = span or range(output.size)
        headers["content-length"] = str(len(span))
        media_type = output.media_type or "application/octet-stream"
        if request.method == "HEAD":
            return Response(None, status, headers, media_type)
        picture = await self._read(digest, request)
        return Response(picture[span.start : span.stop], status, headers, media_type)

    async def _readable(self, digest: str, request: Request) -> Output:
        if _DIGEST.fullmatch(digest):
            namespace = caller_of(request).namespace
            output = await self._service.store.readable_blob(digest, namespace=namespace, now=self._now())
            if output is not None:
                return output
        raise NotFound("there is no such blob")

    async def _read(self, digest: str, request: Request) -> bytes:
        try:
            return await self._service.blobs.read(digest)
        except StoreCorrupt:
            await self._readable(digest, request)  # purged in between: a 404
            raise


def _headers(digest: str, etag: str, media_type: str | None) -> dict[str, str]:
    extension = _SHOWN.get(media_type or "")
    if extension is not None:
        disposition = "inline"
    else:
        extension = "svg" if media_type == "image/svg+xml" else "bin"
        disposition = "attachment"
    return {
        "etag": etag,
        "accept-ranges": "bytes",
        # private: a shared cache doesn't know whose it is
        "cache-control": "private, max-age=31536000, immutable",
        "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
        "content-disposition": f'{disposition}; filename="{digest[:16]}.{extension}"',
    }


def _matches(fields: list[str], etag: str) -> bool:
    """Whether `If-None-Match` names this ETag, weakly compared (RFC 9110, section 13.1.2)."""
    value = ", ".join(fields)
    return value.strip() == "*" or any(match[1] == etag for match in _ETAG.finditer(value))


def _span(request: Request, etag: str, size: int) -> range | None:
    """The bytes that `Range` asks for: empty if it can't be satisfied, None for the whole (RFC 9110, section 14.2).

    Several ranges, other units and nonsense are ignored, as is a range on condition of another ETag.
    """
    fields = request.headers.getlist("range")
    match = _RANGE.fullmatch(fields[0].strip()) if len(fields) == 1 else None
    if match is None or match[1] is match[2] is None:
        return None
    if request.headers.get("if-range", etag) != etag:
        return None
    if match[1] is None:
        return range(max(0, size - int(match[2])), size)
    first = int(match[1])
    last = size - 1 if match[2] is None else int(match[2])
    if last < first and match[2] is not None:
        return None
    return range(first, min(last + 1, size))
