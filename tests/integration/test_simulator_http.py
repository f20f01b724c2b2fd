"""The real OpenAI client and a plain HTTP client against the simulator on a socket: answers, streams, errors, broken ones."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import signal
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pydantic
import pytest
from openai import AsyncOpenAI
from PIL import Image

from cache_service.simulator.clock import RealClock
from cache_service.simulator.config import SimulatorConfig, tier
from cache_service.simulator.faults import Fault, FaultKind
from cache_service.simulator.server import SimulatorServer

HELLO: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello, who are you?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
        },
    },
}


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    """A simulator that answers at once."""
    simulated = SimulatorServer(SimulatorConfig(latency=0.0))
    yield simulated
    await simulated.stop()


@pytest.fixture
async def client(server: SimulatorServer) -> AsyncIterator[AsyncOpenAI]:
    """The real client, strict about what it is answered, without retries."""
    base_url = await server.start()
    async with AsyncOpenAI(
        base_url=base_url, api_key="any", max_retries=0, _strict_response_validation=True, timeout=30
    ) as real:
        yield real


def picture(text: str | None) -> Image.Image:
    """The decoded picture, read to its last byte."""
    image = Image.open(io.BytesIO(base64.b64decode(text or "", validate=True)))
    image.load()
    return image


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_the_client_gets_pictures_as_asked(client: AsyncOpenAI, output_format: Any) -> None:
    """Size, format, number and usage."""
    made = await client.images.generate(
        model="gpt-image-2",
        prompt="two red foxes 🦊",
        n=2,
        size="1536x1024",
        quality="low",
        output_format=output_format,
    )
    images = [picture(image.b64_json) for image in made.data or []]
    assert [image.size for image in images] == [(1536, 1024)] * 2
    assert {(image.format or "").lower() for image in images} == {output_format}
    assert (made.size, made.quality, made.output_format) == ("1536x1024", "low", output_format)
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens == 4 + 2 * 158


async def test_the_client_gets_an_image_stream(client: AsyncOpenAI) -> None:
    """Partial pictures, then the completed one with its usage."""
    stream = await client.images.generate(
        model="gpt-image-2.5-flare", prompt="a fox", size="1024x1024", stream=True, partial_images=2, quality="medium"
    )
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert all(picture(event.b64_json).size == (1024, 1024) for event in events)
    last = events[-1]
    assert last.type == "image_generation.completed"
    assert last.usage.output_tokens == 439 + 200


async def test_the_client_gets_a_chat_answer(client: AsyncOpenAI) -> None:
    """It names the last user turn, says that it is simulated, and is the same each time."""
    first = await client.chat.completions.create(model="gpt-6-luna", messages=HELLO)
    again = await client.chat.completions.create(model="gpt-6-luna", messages=HELLO)
    text = first.choices[0].message.content or ""
    assert text.startswith("Simulated answer of gpt-6-luna")
    assert text.endswith("Hello, who are you?")
    assert again.choices[0].message.content == text
    assert first.choices[0].finish_reason == "stop"
    assert first.usage is not None
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens


async def test_the_client_gets_a_chat_stream_that_adds_up_to_the_answer(client: AsyncOpenAI) -> None:
    """Role first, then pieces, the finish reason, and the usage because it was asked for."""
    whole = await client.chat.completions.create(model="m", messages=HELLO, n=2)
    stream = await client.chat.completions.create(
        model="m", messages=HELLO, n=2, stream=True, stream_options={"include_usage": True}
    )
    texts, finished, usage = ["", ""], [], None
    async for chunk in stream:
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                finished.append(choice.finish_reason)
    assert texts == [choice.message.content for choice in whole.choices]
    assert finished == ["stop", "stop"]
    assert usage == whole.usage


async def test_streams_are_framed_as_the_upstream_frames_them(server: SimulatorServer) -> None:
    """`data:` lines, an obfuscation in every chunk unless declined, `[DONE]` at the end, no usage unless asked for."""
    base_url = await server.start()
    async with httpx.AsyncClient(base_url=base_url) as http:
        for options in ({}, {"stream_options": {"include_obfuscation": False}}):
            answer = await http.post(
                "/chat/completions", json={"model": "m", "messages": HELLO, "stream": True, **options}
            )
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in answer.text.split("\n\n") if line]
            assert lines[-1] == "data: [DONE]"
            chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
            assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
            assert all(("obfuscation" in chunk) is not bool(options) for chunk in chunks)
            assert not [chunk for chunk in chunks if "usage" in chunk]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_tool_is_called_with_fitting_arguments(client: AsyncOpenAI, stream: bool) -> None:
    """By name or by "required"; otherwise the answer is text."""
    name, arguments = "", ""
    if stream:
        async for chunk in await client.chat.completions.create(
            model="m", messages=HELLO, tools=[WEATHER], tool_choice="required", stream=True
        ):
            for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                name += (call.function and call.function.name) or ""
                arguments += (call.function and call.function.arguments) or ""
    else:
        answer = await client.chat.completions.create(
            model="m", messages=HELLO, tools=[WEATHER], tool_choice="required"
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        name, arguments = call.function.name, call.function.arguments
    assert name == "weather"
    assert isinstance(json.loads(arguments)["city"], str)
    assert json.loads(arguments)["days"] == 2
    plain = await client.chat.completions.create(model="m", messages=HELLO, tools=[WEATHER])
    assert plain.choices[0].message.content


class Person(pydantic.BaseModel):
    """A structured answer."""

    name: str
    age: int
    friends: list[str]


async def test_json_answers_are_json(client: AsyncOpenAI) -> None:
    """An object where any is asked for, one that fits where a schema is given."""
    some = await client.chat.completions.create(model="m", messages=HELLO, response_format={"type": "json_object"})
    assert isinstance(json.loads(some.choices[0].message.content or ""), dict)
    fitting = await client.chat.completions.parse(model="m", messages=HELLO, response_format=Person)
    assert isinstance(fitting.choices[0].message.parsed, Person)


async def test_length_stop_and_logprobs_are_kept(client: AsyncOpenAI) -> None:
    """As in the real API."""
    short = await client.chat.completions.create(model="m", messages=HELLO, max_completion_tokens=3)
    assert (short.choices[0].finish_reason, short.choices[0].message.content) == ("length", "Simulated an")
    stopped = await client.chat.completions.create(model="m", messages=HELLO, stop=[" answer"], logprobs=True)
    assert stopped.choices[0].message.content == "Simulated"
    assert stopped.choices[0].logprobs is not None
    assert "".join(token.token for token in stopped.choices[0].logprobs.content or []) == "Simulated"


async def test_the_client_lists_models_with_their_shutdown_dates(client: AsyncOpenAI) -> None:
    """Any id has a model while not strict."""
    listed = {model.id: model async for model in client.models.list()}
    assert listed["gpt-image-1"].shutdown_date == "2026-10-23"
    assert listed["gpt-image-2"].shutdown_date is None
    assert (await client.models.retrieve("gpt-image-2")).id == "gpt-image-2"
    assert (await client.models.retrieve("acme/any")).id == "acme/any"


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (Fault(FaultKind.SLOW_DOWN), openai.RateLimitError, "slow_down"),
        (Fault(FaultKind.INSUFFICIENT_QUOTA), openai.RateLimitError, "credit_balance_exhausted"),
        (Fault(FaultKind.OVERLOADED), openai.InternalServerError, "server_is_overloaded"),
        (Fault(FaultKind.UNAUTHORIZED), openai.AuthenticationError, "invalid_api_key"),
        (Fault(FaultKind.FORBIDDEN), openai.PermissionDeniedError, "organization_must_be_verified"),
        (Fault(FaultKind.MODEL_NOT_FOUND), openai.NotFoundError, "model_not_found"),
        (Fault(FaultKind.MODERATION_BLOCKED, marker="fox"), openai.BadRequestError, "moderation_blocked"),
    ],
)
async def test_the_client_raises_its_own_errors(
    server: SimulatorServer, client: AsyncOpenAI, fault: Fault, error: type[openai.APIStatusError], code: str
) -> None:
    """With the code and the request's id."""
    server.simulator.faults.add(fault)
    with pytest.raises(error) as raised:
        await client.images.generate(model="gpt-image-2", prompt="a fox")
    assert raised.value.code == code
    assert (raised.value.request_id or "").startswith("req_")


