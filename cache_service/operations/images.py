"""Image generation: `POST {base}/images/generations` (OpenAI's API, types of openai-python 3.57, November 2026)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import orjson
import pybase64

from cache_service.errors import InvalidRequest
from cache_service.operations import picture_json
from cache_service.operations import pictures as picture_bytes
from cache_service.operations import usage as usages
from cache_service.operations.base import Answer, Asked, Incomplete, Made, Seen, unseen
from cache_service.operations.parameters import (
    BOOLEAN,
    INTEGER,
    OBJECT,
    STRING,
    Check,
    check_types,
    integer_between,
    is_time,
    split_context,
)
from cache_service.store.entry import Output
from cache_service.upstream.base import Cost

MAX_PROMPT: Final = 32_000  # characters, OpenAI's limit
MAX_N: Final = 10

PARAMETERS: Final[Mapping[str, tuple[str, Check]]] = {
    "model": STRING,
    "n": integer_between(1, MAX_N),
    "size": STRING,
    "quality": STRING,
    "complexity": STRING,
    "background": STRING,
    "output_format": STRING,
    "output_compression": integer_between(0, 100),
    "moderation": STRING,
    "style": STRING,
    "response_format": STRING,
    "stream": BOOLEAN,
    "partial_images": integer_between(0, 3),
    "frame_count": INTEGER,
    "frame_duration_ms": INTEGER,
    "svg": OBJECT,
    "user": STRING,
    "safety_identifier": STRING,
}
"""Every parameter we know, with its type. One that isn't here changes the output, for all we know."""

DELIVERY_ONLY: Final = frozenset({"response_format", "stream", "partial_images", "user", "safety_identifier"})
"""Don't change the picture (`partial_images` only what is streamed before it), so they are no part of the partition."""

_HASHING: Final = ThreadPoolExecutor(2, thread_name_prefix="hashing")
_QUICKLY_HASHED: Final = 64 * 1024  # bytes, in 40 µs: a thread costs more

_ELSEWHERE: Final = frozenset({"prompt", "model", "n"})
_CALLERS_OWN: Final = frozenset({"safety_identifier"})  # the caller's id, echoed: not to be stored

_KNOWN_VALUES: Final[Mapping[str, re.Pattern[str]]] = {
    "quality": re.compile("low|medium|high|xhigh|max"),
    "size": re.compile(r"\d+x\d+"),
    "background": re.compile("transparent|opaque"),
    "output_format": re.compile("png|jpeg|webp|gif|svg"),
}
"""Explicit values that an answer can contradict; `auto` and dead values (`hd`) are the upstream's to resolve."""


