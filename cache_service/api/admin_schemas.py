"""What bodies of `/admin` look like, as JSON Schema 2020-12. Data only; see `schemas`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cache_service.api import schemas
from cache_service.api.schemas import NO_NUL, Json, ref

_TEXT: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": NO_NUL}
_NAME: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}
_SECONDS: Final[Json] = {"type": "number", "minimum": 0, "maximum": 1e12}
_OPERATION: Final[Json] = {"enum": ["chat", "images"]}

ENTRY_FILTERS: Final[tuple[tuple[str, Json, str], ...]] = (
    ("after", {"type": "string", "pattern": r"^[0-9]{1,12}\.[0-9]{1,6},[0-9]{1,18}$"}, "`next` of the page before."),
    ("namespace", _TEXT, "Of this namespace."),
    ("operation", _OPERATION, "Of this operation."),
    ("model", _TEXT, "Asked of this model."),
    ("tag", _TEXT, "With this tag."),
    ("older_than", _SECONDS, "Generated more than so many seconds ago."),
    ("newer_than", _SECONDS, "Generated at most so many seconds ago; with either, in the order of that age."),
    (
        "text",
        {"type": "string", "minLength": 1, "maxLength": 1000, "pattern": NO_NUL},
        "Words that the prompt holds, all of them; `fo*` for how one begins. The first 32,000 characters of a prompt are looked at.",
    ),
    (
        "similar_to",
        {"type": "string", "minLength": 1, "maxLength": 32_000, "pattern": NO_NUL},
        "Of the 200 entries most like this prompt, those that fit; the most similar first, one page.",
    ),
    (
        "similarity",
        {"type": "number", "minimum": 0, "maximum": 1},
        "Least cosine for `similar_to`; the operator's threshold by default.",
    ),
)
REQUEST_FILTERS: Final[tuple[tuple[str, Json, str], ...]] = (
    (
        "decision",
        {"enum": ["hit", "stale-hit", "miss", "partial", "collapsed", "bypass", "error"]},
        "What became of it.",
    ),
    ("kind", {"enum": ["exact", "semantic"]}, "Of hits."),
    ("reason", _TEXT, "Why, in the words of `Cache-Status` and the metrics."),
    ("operation", _OPERATION, "Of this operation."),
    ("namespace", _TEXT, "Of this namespace."),
    ("client", _TEXT, "Of the client key with this name."),
)

_NULLABLE_TEXT: Final[Json] = {"type": ["string", "null"]}
_NULLABLE_NUMBER: Final[Json] = {"type": ["number", "null"]}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_NEXT: Final[Json] = {"type": ["integer", "null"], "description": "`before` of the next page."}


_MESSAGE: Final[Json] = schemas.SCHEMAS["ChatRequest"]["properties"]["messages"]["items"]
_SIDE: Final[Json] = {
    "oneOf": [
        {"type": "string", "minLength": 1, "pattern": NO_NUL},
        {
            "type": "array",
            "minItems": 1,
            "items": {**_MESSAGE, "properties": {"role": _MESSAGE["properties"]["role"]}},
        },
    ],
    "description": "A prompt, or chat messages; of what the service would refuse the reason is `refused`.",
}
_LABELLED: Final[Json] = {
    "type": "object",
    "required": ["a", "b", "same"],
    "properties": {
        "a": _SIDE,
        "b": _SIDE,
        "same": {"type": "boolean"},
        "operation": {"enum": ["chat", "images", None]},
    },
    "additionalProperties": False,
}


def _object(properties: Mapping[str, Any], *, optional: tuple[str, ...] = (), **more: Any) -> Json:
    """An answer's object; every property is there but those that are optional."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": dict(properties), **more}


def _list(name: str, items: str, following: Json) -> Json:
    return _object({name: {"type": "array", "items": ref(items)}, "next": following})


