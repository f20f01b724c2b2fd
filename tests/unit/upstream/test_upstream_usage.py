"""Usage is found in what passes by, and keys are kept out of what is shown."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.upstream.masking import mask_secrets
from cache_service.upstream.usage import UsageFinder, total_tokens

USAGE = {"input_tokens": 50, "output_tokens": 1_756, "total_tokens": 1_806, "input_tokens_details": {"text_tokens": 50}}
SSE = (
    b'data: {"choices": [{"delta": {"content": "\\"usage\\": {\\"total_tokens\\": 9}"}}], "usage": null}\n\n'
    b'data: {"choices": [], "usage": ' + json.dumps(USAGE).encode() + b"}\n\ndata: [DONE]\n\n"
)


def found_in(*pieces: bytes) -> object:
    finder = UsageFinder()
    for piece in pieces:
        finder.feed(piece)
    return finder.usage


@pytest.mark.parametrize("first", [True, False])
def test_usage_is_found_beside_megabytes_of_base64(first: bool) -> None:
    data = {"data": [{"b64_json": "A" * 3_000_000}]}
    answer = {"usage": USAGE, **data} if first else {**data, "usage": USAGE}
    assert found_in(json.dumps(answer).encode()) == USAGE


@given(st.lists(st.integers(0, len(SSE)), max_size=6))
def test_usage_is_found_however_the_stream_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SSE)]
    assert found_in(*(SSE[a:b] for a, b in pairwise(edges))) == USAGE


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"usage": null}', b'"usage"', b'{"usage": 5}', b'{"a": "\\"usage\\": {}"}']
)
def test_no_usage_is_none(body: bytes) -> None:
    assert found_in(body) is None


def test_little_is_kept_of_a_stream_that_never_ends_its_usage() -> None:
    finder = UsageFinder()
    for _ in range(1_000):
        finder.feed(b'"usage": {' + b" " * 1_000)
    assert len(finder._kept) < 10_000


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({}, None),
        ({"total_tokens": 7}, 7),
        ({"input_tokens": 3, "output_tokens": 4}, 7),
        ({"prompt_tokens": 3, "completion_tokens": 4}, 7),
        ({"total_tokens": "7"}, None),
        ({"total_tokens": -1}, None),
        ({"total_tokens": True}, None),
    ],
)
def test_tokens_of_a_usage(usage: dict[str, object] | None, tokens: int | None) -> None:
    assert total_tokens(usage) == tokens


KEY = "canary-8"


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}. You can find your key at …",
        f'{{"error": {{"message": "key {KEY} is no good", "code": "invalid_api_key"}}}}',
        f"Bearer {KEY}",
        f"x{KEY}y",
    ],
)
def test_a_known_key_is_masked_wherever_it_stands(text: str) -> None:
    assert KEY.encode() not in mask_secrets(text.encode(), [KEY])


@pytest.mark.parametrize("shown", ["sk-proj-abc123_def", "sk-abcd****wxyz", "sk-abcd...wxyz", "some-other****form"])
def test_what_looks_like_a_key_is_masked_too(shown: str) -> None:
    masked = mask_secrets(f'{{"message": "Incorrect API key provided: {shown}"}}'.encode(), [])
    assert shown[:6].encode() not in masked
    assert json.loads(masked)["message"].startswith("Incorrect API key provided: ***")


def test_a_key_with_quotes_is_masked_in_json() -> None:
    secret = 'a"b\\c'
    masked = mask_secrets(json.dumps({"message": f"no: {secret}"}).encode(), [secret])
    assert json.loads(masked) == {"message": "no: ***"}


def test_other_text_stays_as_it_is() -> None:
    text = b'{"message": "A task-force with risk-averse desk-jobs", "param": "prompt"}'
    assert mask_secrets(text, [KEY, ""]) == text


def test_a_placeholder_for_a_key_garbles_no_words() -> None:
    text = b'{"error": {"code": "model_not_found", "message": "key k is no good"}}'
    assert mask_secrets(text, ["k"]) == text.replace(b"key k is", b"key *** is")
