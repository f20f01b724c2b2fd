"""Equal requests have equal keys, and a key never changes between releases without its version."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.cache_key.key import KEY_VERSION, CacheKey, canonical_json, form
from cache_service.operations.base import Operation
from cache_service.operations.chat import DELIVERY_ONLY as CHAT_DELIVERY_ONLY
from cache_service.operations.chat import Chat
from cache_service.operations.images import DELIVERY_ONLY as IMAGES_DELIVERY_ONLY
from cache_service.operations.images import Images

IMAGES: Operation = Images(lambda model, size, quality: 1000)
CHAT: Operation = Chat()

IMAGE = {"model": "gpt-image-2", "prompt": "a red cube on a blue sphere", "size": "1024x1024", "quality": "low"}
TALK = {
    "model": "gpt-6-luna",
    "temperature": 0.5,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "How do I reset my password?"},
    ],
}


def key(operation: Operation, body: dict[str, Any], namespace: str = "default", group: str = "simulator") -> CacheKey:
    return form(operation.parse(body), namespace=namespace, group=group)


def test_golden_vectors() -> None:
    """If this fails, every stored entry is lost to its callers: raise KEY_VERSION and re-key."""
    assert KEY_VERSION == 1
    image, talk = key(IMAGES, IMAGE), key(CHAT, TALK)
    assert (image.partition, image.exact) == GOLDEN_IMAGE
    assert (talk.partition, talk.exact) == GOLDEN_TALK


GOLDEN_IMAGE = (
    "117d329e577dc9617a152e72cadc70264898b6517c6bb18738e18097e565015b",
    "453a60a88214613dbba702cba63e23e3d57aec7ec7fda483910db0906c68db45",
)
GOLDEN_TALK = (
    "c3211e5fb02c87590875d37e38592475c256c24f3a4f9419af43ca496fdd5799",
    "4fca41bb4c69ee59a5d024bcde141d89883ca63d0e659ace71b4c3554e82b222",
)


@pytest.mark.parametrize(
    ("operation", "body", "names"), [(IMAGES, IMAGE, IMAGES_DELIVERY_ONLY), (CHAT, TALK, CHAT_DELIVERY_ONLY)]
)
def test_delivery_only_parameters_dont_change_the_key(
    operation: Operation, body: dict[str, Any], names: frozenset[str]
) -> None:
    values: dict[str, Any] = {
        "stream": False,
        "partial_images": 2,
        "metadata": {"a": "b"},
        "store": True,
        "stream_options": {"include_usage": True},
        "prompt_cache_options": {"a": 1},
    }
    for name in names:
        assert key(operation, {**body, name: values.get(name, "x")}) == key(operation, body), name


@pytest.mark.parametrize(
    "name", ["size", "quality", "background", "output_format", "moderation", "style", "brand_new_parameter", "seed"]
)
def test_every_other_parameter_changes_the_partition(name: str) -> None:
    assert key(IMAGES, {**IMAGE, name: "other"}).partition != key(IMAGES, IMAGE).partition


def test_null_is_the_same_as_absent_for_known_parameters_only() -> None:
    assert key(IMAGES, {**IMAGE, "background": None, "n": None}) == key(IMAGES, IMAGE)
    assert key(IMAGES, {**IMAGE, "brand_new_parameter": None}) != key(IMAGES, IMAGE)


def test_the_number_of_pictures_is_no_part_of_the_key_but_of_chats_it_is() -> None:
    assert key(IMAGES, {**IMAGE, "n": 3}) == key(IMAGES, IMAGE)
    assert key(CHAT, {**TALK, "n": 3}) != key(CHAT, TALK)


def test_auto_and_absent_and_an_alias_are_values_of_their_own() -> None:
    without = {name: value for name, value in IMAGE.items() if name != "size"}
    assert key(IMAGES, {**IMAGE, "size": "auto"}) != key(IMAGES, without)
    assert key(IMAGES, {**IMAGE, "model": "gpt-image"}) != key(IMAGES, IMAGE)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_every_earlier_turn_changes_the_partition(turn: int) -> None:
    other = copy.deepcopy(TALK)
    other["messages"][turn]["content"] += "!"  # type: ignore[index]
    assert key(CHAT, other).partition != key(CHAT, TALK).partition


def test_only_the_last_user_turn_is_compared_by_meaning() -> None:
    other = copy.deepcopy(TALK)
    other["messages"][3]["content"] = "How can I reset my password?"  # type: ignore[index]
    assert key(CHAT, other).partition == key(CHAT, TALK).partition
    assert key(CHAT, other).exact != key(CHAT, TALK).exact


def test_white_space_in_chat_is_part_of_the_key_and_in_images_it_isnt() -> None:
    other = copy.deepcopy(TALK)
    other["messages"][3]["content"] = "How do I  reset my password?"  # type: ignore[index]
    assert key(CHAT, other) != key(CHAT, TALK)
    assert key(IMAGES, {**IMAGE, "prompt": "a  red cube on a blue sphere "}) == key(IMAGES, IMAGE)


def test_a_picture_beside_the_text_is_part_of_the_partition() -> None:
    def talk(url: str, text: str = "What is this?") -> dict[str, Any]:
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
        return {"model": "m", "messages": [{"role": "user", "content": parts}]}

    assert key(CHAT, talk("https://a/1.png")).partition != key(CHAT, talk("https://a/2.png")).partition
    assert key(CHAT, talk("https://a/1.png")).partition == key(CHAT, talk("https://a/1.png", "What's this?")).partition
    assert key(CHAT, talk("https://a/1.png", "What's this?")).exact != key(CHAT, talk("https://a/1.png")).exact


def test_namespace_and_upstream_group_are_in_the_partition() -> None:
    assert len({key(IMAGES, IMAGE, n, g).partition for n in "ab" for g in "cd"}) == 4


@given(st.permutations(list(IMAGE.items())))
def test_the_order_of_members_doesnt_matter(items: list[tuple[str, str]]) -> None:
    assert key(IMAGES, dict(items)) == key(IMAGES, IMAGE)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


def _plain(value: Any) -> Any:
    """JSON's own equality: 1 and 1.0 are one number, true is none."""
    match value:
        case bool() | None | str():
            return (type(value).__name__, value)
        case int() if abs(value) >= 2**53:
            return ("big", value)
        case int() | float():
            return ("number", float(value))
        case dict():
            return ("object", tuple(sorted((name, _plain(member)) for name, member in value.items())))
        case _:
            return ("array", tuple(map(_plain, value)))


@given(JSON, JSON)
def test_canonical_json_is_equal_just_for_equal_values(one: Any, other: Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (_plain(one) == _plain(other))


@given(JSON)
def test_canonical_json_survives_a_round_trip(value: Any) -> None:
    assert canonical_json(json.loads(json.dumps(value))) == canonical_json(value)


def test_big_seeds_stay_apart() -> None:
    assert key(CHAT, {**TALK, "seed": 2**60}) != key(CHAT, {**TALK, "seed": 2**60 + 1})
