"""Gradient-boosted trees as plain arrays: loaded from an .npz without pickle, evaluated by numpy for one row at a time."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A sum of regression trees that gives a logit. All arrays but `roots` have one element for each node.

    roots: number of each tree's first node. feature: column that is compared, -1 in a leaf. threshold: at most this goes left.
    left, right: node numbers. missing_left: where NaN goes. value: a leaf's share of the logit. baseline: added once.
    """

    roots: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    value: Array
    baseline: float
    depth: int

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Trees:
        """The trees called `name` in an .npz. Raises ValueError or KeyError where it is none, and never runs code of it."""
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            get = {field: arrays[f"{name}/{field}"] for field in cls.__dataclass_fields__}
        return cls(
            roots=get["roots"].astype(np.int32),
            feature=get["feature"].astype(np.int32),
            threshold=get["threshold"].astype(np.float32),
            left=get["left"].astype(np.int32),
            right=get["right"].astype(np.int32),
            missing_left=get["missing_left"].astype(bool),
            value=get["value"].astype(np.float32),
            baseline=float(get["baseline"]),
            depth=int(get["depth"]),
        )

    def logit(self, row: npt.NDArray[np.float32]) -> float:
        """The trees' answer for one row; all trees go down together, one level a step."""
        node = self.roots
        for _ in range(self.depth):
            feature = self.feature[node]
            value = row[np.maximum(feature, 0)]
            left = np.where(np.isnan(value), self.missing_left[node], value <= self.threshold[node])
            node = np.where(feature < 0, node, np.where(left, self.left[node], self.right[node]))
        return self.baseline + float(self.value[node].sum())
