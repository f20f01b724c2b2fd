"""The whole interface around a scripted cache: what each route refuses, who may use it, streams, and what never shows."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import http_sf
import httpx
import pytest
from fastapi.routing import APIRoute
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.routing import BaseRoute

from cache_service.answer import Failed, Report, Result, Served
from cache_service.api.app import create_app
from cache_service.api.problems import GENERATION_ROUTES
from cache_service.errors import CacheServiceError, UpstreamUnreachable
from cache_service.instrumentation.logs import ConsoleFormatter, JsonFormatter
from cache_service.instrumentation.tracing import Tracing
from cache_service.store.records import Act, NewKey, Role
from tests.fakes.service import ADMIN_TOKEN, BODY, HIT, Asked, Bench, make_bench, serve
from tests.fakes.upstream import FakeUpstream, planned

JSON = "application/json"
IMAGES, CHAT, GENERATE, PURGE = "/v1/images/generations", "/v1/chat/completions", "/v1/generate", "/admin/purge"
FEEDBACK = "/v1/feedback"
BATCHES = "/v1/generate/batches"


def _bodies(path: str, broken: bytes) -> bytes:
    """A body for the route with `broken` as the value of one member."""
    wrappers = {
        IMAGES: b'{"prompt":"a","extra":%s}',
        CHAT: b'{"messages":[{"role":"user","content":"a"}],"extra":%s}',
        GENERATE: b'{"operation":"images","request":{"prompt":"a","extra":%s}}',
        PURGE: b'{"key":%s}',
        FEEDBACK: b'{"verdict":"wrong","key":%s}',
    }
    return wrappers[path] % broken


BROKEN_VALUES = {
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "an overflow": b"1e400",
    "five thousand digits": b"1" * 5000,
    "NUL": b'"\\u0000"',
    "a lone surrogate": b'"\\ud83d"',
    "bytes that are no UTF-8": b'"\xff\xfe"',
    "duplicate keys": b'{"a":1,"a":1}',
    "100 levels": b"[" * 100 + b"]" * 100,
    "a raw newline": b'"\n"',
    "cut off": b'"',
}


@pytest.mark.parametrize("path", [IMAGES, CHAT, GENERATE, PURGE, FEEDBACK])
@pytest.mark.parametrize("broken", BROKEN_VALUES.values(), ids=BROKEN_VALUES)
async def test_broken_json_is_a_clear_400(path: str, broken: bytes) -> None:
    """In the route's envelope; the cache isn't asked and nothing is purged."""
    bench = make_bench()
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.post(path, content=_bodies(path, broken), headers={"content-type": JSON})
    assert response.status_code == 400
    _assert_envelope(response)
    assert not bench.cache.asked
    assert not bench.store.predicates


WRONG_BODIES: dict[str, list[Any]] = {
    IMAGES: [
        {}, [], "a", {"prompt": None}, {"prompt": 5}, {"prompt": ""}, {"prompt": " \n"}, {"prompt": "x" * 40_000},
        {"prompt": "a", "n": 11}, {"prompt": "a", "n": 0}, {"prompt": "a", "n": "1"}, {"prompt": "a", "n": 1.5},
        {"prompt": "a", "n": True}, {"prompt": "a", "model": 5}, {"prompt": "a", "stream": "yes"},
        {"prompt": "a", "size": [1]}, {"prompt": ["a"]},
    ],
    CHAT: [
        {}, {"messages": []}, {"messages": "a"}, {"messages": [5]}, {"messages": [{}]}, {"messages": [{"role": 5}]},
        {"messages": [{"role": "user", "content": ""}]}, {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": ["a"]}]},
        {"messages": [{"role": "user", "content": "a"}], "temperature": "hot"},
        {"messages": [{"role": "user", "content": "a"}], "n": 0},
    ],
    GENERATE: [
        {}, {"operation": "images"}, {"operation": "images", "request": {"prompt": ""}},
        {"operation": "images", "request": {"prompt": "a", "n": 11}}, {"operation": "x", "request": {}},
        {"operation": "images", "request": {"prompt": "a"}, "cache": {"similarity": 7}},
    ],
    PURGE: [{}, {"all": True}, {"prompt": 5}, {"unknown": 1}],
    FEEDBACK: [
        {}, {"verdict": "wrong"}, {"key": "a"}, {"key": "a", "verdict": "bad"}, {"key": "a", "verdict": ["wrong"]},
        {"key": 5, "verdict": "wrong"}, {"key": "", "verdict": "wrong"}, {"key": "a" * 257, "verdict": "wrong"},
        {"key": "a", "request_id": "b", "verdict": "wrong"}, {"key": "a", "verdict": "wrong", "verdikt": 1},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, bodies in WRONG_BODIES.items() for body in bodies])
async def test_wrong_members_are_a_clear_400(path: str, body: Any) -> None:
    """Each in the route's envelope."""
    bench = make_bench()
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.post(path, json=body)
    assert response.status_code == 400
    _assert_envelope(response)
    assert not bench.cache.asked


