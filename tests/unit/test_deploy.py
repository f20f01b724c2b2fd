"""What `deploy/` holds is as closed as it says, by the tools that judge such files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cache_service.config import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "cache-service.service"


def unit(name: str) -> str:
    """The value of one line of the unit."""
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert found is not None, name
    return found[1]


def service() -> dict[str, Any]:
    """The service of the compose file."""
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return dict(parsed["services"]["cache-service"])


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="THE UNIT'S EXPOSURE IS NOT RATED: systemd-analyze is not installed"
)
def test_the_unit_is_closed() -> None:
    """At most 2.0 of 10 by systemd's own rating."""
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(UNIT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-200:]


def test_whoever_stops_the_service_waits_as_long_as_it_may_drain() -> None:
    """Else what is paid is cut off."""
    grace = Settings().shutdown_grace
    assert float(unit("TimeoutStopSec")) > grace
    assert float(service()["stop_grace_period"].removesuffix("s")) > grace


def test_the_dockerfile_passes_the_linter() -> None:
    """Every rule of hadolint but those that a line says why it breaks."""
    linter = Path(sys.executable).with_name("hadolint")
    judged = subprocess.run([linter, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout


def test_the_image_that_serves_is_small_and_not_root() -> None:
    """The last stage installs nothing, and what it copies was installed without torch."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    *_, package, last = re.split(r"^FROM ", text, flags=re.MULTILINE)
    assert "pip install" not in last
    assert "[model]" not in package
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "/livez" in last


def test_the_container_can_write_to_its_data_alone() -> None:
    """Read-only root, no capabilities, no new privileges, loopback only, and no start without client keys."""
    container = service()
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["user"].split(":")[0] != "0"
    assert container["volumes"] == ["data:/data"]
    assert all(port.startswith("127.0.0.1:") for port in container["ports"])
    assert ":?" in container["environment"]["CACHE_SERVICE_CLIENT_KEYS"]
