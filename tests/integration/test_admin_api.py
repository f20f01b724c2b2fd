"""Administration over HTTP, on a real store and index: what operators see, what they change, and what is on record of it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from cache_service.answer import Caller, Failed, Report, Result, Served, Trace
from cache_service.api import session
from cache_service.errors import UpstreamUnreachable
from cache_service.jobs.client_keys import ClientKeys
from cache_service.jobs.inspect import Inspector
from cache_service.store.base import Stored
from cache_service.store.entry import ServedHit
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.entries import digest, new_entry, output, stored_vector
from tests.fakes.index import BruteForceIndex
from tests.fakes.service import ADMIN_TOKEN, BODY, HIT, Asked, Bench, make_bench

ENTRIES, KEYS, SESSION = "/admin/entries", "/admin/keys", "/admin/session"


class Real:
    """A bench whose administration has a real database, and a client with the admin token."""

    def __init__(self, bench: Bench, store: SqlEntryStore, client: httpx.AsyncClient, path: str) -> None:
        self.bench = bench
        self.store = store
        self.client = client
        self.path = path

    async def add(self, name: str, **members: Any) -> int:
        """Stores an entry and indexes its vector; its id."""
        embedder = FakeEmbedder()
        (embedding,) = await embedder.embed([name])
        vector = replace(stored_vector(1), model_id=embedder.model_id, vector=embedding.vector)
        stored = await self.store.put(new_entry(name, vector=vector, **members), "append")
        assert isinstance(stored, Stored)
        self.index.add(stored.entry.id, stored.entry.partition, embedding.vector)
        return stored.entry.id

    index: BruteForceIndex

    async def get(self, path: str, **query: Any) -> Any:
        response = await self.client.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
async def real(make_sqlite: MakeDatabase) -> AsyncIterator[Real]:
    url = make_sqlite()
    store = await open_store(url, clock=lambda: 5000.0)
    bench = make_bench()
    service, embedder = bench.service, FakeEmbedder()
    index = BruteForceIndex(embedder.dimension)
    service.admin = store
    service.keys = ClientKeys(store)
    service.inspector = Inspector(store, store, index, embedder, service.requests)
    async with bench.client(ADMIN_TOKEN) as client:
        made = Real(bench, store, client, url.removeprefix("sqlite:///"))
        made.index = index
        yield made
    await store.aclose()


def trace(request_id: str, **members: Any) -> Trace:
    """A request that was an exact hit, but for what is said."""
    usual = Trace(
        request_id, 1000.0, Caller("default", "web"), "images", "m", "a fox", digest("cat"), HIT, 200, "", 0.01,
        {"key": 0.001, "exact": 0.002},
    )  # fmt: skip
    return usual._replace(**members)


class TestEntries:
    async def test_pages_lead_through_all(self, real: Real) -> None:
        for n in range(5):
            await real.add(f"prompt {n}")
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 2}
        while True:
            page = await real.get(ENTRIES, **query)
            seen += [entry["prompt"] for entry in page["entries"]]
            if page["next"] is None:
                break
            query["after"] = page["next"]
        assert seen == [f"prompt {n}" for n in (4, 3, 2, 1, 0)]

    async def test_filters_are_those_of_the_query(self, real: Real) -> None:
        await real.add("red fox", namespace="one", model="m1", tags=frozenset({"t"}), created_at=10.0)
        await real.add("blue fox", namespace="two", model="m2", created_at=20.0)
        for query, found in (
            ({"namespace": "one"}, ["red fox"]),
            ({"model": "m2"}, ["blue fox"]),
            ({"tag": "t"}, ["red fox"]),
            ({"text": "fo* RED"}, ["red fox"]),
            ({"text": "fox"}, ["blue fox", "red fox"]),
            ({"operation": "chat"}, []),
            ({"text": "*"}, []),
            ({"text": "!? -"}, []),
            ({"newer_than": "1"}, []),
            ({"older_than": "0.5"}, ["blue fox", "red fox"]),
        ):
            assert [entry["prompt"] for entry in (await real.get(ENTRIES, **query))["entries"]] == found, query

    async def test_those_like_a_prompt_come_by_similarity(self, real: Real) -> None:
        """From every partition, within the other filters."""
        await real.add("a fox", namespace="one", partition=digest("p1"))
        await real.add("a fox!", namespace="two", partition=digest("p2"))
        found = await real.get(ENTRIES, similar_to="a fox", similarity=0.0)
        assert found["entries"][0]["prompt"] == "a fox"
        assert found["entries"][0]["similarity"] == pytest.approx(1.0)
        assert found["next"] is None
        only = await real.get(ENTRIES, similar_to="a fox", similarity=0, namespace="two")
        assert [entry["prompt"] for entry in only["entries"]] == ["a fox!"]

    async def test_one_entry_with_all_about_it(self, real: Real) -> None:
        """Outputs, tags, neighbours of its partition, and the decisions it had a part in."""
        entry_id = await real.add("cat", tags=frozenset({"t"}), outputs=(output("1"), output("2")))
        await real.add("cat", exact_key=digest("cat again"))
        hit = ServedHit("default", "images", "r9", digest("dog"), "d", digest("cat"), "c", 0.95, 100.0)
        await real.store.record_hits([hit])
        real.bench.service.requests.add(trace("r1"))
        real.bench.service.requests.add(trace("r2", key=digest("other"), report=Report("miss", key=digest("other"))))
        found = await real.get(f"{ENTRIES}/{entry_id}")
        assert (found["prompt"], found["tags"], len(found["stored_outputs"])) == ("cat", ["t"], 2)
        assert [round(near["similarity"], 3) for near in found["neighbours"]] == [1.0]
        assert [hit["request_id"] for hit in found["hits"]] == ["r9"]
        assert [request["request_id"] for request in found["requests"]] == ["r1"]

    async def test_a_picture_of_any_namespace_is_shown_to_operators_alone(self, real: Real) -> None:
        picture = b"\x89PNG\r\n\x1a\n made up"
        sha = hashlib.sha256(picture).hexdigest()
        real.bench.blobs.pictures[sha] = picture
        await real.add("cat", namespace="private", outputs=(output("o", blob=sha),))
        response = await real.client.get(f"/admin/blobs/{sha}")
        assert (response.content, response.headers["content-type"]) == (picture, "image/png")
        assert "sandbox" in response.headers["content-security-policy"]
        async with real.bench.client() as nobody:
            assert (await nobody.get(f"/admin/blobs/{sha}")).status_code == 401

    @pytest.mark.parametrize("media_type", ["image/svg+xml", "text/html", None])
    async def test_what_could_hold_a_script_is_never_shown(self, real: Real, media_type: str | None) -> None:
        sha = digest("o")
        real.bench.blobs.pictures[sha] = b"<script>"
        await real.add("cat", outputs=(output("o", blob=sha, media_type=media_type),))
        response = await real.client.get(f"/admin/blobs/{sha}")
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.headers["content-disposition"] == "attachment"


class TestRequests:
    async def test_the_last_requests_with_their_prompts(self, real: Real) -> None:
        """Newest first, by pages, filtered by what became of them."""
        log = real.bench.service.requests
        miss = Report("miss", reason="different", detail="different: colour", rejected_prompt="a dog", similarity=0.95)
        log.add(trace("r1"))
        log.add(trace("r2", report=miss))
        log.add(trace("r3", error="UpstreamTimeout", status=0, report=Report("miss", reason="no entry")))
        page = await real.get("/admin/requests", limit=2)
        assert [seen["request_id"] for seen in page["requests"]] == ["r3", "r2"]
        older = await real.get("/admin/requests", before=page["next"])
        assert [seen["request_id"] for seen in older["requests"]] == ["r1"]
        for query, ids in (
            ({"decision": "hit"}, ["r1"]), ({"decision": "error"}, ["r3"]), ({"reason": "different"}, ["r2"]),
            ({"kind": "exact"}, ["r1"]), ({"namespace": "other"}, []), ({"client": "web"}, ["r3", "r2", "r1"]),
        ):  # fmt: skip
            assert [seen["request_id"] for seen in (await real.get("/admin/requests", **query))["requests"]] == ids
        one = await real.get("/admin/requests/r2")
        assert (one["prompt"], one["rejected_prompt"], one["detail"]) == ("a fox", "a dog", "different: colour")
        assert one["steps"][:3] == [
            {"step": "key", "seconds": 0.001}, {"step": "exact", "seconds": 0.002}, {"step": "embed", "seconds": None},
        ]  # fmt: skip

    async def test_the_playground_shows_the_way_of_a_request(self, real: Real) -> None:
        """Asked in the namespace that is named, in the operator's name; it pays like any request."""

        async def answer(asked: Asked) -> Result:
            real.bench.service.requests.add(trace(asked.request_id, caller=asked.caller))
            return Served(200, BODY, "application/json", HIT)

        real.bench.cache.answer = answer
        body = {"operation": "images", "request": {"prompt": "a fox"}, "namespace": "team", "cache": {"tags": ["t"]}}
        response = await real.client.post("/admin/playground", json=body)
        played = response.json()
        assert played["cache"]["decision"] == "hit"
        assert played["steps"][0] == {"step": "key", "seconds": 0.001}
        assert played["response"]["created"] == 1764000000
        assert real.bench.cache.asked[0].caller == Caller("team", "admin")
        assert real.bench.cache.asked[0].tags == {"t"}

    async def test_the_playground_tells_what_went_wrong(self, real: Real) -> None:
        async def answer(asked: Asked) -> Result:
            return Failed(UpstreamUnreachable("gone"), Report("miss", reason="no entry"))

        real.bench.cache.answer = answer
        body = {"operation": "images", "request": {"prompt": "a fox"}}
        response = await real.client.post("/admin/playground", json=body)
        assert (response.status_code, response.json()["code"]) == (502, "upstream_unreachable")

    async def test_a_purge_forgets_the_prompts_it_may_speak_of(self) -> None:
        bench = make_bench()
        log = bench.service.requests
        log.add(trace("r1", caller=Caller("one")))
        log.add(trace("r2", caller=Caller("two")))
        from cache_service.store.entry import PurgePredicate

        log.forget(PurgePredicate(namespace="one", tag="t"))
        assert log.find("r1") is None
        assert log.find("r2") is not None
        log.forget(PurgePredicate(key="no such"))
        assert log.find("r2") is not None
        log.forget(PurgePredicate(created_before=1.0))
        assert log.find("r2") is None