async def test_the_client_retries_over_a_limit_as_told() -> None:
    """One picture a minute is left after four; the client waits as told and gets in, because limits leak."""
    pool = tier(1)[0]
    simulated = SimulatorServer(SimulatorConfig(latency=0.0, pools=(pool,)))
    base_url = await simulated.start()
    simulated.simulator.faults.add(Fault(FaultKind.RATE_LIMITED, times=1, headers={"retry-after-ms": "1"}))
    async with AsyncOpenAI(base_url=base_url, api_key="any", max_retries=1) as real:
        raw = await real.images.with_raw_response.generate(model="gpt-image-2", prompt="a fox", size="1024x1024")
    assert raw.retries_taken == 1
    assert raw.headers["x-ratelimit-remaining-input-images"] == "4"
    assert raw.headers["x-ratelimit-reset-input-images"] == "12s"
    await simulated.stop()


@pytest.mark.parametrize(
    "kind", [FaultKind.TRUNCATED_BODY, FaultKind.CUT_CHUNK, FaultKind.HTML_502, FaultKind.SERVER_ERROR]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_broken_answers_are_broken_for_the_client(
    server: SimulatorServer, client: AsyncOpenAI, kind: FaultKind, stream: bool
) -> None:
    """Half a body and then the end, a missing last chunk, somebody else's 502, a 500."""
    server.simulator.faults.add(Fault(kind))

    async def ask() -> None:
        if stream:
            [chunk async for chunk in await client.chat.completions.create(model="m", messages=HELLO, stream=True)]
        else:
            await client.chat.completions.create(model="m", messages=HELLO)

    with pytest.raises(openai.APIError):
        await ask()


async def get(http: httpx.AsyncClient, server: SimulatorServer, fault: Fault, **more: object) -> httpx.Response:
    """The answer to one picture's call that the fault strikes."""
    server.simulator.faults.add(fault)
    body = {"prompt": "a fox", "size": "256x256", **more}
    return await http.post("/images/generations", json=body)


async def test_damaged_answers_are_damaged_as_they_say(server: SimulatorServer) -> None:
    """Each with status 200 and whole as far as HTTP can tell."""
    base_url = await server.start()
    async with httpx.AsyncClient(base_url=base_url) as http:
        cut = await get(http, server, Fault(FaultKind.SHORT_BODY, times=1))
        with pytest.raises(ValueError, match="Unterminated string"):
            json.loads(cut.content)
        text = await get(http, server, Fault(FaultKind.CUT_BASE64, times=1))
        with pytest.raises(ValueError, match="base64"):
            picture(text.json()["data"][0]["b64_json"])
        half = await get(http, server, Fault(FaultKind.CUT_PICTURE, times=1))
        with pytest.raises(OSError, match="truncated"):
            picture(half.json()["data"][0]["b64_json"])
        inside = await get(http, server, Fault(FaultKind.ERROR_IN_200, times=1))
        assert inside.json()["error"]["code"] == "server_error"
        nothing = await get(http, server, Fault(FaultKind.NO_DATA, times=1))
        assert "data" not in nothing.json()
        empty = await get(http, server, Fault(FaultKind.EMPTY_BODY, times=1))
        other = await get(http, server, Fault(FaultKind.WRONG_CONTENT, times=1))
        assert (empty.content, other.text) == (b"", "It works!")
        huge = await get(http, server, Fault(FaultKind.HUGE_BODY, times=1, size=3 * 2**20))
        assert len(huge.content) == 3 * 2**20
        assert picture(huge.json()["data"][0]["b64_json"]).size == (256, 256)
        away = await get(http, server, Fault(FaultKind.REDIRECT, times=1, headers={"location": "http://other.invalid"}))
        assert (away.status_code, away.headers["location"]) == (307, "http://other.invalid")
        assert {answer.status_code for answer in (cut, text, half, inside, nothing, empty, other, huge)} == {200}
        whole = await get(http, server, Fault(FaultKind.HUNG, times=0))
        assert picture(whole.json()["data"][0]["b64_json"]).size == (256, 256)


async def test_a_gzip_bomb_is_small_and_valid(server: SimulatorServer) -> None:
    """A thousandth of what it unpacks to."""
    base_url = await server.start()
    server.simulator.faults.add(Fault(FaultKind.GZIP_BOMB, size=16))
    async with (
        httpx.AsyncClient(base_url=base_url) as http,
        http.stream("POST", "/images/generations", json={"prompt": "a fox"}) as answer,
    ):
        packed = b"".join([piece async for piece in answer.aiter_raw()])
    assert len(packed) < 32_000
    assert len(zlib.decompress(packed, zlib.MAX_WBITS | 16)) == 16 * 2**20


async def test_streams_break_as_they_say(server: SimulatorServer) -> None:
    """An error event after the stream began; an end without `[DONE]` or `completed`."""
    base_url = await server.start()
    chat = {"model": "m", "messages": HELLO, "stream": True}
    async with httpx.AsyncClient(base_url=base_url) as http:
        server.simulator.faults.add(Fault(FaultKind.STREAM_ERROR, times=1))
        failed = (await http.post("/chat/completions", json=chat)).text.strip().split("\n\n")
        assert "error" not in failed[0]
        assert json.loads(failed[-1].removeprefix("data: "))["error"]["code"] == "server_error"
        server.simulator.faults.add(Fault(FaultKind.STREAM_CUT, times=1))
        assert "[DONE]" not in (await http.post("/chat/completions", json=chat)).text
        cut = await get(http, server, Fault(FaultKind.STREAM_CUT, times=1), stream=True, partial_images=1)
        assert "partial_image" in cut.text
        assert "completed" not in cut.text


async def test_a_hung_call_ends_with_its_client(server: SimulatorServer) -> None:
    """Nothing comes; when the client gives up, the simulator forgets the call."""
    base_url = await server.start()
    server.simulator.faults.add(Fault(FaultKind.HUNG))
    async with httpx.AsyncClient(base_url=base_url, timeout=0.2) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/images/generations", json={"prompt": "a fox"})
    async with httpx.AsyncClient(base_url=base_url.removesuffix("/v1")) as http:
        while (await http.get("/_simulator/stats")).json()["in_flight"]:
            pass


class Hasty(RealClock):
    """Counts the seconds that it was asked to sleep, and doesn't."""

    slept = 0.0

    async def sleep(self, seconds: float) -> None:
        """Returns at the loop's next turn."""
        self.slept += seconds
        await asyncio.sleep(0)


async def test_a_dripping_answer_takes_a_second_a_byte() -> None:
    """And is whole in the end."""
    clock = Hasty()
    server = SimulatorServer(SimulatorConfig(latency=7.0, faults=(Fault(FaultKind.DRIP),)), clock=clock)
    async with httpx.AsyncClient(base_url=await server.start()) as http:
        answer = await http.post("/chat/completions", json={"messages": HELLO})
    assert answer.json()["object"] == "chat.completion"
    assert clock.slept == pytest.approx(7 + len(answer.content))
    await server.stop()


async def test_the_server_leaves_signals_alone_and_stops_at_once(server: SimulatorServer) -> None:
    """Also with a call in flight and another that hangs."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    base_url = await server.start()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    server.simulator.faults.add(Fault(FaultKind.HUNG))
    async with httpx.AsyncClient(base_url=base_url, timeout=30) as http:
        waiting = asyncio.ensure_future(http.post("/images/generations", json={"prompt": "a fox"}))
        while not server.simulator.stats.in_flight:  # noqa: ASYNC110  # looks at the server in the same loop
            await asyncio.sleep(0)
        await server.stop()
        await server.stop()
        with pytest.raises(httpx.TransportError):
            await waiting


async def test_a_taken_port_is_an_error(server: SimulatorServer) -> None:
    """And says so at once."""
    base_url = await server.start()
    other = SimulatorServer(SimulatorConfig())
    with pytest.raises(OSError, match="in use"):
        await other.start(port=int(base_url.rsplit(":", 1)[1].removesuffix("/v1")))
