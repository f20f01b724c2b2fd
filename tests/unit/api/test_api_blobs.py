"""Stored pictures over HTTP: immutable, in parts, in their namespace, and harmless in a browser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from cache_service.api.blobs import _matches, _span
from tests.fakes.service import Bench, make_bench

PICTURE = bytes(range(100))


@pytest.fixture
def bench() -> Bench:
    """Two tenants."""
    return make_bench(client_keys=("ann:a:one", "bob:b:two"))


async def test_a_picture_is_served_once_and_for_all(bench: Bench) -> None:
    """Byte for byte, to be kept for ever, with its digest as ETag."""
    digest = bench.keep(PICTURE, "image/png", namespace="one")
    async with bench.client("a") as client:
        response = await client.get(f"/v1/blobs/{digest}")
    assert (response.status_code, response.content) == (200, PICTURE)
    headers = response.headers
    assert headers["content-type"] == "image/png"
    assert headers["etag"] == f'"{digest}"'
    assert headers["cache-control"] == "private, max-age=31536000, immutable"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-security-policy"].startswith("sandbox;")
    assert headers["content-disposition"] == f'inline; filename="{digest[:16]}.png"'
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("media_type", ["image/svg+xml", "text/html", None])
async def test_what_could_hold_scripts_is_a_download(bench: Bench, media_type: str | None) -> None:
    """SVG, or anything that isn't a picture we know."""
    digest = bench.keep(b"<svg onload=alert(1)>", media_type, namespace="one")
    async with bench.client("a") as client:
        headers = (await client.get(f"/v1/blobs/{digest}")).headers
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["content-type"].partition(";")[0] == (media_type or "application/octet-stream")


async def test_whatever_cannot_be_read_answers_the_very_same(bench: Bench) -> None:
    """Another tenant's, never there, no digest at all, purged while being read: the same bytes and headers."""
    foreign = bench.keep(PICTURE, "image/png", namespace="two")
    upper = foreign.upper()
    answers = []
    async with bench.client("a", headers={"authorization": "Bearer a", "x-request-id": "same"}) as client:
        for name in (foreign, "0" * 64, "x", upper, foreign[:-1], foreign + "0", "%00", "\u00e9"):
            for method in ("GET", "HEAD"):
                response = await client.request(method, f"/v1/blobs/{name}")
                assert response.status_code == 404
                if method == "GET":
                    answers.append((response.content, sorted(response.headers.items())))
    assert all(answer == answers[0] for answer in answers)


async def test_a_damaged_picture_is_never_sent(bench: Bench) -> None:
    """500 while an entry still names it; 404 once it was purged between the two looks."""
    digest = bench.keep(PICTURE, "image/png", namespace="one")
    del bench.blobs.pictures[digest]
    async with bench.client("a") as client:
        response = await client.get(f"/v1/blobs/{digest}")
        assert (response.status_code, response.json()["code"]) == (500, "stored_bytes_damaged")


async def test_a_namespace_s_rows_are_asked_for_and_no_other(bench: Bench) -> None:
    """The namespace comes from the key alone."""
    digest = bench.keep(PICTURE, "image/png", namespace="one")
    async with bench.client("b") as client:
        response = await client.get(f"/v1/blobs/{digest}?namespace=one", headers={"x-namespace": "one"})
    assert response.status_code == 404
    assert [(sha, namespace) for sha, namespace, _ in bench.store.lookups] == [(digest, "two")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ('"{}"', 304),
        ('W/"{}"', 304),
        ('"x", "{}"', 304),
        ("*", 304),
        ('"x"', 200),
        ("{}", 200),
        ("", 200),
    ],
)
async def test_an_unchanged_picture_is_not_sent_again(bench: Bench, sent: str, status: int) -> None:
    """RFC 9110, section 13.1.2: weakly compared, a list, or any."""
    digest = bench.keep(PICTURE, "image/png", namespace="one")
    async with bench.client("a") as client:
        response = await client.get(f"/v1/blobs/{digest}", headers={"if-none-match": sent.format(digest)})
    assert response.status_code == status
    assert response.headers["etag"] == f'"{digest}"'
    assert bool(response.content) == (status == 200)


@pytest.mark.parametrize(
    ("sent", "status", "content", "content_range"),
    [
        ("bytes=0-9", 206, PICTURE[:10], "bytes 0-9/100"),
        ("bytes=90-", 206, PICTURE[90:], "bytes 90-99/100"),
        ("bytes=-10", 206, PICTURE[90:], "bytes 90-99/100"),
        ("bytes=-1000", 206, PICTURE, "bytes 0-99/100"),
        ("bytes=50-1000", 206, PICTURE[50:], "bytes 50-99/100"),
        ("bytes=0-0", 206, PICTURE[:1], "bytes 0-0/100"),
        ("BYTES=0-0", 206, PICTURE[:1], "bytes 0-0/100"),
        ("bytes=100-", 416, None, "bytes */100"),
        ("bytes=-0", 416, None, "bytes */100"),
        ("bytes=999999999999999999-", 416, None, "bytes */100"),
        ("bytes=0-1,5-6", 200, PICTURE, None),
        ("bytes=9-0", 200, PICTURE, None),
        ("bytes=-", 200, PICTURE, None),
        ("bytes=a-b", 200, PICTURE, None),
        ("items=0-1", 200, PICTURE, None),
        ("bytes=" + "9" * 5000 + "-", 200, PICTURE, None),
        ("bytes=" + ",".join(["0-"] * 2000), 200, PICTURE, None),
    ],
)
async def test_one_range_is_served(
    bench: Bench, sent: str, status: int, content: bytes | None, content_range: str | None
) -> None:
    """RFC 9110, section 14: one part, or an error that says the size; several and nonsense give the whole."""
    digest = bench.keep(PICTURE, "image/png", namespace="one")
    async with bench.client("a") as client:
        response = await client.get(f"/v1/blobs/{digest}", headers={"range": sent})
    assert response.status_code == status
    assert response.headers.get("content-range") == content_range
    if content is not None:
        assert response.content == content


async def test_a_range_on_condition_of_another_etag_is_ignored(bench: Bench) -> None:
    """RFC 9110, section 13.1.5: parts of two pictures are never mixed."""
    digest = bench.keep(PICTURE, "image/png", namespace="one")
    async with bench.client("a") as client:
        for sent, status in ((f'"{digest}"', 206), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
            headers = {"range": "bytes=0-9", "if-range": sent}
            assert (await client.get(f"/v1/blobs/{digest}", headers=headers)).status_code == status


async def test_head_has_the_headers_of_get_and_reads_nothing(bench: Bench) -> None:
    """The same headers, length included, without touching the disk."""
    digest = bench.keep(PICTURE, "image/png", namespace="one")
    async with bench.client("a", headers={"authorization": "Bearer a", "x-request-id": "same"}) as client:
        whole = await client.get(f"/v1/blobs/{digest}")
        bench.blobs.pictures.clear()
        head = await client.head(f"/v1/blobs/{digest}")
    assert head.headers == whole.headers
    assert not head.content


@given(st.text(st.characters(max_codepoint=255)), st.integers(0, 200))
def test_any_range_is_inside_or_refused(sent: str, size: int) -> None:
    """No header gives bytes that aren't there."""
    scope = {"type": "http", "headers": [(b"range", sent.encode("latin-1"))]}
    span = _span(Request(scope), '"e"', size)
    if span is not None and span.start < span.stop:
        assert 0 <= span.start < span.stop <= size


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_any_condition_is_read(sent: list[str]) -> None:
    """Nonsense matches nothing."""
    assert _matches(sent, '"e"') in (True, False)
