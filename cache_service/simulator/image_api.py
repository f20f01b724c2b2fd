"""`POST /images/generations`: what was asked, what it costs, and the answer's members. Pure.

Not strict, only what can't be answered at all is refused: no prompt, one that is too long, an `n` that isn't 1 to 10.
Strict, unknown models, dead and unknown parameters and impossible combinations are refused too.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache_service.simulator.catalog import Catalog
from cache_service.simulator.limits import Cost
from cache_service.simulator.refusals import Refused, bad_request, unknown_model
from cache_service.simulator.tokens import PARTIAL_IMAGE_TOKENS, image_tokens, text_tokens

LONGEST_PROMPT = 32_000
MOST_IMAGES = 10
LONGEST_EDGE = 3840
FEWEST_PIXELS, MOST_PIXELS = 655_360, 8_294_400
FORMATS = ("png", "jpeg", "webp", "gif", "svg")
QUALITIES = ("low", "medium", "high", "xhigh", "max")
DEAD_QUALITIES = {"standard": "medium", "hd": "high"}
STANDARD_SIZES = ("1024x1024", "1536x1024", "1024x1536")
DEFAULT_SIZE = (1024, 1024)
DEFAULT_QUALITY = "medium"
"""What `auto` becomes here; the real upstream chooses by the prompt."""

PARAMETERS = frozenset(
    {
        "prompt",
        "model",
        "n",
        "size",
        "quality",
        "complexity",
        "background",
        "output_format",
        "output_compression",
        "moderation",
        "stream",
        "partial_images",
        "safety_identifier",
        "user",
        "frame_count",
        "frame_duration_ms",
        "svg",
        "prompt_rewriter",
    }
)
DEAD = frozenset({"response_format", "style"})


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request as it will be answered: every parameter has a value that can be made."""

    prompt: str
    model: str
    n: int
    width: int
    height: int
    quality: str
    output_format: str
    transparent: bool
    compression: int | None
    stream: bool
    partial_images: int
    frame_count: int
    frame_ms: int
    safety_identifier: str | None

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"

    @property
    def background(self) -> str:
        """What was really made."""
        return "transparent" if self.transparent else "opaque"


def parse(body: Mapping[str, Any], catalog: Catalog, *, strict: bool, today: dt.date) -> ImageRequest:
    """The request. Raises Refused."""
    prompt = _prompt(body)
    model = body.get("model") if isinstance(body.get("model"), str) else None
    model = model or catalog.default_model("image")
    n = _count(body)
    if strict:
        _refuse_odd(body, model, catalog, today)
    width, height = _size(body.get("size"))
    output_format = _one_of(body.get("output_format"), FORMATS, "png")
    quality = body.get("quality")
    stream = body.get("stream") is True and output_format in ("png", "jpeg", "webp")
    return ImageRequest(
        prompt=prompt,
        model=model,
        n=1 if output_format in ("gif", "svg") else n,
        width=width,
        height=height,
        quality=_one_of(DEAD_QUALITIES.get(str(quality), quality), QUALITIES, DEFAULT_QUALITY),
        output_format=output_format,
        transparent=body.get("background") == "transparent" and output_format != "jpeg",
        compression=_whole(body.get("output_compression"), 0, 100, None),
        stream=stream,
        partial_images=_whole(body.get("partial_images"), 0, 3, 0) or 0 if stream else 0,
        frame_count=_whole(body.get("frame_count"), 2, 16, 4) or 4,
        frame_ms=_whole(body.get("frame_duration_ms"), 20, 10_000, 100) or 100,
        safety_identifier=_text(body.get("safety_identifier")) or _text(body.get("user")),
    )


def cost(asked: ImageRequest, catalog: Catalog) -> Cost:
    """What the call takes from its limit pools."""
    return Cost(images=asked.n, tokens=text_tokens(asked.prompt) + _output_tokens(asked, catalog))


