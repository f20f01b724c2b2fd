"""Trees are plain arrays: evaluated as they were grown, loaded without running anything."""

from __future__ import annotations

import io

import numpy as np
import pytest

from cache_service.verification.trees import Trees


def stored(**change: np.ndarray) -> bytes:
    """Two trees: column 0 at 1.5 (missing goes right), and a stump that is one leaf."""
    fields = {
        "roots": np.array([0, 3], np.int32),
        "feature": np.array([0, -1, -1, -1], np.int16),
        "threshold": np.array([1.5, 0, 0, 0], np.float32),
        "left": np.array([1, 0, 0, 0], np.int32),
        "right": np.array([2, 0, 0, 0], np.int32),
        "missing_left": np.array([False] * 4),
        "value": np.array([0, -1, 1, 0.25], np.float32),
        "baseline": np.float64(0.5),
        "depth": np.int32(1),
    } | change
    file = io.BytesIO()
    np.savez(file, **{f"t/{name}": value for name, value in fields.items()})
    return file.getvalue()


@pytest.mark.parametrize(("value", "logit"), [(1.5, -0.25), (1.6, 1.75), (np.nan, 1.75)])
def test_the_way_down(value: float, logit: float) -> None:
    """At most the threshold goes left, more goes right, unknown goes where it went in training."""
    assert Trees.from_bytes(stored(), "t").logit(np.array([value], np.float32)) == pytest.approx(logit)


def test_pickled_arrays_are_refused() -> None:
    """A file can hold numbers only."""
    with pytest.raises(ValueError, match="pickle"):
        Trees.from_bytes(stored(value=np.array([object()])), "t")
