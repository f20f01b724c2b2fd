"""From a request to its partition and exact key: SHA-256 over canonical JSON (RFC 8785), with the version in it.

The partition holds everything that changes the output but the prompt: key version, upstream group, namespace, operation, model
and every parameter not known to be delivery-only. Only within a partition are prompts compared by meaning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import rfc8785

from cache_service.cache_key.normalize import normalise, prompt_digest
from cache_service.operations.base import Asked

KEY_VERSION = 1
"""Goes up whenever the same request would get another key; entries keep their canonical request, so that a job can re-key them."""

_EXACT_INTEGERS = 2**53 - 1  # RFC 8785, section 3.2.2.3: numbers are IEEE doubles
_BIG = "\ue000integer"  # a member name from the private use area: see _canonical


@dataclass(frozen=True, slots=True)
class CacheKey:
    """partition, exact: hex digests. prompt: normalised. prompt_digest: for a purge by prompt."""

    partition: str
    exact: str
    prompt: str
    prompt_digest: str
    version: int = KEY_VERSION


def form(asked: Asked, *, namespace: str, group: str) -> CacheKey:
    """The key of a request. namespace: who shares; group: whose answers (the upstream)."""
    scope = {
        "version": KEY_VERSION,
        "group": group,
        "namespace": namespace,
        "operation": asked.operation,
        "model": asked.model,
        "semantic": asked.semantic,
        "context": asked.context,
    }
    partition = hashlib.sha256(canonical_json(scope)).hexdigest()
    prompt = normalise(asked.prompt, verbatim=asked.verbatim)
    exact = hashlib.sha256(f"{partition}\n{prompt}".encode()).hexdigest()
    return CacheKey(partition, exact, prompt, prompt_digest(asked.prompt))


def canonical_json(value: Any) -> bytes:
    """One byte sequence for equal JSON values, whatever their spelling or member order (RFC 8785)."""
    return rfc8785.dumps(_canonical(value))


def _canonical(value: Any) -> Any:
    """Integers beyond 2^53 keep their digits under a tagged member: as doubles, two seeds could fall together."""
    match value:
        case bool() | None | str() | float():
            return value
        case int():
            return value if abs(value) <= _EXACT_INTEGERS else {_BIG: str(value)}
        case dict():
            return {name.replace(_BIG, _BIG + _BIG): _canonical(member) for name, member in value.items()}
        case list() | tuple():
            return [_canonical(member) for member in value]
        case _:
            return {name: _canonical(member) for name, member in dict(value).items()}
