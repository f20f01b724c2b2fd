"""The edge: foreign hosts and origins, bounds, request ids, and what is written of a request."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest

from cache_service.answer import Failed, Report, Result, Served
from cache_service.errors import StoreError, UpstreamTimeout
from cache_service.instrumentation.events import RequestServed
from tests.fakes.service import BODY, HIT, Asked, Bench, make_bench

IMAGES = "/v1/images/generations"


async def _status(bench: Bench, headers: list[tuple[str, str]], path: str = "/livez") -> int:
    """The status of a request with exactly these headers."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers], "scheme": "http", "root_path": "",
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 5), "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    await bench.app(scope, receive, send)  # type: ignore[arg-type]
    return int(sent[0]["status"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["127.0.0.1"], 200),
        (["127.0.0.1:8000"], 200),
        (["LocalHost:1"], 200),
        (["[::1]:8000"], 200),
        ([], 400),
        ([""], 400),
        (["127.0.0.1", "127.0.0.1"], 400),
        (["127.0.0.1,evil.example"], 400),
        (["127.0.0.1/"], 400),
        (["127.0.0.1@evil.example"], 400),
        (["evil.example/127.0.0.1"], 400),
        (["127.0.0.1:"], 400),
        (["127.0.0.1:8000:9"], 400),
        (["127.0.0.1:port"], 400),
        (["evil.example"], 421),
        (["127.0.0.1.evil.example"], 421),
        (["localhost."], 421),
        (["0.0.0.0"], 421),  # noqa: S104
        (["[::]"], 421),
        (["2130706433"], 421),
    ],
)
async def test_only_our_own_hosts_are_served(hosts: list[str], status: int) -> None:
    """Exactly one valid `Host` from the allow-list, whatever the port: a rebound name of a web page is refused."""
    assert await _status(make_bench(), [("host", host) for host in hosts]) == status


@pytest.mark.parametrize(
    ("origins", "status"),
    [
        ([], 200),
        (["http://127.0.0.1:8000"], 200),
        (["HTTP://127.0.0.1:8000"], 403),
        (["https://127.0.0.1:8000"], 200),
        (["null"], 403),
        ([""], 403),
        (["http://evil.example"], 403),
        (["http://127.0.0.1"], 403),
        (["http://127.0.0.1:9000"], 403),
        (["http://localhost:8000"], 403),
        (["http://127.0.0.1:8000.evil.example"], 403),
        (["http://127.0.0.1:8000@evil.example"], 403),
        (["http://127.0.0.1:8000/path"], 403),
        (["file://"], 403),
        (["chrome-extension://abc"], 403),
        (["http://127.0.0.1:8000", "http://evil.example"], 403),
    ],
)
async def test_only_our_own_pages_may_ask(origins: list[str], status: int) -> None:
    """A foreign `Origin` is refused, `null` too."""
    headers = [("host", "127.0.0.1:8000"), *(("origin", origin) for origin in origins)]
    assert await _status(make_bench(), headers) == status


async def test_default_ports_are_the_same_origin() -> None:
    """A page at `http://localhost` may ask `localhost:80` and the other way round."""
    bench = make_bench()
    assert await _status(bench, [("host", "localhost"), ("origin", "http://localhost:80")]) == 200
    assert await _status(bench, [("host", "localhost:80"), ("origin", "http://localhost")]) == 200
    assert await _status(bench, [("host", "localhost"), ("origin", "https://localhost:444")]) == 403


