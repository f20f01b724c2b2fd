"""The floor and the share of same pairs that training calibrates for; the sequence itself is the service's own, `cache_service.calibration`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cache_service import calibration
from cache_service.calibration import Calibration, as_json, upper

__all__ = ["FLOOR", "PRIOR", "Calibration", "as_json", "calibrate", "upper"]

PRIOR = 0.5  # share of same pairs among candidates over the floor, until the service has measured its own
FLOOR = 0.85  # cosine of the `verified` profile: candidates below are never seen


def calibrate(
    score: np.ndarray, same: np.ndarray, category: Sequence[str], allowed: float, prior: float = PRIOR
) -> Calibration:
    """The loosest threshold whose bound, and that of every stricter one, stays within `allowed`; NEVER if none does."""
    return calibration.calibrate(score, same, category, allowed, prior)
