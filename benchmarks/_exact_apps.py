"""What an exact hit is measured against, each run by `python _exact_apps.py NAME PORT FOLDER` as the service runs itself under uvicorn.

raw: an ASGI function that reads the request and sends prepared bytes: the server's own cost. reference: the least that a cache in
FastAPI does: parse a POST, SHA-256, look into a dict. pictures: the least that a first read does: read the file, check its SHA-256,
encode, send. upstream: what the service is filled from.
"""

from __future__ import annotations

import base64
import hashlib
import io
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

SIDE = 708  # pixels; random ones of three bytes don't compress: 1.5 MB
JSON = [(b"content-type", b"application/json")]


def answer(length: int) -> bytes:
    """A chat answer with about so many bytes."""
    message = {"role": "assistant", "content": "x" * (length - 300), "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 400, "completion_tokens": 400, "total_tokens": 800}
    return orjson.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1764000000,
            "model": "gpt-6-luna",
            "choices": [choice],
            "usage": usage,
        }
    )


def picture(seed: str) -> bytes:
    """A PNG of 1.5 MB."""
    noise = random.Random(seed).randbytes(SIDE * SIDE * 3)
    made = io.BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), noise).save(made, "PNG", compress_level=0)
    return made.getvalue()


def picture_answer(data: bytes) -> bytes:
    """As the API sends a picture."""
    item = b'{"b64_json":"' + base64.b64encode(data) + b'"}'
    return b'{"created":1764000000,"data":[' + item + b'],"usage":{"input_tokens":9,"output_tokens":1000}}'


def raw(length: int) -> Callable[..., Awaitable[None]]:
    """Reads the request, and sends so many bytes."""
    body = b"x" * length
    headers = [*JSON, (b"content-length", str(length).encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def reference() -> FastAPI:
    """One route; every request has the same answer, under its own key."""
    app = FastAPI()
    answers: dict[bytes, bytes] = {}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = orjson.loads(await request.body())
        key = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
        found = answers.get(key)
        if found is None:
            found = answers[key] = answer(2048)
        return Response(found, media_type="application/json")

    return app


def pictures(folder: Path) -> Callable[..., Awaitable[None]]:
    """Raw ASGI; the body names a file by its SHA-256."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        name = (await receive())["body"].decode()
        data = (folder / name[:2] / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == name
        body = picture_answer(data)
        headers = [*JSON, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def upstream() -> FastAPI:
    """Answers chat with 2 KB and images with 1.5 MB, another picture for each prompt."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return Response(answer(2048), media_type="application/json")

    @app.post("/v1/images/generations")
    async def images(request: Request) -> Response:
        asked = orjson.loads(await request.body())
        return Response(picture_answer(picture(asked["prompt"])), media_type="application/json")

    return app


def main(name: str, port: str, folder: str) -> None:
    """Serves it with the service's own settings of uvicorn."""
    apps: dict[str, Callable[[], Any]] = {
        "raw": lambda: raw(2048),
        "raw-picture": lambda: raw(len(picture_answer(picture("any")))),
        "reference": reference,
        "pictures": lambda: pictures(Path(folder)),
        "upstream": upstream,
    }
    uvicorn.run(
        apps[name](), port=int(port), log_config=None, access_log=False, server_header=False, lifespan="off",
        backlog=2048, timeout_keep_alive=75, loop="uvloop", http="httptools",
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
