"""What each route takes and answers, as OpenAPI 3.1 fragments: the source of `/openapi.json` and `/docs`. Data only.

Each constant at the end holds the arguments of one `add_api_route`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cache_service.api.schemas import NO_NUL, Json, ref

_TEXTS: Final[Mapping[int, str]] = {
    400: "The request is wrong; the message says where.",
    401: "No key, or one that isn't known.",
    403: "Another origin's web page asked.",
    404: "No such thing for this caller.",
    409: "Not as things stand; the message says why.",
    413: "The body is too large.",
    415: "The body isn't of a type that this route takes.",
    416: "The range lies outside of the picture.",
    421: "The `Host` isn't one of ours.",
    429: "No capacity at the upstream before the deadline; `Retry-After` says when.",
    500: "The service failed; its log says more under the request id.",
    502: "The upstream failed, or refused this service.",
    503: "Overloaded or not able to; `Retry-After` says when to try again.",
    504: "The upstream took too long, or `only-if-cached` and nothing is.",
}
_HEADERS: Final[Json] = {"X-Request-Id": {"schema": {"type": "string"}, "required": True}}
_CACHE_STATUS: Final[Json] = {
    "Cache-Status": {
        "schema": {"type": "string"},
        "required": True,
        "description": "RFC 9211.",
        "example": 'cache_service; hit; key="…"; detail="semantic similarity=0.953"',
    }
}
_EVERYWHERE: Final = (400, 403, 421, 500, 503)


def errors(*statuses: int, envelope: str, cache_status: bool = False) -> Json:
    """The error answers of a route; `default` covers what an upstream may say besides."""
    media_type = "application/json" if envelope == "Error" else "application/problem+json"
    headers = _HEADERS | (_CACHE_STATUS if cache_status else {})
    described: dict[int | str, str] = {status: _TEXTS[status] for status in sorted({*_EVERYWHERE, *statuses})}
    if envelope == "Error":
        described["default"] = "What the upstream answered, unchanged."
    return {
        status: {
            "description": text,
            "headers": headers,
            "content": {media_type: {"schema": {} if status == "default" else ref(envelope)}},
        }
        for status, text in described.items()
    }


def ok(description: str, content: Json | None, headers: Json | None = None, status: int = 200) -> Json:
    """One good answer."""
    answer: Json = {"description": description, "headers": _HEADERS | (headers or {})}
    if content is not None:
        answer["content"] = content
    return {status: answer}


def json_content(schema: Json, example: Any = None) -> Json:
    """An answer in JSON."""
    return {"application/json": {"schema": schema} | ({} if example is None else {"example": example})}


def body_of(schema: str, examples: Mapping[str, Any]) -> Json:
    """A request's body."""
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": ref(schema), "examples": shown}}}


def _header(name: str, description: str, example: str) -> Json:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description, "example": example}


_STEERING: Final = [
    _header(
        "Cache-Control",
        "RFC 9111 directives no-cache, no-store, only-if-cached, max-age, max-stale, min-fresh, stale-if-error; also exact-only, "
        "similar-if-error, no-fallback and similarity=0.95.",
        "max-age=3600",
    ),
]
_GENERATING: Final = errors(401, 404, 413, 415, 429, 502, 504, envelope="Error", cache_status=True)
_EVENTS: Final[Json] = {"text/event-stream": {}}
_AGE: Final[Json] = {"Age": {"schema": {"type": "integer"}, "description": "Seconds since it was made; on hits only."}}
_ANSWER: Final = {"schema": {"type": "object"}}
CLIENT: Final = "client"
ADMIN: Final = "admin"
VIEWER: Final = "viewer"
PUBLIC: Final = "public"
ROLE: Final = "x-role"
"""Says of a route of `/admin` who may use it: admins, or viewers too."""
ACCESS: Final = "x-access"
"""Marks who may use a route; becomes `security` when the document is made."""


def extra(access: str, **members: Any) -> Json:
    """Who may use the route, and what FastAPI can't know of it."""
    return {ACCESS: access, **members}


