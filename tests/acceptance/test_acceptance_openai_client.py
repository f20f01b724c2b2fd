"""The real OpenAI client works against the service unchanged, by its base URL alone."""

from __future__ import annotations

import base64
import io

import openai
import pytest
from PIL import Image

from tests.acceptance.conftest import Server

CUBE = "a red cube on a blue sphere"


def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="whatever", max_retries=0)


def test_generated_then_exact_then_by_meaning_and_another_size_is_a_miss(server: Server) -> None:
    with client(server) as ai:
        images = ai.images.with_raw_response
        first = images.generate(model="gpt-image-2", prompt=CUBE, size="1024x1024")
        again = images.generate(model="gpt-image-2", prompt=CUBE, size="1024x1024")
        paraphrase = images.generate(model="gpt-image-2", prompt="a red cube on top of a blue sphere", size="1024x1024")
        swapped = images.generate(model="gpt-image-2", prompt="a blue cube on a red sphere", size="1024x1024")
        other_size = images.generate(model="gpt-image-2", prompt=CUBE, size="1536x1024")
    assert "fwd=miss; stored" in first.headers["cache-status"]
    assert "; hit; " in again.headers["cache-status"]
    assert "semantic similarity=0.9" in paraphrase.headers["cache-status"]
    assert "fwd=miss" in swapped.headers["cache-status"]
    assert "fwd=miss" in other_size.headers["cache-status"]
    assert first.headers["x-cache-service-upstream"] == "simulator"
    assert int(again.headers["age"]) >= 0
    pictures = [one.parse().data[0].b64_json for one in (first, again, paraphrase, swapped)]
    assert pictures[0] == pictures[1] == pictures[2] != pictures[3]
    data = other_size.parse().data
    assert data
    with Image.open(io.BytesIO(base64.b64decode(data[0].b64_json or ""))) as picture:
        assert picture.size == (1536, 1024)


def test_chat_and_its_stream(server: Server) -> None:
    with client(server) as ai:
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How do I reset my password?"},
        ]
        first = ai.chat.completions.create(model="gpt-6-luna", messages=messages)  # type: ignore[arg-type]
        again = ai.chat.completions.with_raw_response.create(model="gpt-6-luna", messages=messages)  # type: ignore[arg-type]
        other = ai.chat.completions.with_raw_response.create(model="gpt-6-luna", messages=messages[1:])  # type: ignore[arg-type]
        streamed = ai.chat.completions.create(model="gpt-6-luna", messages=messages, stream=True)  # type: ignore[arg-type]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    assert "; hit; " in again.headers["cache-status"]
    assert again.parse() == first
    assert "fwd=miss" in other.headers["cache-status"], "another system prompt is another conversation"
    assert said


def test_models_pass_through(server: Server) -> None:
    with client(server) as ai:
        assert any(model.id == "gpt-image-2" for model in ai.models.list())
        assert ai.models.retrieve("gpt-image-2").id == "gpt-image-2"


def test_errors_are_the_clients_own(server: Server) -> None:
    with client(server) as ai, pytest.raises(openai.BadRequestError) as caught:
        ai.images.generate(model="gpt-image-2", prompt="")
    assert caught.value.code == "empty_prompt"
    assert "cache-status" in caught.value.response.headers


@pytest.mark.parametrize("server", [{"client_keys": "team:correct horse:shared"}], indirect=True)
def test_with_client_keys_nobody_else_may_ask(server: Server) -> None:
    with client(server) as ai, pytest.raises(openai.AuthenticationError):
        ai.images.generate(model="gpt-image-2", prompt=CUBE)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="correct horse") as ai:
        assert ai.images.generate(model="gpt-image-2", prompt=CUBE).data
