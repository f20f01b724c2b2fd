"""The end of a start: what was loaded is there to stay."""

from __future__ import annotations

import gc


def settle() -> None:
    """Takes what was loaded at the start out of the collector's way: looking at it holds up the loop, and is a tenth of a warm-up's Python."""
    gc.collect()
    gc.freeze()