@pytest.mark.parametrize("path", [IMAGES, CHAT, GENERATE, PURGE, FEEDBACK])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", "text/plain")],
        [("content-type", "multipart/form-data; boundary=x")],
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "application/x-ndjson")],
        [("content-type", "application/jsonp")],
        [("content-type", "text/plain; application/json")],
        [("content-type", JSON), ("content-type", JSON)],
        [("content-type", JSON), ("content-encoding", "gzip")],
    ],
)
async def test_only_json_is_read(path: str, headers: list[tuple[str, str]]) -> None:
    """415 for all that a web page's form could send."""
    async with make_bench().client(ADMIN_TOKEN) as client:
        response = await client.post(path, content=b'{"prompt":"a"}', headers=headers)
    assert response.status_code == 415
    _assert_envelope(response)


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON ;x=y"])
async def test_parameters_of_the_type_are_fine(content_type: str) -> None:
    """As some clients send them."""
    async with make_bench().client() as client:
        response = await client.post(IMAGES, content=b'{"prompt":"a"}', headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize("path", [IMAGES, CHAT, GENERATE, PURGE, FEEDBACK, "/v1/models"])
async def test_another_method_names_those_that_are_there(path: str) -> None:
    """405 with `Allow`, in the route's envelope."""
    async with make_bench().client(ADMIN_TOKEN) as client:
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            response = await client.request(method, path)
            assert response.status_code == 405
            assert response.headers["allow"] == ("GET" if path == "/v1/models" else "POST")
            _assert_envelope(response)


def _assert_envelope(response: httpx.Response) -> None:
    """OpenAI's on its routes, problem details elsewhere; a message that says something; `Cache-Status` where it belongs."""
    path = response.request.url.path
    if path in (IMAGES, CHAT) or path.startswith("/v1/models"):
        assert response.headers["content-type"] == JSON
        error = response.json()["error"]
        assert error["message"]
        assert error["code"]
    else:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"]
        assert response.json()["status"] == response.status_code
    assert ("cache-status" in response.headers) == (path in GENERATION_ROUTES)


# Access: which key opens which route. "client" is another tenant's key too: tenants differ by what they see, not by routes.
PUBLIC, CLIENT, VIEWER, ADMIN = "public", "client", "viewer", "admin"
ROUTES: dict[tuple[str, str], str] = {
    ("POST", IMAGES): CLIENT,
    ("POST", CHAT): CLIENT,
    ("GET", "/v1/models"): CLIENT,
    ("GET", "/v1/models/gpt-image-2"): CLIENT,
    ("POST", GENERATE): CLIENT,
    ("GET", "/v1/blobs/" + "0" * 64): CLIENT,
    ("HEAD", "/v1/blobs/" + "0" * 64): CLIENT,
    ("GET", "/metrics"): CLIENT,
    ("POST", FEEDBACK): CLIENT,
    ("POST", BATCHES): CLIENT,
    ("GET", BATCHES + "/1"): CLIENT,
    ("DELETE", BATCHES + "/1"): CLIENT,
    ("POST", BATCHES + "/1/cancel"): CLIENT,
    ("POST", PURGE): ADMIN,
    ("POST", "/admin/reload"): ADMIN,
    ("GET", "/admin/entries"): VIEWER,
    ("GET", "/admin/entries/1"): VIEWER,
    ("GET", "/admin/blobs/" + "0" * 64): VIEWER,
    ("GET", "/admin/requests"): VIEWER,
    ("GET", "/admin/requests/1"): VIEWER,
    ("POST", "/admin/playground"): ADMIN,
    ("GET", "/admin/keys"): VIEWER,
    ("POST", "/admin/keys"): ADMIN,
    ("POST", "/admin/keys/1/revoke"): ADMIN,
    ("GET", "/admin/feedback"): VIEWER,
    ("POST", "/admin/feedback"): ADMIN,
    ("POST", "/admin/feedback/1/undo"): ADMIN,
    ("GET", "/admin/alerts"): VIEWER,
    ("GET", "/admin/roi"): VIEWER,
    ("GET", "/admin/spending"): VIEWER,
    ("GET", "/admin/stats"): VIEWER,
    ("GET", "/admin/overview"): VIEWER,
    ("GET", "/admin/pools"): VIEWER,
    ("GET", "/admin/audit"): VIEWER,
    ("GET", "/admin/settings"): VIEWER,
    ("GET", "/admin/thresholds"): VIEWER,
    ("POST", "/admin/thresholds/pairs"): ADMIN,
    ("GET", "/admin/session"): VIEWER,
    ("GET", "/admin/charts/traffic"): VIEWER,
    ("GET", "/console/main.js"): PUBLIC,
    ("POST", "/admin/session"): PUBLIC,
    ("DELETE", "/admin/session"): PUBLIC,
    ("GET", "/livez"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/openapi.json"): PUBLIC,
}
BODIES: dict[str, Any] = {
    IMAGES: {"prompt": "a"},
    CHAT: {"messages": [{"role": "user", "content": "a"}]},
    GENERATE: {"operation": "images", "request": {"prompt": "a"}},
    BATCHES: [{"operation": "images", "request": {"prompt": "a"}}],
    PURGE: {"key": "a", "dry_run": True},
    FEEDBACK: {"key": "a", "verdict": "wrong"},
    "/admin/playground": {"operation": "images", "request": {"prompt": "a"}},
    "/admin/keys": {"name": "new"},
    "/admin/feedback": {"namespace": "one", "key": "a", "verdict": "wrong"},
    "/admin/session": {"token": ADMIN_TOKEN},
    "/admin/thresholds/pairs": {"pairs": [{"a": "a", "b": "b", "same": True}]},
}
OPENS = {
    PUBLIC: {None, "wrong", "a", "b", "c", "gone", "look", "all", ADMIN_TOKEN},
    CLIENT: {"a", "b", "c"},
    VIEWER: {"look", "all", ADMIN_TOKEN},
    ADMIN: {"all", ADMIN_TOKEN},
}
"""a, b: two tenants' keys from the configuration; c, look, all: made in the database; gone: revoked there."""


async def _with_made_keys() -> Bench:
    bench = make_bench(client_keys=("ann:a:one", "bob:b:two"))
    made: list[tuple[str, Role]] = [("c", "client"), ("gone", "client"), ("look", "viewer"), ("all", "admin")]
    for secret, role in made:
        new = NewKey(secret, "three" if role == "client" else "", role, hashlib.sha256(secret.encode()).hexdigest())
        await bench.store.add_key(new, by=Act("test", "key.create"))
    await bench.store.revoke_key(2, by=Act("test", "key.revoke"))
    await bench.service.keys.refresh()
    bench.store.acts.clear()
    return bench


@pytest.mark.parametrize(("route", "access"), ROUTES.items(), ids=lambda value: "".join(value))
async def test_each_route_opens_to_its_keys_alone(route: tuple[str, str], access: str) -> None:
    """Every route × {none, wrong, client, other tenant, client made here, revoked, viewer, admin, token}.

    What doesn't open it answers 401, or 403 for a viewer who would change something, and nothing has happened.
    """
    method, path = route
    for key in sorted(OPENS[PUBLIC], key=str):
        bench = await _with_made_keys()
        async with bench.client(key) as client:
            response = await client.request(method, path, json=BODIES.get(path))
        allowed = key in OPENS[access]
        assert (response.status_code not in (401, 403)) == allowed, (key, response.text)
        if not allowed:
            refused = 403 if access == ADMIN and key == "look" else 401
            assert response.status_code == refused
            assert refused == 403 or response.headers["www-authenticate"].startswith("Bearer")
            assert not bench.cache.asked
            assert not bench.store.lookups
            assert not bench.store.predicates
            assert not bench.store.acts
            assert not bench.upstream.calls


async def test_every_route_is_in_the_matrix() -> None:
    """A new route without a line above fails here; `/openapi.json` lists them all and says who may use them."""
    bench = make_bench(client_keys=("ann:a",))
    async with bench.client() as client:
        document = (await client.get("/openapi.json")).json()
    listed = {}
    for path, operations in document["paths"].items():
        concrete = path.replace("{model}", "gpt-image-2").replace("{sha256}", "0" * 64).replace("{id}", "1")
        concrete = concrete.replace("{name}", "traffic" if "charts" in path else "main.js")
        for method, operation in operations.items():
            clients = CLIENT if operation["security"] == [{"clientKey": []}] else PUBLIC
            listed[method.upper(), concrete] = operation.get("x-role", clients)
    assert listed == ROUTES


async def test_no_route_is_left_out_of_the_list() -> None:
    """What the application answers is what `/openapi.json` lists, and so what the matrix tries."""
    bench = make_bench()
    async with bench.client() as client:
        document = (await client.get("/openapi.json")).json()
    listed = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    served = {(method, route.path_format) for route in _api_routes(bench.app.routes) for method in route.methods or ()}
    assert served == listed


def _api_routes(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """Each route that answers, also of routers within routers; anything else (a mount, a socket) fails."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from _api_routes(route.original_router.routes)  # type: ignore[attr-defined]


async def test_anonymous_clients_do_not_reach_administration() -> None:
    """It always needs its token."""
    async with make_bench().client() as client:
        assert (await client.post(PURGE, json={"key": "a"})).status_code == 401
        assert (await client.get("/admin/stats")).status_code == 401


async def test_a_key_is_asked_for_before_the_body_is_read() -> None:
    """Nobody without a key makes us parse."""

    async def never() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    async with make_bench(client_keys=("ann:a",)).client() as client:
        assert (await client.post(IMAGES, content=never(), headers={"content-type": JSON})).status_code == 401


# Drop-in answers


async def test_the_upstream_s_words_pass_byte_for_byte() -> None:
    """Body and the headers that a client may see; those of the connection, and ours, aren't overwritten."""
    bench = make_bench()
    headers = {
        "openai-processing-ms": "12", "x-request-id": "req_1", "set-cookie": "a=b", "content-length": "999",
        "cache-status": "other; hit", "content-encoding": "gzip", "x-evil": "a\r\nb: c", "age": "99",
    }  # fmt: skip
    report = Report("miss", key="ab", forwarded="miss", stored=True, upstream_request_id="req_1")

    async def answer(asked: Asked) -> Result:
        return Served(200, b'{ "created":1 }', JSON, report, headers)

    bench.cache.answer = answer
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "a"})
    assert response.content == b'{ "created":1 }'
    assert response.headers["openai-processing-ms"] == "12"
    assert response.headers["x-upstream-request-id"] == "req_1"
    assert response.headers["x-request-id"] != "req_1"
    assert response.headers["content-length"] == "15"
    assert response.headers["cache-status"] == 'cache_service; fwd=miss; stored; key="ab"'
    assert not {"set-cookie", "x-evil", "content-encoding", "age"} & set(response.headers)


async def test_directives_and_tags_reach_the_cache() -> None:
    """From the headers of the drop-in routes."""
    bench = make_bench()
    async with bench.client() as client:
        headers = [("cache-control", "max-age=60"), ("cache-control", "exact-only"), ("cache-tag", "x,y")]
        await client.post(IMAGES, json={"prompt": "a"}, headers=headers)
        refused = await client.post(IMAGES, json={"prompt": "a"}, headers={"cache-control": "similarity=2"})
    (asked,) = bench.cache.asked
    assert (asked.directives.max_age, asked.directives.exact_only, asked.tags) == (60, True, frozenset("xy"))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "similarity")


