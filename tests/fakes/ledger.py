"""A ledger in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cache_service.store.entry import Daily, Payment, Spent, Sum

DAY = 86400.0


class LedgerInMemory:
    """Forgets everything with the process."""

    def __init__(self) -> None:
        self.paid: dict[str, Payment] = {}
        self.daily: dict[Daily, Sum] = {}

    async def pay(self, payments: Collection[Payment]) -> None:
        for payment in payments:
            if payment.id not in self.paid:
                self.paid[payment.id] = payment
                one = Sum(
                    1, payment.outputs, payment.tokens_in, payment.tokens_out, payment.usd or 0.0, payment.usd is None
                )
                await self.add({Daily(int(payment.at // DAY), payment.kind, payment.charge): one})

    async def add(self, sums: Mapping[Daily, Sum]) -> None:
        for row, value in sums.items():
            self.daily[row] = self.daily.get(row, Sum()) + value

    async def spent(self, day: int, *, simulated: bool) -> Spent:
        rows = [payment for payment in self.paid.values() if (payment.kind.group == "simulator") == simulated]
        by_client: dict[str, float] = {}
        for payment in rows:
            if payment.at // DAY == day:
                by_client[payment.kind.client] = by_client.get(payment.kind.client, 0.0) + (payment.usd or 0.0)
        return Spent(by_client, sum(by_client.values()), sum(payment.usd or 0.0 for payment in rows))

    async def sums(self, first: int, last: int) -> dict[Daily, Sum]:
        return {row: value for row, value in self.daily.items() if first <= row.day <= last}

    async def payments(self, *, limit: int) -> list[Payment]:
        return sorted(self.paid.values(), key=lambda payment: (-payment.at, payment.id))[:limit]

    async def trim_payments(self, *, before: float) -> int:
        old = [name for name, payment in self.paid.items() if payment.at < before]
        for name in old:
            del self.paid[name]
        return len(old)
