"""For tests of answers that don't depend on how far the worker is."""

from __future__ import annotations

import pytest

from cache_service.index import cells


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell is looked into, so that what is missing is an error and no matter of luck."""
    monkeypatch.setattr(cells, "LEAST", 10_000)