async def test_large_bodies_are_read_too() -> None:
    """In a thread, with the same strictness."""
    body = {"messages": [{"role": "user", "content": "a" * 200_000}]}
    async with make_bench().client() as client:
        assert (await client.post(CHAT, json=body)).status_code == 200
        broken = json.dumps(body).encode()[:-1]
        assert (await client.post(CHAT, content=broken, headers={"content-type": JSON})).status_code == 400


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("gpt-image-2", "/models/gpt-image-2"),
        ("org%2Fmodel", "/models/org%2Fmodel"),
        ("org/model:free", "/models/org/model:free"),
        ("ft:gpt%3Aacme::abc", "/models/ft:gpt%3Aacme::abc"),
    ],
)
async def test_a_model_s_name_is_passed_on_as_written(name: str, sent: str) -> None:
    """Slashes and escapes stay."""
    bench = make_bench(upstream=FakeUpstream([planned({"id": name})]))
    async with bench.client() as client:
        response = await client.get(f"/v1/models/{name}?x=y")
    assert (response.status_code, response.json()) == (200, {"id": name})
    assert [call.path for call in bench.upstream.calls] == [sent]


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e/files",
        "a/%2E%2E/%2e%2e/files",
        "a%2f..%2f..%2ffiles",
        "..%5cfiles",
        "a//b",
        "%00",
        "a%0d%0ab",
        "a%3fb",
    ],
)
async def test_a_model_s_name_leads_nowhere_else(name: str) -> None:
    """Our key opens more of the upstream than its list of models: what could leave it is a 404, or stays one escaped name."""
    bench = make_bench()
    async with bench.client() as client:
        request = client.build_request("GET", "/")
        request.url = httpx.URL("http://127.0.0.1:8000").copy_with(raw_path=f"/v1/models/{name}".encode())
        response = await client.send(request)
    if response.status_code == 404:
        assert not bench.upstream.calls
    else:
        assert [call.path for call in bench.upstream.calls] == [f"/models/{name}"]
        assert ".." not in name.lower().replace("%2e", ".")


