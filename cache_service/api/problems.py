"""Errors as answers: one table from error to status and words, two envelopes.

- The drop-in routes answer `{"error": {"message", "type", "param", "code"}}`, as OpenAI does.
- All others answer `application/problem+json` (RFC 9457); its `type` leads to this table in `/docs`.
What an upstream refused passes through the drop-in routes unchanged, but for 401 and 407: there it spoke to us, not to the client,
and its words may hold a part of our key.
"""

from __future__ import annotations

import http
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.responses import Response

from cache_service import errors
from cache_service.answer import Report
from cache_service.api.cache_status import render_cache_status, render_refusal
from cache_service.errors import CacheServiceError, RequestError, UpstreamError, UpstreamRefused

PROBLEM_JSON: Final = "application/problem+json"
GENERATION_ROUTES: Final[Mapping[str, str]] = {
    "/v1/images/generations": "images",
    "/v1/chat/completions": "chat",
    "/v1/generate": "",
}
"""Routes whose every answer carries `Cache-Status`, with the operation where the path alone says it."""

BATCHES: Final = "/v1/generate/batches"

_OURS: Final = ("/v1/generate", "/v1/blobs/", "/v1/feedback")
_ASIDE: Final = frozenset({401, 407})
_PASSED_ON: Final = ("retry-after", "retry-after-ms", "x-should-retry")
_DEFAULT_RETRY_AFTER: Final = 1.0  # seconds


class MisdirectedRequest(errors.Forbidden):
    """The `Host` isn't one of ours (RFC 9110, section 15.5.20)."""

    code = "misdirected_request"


class MethodNotAllowed(RequestError):
    """The path is there, but not for this method."""

    code = "method_not_allowed"

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(f"{method} is not allowed here; allowed: {allow}")
        self.allow = allow


class RangeNotSatisfiable(RequestError):
    """The range lies outside of what is there (RFC 9110, section 15.5.17). size: of the whole, bytes."""

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"the range lies outside of the {size} bytes that are there")
        self.size = size


class Overloaded(CacheServiceError):
    """As many requests are being answered as may be."""


class ClientOverloaded(Overloaded):
    """As many requests of one client are being answered as may be."""


class Stopping(Overloaded):
    """The process is to stop and begins nothing more."""


@dataclass(frozen=True, slots=True)
class Problem:
    """How one class of errors is answered.

    type: OpenAI's word. message: said in place of the error's own, where that isn't meant for clients.
    retry: whether OpenAI's clients should try again by themselves, where their own rule (408, 409, 429, 5xx) is wrong.
    """

    status: int
    type: str
    code: str
    title: str
    message: str | None = None
    retry: bool | None = None


_REQUEST, _SERVER, _UPSTREAM = "invalid_request_error", "server_error", "upstream_error"
_FAULT = "The service failed on this request; its log says more under the request id."
_STORE = "The store can't be used at the moment."

TABLE: Final[Mapping[type[CacheServiceError], Problem]] = {
    CacheServiceError: Problem(500, _SERVER, "internal_error", "Internal error", _FAULT),
    errors.ConfigurationError: Problem(500, _SERVER, "internal_error", "Internal error", _FAULT),
    RequestError: Problem(400, _REQUEST, "invalid_request", "Invalid request"),
    errors.InvalidRequest: Problem(400, _REQUEST, "invalid_request", "Invalid request"),
    errors.BodyTooLarge: Problem(413, _REQUEST, "body_too_large", "Body too large"),
    errors.UnsupportedMediaType: Problem(415, _REQUEST, "unsupported_media_type", "Unsupported media type"),
    errors.AuthenticationFailed: Problem(401, "authentication_error", "invalid_api_key", "Authentication failed"),
    errors.Forbidden: Problem(403, "permission_error", "forbidden", "Forbidden"),
    MisdirectedRequest: Problem(421, "permission_error", "misdirected_request", "Misdirected request"),
    errors.NotFound: Problem(404, _REQUEST, "not_found", "Not found"),
    errors.TooManyBatches: Problem(429, "rate_limit_error", "too_many_batches", "Too many batches"),
    # it runs for as long as it does: trying again at once is in vain
    errors.BatchRunning: Problem(409, _REQUEST, "batch_running", "Batch running", retry=False),
    errors.NotBegun: Problem(409, _REQUEST, "not_begun", "Not begun"),
    MethodNotAllowed: Problem(405, _REQUEST, "method_not_allowed", "Method not allowed"),
    RangeNotSatisfiable: Problem(416, _REQUEST, "range_not_satisfiable", "Range not satisfiable"),
    # a second try finds no more in the cache than the first
    errors.NotCached: Problem(504, "cache_error", "not_cached", "Not cached", retry=False),
    UpstreamError: Problem(502, _UPSTREAM, "upstream_error", "The upstream failed"),
    UpstreamRefused: Problem(502, _UPSTREAM, "upstream_refused", "The upstream refused"),
    errors.UpstreamUnreachable: Problem(502, _UPSTREAM, "upstream_unreachable", "The upstream can't be reached"),
    # the call may have been paid: another one is the client's decision
    errors.UpstreamTimeout: Problem(504, _UPSTREAM, "upstream_timeout", "The upstream took too long", retry=False),
    errors.CapacityExceeded: Problem(429, "rate_limit_error", "rate_limit_exceeded", "Capacity exceeded"),
    errors.BudgetExceeded: Problem(429, "insufficient_quota", "insufficient_quota", "Budget spent", retry=False),
    Overloaded: Problem(503, _SERVER, "overloaded", "Overloaded", "Too many requests are being answered; try again."),
    ClientOverloaded: Problem(
        429,
        "rate_limit_error",
        "too_many_in_flight",
        "Too many at once",
        "Too many requests of this client are being answered; try again.",
    ),
    Stopping: Problem(503, _SERVER, "stopping", "Stopping", "The service is stopping; try again."),
    errors.EmbeddingError: Problem(
        503, _SERVER, "embedding_unavailable", "No embedding", "The embedding model can't be used at the moment."
    ),
    errors.StoreError: Problem(503, _SERVER, "store_unavailable", "No store", _STORE),
    errors.StoreCorrupt: Problem(500, _SERVER, "stored_bytes_damaged", "Stored bytes are damaged", _FAULT),
    errors.StoreReadOnly: Problem(503, _SERVER, "store_read_only", "The store is read-only", _STORE),
    errors.SchemaMismatch: Problem(503, _SERVER, "store_unavailable", "No store", _STORE),
    errors.VerificationError: Problem(500, _SERVER, "internal_error", "Internal error", _FAULT),
}
"""Every class of the error tree."""


