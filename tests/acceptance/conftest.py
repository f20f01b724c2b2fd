"""The installed command, on a socket, as a user runs it; the upstream is the built-in simulator unless a test names another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = str(Path(sys.executable).with_name("cache-service"))
ROOT = Path(__file__).resolve().parents[2]


def environment(data_dir: Path, **settings: Any) -> dict[str, str]:
    """The variables of this process without any of ours, and the settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CACHE_SERVICE_")}
    ours = {"data_dir": data_dir, "port": 0, "simulator_latency": 0, "models_dir": ROOT / "models", **settings}
    return clean | {f"CACHE_SERVICE_{name.upper()}": str(value) for name, value in ours.items()}


def run(data_dir: Path, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        check=False,
        cwd=data_dir.parent,
    )


@dataclass
class Server:
    """A serving process. `url` is where it answers."""

    data_dir: Path
    settings: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> Server:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        log = (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab")
        self.process = subprocess.Popen(
            [COMMAND, "serve"],
            env=environment(self.data_dir, **self.settings),
            stdout=log,
            stderr=log,
            cwd=self.data_dir.parent,
        )
        log.close()
        while True:
            assert self.process.poll() is None, self.log()
            held = self._held()
            if held.get("pid") == self.process.pid and held.get("url"):
                self.url = held["url"]
                break
            time.sleep(0.02)  # another process: there is no clock of ours to move
        while True:
            try:
                served = str(self.settings.get("allowed_hosts", "127.0.0.1")).partition(",")[0]
                if httpx.get(f"{self.url}/readyz", headers={"host": served}, trust_env=False).is_success:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)

    def _held(self) -> dict[str, Any]:
        try:
            held: dict[str, Any] = json.loads((self.data_dir / "lock").read_text())
        except (OSError, ValueError):
            return {}
        return held

    def log(self) -> str:
        return (self.data_dir.parent / f"{self.data_dir.name}.log").read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait()

    @property
    def admin(self) -> dict[str, str]:
        return {"authorization": f"Bearer {(self.data_dir / 'admin-token').read_text().strip()}"}

    def client(self, **kwargs: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **kwargs)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A fresh service; settings by `@pytest.mark.parametrize("server", [{…}], indirect=True)`."""
    built = Server(tmp_path / "data", dict(getattr(request, "param", {}))).start()
    yield built
    if built.process is not None and built.process.poll() is None:
        built.stop()
