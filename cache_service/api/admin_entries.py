"""`/admin/entries`: what is stored, by pages and filters; one entry with all about it; and any stored picture."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import admin_descriptions as described
from cache_service.api.access import Access
from cache_service.api.admin_requests import seen_members
from cache_service.api.query import Query, path_number
from cache_service.errors import InvalidRequest, NotFound
from cache_service.jobs.inspect import Inspected, Near
from cache_service.service import Service
from cache_service.store.entry import Output, ServedHit
from cache_service.store.records import EntryFilter, EntrySummary, Place, Word

MAX_PROMPT: Final = 32_000
MAX_WORDS: Final = 64
FILTERS: Final = (
    "limit", "after", "namespace", "operation", "model", "tag", "older_than", "newer_than", "text", "similar_to", "similarity",
)  # fmt: skip
_PLACE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?),([0-9]{1,19})")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_INLINE: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


class EntryRoutes:
    """Looking at entries. now: Unix seconds."""

    def __init__(self, service: Service, access: Access, *, now: Callable[[], float] = time.time) -> None:
        self._service = service
        self._now = now
        self.router = APIRouter(dependencies=[Depends(access.reader)], default_response_class=Response)
        add = self.router.add_api_route
        add("/admin/entries", self.page, methods=["GET"], **described.ENTRIES)
        add("/admin/entries/{id}", self.entry, methods=["GET"], **described.ENTRY)
        add("/admin/blobs/{sha256}", self.picture, methods=["GET"], **described.ADMIN_BLOB)

    async def page(self, request: Request) -> Response:
        """Lists entries, newest first; those like a prompt by their similarity."""
        query = Query(request, FILTERS)
        limit, after = query.limit(), _place(query.text("after"))
        wanted, now = EntryFilter(
            namespace=query.text("namespace"),
            operation=query.choice("operation", tuple(sorted(self._service.cache.operations))),
            model=query.text("model"),
            tag=query.text("tag"),
            text=_words(query.text("text", longest=1000)),
        ), self._now()  # fmt: skip
        ages = {"older_than": query.number("older_than"), "newer_than": query.number("newer_than")}
        given = {name: now - age for name, age in ages.items() if age is not None}
        wanted = EntryFilter(**{**{name: getattr(wanted, name) for name in wanted.__slots__}, **given})
        prompt, least = query.text("similar_to", longest=MAX_PROMPT), query.number("similarity", most=1.0)
        if prompt is None:
            found = await self._service.inspector.page(wanted, after, limit)
            following = None if found.next is None else f"{found.next.sort!r},{found.next.id}"
            return _json({"entries": [_summary(entry) for entry in found.entries], "next": following})
        at_least = self._service.settings.threshold if least is None else least
        near = [] if after is not None else await self._service.inspector.similar(prompt, at_least, wanted, limit)
        return _json({"entries": [_near(one) for one in near], "next": None})

    async def entry(self, request: Request) -> Response:
        """Shows one entry: its request, outputs, tags, neighbours, and every decision known that it had a part in."""
        Query(request, ())
        return _json(_inspected(await self._service.inspector.entry(path_number(request, "id", "entry"))))

    async def picture(self, request: Request) -> Response:
        """Gives a stored picture, whoever's it is."""
        Query(request, ())
        digest = str(request.path_params["sha256"])
        output = await self._service.admin.any_output(digest) if _DIGEST.fullmatch(digest) else None
        if output is None:
            raise NotFound("there is no such picture")
        body = await self._service.blobs.read(digest)
        inline = output.media_type in _INLINE
        headers = {
            "cache-control": "private, max-age=31536000, immutable",
            "content-security-policy": "default-src 'none'; sandbox",
            "content-disposition": "inline" if inline else "attachment",
            "vary": "cookie, authorization",
        }
        return Response(body, 200, headers, output.media_type if inline else "application/octet-stream")


def _place(text: str | None) -> Place | None:
    """`next` of the page before. Raises InvalidRequest."""
    if text is None:
        return None
    match = _PLACE.fullmatch(text)
    if match is None or int(match[2]) >= 2**63:
        raise InvalidRequest("after must be the `next` of a page", param="after")
    return Place(float(match[1]), int(match[2]))


def _words(text: str | None) -> tuple[Word, ...]:
    """Words, each perhaps with a `*` at its end; what holds no letter finds nothing. Raises InvalidRequest for too many."""
    if text is None:
        return ()
    parts = text.split()
    words = tuple(Word(part.rstrip("*"), part.endswith("*")) for part in parts)
    if len(words) > MAX_WORDS:
        raise InvalidRequest(f"text must hold at most {MAX_WORDS} words", param="text")
    return words or (Word(text),)


def _summary(entry: EntrySummary) -> dict[str, Any]:
    return {
        "id": entry.id,
        "key": entry.exact_key,
        "namespace": entry.namespace,
        "operation": entry.operation,
        "model": entry.model,
        "prompt": entry.prompt,
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
        "exact_only": entry.exact_only,
        "state": entry.state,
        "client": entry.client,
        "outputs": entry.outputs,
        "blob": entry.blob,
        "media_type": entry.media_type,
    }


def _near(one: Near) -> dict[str, Any]:
    return {**_summary(one.entry), "similarity": one.similarity}


def _inspected(found: Inspected) -> dict[str, Any]:
    entry = found.entry
    return {
        **_summary(entry.summary),
        "prompt": entry.prompt,
        "partition": entry.partition,
        "request": dict(entry.request),
        "made": dict(entry.made),
        "upstream_group": entry.upstream_group,
        "tags": list(entry.tags),
        "stored_outputs": [_output(output) for output in entry.outputs],
        "neighbours": [_near(one) for one in found.neighbours],
        "hits": [_hit(hit) for hit in found.hits],
        "requests": [seen_members(seen) for seen in found.requests],
    }


def _output(output: Output) -> dict[str, Any]:
    return {
        "blob": output.blob,
        "size": output.size,
        "media_type": output.media_type,
        "created": output.created,
        "usage": output.usage,
        "item": output.item,
        "upstream_request_id": output.upstream_request_id,
    }


def _hit(hit: ServedHit) -> dict[str, Any]:
    return {
        "request_id": hit.request_id,
        "at": hit.at,
        "similarity": hit.similarity,
        "asked_key": hit.asked_key,
        "stored_key": hit.stored_key,
        "shadow": hit.shadow,
    }


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer, default=dict), media_type="application/json")
