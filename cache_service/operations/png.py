"""PNG (W3C, third edition): whether a picture is whole, told without making its pixels.

What can go wrong in decoding is over once the rows are there: as many bytes as the header asks for, each row with a filter that exists. Undoing the
filters is arithmetic on bytes that fails for none, and takes longer than all the rest. Inflating and checksums leave the interpreter to others;
zlib-ng does them two to six times as fast as the system's zlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
from zlib_ng import zlib_ng

CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type."""
DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PALETTE: Final = 3
LAST_FILTER: Final = 4
ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced picture: the first column and row, and the steps between them."""


Chunk: TypeAlias = tuple[bytes, memoryview]
"""Its name and data."""


def read_chunks(data: bytes) -> list[Chunk] | None:
    """Every chunk from the signature to IEND; None where one is missing or isn't what its checksum says."""
    found: list[Chunk] = []
    view, place = memoryview(data), 8
    while not found or found[-1][0] != b"IEND":
        length = int.from_bytes(view[place : place + 4], "big")
        end = place + 8 + length  # of the chunk's data; four bytes of checksum follow
        if end + 4 > len(data) or zlib_ng.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return None
        found.append((bytes(view[place + 4 : place + 8]), view[place + 8 : end]))
        place = end + 4
    return found


def moves(chunks: Sequence[Chunk]) -> bool:
    """Whether it has several frames, in chunks of which nothing is known here."""
    return any(name == b"acTL" for name, _ in chunks)


def has_its_rows(chunks: Sequence[Chunk], most_pixels: int) -> bool:
    """Whether the header is one and the rows that it asks for are all there; False for more pixels than that."""
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return False
    header = chunks[0][1]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour, compression, filtering, interlace = header[8:]
    if depth not in DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        return False
    if not 0 < width * height <= most_pixels or (colour == PALETTE and all(name != b"PLTE" for name, _ in chunks)):
        return False
    bits = CHANNELS[colour] * depth
    passes = list(_passes(width, height, bits, interlaced=interlace == 1))
    return _rows_are_there(b"".join(part for name, part in chunks if name == b"IDAT"), passes)


def _passes(width: int, height: int, bits: int, *, interlaced: bool) -> Iterator[tuple[int, int]]:
    """Rows and bytes of a row, its filter among them, of each pass that has any."""
    for left, top, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            yield rows, 1 + (columns * bits + 7) // 8


def _rows_are_there(compressed: bytes, passes: list[tuple[int, int]]) -> bool:
    size = sum(rows * stride for rows, stride in passes)
    inflating = zlib_ng.decompressobj()
    try:
        rest = np.frombuffer(inflating.decompress(compressed, size + 1), np.uint8)
    except zlib_ng.error:  # type: ignore[misc] # a class, whatever its stubs say
        return False
    if len(rest) != size or not inflating.eof:
        return False
    for rows, stride in passes:
        if rest[: rows * stride : stride].max() > LAST_FILTER:
            return False
        rest = rest[rows * stride :]
    return True
