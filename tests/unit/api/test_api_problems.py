"""Every error has its answer, in the envelope of its route, and says nothing that isn't meant for the client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cache_service.answer import Report
from cache_service.api.problems import (
    GENERATION_ROUTES,
    TABLE,
    MethodNotAllowed,
    Overloaded,
    RangeNotSatisfiable,
    is_fault,
    render_error,
)
from cache_service.errors import (
    AuthenticationFailed,
    CacheServiceError,
    CapacityExceeded,
    InvalidRequest,
    NotCached,
    NotFound,
    RequestError,
    StoreError,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)

IMAGES, GENERATE = "/v1/images/generations", "/v1/generate"


def _tree(root: type[CacheServiceError] = CacheServiceError) -> Iterator[type[CacheServiceError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("cache_service."):
            yield from _tree(child)


def _make(cls: type[CacheServiceError]) -> CacheServiceError:
    if cls is MethodNotAllowed:
        return MethodNotAllowed("GET", "POST")
    if cls is RangeNotSatisfiable:
        return RangeNotSatisfiable(10)
    if issubclass(cls, UpstreamRefused):
        return cls("no", status=400, headers={}, body=b"<html>", transient=False)
    return cls("secret words")


def _refused(status: int, body: bytes, **more: object) -> UpstreamRefused:
    headers = {"retry-after": "7", "x-should-retry": "true", "openai-organization": "org-secret", "set-cookie": "a=b"}
    return UpstreamRefused("the upstream said no", status=status, headers=headers, body=body, transient=False, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", list(_tree()))
def test_every_error_has_its_row(cls: type[CacheServiceError]) -> None:
    """A new error class isn't answered by its parent's row by accident."""
    if cls.__module__ in ("cache_service.errors", "cache_service.api.problems"):
        assert cls in TABLE


@pytest.mark.parametrize("cls", list(_tree()))
@pytest.mark.parametrize("path", [IMAGES, GENERATE])
def test_every_error_is_rendered(cls: type[CacheServiceError], path: str) -> None:
    """As the route's envelope, with a status of 400 or more, `Cache-Status`, and no word of an internal error."""
    error = _make(cls)
    response = render_error(error, path)
    body = json.loads(bytes(response.body))
    assert response.status_code >= 400
    assert response.headers["cache-status"].startswith("cache_service; detail=")
    if path == IMAGES:
        assert response.media_type == "application/json"
        assert set(body["error"]) == {"message", "type", "param", "code"}
    else:
        assert response.media_type == "application/problem+json"
        assert {"type", "title", "status", "detail", "code"} <= set(body)
        assert body["status"] == response.status_code
    assert is_fault(error) == (not isinstance(error, RequestError | UpstreamError | Overloaded))
    if is_fault(error):
        assert b"secret words" not in bytes(response.body)


@pytest.mark.parametrize(
    ("path", "openai"),
    [
        ("/v1/images/generations", True),
        ("/v1/chat/completions", True),
        ("/v1/models", True),
        ("/v1/models/a/b", True),
        ("/v1/nothing", True),
        ("/v1/generate", False),
        ("/v1/blobs/x", False),
        ("/admin/purge", False),
        ("/", False),
        ("/livez", False),
        ("/nothing", False),
    ],
)
def test_the_envelope_is_the_routes(path: str, openai: bool) -> None:
    """OpenAI's on its routes, RFC 9457 elsewhere; `Cache-Status` on generation routes only."""
    response = render_error(NotFound("nothing"), path)
    assert ("error" in json.loads(bytes(response.body))) == openai
    assert ("cache-status" in response.headers) == (path in GENERATION_ROUTES)


def test_a_refusal_of_the_upstream_passes_through() -> None:
    """Status, body and the headers that steer retries, unchanged; nothing else of it."""
    body = b'{ "error": {"message": "moderated", "code": "moderation_blocked"} }'
    response = render_error(_refused(400, body), IMAGES)
    assert (response.status_code, response.body, response.media_type) == (400, body, "application/json")
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-should-retry"] == "true"
    assert not {"openai-organization", "set-cookie"} & set(response.headers)


def test_an_error_inside_a_200_passes_through() -> None:
    """As the upstream sent it."""
    body = b'{"error":{"message":"no"}}'
    response = render_error(_refused(200, body), IMAGES)
    assert (response.status_code, response.body) == (200, body)


def test_a_refusal_that_is_no_json_gets_an_envelope() -> None:
    """A proxy's HTML is wrapped, its status kept."""
    response = render_error(_refused(502, b"<html>Bad Gateway</html>"), IMAGES)
    assert response.status_code == 502
    assert json.loads(bytes(response.body))["error"]["message"] == "the upstream said no"


@pytest.mark.parametrize("path", [IMAGES, GENERATE])
@pytest.mark.parametrize("status", [401, 407])
def test_a_refusal_of_our_own_key_is_ours(path: str, status: int) -> None:
    """The client's key isn't wrong, and the upstream's words may hold a part of ours; trying again is of no use."""
    body = b'{"error":{"message":"Incorrect API key provided: sk-proj-abc"}}'
    response = render_error(_refused(status, body, code="invalid_api_key"), path)
    assert response.status_code == 502
    assert b"sk-proj" not in bytes(response.body)
    assert b"invalid_api_key" not in bytes(response.body)
    assert response.headers["x-should-retry"] == "false"


def test_generate_says_what_the_upstream_said() -> None:
    """Its status and code, in problem details; an error inside a 200 is a 502 there."""
    response = render_error(_refused(400, b'{"error":{}}', code="moderation_blocked"), GENERATE)
    body = json.loads(bytes(response.body))
    assert (response.status_code, body["code"]) == (400, "moderation_blocked")
    assert render_error(_refused(200, b'{"error":{}}'), GENERATE).status_code == 502


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (CapacityExceeded("full", retry_after=2.1), "3"),
        (CapacityExceeded("full", retry_after=0.0), "1"),
        (CapacityExceeded("full"), "1"),
        (Overloaded(), "1"),
        (StoreError("x"), "1"),
        (InvalidRequest("x"), None),
        (NotCached("x"), None),
    ],
)
def test_overload_says_when_to_try_again(error: CacheServiceError, after: str | None) -> None:
    """Whole seconds, rounded up, on every 429 and 503."""
    assert render_error(error, IMAGES).headers.get("retry-after") == after


def test_clients_do_not_retry_what_is_paid_twice_or_in_vain() -> None:
    """OpenAI's clients retry 5xx by themselves unless told not to."""
    assert render_error(UpstreamTimeout("x"), IMAGES).headers["x-should-retry"] == "false"
    assert render_error(NotCached("x"), IMAGES).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in render_error(CapacityExceeded("x"), IMAGES).headers


def test_the_headers_that_a_status_needs() -> None:
    """RFC 9110: 401 has WWW-Authenticate, 405 Allow, 416 Content-Range; after a 413 the connection ends."""
    assert render_error(AuthenticationFailed("x"), IMAGES).headers["www-authenticate"].startswith("Bearer")
    assert render_error(MethodNotAllowed("GET", "POST"), IMAGES).headers["allow"] == "POST"
    assert render_error(RangeNotSatisfiable(10), "/v1/blobs/x").headers["content-range"] == "bytes */10"


def test_a_failed_request_says_how_far_it_got() -> None:
    """With a report, `Cache-Status` tells what the cache did."""
    report = Report("miss", key="ab", forwarded="miss", forward_status=400)
    headers = render_error(_refused(400, b"{}"), IMAGES, report).headers
    assert headers["cache-status"] == 'cache_service; fwd=miss; fwd-status=400; key="ab"'
