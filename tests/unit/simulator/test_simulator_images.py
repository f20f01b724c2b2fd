"""Every picture decodes to the asked size and format, whatever the prompt, and no two are alike."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cache_service.simulator.images import Picture, draw


def decoded(data: bytes) -> Image.Image:
    """The picture, read to its last byte."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("picture_format", ["png", "jpeg", "webp", "gif"])
@pytest.mark.parametrize("size", [(1024, 1024), (1536, 1024), (272, 816), (16, 16), (1, 1)])
def test_a_picture_has_the_asked_size_and_format(picture_format: str, size: tuple[int, int]) -> None:
    """Also where there is no room for text."""
    image = decoded(draw(Picture("a red cube", 1, *size, format=picture_format)))
    assert image.size == size
    assert (image.format or "").lower() == picture_format


@settings(max_examples=60)
@given(st.text(max_size=300), st.sampled_from(["png", "jpeg", "webp", "svg"]))
def test_any_text_can_be_drawn(prompt: str, picture_format: str) -> None:
    """Emoji, controls, other scripts."""
    data = draw(Picture(prompt, 1, 128, 96, format=picture_format))
    if picture_format == "svg":
        ET.fromstring(data)  # noqa: S314  # made by us
    else:
        assert decoded(data).size == (128, 96)


@pytest.mark.parametrize("prompt", ["\ud800 lone", "👩‍👩‍👧‍👦🦦", "\0\x1b[31m\u202e", "猫" * 32_000, ""])
def test_odd_text_can_be_drawn(prompt: str) -> None:
    """Lone surrogates, joined emoji, controls, very long and empty prompts."""
    assert decoded(draw(Picture(prompt, 1, 512, 512))).size == (512, 512)


def test_pictures_of_one_prompt_differ() -> None:
    """By their number; the same number gives the same picture."""
    made = [draw(Picture("a cat", number, 64, 64)) for number in range(50)]
    assert len(set(made)) == 50
    assert draw(Picture("a cat", 7, 64, 64)) == made[7]


@pytest.mark.parametrize("picture_format", ["png", "webp"])
def test_a_transparent_background_is_transparent(picture_format: str) -> None:
    """And an opaque one is opaque."""
    for transparent in (True, False):
        picture = Picture("a logo", 3, 256, 256, format=picture_format, transparent=transparent)
        lowest, _ = decoded(draw(picture)).convert("RGBA").getchannel("A").getextrema()
        assert (lowest == 0) is transparent


def test_a_gif_has_the_asked_frames() -> None:
    """Each another picture."""
    assert getattr(decoded(draw(Picture("a cat", 1, 64, 64, format="gif", frames=5))), "n_frames", 1) == 5


def test_pictures_stay_small() -> None:
    """Few colours: far below a real picture's megabytes."""
    assert len(draw(Picture("a long prompt " * 50, 1, 1024, 1024))) < 100_000
