"""The simulated upstream. One call goes from `Simulator.images` or `Simulator.chat` downwards.

whose key? ─► what is asked? ─► does a fault refuse it? ─► do the limit pools admit it? ─► wait ─► make ─► send (damaged?)
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import random
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.types import ASGIApp

from cache_service.simulator import chat_api, image_api, images, latency
from cache_service.simulator.batch_api import BatchApi
from cache_service.simulator.body import read_object
from cache_service.simulator.catalog import Model, load_catalog
from cache_service.simulator.clock import Clock
from cache_service.simulator.config import Account, SimulatorConfig
from cache_service.simulator.delivery import Pieces, Whole, damaged, damaged_stream, to_json
from cache_service.simulator.faults import REFUSING, CallFacts, Fault, FaultKind, FaultPlan, refusal_of
from cache_service.simulator.limits import Admitted, Cost, LimitPools, Never, QuotaExhausted, Wait
from cache_service.simulator.project_limits import project_limits
from cache_service.simulator.refusals import (
    Refusal,
    Refused,
    limit_headers,
    quota_exhausted,
    rate_limited,
    too_large,
    unknown_key,
    unknown_model,
)
from cache_service.simulator.stats import Stats

HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(slots=True)
class Call:
    """One call while it is answered."""

    operation: Literal["images", "chat"]
    account: Account
    key: str
    identifier: str
    began: float
    model: str = ""
    fault: Fault | None = None
    error_body: bytes = b""
    """What an error inside a 200 or a stream says."""


class Simulator:
    """The upstream: its limit pools, faults, clock and random draws."""

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.pools = LimitPools(config.pools)
        self.faults = FaultPlan(config.faults)
        self.stats = Stats()
        self._catalog = load_catalog()
        self._accounts = {account.key: account for account in config.accounts}
        self._random = random.Random(config.seed)  # noqa: S311  # latencies and faults, no secrets
        self._started = clock.now()
        self._pictures = 0
        self._released = asyncio.Event()
        self.batch_api = BatchApi(answer=self._batched, owner=self._project, clock=clock, pace=config.batch_pace)

    async def images(self, request: Request) -> ASGIApp:
        """`POST /v1/images/generations`."""
        call = self._call(request, "images")
        try:
            asked = image_api.parse(
                await self._read(call, request), self._catalog, strict=self.config.strict, today=self._today()
            )
            await self._admit(call, asked.model, asked.prompt, image_api.cost(asked, self._catalog))
        except Refused as exc:
            return self._refuse(call, exc.refusal)
        early = await self._instead(call, request)
        if early is not None:
            return early
        seconds = latency.image_seconds(
            self.config.latency,
            self._catalog.latency(asked.model),
            asked.quality,
            asked.width * asked.height,
            self._random.gauss(0, 1),
        )
        self.stats.images += asked.n
        if asked.stream:
            return self._stream(call, self._image_events(call, asked, seconds))
        await self.clock.sleep(seconds)
        numbers = [self._next_picture() for _ in range(asked.n)]
        created = int(self.clock.time())

        def make() -> bytes:
            pictures = [self._picture(call, asked, number) for number in numbers]
            return to_json(image_api.answer(asked, pictures, self._catalog, created))

        return self._whole(call, await self.clock.in_thread(make))

    async def chat(self, request: Request) -> ASGIApp:
        """`POST /v1/chat/completions`."""
        call = self._call(request, "chat")
        try:
            asked = chat_api.parse(
                await self._read(call, request), self._catalog, strict=self.config.strict, today=self._today()
            )
            await self._admit(call, asked.model, asked.prompt, chat_api.cost(asked))
        except Refused as exc:
            return self._refuse(call, exc.refusal)
        early = await self._instead(call, request)
        if early is not None:
            return early
        given = await self.clock.in_thread(lambda: chat_api.replies(asked))
        tokens = sum(reply.tokens for reply in given)
        first, rest = latency.chat_seconds(self.config.latency, tokens, self._random.gauss(0, 1))
        identifier = f"chatcmpl-{uuid.uuid4().hex}"
        if asked.stream:
            return self._stream(call, self._chat_events(asked, given, identifier, first, rest))
        await self.clock.sleep(first + rest)
        created = int(self.clock.time())
        body = await self.clock.in_thread(
            lambda: to_json(chat_api.completion(asked, given, identifier=identifier, created=created))
        )
        return self._whole(call, body)

    async def _batched(self, url: str, body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        """What a request of a batch is answered: as by its own route, but its limits and keys are the batch's."""
        operation: Literal["images", "chat"] = "images" if url.endswith("/images/generations") else "chat"
        call = Call(operation, Account(""), "", f"req_{uuid.uuid4().hex}", self.clock.now())
        self.stats.calls["batch"] += 1
        try:
            return 200, await (
                self._batched_images(call, body) if operation == "images" else self._batched_chat(call, body)
            )
        except Refused as refused:
            self.stats.refused[refused.refusal.code or str(refused.refusal.status)] += 1
            return refused.refusal.status, refused.refusal.envelope()

    async def _batched_images(self, call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = image_api.parse(body, self._catalog, strict=self.config.strict, today=self._today())
        self._choose_fault(call, asked.model, asked.prompt)
        self.stats.prompts.append(asked.prompt)
        seconds = latency.image_seconds(
            self.config.latency,
            self._catalog.latency(asked.model),
            asked.quality,
            asked.width * asked.height,
            self._random.gauss(0, 1),
        )
        await self.clock.sleep(seconds)
        self.stats.images += asked.n
        pictures = [await self._draw_one(call, asked) for _ in range(asked.n)]
        return image_api.answer(asked, pictures, self._catalog, int(self.clock.time()))

    async def _batched_chat(self, call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = chat_api.parse(body, self._catalog, strict=self.config.strict, today=self._today())
        self._choose_fault(call, asked.model, asked.prompt)
        self.stats.prompts.append(asked.prompt)
        given = await self.clock.in_thread(lambda: chat_api.replies(asked))
        first, rest = latency.chat_seconds(
            self.config.latency, sum(reply.tokens for reply in given), self._random.gauss(0, 1)
        )
        await self.clock.sleep(first + rest)
        identifier = f"chatcmpl-{uuid.uuid4().hex}"
        return chat_api.completion(asked, given, identifier=identifier, created=int(self.clock.time()))

    def _choose_fault(self, call: Call, model: str, prompt: str) -> None:
        """The fault of a request in a batch; those that refuse do. Raises Refused."""
        facts = CallFacts(call.operation, model, call.key, prompt)
        call.fault = self.faults.choose(facts, self.clock.now() - self._started, self._random.random)
        if call.fault is None:
            return
        self.stats.faults[call.fault.kind] += 1
        refusal = refusal_of(call.fault, facts)
        if refusal is not None and call.fault.kind in REFUSING:
            raise Refused(refusal)

    def _project(self, request: Request) -> str:
        """Whose files and batches the key may use. Raises Refused."""
        account, key = self._account(request)
        if self._accounts and (key not in self._accounts or account.revoked):
            raise Refused(unknown_key(key))
        return account.project

    def _account(self, request: Request) -> tuple[Account, str]:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        return self._accounts.get(key, Account(key)), key

    def _call(self, request: Request, operation: Literal["images", "chat"]) -> Call:
        self.stats.calls[operation] += 1
        account, key = self._account(request)
        return Call(operation, account, key, f"req_{uuid.uuid4().hex}", self.clock.now())

    async def _read(self, call: Call, request: Request) -> dict[str, Any]:
        """The request's body, if the key is good. Raises Refused."""
        if self._accounts and (call.key not in self._accounts or call.account.revoked):
            raise Refused(unknown_key(call.key))
        return await read_object(request, self.config.max_body_bytes)

    async def _admit(self, call: Call, model: str, prompt: str, cost: Cost) -> None:
        """Charges the call to its limit pools, and finds its fault. Raises Refused."""
        call.model = model
        facts = CallFacts(call.operation, model, call.key, prompt)
        now = self.clock.now()
        call.fault = self.faults.choose(facts, now - self._started, self._random.random)
        if call.fault is not None:
            self.stats.faults[call.fault.kind] += 1
            await self.clock.sleep(call.fault.delay)
            refusal = refusal_of(call.fault, facts)
            if refusal is not None:
                call.error_body = to_json(refusal.envelope())
                if call.fault.kind in REFUSING:
                    raise Refused(refusal)
        verdict = self.pools.admit(call.account.owners, model, cost, self.clock.now())
        match verdict:
            case Wait():
                raise Refused(rate_limited(verdict, model))
            case Never():
                raise Refused(too_large(verdict, model))
            case QuotaExhausted():
                raise Refused(quota_exhausted(verdict))
            case Admitted():
                if self._is_shut_down(model):
                    raise Refused(unknown_model(model))
                self.stats.admitted += 1
                self.stats.tokens += cost.tokens
                self.stats.prompts.append(prompt)

    async def _instead(self, call: Call, request: Request) -> ASGIApp | None:
        """What a fault answers in place of a generation; None where the generation goes on."""
        match call.fault.kind if call.fault else None:
            case FaultKind.HTML_502:
                return Whole(HTML_502, status=502, media_type="text/html", headers=self._headers(call))
            case FaultKind.REDIRECT:
                target = {"location": "http://redirected.invalid/v1", **(call.fault.headers if call.fault else {})}
                return Whole(b"", status=307, headers={**self._headers(call), **target})
            case FaultKind.HUNG:
                await _gone(request)
                return Whole(b"", status=499)
            case FaultKind.HELD:
                await self._released.wait()
                return None
            case _:
                return None

    async def _image_events(self, call: Call, asked: image_api.ImageRequest, seconds: float) -> AsyncIterator[bytes]:
        part = seconds / (asked.partial_images + 1)
        for index in range(asked.partial_images):
            await self.clock.sleep(part)
            picture = await self._draw_one(call, asked)
            yield _event(image_api.partial_event(asked, picture, index, int(self.clock.time())))
        await self.clock.sleep(part)
        for _ in range(asked.n):
            picture = await self._draw_one(call, asked)
            yield _event(image_api.completed_event(asked, picture, self._catalog, int(self.clock.time())))

    async def _chat_events(
        self, asked: chat_api.ChatRequest, given: list[chat_api.Reply], identifier: str, first: float, rest: float
    ) -> AsyncIterator[bytes]:
        chunks = list(chat_api.chunks(asked, given, identifier=identifier, created=int(self.clock.time())))
        await self.clock.sleep(first)
        for chunk in chunks:
            if asked.obfuscate and chunk["choices"]:
                filler = self._random.randbytes(self._random.randint(4, 24))
                chunk["obfuscation"] = base64.b64encode(filler).decode("ascii").rstrip("=")
            yield b"data: " + to_json(chunk) + b"\n\n"
            await self.clock.sleep(rest / len(chunks))
        yield b"data: [DONE]\n\n"

    async def _draw_one(self, call: Call, asked: image_api.ImageRequest) -> str:
        number = self._next_picture()
        return await self.clock.in_thread(lambda: self._picture(call, asked, number))

    def _next_picture(self) -> int:
        self._pictures += 1
        return self._pictures

    def _picture(self, call: Call, asked: image_api.ImageRequest, number: int) -> str:
        """Base64 of one picture, cut where the fault says so. Runs in a thread."""
        drawn = images.draw(
            images.Picture(
                prompt=asked.prompt,
                number=number,
                width=asked.width,
                height=asked.height,
                format=asked.output_format,
                transparent=asked.transparent,
                quality=75 if asked.compression is None else max(1, asked.compression),
                frames=asked.frame_count,
                frame_ms=asked.frame_ms,
            )
        )
        kind = call.fault.kind if call.fault else None
        if kind is FaultKind.CUT_PICTURE:
            return image_api.encode(drawn[: len(drawn) // 2])
        text = image_api.encode(drawn)
        return text[: len(text) // 8 * 4 + 1] if kind is FaultKind.CUT_BASE64 else text

    def _whole(self, call: Call, body: bytes) -> ASGIApp:
        return damaged(Whole(body, headers=self._headers(call)), call.fault, call.error_body, self.clock)

    def _stream(self, call: Call, events: AsyncIterator[bytes]) -> ASGIApp:
        sent = damaged_stream(events, call.fault, call.error_body, self.clock)
        return Pieces(sent, headers={**self._headers(call), "cache-control": "no-cache"})

    def _refuse(self, call: Call, refusal: Refusal) -> ASGIApp:
        self.stats.refused[refusal.code or str(refusal.status)] += 1
        headers = {**self._headers(call), **refusal.headers}
        return Whole(to_json(refusal.envelope()), status=refusal.status, headers=headers)

    def _headers(self, call: Call) -> dict[str, str]:
        """What every answer of a generation route carries."""
        now = self.clock.now()
        told = {
            "x-request-id": call.identifier,
            "openai-processing-ms": str(round((now - call.began) * 1000)),
            "openai-organization": call.account.organization,
            "openai-project": call.account.project,
            "openai-version": "2020-10-01",
        }
        if call.operation == "chat" or self.config.image_rate_headers:
            told.update(limit_headers(self.pools.standings(call.account.owners, call.model, now)))
        return told

    def _today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self.clock.time(), dt.UTC).date()

    def _is_shut_down(self, model: str) -> bool:
        date = self.config.shutdown_dates.get(model)
        return date is not None and self._today().isoformat() >= date

    async def models(self, request: Request) -> ASGIApp:
        """`GET /v1/models`."""
        return Whole(
            to_json({"object": "list", "data": [self._listed(model) for model in self._catalog.models.values()]})
        )

    async def model(self, request: Request) -> ASGIApp:
        """`GET /v1/models/{id}`; not strict, every id has a model."""
        identifier = request.path_params["model"]
        known = self._catalog.models.get(identifier)
        if known is None:
            if self.config.strict:
                refusal = unknown_model(identifier)
                return Whole(to_json(refusal.envelope()), status=refusal.status)
            known = Model(identifier, "chat", 1_700_000_000)
        return Whole(to_json(self._listed(known)))

    async def rate_limits(self, request: Request) -> ASGIApp:
        """`GET /v1/organization/projects/{id}/rate_limits`, for the admin key: a project's limits by model, in pages."""
        _, _, key = request.headers.get("authorization", "").partition(" ")
        if not key or key.strip() != (self.config.admin_key or key.strip()):
            refusal = unknown_key(key.strip())
            return Whole(to_json(refusal.envelope()), status=refusal.status)
        project, query = request.path_params["project"], request.query_params
        accounts = [account for account in self._accounts.values() if account.project == project]
        owners = accounts[0].owners if accounts else Account("", project=project).owners
        models = sorted(self._catalog.models)
        if query.get("after", "") in models:
            models = models[models.index(query["after"]) + 1 :]
        size = min(100, max(1, int(query["limit"]))) if query.get("limit", "").isdigit() else 100
        page = models[:size]
        return Whole(to_json(project_limits(page, self.pools, owners, has_more=len(models) > size)))

    def _listed(self, model: Model) -> dict[str, Any]:
        return {
            "id": model.id,
            "object": "model",
            "created": model.created,
            "owned_by": "openai",
            "shutdown_date": self.config.shutdown_dates.get(model.id, model.shutdown_date),
        }

    def release(self) -> None:
        """Held calls go on."""
        self._released.set()
        self._released = asyncio.Event()


async def _gone(request: Request) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + b"data: " + to_json(event) + b"\n\n"