class TestKeys:
    async def test_a_made_key_opens_its_namespace_and_nothing_else(self, real: Real) -> None:
        """Shown once; only its digest is in the database; with the first one nobody is anonymous any more."""
        made = (await real.client.post(KEYS, json={"name": "web", "namespace": "team", "usd_per_day": 2.5})).json()
        async with real.bench.client(made["key"]) as client:
            assert (await client.post("/v1/images/generations", json={"prompt": "a"})).status_code == 200
            assert (await client.get("/admin/stats")).status_code == 401
        assert real.bench.cache.asked[0].caller == Caller("team", "web")
        async with real.bench.client() as nobody:
            assert (await nobody.post("/v1/images/generations", json={"prompt": "a"})).status_code == 401
        listed = await real.client.get(KEYS)
        assert made["key"] not in listed.text
        assert listed.json()["keys"][0]["usd_per_day"] == 2.5
        connection = sqlite3.connect(real.path)
        dump = "\n".join(connection.iterdump())
        connection.close()
        assert made["key"] not in dump
        assert hashlib.sha256(made["key"].encode()).hexdigest() in dump

    async def test_a_revoked_key_opens_nothing_at_once(self, real: Real) -> None:
        """Nor does the door open for everyone when the last key is gone."""
        made = (await real.client.post(KEYS, json={"name": "web"})).json()
        revoked = await real.client.post(f"{KEYS}/{made['id']}/revoke")
        assert revoked.json()["revoked_at"] == 5000.0
        for key in (made["key"], None):
            async with real.bench.client(key) as client:
                assert (await client.post("/v1/images/generations", json={"prompt": "a"})).status_code == 401

    async def test_other_nodes_follow_when_they_look(self, real: Real) -> None:
        """They look twice a second."""
        other = ClientKeys(await open_store(f"sqlite:///{real.path}"))
        made = (await real.client.post(KEYS, json={"name": "web"})).json()
        sha = hashlib.sha256(made["key"].encode()).digest()
        assert other.holder(sha) is None
        await other.refresh()
        assert other.holder(sha) is not None
        await real.client.post(f"{KEYS}/{made['id']}/revoke")
        await other.refresh()
        assert other.holder(sha) is None
        await other._store.aclose()  # type: ignore[attr-defined]

    async def test_viewers_look_and_admins_change(self, real: Real) -> None:
        viewer = (await real.client.post(KEYS, json={"name": "look", "role": "viewer"})).json()
        admin = (await real.client.post(KEYS, json={"name": "all", "role": "admin"})).json()
        async with real.bench.client(viewer["key"]) as client:
            assert (await client.get(KEYS)).status_code == 200
            refused = await client.post(KEYS, json={"name": "x"})
            assert (refused.status_code, refused.json()["code"]) == (403, "read_only")
            assert (await client.post("/v1/images/generations", json={"prompt": "a"})).status_code == 200  # anonymous
        async with real.bench.client(admin["key"]) as client:
            assert (await client.post(KEYS, json={"name": "x"})).status_code == 201
        acts = (await real.get("/admin/audit"))["acts"]
        assert [(act["who"], act["action"], act["what"]["name"]) for act in acts] == [
            ("all", "key.create", "x"), ("admin", "key.create", "all"), ("admin", "key.create", "look"),
        ]  # fmt: skip
        assert viewer["key"] not in str(acts)


