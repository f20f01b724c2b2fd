"""The upstream caller over real sockets, against a server that misbehaves in every way it can."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cache_service.errors import ConfigurationError, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from cache_service.upstream.base import Call, Cost
from cache_service.upstream.caller import UpstreamCaller
from cache_service.upstream.key_pool import NamedKey, PoolConfig
from cache_service.upstream.openai import DECODED_STEP, KIND_OF_ERROR, OpenAITransport, _Decoder
from tests.fakes.http_server import ScriptedServer, answer, chunked, hang, head, raw, scripted_server

SECRET = "canary-8"
GOOD = {"created": 1, "data": [{"b64_json": "QUJD"}], "usage": {"total_tokens": 3}}
WHOLE = json.dumps(GOOD).encode()


@asynccontextmanager
async def calling(
    url: str, *, secret: str | None = SECRET, keys: int = 1, most: int = 10_000_000, **options: Any
) -> AsyncIterator[UpstreamCaller]:
    """A caller of that base URL; afterwards nothing may be left in flight."""
    named = tuple(NamedKey(f"key-{number}", secret) for number in range(1, keys + 1))
    transport = OpenAITransport(url, max_answer_bytes=most)
    upstream = UpstreamCaller(transport, [PoolConfig("default", named)], group="test", random=lambda: 0.0, **options)
    try:
        yield upstream
    finally:
        assert [use.in_flight for use in upstream.pools()] == [0]
        await upstream.aclose()


def image(seconds: float = 20.0, **options: Any) -> Call:
    return Call("/images/generations", b'{"prompt": "a"}', time.monotonic() + seconds, Cost(1, 1, 0), "m", **options)


async def body_of(upstream: UpstreamCaller, call: Call) -> bytes:
    async with upstream.send(call) as reply:
        return b"".join([piece async for piece in reply.pieces])


async def test_a_call_arrives_as_it_was_made() -> None:
    async with scripted_server(answer(GOOD, x_request_id="r-1")) as server, calling(server.url) as upstream:
        async with upstream.send(image()) as reply:
            assert [piece async for piece in reply.pieces] == [WHOLE]
            assert reply.request_id == "r-1"
        models = Call("/models", None, time.monotonic() + 5, method="GET")
        assert await body_of(upstream, models) == WHOLE
    post, get = server.received
    assert (post.method, post.path, post.body) == ("POST", "/v1/images/generations", b'{"prompt": "a"}')
    assert post.headers["authorization"] == f"Bearer {SECRET}"
    assert post.headers["content-type"] == "application/json"
    assert (get.method, get.path, get.body) == ("GET", "/v1/models", b"")


async def test_without_a_key_there_is_no_authorisation() -> None:
    async with scripted_server(answer(GOOD)) as server, calling(server.url, secret=None) as upstream:
        await body_of(upstream, image())
    assert "authorization" not in server.received[0].headers


async def test_cookies_of_the_upstream_are_not_kept() -> None:
    async with scripted_server(answer(GOOD, set_cookie="a=b; Path=/")) as server, calling(server.url) as upstream:
        await body_of(upstream, image())
        await body_of(upstream, image())
    assert "cookie" not in server.received[1].headers


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with scripted_server(answer(GOOD)) as server, calling(server.url) as upstream:
        assert await body_of(upstream, image()) == WHOLE


HALF = head(content_type="application/json", content_length=str(len(WHOLE))) + WHOLE[: len(WHOLE) // 2]


@pytest.mark.parametrize(
    "broken",
    [
        raw(HALF, close=True),
        raw(HALF, reset=True),
        raw(head(content_length="10000") + WHOLE, close=True),
        chunked(WHOLE[:20], end=False),
        raw(head(transfer_encoding="chunked") + b"zz\r\nnonsense", close=True),
        raw(b"", close=True),
        raw(b"not HTTP at all\r\n\r\n", close=True),
        raw(head(content_encoding="gzip", content_length="20") + b"x" * 20),
        raw(head(content_encoding="gzip", content_length="15") + gzip.compress(WHOLE)[:15]),
        raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"\r\n", close=True),
        raw(b"HTTP/1.1 200 OK\r\n" + b"a: y\r\n" * 300 + b"content-length: 0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n", close=True),
    ],
    ids=["fin", "rst", "too-short", "chunk-cut", "bad-chunk", "nothing", "no-http", "no-gzip", "gzip-cut", "10k-headers",
         "300-headers", "long-header"],
)  # fmt: skip
async def test_a_broken_answer_is_retried_and_never_handed_on(broken: Any) -> None:
    async with scripted_server(broken, answer(GOOD)) as server, calling(server.url) as upstream:
        assert await body_of(upstream, image()) == WHOLE
    assert len(server.received) == 2


async def test_an_answer_that_stays_broken_is_an_error() -> None:
    async with scripted_server(raw(HALF, close=True)) as server, calling(server.url) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await body_of(upstream, image())
    assert len(server.received) == 2, "each may have been paid"


async def test_connections_closed_before_an_answer_are_tried_three_times() -> None:
    async with scripted_server(raw(b"", close=True)) as server, calling(server.url) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await body_of(upstream, image())
    assert len(server.received) == 3


async def test_nobody_listening_is_an_error_that_says_so() -> None:
    async with scripted_server(answer(GOOD)) as server:
        gone = server.url
    async with calling(gone) as upstream:
        with pytest.raises(UpstreamUnreachable, match="ConnectError"):
            await body_of(upstream, image())
    async with calling("http://no-such-host.invalid/v1") as upstream:
        with pytest.raises(UpstreamUnreachable):
            await body_of(upstream, image())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [b"", HALF[:20], HALF], ids=["at-once", "in-the-head", "in-the-body"])
async def test_a_hung_upstream_ends_at_the_deadline(after: bytes, stream: bool) -> None:
    async with scripted_server(hang(after)) as server, calling(server.url) as upstream:
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await body_of(upstream, image(0.3, stream=stream))
        assert 0.25 < time.monotonic() - began < 5.0
    assert len(server.received) == 1


async def test_a_dripping_upstream_ends_at_the_deadline_too() -> None:
    """Each byte comes in time; the whole never does."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length="100000"))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with scripted_server(drip) as server, calling(server.url) as upstream:
        with pytest.raises(UpstreamTimeout):
            await body_of(upstream, image(0.3))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_sends_no_key_elsewhere(status: int) -> None:
    async with scripted_server(answer(GOOD)) as thief:
        away = answer(b"", status, location=f"{thief.url}/images/generations")
        async with scripted_server(away) as server, calling(server.url) as upstream:
            with pytest.raises(UpstreamUnreachable, match="redirect"):
                await body_of(upstream, image())
        assert (len(server.received), len(thief.received)) == (1, 0)


