"""What the routes of `/admin` take and answer, as OpenAPI fragments. Data only; see `descriptions`."""

from __future__ import annotations

from typing import Final

from cache_service.api.admin_schemas import ENTRY_FILTERS, REQUEST_FILTERS
from cache_service.api.descriptions import ADMIN, PUBLIC, VIEWER, body_of, errors, extra, json_content, ok
from cache_service.api.schemas import Json, ref

_TAG: Final = ["Administration"]
_LIMIT: Final[Json] = {
    "name": "limit",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "maximum": 500},
    "description": "Rows of the page at most; 50 by default.",
}
_BEFORE: Final[Json] = {
    "name": "before",
    "in": "query",
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    "description": "Only smaller numbers: `next` of the page before.",
}


def _number_in_path(what: str) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    return {"name": "id", "in": "path", "required": True, "schema": schema, "description": what, "example": 1}


def _reading(operation_id: str, answer: str, schema: str, *parameters: Json, missing: bool = False) -> Json:
    """A route that changes nothing."""
    statuses = (401, 404) if missing else (401,)
    return {
        "operation_id": operation_id,
        "tags": _TAG,
        "responses": ok(answer, json_content(ref(schema))) | errors(*statuses, envelope="Problem"),
        "openapi_extra": extra(VIEWER, parameters=list(parameters)),
    }


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