class TestSessions:
    async def test_a_login_is_a_cookie_no_script_reads_and_no_site_sends(self, real: Real) -> None:
        async with real.bench.client() as browser:
            response = await browser.post(SESSION, json={"token": ADMIN_TOKEN})
            assert response.json() == {"who": "admin", "role": "admin"}
            cookie = response.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert ADMIN_TOKEN not in cookie
            assert (await browser.get(SESSION)).json() == {"who": "admin", "role": "admin"}
            assert (await browser.get(ENTRIES)).status_code == 200
            assert (await browser.delete(SESSION)).status_code == 204
            assert (await browser.get(ENTRIES)).status_code == 401
        assert (await real.get("/admin/audit"))["acts"][0]["action"] == "login"

    async def test_a_stolen_cookie_ends_with_the_logout(self, real: Real) -> None:
        async with real.bench.client() as browser:
            await browser.post(SESSION, json={"token": ADMIN_TOKEN})
            stolen = dict(browser.cookies)
            await browser.delete(SESSION)
        async with real.bench.client(cookies=stolen) as thief:
            assert (await thief.get(ENTRIES)).status_code == 401

    async def test_another_site_s_page_gets_nothing_by_the_cookie(self, real: Real) -> None:
        """Also one on another port of this machine, which browsers take for the same site."""
        async with real.bench.client() as browser:
            await browser.post(SESSION, json={"token": ADMIN_TOKEN})
            for headers in (
                {"origin": "http://localhost:3000"},
                {"sec-fetch-site": "same-site"},
                {"sec-fetch-site": "cross-site"},
            ):
                assert (await browser.post("/admin/purge", json={"all": True}, headers=headers)).status_code == 403
                assert (await browser.get(ENTRIES, headers=headers)).status_code == 403
            for kind in ("text/plain", "application/x-www-form-urlencoded"):
                sent = await browser.post("/admin/purge", content=b"{}", headers={"content-type": kind})
                assert sent.status_code == 415
        assert not real.bench.store.predicates

    async def test_wrong_tokens_open_nothing(self, real: Real) -> None:
        client_key = (await real.client.post(KEYS, json={"name": "web"})).json()["key"]
        async with real.bench.client() as browser:
            for token in ("wrong", client_key, " "):
                response = await browser.post(SESSION, json={"token": token})
                assert response.status_code == 401
                assert "set-cookie" not in response.headers

    async def test_a_revoked_key_ends_its_sessions(self, real: Real) -> None:
        made = (await real.client.post(KEYS, json={"name": "look", "role": "viewer"})).json()
        async with real.bench.client() as browser:
            await browser.post(SESSION, json={"token": made["key"]})
            assert (await browser.get(ENTRIES)).status_code == 200
            await real.client.post(f"{KEYS}/{made['id']}/revoke")
            response = await browser.get(ENTRIES)
            assert (response.status_code, response.json()["code"]) == (401, "invalid_session")

    def test_a_session_ends_after_its_time_and_there_are_not_too_many(self) -> None:
        now = [0.0]
        sessions = session.Sessions(lambda: now[0])
        from cache_service.api.access import TOKEN_HOLDER

        first = sessions.open(TOKEN_HOLDER)
        assert sessions.find(first) == TOKEN_HOLDER
        now[0] = session.LIFETIME
        assert sessions.find(first) is None
        newer = [sessions.open(TOKEN_HOLDER) for _ in range(session.MOST + 1)]
        assert sessions.find(newer[0]) is None
        assert sessions.find(newer[-1]) == TOKEN_HOLDER


