"""What is being answered: how many requests there are in all and of each client, and no more than may be."""

from __future__ import annotations

from collections.abc import Hashable


class InFlight:
    """Requests from their first byte to their last; whose they are is known once their key was looked at."""

    def __init__(self) -> None:
        self._requests: dict[Hashable, str | None] = {}
        self._by_client: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def of(self, client: str) -> int:
        """How many are this client's."""
        return self._by_client.get(client, 0)

    def add(self, request: Hashable) -> None:
        """One more, of nobody yet."""
        self._requests[request] = None

    def claim(self, request: Hashable, client: str) -> None:
        """Says whose an added request is."""
        if self._requests.get(request, client) is None:
            self._requests[request] = client
            self._by_client[client] = self.of(client) + 1

    def discard(self, request: Hashable) -> None:
        """It is over. Idempotent."""
        client = self._requests.pop(request, None)
        if client is not None:
            left = self._by_client[client] = self._by_client[client] - 1
            if not left:
                del self._by_client[client]  # names are as many as an operator makes
