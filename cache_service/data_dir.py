"""The data directory: its folders, the admin token, and the lock that says which process holds it and where it listens."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from cache_service.errors import ConfigurationError

log = logging.getLogger(__name__)

TOKEN_FILE = "admin-token"  # noqa: S105  a file's name
LOCK_FILE = "lock"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a data directory. url: where it answers, None if it only works on the files."""

    pid: int
    url: str | None


class DataDirectory:
    """One data directory (mode 0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def create(self) -> None:
        """Makes the folder. Raises ConfigurationError where that isn't possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"data directory {self.path}: {error.strerror}; set CACHE_SERVICE_DATA_DIR"
            ) from error

    def acquire(self, url: str | None) -> None:
        """Takes the lock until `release` or the process's end. Raises ConfigurationError naming the process that has it."""
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise ConfigurationError(f"{self.path / LOCK_FILE} can't be locked: {error.strerror}") from error
            holder = self.holder()
            who = f"process {holder.pid}" + (f" at {holder.url}" if holder.url else "") if holder else "another process"
            raise ConfigurationError(
                f"data directory {self.path} is held by {who}; stop it or use another directory"
            ) from error
        self._lock = descriptor
        self.announce(url)

    def announce(self, url: str | None) -> None:
        """Says where this process answers, once it is known.

        Where that can't be written, on a full disk, the lock holds all the same and the log says what is missing.
        """
        if self._lock is None:
            return
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)
        except OSError as error:
            log.warning(
                "%s can't be written: %s; commands won't find this process", self.path / LOCK_FILE, error.strerror
            )

    def release(self) -> None:
        """Gives the lock back; idempotent."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def holder(self) -> Holder | None:
        """Who holds the lock now, None if nobody does."""
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            try:
                found = json.loads(os.pread(descriptor, 4096, 0))
                return Holder(int(found["pid"]), found.get("url"))
            except (ValueError, KeyError, TypeError):
                return Holder(0, None)
        else:
            return None
        finally:
            os.close(descriptor)

    def admin_token(self) -> SecretStr:
        """The token made at first start, in a file of mode 0600. Raises ConfigurationError."""
        try:
            return self._read_or_make_token()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(error) from error

    def _read_or_make_token(self) -> SecretStr:
        path = self.path / TOKEN_FILE
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            token = path.read_text("ascii").strip()
            if len(token) < 16:
                raise ConfigurationError(
                    f"{path} holds no token; delete it and a new one is made at the next start"
                ) from None
            return SecretStr(token)
        token = secrets.token_urlsafe(32)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(token + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)  # half a token would refuse every later start
            raise
        return SecretStr(token)

    def _unusable(self, error: Exception) -> ConfigurationError:
        reason = getattr(error, "strerror", None) or str(error)
        return ConfigurationError(
            f"data directory {self.path} can't be used: {reason}; let this user write there, or set CACHE_SERVICE_DATA_DIR"
        )
