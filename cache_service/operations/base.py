"""What an operation knows: where the prompt is, which parameters change the output, and what a complete answer is.

One file per operation (`images`, `chat`); these names also stand in bodies, commands, keys and metrics.
All of it is pure; only `read` may take milliseconds (it decodes pictures) and is run in a thread.

Raised: `InvalidRequest` by `parse`, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from cache_service.store.entry import Output
from cache_service.upstream.base import Cost


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, taken apart.

    prompt: the text that is compared by meaning. semantic: whether it may be; False means exact only (the reason is in `why_exact`).
    verbatim: white space in the prompt is kept (chat: it may be code); otherwise it is normalised outside quotes (images).
    model: as asked, None if absent. context: everything else that changes the output, plain JSON; part of the partition.
    volatile: the right answer changes soon, so it is kept for a short time only.
    n: how many outputs are wanted where they accumulate in one entry (images); 1 otherwise.
    body: the request as it was sent.
    """

    operation: str
    prompt: str
    model: str | None
    context: Mapping[str, Any]
    body: Mapping[str, Any]
    n: int = 1
    stream: bool = False
    semantic: bool = True
    why_exact: str = ""
    verbatim: bool = False
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """One output of an answer, before it is stored: like `Output`, with the picture's bytes beside their digest (SHA-256, hex)."""

    item: Mapping[str, Any]
    created: int
    usage: Mapping[str, Any] | None = None
    picture: bytes | None = None
    media_type: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete, successful answer.

    envelope: members that all outputs share (without `created`, `usage` and the caller's own ids).
    made: what was really made (model, quality, size …). total_usage: the upstream's `usage`.
    """

    envelope: Mapping[str, Any]
    outputs: tuple[Made, ...]
    made: Mapping[str, Any]
    total_usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A 2xx that holds no complete result: passed through, never stored; `reason` says what is missing."""

    reason: str


Seen: TypeAlias = Callable[[bytes], None]


def unseen(_picture: bytes) -> None:
    """Nobody is told."""


class Operation(Protocol):
    """One kind of generation."""

    @property
    def name(self) -> Literal["images", "chat"]:
        """Its name everywhere."""

    @property
    def path(self) -> str:
        """Below the upstream's base URL."""

    @property
    def accumulates(self) -> bool:
        """Whether one entry collects outputs (`n` is served from what is there), or each answer stands alone."""

    def parse(self, body: Mapping[str, Any]) -> Asked:
        """Takes the request apart. Raises InvalidRequest for wrong types; odd combinations are the upstream's to judge."""

    def forward(self, asked: Asked, *, prompt: str, n: int) -> dict[str, Any]:
        """The body to send: as asked, with that prompt and that many outputs."""

    def read(self, body: bytes, *, seen: Seen = unseen) -> Answer | Incomplete:
        """What a 200's body holds; pictures are decoded whole. seen: told of each picture's bytes, before they are looked at."""

    def render(self, envelope: Mapping[str, Any], outputs: Sequence[Output], pictures: Sequence[bytes | None]) -> bytes:
        """The answer again, as the upstream would send it: usage summed over the outputs, the oldest `created` replayed."""

    def as_made(self, asked: Asked, answer: Answer) -> Asked | None:
        """Where the answer contradicts an explicit parameter: the request it is the answer to. None where it agrees."""

    def reserve(self, asked: Asked, n: int) -> Cost:
        """What the call takes from a limit pool; where that can't be known, the most."""
