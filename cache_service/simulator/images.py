"""Pictures that cost nothing: real PNG, JPEG, WebP, GIF and SVG of exactly the asked size with the prompt drawn into them.

Few colours from a palette, so that they are small and made fast; colours and shapes come from a digest of prompt and
number, so that no two pictures are alike. CPU work: call it in a thread.
"""

from __future__ import annotations

import functools
import hashlib
import io
import textwrap
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

BACKGROUND, INK, FIRST_SHAPE = 0, 1, 2
SHAPES = 4
SMALLEST_WITH_TEXT = 48
"""Pixels of the shorter edge below which no text is drawn."""
CHARACTER_WIDTH = 0.56
"""Of the font's size, on average."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What to draw.

    number: tells apart the pictures of one prompt. format: png, jpeg, webp, gif or svg. quality: 1 to 100, of JPEG and
    WebP. frames: of a GIF.
    """

    prompt: str
    number: int
    width: int
    height: int
    format: str = "png"
    transparent: bool = False
    quality: int = 75
    frames: int = 1
    frame_ms: int = 100


def draw(picture: Picture) -> bytes:
    """The file's bytes."""
    if picture.format == "svg":
        return _svg(picture)
    image = _paint(picture, 0)
    out = io.BytesIO()
    match picture.format:
        case "jpeg":
            image.convert("RGB").save(out, "JPEG", quality=picture.quality)
        case "webp":
            mode = "RGBA" if picture.transparent else "RGB"
            image.convert(mode).save(out, "WEBP", quality=picture.quality, method=0)
        case "gif":
            more = [_paint(picture, frame) for frame in range(1, picture.frames)]
            image.save(out, "GIF", save_all=True, append_images=more, duration=picture.frame_ms, loop=0)
        case _:
            transparency: dict[str, Any] = {"transparency": BACKGROUND} if picture.transparent else {}
            image.save(out, "PNG", compress_level=1, bits=4, **transparency)
    return out.getvalue()


def _paint(picture: Picture, frame: int) -> Image.Image:
    digest = _digest(picture, frame)
    image = Image.new("P", (picture.width, picture.height), BACKGROUND)
    image.putpalette(b"".join(bytes(color) for color in _palette(digest)))
    if picture.transparent:
        image.info["transparency"] = BACKGROUND
    pen = ImageDraw.Draw(image)
    pen.fontmode = "1"  # no shades at the edges: few colours, small files
    for index, (x, y, radius) in enumerate(_shapes(picture, digest)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=FIRST_SHAPE + index)
    if min(picture.width, picture.height) >= SMALLEST_WITH_TEXT:
        _write(pen, picture)
    return image


def _write(pen: ImageDraw.ImageDraw, picture: Picture) -> None:
    size = max(8, min(56, min(picture.width, picture.height) // 20))
    line_height = size * 5 // 4
    columns = max(1, int((picture.width - 2 * size) / (size * CHARACTER_WIDTH)))
    rows = max(1, (picture.height - 3 * line_height) // line_height)
    text = _drawable(picture.prompt[: columns * rows])
    lines = textwrap.wrap(text, columns, max_lines=rows, placeholder=" …") or [""]
    font = _font(size)
    for row, line in enumerate(lines):
        pen.text((size, size + row * line_height), line, fill=INK, font=font)
    pen.text((size, picture.height - size - line_height), f"simulator #{picture.number}", fill=INK, font=font)


@functools.lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _drawable(text: str) -> str:
    """The text without what a font can't take: lone surrogates become "?", control characters spaces."""
    valid = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(character if character.isprintable() else " " for character in valid)


def _digest(picture: Picture, frame: int) -> bytes:
    told = f"{picture.number}/{frame}/{picture.prompt}".encode("utf-8", "replace")
    return hashlib.sha256(told).digest()


def _palette(digest: bytes) -> list[tuple[int, int, int]]:
    """A pale background, dark ink, and the shapes' colours."""
    colors = [(191 + digest[0] // 4, 191 + digest[1] // 4, 191 + digest[2] // 4), (20, 20, 30)]
    for shape in range(SHAPES):
        red, green, blue = digest[3 + 3 * shape : 6 + 3 * shape]
        colors.append((96 + red * 5 // 8, 96 + green * 5 // 8, 96 + blue * 5 // 8))
    return colors


def _shapes(picture: Picture, digest: bytes) -> list[tuple[int, int, int]]:
    """Centre and radius of each circle, in pixels."""
    edge = min(picture.width, picture.height)
    places = digest[15 : 15 + 3 * SHAPES]
    return [
        (
            picture.width * places[3 * shape] // 255,
            picture.height * places[3 * shape + 1] // 255,
            edge // 12 + edge * places[3 * shape + 2] // 1500,
        )
        for shape in range(SHAPES)
    ]


def _svg(picture: Picture) -> bytes:
    digest = _digest(picture, 0)
    colors = ["#" + bytes(color).hex() for color in _palette(digest)]
    ground = "" if picture.transparent else f'<rect width="100%" height="100%" fill="{colors[BACKGROUND]}"/>'
    circles = "".join(
        f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colors[FIRST_SHAPE + index]}"/>'
        for index, (x, y, radius) in enumerate(_shapes(picture, digest))
    )
    size = max(8, min(picture.width, picture.height) // 20)
    text = escape(_drawable(picture.prompt[:200]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{picture.width}" height="{picture.height}">{ground}{circles}'
        f'<text x="{size}" y="{2 * size}" font-size="{size}" fill="{colors[INK]}">{text} #{picture.number}</text></svg>'
    ).encode()
