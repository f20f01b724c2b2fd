"""Pictures: what their bytes are, and whether they are whole."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

from PIL import Image, UnidentifiedImageError

from cache_service.operations import png

MAX_PIXELS = 64 * 2**20
"""More than any model makes (8.3 million pixels); a picture that claims more is a decompression bomb."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}


def media_type(data: bytes) -> str | None:
    """The type by magic bytes, None for bytes that are no picture we know."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    head = data[:512].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in data[:4096].lower():
        return "image/svg+xml"
    return None


def is_whole(data: bytes, kind: str) -> bool:
    """Whether the picture is as its maker wrote it, to the end. Takes milliseconds.

    It decodes to its last pixel. PNG: and every chunk is there with the right checksum, from IHDR to IEND, which tells a
    flipped bit that decoding doesn't. SVG: it parses as XML without a document type.
    """
    if kind == "image/svg+xml":
        return _is_whole_svg(data)
    if kind == "image/png":
        chunks = png.read_chunks(data)
        if chunks is None or not png.moves(chunks):
            return chunks is not None and png.has_its_rows(chunks, MAX_PIXELS)
    elif not _has_its_end(data, kind):
        return False
    try:
        with Image.open(io.BytesIO(data), formats=[_FORMATS[kind]]) as picture:
            frames = getattr(picture, "n_frames", 1)
            if picture.width * picture.height * frames > MAX_PIXELS:
                return False
            for frame in range(frames):
                picture.seek(frame)
                picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return False
    return True


def _has_its_end(data: bytes, kind: str) -> bool:
    """Whether the mark that ends the file is there: decoders are content once they have every pixel."""
    match kind:
        case "image/jpeg":
            return b"\xff\xd9" in data[-64:]
        case "image/gif":
            return data.rstrip(b"\x00").endswith(b";")
        case _:  # WebP: RIFF says how long it is
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")


def _is_whole_svg(data: bytes) -> bool:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return False
    try:
        root = ET.fromstring(data)  # noqa: S314  entities need a document type, refused above
    except ET.ParseError:
        return False
    return root.tag.rpartition("}")[2] == "svg"
