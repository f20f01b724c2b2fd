"""Chat: `POST {base}/chat/completions` (OpenAI's API, types of openai-python 3.57, November 2026).

Only the last user turn is compared by meaning; system prompt, tools, all earlier turns and every parameter are the partition. A turn
that asks about now or about the asker, or for something to be done (`volatile`), is exact-only and kept for a short time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from cache_service.errors import InvalidRequest
from cache_service.operations import usage as usages
from cache_service.operations.base import Answer, Asked, Incomplete, Made, Seen, unseen
from cache_service.operations.parameters import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    STRING_OR_OBJECT,
    STRING_OR_STRINGS,
    STRINGS,
    Check,
    check_types,
    integer_between,
    is_time,
    split_context,
)
from cache_service.operations.volatile import why_volatile
from cache_service.store.entry import Output
from cache_service.upstream.base import Cost

PARAMETERS: Final[Mapping[str, tuple[str, Check]]] = {
    "model": STRING,
    "audio": OBJECT,
    "frequency_penalty": NUMBER,
    "function_call": STRING_OR_OBJECT,
    "functions": ARRAY,
    "logit_bias": OBJECT,
    "logprobs": BOOLEAN,
    "max_completion_tokens": INTEGER,
    "max_tokens": INTEGER,
    "metadata": OBJECT,
    "modalities": STRINGS,
    "n": integer_between(1, 128),
    "parallel_tool_calls": BOOLEAN,
    "prediction": OBJECT,
    "presence_penalty": NUMBER,
    "prompt_cache_key": STRING,
    "prompt_cache_retention": STRING,
    "reasoning_effort": STRING,
    "response_format": OBJECT,
    "safety_identifier": STRING,
    "seed": INTEGER,
    "service_tier": STRING,
    "stop": STRING_OR_STRINGS,
    "store": BOOLEAN,
    "stream": BOOLEAN,
    "stream_options": OBJECT,
    "temperature": NUMBER,
    "tool_choice": STRING_OR_OBJECT,
    "tools": ARRAY,
    "top_logprobs": INTEGER,
    "top_p": NUMBER,
    "user": STRING,
    "verbosity": STRING,
    "web_search_options": OBJECT,
}
"""Parameters whose types we check. One that isn't here changes the output, for all we know."""

DELIVERY_ONLY: Final = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "user",
    }
)
"""Change how the answer is delivered, billed or found again, not what it says."""

FINISHED: Final = frozenset({"stop", "length", "tool_calls", "function_call"})
"""Ways to finish that are worth keeping; `content_filter` isn't one."""

MAX_COMPARED: Final = 32_000
"""Characters of a last turn that is compared by meaning. The model reads 256 word pieces, of more it would see next to nothing."""

_CHARACTERS_A_TOKEN: Final = 3.5
_DEFAULT_ANSWER_TOKENS: Final = 1024  # reserved where the client sets no limit; settled by `usage`