async def test_the_upstream_s_errors_on_models_pass_through() -> None:
    """A model that isn't there is the upstream's 404."""
    body = b'{"error":{"message":"no such model","type":"x","param":null,"code":"model_not_found"}}'
    async with make_bench(upstream=FakeUpstream([planned(body, 404)])).client() as client:
        response = await client.get("/v1/models/none")
    assert (response.status_code, response.content) == (404, body)


# Streams


class _Pieces:
    """Pieces that note whether they were closed."""

    def __init__(self, pieces: list[bytes], *, then: Callable[[], Any] | None = None) -> None:
        self._pieces = iter(pieces)
        self._then = then
        self.closed = False

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        if self._then is not None:
            await self._then()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


def _stream(bench: Bench, pieces: _Pieces) -> None:
    async def answer(asked: Asked) -> Result:
        return Served(200, b"", "text/event-stream", Report("bypass", forwarded="bypass"), pieces=pieces)

    bench.cache.answer = answer


async def test_a_stream_is_passed_on_piece_by_piece() -> None:
    """Its type and bytes unchanged, and closed at its end."""
    bench, pieces = make_bench(), _Pieces([b"data: {}\n\n", b"data: [DONE]\n\n"])
    _stream(bench, pieces)
    async with bench.client() as client:
        response = await client.post(CHAT, json={**BODIES[CHAT], "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-status"] == "cache_service; fwd=bypass"
    assert response.content == b"data: {}\n\ndata: [DONE]\n\n"
    assert pieces.closed


async def test_a_stream_that_breaks_off_says_so() -> None:
    """As an event that OpenAI's clients raise, not as a silent end."""

    async def broken() -> None:
        raise UpstreamUnreachable("the answer broke off")

    bench, pieces = make_bench(), _Pieces([b"data: {}\n\n"], then=broken)
    _stream(bench, pieces)
    async with bench.client() as client:
        response = await client.post(CHAT, json={**BODIES[CHAT], "stream": True})
    last = response.text.strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_unreachable"
    assert pieces.closed


CHUNK = b'data: {"choices":[{"delta":{"content":"data: [DONE] \\n event: error"}}]}\n\n'
COMPLETED = b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"AAAA"}\n\n'
PARTIAL = (
    b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"AAAA"}\n\n'
)


