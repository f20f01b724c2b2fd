"""The drop-in routes: OpenAI's API, byte for byte, so that its clients work by changing their base URL."""

from __future__ import annotations

import re
import time
from typing import Final
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.exchange import caller_of, exchange_of, read_json, steering_of, to_response
from cache_service.errors import NotFound
from cache_service.service import Service
from cache_service.upstream.base import Call

MODELS_DEADLINE: Final = 60.0  # seconds; a list, not a generation
_MODELS: Final = b"/v1/models/"
_MODEL_PATH: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@%/-]{1,512}")  # RFC 3986, section 3.3


class OpenAIRoutes:
    """`/v1/images/generations`, `/v1/chat/completions` and `/v1/models`."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.client)], default_response_class=Response)
        add = self.router.add_api_route
        add("/v1/images/generations", self.images, methods=["POST"], **descriptions.IMAGES)
        add("/v1/chat/completions", self.chat, methods=["POST"], **descriptions.CHAT)
        add("/v1/models", self.models, methods=["GET"], **descriptions.MODELS)
        add("/v1/models/{model:path}", self.model, methods=["GET"], **descriptions.MODEL)

    async def images(self, request: Request) -> Response:
        """Generates pictures from a prompt, or answers from what was generated before."""
        return await self._generate("images", request)

    async def chat(self, request: Request) -> Response:
        """Answers a conversation, from the cache where the same was asked before."""
        return await self._generate("chat", request)

    async def models(self, request: Request) -> Response:
        """Lists the upstream's models."""
        return await self._pass_on("/models")

    async def model(self, request: Request) -> Response:
        """Describes one of the upstream's models. Its name may hold slashes and is passed on as it was written."""
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        name = raw.removeprefix(_MODELS)
        # the upstream must not be led to another of its resources
        segments = unquote_to_bytes(name).replace(b"\\", b"/").split(b"/")
        if not raw.startswith(_MODELS) or not _MODEL_PATH.fullmatch(name) or {b"", b".", b".."} & set(segments):
            raise NotFound("there is no such model", param="model", code="model_not_found")
        return await self._pass_on(f"/models/{name.decode('ascii')}")

    async def _generate(self, operation: str, request: Request) -> Response:
        body = await read_json(request)
        directives, tags = steering_of(request)
        result = await self._service.cache.get_or_generate(
            operation,
            body,
            caller=caller_of(request),
            directives=directives,
            tags=tags,
            request_id=exchange_of(request.scope).request_id,
        )
        return to_response(result, request, simulated=self._service.upstream.simulated)

    async def _pass_on(self, path: str) -> Response:
        call = Call(path=path, body=None, deadline=time.monotonic() + MODELS_DEADLINE, method="GET")
        async with self._service.upstream.send(call) as reply:
            body = b"".join([piece async for piece in reply.pieces])
        headers = {"x-cache-service-upstream": "simulator"} if self._service.upstream.simulated else None
        return Response(body, reply.status, headers, reply.headers.get("content-type", "application/json"))
