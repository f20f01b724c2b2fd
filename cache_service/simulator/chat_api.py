"""`POST /chat/completions`: what was asked, what it costs, and the answer whole or in chunks. Pure.

The answer says that a simulator gave it and repeats the last user turn; one request always gets the same text. Tools are
called where `tool_choice` forces one, and JSON is answered where `response_format` asks for it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cache_service.simulator.catalog import Catalog
from cache_service.simulator.limits import Cost
from cache_service.simulator.refusals import Refused, bad_request, unknown_model
from cache_service.simulator.schema import instance
from cache_service.simulator.tokens import CHARACTERS_PER_TOKEN, text_tokens

MOST_CHOICES = 128
TOKENS_PER_MESSAGE = 3
LONGEST_QUOTE = 2000
"""Characters of the user's turn that the answer repeats."""

PARAMETERS = frozenset(
    {
        "messages",
        "model",
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request as it will be answered. prompt: the last user turn's text. body: as sent."""

    prompt: str
    model: str
    n: int
    stream: bool
    include_usage: bool
    obfuscate: bool
    max_tokens: int | None
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice: text, or a call (`tool_calls` or `function_call` of the message)."""

    content: str | None
    finish_reason: str
    call: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        """Completion tokens."""
        return text_tokens(self.content or json.dumps(self.call))


def parse(body: Mapping[str, Any], catalog: Catalog, *, strict: bool, today: dt.date) -> ChatRequest:
    """The request. Raises Refused."""
    messages = body.get("messages")
    if messages is None:
        message = "Missing required parameter: 'messages'."
        raise Refused(bad_request(message, param="messages", code="missing_required_parameter"))
    if not isinstance(messages, list) or not all(isinstance(turn, Mapping) for turn in messages):
        message = "Invalid type for 'messages': expected an array of objects."
        raise Refused(bad_request(message, param="messages", code="invalid_type"))
    if not messages:
        raise Refused(bad_request("Invalid 'messages': it is empty.", param="messages", code="empty_array"))
    model = body.get("model") if isinstance(body.get("model"), str) else None
    model = model or catalog.default_model("chat")
    if strict:
        _refuse_odd(body, model, catalog, today)
    options = body.get("stream_options")
    options = options if isinstance(options, Mapping) else {}
    return ChatRequest(
        prompt=_last_turn(messages),
        model=model,
        n=_count(body),
        stream=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        obfuscate=options.get("include_obfuscation") is not False,
        max_tokens=_positive(body.get("max_completion_tokens")) or _positive(body.get("max_tokens")),
        body=body,
    )


def cost(asked: ChatRequest) -> Cost:
    """What the call takes: the larger of its token bound and an estimate from the characters."""
    return Cost(tokens=max(asked.max_tokens or 0, _prompt_tokens(asked)))


def replies(asked: ChatRequest) -> list[Reply]:
    """The choices."""
    told = json.dumps(asked.body.get("messages"), sort_keys=True).encode()
    conversation = hashlib.sha256(told).hexdigest()[:6]
    return [_reply(asked, _text(asked, conversation, index)) for index in range(asked.n)]


def usage(asked: ChatRequest, given: list[Reply]) -> dict[str, Any]:
    """The answer's `usage`."""
    prompt, completion = _prompt_tokens(asked), sum(reply.tokens for reply in given)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(asked: ChatRequest, given: list[Reply], *, identifier: str, created: int) -> dict[str, Any]:
    """The whole answer."""
    choices = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": reply.content,
                "refusal": None,
                "annotations": [],
                **reply.call,
            },
            "logprobs": _logprobs(asked, reply.content),
            "finish_reason": reply.finish_reason,
        }
        for index, reply in enumerate(given)
    ]
    head = _head(asked, "chat.completion", identifier, created)
    return {**head, "choices": choices, "usage": usage(asked, given)}


def chunks(asked: ChatRequest, given: list[Reply], *, identifier: str, created: int) -> Iterator[dict[str, Any]]:
    """The answer piece by piece, without `obfuscation`; the last one carries the usage if it was asked for."""
    head = _head(asked, "chat.completion.chunk", identifier, created)
    if asked.include_usage:
        head["usage"] = None
    for index, reply in enumerate(given):
        for delta in _deltas(reply):
            logprobs = _logprobs(asked, delta.get("content"))
            yield {**head, "choices": [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}]}
        yield {
            **head,
            "choices": [{"index": index, "delta": {}, "logprobs": None, "finish_reason": reply.finish_reason}],
        }
    if asked.include_usage:
        yield {**head, "choices": [], "usage": usage(asked, given)}


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.content is not None:
        yield {"role": "assistant", "content": "", "refusal": None}
        for piece in _pieces(reply.content):
            yield {"content": piece}
        return
    called = dict(reply.call)
    if "function_call" in called:
        function = called["function_call"]
        yield {"role": "assistant", "content": None, "function_call": {"name": function["name"], "arguments": ""}}
        for piece in _pieces(function["arguments"]):
            yield {"function_call": {"arguments": piece}}
        return
    tool = called["tool_calls"][0]
    part, field = ("function", "arguments") if tool["type"] == "function" else ("custom", "input")
    opening = {**tool, "index": 0, part: {**tool[part], field: ""}}
    yield {"role": "assistant", "content": None, "tool_calls": [opening]}
    for piece in _pieces(tool[part][field]):
        yield {"tool_calls": [{"index": 0, part: {field: piece}}]}


