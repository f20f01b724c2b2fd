"""Another embedding model: its vectors lie beside the old ones, and what would change is said before anything does."""

from __future__ import annotations

from cache_service.embedding.base import Embedding
from cache_service.jobs.reindex import Agreement, agreement, embed_missing
from cache_service.store.base import Stored
from cache_service.store.entry import StoredVector
from cache_service.store.sql import open_store
from cache_service.verification.base import Analysis, Same
from tests.fakes.databases import MakeDatabase
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.entries import new_entry


class Trusting:
    """Takes every candidate for the same."""

    version = "1"

    def analyse(self, prompt: str, embedding: Embedding) -> Analysis:
        return Analysis("1", prompt, {})

    def verify(self, asked: Analysis, stored: Analysis, operation: str) -> Same:
        return Same("trusting")


async def test_a_new_model_is_filled_in_and_what_it_would_change_is_counted(make_database: MakeDatabase) -> None:
    """The old vectors stay as they are; running it again embeds nothing twice, and what failed is counted."""
    store = await open_store(make_database())
    old, new, judge = FakeEmbedder(), FakeEmbedder(), Trusting()
    new.model_id = "fake@2"
    texts = ["a red fox", "red fox, a", "a blue whale", "whale in blue", "nothing like it"]
    old.vectors = {texts[1]: old._embed(texts[0]).vector}
    new.vectors = {texts[3]: new._embed(texts[2]).vector}
    for text in texts:
        assert isinstance(await store.put(new_entry(text, vector=None), "append"), Stored)
    ids = range(1, len(texts) + 1)
    for each, text in zip(ids, texts, strict=True):
        (embedding,) = await old.embed([text])
        vector = stored(old.model_id, embedding)
        await store.set_vectors({each: vector})
    before = await store.vectors(list(ids), embedding_model=old.model_id)
    new.broken = {texts[4]}
    assert await embed_missing(store, new, judge) == (4, 1)
    new.broken = set()
    assert await embed_missing(store, new, judge) == (1, 0)
    assert await embed_missing(store, new, judge) == (0, 0)
    after = await store.vectors(list(ids), embedding_model=old.model_id)
    assert [row.vector.tobytes() for row in after] == [row.vector.tobytes() for row in before]
    assert len(await store.vectors(list(ids), embedding_model=new.model_id)) == 5
    found = await agreement(store, old.model_id, new.model_id, judge, threshold=0.99, most=100)
    assert found == Agreement(compared=5, same=1, other=0, gained=2, lost=2)
    assert (await agreement(store, old.model_id, old.model_id, judge, threshold=0.99, most=100)).same == 5
    await store.aclose()


def stored(model_id: str, embedding: Embedding) -> StoredVector:
    return StoredVector(model_id, embedding.vector, "1", {"prompt": "", "facts": {}})
