"""The data directory's lock and token on a file system that refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cache_service.data_dir import DataDirectory
from cache_service.errors import ConfigurationError


def test_a_lock_that_cannot_be_written_holds_and_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As on a full disk: the service runs, commands don't find it, and the log says so."""
    (tmp_path / "lock").symlink_to("/dev/full")
    data = DataDirectory(tmp_path)
    with caplog.at_level(logging.WARNING):
        data.acquire("http://127.0.0.1:8000")
    assert "can't be written" in caplog.text
    with pytest.raises(ConfigurationError, match="held by"):
        DataDirectory(tmp_path).acquire(None)
    data.release()


@pytest.mark.parametrize("name", ["lock", "admin-token"])
def test_a_file_that_cannot_be_opened_says_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    data = DataDirectory(tmp_path)
    with pytest.raises(ConfigurationError, match="CACHE_SERVICE_DATA_DIR"):
        data.acquire(None) if name == "lock" else data.admin_token()
