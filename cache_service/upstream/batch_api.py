"""The upstream's own Batch API over HTTP: a file of requests in, a file of answers out, for half the price and within a day.

Files are sent and read piece by piece; of a file of answers one line is in memory. What can't happen here is what can't happen in
`openai`: no redirects, no proxies from the environment, no cookies, and no driver's exception beyond this file.
"""

from __future__ import annotations

import http.cookiejar
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cache_service.errors import UpstreamError, UpstreamRefused, UpstreamUnreachable
from cache_service.upstream.base import BatchAtUpstream
from cache_service.upstream.key_pool import NamedKey
from cache_service.upstream.masking import mask_secrets

TIMEOUT = httpx.Timeout(300.0, connect=10.0)
"""Seconds for each step; a file of 200 MB takes a while to be taken in."""
MOST_LOOKED_AT = 1000
"""Batches of the last days that are looked through for one of ours."""
TAG = "cache_service"
"""The metadata's member that names a batch of ours."""


class OpenAIBatchApi:
    """A `BatchApi` below one base URL. keys: the first one begins batches; each batch is asked about with the key that began it.

    headers: sent with every call, as with every generation; their values are kept out of errors as keys are.
    """

    def __init__(
        self,
        base_url: str,
        keys: Sequence[NamedKey],
        *,
        max_line_bytes: int,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._keys = {key.name: key.secret for key in keys}
        self._first = keys[0].name
        own = dict(headers or {})
        self._secrets = [secret for secret in (*self._keys.values(), *own.values()) if secret]
        self._max_line_bytes = max_line_bytes
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT, follow_redirects=False, trust_env=False, transport=transport,
            headers={**own, "accept-encoding": "identity"},
        )  # fmt: skip
        self._client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

    def exchange_keys(self, keys: Sequence[NamedKey]) -> None:
        """Begins batches with the first of these from now on; one that an earlier key began is asked about with that, unless its name is taken."""
        self._keys |= {key.name: key.secret for key in keys}
        self._first = keys[0].name
        self._secrets += [key.secret for key in keys if key.secret and key.secret not in self._secrets]

    @property
    def key_name(self) -> str:
        """Of the key that begins batches."""
        return self._first

    async def upload(self, file: str, *, key_name: str) -> str:
        """Sends the file at that path; gives its id."""
        with Path(file).open("rb") as content:  # noqa: ASYNC230  httpx reads it in steps of 64 KiB
            form = {"data": {"purpose": "batch"}, "files": {"file": ("batch.jsonl", content, "application/jsonl")}}
            return _text(await self._ask("POST", "/files", key_name, **form), "id")

    async def create(self, file_id: str, path: str, tag: str, *, key_name: str) -> BatchAtUpstream:
        """Begins the batch of a file. path: the endpoint's, below the base URL. tag: by which `find` finds it."""
        body = {
            "input_file_id": file_id,
            "endpoint": f"/v1{path}",
            "completion_window": "24h",
            "metadata": {TAG: tag},
        }
        return _batch(await self._ask("POST", "/batches", key_name, json=body))

    async def find(self, tag: str, *, key_name: str) -> BatchAtUpstream | None:
        """The batch with that tag, if it was begun."""
        after: str | None = None
        for _ in range(MOST_LOOKED_AT // 100):
            params: dict[str, Any] = {"limit": 100} | ({"after": after} if after else {})
            page = await self._ask("GET", "/batches", key_name, params=params)
            found = page.get("data")
            listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
            for one in listed:
                if (one.get("metadata") or {}).get(TAG) == tag:
                    return _batch(one)
            if not page.get("has_more") or not listed:
                return None
            after = _text(listed[-1], "id")
        return None

    async def get(self, batch_id: str, *, key_name: str) -> BatchAtUpstream:
        """The batch as it stands."""
        return _batch(await self._ask("GET", f"/batches/{batch_id}", key_name))

    async def cancel(self, batch_id: str, *, key_name: str) -> None:
        """Cancels what isn't done. One that has ended meanwhile is no error."""
        try:
            await self._ask("POST", f"/batches/{batch_id}/cancel", key_name)
        except UpstreamRefused as refused:
            if refused.status not in (400, 409):
                raise

    async def lines(self, file_id: str, *, key_name: str) -> AsyncIterator[bytes]:
        """The lines of a file of answers."""
        rest = bytearray()
        with self._mapped():
            request = self._request("GET", f"/files/{file_id}/content", key_name)
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code != 200:
                    raise self._refused(response.status_code, response.headers, await response.aread())
                async for piece in response.aiter_bytes():
                    start = len(rest)
                    rest += piece
                    while (end := rest.find(b"\n", start)) >= 0:
                        yield bytes(rest[:end])
                        del rest[: end + 1]
                        start = 0
                    if len(rest) > self._max_line_bytes:
                        raise UpstreamUnreachable(f"a line of the upstream's file exceeds {self._max_line_bytes} bytes")
            finally:
                await response.aclose()
        if rest.strip():
            yield bytes(rest)

    async def aclose(self) -> None:
        """Closes connections; idempotent."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, key_name: str, **what: Any) -> dict[str, Any]:
        with self._mapped():
            response = await self._client.send(self._request(method, path, key_name, **what))
        if not response.is_success:
            raise self._refused(response.status_code, response.headers, response.content)
        try:
            told = response.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise UpstreamUnreachable("the upstream's Batch API answered what is no JSON object")
        return told

    def _request(self, method: str, path: str, key_name: str, **what: Any) -> httpx.Request:
        secret = self._keys.get(key_name, self._keys[self._first])
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        return self._client.build_request(method, self._base_url + path, headers=headers, **what)

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        body = mask_secrets(body[:65_536], self._secrets)
        if not 400 <= status <= 599:
            return UpstreamUnreachable(f"the upstream's Batch API answered {status}")
        return refused_by(status, body, transient=status in (408, 409, 429) or status >= 500)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise UpstreamUnreachable(f"the upstream's Batch API can't be reached: {type(error).__name__}") from error


def refused_by(status: int, body: bytes, *, transient: bool = False) -> UpstreamRefused:
    """The error of an HTTP error answer, in the upstream's own words where it has some."""
    message, code = f"the upstream answered {status}", None
    try:
        told = json.loads(body)["error"]
        message, code = str(told["message"]), told.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    code = code if isinstance(code, str) else None
    return UpstreamRefused(message, status=status, headers={}, body=body, transient=transient, code=code)


def _batch(told: Mapping[str, Any]) -> BatchAtUpstream:
    errors = told.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    return BatchAtUpstream(
        id=_text(told, "id"),
        status=_text(told, "status"),
        output_file_id=_maybe(told.get("output_file_id")),
        error_file_id=_maybe(told.get("error_file_id")),
        error=_maybe(first.get("message")) or "",
    )


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not value or "/" in value:
        raise UpstreamUnreachable(f"the upstream's Batch API told no {name}")
    return value


def _maybe(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
