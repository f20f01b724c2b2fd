"""What `LedgerStore` promises, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cache_service.store.base import RefusedByPurge, Stored
from cache_service.store.entry import Daily, Kind, Payment, PurgePredicate, Spent, Sum
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import new_entry, output

DAY = 20_000
KIND = Kind("images", "web", "gpt-image-2", "1024x1024", "low", "real")
PAID = Payment("p1", DAY * 86400.0 + 10.25, KIND, "paid", 0.1 + 0.2, False, 2, 17, 392)


@pytest.fixture
def url(make_database: MakeDatabase) -> str:
    return make_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlEntryStore]:
    opened = await open_store(url, clock=lambda: 5000.0)
    yield opened
    await opened.aclose()


async def test_a_payment_is_filed_as_it_was_told_and_added_up(url: str, store: SqlEntryStore) -> None:
    """And survives a restart."""
    lost = replace(PAID, id="p2", at=PAID.at + 1, charge="maybe-paid", estimated=True)
    await store.pay([PAID, lost, replace(PAID, id="p3", usd=None)])
    again = await open_store(url)
    found = await again.payments(limit=9)
    assert [one.id for one in found] == ["p2", "p1", "p3"]
    assert found[:2] == [lost, PAID]
    assert await again.sums(DAY, DAY) == {
        Daily(DAY, KIND, "paid"): Sum(2, 4, 34, 784, PAID.usd, 1),  # type: ignore[arg-type]
        Daily(DAY, KIND, "maybe-paid"): Sum(1, 2, 17, 392, PAID.usd, 0),  # type: ignore[arg-type]
    }
    assert await again.sums(DAY + 1, DAY + 9) == {}
    await again.aclose()


async def test_a_payment_told_twice_is_counted_once(store: SqlEntryStore) -> None:
    """Recovery after a crash may tell it again."""
    await store.pay([PAID])
    await store.pay([PAID, PAID])
    assert (await store.spent(DAY, simulated=False)).total == PAID.usd
    assert len(await store.payments(limit=9)) == 1


async def test_what_was_spent_is_told_by_client_by_day_and_in_all(store: SqlEntryStore) -> None:
    bob = replace(PAID, id="p2", kind=replace(KIND, client="bob"), usd=1.0)
    before = replace(PAID, id="p3", at=PAID.at - 86400, usd=4.0)
    pretended = replace(PAID, id="p4", kind=replace(KIND, group="simulator"), usd=8.0)
    await store.pay([replace(PAID, usd=0.5), bob, before, pretended])
    await store.add({Daily(DAY, KIND, "hit"): Sum(100, 100, 0, 0, 99.0)})
    assert await store.spent(DAY, simulated=False) == Spent({"web": 0.5, "bob": 1.0}, 1.5, 5.5)
    assert await store.spent(DAY, simulated=True) == Spent({"web": 8.0}, 8.0, 8.0)
    assert await store.spent(DAY + 1, simulated=False) == Spent({}, 0, 5.5)


async def test_an_entry_and_its_payment_are_stored_together(store: SqlEntryStore) -> None:
    """What it cost is also on the entry's outputs."""
    new = new_entry(outputs=(output("cat", usd=0.25),))
    stored = await store.put(new, "append", payment=PAID)
    assert isinstance(stored, Stored)
    found = await store.find(new.exact_key, embedding_model="m")
    assert found is not None
    assert found.outputs[0].usd == 0.25
    assert await store.payments(limit=9) == [PAID]
    await store.put(new_entry(outputs=(output("more"),)), "append", payment=replace(PAID, id="p2"))
    await store.put(new_entry(outputs=(output("new"),)), "replace", payment=replace(PAID, id="p3"))
    await store.put(new_entry(outputs=(output("kept"),)), "keep", payment=replace(PAID, id="p4"))
    assert len(await store.payments(limit=9)) == 4


async def test_what_a_purge_refuses_files_no_payment(store: SqlEntryStore) -> None:
    """Who paid files it as not stored."""
    began = (await store.position()).number
    await store.purge(PurgePredicate(everything=True))
    assert isinstance(await store.put(new_entry(began=began), "append", payment=PAID), RefusedByPurge)
    assert await store.payments(limit=9) == []
    assert await store.sums(DAY, DAY) == {}


async def test_many_pay_at_the_same_time_and_nothing_is_lost(url: str) -> None:
    """Several nodes, the same rows: each waits for the other and none for ever."""
    nodes = [await open_store(url) for _ in range(2)]
    other = Daily(DAY, replace(KIND, client="bob"), "hit")
    await asyncio.gather(
        *[
            nodes[i % 2].put(new_entry(str(i), began=10**9), "append", payment=replace(PAID, id=f"p{i}", usd=1.0))
            for i in range(20)
        ],
        *[nodes[i % 2].put(new_entry("same", began=10**9), "append", payment=replace(PAID, id=f"s{i}", usd=1.0)) for i in range(10)],
        *[nodes[i % 2].add({other: Sum(1), Daily(DAY, KIND, "paid"): Sum(usd=1.0)}) for i in range(20)],
    )  # fmt: skip
    assert (await nodes[0].spent(DAY, simulated=False)).day == 50.0
    assert (await nodes[1].sums(DAY, DAY))[other] == Sum(20)
    for node in nodes:
        await node.aclose()


async def test_many_sums_at_once_fit(store: SqlEntryStore) -> None:
    await store.add({Daily(DAY, replace(KIND, client=f"c{n}"), "hit"): Sum(n, usd=n / 8) for n in range(500)})
    await store.add({})
    await store.pay([])
    found = await store.sums(DAY, DAY)
    assert len(found) == 500
    assert sum(value.count for value in found.values()) == 500 * 499 / 2


async def test_names_that_no_database_takes_are_bent_not_refused(store: SqlEntryStore) -> None:
    """A model's name comes from clients; half a surrogate pair must not cost the row."""
    await store.pay([replace(PAID, kind=replace(KIND, model="a\0b\ud800" + "x" * 1000))])
    assert (await store.payments(limit=1))[0].kind.model.startswith("a?b?xxx")


async def test_old_payments_go_and_the_sums_stay(store: SqlEntryStore) -> None:
    await store.pay([PAID, replace(PAID, id="p2", at=PAID.at + 100)])
    assert await store.trim_payments(before=PAID.at + 1) == 1
    assert [one.id for one in await store.payments(limit=9)] == ["p2"]
    assert (await store.spent(DAY, simulated=False)).total == 2 * (PAID.usd or 0)