ENTRIES: Final = _reading(
    "listEntries",
    "A page. It may be short, even empty, and have a `next` one.",
    "EntryList",
    _LIMIT,
    *(_query(*parameter) for parameter in ENTRY_FILTERS),
)
ENTRY: Final = _reading("getEntry", "All about it.", "EntryDetail", _number_in_path("The entry's id."), missing=True)
ADMIN_BLOB: Final[Json] = {
    "operation_id": "getAnyBlob",
    "tags": _TAG,
    "responses": ok(
        "The picture.",
        {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/png", "image/jpeg", "image/webp", "image/gif", "application/octet-stream")
        },
    )
    | errors(401, 404, envelope="Problem"),
    "openapi_extra": extra(
        VIEWER,
        parameters=[
            {
                "name": "sha256",
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "description": "SHA-256 of the picture's bytes, 64 hexadecimal digits.",
                "example": "0" * 64,
            }
        ],
    ),
}
REQUESTS: Final = _reading(
    "listRequests", "A page.", "RequestList", _LIMIT, _BEFORE, *(_query(*parameter) for parameter in REQUEST_FILTERS)
)
REQUEST: Final = _reading(
    "getRequest",
    "The request.",
    "SeenRequest",
    {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "pattern": "^[0-9A-Za-z._:=@-]+$"},
        "description": "`X-Request-Id` of its answer.",
        "example": "5f0c1f7a9b3d4e2f8a6b7c8d9e0f1a2b",
    },
    missing=True,
)
PLAYGROUND: Final[Json] = {
    "operation_id": "playground",
    "tags": _TAG,
    "responses": ok("The answer, how it came about, and how long each step took.", json_content(ref("Played")))
    | errors(401, 404, 413, 415, 429, 502, 504, envelope="Problem")
    | {
        "default": {
            "description": "What the upstream answered.",
            "content": {"application/problem+json": {"schema": {}}},
        }
    },
    "openapi_extra": extra(
        ADMIN,
        requestBody=body_of(
            "PlaygroundRequest",
            {
                "images": {
                    "operation": "images",
                    "namespace": "default",
                    "request": {"model": "gpt-image-2", "prompt": "A red fox in the snow"},
                }
            },
        ),
    ),
}
KEYS: Final = _reading("listKeys", "A page.", "KeyList", _LIMIT, _BEFORE)
KEY_CREATE: Final[Json] = {
    "operation_id": "createKey",
    "tags": _TAG,
    "status_code": 201,
    "responses": ok("The key, this once.", json_content(ref("NewKey")), status=201)
    | errors(401, 413, 415, envelope="Problem"),
    "openapi_extra": extra(
        ADMIN,
        requestBody=body_of(
            "KeyRequest",
            {
                "a client": {"name": "web", "namespace": "team-a", "usd_per_day": 5},
                "who may look": {"name": "dashboard", "role": "viewer"},
            },
        ),
    ),
}
KEY_REVOKE: Final[Json] = {
    "operation_id": "revokeKey",
    "tags": _TAG,
    "responses": ok("Revoked.", json_content(ref("Key"))) | errors(401, 404, envelope="Problem"),
    "openapi_extra": extra(ADMIN, parameters=[_number_in_path("The key's id.")]),
}
STATS: Final = _reading("stats", "Numbers.", "Stats")
OVERVIEW: Final = _reading("overview", "Spans, oldest first.", "Overview")
POOLS: Final = _reading("pools", "The limit pools.", "Pools")
AUDIT: Final = _reading("listAudit", "A page.", "AuditLog", _LIMIT, _BEFORE)
SETTINGS: Final = _reading("showSettings", "The settings.", "Settings")
THRESHOLDS: Final = _reading(
    "thresholds",
    "Counts by bands of similarity, 0.005 wide.",
    "Thresholds",
    *(_query(*parameter) for parameter in REQUEST_FILTERS if parameter[0] in ("namespace", "operation")),
)
PAIRS: Final[Json] = {
    "operation_id": "decidePairs",
    "tags": _TAG,
    "responses": ok("What the service would do, in the pairs' order.", json_content(ref("DecidedPairs")))
    | errors(401, 413, 415, envelope="Problem"),
    "openapi_extra": extra(
        ADMIN,
        requestBody=body_of(
            "LabelledPairs",
            {
                "two pairs": {
                    "operation": "images",
                    "pairs": [
                        {"a": "A red fox in the snow", "b": "a red fox in the snow!", "same": True},
                        {"a": "A red fox in the snow", "b": "Two red foxes in the snow", "same": False},
                    ],
                }
            },
        ),
    ),
}
FEEDBACK_JUDGE: Final[Json] = {
    "operation_id": "judgeHit",
    "tags": _TAG,
    "responses": ok("Noted, durable, and in force.", json_content(ref("FeedbackEffect")))
    | errors(401, 404, 413, 415, envelope="Problem"),
    "openapi_extra": extra(
        ADMIN,
        requestBody=body_of(
            "JudgeRequest",
            {
                "a wrong hit": {
                    "namespace": "default",
                    "request_id": "5f0c1f7a9b3d4e2f8a6b7c8d9e0f1a2b",
                    "verdict": "wrong",
                }
            },
        ),
    ),
}
SESSION: Final = _reading("showSession", "Who asks.", "Session")
LOG_IN: Final[Json] = {
    "operation_id": "logIn",
    "tags": _TAG,
    "responses": ok(
        "Logged in; the cookie holds for twelve hours.",
        json_content(ref("Session")),
        {"Set-Cookie": {"schema": {"type": "string"}, "required": True}},
    )
    | errors(401, 413, 415, envelope="Problem"),
    "openapi_extra": extra(PUBLIC, requestBody=body_of("LogIn", {"the token": {"token": "…"}})),
}
LOG_OUT: Final[Json] = {
    "operation_id": "logOut",
    "tags": _TAG,
    "status_code": 204,
    "responses": ok("Logged out.", None, status=204) | errors(envelope="Problem"),
    "openapi_extra": extra(PUBLIC),
}
CHART: Final[Json] = {
    "operation_id": "chart",
    "tags": _TAG,
    "responses": ok("The chart.", {"image/svg+xml": {"schema": {"type": "string"}}})
    | errors(401, 404, envelope="Problem"),
    "openapi_extra": extra(
        VIEWER,
        parameters=[
            {
                "name": "name",
                "in": "path",
                "required": True,
                "schema": {"enum": ["traffic", "money", "similarities"]},
                "description": "Which one.",
                "example": "traffic",
            }
        ],
    ),
}
CONSOLE_FILE: Final[Json] = {
    "operation_id": "consoleFile",
    "tags": ["Operation"],
    "responses": ok(
        "The file.",
        {
            kind: {"schema": {"type": "string"}}
            for kind in ("text/javascript", "text/css", "text/html", "image/svg+xml")
        },
    )
    | ok("Unchanged.", None, status=304)
    | errors(404, envelope="Problem"),
    "openapi_extra": extra(
        PUBLIC,
        parameters=[
            {
                "name": "name",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": "^[a-z.]+$"},
                "description": "Of the console's scripts and style.",
                "example": "main.js",
            }
        ],
    ),
}
