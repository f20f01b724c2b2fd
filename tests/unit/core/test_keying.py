"""The same bytes are the same question; anything else is taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from cache_service.api import strict_json
from cache_service.errors import InvalidRequest
from cache_service.keying import LARGE, Keying
from cache_service.operations.chat import Chat
from cache_service.operations.images import Images
from cache_service.providers import Provider
from tests.fakes.upstream import FakeUpstream

IMAGES, CHAT = Images(lambda *_: 1), Chat()
CAT = b'{"prompt": "a cat"}'


class Counting:
    """Reads JSON, and counts how often."""

    def __init__(self) -> None:
        self.count = 0
        self.now = 0.0
        self.keying = Keying(
            Provider("primary", FakeUpstream()), read=self.read, prepare=self.prepare, most=10**6, now=lambda: self.now
        )
        self.refused: set[str] = set()

    def read(self, body: bytes) -> Mapping[str, Any]:
        self.count += 1
        return strict_json.loads(body)

    def prepare(self, operation: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if body.get("prompt") in self.refused:
            raise InvalidRequest("no")
        return body


async def test_the_same_bytes_are_taken_apart_once() -> None:
    counting = Counting()
    first = await counting.keying.key(IMAGES, CAT, "alice")
    assert await counting.keying.key(IMAGES, CAT, "alice") is first
    assert counting.count == 1


async def test_what_is_remembered_is_what_would_be_found_out() -> None:
    counting = Counting()
    asked, key = await counting.keying.key(IMAGES, CAT, "alice")
    members = await counting.keying.key(IMAGES, strict_json.loads(CAT), "alice")
    assert (asked, key) == members


async def test_namespaces_share_no_key() -> None:
    counting = Counting()
    (_, one), (_, other) = [await counting.keying.key(IMAGES, CAT, name) for name in ("alice", "bob")]
    assert one.exact != other.exact


async def test_operations_share_nothing() -> None:
    counting = Counting()
    both = b'{"prompt": "a cat", "messages": [{"role": "user", "content": "a cat"}]}'
    await counting.keying.key(IMAGES, both, "alice")
    asked, _ = await counting.keying.key(CHAT, both, "alice")
    assert asked.operation == "chat"


async def test_a_day_later_it_is_asked_again_whether_the_model_still_lives() -> None:
    """A strict catalog refuses a model from the day it ends."""
    counting = Counting()
    await counting.keying.key(IMAGES, CAT, "alice")
    counting.refused.add("a cat")
    await counting.keying.key(IMAGES, CAT, "alice")
    counting.now = 86400.0
    with pytest.raises(InvalidRequest):
        await counting.keying.key(IMAGES, CAT, "alice")


async def test_what_was_refused_is_refused_again() -> None:
    counting = Counting()
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await counting.keying.key(IMAGES, b'{"prompt": 1}', "alice")
    assert counting.count == 2


async def test_nothing_large_is_remembered() -> None:
    counting = Counting()
    body = b'{"prompt": "a cat", "metadata": "' + b"x" * LARGE + b'"}'
    for _ in range(2):
        asked, _ = await counting.keying.key(IMAGES, body, "alice")
        assert asked.prompt == "a cat"
    assert counting.count == 2
    assert len(cast("Any", counting.keying.known)) == 0