@pytest.mark.parametrize(
    ("path", "pieces"),
    [
        (CHAT, [CHUNK]),
        (CHAT, []),
        (CHAT, [CHUNK, CHUNK[:20]]),
        (CHAT, [CHUNK[:-1]]),
        (IMAGES, [PARTIAL]),
        (IMAGES, [PARTIAL, COMPLETED[:20]]),
    ],
)
async def test_a_stream_that_ends_without_its_last_event_says_so(path: str, pieces: list[bytes]) -> None:
    """An upstream that closes properly in the middle; the event can be read although the cut was inside a line."""
    bench = make_bench()
    _stream(bench, _Pieces(pieces))
    async with bench.client() as client:
        response = await client.post(path, json={**BODIES[path], "stream": True})
    assert response.content.startswith(b"".join(pieces))
    last = response.text.strip().split("\n\n")[-1]
    assert json.loads(last.strip().removeprefix("data: "))["error"]["code"] == "upstream_unreachable"


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        (CHAT, CHUNK + b"data: [DONE]\n\n"),
        (CHAT, CHUNK + b"data: [DONE]"),
        (CHAT, CHUNK.replace(b"\n", b"\r\n") + b"data:[DONE]\r\n\r\n"),
        (CHAT, CHUNK + b'data: {"error":{"message":"overloaded"}}\n\n'),
        (IMAGES, PARTIAL + COMPLETED),
        (IMAGES, b'data: {"type": "image_generation.completed"}\n\n'),
        (IMAGES, PARTIAL + b'event: error\ndata: {"type":"error"}\n\n'),
    ],
)
async def test_a_whole_stream_stays_as_it_is_however_it_is_cut_into_pieces(path: str, whole: bytes) -> None:
    """Also one that the upstream ended with an error event of its own."""
    for size in (1, 7, 1000):
        bench = make_bench()
        _stream(bench, _Pieces([whole[at : at + size] for at in range(0, len(whole), size)]))
        async with bench.client() as client:
            response = await client.post(path, json={**BODIES[path], "stream": True})
        assert response.content == whole


