"""The thresholds an operator calibrated: the file's format, and that it is for the model in force. Pure.

A JSON object: `format`, `model` (digest of the model), `floor` (least cosine of the pairs), `serve` (by operation and route: the least
probability), and the evidence for whoever reads it: `prior`, `allowed`, `evidence`, `data_sha256`, `made`.

Raised: `VerificationError`.
"""

from __future__ import annotations

import json
from typing import Any

from cache_service.errors import VerificationError
from cache_service.verification.difference import ROUTES

FORMAT = 1


def own_thresholds(data: bytes, name: str, digest: str) -> dict[str, Any]:
    """`own` and `floor` of `Thresholds`. name: of the file, for the message. digest: of the model in force."""
    try:
        found = json.loads(data)
        if found["format"] != FORMAT:
            raise VerificationError(f"thresholds {name} are of format {found['format']!r}, this program reads {FORMAT}")
        model = str(found["model"])
        floor = _number(found["floor"], 1.0)
        own = {
            str(operation): {kind: _number(routes[kind], 2.0) for kind in ROUTES}
            for operation, routes in found["serve"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise VerificationError(
            f"thresholds {name} are damaged ({type(error).__name__}: {error}); `cache-service calibrate` writes them"
        ) from error
    if model != digest:
        raise VerificationError(
            f"thresholds {name} are for another model ({model[:12]}, this is {digest[:12]}): run `cache-service calibrate` again"
        )
    return {"own": own, "floor": floor}


def _number(value: Any, most: float) -> float:
    """From 0 to `most`. Raises ValueError, also for a NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"expected a number from 0 to {most:g}, got {value!r}")
    return float(value)