async def test_a_server_whose_certificate_is_not_trusted_gets_no_key(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NOT TESTED: TLS, there is no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    making = await asyncio.create_subprocess_exec(
        openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
        "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await making.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    scripted = ScriptedServer([answer(GOOD)])
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=context)
    async with server, calling(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1") as upstream:
        with pytest.raises(UpstreamUnreachable):
            await body_of(upstream, image())
    assert scripted.received == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_an_answer_that_was_compressed_unasked_is_read(encoding: str) -> None:
    compressed = gzip.compress(WHOLE) if encoding == "gzip" else zlib.compress(WHOLE)
    async with (
        scripted_server(answer(compressed, content_encoding=encoding)) as server,
        calling(server.url) as upstream,
        upstream.send(image()) as reply,
    ):
        assert [piece async for piece in reply.pieces] == [WHOLE]
        assert "content-encoding" not in reply.headers
    assert server.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("bomb", [False, True], ids=["plain", "gzip-bomb"])
async def test_an_answer_over_the_limit_is_cut_off_and_not_asked_for_again(bomb: bool) -> None:
    body = gzip.compress(b"0" * 50_000_000) if bomb else b"0" * 2_000_000
    script = answer(body, content_encoding="gzip" if bomb else "identity")
    async with scripted_server(script) as server, calling(server.url, most=1_000_000) as upstream:
        with pytest.raises(UpstreamUnreachable, match="exceeds 1000000 bytes"):
            await body_of(upstream, image())
    assert len(server.received) == 1


async def test_a_gzip_bomb_is_refused_long_before_the_limit() -> None:
    """What no honest answer compresses to isn't worth 256 MiB of memory; text that compresses well is let through."""
    honest = b"".join(b'{"number": %d}' % number for number in range(200_000))
    scripts = [answer(gzip.compress(body), content_encoding="gzip") for body in (b"0" * 5_000_000, honest)]
    async with scripted_server(*scripts) as server, calling(server.url) as upstream:
        with pytest.raises(UpstreamUnreachable, match="200 times"):
            await body_of(upstream, image())
        assert await body_of(upstream, image()) == honest
    assert len(server.received) == 2


def test_a_gzip_bomb_is_never_unfolded_at_once() -> None:
    """64 KiB from the socket could else become 64 MiB in memory before anybody counts."""
    pieces = _Decoder("gzip").decode(gzip.compress(b"0" * 20_000_000))
    assert max(len(piece) for piece in pieces) <= DECODED_STEP


async def test_an_endless_error_is_read_up_to_a_bound() -> None:
    async with scripted_server(answer(b"x" * 5_000_000, 400)) as server, calling(server.url) as upstream:
        with pytest.raises(UpstreamRefused) as refused:
            await body_of(upstream, image())
    assert len(refused.value.body) == 1024 * 1024


async def test_a_stream_arrives_piece_by_piece() -> None:
    gate = asyncio.Event()

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_type="text/event-stream", connection="close") + b"data: 1\n\n")
        await writer.drain()
        await gate.wait()
        writer.write(b'data: {"usage": {"total_tokens": 5}}\n\n')
        await writer.drain()
        writer.close()

    async with (
        scripted_server(script) as server,
        calling(server.url) as upstream,
        upstream.send(image(stream=True)) as reply,
    ):
        assert await anext(reply.pieces) == b"data: 1\n\n"
        assert upstream.pools()[0].in_flight == 1
        gate.set()
        assert [piece async for piece in reply.pieces] == [b'data: {"usage": {"total_tokens": 5}}\n\n']