_SUMMARY: Final[Mapping[str, Json]] = {
    "id": {"type": "integer"},
    "key": {"type": "string"},
    "namespace": {"type": "string"},
    "operation": {"type": "string"},
    "model": _NULLABLE_TEXT,
    "prompt": {"type": "string", "description": "In a list its first 500 characters."},
    "created_at": {"type": "number"},
    "expires_at": _NULLABLE_NUMBER,
    "exact_only": {"type": "boolean"},
    "state": {"enum": ["live", "quarantined"]},
    "client": {"type": "string"},
    "outputs": _COUNT,
    "blob": {**_NULLABLE_TEXT, "description": "Of the first output: the picture at `/admin/blobs/{sha256}`."},
    "media_type": _NULLABLE_TEXT,
    "similarity": {"type": "number"},
}
_KEY: Final[Mapping[str, Json]] = {
    "id": {"type": "integer"},
    "name": {"type": "string"},
    "namespace": _NULLABLE_TEXT,
    "role": {"enum": ["client", "viewer", "admin"]},
    "usd_per_day": _NULLABLE_NUMBER,
    "created_at": {"type": "number"},
    "created_by": {"type": "string"},
    "revoked_at": _NULLABLE_NUMBER,
}
_SEEN: Final[Mapping[str, Json]] = {
    "number": {"type": "integer"},
    "request_id": {"type": "string"},
    "at": {"type": "number"},
    "namespace": {"type": "string"},
    "client": {"type": "string"},
    "operation": {"type": "string"},
    "model": _NULLABLE_TEXT,
    "prompt": {"type": "string", "description": "Its first 1,000 characters."},
    "key": {"type": "string"},
    "decision": {"type": "string"},
    "kind": {"type": "string"},
    "reason": {"type": "string"},
    "detail": {"type": "string"},
    "similarity": _NULLABLE_NUMBER,
    "matched_prompt": {**_NULLABLE_TEXT, "description": "Of the entry that answered, or in shadow mode would have."},
    "matched_key": {"type": "string"},
    "rejected_prompt": {**_NULLABLE_TEXT, "description": "Of the nearest entry that the verifier kept from answering."},
    "rejected_key": {"type": "string"},
    "shadow": {"type": "boolean"},
    "stored": {"type": "boolean"},
    "age": _NULLABLE_NUMBER,
    "usd": _NULLABLE_NUMBER,
    "saved_usd": _NULLABLE_NUMBER,
    "status": {"type": "integer"},
    "error": {"type": "string"},
    "seconds": {"type": "number"},
    "steps": {"type": "array", "items": ref("Step")},
}

_GENERATE: Final = schemas.SCHEMAS["GenerateRequest"]

