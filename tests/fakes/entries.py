"""Entries made up for tests: one line where nothing matters but the key."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cache_service.store.entry import NewEntry, Output, StoredVector

MODEL = "mini@1"
"""The embedding model that tests ask with."""


def digest(text: str) -> str:
    """A digest as keys and blobs have."""
    return hashlib.sha256(text.encode()).hexdigest()


def unit(*numbers: float) -> npt.NDArray[np.float32]:
    """The direction of those numbers, unit length."""
    vector = np.array(numbers, dtype=np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def stored_vector(*numbers: float, model_id: str = MODEL, version: str = "1") -> StoredVector:
    """A vector beside a small analysis."""
    return StoredVector(model_id, unit(*numbers), version, {"colours": ["red"], "count": 2})


def output(name: str, **members: Any) -> Output:
    """An output whose blob is named by `name`."""
    return replace(
        Output(item={"revised_prompt": name}, created=1_700_000_000, blob=digest(name), size=3, media_type="image/png"),
        **members,
    )


def new_entry(name: str = "cat", **members: Any) -> NewEntry:
    """A live entry with one output, filed under the key `digest(name)`."""
    entry = NewEntry(
        exact_key=digest(name),
        key_version=1,
        partition=digest("partition"),
        namespace="default",
        operation="images",
        model="painter-1",
        prompt=name,
        prompt_digest=digest(f"prompt {name}"),
        request={"prompt": name, "size": "1024x1024"},
        envelope={"background": "opaque"},
        made={"model": "painter-1"},
        outputs=(output(name),),
        vector=stored_vector(1, 0, 0),
        created_at=1000.0,
        expires_at=None,
        began=0,
        client="tests",
        group="simulator",
    )
    return replace(entry, **members)
