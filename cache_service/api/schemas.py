"""What bodies look like, as JSON Schema 2020-12: the components of `/openapi.json`. Data only.

A request's schema says what is refused here; what a value means to a model is the upstream's to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[Any, Any]

NO_NUL: Final = r"^[^\u0000]*$"

_STRING: Final[Json] = {"type": ["string", "null"], "pattern": NO_NUL}
_BOOLEAN: Final[Json] = {"type": ["boolean", "null"]}
_INTEGER: Final[Json] = {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**64 - 1}
_NUMBER: Final[Json] = {"type": ["number", "null"]}
_TEXT: Final[Json] = {"type": ["string", "null"], "minLength": 1, "maxLength": 32_000, "pattern": NO_NUL}

_NAME: Final[Json] = {"type": ["string", "null"], "minLength": 1, "maxLength": 256, "pattern": NO_NUL}


def _between(low: float, high: float, kind: str = "integer") -> Json:
    return {"type": [kind, "null"], "minimum": low, "maximum": high}


def ref(name: str) -> Json:
    """A reference to the component of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


_ANY: Final = ref("Any")
_MORE: Final[Json] = {"additionalProperties": _ANY, "propertyNames": {"pattern": NO_NUL}}
_OBJECT: Final[Json] = {"type": ["object", "null"], **_MORE}
_ARRAY: Final[Json] = {"type": ["array", "null"], "items": _ANY}


def _given(name: str, schema: Json) -> Json:
    return {"required": [name], "properties": {name: schema}}


PRESETS: Final = ("speed", "balanced", "quality")
USE_CASES: Final[Mapping[str, tuple[str, ...]]] = {
    "images": ("draft", "thumbnail", "icon", "product", "portrait", "landscape", "banner", "wallpaper", "print"),
    "chat": ("classification", "extraction", "summary", "conversation", "writing", "coding", "analysis"),
}
"""The words of the packaged catalog; an operator's own may add to them."""


def _standing_for(operation: str) -> Json:
    """The members that stand for parameters."""
    return {
        "preset": {
            "enum": [*PRESETS, None],
            "description": "Stands for parameters that aren't given: model, quality, size …",
        },
        "use_case": {"enum": [*USE_CASES[operation], None], "description": "The same, by what it is for."},
    }


_OUTCOMES: Final = ("hits", "generated", "failed", "skipped", "cancelled", "sent", "waiting")


def _range(description: str) -> Json:
    return {
        "type": "object",
        "description": f"{description} With its range, 95 %.",
        "required": ["low", "expected", "high"],
        "properties": {name: {"type": "number"} for name in ("low", "expected", "high")},
    }


def _spent(**names: str) -> Json:
    figures = ("requests", "hits", "generations", "spent_usd", "maybe_spent_usd", "saved_usd")
    properties: Json = {name: {"type": "string", "description": text} for name, text in names.items()}
    properties |= {name: {"type": "number"} for name in figures}
    return {"type": "array", "items": {"type": "object", "required": list(properties), "properties": properties}}


_DIRECTIVES: Final[Json] = {
    "no_cache": {**_BOOLEAN, "description": "Generate, whatever is stored."},
    "no_store": {**_BOOLEAN, "description": "Don't store what is generated."},
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
    "similar_if_error": {**_BOOLEAN, "description": "Another quality or size is fine, if the upstream fails."},
    "no_fallback": {**_BOOLEAN, "description": "If the upstream fails, say so: nothing that wasn't asked for."},
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
}

