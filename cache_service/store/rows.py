"""Values to rows and back: JSON as text in its own order, and a checksum on every row that is served. Pure.

Raised: `StoreError` for a value that no database can hold as text, `StoreCorrupt` for a row that isn't what was written.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from cache_service.errors import StoreCorrupt, StoreError
from cache_service.store.entry import Entry, NewEntry, Output, PurgePredicate, Similar, StoredVector
from cache_service.store.tables import LIVE

Row = Any
"""A row of the query it comes from, columns as attributes."""

_FLOATS = np.dtype("<f4")


def entry_values(new: NewEntry) -> dict[str, Any]:
    """The columns of a live entry."""
    values: dict[str, Any] = {
        "exact_key": new.exact_key,
        "key_version": new.key_version,
        "partition": new.partition,
        "namespace": new.namespace,
        "operation": new.operation,
        "model": new.model,
        "prompt": new.prompt,
        "prompt_digest": new.prompt_digest,
        "request": _to_json(new.request),
        "envelope": _to_json(new.envelope),
        "made": _to_json(new.made),
        "created_at": float(new.created_at),
        "expires_at": None if new.expires_at is None else float(new.expires_at),
    }
    return {
        **values,
        "checksum": _checksum(*values.values()),
        "exact_only": new.vector is None,
        "state": LIVE,
        "client": new.client,
        "upstream_group": new.group,
    }


def output_values(entry_id: int, position: int, output: Output) -> dict[str, Any]:
    """The columns of the entry's output at that position."""
    values: dict[str, Any] = {
        "entry_id": entry_id,
        "position": position,
        "item": _to_json(output.item),
        "created": int(output.created),
        "usage": None if output.usage is None else _to_json(output.usage),
        "blob": output.blob,
        "size": output.size,
        "media_type": output.media_type,
        "upstream_request_id": output.upstream_request_id,
    }
    return {**values, "checksum": _checksum(*values.values()), "usd": output.usd}


def vector_values(entry_id: int, stored: StoredVector) -> dict[str, Any]:
    """The columns of the entry's vector."""
    values: dict[str, Any] = {
        "entry_id": entry_id,
        "model_id": stored.model_id,
        "analysis_version": stored.analysis_version,
        "analysis": _to_json(stored.analysis),
    }
    vector = np.ascontiguousarray(stored.vector, dtype=_FLOATS).tobytes()
    return {**values, "vector": vector, "checksum": _checksum(*values.values(), raw=vector)}


def entry_from(row: Row, outputs: tuple[Output, ...], vector: Row | None) -> Entry:
    """The entry of a row of `entries`; `vector` a row of `vectors` or None."""
    _compare(
        "entry", row.id, row.checksum, row.exact_key, row.key_version, row.partition, row.namespace, row.operation,
        row.model, row.prompt, row.prompt_digest, row.request, row.envelope, row.made, row.created_at, row.expires_at,
    )  # fmt: skip
    return Entry(
        id=row.id,
        exact_key=row.exact_key,
        partition=row.partition,
        namespace=row.namespace,
        operation=row.operation,
        model=row.model,
        prompt=row.prompt,
        request=json_from(row.request),
        envelope=json_from(row.envelope),
        made=json_from(row.made),
        outputs=outputs,
        created_at=row.created_at,
        expires_at=row.expires_at,
        exact_only=bool(row.exact_only),
        analysis_version=None if vector is None else vector.analysis_version,
        analysis=None if vector is None else json_from(vector.analysis),
    )


def output_from(row: Row) -> Output:
    """The output of a row of `outputs`."""
    _compare(
        "output", row.entry_id, row.checksum, row.entry_id, row.position, row.item, row.created, row.usage, row.blob,
        row.size, row.media_type, row.upstream_request_id,
    )  # fmt: skip
    return Output(
        item=json_from(row.item),
        created=row.created,
        usage=None if row.usage is None else json_from(row.usage),
        blob=row.blob,
        size=row.size,
        media_type=row.media_type,
        upstream_request_id=row.upstream_request_id,
        usd=row.usd,
    )


def vector_from(row: Row) -> npt.NDArray[np.float32]:
    """The vector of a row of `vectors`, float32, read-only."""
    _compare(
        "vector", row.entry_id, row.checksum, row.entry_id, row.model_id, row.analysis_version, row.analysis,
        raw=row.vector,
    )  # fmt: skip
    return np.frombuffer(row.vector, dtype=_FLOATS)


def matrix_from(vectors: Iterable[bytes], width: int) -> npt.NDArray[np.float32]:
    """The vectors as rows of one matrix; one of another length becomes NaN."""
    size = width * _FLOATS.itemsize
    missing = np.full(width, np.nan, dtype=_FLOATS).tobytes()
    joined = b"".join(vector if len(vector) == size else missing for vector in vectors)
    return np.frombuffer(joined, dtype=_FLOATS).reshape(-1, width)


def predicate_to_text(predicate: PurgePredicate) -> str:
    """A purge predicate as JSON, its vector as base64 of float32."""
    similar = predicate.similar
    return _to_json(
        {
            "key": predicate.key,
            "prompt_digest": predicate.prompt_digest,
            "tag": predicate.tag,
            "namespace": predicate.namespace,
            "operation": predicate.operation,
            "model": predicate.model,
            "created_before": predicate.created_before,
            "everything": predicate.everything,
            "similar": similar
            and {
                "model_id": similar.model_id,
                "at_least": float(similar.at_least),
                "vector": base64.b64encode(np.asarray(similar.vector, dtype=_FLOATS).tobytes()).decode(),
            },
        }
    )


def predicate_from_text(text: str) -> PurgePredicate:
    """The predicate again, its vector bit for bit."""
    members = dict(json_from(text))
    try:
        similar = members.pop("similar")
        predicate = PurgePredicate(**members)
        if similar is None:
            return predicate
        vector = np.frombuffer(base64.b64decode(similar["vector"]), dtype=_FLOATS)
        return replace(predicate, similar=Similar(similar["model_id"], vector, similar["at_least"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise StoreCorrupt("a purge in the database can't be read") from exc


def _to_json(value: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(value, default=dict).decode()
    except TypeError as exc:  # an integer beyond 64 bits, a lone surrogate
        raise StoreError(f"can't be stored as JSON: {exc}") from exc


def json_from(text: str) -> dict[str, Any]:
    """The object that a text column holds, its members in their order."""
    try:
        value = orjson.loads(text)
    except ValueError as exc:
        raise StoreCorrupt("a row holds JSON that can't be read") from exc
    if not isinstance(value, dict):
        raise StoreCorrupt("a row holds JSON that is no object")
    return value


def _checksum(*values: object, raw: bytes = b"") -> int:
    try:
        return zlib.crc32(raw, zlib.crc32(orjson.dumps(values)))
    except TypeError as exc:
        raise StoreError(f"can't be stored as text: {exc}") from exc


def _compare(kind: str, entry_id: int, checksum: int, *values: object, raw: bytes = b"") -> None:
    try:
        intact = _checksum(*values, raw=raw) == checksum
    except (StoreError, TypeError):
        intact = False
    if not intact:
        raise StoreCorrupt(f"{kind} of entry {entry_id} isn't what was written")