IMAGES: Final[Json] = {
    "operation_id": "generateImages",
    "tags": ["OpenAI's API"],
    "responses": ok("Pictures, base64.", {"application/json": _ANSWER} | _EVENTS, _CACHE_STATUS | _AGE) | _GENERATING,
    "openapi_extra": extra(
        CLIENT,
        parameters=_STEERING,
        requestBody=body_of(
            "ImageRequest",
            {
                "one picture": {"model": "gpt-image-2", "prompt": "A red fox in the snow", "size": "1024x1024"},
                "three": {"model": "gpt-image-2", "prompt": "A lighthouse at dusk", "n": 3, "quality": "low"},
            },
        ),
    ),
}
CHAT: Final[Json] = {
    "operation_id": "createChatCompletion",
    "tags": ["OpenAI's API"],
    "responses": ok("An answer.", {"application/json": _ANSWER} | _EVENTS, _CACHE_STATUS | _AGE) | _GENERATING,
    "openapi_extra": extra(
        CLIENT,
        parameters=_STEERING,
        requestBody=body_of(
            "ChatRequest",
            {
                "a question": {
                    "model": "gpt-6-luna",
                    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
                }
            },
        ),
    ),
}
MODELS: Final[Json] = {
    "operation_id": "listModels",
    "tags": ["OpenAI's API"],
    "responses": ok("The list.", {"application/json": _ANSWER}) | errors(401, 429, 502, 504, envelope="Error"),
    "openapi_extra": extra(CLIENT),
}
MODEL: Final[Json] = {
    "operation_id": "retrieveModel",
    "tags": ["OpenAI's API"],
    "responses": ok("The model.", {"application/json": _ANSWER}) | errors(401, 404, 429, 502, 504, envelope="Error"),
    "openapi_extra": extra(
        CLIENT,
        parameters=[
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "gpt-image-2"}
        ],
    ),
}
GENERATE: Final[Json] = {
    "operation_id": "generate",
    "tags": ["Cache"],
    "responses": ok("The answer and how it came about.", json_content(ref("GenerateResponse")), _CACHE_STATUS | _AGE)
    | errors(401, 404, 413, 415, 429, 502, 504, envelope="Problem", cache_status=True)
    | {
        "default": {
            "description": "What the upstream answered.",
            "content": {"application/problem+json": {"schema": {}}},
        }
    },
    "openapi_extra": extra(
        CLIENT,
        parameters=_STEERING,
        requestBody=body_of(
            "GenerateRequest",
            {
                "images": {
                    "operation": "images",
                    "request": {"model": "gpt-image-2", "prompt": "A red fox in the snow"},
                    "cache": {"max_age": 3600, "tags": ["animals"]},
                },
                "chat": {
                    "operation": "chat",
                    "request": {
                        "model": "gpt-6-luna",
                        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
                    },
                },
            },
        ),
    ),
}
_BATCH_ITEMS: Final = [
    {"operation": "images", "request": {"model": "gpt-image-2", "prompt": "A red fox in the snow"}},
    {
        "operation": "chat",
        "request": {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Why is the sky blue?"}]},
        "cache": {"tags": ["faq"]},
    },
]
_BATCH_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "example": "batch_" + "0" * 32,
}
_PREFER: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`respond-async`: answer at once (RFC 7240).",
}
_LINES: Final[Json] = {
    "application/x-ndjson": {
        "schema": {
            "type": "string",
            "description": "`batch`, results as in `BatchResult`, `progress`, and `batch` again.",
        }
    }
}
_LOCATION: Final[Json] = {"Location": {"schema": {"type": "string"}, "required": True, "description": "The batch."}}
BATCH_CREATE: Final[Json] = {
    "operation_id": "createBatch",
    "tags": ["Cache"],
    "responses": ok("The results as they come; the batch goes on without a reader.", _LINES, _LOCATION)
    | ok("Begun, as `Prefer: respond-async` wants it.", json_content(ref("Batch")), _LOCATION, status=202)
    | errors(401, 413, 415, 429, envelope="Problem"),
    "openapi_extra": extra(
        CLIENT,
        parameters=[*_STEERING, _PREFER],
        requestBody={
            "required": True,
            "description": "Also as `application/x-ndjson`: a `BatchItem` on each line; the first line may be "
            '`{"batch": …}`, with `BatchOptions`.',
            "content": {
                "application/json": {
                    "schema": ref("BatchRequest"),
                    "examples": {
                        "a list": {"value": _BATCH_ITEMS},
                        "with options": {"value": {"batch": {"budget_usd": 5}, "requests": _BATCH_ITEMS}},
                    },
                },
            },
        },
    ),
}
BATCH_SHOW: Final[Json] = {
    "operation_id": "getBatch",
    "tags": ["Cache"],
    "responses": ok("How it stands, and results.", json_content(ref("BatchResults")) | _LINES)
    | errors(401, 404, envelope="Problem"),
    "openapi_extra": extra(
        CLIENT,
        parameters=[
            _BATCH_ID,
            {
                "name": "offset",
                "in": "query",
                "schema": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
                "description": "Results with a larger number: the last one that was read; 0 by default.",
            },
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 0, "maximum": 1000},
                "description": "How many at most, as JSON; 100 by default.",
            },
            {
                "name": "follow",
                "in": "query",
                "schema": {"type": "boolean"},
                "description": "`true`: as NDJSON, and also those that are still to come.",
            },
            _header("Accept", "`application/x-ndjson`: all results so far, one on a line.", "application/x-ndjson"),
        ],
    ),
}
BATCH_CANCEL: Final[Json] = {
    "operation_id": "cancelBatch",
    "tags": ["Cache"],
    "responses": ok("Nothing more is begun; how it stands, or has ended.", json_content(ref("Batch")))
    | errors(401, 404, envelope="Problem"),
    "openapi_extra": extra(CLIENT, parameters=[_BATCH_ID]),
}
BATCH_DELETE: Final[Json] = {
    "operation_id": "deleteBatch",
    "tags": ["Cache"],
    "responses": ok("It is gone; how it stood.", json_content(ref("Batch")))
    | errors(401, 404, 409, envelope="Problem"),
    "openapi_extra": extra(CLIENT, parameters=[_BATCH_ID]),
}
_PICTURES: Final[Json] = {
    media_type: {"schema": {"type": "string", "format": "binary"}}
    for media_type in ("image/png", "image/jpeg", "image/webp", "image/gif", "application/octet-stream")
}
_BLOB_EXTRA: Final = extra(
    CLIENT,
    parameters=[
        {
            "name": "sha256",
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": "SHA-256 of the picture's bytes, 64 hexadecimal digits.",
            "example": "0" * 64,
        },
    ],
)
_BLOB_ANSWERS: Final[Json] = {
    **ok("The picture.", _PICTURES),
    **ok("The part that `Range` names.", _PICTURES, status=206),
    **ok("Unchanged.", None, status=304),
    **errors(401, 404, 416, envelope="Problem"),
}
BLOB: Final[Json] = {
    "operation_id": "getBlob",
    "tags": ["Cache"],
    "responses": _BLOB_ANSWERS,
    "openapi_extra": _BLOB_EXTRA,
}
BLOB_HEAD: Final[Json] = BLOB | {"operation_id": "headBlob"}
FEEDBACK: Final[Json] = {
    "operation_id": "giveFeedback",
    "tags": ["Cache"],
    "responses": ok("Noted, durable, and in force.", json_content(ref("FeedbackEffect")))
    | errors(401, 404, 413, 415, envelope="Problem"),
    "openapi_extra": extra(
        CLIENT,
        requestBody=body_of(
            "FeedbackRequest",
            {
                "a wrong hit": {"request_id": "5f0c1f7a9b3d4e2f8a6b7c8d9e0f1a2b", "verdict": "wrong"},
                "a right one": {"key": "0" * 64, "verdict": "right"},
            },
        ),
    ),
}
FEEDBACK_LIST: Final[Json] = {
    "operation_id": "listFeedback",
    "tags": ["Administration"],
    "responses": ok("A page of it.", json_content(ref("FeedbackList"))) | errors(401, envelope="Problem"),
    "openapi_extra": extra(
        VIEWER,
        parameters=[
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": 1000},
                "description": "How many at most; 100 by default.",
            },
            {
                "name": "before",
                "in": "query",
                "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
                "description": "Only smaller ids: `next` of the page before.",
            },
            {
                "name": "namespace",
                "in": "query",
                "schema": {"type": "string", "pattern": NO_NUL},
                "description": "Of this namespace alone.",
            },
        ],
    ),
}
FEEDBACK_UNDO: Final[Json] = {
    "operation_id": "undoFeedback",
    "tags": ["Administration"],
    "responses": ok("Undone; what holds now.", json_content(ref("FeedbackEffect")))
    | errors(401, 404, envelope="Problem"),
    "openapi_extra": extra(
        ADMIN,
        parameters=[
            {
                "name": "id",
                "in": "path",
                "required": True,
                "schema": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
                "example": 1,
            }
        ],
    ),
}
RELOAD: Final[Json] = {
    "operation_id": "reload",
    "tags": ["Administration"],
    "responses": ok("What changed, and what will after a restart.", json_content(ref("ReloadResponse")))
    | errors(401, envelope="Problem"),
    "openapi_extra": extra(ADMIN),
}
PURGE: Final[Json] = {
    "operation_id": "purge",
    "tags": ["Administration"],
    "responses": ok("What went, or would go.", json_content(ref("PurgeResponse")))
    | errors(401, 413, 415, envelope="Problem"),
    "openapi_extra": extra(
        ADMIN,
        requestBody=body_of(
            "PurgeRequest",
            {
                "count first": {"prompt": "A red fox in the snow", "dry_run": True},
                "like a prompt": {"similar_to": "a fox in snow", "similarity": 0.9, "dry_run": True},
                "everything": {"all": True, "confirm": "purge all", "dry_run": True},
            },
        ),
    ),
}


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_DAYS: Final = _query(
    "days", {"type": "integer", "minimum": 1, "maximum": 3660}, "Days back, today included; 30 by default."
)
_USD: Final[Json] = {"type": "number", "minimum": 0, "maximum": 1e12}
_SHARE: Final[Json] = {"type": "number", "minimum": 0, "maximum": 1}
ROI: Final[Json] = {
    "operation_id": "roi",
    "tags": ["Administration"],
    "responses": ok("What it is worth.", json_content(ref("Roi"))) | errors(401, envelope="Problem"),
    "openapi_extra": extra(
        VIEWER,
        parameters=[
            _DAYS,
            _query("operation", {"enum": ["images", "chat"]}, "Of one operation alone."),
            _query(
                "compare",
                {"enum": ["true", "false"]},
                "Also price the same traffic by every model of the catalog, and every provider configured.",
            ),
            _query("wrong_answer_usd", _USD, "What one wrong answer costs; 0 by default."),
            _query("wrong_share", _SHARE, "Share of semantic hits that are wrong; by default what feedback says."),
            _query("running_usd_per_month", _USD, "What running the service costs a month."),
            _query("one_off_usd", _USD, "What it cost to set up; gives payback and annual ROI."),
            _query("labour_hours", _USD, "Hours of work that it saves a month."),
            _query("labour_rate", _USD, "What one of them costs, USD."),
            _query("failure_before", _SHARE, "Share of requests that failed without the service."),
            _query("failure_after", _SHARE, "Share that fails with it."),
            _query("failure_usd", _USD, "What a failed request costs; a generation by default."),
        ],
    ),
}
SPENDING: Final[Json] = {
    "operation_id": "spending",
    "tags": ["Administration"],
    "responses": ok("Sums, and the budgets.", json_content(ref("Spending"))) | errors(401, envelope="Problem"),
    "openapi_extra": extra(VIEWER, parameters=[_DAYS]),
}
ALERTS: Final[Json] = {
    "operation_id": "alerts",
    "tags": ["Administration"],
    "responses": ok("What fires now, and the thresholds.", json_content(ref("Alerts")))
    | errors(401, envelope="Problem"),
    "openapi_extra": extra(VIEWER),
}
LIVEZ: Final[Json] = {
    "operation_id": "livez",
    "tags": ["Operation"],
    "responses": ok("The process runs.", {"text/plain": {"schema": {"type": "string"}}}) | errors(envelope="Problem"),
    "openapi_extra": extra(PUBLIC),
}
READYZ: Final[Json] = {
    "operation_id": "readyz",
    "tags": ["Operation"],
    "responses": ok("Ready for requests.", json_content(ref("Readiness")))
    | errors(envelope="Problem")
    | ok("Not ready, or told to stop.", json_content(ref("Readiness")), status=503),
    "openapi_extra": extra(PUBLIC),
}
METRICS: Final[Json] = {
    "operation_id": "metrics",
    "tags": ["Operation"],
    "responses": ok("Prometheus text.", {"text/plain": {"schema": {"type": "string"}}})
    | errors(401, envelope="Problem"),
    "openapi_extra": extra(CLIENT),
}
HOME: Final[Json] = {
    "operation_id": "home",
    "tags": ["Operation"],
    "responses": ok(
        "What this is.",
        {"text/html": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}},
    )
    | errors(envelope="Problem"),
    "openapi_extra": extra(PUBLIC),
}
DOCS: Final[Json] = {
    "operation_id": "docs",
    "tags": ["Operation"],
    "responses": ok("This reference as a page.", {"text/html": {"schema": {"type": "string"}}})
    | errors(envelope="Problem"),
    "openapi_extra": extra(PUBLIC),
}
OPENAPI: Final[Json] = {
    "operation_id": "openapi",
    "tags": ["Operation"],
    "responses": ok("This reference, OpenAPI 3.1.", json_content({"type": "object"})) | errors(envelope="Problem"),
    "openapi_extra": extra(PUBLIC),
}
