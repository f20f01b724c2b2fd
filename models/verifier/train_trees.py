"""The trees over all features (the last stage) and over those that cost nothing (the first), fitted and written as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from cache_service.verification.difference import FEATURES, GIVEN
from cache_service.verification.trees import Trees

COMMON = {"min_samples_leaf": 30, "l2_regularization": 1.0, "max_features": 0.5, "early_stopping": False}
FIRST = {"learning_rate": 0.06, "max_iter": 300, "max_leaf_nodes": 15}  # many pairs, few that matter each
LAST = {"learning_rate": 0.03, "max_iter": 150, "max_leaf_nodes": 4}  # fewer pairs, and two features that nearly decide


def fit(
    rows: np.ndarray,
    same: np.ndarray,
    weights: np.ndarray,
    *,
    without: Sequence[str] = (),
    settings: dict[str, float],
    seed: int,
) -> HistGradientBoostingClassifier:
    """Trees over the features but those named: with one value in every row they can't be asked for."""
    rows = rows.copy()
    rows[:, [FEATURES.index(name) for name in without]] = 0.0
    grows = [1 if name in GIVEN else 0 for name in FEATURES]  # more of another model's trust never means less
    model = HistGradientBoostingClassifier(**COMMON, **settings, monotonic_cst=grows, random_state=seed)
    return model.fit(rows, same, sample_weight=weights)


def arrays(model: HistGradientBoostingClassifier) -> dict[str, np.ndarray]:
    """The fields of `Trees`, with float32 thresholds that decide as the fitted ones do."""
    nodes = [stage[0].nodes for stage in model._predictors]  # noqa: SLF001 - the library exports no other form
    sizes = np.array([len(tree) for tree in nodes])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    every = np.concatenate(nodes)
    shift = np.repeat(roots, sizes)
    leaf = every["is_leaf"].astype(bool)
    return {
        "roots": roots.astype(np.int32),
        "feature": np.where(leaf, -1, every["feature_idx"]).astype(np.int16),
        "threshold": _not_over(every["num_threshold"]),
        "left": np.where(leaf, 0, every["left"] + shift).astype(np.int32),
        "right": np.where(leaf, 0, every["right"] + shift).astype(np.int32),
        "missing_left": every["missing_go_to_left"].astype(bool),
        "value": np.where(leaf, every["value"], 0).astype(np.float32),
        "baseline": np.float64(np.ravel(model._baseline_prediction)[0]),  # noqa: SLF001
        "depth": np.int32(max(tree["depth"].max() for tree in nodes)),
    }


def _not_over(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that isn't over the threshold: float32 rows then go the same way."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded.astype(np.float64) > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def as_trees(fields: dict[str, np.ndarray]) -> Trees:
    """The runtime's trees of these fields."""
    from io import BytesIO

    file = BytesIO()
    np.savez(file, **{f"x/{name}": value for name, value in fields.items()})
    return Trees.from_bytes(file.getvalue(), "x")