def problem_of(error: CacheServiceError) -> Problem:
    """The row of the error's class, or of its nearest parent."""
    return next(TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)


def code_of(error: CacheServiceError) -> str:
    """The stable word for programs; bounded, so that it may be logged and counted."""
    own = getattr(error, "code", None) if isinstance(error, RequestError) else None
    return own or problem_of(error).code


def is_fault(error: CacheServiceError) -> bool:
    """Whether the service itself is to blame, so that its log should say where."""
    return not isinstance(error, RequestError | UpstreamError | Overloaded)


def render_error(error: CacheServiceError, path: str, report: Report | None = None) -> Response:
    """The answer to a request for `path` that ended in `error`. report: how far it got, if it got to the cache."""
    drop_in = path.startswith("/v1/") and not path.startswith(_OURS)
    response = _passed_through(error) if drop_in and isinstance(error, UpstreamRefused) else None
    if response is None:
        status = _status(error)
        members = _envelope(error) if drop_in else _problem_details(error, status)
        media_type = "application/json" if drop_in else PROBLEM_JSON
        response = Response(orjson.dumps(members), status, _headers(error, status), media_type)
    if path in GENERATION_ROUTES:
        known = report is not None and (report.key or report.forwarded)
        status_field = render_cache_status(report) if report and known else render_refusal(code_of(error))
        response.headers["cache-status"] = status_field
    return response


def envelope_bytes(error: CacheServiceError) -> bytes:
    """OpenAI's envelope alone, for an error inside a stream that has begun."""
    return orjson.dumps(_envelope(error))


def details_of(error: CacheServiceError) -> dict[str, Any]:
    """The problem details alone, for an error inside an answer that has begun."""
    return _problem_details(error, _status(error))


def _passed_through(error: UpstreamRefused) -> Response | None:
    """The upstream's own answer, if it is JSON and meant for the client."""
    if error.status in _ASIDE:
        return None
    try:
        orjson.loads(error.body)
    except orjson.JSONDecodeError:
        return None
    return Response(error.body, error.status, _headers(error, error.status), "application/json")


def _status(error: CacheServiceError) -> int:
    if isinstance(error, UpstreamRefused) and error.status >= 400 and error.status not in _ASIDE:
        return error.status
    return problem_of(error).status


def _envelope(error: CacheServiceError) -> dict[str, Any]:
    row = problem_of(error)
    return {
        "error": {
            "message": _message(error, row),
            "type": row.type,
            "param": getattr(error, "param", None),
            "code": _shown_code(error),
        }
    }


def _problem_details(error: CacheServiceError, status: int) -> dict[str, Any]:
    """RFC 9457. No `instance`: another tenant's object must answer with the very same bytes as one that isn't there."""
    row = problem_of(error)
    details = {
        "type": f"/docs#problem-{row.code}",
        "title": row.title,
        "status": status,
        "detail": _message(error, row),
        "code": _shown_code(error),
    }
    for extension in ("param", "index"):
        if (value := getattr(error, extension, None)) is not None:
            details[extension] = value
    return details


def _message(error: CacheServiceError, row: Problem) -> str:
    if isinstance(error, UpstreamRefused) and error.status in _ASIDE:
        return "The upstream refused this service's credentials."
    return row.message if row.message is not None else str(getattr(error, "message", row.title))


def _shown_code(error: CacheServiceError) -> str:
    """The upstream's own code where it has one; else ours."""
    if isinstance(error, UpstreamRefused) and error.status not in _ASIDE and error.code:
        return error.code
    return code_of(error)


def _headers(error: CacheServiceError, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, UpstreamRefused):
        headers.update((name, error.headers[name]) for name in _PASSED_ON if name in error.headers)
        if error.status in _ASIDE:
            headers["x-should-retry"] = "false"
    row = problem_of(error)
    if row.retry is not None:
        headers["x-should-retry"] = "true" if row.retry else "false"
    if "retry-after" not in headers and status in (
        http.HTTPStatus.TOO_MANY_REQUESTS,
        http.HTTPStatus.SERVICE_UNAVAILABLE,
    ):
        wait = getattr(error, "retry_after", None)
        transient = getattr(error, "transient", True)
        if wait is not None or transient:
            headers["retry-after"] = str(max(1, math.ceil(_DEFAULT_RETRY_AFTER if wait is None else wait)))
    if isinstance(error, errors.AuthenticationFailed):
        headers["www-authenticate"] = 'Bearer realm="cache_service"'
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allow
    if isinstance(error, RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size}"
    if isinstance(error, errors.BodyTooLarge):
        headers["connection"] = "close"  # the rest of the body isn't read
    return headers