class Chat:
    """Answers to conversations. Each answer stands alone: `n` belongs to the partition."""

    name: Final = "chat"
    path: Final = "/chat/completions"
    accumulates: Final = False

    def __init__(self, answer_tokens: Callable[[str | None], int] | None = None) -> None:
        self._answer_tokens = answer_tokens or (lambda model: _DEFAULT_ANSWER_TOKENS)

    def parse(self, body: Mapping[str, Any]) -> Asked:
        """Takes the conversation apart. Raises InvalidRequest."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest(
                "messages must be an array of at least one message.", param="messages", code="invalid_type"
            )
        for position, message in enumerate(messages):
            _check_message(message, position)
        check_types(body, PARAMETERS)
        context = split_context(body, PARAMETERS, DELIVERY_ONLY | {"messages", "model"})
        prompt, turns, why_exact = _last_user_turn(messages)
        why = why_volatile(prompt)
        return Asked(
            operation=self.name,
            prompt=prompt,
            model=body.get("model"),
            context={**context, "messages": turns},
            body=body,
            stream=bool(body.get("stream")),
            semantic=not (why_exact or why),
            why_exact=why_exact or why,
            verbatim=True,
            volatile=bool(why),
        )

    def forward(self, asked: Asked, *, prompt: str, n: int) -> dict[str, Any]:
        """The body as asked: an entry of chat has one output, so neither prompt nor n ever differ."""
        return dict(asked.body)

    def read(self, body: bytes, *, seen: Seen = unseen) -> Answer | Incomplete:
        """What a 200's body holds: complete if every choice has finished and says something."""
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Incomplete("no JSON")
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices:
            return Incomplete("no choices")
        if answer.get("error"):
            return Incomplete("an error in the answer")
        if not is_time(answer.get("created")):
            return Incomplete("no creation time")
        for choice in choices:
            if reason := _unfinished(choice):
                return Incomplete(reason)
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else None
        item = {
            name: None if name in ("created", "usage") else value
            for name, value in answer.items()
            if name != "safety_identifier"  # the caller's own
        }
        made = {"model": answer["model"]} if isinstance(answer.get("model"), str) else {}
        return Answer({}, (Made(item, answer["created"], usage),), made, usage)

    def render(self, envelope: Mapping[str, Any], outputs: Sequence[Output], pictures: Sequence[bytes | None]) -> bytes:
        """The answer again, with its own `created` and `usage`."""
        (output,) = outputs
        answer = {**output.item, "created": output.created}
        usage = usages.total([output.usage])
        if usage is not None:
            answer["usage"] = usage
        return orjson.dumps(answer)

    def as_made(self, asked: Asked, answer: Answer) -> Asked | None:
        """None: an answer names the model behind an alias, which contradicts nothing."""
        return None

    def reserve(self, asked: Asked, n: int) -> Cost:
        """One request, and tokens: the conversation by its characters, plus the most that may be answered."""
        body = asked.body
        allowed = body.get("max_completion_tokens") or body.get("max_tokens") or self._answer_tokens(asked.model)
        answers = body.get("n") or 1
        characters = len(orjson.dumps(body["messages"])) + len(orjson.dumps(body.get("tools") or []))
        return Cost(requests=1, tokens=int(characters / _CHARACTERS_A_TOKEN) + 1 + max(0, allowed) * answers)


def _check_message(message: Any, position: int) -> None:
    where = f"messages[{position}]"
    if not isinstance(message, dict):
        raise InvalidRequest(f"{where} must be an object.", param=where, code="invalid_type")
    if not isinstance(message.get("role"), str):
        raise InvalidRequest(f"{where}.role must be a string.", param=f"{where}.role", code="invalid_type")
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict):
                raise InvalidRequest(
                    f"{where}.content must hold objects.", param=f"{where}.content", code="invalid_type"
                )
    elif content is not None and not isinstance(content, str):
        raise InvalidRequest(
            f"{where}.content must be a string or an array.", param=f"{where}.content", code="invalid_type"
        )


def _last_user_turn(messages: list[dict[str, Any]]) -> tuple[str, Any, str]:
    """The text to compare, everything else of the conversation, and why it may not be compared ("" if it may)."""
    last = messages[-1]
    if last["role"] != "user":
        return "", messages, "the last turn isn't the user's"
    content = last.get("content")
    if isinstance(content, str):
        if not content.strip():
            raise InvalidRequest(
                "the last user message is empty.", param=f"messages[{len(messages) - 1}].content", code="empty_prompt"
            )
        if len(content) > MAX_COMPARED:
            return content, messages, "the last turn is too long to be compared by meaning"
        return content, {"earlier": messages[:-1], "last": {**last, "content": None}}, ""
    parts = content or []
    texts = [part for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str)]
    if len(texts) != 1 or not 0 < len(texts[0]["text"].strip()) <= MAX_COMPARED:
        return "\n".join(part["text"] for part in texts), messages, "the last turn isn't one text"
    around = [{**part, "text": None} if part is texts[0] else part for part in parts]
    return texts[0]["text"], {"earlier": messages[:-1], "last": {**last, "content": around}}, ""


def _unfinished(choice: Any) -> str:
    """Why a choice isn't worth keeping; "" if it is."""
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return "a choice without a message"
    if choice.get("finish_reason") not in FINISHED:
        return "a choice that hasn't finished"
    message = choice["message"]
    if not any(message.get(name) for name in ("content", "tool_calls", "function_call", "refusal", "audio")):
        return "an empty message"
    return ""
