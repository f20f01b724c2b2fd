"""What one namespace asked must not be told by how another's same question is worked on: step by step the same, whatever is there.

`benchmarks/timing_audit.py` measures times; here it is the work itself that is compared, which no noise can hide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest

from tests.unit.core.conftest import World

CUBE = "a red cube on a blue sphere"
FRESH = "a green cone on a grey plate"
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "why is the sky blue"}]}
CHAT_FRESH: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "why is grass green"}]}


def _members(event: Any) -> dict[str, Any]:
    """The commonest events are named tuples, the others dataclasses."""
    return event._asdict() if isinstance(event, tuple) else asdict(event)


async def _work(world: World, body: str | Mapping[str, Any], operation: str, namespace: str) -> list[dict[str, Any]]:
    """Everything that was told of one request, calls of the upstream among it, without how long each step took."""
    since, calls = len(world.events), len(world.upstream.calls)
    await world.served(body, operation=operation, namespace=namespace)
    told = [{"event": type(event).__name__} | _members(event) | {"seconds": 0} for event in world.events[since:]]
    return [*told, {"calls": len(world.upstream.calls) - calls}]


@pytest.mark.parametrize(("known", "fresh", "operation"), [(CUBE, FRESH, "images"), (CHAT, CHAT_FRESH, "chat")])
async def test_a_question_that_another_namespace_asked_is_worked_on_as_a_fresh_one(
    world: World, known: str | Mapping[str, Any], fresh: str | Mapping[str, Any], operation: str
) -> None:
    """The same steps, verdicts and calls. Within the victim's own namespace it isn't so, or nothing would be compared here."""
    await world.served(known, operation=operation, namespace="victim")
    of_known = await _work(world, known, operation, "attacker")
    of_fresh = await _work(world, fresh, operation, "attacker")
    assert of_known == of_fresh
    assert {"calls": 1} in of_known
    assert await _work(world, known, operation, "victim") != of_fresh
