"""Thresholds from labelled pairs: a fixed sequence from strict to loose that stops before the bound passes what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import beta

CONFIDENCE = 0.95
PRIOR = 0.5  # share of same pairs among candidates over the floor, until the service has measured its own
FLOOR = 0.85  # cosine of the `verified` profile: candidates below are never seen
WORST_CATEGORY = 0.025  # false hits in no category above this
LEAST_CATEGORY = 40  # different pairs from which a category has a say
SEQUENCE = tuple(float(p) for p in 1 / (1 + np.exp(-np.arange(7.0, -1.01, -0.1))))  # probabilities, 0.9991 … 0.27
# The sequence starts where this share of the same pairs is served: with fewer hits no number of pairs shows anything. That is
# fixed by the same pairs alone, so the different ones, which the bound is about, are still unseen.
LEAST_SERVED = 0.25
NEVER = 2.0  # a threshold no probability reaches


@dataclass(frozen=True, slots=True)
class Calibration:
    """One route's threshold and its evidence, over the floor. bound: of wrong / hits at the prior, 95 % confident."""

    threshold: float
    same: int
    different: int
    served_same: int
    served_different: int
    wrong_of_hits: float
    bound: float


def calibrate(
    score: np.ndarray, same: np.ndarray, category: Sequence[str], allowed: float, prior: float = PRIOR
) -> Calibration:
    """The loosest threshold whose bound, and that of every stricter one, stays within `allowed`; NEVER if none does."""
    category = np.array(category)
    start = float(np.quantile(score[same], 1 - LEAST_SERVED)) if same.any() else NEVER
    checked = [c for c in sorted(set(category[~same])) if (category[~same] == c).sum() >= LEAST_CATEGORY]
    best = Calibration(NEVER, int(same.sum()), int((~same).sum()), 0, 0, 0.0, 1.0)
    for threshold in SEQUENCE:
        if threshold > start:
            continue
        served = score >= threshold
        step = _evidence(threshold, served, same, prior)
        worst = max((served[~same][category[~same] == c].mean() for c in checked), default=0.0)
        if step.bound > allowed or worst > WORST_CATEGORY:
            break
        best = step
    return best


def _evidence(threshold: float, served: np.ndarray, same: np.ndarray, prior: float) -> Calibration:
    right, wrong, n_same, n_different = (
        int((served & same).sum()),
        int((served & ~same).sum()),
        int(same.sum()),
        int((~same).sum()),
    )
    true_rate = right / max(n_same, 1)
    return Calibration(
        threshold, n_same, n_different, right, wrong,
        _share(wrong / max(n_different, 1), true_rate, prior), _share(upper(wrong, n_different), true_rate, prior),
    )  # fmt: skip


def upper(count: int, total: int) -> float:
    """Clopper–Pearson's one-sided upper bound of a rate."""
    return 1.0 if count >= total else float(beta.ppf(CONFIDENCE, count + 1, total - count))


def _share(false_rate: float, true_rate: float, prior: float) -> float:
    """Wrong / hits, where a share `prior` of the candidates is the same."""
    wrong, right = (1 - prior) * false_rate, prior * true_rate
    return wrong / (wrong + right) if wrong + right > 0 else 1.0


def as_json(calibration: Calibration) -> dict[str, float]:
    """Plain values, rounded."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(calibration).items()}