class TestRecords:
    async def test_settings_hold_no_secret(self) -> None:
        bench = make_bench(
            client_keys=("ann:secret-1",), upstream_api_keys=("secret-2",), database_url="postgresql://u:secret-3@h/d"
        )
        async with bench.client(ADMIN_TOKEN) as client:
            response = await client.get("/admin/settings")
        assert "secret-" not in response.text
        named = {setting["name"]: setting for setting in response.json()["settings"]}
        assert named["port"]["value"] == 8000
        assert named["port"]["meaning"].startswith("Port")

    async def test_thresholds_count_hits_and_verdicts(self, real: Real) -> None:
        hit = ServedHit("default", "images", "r9", digest("dog"), "d", digest("cat"), "c", 0.95, 100.0)
        await real.store.record_hits([hit, hit])
        await real.store.add_feedback(hit, "wrong", client="c")
        found = await real.get("/admin/thresholds", operation="images")
        assert found == {"threshold": 0.92, "bands": [{"similarity": 0.95, "hits": 2, "wrong": 1, "right": 0}]}

    async def test_labelled_pairs_are_decided_as_the_service_would_and_kept_nowhere(self, real: Real) -> None:
        """In their order; below which threshold each is a miss is seen from its similarity."""
        pairs = [
            {"a": "a red fox", "b": "a red fox", "same": True},
            {"a": "a red fox in snow", "b": "a red fox in the snow", "same": True},
            {"a": "a red fox in the snow", "b": "two red foxes in the snow", "same": False},
            {"a": "a red fox", "b": [{"role": "user", "content": "a red fox"}], "same": True, "operation": "chat"},
        ]
        answer = await real.client.post("/admin/thresholds/pairs", json={"pairs": pairs})
        decided = answer.json()["pairs"]
        assert [(one["hit"], one["same"], one["operation"]) for one in decided] == [
            (True, True, "images"),
            (True, True, "images"),
            (False, False, "images"),
            (True, True, "chat"),
        ]
        assert decided[0]["similarity"] == decided[3]["similarity"] == 1.0
        assert 0.8 < decided[1]["similarity"] < 1.0
        assert "fox" not in (await real.client.get("/admin/audit")).text
        assert (await real.store.totals())["entries"] == 0

    async def test_the_overview_adds_up_what_happened(self, real: Real) -> None:
        from cache_service.instrumentation.events import RequestServed, UsdSpent

        tell = real.bench.service.timeline
        tell(RequestServed("images", "miss", "", "no entry", 200, 8.0))
        tell(RequestServed("images", "hit", "semantic", "same", 200, 0.5, saved_usd=0.03))
        tell(RequestServed("images", "error", "", "x", 0, 0.5))
        tell(UsdSpent("images", 0.04))
        tell(UsdSpent("images", 9.00, sure=False))  # may have been paid: no figure of what was
        (span,) = (await real.get("/admin/overview"))["spans"]
        assert (span["at"], span["paid_usd"], span["saved_usd"], span["saved_seconds"]) == (900.0, 0.04, 0.03, 7.5)
        assert {(one["answer"], one["count"]) for one in span["requests"]} == {
            ("miss", 1),
            ("semantic", 1),
            ("error", 1),
        }

    async def test_an_operator_judges_a_hit_in_a_client_s_place(self, real: Real) -> None:
        """With a line in the audit log, also when it is taken back."""
        bench = real.bench
        bench.store.hits.append(ServedHit("team", "images", "r9", digest("dog"), "d", digest("cat"), "c", 0.95, 100.0))
        body = {"namespace": "team", "request_id": "r9", "verdict": "wrong"}
        judged = (await real.client.post("/admin/feedback", json=body)).json()
        assert judged["denied"] is True
        assert (await real.client.post("/admin/feedback", json={**body, "namespace": "other"})).status_code == 404
        await real.client.post(f"/admin/feedback/{judged['id']}/undo")
        assert [(act.who, act.action) for act in bench.store.acts] == [
            ("admin", "feedback.wrong"),
            ("admin", "feedback.undo"),
        ]

    async def test_a_purge_is_on_record_without_its_prompt(self) -> None:
        bench = make_bench()
        async with bench.client(ADMIN_TOKEN) as client:
            await client.post("/admin/purge", json={"prompt": "my secret diary", "dry_run": True})
            await client.post("/admin/purge", json={"prompt": "my secret diary", "namespace": "n"})
        (act,) = bench.store.acts
        assert (act.who, act.action, act.count, act.what["namespace"]) == ("admin", "purge", 7, "n")
        assert "diary" not in str(act.what)


