"""`POST /v1/feedback`: "that hit was wrong" acts at once; and what operators see of it, and take back, under `/admin/feedback`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from cache_service.answer import Caller
from cache_service.api import descriptions
from cache_service.api.access import Access
from cache_service.api.admin_descriptions import FEEDBACK_JUDGE
from cache_service.api.exchange import caller_of, read_object
from cache_service.api.generate import refuse_unknown
from cache_service.errors import InvalidRequest, NotFound
from cache_service.jobs.feedback import Effect
from cache_service.service import Service
from cache_service.store.entry import Feedback, Judgement

MAX_NAME: Final = 256  # characters; a key has 64, a request id up to 128
PAGE: Final = 100
MAX_PAGE: Final = 1000
MAX_NUMBER: Final = 2**63 - 1
_VERDICTS: Final[Mapping[str, Judgement]] = {"wrong": "wrong", "right": "right"}
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


class FeedbackRoutes:
    """`/v1/feedback` for clients, `/admin/feedback` for operators."""

    def __init__(self, service: Service, access: Access) -> None:
        self._service = service
        self.router = APIRouter(dependencies=[Depends(access.client)], default_response_class=Response)
        self.router.add_api_route("/v1/feedback", self.give, methods=["POST"], **descriptions.FEEDBACK)
        self.admin_router = APIRouter(default_response_class=Response)
        add, changing = self.admin_router.add_api_route, [Depends(access.admin)]
        reading = [Depends(access.reader)]
        add("/admin/feedback", self.newest, methods=["GET"], dependencies=reading, **descriptions.FEEDBACK_LIST)
        add("/admin/feedback", self.judge, methods=["POST"], dependencies=changing, **FEEDBACK_JUDGE)
        add(
            "/admin/feedback/{id}/undo",
            self.undo,
            methods=["POST"],
            dependencies=changing,
            **descriptions.FEEDBACK_UNDO,
        )

    async def give(self, request: Request) -> Response:
        """Judges a semantic hit: `wrong` denies the pair of prompts at once and for good, `right` is evidence for the threshold."""
        key, request_id, verdict = _take_apart(await read_object(request))
        effect = await self._service.feedback.give(caller_of(request), verdict, key=key, request_id=request_id)
        return _json(_shown_effect(effect))

    async def judge(self, request: Request) -> Response:
        """Judges a semantic hit of any namespace, as its client could."""
        body = await read_object(request)
        namespace = body.pop("namespace", None)
        if not isinstance(namespace, str) or not 1 <= len(namespace) <= MAX_NAME:
            raise InvalidRequest(f"namespace must be a string of 1 to {MAX_NAME} characters", param="namespace")
        key, request_id, verdict = _take_apart(body)
        who = caller_of(request).client
        caller = Caller(namespace, who)
        effect = await self._service.feedback.give(caller, verdict, key=key, request_id=request_id, by=who)
        return _json(_shown_effect(effect))

    async def newest(self, request: Request) -> Response:
        """Lists the feedback of all namespaces, newest first, and what it does to their thresholds."""
        limit = _number(request, "limit", least=1, most=MAX_PAGE) or PAGE
        before = _number(request, "before", least=0, most=MAX_NUMBER)
        namespace = request.query_params.get("namespace")
        if namespace is not None and "\0" in namespace:
            raise InvalidRequest("namespace holds the character U+0000", param="namespace", code="invalid_text")
        found = await self._service.feedback.newest(namespace=namespace, before=before, limit=limit)
        answer = {
            "feedback": [_shown(one) for one in found],
            "next": found[-1].number if len(found) == limit else None,
            "trust": [asdict(trust) for trust in self._service.feedback.trust()],
        }
        return _json(answer)

    async def undo(self, request: Request) -> Response:
        """Takes feedback back, as if it had never been given; it stays in the record."""
        number = request.path_params["id"]
        if not _DIGITS.fullmatch(number) or int(number) > MAX_NUMBER:
            raise NotFound("there is no such feedback")
        effect = await self._service.feedback.undo(int(number), by=caller_of(request).client)
        return _json(_shown_effect(effect))


def _take_apart(body: Mapping[str, Any]) -> tuple[str | None, str | None, Judgement]:
    """Key, request id and verdict. Raises InvalidRequest."""
    refuse_unknown(body, ("key", "request_id", "verdict"))
    names = {name: body.get(name) for name in ("key", "request_id")}
    for name, value in names.items():
        if value is not None and not (isinstance(value, str) and 1 <= len(value) <= MAX_NAME):
            raise InvalidRequest(
                f"{name} must be a string of 1 to {MAX_NAME} characters", param=name, code="invalid_type"
            )
    if (names["key"] is None) == (names["request_id"] is None):
        raise InvalidRequest("say which hit: either key or request_id", param="request_id")
    verdict = body.get("verdict")
    if not isinstance(verdict, str) or verdict not in _VERDICTS:
        raise InvalidRequest(f"verdict must be one of: {', '.join(_VERDICTS)}", param="verdict")
    return names["key"], names["request_id"], _VERDICTS[verdict]


def _number(request: Request, name: str, *, least: int, most: int) -> int | None:
    """A query parameter. Raises InvalidRequest."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidRequest(f"{name} must be a number from {least} to {most}", param=name)
    return int(text)


def _shown_effect(effect: Effect) -> dict[str, Any]:
    feedback = effect.feedback
    return {
        "id": feedback.number,
        "verdict": feedback.verdict,
        "undone": feedback.undone is not None,
        "operation": feedback.hit.operation,
        "similarity": feedback.hit.similarity,
        "denied": effect.denied,
        "exact_only": effect.exact_only,
        "threshold": effect.threshold,
    }


def _shown(feedback: Feedback) -> dict[str, Any]:
    hit = feedback.hit
    return {
        "id": feedback.number,
        "verdict": feedback.verdict,
        "undone": feedback.undone is not None,
        "at": feedback.at,
        "client": feedback.client,
        "namespace": hit.namespace,
        "operation": hit.operation,
        "request_id": hit.request_id,
        "similarity": hit.similarity,
        "served_at": hit.at,
        "shadow": hit.shadow,
        "asked_key": hit.asked_key,
        "stored_key": hit.stored_key,
        "asked_prompt": feedback.asked_prompt,
        "stored_prompt": feedback.stored_prompt,
    }


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")