async def test_a_foreign_page_is_refused_before_its_body_counts() -> None:
    """In the route's envelope and with `Cache-Status`; the cache isn't asked."""
    bench = make_bench()
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "a"}, headers={"origin": "https://evil.example"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign_origin")
    assert response.headers["cache-status"] == 'cache_service; detail="foreign_origin"'
    assert not bench.cache.asked


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    """413 by `Content-Length` alone."""
    bench = make_bench(max_body_bytes=100)

    async def never() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    async with bench.client() as client:
        headers = {"content-length": "101", "content-type": "application/json"}
        response = await client.post(IMAGES, content=never(), headers=headers)
    assert response.status_code == 413
    assert response.headers["connection"] == "close"


async def test_a_body_is_bounded_while_it_is_read() -> None:
    """A chunked body that doesn't say its length is stopped at the limit."""
    bench = make_bench(max_body_bytes=100)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 60

    async with bench.client() as client:
        response = await client.post(IMAGES, content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"
    assert sent <= 3


async def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    """The limit is the largest size that is fine."""
    body = json.dumps({"prompt": "x" * 50}).encode()
    async with make_bench(max_body_bytes=len(body)).client() as client:
        response = await client.post(IMAGES, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 200


async def test_more_requests_than_may_be_in_flight_are_refused() -> None:
    """With 503 and `Retry-After`; probes are answered all the same, and room that is given back is used again."""
    bench = make_bench(max_in_flight_requests=2)
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(asked: Asked) -> Result:
        entered.release()
        await gate.wait()
        return Served(200, BODY, "application/json", HIT)

    bench.cache.answer = wait
    async with bench.client() as client:
        waiting = [asyncio.create_task(client.post(IMAGES, json={"prompt": "a"})) for _ in range(2)]
        for _ in waiting:
            await entered.acquire()
        assert len(bench.service.in_flight) == 2
        refused = await client.post(IMAGES, json={"prompt": "a"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        for probe in ("/livez", "/readyz", "/metrics"):
            assert (await client.get(probe)).status_code == 200
        gate.set()
        assert [(await task).status_code for task in waiting] == [200, 200]
        assert not bench.service.in_flight
        assert (await client.post(IMAGES, json={"prompt": "a"})).status_code == 200


async def test_large_bodies_cannot_fill_the_memory() -> None:
    """Beyond a sum they are refused with 503 until others are done; small ones are read all the same."""
    bench = make_bench(max_held_body_bytes=200_000)
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(asked: Asked) -> Result:
        entered.release()
        await gate.wait()
        return Served(200, BODY, "application/json", HIT)

    bench.cache.answer = wait
    large = {"prompt": "a", "user": "x" * 150_000}
    async with bench.client() as client:
        waiting = [asyncio.create_task(client.post(IMAGES, json=large))]
        await entered.acquire()
        refused = await client.post(IMAGES, json=large)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        waiting.append(asyncio.create_task(client.post(IMAGES, json={"prompt": "a"})))
        await entered.acquire()
        gate.set()
        assert [(await task).status_code for task in waiting] == [200, 200]
        assert (await client.post(IMAGES, json=large)).status_code == 200


async def test_one_client_cannot_take_all_the_room() -> None:
    """Of its own requests only so many are answered at once; another client's go on, and its own again once one is done."""
    bench = make_bench(max_in_flight_per_client=2, client_keys="a:first,b:second")
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(asked: Asked) -> Result:
        if asked.caller.client == "a":
            entered.release()
            await gate.wait()
        return Served(200, BODY, "application/json", HIT)

    bench.cache.answer = wait
    async with bench.client("first") as greedy, bench.client("second") as other:
        waiting = [asyncio.create_task(greedy.post(IMAGES, json={"prompt": "a"})) for _ in range(2)]
        for _ in waiting:
            await entered.acquire()
        refused = await greedy.post(IMAGES, json={"prompt": "a"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["code"] == "too_many_in_flight"
        assert (await other.post(IMAGES, json={"prompt": "a"})).status_code == 200
        gate.set()
        assert [(await task).status_code for task in waiting] == [200, 200]
        assert (await greedy.post(IMAGES, json={"prompt": "a"})).status_code == 200
    assert not bench.service.in_flight


@pytest.mark.parametrize("sent", ["abc-123", "01JD:/x_y.z=", "A" * 128])
async def test_a_sane_request_id_is_taken_over(sent: str) -> None:
    """So that a client finds its request in the log."""
    async with make_bench().client() as client:
        assert (await client.get("/livez", headers={"x-request-id": sent})).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", [[], [""], ["a b"], ["a" * 129], ["ü"], ["a", "b"], ['"quoted"'], ["a\tb"]])
async def test_any_other_request_id_is_made_anew(sent: list[str]) -> None:
    """What could break a log line isn't taken over."""
    async with make_bench().client() as client:
        headers = [(b"x-request-id", value.encode("latin-1")) for value in sent]
        made = (await client.get("/livez", headers=headers)).headers["x-request-id"]
    assert made not in sent
    assert len(made) == 32


@pytest.mark.parametrize("path", ["/", "/livez", "/v1/models", "/nothing", "/admin/stats", "/openapi.json", "/docs"])
async def test_every_answer_has_security_headers(path: str) -> None:
    """Errors too."""
    async with make_bench().client() as client:
        headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    # the console's files hold nothing of anybody's and are asked for again by their tags
    assert headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
    assert "access-control-allow-origin" not in headers


def _lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "cache_service.requests"]


async def test_one_line_is_logged_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    """With decision, reason, kind and the client's name; the route, never the path as it was sent."""
    caplog.set_level(logging.INFO)
    async with make_bench(client_keys=("ann:key",)).client("key") as client:
        await client.post(IMAGES, json={"prompt": "a"}, headers={"x-request-id": "id-1"})
        await client.get("/v1/models/secret-model-name")
        await client.get("/secret-path?secret=query")
    served, model, unknown = map(vars, _lines(caplog))
    told = {"request_id": "id-1", "method": "POST", "route": IMAGES, "status": 200, "client": "ann"}
    assert told.items() <= served.items()
    assert {"decision": "hit", "kind": "exact", "reason": "equal key", "similarity": 1.0}.items() <= served.items()
    assert served["seconds"] >= 0
    assert model["route"] == "/v1/models/{model}"
    assert (unknown["route"], unknown["status"], unknown["code"]) == ("unknown", 404, "unknown_path")
    assert "secret" not in str([model, unknown])


async def test_an_unexpected_error_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A 500 in the envelope; the log has class and place under the request id, not the error's text."""

    async def broken(asked: Asked) -> Result:
        raise KeyError("canary-key") from ValueError("canary-prompt")

    bench = make_bench()
    bench.cache.answer = broken
    async with bench.client() as client:
        response = await client.post(IMAGES, json={"prompt": "canary-prompt"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    (line,) = map(vars, _lines(caplog))
    assert line["levelname"] == "ERROR"
    assert line["request_id"] == response.headers["x-request-id"]
    assert line["fault"].startswith("KeyError at api/test_api_middleware.py:")
    assert "caused by ValueError" in line["fault"]
    assert "canary" not in response.text + str(line)
    seconds = bench.events[0].seconds  # type: ignore[union-attr]
    assert bench.events == [RequestServed("images", "error", "", "internal_error", 500, seconds, error="service")]


async def test_a_fault_of_ours_is_logged_and_a_client_s_is_not(caplog: pytest.LogCaptureFixture) -> None:
    """A store that failed says where; an upstream that was slow isn't an error of this program."""
    bench = make_bench()
    report = Report("miss", key="ab", forwarded="miss")
    failures: list[Failed] = [Failed(StoreError("x"), report), Failed(UpstreamTimeout("x"), report)]

    async def fail(asked: Asked) -> Result:
        return failures.pop(0)

    bench.cache.answer = fail
    caplog.set_level(logging.INFO)
    async with bench.client() as client:
        assert (await client.post(IMAGES, json={"prompt": "a"})).status_code == 503
        assert (await client.post(IMAGES, json={"prompt": "a"})).status_code == 504
    faulty, fine = _lines(caplog)
    assert (faulty.levelname, fine.levelname) == ("ERROR", "INFO")
    assert vars(fine)["code"] == "upstream_timeout"
    assert not bench.events, "the cache counts what reaches it"


async def test_refusals_are_counted_where_the_cache_is_not_asked() -> None:
    """So that a client's wrong requests show in the metrics."""
    bench = make_bench()
    async with bench.client() as client:
        await client.post(IMAGES, content=b"{", headers={"content-type": "application/json"})
        await client.get("/nothing")
    (event,) = bench.events
    assert isinstance(event, RequestServed)
    assert (event.operation, event.decision, event.reason, event.status) == ("images", "error", "invalid_json", 400)


async def test_while_draining_connections_are_closed_one_by_one() -> None:
    """What was stored can still be fetched, no generation begins; a client's next request goes elsewhere."""
    bench = make_bench()
    bench.service.draining = True
    async with bench.client() as client:
        response = await client.get("/v1/models")
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        refused = await client.post(IMAGES, json={"prompt": "a"})
        assert (refused.status_code, refused.headers["connection"]) == (503, "close")
        assert refused.json()["error"]["code"] == "stopping"
        assert "retry-after" in refused.headers
    assert bench.cache.asked == []
