"""Chat: what is refused, what a complete answer is, and when a turn is exact only."""

import json
from typing import Any

import pytest

from cache_service.errors import InvalidRequest
from cache_service.generation import to_outputs
from cache_service.operations.base import Answer, Incomplete
from cache_service.operations.chat import Chat

CHAT = Chat()
USER = {"role": "user", "content": "Hello"}


def answer(**choice: Any) -> bytes:
    base = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    whole = {
        "id": "c1",
        "object": "chat.completion",
        "created": 17,
        "model": "m-2026",
        "choices": [base | choice],
        "usage": {"total_tokens": 9},
    }
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"messages": [USER], "temperature": "hot"}, "temperature"),
        ({"messages": [USER], "n": 129}, "n"),
        ({"messages": [USER], "stop": [1]}, "stop"),
        ({"messages": [USER], "tools": {}}, "tools"),
    ],
)
def test_wrong_types_are_refused_naming_the_parameter(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.parse(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {"role": "assistant", "content": "Well"}],
        [USER, {"role": "tool", "tool_call_id": "t", "content": "4"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}],
        [{"role": "user"}],
    ],
)
def test_what_doesnt_end_in_one_user_text_is_exact_only(messages: list[dict[str, Any]]) -> None:
    asked = CHAT.parse({"messages": messages})
    assert not asked.semantic
    assert asked.why_exact


def test_an_answer_is_given_again_as_it_was() -> None:
    read = CHAT.read(answer())
    assert isinstance(read, Answer)
    outputs, _ = to_outputs(read, None, lambda made: None)
    rendered = CHAT.render(read.envelope, outputs, [None])
    assert json.loads(rendered) == json.loads(answer())
    assert list(json.loads(rendered)) == list(json.loads(answer()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"choices": []}',
        b'{"choices": ["x"], "created": 1}',
        b'{"error": {"message": "no"}}',
        answer(finish_reason=None),
        answer(finish_reason="content_filter"),
        answer(message={"role": "assistant", "content": ""}),
        answer(message=None),
        answer()[:-5],
    ],
)
def test_what_is_no_complete_result_is_never_taken_for_one(body: bytes) -> None:
    assert isinstance(CHAT.read(body), Incomplete)


@pytest.mark.parametrize("said", [{"tool_calls": [{"id": "t"}]}, {"refusal": "no"}, {"audio": {"data": "aa"}}])
def test_tool_calls_refusals_and_audio_are_answers_too(said: dict[str, Any]) -> None:
    assert isinstance(CHAT.read(answer(message={"role": "assistant", "content": None, **said})), Answer)


def test_tokens_are_reserved_for_the_longest_answer_allowed() -> None:
    small = CHAT.reserve(CHAT.parse({"messages": [USER], "max_tokens": 10}), 1).tokens
    large = CHAT.reserve(CHAT.parse({"messages": [USER], "max_completion_tokens": 5000, "n": 2}), 1).tokens
    assert small < 40
    assert large >= 10_000