async def test_a_stream_is_closed_when_its_client_goes() -> None:
    """The next piece isn't waited for; nothing stays in flight."""
    bench = make_bench()
    pieces = _Pieces([b"data: 1\n\n"], then=asyncio.Event().wait)
    _stream(bench, pieces)
    body = json.dumps({**BODIES[CHAT], "stream": True}).encode()
    gone, sent = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        if not sent:
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message.get("body"):
            gone.set()

    headers = [(b"host", b"127.0.0.1"), (b"content-type", JSON.encode())]
    scope: dict[str, Any] = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"",
        "headers": headers, "scheme": "http", "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    await asyncio.wait_for(bench.app(scope, receive, send), 10)  # type: ignore[arg-type]
    assert [message.get("body") for message in sent[1:]] == [b"data: 1\n\n"]
    assert pieces.closed
    assert not bench.service.in_flight


# Every answer of a generation route


@pytest.mark.parametrize("path", [IMAGES, CHAT, GENERATE])
async def test_every_answer_of_a_generation_route_carries_cache_status(path: str) -> None:
    """Hits, failures, refusals of every kind: one member, named `cache_service`."""
    bench = make_bench(client_keys=("ann:a",), max_body_bytes=1000)
    good: dict[str, Any] = {"json": BODIES[path], "headers": {"authorization": "Bearer a"}}
    attempts: list[tuple[str, dict[str, Any], int]] = [
        ("POST", good, 200),
        ("POST", {"json": BODIES[path]}, 401),
        ("POST", {**good, "headers": {**good["headers"], "origin": "null"}}, 403),
        ("POST", {**good, "headers": {**good["headers"], "host": "evil.example"}}, 421),
        ("POST", {**good, "json": {"x": "y" * 1000}}, 413),
        ("POST", {**good, "json": {}}, 400),
        ("POST", {"content": b"{}", "headers": good["headers"]}, 415),
        ("GET", {}, 405),
    ]
    async with bench.client() as client:
        for method, arguments, status in attempts:
            response = await client.request(method, path, **arguments)
            assert response.status_code == status
            ((name, _),) = http_sf.parse(response.headers["cache-status"].encode(), tltype="list")
            assert str(name) == "cache_service"


@pytest.mark.parametrize("path", [IMAGES, CHAT, GENERATE])
async def test_the_simulator_is_named_in_every_answer_of_the_cache(path: str) -> None:
    """Hits too: their pictures are the simulator's."""
    async with make_bench(upstream=FakeUpstream(simulated=True)).client() as client:
        assert (await client.post(path, json=BODIES[path])).headers["x-cache-service-upstream"] == "simulator"
    async with make_bench().client() as client:
        assert "x-cache-service-upstream" not in (await client.post(path, json=BODIES[path])).headers


