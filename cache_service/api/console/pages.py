"""The console's files: one page, its style and scripts. They hold no data, so they are for everyone; what they show needs a login."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from cache_service.api.admin_descriptions import CONSOLE_FILE
from cache_service.errors import NotFound

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Scripts, styles and pictures of our own alone; `data:` for pictures of an answer that isn't stored."""

_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file, as it is sent."""

    body: bytes
    media_type: str
    etag: str


def load() -> dict[str, File]:
    """Every file by name."""
    files = {}
    for entry in (resources.files("cache_service") / "api" / "console" / "static").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _TYPES:
            body = entry.read_bytes()
            files[entry.name] = File(body, _TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return files


class ConsoleRoutes:
    """`/console/{name}`; the page itself is answered at `/`."""

    def __init__(self) -> None:
        self._files = load()
        self.router = APIRouter(default_response_class=Response)
        self.router.add_api_route("/console/{name}", self.file, methods=["GET"], **CONSOLE_FILE)

    async def file(self, request: Request) -> Response:
        """A script or style of the console."""
        file = self._files.get(str(request.path_params["name"]))
        if file is None:
            raise NotFound("there is no such file")
        return _sent(file, request)

    def page(self, request: Request) -> Response:
        """The console's one page."""
        return _sent(self._files["index.html"], request)


def _sent(file: File, request: Request) -> Response:
    headers = {"etag": file.etag, "cache-control": "no-cache", "content-security-policy": POLICY, "vary": "accept"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, 200, headers, file.media_type)
