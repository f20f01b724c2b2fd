"""`python -m tests.fakes.copying backup DATA TARGET` or `restore DATA SOURCE`: a process to be killed, quick to start."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cache_service.store import backup
from cache_service.store.engine import database_url


def main(command: str, data: Path, other: Path) -> None:
    """Does it."""
    url = f"sqlite:///{data.absolute()}/cache.db"
    if command == "backup":
        backup.back_up(database_url(url), data / "blobs", other, release="0", settings="")
    else:
        asyncio.run(backup.restore(url, data / "blobs", other, allow_damaged=False))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