BAD_QUERIES = {
    ENTRIES: [
        "limit=0", "limit=501", "limit=x", "limit=-1", "limit=1&limit=2", "limit=", "lim=5", "operation=video", "after=5",
        "after=1,", "after=1.5,99999999999999999999", "older_than=-1", "older_than=1e13", "newer_than=NaN", "text=",
        "text=%00a", "namespace=", "namespace=%00", "similar_to=a&similarity=1.1",
        "model=" + "x" * 257, "text=" + "a+" * 65,
    ],
    f"{ENTRIES}/1": ["x=1"],
    "/admin/requests": ["decision=maybe", "kind=x", "before=-1", "before=99999999999999999999", "limit=1000", "reason="],
    KEYS: ["before=x", "after=1"],
    "/admin/audit": ["before=", "limit=1.5"],
    "/admin/thresholds": ["operation=x", "limit=5"],
    "/admin/settings": ["a=b"],
    "/admin/overview": ["a=b"],
    "/admin/pools": ["a=b"],
    "/admin/stats": ["a=b"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "query"), [(path, query) for path, queries in BAD_QUERIES.items() for query in queries]
)
async def test_a_bad_query_is_a_clear_400(path: str, query: str) -> None:
    """It names the parameter; nothing was asked of the store."""
    bench = make_bench()
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.get(f"{path}?{query}")
    assert response.status_code == 400
    assert response.json()["detail"]
    assert response.json()["param"] in query
    assert not bench.store.pages


