"""Images: what is refused, what a complete answer is, and that it is answered again byte-equal."""

import base64
import hashlib
import io
import json
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cache_service.errors import InvalidRequest
from cache_service.generation import to_outputs
from cache_service.operations import usage
from cache_service.operations.base import Answer, Incomplete
from cache_service.operations.images import Images
from cache_service.operations.pictures import is_whole

IMAGES = Images(lambda model, size, quality: 1056)


def picture(kind: str = "PNG", colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, kind)
    return out.getvalue()


def body(*pictures: bytes, **members: Any) -> bytes:
    data = [{"b64_json": base64.b64encode(one).decode(), "revised_prompt": f"p{n}"} for n, one in enumerate(pictures)]
    answer = {
        "created": 1700000000,
        "background": "opaque",
        "data": data,
        "quality": "low",
        "size": "1024x1024",
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"text_tokens": 7, "image_tokens": 0},
            "output_tokens": 401,
            "total_tokens": 408,
        },
    }
    return json.dumps(answer | members).encode()


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t"}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"prompt": "x", "n": 0}, "n"),
        ({"prompt": "x", "n": 11}, "n"),
        ({"prompt": "x", "n": True}, "n"),
        ({"prompt": "x", "n": 1.5}, "n"),
        ({"prompt": "x", "n": "2"}, "n"),
        ({"prompt": "x", "model": 3}, "model"),
        ({"prompt": "x", "size": ["1024x1024"]}, "size"),
        ({"prompt": "x", "stream": "yes"}, "stream"),
        ({"prompt": "x", "output_compression": 101}, "output_compression"),
    ],
)
def test_wrong_types_are_refused_naming_the_parameter(request_body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        IMAGES.parse(request_body)
    assert caught.value.param == param


def test_odd_combinations_are_the_upstreams_to_judge() -> None:
    IMAGES.parse(
        {
            "prompt": "x" * 32_000,
            "size": "7x7",
            "quality": "hd",
            "background": "transparent",
            "output_format": "jpeg",
            "n": 10,
        }
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_complete_answer_is_answered_again_byte_equal(kind: str) -> None:
    original = body(picture(kind, "red"), picture(kind, "blue"))
    answer = IMAGES.read(original)
    assert isinstance(answer, Answer)
    outputs, pictures = to_outputs(answer, "req_1", lambda made: None)
    rendered = json.loads(IMAGES.render(answer.envelope, outputs, [pictures[o.blob] for o in outputs if o.blob]))
    assert rendered == json.loads(original)
    assert list(rendered) == list(json.loads(original))
    assert [hashlib.sha256(base64.b64decode(d["b64_json"])).hexdigest() for d in rendered["data"]] == [
        o.blob for o in outputs
    ]


def test_the_first_n_outputs_are_served_with_their_share_of_the_usage() -> None:
    answer = IMAGES.read(body(picture(colour="red"), picture(colour="blue")))
    assert isinstance(answer, Answer)
    outputs, pictures = to_outputs(answer, None, lambda made: None)
    one = json.loads(IMAGES.render(answer.envelope, outputs[:1], [pictures[outputs[0].blob or ""]]))
    assert len(one["data"]) == 1
    assert one["created"] == 1700000000
    assert one["usage"]["output_tokens"] == 201


@pytest.mark.parametrize("side", [8, 400])
def test_a_picture_is_filed_under_its_own_digest_small_or_large(side: int) -> None:
    pixels = hashlib.shake_256(b"noise").digest(side * side * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(out, "PNG")
    answer = IMAGES.read(body(out.getvalue()))
    assert isinstance(answer, Answer)
    assert answer.outputs[0].digest == hashlib.sha256(out.getvalue()).hexdigest()


def test_the_callers_own_identifier_is_not_stored() -> None:
    answer = IMAGES.read(body(picture(), safety_identifier="user-77"))
    assert isinstance(answer, Answer)
    assert "user-77" not in json.dumps(answer.envelope)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"created": 1, "data": []}',
        b'{"created": 1}',
        b'{"created": "yesterday", "data": [{"b64_json": "aGk="}]}',
        b'{"created": 1, "data": [{"url": "https://x/y.png"}]}',
        b'{"created": 1, "data": [{"b64_json": "aGk="}]}',
        b'{"created": 1, "data": [{"b64_json": "%%%"}]}',
        body(picture())[:-40],
        body(picture()[:-20]),
        body(picture("JPEG")[: len(picture("JPEG")) // 2]),
        body(picture("WEBP")[:-10]),
        body(picture(), error={"message": "no"}),
        body(b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect>'),
        body(b'<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>'),
    ],
)
def test_what_is_no_complete_result_is_never_taken_for_one(broken: bytes) -> None:
    assert isinstance(IMAGES.read(broken), Incomplete)


def test_a_png_is_whole_only_as_it_was_written() -> None:
    """Cut anywhere, or with any bit flipped behind its signature, it is not; what follows its end doesn't count."""
    whole = picture()
    assert is_whole(whole, "image/png")
    assert is_whole(whole + b"more", "image/png")
    assert not any(is_whole(whole[:cut], "image/png") for cut in range(len(whole)))
    for place in range(8, len(whole)):
        assert not is_whole(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :], "image/png"), place


def test_a_png_without_pixels_or_with_too_many_is_no_picture() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    def made(width: int, height: int, *middle: bytes) -> bytes:
        head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(middle) + chunk(b"IEND", b"")

    pixels = chunk(b"IDAT", zlib.compress(b"\0abc"))
    assert is_whole(made(1, 1, pixels), "image/png")
    assert not is_whole(made(1, 1), "image/png")
    assert not is_whole(made(0, 1, pixels), "image/png")
    assert not is_whole(made(2**16, 2**16, pixels), "image/png")


def test_a_whole_svg_is_a_picture() -> None:
    answer = IMAGES.read(body(b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1" height="1"/></svg>'))
    assert isinstance(answer, Answer)
    assert answer.outputs[0].media_type == "image/svg+xml"


def test_an_answer_that_contradicts_an_explicit_parameter_belongs_to_another_request() -> None:
    asked = IMAGES.parse({"prompt": "x", "quality": "high", "size": "1024x1024"})
    answer = IMAGES.read(body(picture()))
    assert isinstance(answer, Answer)
    made = IMAGES.as_made(asked, answer)
    assert made is not None
    assert made.context == {"quality": "low", "size": "1024x1024"}
    for harmless in ("auto", "hd", "low"):
        assert IMAGES.as_made(IMAGES.parse({"prompt": "x", "quality": harmless}), answer) is None
    assert IMAGES.as_made(IMAGES.parse({"prompt": "x"}), answer) is None


def test_what_is_missing_is_asked_for_with_the_stored_prompt() -> None:
    asked = IMAGES.parse({"prompt": "x", "n": 3, "user": "u"})
    assert IMAGES.forward(asked, prompt="y", n=2) == {"prompt": "y", "n": 2, "user": "u"}
    assert IMAGES.forward(IMAGES.parse({"prompt": "x"}), prompt="x", n=1) == {"prompt": "x"}


USAGE = st.dictionaries(
    st.sampled_from("abcd"), st.integers(0, 10**6) | st.dictionaries(st.sampled_from("ef"), st.integers(0, 10**6))
)


@given(USAGE, st.integers(1, 10))
def test_the_shares_of_a_usage_add_up_to_it(whole: dict[str, Any], parts: int) -> None:
    shares = usage.share(whole, parts)
    assert len(shares) == parts
    assert (usage.total(shares) or {}) == whole


def test_looking_at_pictures_in_many_threads_changes_no_warning_filter() -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: is_whole(picture(), "image/png"), range(100)))
    assert warnings.filters == before


def test_a_png_with_right_checksums_that_does_not_decode_is_not_whole() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    def png(pixels: bytes) -> bytes:
        head = (4).to_bytes(4, "big") * 2 + bytes((8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")

    whole = zlib.compress(bytes(5 * 4))
    assert is_whole(png(whole), "image/png")
    assert not is_whole(png(bytes(20)), "image/png")


MODES = ("1", "L", "LA", "RGB", "RGBA", "P", "I;16")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 33)])
def test_a_png_of_any_kind_is_whole(mode: str, size: tuple[int, int]) -> None:
    out = io.BytesIO()
    made = Image.effect_noise(size, 50)
    (Image.new(mode, size, 7) if mode == "I;16" else made.convert("RGB").convert(mode)).save(out, "PNG")
    assert is_whole(out.getvalue(), "image/png")


def png_of(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with right checksums."""
    parts = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big") for name, data in parts
    )


def size_of(width: int, height: int, *kind: int) -> bytes:
    """IHDR's data. kind: depth, colour type, compression, filtering, interlace."""
    return width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes(kind)


def test_an_interlaced_png_has_the_rows_of_every_pass() -> None:
    """5 × 5 pixels of a byte, as rows × pixels of Adam7's seven passes; Pillow reads it the same way."""
    passes = ((1, 1), (1, 1), (1, 2), (2, 1), (1, 3), (3, 2), (2, 5))
    rows = b"".join(bytes(1 + width) * count for count, width in passes)
    header = size_of(5, 5, 8, 0, 0, 0, 1)
    whole = png_of(header, (b"IDAT", zlib.compress(rows)))
    Image.open(io.BytesIO(whole)).load()
    assert is_whole(whole, "image/png")
    assert not is_whole(png_of(header, (b"IDAT", zlib.compress(rows[:-1]))), "image/png")


@pytest.mark.parametrize(
    "broken",
    [
        png_of(size_of(4, 5, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(b"\5" + bytes(24)))),
        png_of(size_of(4, 5, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(bytes(24)))),
        png_of(size_of(4, 5, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(bytes(26)))),
        png_of(size_of(4, 5, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(bytes(25))[:-1])),
        png_of(size_of(4, 5, 8, 0, 0, 0, 0)),
        png_of(size_of(4, 5, 8, 3, 0, 0, 0), (b"IDAT", zlib.compress(bytes(25)))),
        png_of(size_of(4, 5, 3, 0, 0, 0, 0), (b"IDAT", zlib.compress(bytes(25)))),
        png_of(size_of(4, 5, 8, 0, 0, 0, 2), (b"IDAT", zlib.compress(bytes(25)))),
        png_of(size_of(4, 5, 8), (b"IDAT", zlib.compress(bytes(25)))),
    ],
    ids=["no-such-filter", "short", "long", "no-checksum", "nothing", "no-palette", "no-such-depth", "no-such-interlace", "short-header"],
)  # fmt: skip
def test_a_png_whose_rows_are_not_all_there_is_not_whole(broken: bytes) -> None:
    assert is_whole(png_of(size_of(4, 5, 8, 0, 0, 0, 0), (b"IDAT", zlib.compress(bytes(25)))), "image/png")
    assert not is_whole(broken, "image/png")


@pytest.mark.parametrize("second", [1.0, 0.5])
def test_a_png_that_moves_has_all_its_frames(second: float) -> None:
    out = io.BytesIO()
    first, other = Image.new("RGB", (9, 9), "red"), Image.effect_noise((9, 9), 50).convert("RGB")
    first.save(out, "PNG", save_all=True, append_images=[other])
    place = out.getvalue().index(b"fdAT")
    length = int.from_bytes(out.getvalue()[place - 4 : place], "big")
    data = out.getvalue()[place + 4 : place + 4 + length]
    kept = data[: int(length * second)]
    chunk = len(kept).to_bytes(4, "big") + b"fdAT" + kept + zlib.crc32(b"fdAT" + kept).to_bytes(4, "big")
    moving = out.getvalue()[: place - 4] + chunk + out.getvalue()[place + 8 + length :]
    assert is_whole(moving, "image/png") == (second == 1.0)