# Probes and pages


async def test_probes_say_whether_to_send_requests() -> None:
    """`/livez` stays 200 while draining, `/readyz` is 503 then and says why."""
    reasons: list[str] = []
    bench = make_bench(not_ready=reasons)
    async with bench.client() as client:
        assert (await client.get("/readyz")).json() == {"ready": True, "reasons": []}
        reasons.append("the disk is full")
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["reasons"]) == (503, ["the disk is full"])
        reasons.clear()
        bench.service.draining = True
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["reasons"]) == (503, ["draining"])
        assert (await client.get("/livez")).status_code == 200


async def test_metrics_are_told() -> None:
    """In Prometheus's text format."""
    async with make_bench().client() as client:
        response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "cache_service_requests_total{" in response.text


@pytest.mark.parametrize("simulated", [True, False])
async def test_the_first_page_says_what_this_is(simulated: bool) -> None:
    """For people and, if asked, for programs: version, and whether the simulator answers."""
    async with make_bench(upstream=FakeUpstream(simulated=simulated)).client() as client:
        page = await client.get("/", headers={"accept": "text/html,*/*"})
        facts = (await client.get("/", headers={"accept": JSON})).json()
    assert page.headers["content-type"].startswith("text/html")
    assert facts["upstream"] == ("simulator" if simulated else "configured")
    assert facts["version"]


async def test_the_reference_loads_nothing() -> None:
    """No script, no third party's code, no style but the one whose digest the policy names."""
    async with make_bench().client() as client:
        response = await client.get("/docs", headers={"accept": "text/html"})
    assert not [word for word in ("<script", "<link", "src=", "onload", "@import", "url(") if word in response.text]
    assert "style-src 'sha256-" in response.headers["content-security-policy"]