SCHEMAS: Final[Mapping[str, Json]] = {
    "EntryList": _object(
        {
            "entries": {"type": "array", "items": ref("EntrySummary")},
            "next": {**_NULLABLE_TEXT, "description": "`after` of the next page."},
        }
    ),
    "EntrySummary": _object(_SUMMARY, optional=("similarity",)),
    "EntryDetail": _object(
        {
            **_SUMMARY,
            "partition": {"type": "string"},
            "request": {"type": "object"},
            "made": {"type": "object", "description": "What was really made: model, quality, size."},
            "upstream_group": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "stored_outputs": {"type": "array", "items": {"type": "object"}},
            "neighbours": {"type": "array", "items": ref("EntrySummary"), "description": "Of its partition."},
            "hits": {
                "type": "array",
                "items": {"type": "object"},
                "description": "Recorded semantic hits, on either side.",
            },
            "requests": {"type": "array", "items": ref("SeenRequest"), "description": "Of this process."},
        },
        optional=("similarity",),
    ),
    "Step": _object({"step": {"type": "string"}, "seconds": _NULLABLE_NUMBER}),
    "SeenRequest": _object(_SEEN),
    "RequestList": _list("requests", "SeenRequest", _NEXT),
    "PlaygroundRequest": {
        **_GENERATE,
        "description": "As `GenerateRequest`, and whose entries to use.",
        "properties": {**_GENERATE["properties"], "namespace": {**_NAME, "type": ["string", "null"]}},
    },
    "Played": _object(
        {
            "request_id": {"type": "string"},
            "cache": {"type": "object"},
            "seconds": _NULLABLE_NUMBER,
            "steps": {"type": "array", "items": ref("Step")},
            "response": {},
        }
    ),
    "Key": _object(_KEY),
    "NewKey": _object({**_KEY, "key": {"type": "string", "description": "Shown this once; only its SHA-256 is kept."}}),
    "KeyList": _list("keys", "Key", _NEXT),
    "KeyRequest": {
        "type": "object",
        "description": "A client's namespace is its name if none is given; viewers and admins have neither namespace nor budget.",
        "required": ["name"],
        "properties": {
            "name": _NAME,
            "namespace": {**_NAME, "type": ["string", "null"]},
            "role": {"enum": ["client", "viewer", "admin", None]},
            "usd_per_day": {"type": ["number", "null"], "minimum": 0, "maximum": 1e9},
        },
        "additionalProperties": False,
        "if": {"required": ["role"], "properties": {"role": {"enum": ["viewer", "admin"]}}},
        "then": {"properties": {"namespace": {"type": "null"}, "usd_per_day": {"type": "null"}}},
    },
    "Pools": _object(
        {
            "group": {"type": "string"},
            "simulated": {"type": "boolean"},
            "pools": {"type": "array", "items": ref("Pool")},
        }
    ),
    "Pool": _object(
        {
            "name": {"type": "string"},
            "keys": {"type": "array", "items": {"type": "string"}},
            "limits": {"type": "object", "additionalProperties": _NULLABLE_NUMBER},
            "used": {"type": "object", "additionalProperties": {"type": "number"}},
            "in_flight": _COUNT,
            "healthy": {"type": "boolean"},
            "detail": {"type": "string"},
        }
    ),
    "Overview": _object(
        {
            "span": {"type": "number", "description": "Seconds of one span."},
            "spans": {
                "type": "array",
                "items": _object(
                    {
                        "at": {"type": "number"},
                        "requests": {
                            "type": "array",
                            "items": _object(
                                {
                                    "operation": {"type": "string"},
                                    "answer": {
                                        "type": "string",
                                        "description": "`exact`, `semantic`, `miss`, `collapsed`, `bypass` or `error`.",
                                    },
                                    "count": _COUNT,
                                }
                            ),
                        },
                        "paid_usd": {"type": "number"},
                        "saved_usd": {"type": "number"},
                        "saved_seconds": {"type": "number"},
                    }
                ),
            },
        }
    ),
    "AuditLog": _list("acts", "Act", _NEXT),
    "Act": _object(
        {
            "id": {"type": "integer"},
            "at": {"type": "number"},
            "who": {"type": "string", "description": "The name of the key, `admin` for the token."},
            "action": {"type": "string"},
            "what": {"type": "object"},
            "count": {"type": "integer", "description": "How many things it changed."},
        }
    ),
    "Settings": _object(
        {
            "settings": {
                "type": "array",
                "items": _object({"name": {"type": "string"}, "value": {}, "meaning": {"type": "string"}}),
            }
        }
    ),
    "Thresholds": _object(
        {
            "threshold": {"type": "number"},
            "bands": {
                "type": "array",
                "items": _object({"similarity": {"type": "number"}, "hits": _COUNT, "wrong": _COUNT, "right": _COUNT}),
            },
        }
    ),
    "LabelledPairs": {
        "type": "object",
        "required": ["pairs"],
        "properties": {
            "operation": {
                "enum": ["chat", "images", None],
                "description": "Of pairs that name none; images by default.",
            },
            "pairs": {"type": "array", "minItems": 1, "maxItems": 200, "items": _LABELLED},
        },
        "additionalProperties": False,
    },
    "DecidedPairs": _object(
        {
            "floor": {"type": "number", "description": "Least cosine at which the verifier was asked."},
            "pairs": {
                "type": "array",
                "items": _object(
                    {
                        "same": {"type": "boolean"},
                        "operation": _OPERATION,
                        "similarity": {"type": "number"},
                        "hit": {
                            "type": "boolean",
                            "description": "Served by any threshold that its similarity reaches.",
                        },
                        "reason": {"type": "string"},
                    }
                ),
            },
        }
    ),
    "JudgeRequest": {
        "type": "object",
        "required": ["namespace", "verdict"],
        "properties": {
            "namespace": _TEXT,
            "key": {**_TEXT, "type": ["string", "null"]},
            "request_id": {**_TEXT, "type": ["string", "null"]},
            "verdict": {"enum": ["wrong", "right"]},
        },
        "oneOf": [
            {"required": ["key"], "properties": {"key": {"type": "string"}, "request_id": {"type": "null"}}},
            {"required": ["request_id"], "properties": {"request_id": {"type": "string"}, "key": {"type": "null"}}},
        ],
        "additionalProperties": False,
    },
    "LogIn": {
        "type": "object",
        "required": ["token"],
        "properties": {"token": {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": NO_NUL}},
        "additionalProperties": False,
    },
    "Session": _object({"who": {"type": "string"}, "role": {"enum": ["viewer", "admin"]}}),
}
