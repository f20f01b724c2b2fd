"""A changed settings file is taken by HUP, and a bad one changes nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.acceptance.conftest import Server

BODY = {"model": "m", "prompt": "a red fox in the snow", "size": "64x64"}


def status(server: Server, key: str) -> int:
    with server.client(headers={"authorization": f"Bearer {key}"}) as client:
        return client.post("/v1/images/generations", json=BODY).status_code


def test_a_key_is_changed_by_hup_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    """Nothing restarts: the process is the same, and what it held is served on."""
    file = tmp_path / "config.toml"
    file.write_text('client_keys = ["a:first-key"]\n')
    server = Server(tmp_path / "data", {"config": file}).start()
    assert server.process is not None
    try:
        assert (status(server, "first-key"), status(server, "second-key")) == (200, 401)
        file.write_text('client_keys = ["a:second-key"]\nport = 1\n')
        os.kill(server.process.pid, signal.SIGHUP)
        while status(server, "second-key") == 401:
            time.sleep(0.05)  # another process: there is no clock of ours to move
        assert status(server, "first-key") == 401
        file.write_text('client_keys = ["no colon"]\nclient_kees = 3\n')
        os.kill(server.process.pid, signal.SIGHUP)
        while "were not reloaded" not in server.log():
            time.sleep(0.05)
        assert status(server, "second-key") == 200
        with server.client(headers=server.admin) as client:
            refused = client.post("/admin/reload")
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_settings")
        assert "client_keys" in refused.json()["detail"]
    finally:
        assert server.stop() == 0