async def test_the_console_loads_its_own_files_alone() -> None:
    """And its policy lets it load no others; each has its type, and isn't sent again while it is the same."""
    async with make_bench().client() as client:
        page = await client.get("/", headers={"accept": "text/html"})
        loaded = re.findall(r'(?:src|href)="(/console/[^"]+)"', page.text)
        assert set(re.findall(r'(?:src|href)="([^"#]+)"', page.text)) == {*loaded, "/docs", "/openapi.json", "/readyz"}
        script = (await client.get("/console/main.js")).text
        loaded += [f"/console/{name}" for name in re.findall(r'from "\./([a-z]+\.js)"', script)]
        assert len(loaded) > 8
        for path in loaded:
            file = await client.get(path)
            assert file.status_code == 200
            assert file.headers["content-type"].startswith(("text/javascript", "text/css", "image/svg+xml"))
            assert "http://" not in file.text.replace("http://www.w3.org/2000/svg", "")
            again = await client.get(path, headers={"if-none-match": file.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/console/../pages.py")).status_code == 404
        assert (await client.get("/console/nothing.js")).status_code == 404
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy


async def test_the_reference_shows_every_route_and_problem() -> None:
    """A problem's `type` leads to its row."""
    async with make_bench().client() as client:
        page = (await client.get("/docs")).text
        document = (await client.get("/openapi.json")).json()
        problem = (await client.get("/nothing")).json()
    for path in document["paths"]:
        assert path.replace("{", "&#123;") in page or path in page
    assert f'id="{problem["type"].partition("#")[2]}"' in page


# What never shows


async def test_canaries_show_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Prompts, client keys, also short ones, and the admin token: not in logs at DEBUG, errors, metrics or pages."""
    caplog.set_level(logging.DEBUG)
    canaries = ["canary-prompt", "canary-key-of-ann", "shortkey", ADMIN_TOKEN, "canary-header"]
    bench = make_bench(client_keys=("ann:canary-key-of-ann", "bob:shortkey"))
    texts: list[str] = []

    async def fail(asked: Asked) -> Result:
        raise RuntimeError(str(asked.body))

    async def refuse(asked: Asked) -> Result:
        error = CacheServiceError(str(asked.body))
        return Failed(error, Report("miss", key="ab", detail="", matched_prompt="canary-prompt"))

    async def hit(asked: Asked) -> Result:
        return Served(
            200, BODY, JSON, Report("hit", kind="semantic", matched_prompt="canary-prompt", detail="canary-prompt")
        )

    async with bench.client() as client:
        for bench.cache.answer in (fail, refuse, hit):
            for key in ("canary-key-of-ann", "shortkey", "shortkey2", ADMIN_TOKEN):
                headers = {"authorization": f"Bearer {key}", "x-api-key": "canary-header", "cookie": "canary-header"}
                for path, body in (
                    (IMAGES, {"prompt": "canary-prompt"}),
                    (IMAGES, {"prompt": ["canary-prompt"]}),
                    (GENERATE, {"operation": "images", "request": {"prompt": 5, "canary-prompt": 1}}),
                    (PURGE, {"prompt": ["canary-prompt"]}),
                ):
                    response = await client.post(path, json=body, headers=headers)
                    texts.append(response.text + (str(response.headers) if bench.cache.answer is not hit else ""))
        for path in ("/metrics", "/", "/docs", "/openapi.json", "/readyz"):
            page = await client.get(path, headers={"authorization": "Bearer shortkey"})
            texts.append(page.text)
    logged = [
        record.getMessage() + str(vars(record)) for record in caplog.records if record.name.startswith("cache_service")
    ]
    assert logged
    for canary in canaries:
        assert not [text for text in texts + logged if canary in text]


CANARY_KEYS = ("canary-key-of-ann", "shortkey", "canary-gone-key", "wrong-canary-key")
CANARY_BODIES: dict[str, Any] = BODIES | {
    IMAGES: {"prompt": "canary-prompt"},
    CHAT: {"messages": [{"role": "user", "content": "canary-prompt"}]},
    GENERATE: {"operation": "images", "request": {"prompt": "canary-prompt"}},
    BATCHES: [{"operation": "images", "request": {"prompt": "canary-prompt"}}],
    PURGE: {"prompt": "canary-prompt", "dry_run": True},
    FEEDBACK: {"key": "canary-prompt", "verdict": "wrong"},
    "/admin/playground": {"operation": "images", "request": {"prompt": "canary-prompt"}},
    "/admin/keys": {"name": "new", "role": "canary-prompt"},
    "/admin/session": {"token": "wrong-canary-key"},
}


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda value: str(value))
async def test_no_route_tells_logs_metrics_or_traces_of_prompts_or_keys(
    method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks, rightly or wrongly, and whatever fails behind it; what is refused doesn't repeat a key or a prompt either."""
    caplog.set_level(logging.DEBUG)
    bench = make_bench(client_keys=("ann:canary-key-of-ann", "bob:shortkey"))
    spans = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    bench.service.tracing = Tracing(tracers, MeterProvider(), gen_ai=True)
    bench.app = create_app(bench.service)
    refused: list[str] = []

    async def fail(asked: Asked) -> Result:
        raise RuntimeError(str(asked.body))

    body = CANARY_BODIES.get(path)
    wrong = {"canary-prompt": 1} if body is not None else None
    async with bench.client() as client:
        for bench.cache.answer in (serve, fail):
            for key in (*CANARY_KEYS, ADMIN_TOKEN):
                for sent in (body, wrong, ["canary-prompt"] if wrong else None):
                    headers = {"authorization": f"Bearer {key}", "cookie": f"cache_service_session={CANARY_KEYS[3]}"}
                    answer = await client.request(
                        method, path, json=sent, headers=headers, params={"canary-prompt": "1"}
                    )
                    if answer.status_code == 401:
                        refused.append(answer.text + str(answer.headers))
        metrics = (await client.get("/metrics", headers={"authorization": "Bearer shortkey"})).text
    records = [record for record in caplog.records if not record.name.startswith(("httpx", "asyncio"))]
    logged = [form.format(record) for record in records for form in (JsonFormatter(), ConsoleFormatter())]
    traced = [span.to_json() for span in spans.get_finished_spans()]
    assert logged
    assert traced
    for canary in ("canary-prompt", *CANARY_KEYS, ADMIN_TOKEN):
        assert not [text for text in (*logged, *traced, metrics, *refused) if canary in text]


async def test_a_hit_is_served_to_the_end() -> None:
    """The simplest thing: the cache's answer, byte for byte, with its age."""
    async with make_bench().client() as client:
        response = await client.post(IMAGES, json={"prompt": "a"})
    assert (response.status_code, response.content) == (200, BODY)
    assert response.headers["age"] == str(int(HIT.age or 0))