def usage(asked: ImageRequest, catalog: Catalog) -> dict[str, Any]:
    """The answer's `usage`."""
    given, made = text_tokens(asked.prompt), _output_tokens(asked, catalog)
    return {
        "input_tokens": given,
        "input_tokens_details": {"text_tokens": given, "image_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
        "total_tokens": given + made,
    }


def answer(asked: ImageRequest, pictures: Sequence[str], catalog: Catalog, created: int) -> dict[str, Any]:
    """The body, from base64 texts."""
    body: dict[str, Any] = {
        "created": created,
        "background": asked.background,
        "data": [{"b64_json": picture} for picture in pictures],
        "output_format": asked.output_format,
        "quality": asked.quality,
        "size": asked.size,
        "usage": usage(asked, catalog),
    }
    if asked.output_format == "svg":
        body["svg_usage"] = {
            "input_tokens": text_tokens(asked.prompt),
            "model": catalog.default_model("chat"),
            "output_tokens": 400,
            "reasoning_tokens": 0,
            "total_tokens": text_tokens(asked.prompt) + 400,
        }
    if asked.safety_identifier:
        body["safety_identifier"] = asked.safety_identifier
    return body


def partial_event(asked: ImageRequest, picture: str, index: int, created: int) -> dict[str, Any]:
    """An `image_generation.partial_image` event."""
    return {**_event("partial_image", asked, picture, created), "partial_image_index": index}


def completed_event(asked: ImageRequest, picture: str, catalog: Catalog, created: int) -> dict[str, Any]:
    """An `image_generation.completed` event."""
    event = {**_event("completed", asked, picture, created), "usage": usage(asked, catalog)}
    return {**event, "safety_identifier": asked.safety_identifier} if asked.safety_identifier else event


def encode(picture: bytes) -> str:
    """Base64, as JSON carries pictures."""
    return base64.b64encode(picture).decode("ascii")


def _event(kind: str, asked: ImageRequest, picture: str, created: int) -> dict[str, Any]:
    return {
        "type": f"image_generation.{kind}",
        "b64_json": picture,
        "created_at": created,
        "size": asked.size,
        "quality": asked.quality,
        "background": asked.background,
        "output_format": asked.output_format,
    }


def _output_tokens(asked: ImageRequest, catalog: Catalog) -> int:
    one = image_tokens(catalog.ladder(asked.model), asked.quality, asked.width, asked.height)
    return asked.n * one + asked.partial_images * PARTIAL_IMAGE_TOKENS


def _prompt(body: Mapping[str, Any]) -> str:
    prompt = body.get("prompt")
    if prompt is None:
        raise Refused(
            bad_request("Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
        )
    if not isinstance(prompt, str):
        raise Refused(bad_request("Invalid type for 'prompt': expected a string.", param="prompt", code="invalid_type"))
    if not prompt:
        raise Refused(bad_request("Invalid 'prompt': it is empty.", param="prompt", code="empty_string"))
    if len(prompt) > LONGEST_PROMPT:
        message = f"Invalid 'prompt': expected at most {LONGEST_PROMPT} characters, got {len(prompt)}."
        raise Refused(bad_request(message, param="prompt", code="string_above_max_length"))
    return prompt


def _count(body: Mapping[str, Any]) -> int:
    n = body.get("n")
    if n is None:
        return 1
    if isinstance(n, bool) or not isinstance(n, int):
        raise Refused(bad_request("Invalid type for 'n': expected an integer.", param="n", code="invalid_type"))
    if not 1 <= n <= MOST_IMAGES:
        message = f"Invalid 'n': expected 1 to {MOST_IMAGES}."
        raise Refused(
            bad_request(message, param="n", code="integer_above_max_value" if n > 1 else "integer_below_min_value")
        )
    return n


def _size(size: object) -> tuple[int, int]:
    """Any WIDTHxHEIGHT, shrunk to what the upstream makes at most; else the standard size."""
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", size) if isinstance(size, str) else None
    if found is None:
        return DEFAULT_SIZE
    width, height = (min(LONGEST_EDGE, int(edge)) for edge in found.groups())
    if not width or not height:
        return DEFAULT_SIZE
    shrink = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    return max(1, int(width * shrink)), max(1, int(height * shrink))


def _refuse_odd(body: Mapping[str, Any], model: str, catalog: Catalog, today: dt.date) -> None:
    known = catalog.models.get(model)
    if known is None or known.kind != "image" or (known.shutdown_date and today.isoformat() >= known.shutdown_date):
        raise Refused(unknown_model(model))
    for name in body:
        if name not in PARAMETERS:
            verb = "is no longer supported" if name in DEAD else "is unknown"
            raise Refused(bad_request(f"Parameter '{name}' {verb}.", param=name, code="unknown_parameter"))
    ladder = catalog.ladder(model)
    figures = ladder.q if ladder.q is not None else ladder.square or {}
    _allowed(body, "quality", (*figures, "auto"))
    _allowed(body, "output_format", FORMATS)
    _allowed(body, "background", ("transparent", "opaque", "auto"))
    if body.get("background") == "transparent" and body.get("output_format") == "jpeg":
        message = "Transparent background needs output_format png or webp."
        raise Refused(bad_request(message, param="background", code="invalid_value"))
    size = body.get("size")
    if size in (None, "auto", *STANDARD_SIZES) or (ladder.q is not None and _possible(size)):
        return
    raise Refused(bad_request(f"Invalid size '{size}' for {model}.", param="size", code="invalid_value"))


def _possible(size: object) -> bool:
    """The rules for free sizes: multiples of 16, edges, ratio and pixels within bounds."""
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", size) if isinstance(size, str) else None
    if found is None:
        return False
    short, long = sorted(int(edge) for edge in found.groups())
    in_bounds = long <= LONGEST_EDGE and FEWEST_PIXELS <= short * long <= MOST_PIXELS
    return short % 16 == 0 and long % 16 == 0 and in_bounds and long <= 3 * short


def _allowed(body: Mapping[str, Any], name: str, values: Sequence[str]) -> None:
    if body.get(name) is not None and body[name] not in values:
        message = f"Invalid value for '{name}'. Supported values are: {', '.join(values)}."
        raise Refused(bad_request(message, param=name, code="invalid_value"))


def _one_of(value: object, values: Sequence[str], default: str) -> str:
    return value if isinstance(value, str) and value in values else default


def _whole(value: object, least: int, most: int, default: int | None) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return default
    return min(most, max(least, value))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
