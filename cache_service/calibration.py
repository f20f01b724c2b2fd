"""Thresholds from labelled pairs, and what wrong hits they leave: pure, one implementation for training, `calibrate` and `evaluate`.

A threshold is found by a *fixed sequence*, decided before the labels are looked at: from the strictest step to looser ones, as
long as the upper bound of wrong / hits stays within what is allowed. It ends at the first step that doesn't pass and never looks
behind it, so that many steps need no correction (Angelopoulos et al., "Learn then Test", arXiv 2110.01052, section 4).

Bounds are Clopper and Pearson's (1934), one-sided. Labelled pairs are rarely mixed as real candidates are, so wrong / hits is
re-weighted to a `prior`, the share of same pairs among candidates: (1 − prior)·f / ((1 − prior)·f + prior·t), with the bound of
the false-hit rate f, and the true-hit rate t as measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from cache_service.beta import beta_quantile

CONFIDENCE = 0.95
WORST_CATEGORY = 0.025  # false hits in no category above this
LEAST_CATEGORY = 40  # different pairs from which a category has a say
SEQUENCE = tuple(float(p) for p in 1 / (1 + np.exp(-np.arange(7.0, -1.01, -0.1))))  # probabilities, 0.9991 … 0.27
# The sequence starts where this share of the same pairs is served: with fewer hits no number of pairs shows anything. That is
# fixed by the same pairs alone, so the different ones, which the bound is about, are still unseen.
LEAST_SERVED = 0.25
NEVER = 2.0  # a threshold no probability reaches

Scores = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and its evidence: pairs over the floor, those of them that were served, wrong / hits at the prior and its bound."""

    threshold: float
    same: int
    different: int
    served_same: int
    served_different: int
    wrong_of_hits: float
    bound: float

    @property
    def hits(self) -> int:
        """Pairs served."""
        return self.served_same + self.served_different

    @property
    def raw(self) -> float | None:
        """Wrong / hits as the pairs are mixed; None without hits."""
        return self.served_different / self.hits if self.hits else None

    @property
    def raw_bound(self) -> float:
        """Upper bound of `raw`."""
        return upper(self.served_different, self.hits)


def calibrate(score: Scores, same: Flags, category: Sequence[str], allowed: float, prior: float) -> Calibration:
    """The loosest threshold whose bound, and that of every stricter one, stays within `allowed`; NEVER if none does.

    score, same: one for each pair over the floor. No category with enough different pairs may be far above the others.
    """
    categories = np.array(category)
    start = float(np.quantile(score[same], 1 - LEAST_SERVED)) if same.any() else NEVER
    checked = [c for c in sorted(set(categories[~same])) if (categories[~same] == c).sum() >= LEAST_CATEGORY]
    best = Calibration(NEVER, int(same.sum()), int((~same).sum()), 0, 0, 0.0, 1.0)
    for threshold in SEQUENCE:
        if threshold > start:
            continue
        served = score >= threshold
        step = evidence(threshold, served, same, prior)
        worst = max((served[~same][categories[~same] == c].mean() for c in checked), default=0.0)
        if step.bound > allowed or worst > WORST_CATEGORY:
            break
        best = step
    return best


def evidence(threshold: float, served: Flags, same: Flags, prior: float) -> Calibration:
    """What serving those pairs came to."""
    right, wrong = int((served & same).sum()), int((served & ~same).sum())
    n_same, n_different = int(same.sum()), int((~same).sum())
    wrong_of_hits, bound = at_prior(right, n_same, wrong, n_different, prior)
    return Calibration(threshold, n_same, n_different, right, wrong, wrong_of_hits, bound)


def at_prior(right: int, same: int, wrong: int, different: int, prior: float) -> tuple[float, float]:
    """Wrong / hits, and its upper bound, where a share `prior` of the candidates is the same."""
    true_rate = right / max(same, 1)
    found = _share(wrong / max(different, 1), true_rate, prior)
    return found, _share(upper(wrong, different), true_rate, prior)


def upper(count: int, total: int) -> float:
    """Clopper and Pearson's one-sided upper bound of a rate; 1 where nothing was counted."""
    return 1.0 if count >= total else beta_quantile(CONFIDENCE, count + 1, total - count)


def needed(allowed: float, prior: float, true_rate: float = 1.0) -> int:
    """How many different pairs, none of them served, show that wrong / hits is within `allowed`: fewer can't show anything."""
    false_rate = allowed / (1 - allowed) * prior * true_rate / (1 - prior)
    return 1 if false_rate >= 1 else int(np.ceil(np.log(1 - CONFIDENCE) / np.log1p(-false_rate)))


def as_json(calibration: Calibration) -> dict[str, float]:
    """Plain values, rounded."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(calibration).items()}


def _share(false_rate: float, true_rate: float, prior: float) -> float:
    """Wrong / hits, where a share `prior` of the candidates is the same."""
    wrong, right = (1 - prior) * false_rate, prior * true_rate
    return wrong / (wrong + right) if wrong + right > 0 else 1.0
