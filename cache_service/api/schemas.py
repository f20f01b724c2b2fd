"""What each route takes and answers, as OpenAPI 3.1 fragments: the source of `/openapi.json` and `/docs`. Data only.

A request's schema says what is refused here; what a value means to a model is the upstream's to judge. Each constant holds the
arguments of one `add_api_route`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[Any, Any]

_STRING: Final[Json] = {"type": ["string", "null"]}
_BOOLEAN: Final[Json] = {"type": ["boolean", "null"]}
_INTEGER: Final[Json] = {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1}
_NUMBER: Final[Json] = {"type": ["number", "null"]}
_OBJECT: Final[Json] = {"type": ["object", "null"]}
_ARRAY: Final[Json] = {"type": ["array", "null"]}
_TEXT: Final[Json] = {"type": ["string", "null"], "minLength": 1, "maxLength": 32_000}


def _between(low: float, high: float, kind: str = "integer") -> Json:
    return {"type": [kind, "null"], "minimum": low, "maximum": high}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: Final[Mapping[str, Json]] = {
    "ImageRequest": {
        "type": "object",
        "description": "Body of OpenAI's image generation. Members that aren't listed are passed on, and belong to the cache key.",
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "minLength": 1, "maxLength": 32_000, "pattern": r"\S"},
            "model": _STRING,
            "n": {
                **_between(1, 10),
                "description": "How many pictures; those already stored are served, the rest is made.",
            },
            "size": _STRING,
            "quality": _STRING,
            "complexity": _STRING,
            "background": _STRING,
            "output_format": _STRING,
            "output_compression": _between(0, 100),
            "moderation": _STRING,
            "stream": {**_BOOLEAN, "description": "Pass the upstream's events through; nothing is stored."},
            "partial_images": _between(0, 3),
            "user": _STRING,
            "safety_identifier": _STRING,
        },
        "additionalProperties": True,
    },
    "ChatRequest": {
        "type": "object",
        "description": "Body of OpenAI's chat completion. Only the last user message is compared by meaning.",
        "required": ["messages"],
        "properties": {
            "messages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["role"],
                    "properties": {
                        "role": {"type": "string"},
                        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
                    },
                    "additionalProperties": True,
                },
            },
            "model": _STRING,
            "n": _between(1, 128),
            "seed": _INTEGER,
            "temperature": _NUMBER,
            "top_p": _NUMBER,
            "max_completion_tokens": _INTEGER,
            "max_tokens": _INTEGER,
            "response_format": _OBJECT,
            "tools": _ARRAY,
            "stream": {**_BOOLEAN, "description": "Pass the upstream's events through; nothing is stored."},
            "stream_options": _OBJECT,
            "user": _STRING,
        },
        "additionalProperties": True,
    },
    "CacheDirectives": {
        "type": "object",
        "description": "The directives of `Cache-Control` as JSON; of both, the stricter one counts.",
        "properties": {
            "no_cache": {**_BOOLEAN, "description": "Generate, whatever is stored."},
            "no_store": {**_BOOLEAN, "description": "Don't store what is generated."},
            "only_if_cached": {**_BOOLEAN, "description": "Generate nothing: a miss is 504."},
            "exact_only": {**_BOOLEAN, "description": "No semantic hit."},
            "max_age": {**_NUMBER, "minimum": 0, "description": "Nothing older, seconds."},
            "min_fresh": {**_NUMBER, "minimum": 0, "description": "Must stay fresh for that long, seconds."},
            "max_stale": {
                "type": ["number", "boolean", "null"],
                "minimum": 0,
                "description": "Expired by at most, seconds.",
            },
            "stale_if_error": {
                "type": ["number", "boolean", "null"],
                "minimum": 0,
                "description": "The same, if the upstream fails.",
            },
            "similarity": {
                **_between(0, 1, "number"),
                "description": "Least cosine of a semantic hit; can only tighten the operator's.",
            },
            "tags": {
                "type": ["array", "null"],
                "maxItems": 16,
                "items": {"type": "string", "pattern": r"^(?! )[ -+\--~]{1,64}(?<! )$"},
                "description": "Names to purge by.",
            },
        },
        "additionalProperties": False,
    },
    "GenerateRequest": {
        "type": "object",
        "required": ["operation", "request"],
        "properties": {
            "operation": {"type": "string", "enum": ["images", "chat"]},
            "request": {"type": "object", "description": "The body of the operation's own route, without `stream`."},
            "cache": {"anyOf": [_ref("CacheDirectives"), {"type": "null"}]},
        },
        "additionalProperties": False,
        "oneOf": [
            {"properties": {"operation": {"const": "images"}, "request": _ref("ImageRequest")}},
            {"properties": {"operation": {"const": "chat"}, "request": _ref("ChatRequest")}},
        ],
        "not": {
            "required": ["request"],
            "properties": {
                "request": {"type": "object", "required": ["stream"], "properties": {"stream": {"const": True}}}
            },
        },
    },
    "GenerateResponse": {
        "type": "object",
        "required": ["cache", "response"],
        "properties": {
            "cache": {
                "type": "object",
                "required": ["decision", "kind", "reason", "detail", "similarity", "key", "age", "ttl", "stored"],
                "properties": {
                    "decision": {"enum": ["hit", "stale-hit", "miss", "partial", "collapsed", "bypass"]},
                    "kind": {"enum": ["exact", "semantic", ""]},
                    "reason": {"type": "string"},
                    "detail": {"type": "string"},
                    "similarity": _NUMBER,
                    "key": {"type": "string"},
                    "age": _NUMBER,
                    "ttl": _NUMBER,
                    "stored": {"type": "boolean"},
                    "matched_prompt": _STRING,
                    "usd": _NUMBER,
                    "saved_usd": _NUMBER,
                },
            },
            "response": {
                "description": "The answer of the operation's own route, byte for byte; a string if it is no JSON."
            },
        },
    },
    "PurgeRequest": {
        "type": "object",
        "description": "What to purge: entries that match all that is named.",
        "minProperties": 1,
        "properties": {
            "key": {**_TEXT, "description": "The exact key, as `Cache-Status` shows it."},
            "prompt": {**_TEXT, "description": "This prompt, in any operation."},
            "similar_to": {**_TEXT, "description": "Prompts like this one."},
            "similarity": {**_between(0, 1, "number"), "description": "How like; 0.92 by default."},
            "tag": _TEXT,
            "namespace": _TEXT,
            "operation": _TEXT,
            "model": _TEXT,
            "older_than": {**_NUMBER, "minimum": 0, "description": "Seconds since it was generated."},
            "all": {**_BOOLEAN, "description": 'Everything; needs "confirm": "purge all".'},
            "confirm": _TEXT,
            "dry_run": {**_BOOLEAN, "description": "Count, and change nothing."},
        },
        "additionalProperties": False,
    },
    "PurgeResponse": {
        "type": "object",
        "required": ["count", "dry_run", "number"],
        "properties": {
            "count": {"type": "integer", "minimum": 0},
            "dry_run": {"type": "boolean"},
            "number": {"type": ["integer", "null"], "description": "The purge's place in the change feed."},
        },
    },
    "Stats": {
        "type": "object",
        "required": ["version", "store", "requests_in_flight", "draining", "upstream"],
        "properties": {
            "version": {"type": "string"},
            "store": {"type": "object", "additionalProperties": {"type": "integer"}},
            "requests_in_flight": {"type": "integer"},
            "draining": {"type": "boolean"},
            "upstream": {"type": "object"},
        },
    },
    "Error": {
        "type": "object",
        "description": "OpenAI's envelope.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {"message": {"type": "string"}, "type": _STRING, "param": _STRING, "code": _STRING},
            }
        },
    },
    "Problem": {
        "type": "object",
        "description": "Problem details, RFC 9457.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "param": {"type": "string"},
        },
    },
    "Readiness": {
        "type": "object",
        "required": ["ready", "reasons"],
        "properties": {"ready": {"type": "boolean"}, "reasons": {"type": "array", "items": {"type": "string"}}},
    },
}

_TEXTS: Final[Mapping[int, str]] = {
    400: "The request is wrong; the message says where.",
    401: "No key, or one that isn't known.",
    403: "Another origin's web page asked.",
    404: "No such thing for this caller.",
    413: "The body is too large.",
    415: "The body isn't `application/json`.",
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


def _errors(*statuses: int, envelope: str, cache_status: bool = False) -> Json:
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
            "content": {media_type: {"schema": {} if status == "default" else _ref(envelope)}},
        }
        for status, text in described.items()
    }


def _ok(description: str, content: Json | None, headers: Json | None = None, status: int = 200) -> Json:
    answer: Json = {"description": description, "headers": _HEADERS | (headers or {})}
    if content is not None:
        answer["content"] = content
    return {status: answer}


def _json(schema: Json, example: Any = None) -> Json:
    return {"application/json": {"schema": schema} | ({} if example is None else {"example": example})}


def _body(schema: str, examples: Mapping[str, Any]) -> Json:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": _ref(schema), "examples": shown}}}


def _header(name: str, description: str, example: str) -> Json:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description, "example": example}


_STEERING: Final = [
    _header(
        "Cache-Control",
        "RFC 9111 directives no-cache, no-store, only-if-cached, max-age, max-stale, min-fresh, stale-if-error; also exact-only "
        "and similarity=0.95.",
        "max-age=3600",
    ),
]
_GENERATING: Final = _errors(401, 404, 413, 415, 429, 502, 504, envelope="Error", cache_status=True)
_EVENTS: Final = {"text/event-stream": {"schema": {"type": "string"}}}
_AGE: Final[Json] = {"Age": {"schema": {"type": "integer"}, "description": "Seconds since it was made; on hits only."}}
_ANSWER: Final = {"schema": {"type": "object"}}
CLIENT: Final = "client"
ADMIN: Final = "admin"
PUBLIC: Final = "public"
ACCESS: Final = "x-access"
"""Marks who may use a route; becomes `security` when the document is made."""


def _extra(access: str, **members: Any) -> Json:
    return {ACCESS: access, **members}


IMAGES: Final[Json] = {
    "operation_id": "generateImages",
    "tags": ["OpenAI's API"],
    "responses": _ok("Pictures, base64.", {"application/json": _ANSWER} | _EVENTS, _CACHE_STATUS | _AGE) | _GENERATING,
    "openapi_extra": _extra(
        CLIENT,
        parameters=_STEERING,
        requestBody=_body(
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
    "responses": _ok("An answer.", {"application/json": _ANSWER} | _EVENTS, _CACHE_STATUS | _AGE) | _GENERATING,
    "openapi_extra": _extra(
        CLIENT,
        parameters=_STEERING,
        requestBody=_body(
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
    "responses": _ok("The list.", {"application/json": _ANSWER}) | _errors(401, 429, 502, 504, envelope="Error"),
    "openapi_extra": _extra(CLIENT),
}
MODEL: Final[Json] = {
    "operation_id": "retrieveModel",
    "tags": ["OpenAI's API"],
    "responses": _ok("The model.", {"application/json": _ANSWER}) | _errors(401, 404, 429, 502, 504, envelope="Error"),
    "openapi_extra": _extra(
        CLIENT,
        parameters=[
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "gpt-image-2"}
        ],
    ),
}
GENERATE: Final[Json] = {
    "operation_id": "generate",
    "tags": ["Cache"],
    "responses": _ok("The answer and how it came about.", _json(_ref("GenerateResponse")), _CACHE_STATUS | _AGE)
    | _errors(401, 404, 413, 415, 429, 502, 504, envelope="Problem", cache_status=True)
    | {
        "default": {
            "description": "What the upstream answered.",
            "content": {"application/problem+json": {"schema": {}}},
        }
    },
    "openapi_extra": _extra(
        CLIENT,
        parameters=_STEERING,
        requestBody=_body(
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
_PICTURES: Final[Json] = {
    media_type: {"schema": {"type": "string", "format": "binary"}}
    for media_type in ("image/png", "image/jpeg", "image/webp", "image/gif", "application/octet-stream")
}
_BLOB_EXTRA: Final = _extra(
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
    **_ok("The picture.", _PICTURES),
    **_ok("The part that `Range` names.", _PICTURES, status=206),
    **_ok("Unchanged.", None, status=304),
    **_errors(401, 404, 416, envelope="Problem"),
}
BLOB: Final[Json] = {
    "operation_id": "getBlob",
    "tags": ["Cache"],
    "responses": _BLOB_ANSWERS,
    "openapi_extra": _BLOB_EXTRA,
}
BLOB_HEAD: Final[Json] = BLOB | {"operation_id": "headBlob"}
PURGE: Final[Json] = {
    "operation_id": "purge",
    "tags": ["Administration"],
    "responses": _ok("What went, or would go.", _json(_ref("PurgeResponse")))
    | _errors(401, 413, 415, envelope="Problem"),
    "openapi_extra": _extra(
        ADMIN,
        requestBody=_body(
            "PurgeRequest",
            {
                "count first": {"prompt": "A red fox in the snow", "dry_run": True},
                "like a prompt": {"similar_to": "a fox in snow", "similarity": 0.9, "dry_run": True},
                "everything": {"all": True, "confirm": "purge all", "dry_run": True},
            },
        ),
    ),
}
STATS: Final[Json] = {
    "operation_id": "stats",
    "tags": ["Administration"],
    "responses": _ok("Numbers.", _json(_ref("Stats"))) | _errors(401, envelope="Problem"),
    "openapi_extra": _extra(ADMIN),
}
LIVEZ: Final[Json] = {
    "operation_id": "livez",
    "tags": ["Operation"],
    "responses": _ok("The process runs.", {"text/plain": {"schema": {"type": "string"}}}) | _errors(envelope="Problem"),
    "openapi_extra": _extra(PUBLIC),
}
READYZ: Final[Json] = {
    "operation_id": "readyz",
    "tags": ["Operation"],
    "responses": _ok("Ready for requests.", _json(_ref("Readiness")))
    | _errors(envelope="Problem")
    | _ok("Not ready, or told to stop.", _json(_ref("Readiness")), status=503),
    "openapi_extra": _extra(PUBLIC),
}
METRICS: Final[Json] = {
    "operation_id": "metrics",
    "tags": ["Operation"],
    "responses": _ok("Prometheus text.", {"text/plain": {"schema": {"type": "string"}}})
    | _errors(401, envelope="Problem"),
    "openapi_extra": _extra(CLIENT),
}
HOME: Final[Json] = {
    "operation_id": "home",
    "tags": ["Operation"],
    "responses": _ok(
        "What this is.",
        {"text/html": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}},
    )
    | _errors(envelope="Problem"),
    "openapi_extra": _extra(PUBLIC),
}
DOCS: Final[Json] = {
    "operation_id": "docs",
    "tags": ["Operation"],
    "responses": _ok("This reference as a page.", {"text/html": {"schema": {"type": "string"}}})
    | _errors(envelope="Problem"),
    "openapi_extra": _extra(PUBLIC),
}
OPENAPI: Final[Json] = {
    "operation_id": "openapi",
    "tags": ["Operation"],
    "responses": _ok("This reference, OpenAPI 3.1.", _json({"type": "object"})) | _errors(envelope="Problem"),
    "openapi_extra": _extra(PUBLIC),
}