async def test_a_cut_stream_is_told_to_its_reader() -> None:
    async with (
        scripted_server(chunked(b"data: 1\n\n", end=False)) as server,
        calling(server.url) as upstream,
        upstream.send(image(stream=True)) as reply,
    ):
        assert await anext(reply.pieces) == b"data: 1\n\n"
        with pytest.raises(UpstreamUnreachable):
            await anext(reply.pieces)
    assert len(server.received) == 1


async def test_a_reader_who_leaves_ends_the_connection() -> None:
    async with scripted_server(hang(head() + b"data: 1\n\n")) as server, calling(server.url) as upstream:
        async with upstream.send(image(stream=True)) as reply:
            assert await anext(reply.pieces) == b"data: 1\n\n"
        await server.idle.wait()


async def test_a_cancelled_call_ends_its_connection() -> None:
    async with scripted_server(hang()) as server, calling(server.url) as upstream:
        task = asyncio.ensure_future(body_of(upstream, image()))
        await server.called.wait()
        task.cancel()
        await asyncio.wait([task])
        await server.idle.wait()


async def test_connections_are_used_again_and_are_as_many_as_calls() -> None:
    """No call waits for a connection where nobody counts it."""
    arrived, gate = 0, asyncio.Event()

    async def script(writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 64:
            gate.set()
        await gate.wait()
        await answer(GOOD)(writer)

    async with scripted_server(script) as server, calling(server.url) as upstream:
        assert await asyncio.gather(*(body_of(upstream, image()) for _ in range(64))) == [WHOLE] * 64
        assert server.open_connections == 64
        await body_of(upstream, image())
        assert server.open_connections == 64


async def test_keys_are_masked_in_what_the_upstream_repeats() -> None:
    echo = {"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": "invalid_api_key"}}
    async with scripted_server(answer(echo, 401, x_request_id=SECRET)) as server, calling(server.url) as upstream:
        with pytest.raises(UpstreamRefused) as refused:
            await body_of(upstream, image())
    assert SECRET not in f"{refused.value!r} {vars(refused.value)}"
    assert json.loads(refused.value.body)["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "url",
    ["gopher://127.0.0.1/v1", "http://127.0.0.1:99999/v1", "http:///v1", "127.0.0.1/v1", "http://user:canary-8@host/v1",
     "https://host/v1?key=canary-8", "http://[::1/v1", ""],
)  # fmt: skip
def test_a_base_url_that_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        OpenAITransport(url, max_answer_bytes=1)
    assert "canary-8" not in str(refused.value)


def test_every_error_of_the_driver_has_its_place_in_the_table() -> None:
    """A new httpx may bring new ones."""

    def leaves(error: type[Exception]) -> set[type[Exception]]:
        below = error.__subclasses__()
        return {error} if not below else set().union(*(leaves(one) for one in below))

    assert leaves(httpx.RequestError) | {httpx.InvalidURL} == set(KIND_OF_ERROR)