SCHEMAS: Final[Mapping[str, Json]] = {
    "Any": {
        "description": "Any JSON value: at most 64 levels deep, integers of at most 64 bits, no U+0000 in text.",
        "type": ["object", "array", "string", "number", "boolean", "null"],
        "pattern": NO_NUL,
        "items": {"$ref": "#/components/schemas/Any"},
        "additionalProperties": {"$ref": "#/components/schemas/Any"},
        "propertyNames": {"pattern": NO_NUL},
    },
    "ImageRequest": {
        "type": "object",
        "description": "Body of OpenAI's image generation. Members that aren't listed are passed on, and belong to the cache key.",
        "required": ["prompt"],
        "properties": {
            "prompt": {
                "type": "string",
                "minLength": 1,
                "maxLength": 32_000,
                "pattern": r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$",
            },
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
            **_standing_for("images"),
        },
        **_MORE,
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
                        "role": {"type": "string", "pattern": NO_NUL},
                        "content": {
                            "type": ["string", "array", "null"],
                            "pattern": NO_NUL,
                            "items": {"type": "object", **_MORE},
                        },
                    },
                    **_MORE,
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
            **_standing_for("chat"),
        },
        **_MORE,
    },
    "CacheDirectives": {
        "type": "object",
        "description": "The directives of `Cache-Control` as JSON; of both, the stricter one counts. Also `only_if_cached` (true or false): "
        "generate nothing, a miss is answered 504 (RFC 9111, section 5.2.1.7).",
        "properties": _DIRECTIVES,
        "additionalProperties": False,
    },
    "GenerateRequest": {
        "type": "object",
        "required": ["operation", "request"],
        "properties": {
            "operation": {"type": "string", "enum": ["images", "chat"]},
            "request": {"type": "object", "description": "The body of the operation's own route, without `stream`."},
            "cache": {"anyOf": [ref("CacheDirectives"), {"type": "null"}]},
            "preset": {"description": "As in the request, where it may stand instead."},
            "use_case": {"description": "As in the request, where it may stand instead."},
        },
        "additionalProperties": False,
        "oneOf": [
            {
                "properties": {
                    "operation": {"const": "images"},
                    "request": ref("ImageRequest"),
                    **_standing_for("images"),
                }
            },
            {"properties": {"operation": {"const": "chat"}, "request": ref("ChatRequest"), **_standing_for("chat")}},
        ],
        "not": {
            "anyOf": [
                {
                    "required": ["request"],
                    "properties": {"request": {"type": "object", **_given("stream", {"const": True})}},
                },
                *(
                    {
                        "required": ["request", word],
                        "properties": {
                            "request": {"type": "object", **_given(word, {"not": {"type": "null"}})},
                            word: {"not": {"type": "null"}},
                        },
                    }
                    for word in ("preset", "use_case")
                ),
            ]
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
                    "fallback": {"enum": ["reduced-quality", "cached-similar", "alternative-provider", None]},
                    "provider": _STRING,
                    "usd": {**_NUMBER, "description": "What the generation cost, by the upstream's usage."},
                    "estimated_usd": {**_NUMBER, "description": "What it might have cost at most, reckoned before."},
                    "saved_usd": {
                        **_NUMBER,
                        "description": "What the outputs that a hit served cost when they were made.",
                    },
                },
            },
            "response": {
                "description": "The answer of the operation's own route, byte for byte; a string if it is no JSON."
            },
        },
    },
    "BatchItem": {
        "type": "object",
        "required": ["operation", "request"],
        "properties": {
            "operation": {"type": "string", "enum": ["images", "chat"]},
            "request": {
                "type": "object",
                "description": "The body of the operation's own route. What that route would refuse is this item's problem alone.",
                "properties": {"stream": {"enum": [False, None]}},
                **_MORE,
            },
            "cache": {
                "type": ["object", "null"],
                "description": "As in `GenerateRequest`, but for `no_store`: results are stored.",
                "properties": _DIRECTIVES | {"no_store": {"enum": [False, None]}},
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    },
    "BatchItems": {
        "type": "array",
        "minItems": 1,
        "items": ref("BatchItem"),
        "description": "10,000 at most by default; more are a 413.",
    },
    "BatchOptions": {
        "type": ["object", "null"],
        "description": "How the batch is run.",
        "properties": {
            "concurrency": {
                **_between(1, 10_000),
                "description": "Requests at once; what the service allows by default.",
            },
            "budget_usd": {**_NUMBER, "minimum": 0, "description": "Begin nothing that could cost more in all."},
            "allow_unknown_price": {**_BOOLEAN, "description": "With a budget, begin also what has no known price."},
            "via_batch_api": {
                **_BOOLEAN,
                "description": "Send what is missing through the upstream's own Batch API: half the price, within a day.",
            },
        },
        "additionalProperties": False,
    },
    "BatchRequest": {
        "anyOf": [
            ref("BatchItems"),
            {
                "type": "object",
                "required": ["requests"],
                "properties": {"batch": ref("BatchOptions"), "requests": ref("BatchItems")},
                "additionalProperties": False,
            },
        ]
    },
    "BatchProgress": {
        "type": "object",
        "required": ["total", "ended", "progress", "counts", "usd", "unknown_price"],
        "properties": {
            "total": {"type": "integer", "minimum": 1},
            "ended": {"type": "integer", "minimum": 0},
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "counts": {
                "type": "object",
                "required": [*_OUTCOMES],
                "properties": {name: {"type": "integer", "minimum": 0} for name in _OUTCOMES},
            },
            "usd": {"type": "number", "description": "Paid so far, where the price is known."},
            "unknown_price": {"type": "integer", "description": "Generations whose price isn't."},
        },
    },
    "Batch": {
        "description": "A batch as it stands.",
        "allOf": [
            ref("BatchProgress"),
            {
                "type": "object",
                "required": ["id", "state", "created_at", "ended_at", "cancelled_at", "options"],
                "properties": {
                    "id": {"type": "string"},
                    "state": {"enum": ["running", "cancelling", "completed", "cancelled"]},
                    "created_at": {"type": "number"},
                    "ended_at": _NUMBER,
                    "cancelled_at": _NUMBER,
                    "options": ref("BatchOptions"),
                },
            },
        ],
    },
    "BatchResult": {
        "type": "object",
        "description": "What one item came to: `cache` and `response`, or `problem`.",
        "required": ["number", "index", "outcome"],
        "properties": {
            "number": {"type": "integer", "minimum": 1, "description": "In the order in which they ended; an offset."},
            "index": {"type": "integer", "minimum": 0, "description": "The item's place in the batch."},
            "outcome": {"enum": ["done", "failed", "skipped", "cancelled"]},
            "cache": {"type": "object", "description": "As in `GenerateResponse`."},
            "response": {
                "description": "The answer of the operation's own route; a stored picture has a `url` here in place of `b64_json`."
            },
            "problem": ref("Problem"),
        },
    },
    "BatchResults": {
        "allOf": [
            ref("Batch"),
            {
                "type": "object",
                "required": ["results", "next"],
                "properties": {
                    "results": {"type": "array", "items": ref("BatchResult")},
                    "next": {"type": "integer", "description": "`offset` of the next page."},
                },
            },
        ]
    },
    "PurgeRequest": {
        "type": "object",
        "description": "What to purge: entries that match all that is named.",
        "properties": {
            "key": {**_TEXT, "description": "The exact key, as `Cache-Status` shows it."},
            "prompt": {**_TEXT, "description": "This prompt, in any operation."},
            "similar_to": {**_TEXT, "description": "Prompts like this one."},
            "similarity": {**_between(0, 1, "number"), "description": "How like; 0.92 by default."},
            "tag": _TEXT,
            "namespace": _TEXT,
            "operation": {"enum": ["images", "chat", None]},
            "model": _TEXT,
            "older_than": {**_NUMBER, "minimum": 0, "description": "Seconds since it was generated."},
            "all": {**_BOOLEAN, "description": 'Everything; needs "confirm": "purge all" or "dry_run": true.'},
            "confirm": _TEXT,
            "dry_run": {**_BOOLEAN, "description": "Count, and change nothing."},
        },
        "additionalProperties": False,
        "anyOf": [
            *(
                _given(name, {"type": "string"})
                for name in ("key", "prompt", "similar_to", "tag", "namespace", "operation", "model")
            ),
            _given("older_than", {"type": "number"}),
            _given("all", {"const": True}),
        ],
        "allOf": [
            {
                "anyOf": [
                    {"properties": {"all": {"enum": [False, None]}}},
                    _given("confirm", {"const": "purge all"}),
                    _given("dry_run", {"const": True}),
                ]
            },
            {"anyOf": [{"properties": {"similarity": {"type": "null"}}}, _given("similar_to", {"type": "string"})]},
        ],
    },
    "ReloadResponse": {
        "type": "object",
        "required": ["changed", "after_restart"],
        "properties": {
            "changed": {"type": "array", "items": {"type": "string"}, "description": "Settings that hold now."},
            "after_restart": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Those that will after a restart.",
            },
        },
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
    "FeedbackRequest": {
        "type": "object",
        "description": "Which semantic hit, and whether it was right. `key` names the newest one with it, `request_id` the very one.",
        "required": ["verdict"],
        "properties": {
            "request_id": {**_NAME, "description": "`X-Request-Id` of the answer."},
            "key": {**_NAME, "description": "The exact key, as `Cache-Status` shows it."},
            "verdict": {"type": "string", "enum": ["wrong", "right"]},
        },
        "additionalProperties": False,
        "oneOf": [
            {**_given("request_id", {"type": "string"}), "not": _given("key", {"type": "string"})},
            {**_given("key", {"type": "string"}), "not": _given("request_id", {"type": "string"})},
        ],
    },
    "FeedbackEffect": {
        "type": "object",
        "description": "What holds now.",
        "required": ["id", "verdict", "undone", "operation", "similarity", "denied", "exact_only", "threshold"],
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "verdict": {"enum": ["wrong", "right"]},
            "undone": {"type": "boolean"},
            "operation": {"type": "string"},
            "similarity": {"type": "number"},
            "denied": {"type": "boolean", "description": "Neither prompt is served what the other one made."},
            "exact_only": {"type": "boolean", "description": "The entry is served for its own prompt alone."},
            "threshold": {"type": "number", "description": "Cosine that a semantic hit of this namespace needs."},
        },
    },
    "FeedbackList": {
        "type": "object",
        "required": ["feedback", "next", "trust"],
        "properties": {
            "feedback": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["id", "verdict", "undone", "at", "client", "namespace", "operation", "request_id"],
                    "properties": {
                        "id": {"type": "integer"},
                        "verdict": {"enum": ["wrong", "right"]},
                        "undone": {"type": "boolean"},
                        "at": {"type": "number"},
                        "client": {"type": "string"},
                        "namespace": {"type": "string"},
                        "operation": {"type": "string"},
                        "request_id": {"type": "string"},
                        "similarity": {"type": "number"},
                        "served_at": {"type": "number"},
                        "shadow": {"type": "boolean"},
                        "asked_key": {"type": "string"},
                        "stored_key": {"type": "string"},
                        "asked_prompt": {"type": ["string", "null"], "description": "If it is an entry's."},
                        "stored_prompt": {"type": ["string", "null"], "description": "While it is an entry's."},
                    },
                },
            },
            "next": {"type": ["integer", "null"], "description": "`before` of the next page."},
            "trust": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["namespace", "operation", "wrong", "right", "bound", "threshold"],
                    "properties": {
                        "namespace": {"type": "string"},
                        "operation": {"type": "string"},
                        "wrong": {"type": "number", "description": "Judged pairs, by their weight now."},
                        "right": {"type": "number"},
                        "bound": {"type": "number", "description": "The share of wrong hits is above it, at 95 %."},
                        "threshold": {"type": "number"},
                    },
                },
            },
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
            "alternatives": {"type": "object"},
        },
    },
    "Roi": {
        "type": "object",
        "required": ["traffic", "hit_rate", "wrong_share", "saved_usd", "break_even_hit_rate", "monthly_usd"],
        "properties": {
            "traffic": {
                "type": "object",
                "description": "What was measured: requests, hits, generations, USD saved, spent and lost.",
                "required": [
                    "days",
                    "answered",
                    "exact_hits",
                    "semantic_hits",
                    "generations",
                    "spent",
                    "lost",
                    "unpriced",
                ],
                "additionalProperties": {"type": "number"},
            },
            "hit_rate": _range("Share of the answers that no generation of their own was paid for."),
            "wrong_share": _range("Share of the semantic hits that are wrong."),
            "cost_per_generation": _NUMBER,
            "saved_per_hit": _NUMBER,
            "wrong_usd": _range("What wrong hits cost."),
            "running_usd": {"type": "number"},
            "saved_usd": _range(
                "True hits × their cost, less wrong hits and running the service, in the days measured."
            ),
            "break_even_hit_rate": {
                **_NUMBER,
                "description": "Where nothing is lost; null where no hit rate does that.",
            },
            "monthly_usd": _range("The same a month, with labour and failures avoided."),
            "payback_months": _NUMBER,
            "annual_roi": {**_NUMBER, "description": "Gain of a year over the one-off cost; 1 is 100 %."},
            "compared": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["model", "operation", "uncached_usd", "cached_usd"],
                    "properties": {
                        "model": {"type": "string"},
                        "operation": {"type": "string"},
                        "uncached_usd": {"type": "number", "description": "Every answer generated by that model."},
                        "cached_usd": {"type": "number", "description": "Only what was generated."},
                    },
                },
            },
            "compared_providers": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["provider", "operation", "uncached_usd", "cached_usd", "unpriced"],
                    "properties": {
                        "provider": {"type": "string"},
                        "operation": {"type": "string"},
                        "uncached_usd": {"type": "number", "description": "Every answer generated by that provider."},
                        "cached_usd": {"type": "number", "description": "Only what was generated."},
                        "unpriced": {
                            "type": "integer",
                            "description": "Answers that it doesn't offer, or without a known price; in neither sum.",
                        },
                    },
                },
            },
        },
    },
    "Spending": {
        "type": "object",
        "required": ["by_day", "by_client", "by_model", "budgets"],
        "properties": {
            "by_day": _spent(day="UTC"),
            "by_client": _spent(client="Name of the client key."),
            "by_model": _spent(operation="images or chat", model="As made, where the upstream said so."),
            "budgets": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["scope", "client", "limit_usd", "spent_usd", "reserved_usd"],
                    "properties": {
                        "scope": {"enum": ["client", "day", "total"]},
                        "client": {"type": "string"},
                        **{name: {"type": "number"} for name in ("limit_usd", "spent_usd", "reserved_usd")},
                    },
                },
            },
        },
    },
    "Alerts": {
        "type": "object",
        "required": ["alerts", "thresholds"],
        "properties": {
            "alerts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "severity", "labels", "value", "threshold", "since", "text"],
                    "properties": {
                        "name": {
                            "enum": [
                                *("ErrorRate", "UpstreamRefusals", "SlowMisses"),
                                *("StoreFailures", "PoolOut", "BudgetNearlySpent"),
                            ]
                        },
                        "severity": {"enum": ["warning", "critical"]},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "value": {"type": "number", "description": "A share, seconds, or a count."},
                        "threshold": {"type": "number", "description": "What it is compared with, in the same unit."},
                        "since": {"type": "number", "description": "Unix seconds."},
                        "text": {"type": "string"},
                    },
                },
            },
            "thresholds": {
                "type": "object",
                "required": ["error_rate", "refused_rate", "p95", "p95_factor", "budget"],
                "properties": {
                    "error_rate": {"type": "number", "description": "Share of requests that failed in ten minutes."},
                    "refused_rate": {"type": "number", "description": "Share of calls refused for their rate."},
                    "p95": {**_NUMBER, "description": "Seconds; null where each model has its own baseline."},
                    "p95_factor": {"type": "number", "description": "How many times its baseline a p95 may be."},
                    "budget": {"type": "number", "description": "Share of a budget that may be spent or reserved."},
                },
            },
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
            "index": {"type": "integer", "description": "The place in the batch of the item at fault."},
        },
    },
    "Readiness": {
        "type": "object",
        "required": ["ready", "reasons"],
        "properties": {"ready": {"type": "boolean"}, "reasons": {"type": "array", "items": {"type": "string"}}},
    },
}
