"""The ledger as SQL: payments row by row, and everything added up by day.

Rows of `daily` are always locked before the counter of changes and in one order, so that transactions wait for each other and
never in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple, fields
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store.entry import Daily, Kind, Payment, Spent, Sum
from cache_service.store.prepared import INSERTS, Prepared
from cache_service.store.tables import daily, payments

DAY: Final = 86400.0  # seconds

CHARGES: Final = ("paid", "not-stored", "maybe-paid")
SIMULATOR: Final = "simulator"
_PAYMENT: Final = tuple(field.name for field in fields(Payment) if field.name != "kind")
_KIND: Final = tuple(field.name for field in fields(Kind))
_SUMS: Final = ("count", "outputs", "tokens_in", "tokens_out", "usd", "unpriced")


def _filing(insert: Any) -> Any:
    return insert(payments).on_conflict_do_nothing(index_elements=[payments.c.id]).returning(payments.c.id)


def _growing(insert: Any) -> Any:
    statement = insert(daily)
    grown = {name: daily.c[name] + statement.excluded[name] for name in _SUMS}
    return statement.on_conflict_do_update(index_elements=list(daily.primary_key.columns.keys()), set_=grown)


_NEW_PAYMENTS: Final = Prepared(**{name: _filing(insert) for name, insert in INSERTS.items()})
_GROWING: Final = Prepared(**{name: _growing(insert) for name, insert in INSERTS.items()})


async def pay(connection: AsyncConnection, paid: Collection[Payment]) -> None:
    """Files payments and adds them up; those whose id is there already change nothing."""
    if not paid:
        return
    by_id = {payment.id: payment for payment in paid}
    filed = await _NEW_PAYMENTS.all(connection, *map(_payment_values, by_id.values()))
    added: dict[Daily, Sum] = {}
    for (payment_id,) in filed:
        payment = by_id[payment_id]
        row = Daily(int(payment.at // DAY), payment.kind, payment.charge)
        added[row] = added.get(row, Sum()) + _sum_of(payment)
    await add(connection, added)


async def add(connection: AsyncConnection, sums: Mapping[Daily, Sum]) -> None:
    """Adds to the rows of `daily`."""
    await _GROWING.run(connection, [_daily_values(row, sums[row]) for row in sorted(sums, key=_order)])


async def spent(connection: AsyncConnection, day: int, *, simulated: bool) -> Spent:
    """What the simulator made costs nothing real, so its sums are kept apart."""
    ours = daily.c.upstream_group == SIMULATOR if simulated else daily.c.upstream_group != SIMULATOR
    paid = sa.and_(daily.c.answer.in_(CHARGES), ours)
    of_day = sa.select(daily.c.client, sa.func.sum(daily.c.usd)).where(paid, daily.c.day == day)
    by_client = {client: float(usd) for client, usd in await connection.execute(of_day.group_by(daily.c.client))}
    total = (await connection.execute(sa.select(sa.func.sum(daily.c.usd)).where(paid))).scalar_one()
    return Spent(by_client, sum(by_client.values()), float(total or 0.0))


async def sums(connection: AsyncConnection, first: int, last: int) -> dict[Daily, Sum]:
    """The rows of those days, both included."""
    rows = await connection.execute(sa.select(daily).where(daily.c.day.between(first, last)))
    return {
        Daily(
            row.day,
            Kind(row.operation, row.client, row.model, row.size, row.quality, row.upstream_group),
            row.answer,
        ): Sum(row._mapping["count"], row.outputs, row.tokens_in, row.tokens_out, row.usd, row.unpriced)  # noqa: SLF001
        for row in rows
    }


async def newest(connection: AsyncConnection, limit: int) -> list[Payment]:
    """Payments, the newest first."""
    rows = await connection.execute(sa.select(payments).order_by(payments.c.at.desc(), payments.c.id).limit(limit))
    return [
        Payment(
            id=row.id,
            at=row.at,
            kind=Kind(row.operation, row.client, row.model, row.size, row.quality, row.upstream_group),
            charge=row.charge,
            usd=row.usd,
            estimated=row.estimated,
            outputs=row.outputs,
            tokens_in=row.tokens_in,
            tokens_out=row.tokens_out,
        )
        for row in rows
    ]


async def trim(connection: AsyncConnection, before: float) -> int:
    """Deletes old payments; the sums stay."""
    return (await connection.execute(sa.delete(payments).where(payments.c.at < before))).rowcount


def _payment_values(payment: Payment) -> dict[str, Any]:
    return {name: getattr(payment, name) for name in _PAYMENT} | _kind_values(payment.kind)


def _daily_values(row: Daily, value: Sum) -> dict[str, Any]:
    sums = {name: getattr(value, name) for name in _SUMS}
    return {"day": row.day, "answer": row.answer, **_kind_values(row.kind), **sums}


def _kind_values(kind: Kind) -> dict[str, str]:
    values = {name: _text(getattr(kind, name)) for name in _KIND}
    values["upstream_group"] = values.pop("group")
    return values


def _text(value: str) -> str:
    """Words come from clients: half a surrogate pair and NUL can't be text in a database, and a name needs no more characters."""
    return value.encode("utf-8", "replace").decode().replace("\0", "?")[:200]


def _order(row: Daily) -> tuple[Any, ...]:
    return (row.day, row.answer, *astuple(row.kind))


def _sum_of(payment: Payment) -> Sum:
    return Sum(1, payment.outputs, payment.tokens_in, payment.tokens_out, payment.usd or 0.0, int(payment.usd is None))