def _reply(asked: ChatRequest, text: str) -> Reply:
    call, finish_reason = _forced_call(asked, text)
    if call:
        return Reply(None, finish_reason, call)
    wanted = asked.body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "json_schema" and isinstance(wanted, Mapping):
        holder = wanted.get("json_schema")
        schema = holder.get("schema") if isinstance(holder, Mapping) else None
        return Reply(json.dumps(instance(schema, text=text)), "stop", {})
    if kind == "json_object":
        return Reply(json.dumps({"answer": text, "simulated": True}), "stop", {})
    stop = asked.body.get("stop")
    for end in [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []:
        if isinstance(end, str) and end:
            text = text.split(end, 1)[0]
    if asked.max_tokens is not None and text_tokens(text) > asked.max_tokens:
        return Reply(text[: asked.max_tokens * CHARACTERS_PER_TOKEN], "length", {})
    return Reply(text, "stop", {})


def _text(asked: ChatRequest, conversation: str, index: int) -> str:
    number = f", choice {index + 1}" if asked.n > 1 else ""
    return f"Simulated answer of {asked.model} (conversation {conversation}{number}) to: {asked.prompt[:LONGEST_QUOTE]}"


def _forced_call(asked: ChatRequest, text: str) -> tuple[dict[str, Any], str]:
    """The call that the request forces, and the finish reason; empty if it forces none. A call by name ends with "stop"."""
    choice, named = asked.body.get("tool_choice"), asked.body.get("function_call")
    tools = _objects(asked.body.get("tools"))
    if choice == "required" and tools:
        return {"tool_calls": [_tool_call(tools[0], text)]}, "tool_calls"
    if isinstance(choice, Mapping):
        kind = choice.get("type")
        wanted = _name(choice.get(str(kind)))
        found = [tool for tool in tools if wanted is not None and _name(tool.get(str(tool.get("type")))) == wanted]
        if found:
            return {"tool_calls": [_tool_call(found[0], text)]}, "stop"
    if isinstance(named, Mapping) and _name(named) is not None:
        for function in _objects(asked.body.get("functions")):
            if _name(function) == _name(named):
                return {"function_call": _called(function, text)}, "stop"
    return {}, ""


def _tool_call(tool: Mapping[str, Any], text: str) -> dict[str, Any]:
    identifier = "call_" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]
    if tool.get("type") == "custom":
        return {
            "id": identifier,
            "type": "custom",
            "custom": {"name": _name(tool.get("custom")) or "tool", "input": text},
        }
    function = tool.get("function")
    return {
        "id": identifier,
        "type": "function",
        "function": _called(function if isinstance(function, Mapping) else {}, text),
    }


def _called(function: Mapping[str, Any], text: str) -> dict[str, str]:
    arguments = instance(function.get("parameters"), text=text)
    return {
        "name": _name(function) or "tool",
        "arguments": json.dumps(arguments if isinstance(arguments, dict) else {}),
    }


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _name(holder: object) -> str | None:
    name = holder.get("name") if isinstance(holder, Mapping) else None
    return name if isinstance(name, str) else None


def _head(asked: ChatRequest, kind: str, identifier: str, created: int) -> dict[str, Any]:
    return {
        "id": identifier,
        "object": kind,
        "created": created,
        "model": asked.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulator",
    }


def _logprobs(asked: ChatRequest, content: object) -> dict[str, Any] | None:
    if asked.body.get("logprobs") is not True or not isinstance(content, str):
        return None
    tokens = [
        {"token": piece, "logprob": -0.01, "bytes": list(piece.encode("utf-8", "replace")), "top_logprobs": []}
        for piece in _pieces(content)
    ]
    return {"content": tokens, "refusal": None}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), CHARACTERS_PER_TOKEN):
        yield text[start : start + CHARACTERS_PER_TOKEN]


def _last_turn(messages: list[Mapping[str, Any]]) -> str:
    turns = [turn for turn in messages if turn.get("role") == "user"] or messages
    return _content(turns[-1])


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in _objects(content) if isinstance(part.get("text"), str))


def _prompt_tokens(asked: ChatRequest) -> int:
    messages = _objects(asked.body.get("messages"))
    return sum(TOKENS_PER_MESSAGE + text_tokens(_content(turn)) for turn in messages)


def _count(body: Mapping[str, Any]) -> int:
    n = body.get("n")
    if n is None:
        return 1
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_CHOICES:
        raise Refused(bad_request(f"Invalid 'n': expected 1 to {MOST_CHOICES}.", param="n", code="invalid_value"))
    return n


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _refuse_odd(body: Mapping[str, Any], model: str, catalog: Catalog, today: dt.date) -> None:
    known = catalog.models.get(model)
    if known is None or known.kind != "chat" or (known.shutdown_date and today.isoformat() >= known.shutdown_date):
        raise Refused(unknown_model(model))
    for name in body:
        if name not in PARAMETERS:
            raise Refused(bad_request(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter"))