class Images:
    """Pictures from a prompt. One entry collects pictures: `n` is served from what is there, only the rest is generated.

    image_tokens: (model, size, quality) → output tokens of one image, the most where it can't be known.
    """

    name: Final = "images"
    path: Final = "/images/generations"
    accumulates: Final = True

    def __init__(self, image_tokens: Callable[[str | None, str | None, str | None], int]) -> None:
        self._image_tokens = image_tokens

    def parse(self, body: Mapping[str, Any]) -> Asked:
        """Takes the request apart. Raises InvalidRequest."""
        prompt = body.get("prompt")
        if not isinstance(prompt, str):
            raise InvalidRequest("prompt must be a string.", param="prompt", code="invalid_type")
        if not prompt.strip():
            raise InvalidRequest(
                "prompt is empty: say what the picture should show.", param="prompt", code="empty_prompt"
            )
        if len(prompt) > MAX_PROMPT:
            message = f"prompt has {len(prompt)} characters; at most {MAX_PROMPT} are allowed."
            raise InvalidRequest(message, param="prompt", code="string_above_max_length")
        check_types(body, PARAMETERS)
        return Asked(
            operation=self.name,
            prompt=prompt,
            model=body.get("model"),
            context=split_context(body, PARAMETERS, DELIVERY_ONLY | _ELSEWHERE),
            body=body,
            n=body.get("n") or 1,
            stream=bool(body.get("stream")),
        )

    def forward(self, asked: Asked, *, prompt: str, n: int) -> dict[str, Any]:
        """The body as asked, with that prompt and that many pictures."""
        body = {**asked.body, "prompt": prompt}
        if n != 1 or body.get("n") is not None:
            body["n"] = n
        return body

    def read(self, body: bytes, *, seen: Seen = unseen) -> Answer | Incomplete:
        """What a 200's body holds: complete if every picture decodes whole."""
        try:
            answer = picture_json.loads(body)
        except orjson.JSONDecodeError:
            return Incomplete("no JSON")
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not data:
            return Incomplete("no pictures")
        if answer.get("error"):
            return Incomplete("an error in the answer")
        created = answer.get("created")
        if not is_time(created):
            return Incomplete("no creation time")
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else None
        shares = usages.share(usage, len(data)) if usage else [None] * len(data)
        outputs = []
        for item, one_share in zip(data, shares, strict=True):
            made = _read_item(item, created, one_share, seen)
            if isinstance(made, Incomplete):
                return made
            outputs.append(made)
        # None keeps a member's place, so that the answer reads the same again
        envelope = {
            name: None if name in ("created", "data", "usage") else value
            for name, value in answer.items()
            if name not in _CALLERS_OWN
        }
        kept = {name: answer[name] for name in _KNOWN_VALUES if isinstance(answer.get(name), str)}
        return Answer(envelope, tuple(outputs), kept, usage)

    def render(self, envelope: Mapping[str, Any], outputs: Sequence[Output], pictures: Sequence[bytes | None]) -> bytes:
        """The answer again: pictures as base64, usage summed, the oldest `created` replayed."""
        data = []
        for output, picture in zip(outputs, pictures, strict=True):
            item = dict(output.item)
            if picture is not None:
                # base64 needs no escapes, so nobody has to look for any in two megabytes
                item["b64_json"] = orjson.Fragment(b'"' + base64.b64encode(picture) + b'"')
            data.append(item)
        answer = {**envelope, "created": min(output.created for output in outputs), "data": data}
        usage = usages.total(output.usage for output in outputs)
        if usage is not None:
            answer["usage"] = usage
        return orjson.dumps(answer)

    def as_made(self, asked: Asked, answer: Answer) -> Asked | None:
        """The request that the answer is an answer to, where it contradicts an explicit quality, size, background or format."""
        made = {
            name: answer.made[name]
            for name, known in _KNOWN_VALUES.items()
            if name in answer.made
            and isinstance(value := asked.context.get(name), str)
            and known.fullmatch(value)
            and known.fullmatch(answer.made[name])
            and value != answer.made[name]
        }
        if not made:
            return None
        return replace(asked, context={**asked.context, **made}, body={**asked.body, **made})

    def reserve(self, asked: Asked, n: int) -> Cost:
        """One request, n images, and tokens by the model's formula plus the prompt (about four characters a token)."""
        context = asked.context
        size, quality = context.get("size"), context.get("quality")
        tokens = self._image_tokens(
            asked.model, size if isinstance(size, str) else None, quality if isinstance(quality, str) else None
        )
        return Cost(requests=1, images=n, tokens=n * tokens + len(asked.prompt) // 4 + 1)


def _read_item(item: Any, created: int, usage: Mapping[str, Any] | None, seen: Seen) -> Made | Incomplete:
    if not isinstance(item, dict) or not isinstance(item.get("b64_json"), str | memoryview):
        return Incomplete("a picture without b64_json")
    try:
        picture = pybase64.b64decode(item["b64_json"], validate=True)
    except (binascii.Error, ValueError):
        return Incomplete("broken base64")
    kind = picture_bytes.media_type(picture)
    if kind is None:
        return Incomplete("no picture we know")
    seen(picture)
    large = len(picture) > _QUICKLY_HASHED
    hashing = _HASHING.submit(hashlib.sha256, picture) if large else None  # while this thread looks at the picture
    if not picture_bytes.is_whole(picture, kind):
        return Incomplete("a picture that is cut off")
    digest = hashlib.sha256(picture) if hashing is None else hashing.result()
    return Made({**item, "b64_json": None}, created, usage, picture, kind, digest.hexdigest())