@pytest.mark.parametrize("path", [f"{ENTRIES}/0", f"{ENTRIES}/x", f"{ENTRIES}/-1", f"{ENTRIES}/99999999999999999999",
                                  "/admin/requests/none", "/admin/requests/a%00b", "/admin/blobs/abc"])  # fmt: skip
async def test_what_is_not_there_is_a_404(path: str) -> None:
    async with make_bench().client(ADMIN_TOKEN) as client:
        response = await client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


PAIR = {"a": "a fox", "b": "two foxes", "same": False}
BAD_BODIES: dict[str, list[Any]] = {
    KEYS: [
        {}, {"name": ""}, {"name": "a b"}, {"name": 5}, {"name": "x" * 65}, {"name": "a", "role": "root"},
        {"name": "a", "role": ["admin"]}, {"name": "a", "namespace": ""}, {"name": "a", "namespace": "a/b"},
        {"name": "a", "usd_per_day": -1}, {"name": "a", "usd_per_day": "5"}, {"name": "a", "usd_per_day": True},
        {"name": "a", "role": "admin", "namespace": "n"}, {"name": "a", "role": "viewer", "usd_per_day": 1},
        {"name": "a", "key": "chosen"}, [],
    ],
    SESSION: [{}, {"token": ""}, {"token": 5}, {"token": "x" * 1025}, {"token": "a", "user": "b"}, []],
    "/admin/playground": [
        {}, {"operation": "images"}, {"operation": "images", "request": {"prompt": "a"}, "namespace": "a b"},
        {"operation": "images", "request": {"prompt": "a"}, "namespace": 5}, {"operation": "x", "request": {}},
        {"operation": "images", "request": {"prompt": ""}}, {"operation": "images", "request": {"prompt": "a"}, "x": 1},
        {"operation": "images", "request": {"prompt": "a", "stream": True}},
    ],
    "/admin/feedback": [
        {}, {"namespace": "a"}, {"namespace": "a", "key": "k"}, {"key": "k", "verdict": "wrong"},
        {"namespace": 5, "key": "k", "verdict": "wrong"}, {"namespace": "", "key": "k", "verdict": "wrong"},
        {"namespace": "a", "key": "k", "request_id": "r", "verdict": "wrong"},
    ],
    "/admin/thresholds/pairs": [
        {}, {"pairs": []}, {"pairs": {}}, {"pairs": ["a"]}, {"pairs": [{"a": "a", "b": "b"}]}, {"pairs": [PAIR] * 201},
        {"pairs": [{**PAIR, "same": 1}]}, {"pairs": [{**PAIR, "a": ""}]}, {"pairs": [{**PAIR, "b": 5}]}, {"pairs": [{**PAIR, "b": [["role"]]}]}, {"pairs": [{**PAIR, "a": [{"content": "a"}]}]},
        {"pairs": [{**PAIR, "operation": "video"}]}, {"pairs": [PAIR], "operation": []}, {"pairs": [{**PAIR, "c": 1}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, bodies in BAD_BODIES.items() for body in bodies])
async def test_a_bad_body_is_a_clear_400_and_changes_nothing(path: str, body: Any) -> None:
    bench = make_bench()
    async with bench.client(ADMIN_TOKEN) as client:
        response = await client.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["detail"]
    assert not bench.store.acts
    assert not bench.store.keys
    assert not bench.cache.asked
