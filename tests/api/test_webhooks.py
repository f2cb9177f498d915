"""Webhooks: what receivers are told, in which order, how often, with which secrets, and where nothing goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from proxy_plugin.config import parse
from proxy_plugin.ground import hosts
from proxy_plugin.ground.webhooks import EVENTS, IN_PROGRESS
from proxy_plugin.reload import Reload
from proxy_plugin.storage.tables import batches, webhooks
from proxy_plugin.webhooks.sender import GIVES_UP, PAUSES
from tests.support.receiver import OTHER_SECRET, SECRET, Receiver, receiver
from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import OTHER_KEY, WHO, Served, configuration, create, running, stored
from tests.support.waiting import answered, eventually
from tests.support.wire import Log

LISTED = {"webhooks_hosts": ["127.0.0.1"]}
OTHERS = {"x-portkey-api-key": OTHER_KEY}


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as it:
        yield it


def entry(there: Receiver, **more: Any) -> dict[str, Any]:
    return {"url": there.url, "secret": SECRET, "workspace": "one"} | more


@asynccontextmanager
async def told(tmp_path: Path, *entries: dict[str, Any], **sections: Any) -> AsyncIterator[Served]:
    """Run a gateway with receivers in its configuration, and a file for batches."""
    async with running(tmp_path, webhooks=list(entries), **{"server": LISTED} | sections) as served:
        await put_file(served.gateway.registry)
        yield served


async def end(served: Served, state: str = "completed", batch_id: str = BATCH_ID, **columns: Any) -> None:
    """Put a batch there and let it end, as the engine does."""
    before = "validating" if state == "failed" else "merging"
    row = await put_batch(served.gateway.registry, batch_id, state=before, **columns)
    await served.gateway.registry.write(batches.end, row, state, served.clock.now())
    served.gateway.hooks.set()


async def begin(served: Served, batch_id: str = BATCH_ID, **columns: Any) -> None:
    """Put a batch there that is in progress, and let that be told."""
    await put_batch(served.gateway.registry, batch_id, **columns)
    await served.gateway.registry.write(webhooks.book, batch_id, IN_PROGRESS, served.clock.now())
    served.gateway.hooks.set()


async def shown(served: Served, query: str = "") -> list[dict[str, Any]]:
    """Return the deliveries of the first workspace, newest first."""
    status, found, _ = await served.call("GET", f"/v1/webhooks/deliveries{query}", headers=WHO)
    assert status == 200
    return list(found["data"])


async def until(served: Served, status: str, attempts: int = 0) -> dict[str, Any]:
    """Return the newest delivery when it has a status and so many attempts."""

    async def seen() -> dict[str, Any] | None:
        newest = next(iter(await shown(served)), None)
        return newest if newest and newest["status"] == status and newest["attempts"] >= attempts else None

    return await answered(seen)


# ---- what comes ----


@pytest.mark.parametrize("state", ["completed", "failed", "expired", "cancelled"])
async def test_the_stock_sdk_verifies_and_reads_every_end(tmp_path: Path, there: Receiver, state: str) -> None:
    async with told(tmp_path, entry(there)) as served:
        await end(served, state, metadata='{"secret of the user": "x"}')
        await eventually(lambda: there.came)
        [came] = there.came
        event = came.unwrapped()
        assert (event.type, event.data.id, event.object) == (f"batch.{state}", BATCH_ID, "event")  # type: ignore[union-attr]
        assert type(event).__name__ == f"Batch{state.title()}WebhookEvent"
        assert "user" not in came.body
        with pytest.raises(InvalidWebhookSignatureError):
            came.unwrapped(OTHER_SECRET)
        delivery = await until(served, "delivered", 1)
        assert (delivery["id"], delivery["last_status_code"], delivery["event"]["id"]) == (came.id, 204, event.id)


async def test_only_the_workspaces_own_events_that_are_asked_for_come(tmp_path: Path, there: Receiver) -> None:
    wanted = ["batch.completed", "batch.in_progress"]
    async with told(tmp_path, entry(there, events=wanted)) as served:
        await end(served, batch_id="batch_of_others", workspace="two")
        await end(served, "failed", batch_id="batch_that_failed")
        await begin(served)
        await eventually(lambda: there.came)
        assert there.types == ["batch.in_progress"]
        assert (await served.call("GET", "/v1/webhooks/deliveries", headers=OTHERS))[1]["data"] == []
        [delivery] = await shown(served)
        path = f"/v1/webhooks/deliveries/{delivery['id']}"
        assert (await served.call("GET", path, headers=OTHERS))[0] == 404
        assert (await served.call("POST", f"{path}/replay", headers=OTHERS))[0] == 404
        assert (await served.call("GET", path, headers=WHO))[0] == 200


async def test_each_tenth_is_told_once(tmp_path: Path, there: Receiver) -> None:
    async with told(tmp_path, entry(there, events=["batch.progress"])) as served:
        registry = served.gateway.registry
        await put_batch(registry, total=40)
        for done in (3, 4, 7, 20, 20, 39, 40):
            await registry.write(_done, done)
            await registry.write(webhooks.book_progress, BATCH_ID, served.clock.now())
        served.gateway.hooks.set()
        await eventually(lambda: len(there.came) == 3)
        counts = [came.event["data"]["request_counts"] for came in there.came]
        assert [each["completed"] for each in counts] == [4, 20, 39]


def _done(conn: Any, done: int) -> None:
    conn.execute("UPDATE batches SET completed = ? WHERE id = ?", (done, BATCH_ID))


# ---- until it is taken ----


async def test_a_receiver_that_is_down_for_an_hour_gets_all_in_order_under_the_same_ids(
    tmp_path: Path, there: Receiver, log: Log
) -> None:
    async with told(tmp_path, entry(there, events=list(EVENTS))) as served:
        there.answers = [503]
        await begin(served)
        await until(served, "pending", 1)
        await end(served, batch_id="batch_other")
        await eventually(lambda: len(there.came) == 2)
        first, other = there.came
        there.kill()
        row = await stored(served, BATCH_ID)
        row = await served.gateway.registry.write(batches.move, row, "merging")
        await served.gateway.registry.write(batches.end, row, "completed", served.clock.now())
        attempts = 1
        for pause in PAUSES[:5]:
            served.clock.offset += pause * 1.1
            served.gateway.hooks.set()
            attempts += 1
            await eventually(lambda: len(log.lines("webhook_not_delivered")) >= attempts)  # noqa: B023 - awaited here
        last, *_ = await shown(served, f"?batch_id={BATCH_ID}")
        assert (last["event_type"], last["attempts"]) == ("batch.completed", 0), "it waits for the one before it"
        there.start()
        served.clock.offset += 3600 * 1.1
        served.gateway.hooks.set()
        await eventually(lambda: len(there.came) == 4)
        assert there.types == ["batch.in_progress", "batch.completed", "batch.in_progress", "batch.completed"]
        assert (there.came[2].id, there.came[2].body) == (first.id, first.body)
        assert there.came[3].id not in (first.id, other.id)
        stamps = [int(came.headers["webhook-timestamp"]) for came in there.came]
        assert stamps[2] - stamps[0] > 3600, "each try is signed anew"


async def test_tries_end_after_three_days_and_a_replay_begins_again(tmp_path: Path, there: Receiver) -> None:
    async with told(tmp_path, entry(there)) as served:
        there.answers = [500] * 100
        await end(served)
        pending = await until(served, "pending", 1)
        while pending["status"] == "pending":
            served.clock.offset += max(pending["next_attempt_at"] + 1 - served.clock.now(), 0)
            served.gateway.hooks.set()
            await eventually(lambda: len(there.came) > pending["attempts"])  # noqa: B023 - awaited here
            last = pending["attempts"] + 1
            pending = await answered(lambda: _tried(served, last))  # noqa: B023 - awaited here
        assert pending["status"] == "failed"
        assert pending["last_attempt_at"] - pending["created_at"] == pytest.approx(GIVES_UP, abs=60)
        assert pending["last_error"] == "answered with status 500"
        assert 12 < len(there.came) < 25
        there.answers = []
        status, replayed, _ = await served.call("POST", f"/v1/webhooks/deliveries/{pending['id']}/replay", headers=WHO)
        assert (status, replayed["status"], replayed["attempts"]) == (200, "pending", 0)
        await until(served, "delivered", 1)
        assert {came.id for came in there.came} == {pending["id"]}


async def _tried(served: Served, attempts: int) -> dict[str, Any] | None:
    newest, *_ = await shown(served)
    return newest if newest["attempts"] >= attempts else None


async def test_a_receiver_that_is_down_keeps_no_other_waiting(tmp_path: Path, there: Receiver) -> None:
    with receiver() as dead:
        dead.kill()
        async with told(tmp_path, entry(there), entry(dead)) as served:
            for n in range(30):
                await end(served, batch_id=f"batch_{n}")
            await eventually(lambda: len(there.came) == 30)
            status, listed, _ = await served.call("GET", "/v1/webhooks", headers=WHO)
            [gone] = [each["id"] for each in listed["data"] if each["url"] == dead.url]
            status, found, _ = await served.call("GET", f"/v1/webhooks/{gone}/deliveries?limit=100", headers=WHO)
            assert status == 200
            assert {each["status"] for each in found["data"]} == {"pending"}


async def test_a_redirect_is_not_followed(tmp_path: Path, there: Receiver) -> None:
    async with told(tmp_path, entry(there)) as served:
        there.answers, there.location = [307], there.url + "/elsewhere"
        await end(served)
        delivery = await until(served, "pending", 1)
        assert "redirect" in delivery["last_error"]
        assert [came.path for came in there.came] == ["/hook"]


# ---- secrets ----


async def test_a_secret_is_rotated_in_the_file_without_a_lost_event(tmp_path: Path, there: Receiver) -> None:
    async with told(tmp_path, entry(there)) as served:
        said = configuration(tmp_path, webhooks=[entry(there, secret=OTHER_SECRET, previous_secrets=[SECRET])])

        async def read() -> Any:
            return parse(said, {})

        there.answers = [401]
        await end(served)
        delivery = await until(served, "pending", 1)
        reload = Reload(served.gateway, read, "127.0.0.1")
        assert await reload.again()
        await end(served, batch_id="batch_later")
        served.clock.offset += 6
        served.gateway.hooks.set()
        await eventually(lambda: len(there.came) == 3)
        assert there.came[2].id == delivery["id"] or there.came[1].id == delivery["id"]
        for came in there.came[1:]:
            assert {came.unwrapped(secret).type for secret in (SECRET, OTHER_SECRET)} == {"batch.completed"}
        said["proxy_plugin"]["webhooks"] = []
        assert await reload.again()
        assert (await served.call("GET", "/v1/webhooks", headers=WHO))[1]["data"] == []


def sdk(served: Served) -> OpenAI:
    return OpenAI(api_key=WHO["x-portkey-api-key"], base_url=f"{served.url}/v1", max_retries=0)


async def test_the_stock_sdk_manages_endpoints_and_their_secrets(tmp_path: Path, there: Receiver) -> None:
    async with told(tmp_path) as served:
        hooks = sdk(served).webhooks
        made = await asyncio.to_thread(hooks.create, url=there.url, name="mine", event_types=["batch.completed"])
        tested = await asyncio.to_thread(hooks.test, made.id, event_type="batch.failed")
        assert (tested.status_code, tested.success, tested.webhook_endpoint_id) == (204, True, made.id)
        assert there.came[0].unwrapped(made.signing_secret).type == "batch.failed"
        fresh = await asyncio.to_thread(hooks.rotate_secret, made.id, keep_old_secret_active_for_24_hours=True)
        assert fresh.signing_secret != made.signing_secret
        await end(served)
        await eventually(lambda: len(there.came) == 2)
        assert [there.came[1].unwrapped(each).type for each in (made.signing_secret, fresh.signing_secret)]
        served.clock.offset += 86_401
        newest = await asyncio.to_thread(hooks.rotate_secret, made.id)
        await end(served, batch_id="batch_later")
        await eventually(lambda: len(there.came) == 3)
        signatures = there.came[2].headers["webhook-signature"].split()
        assert len(signatures) == 1, "the ones before sign no more"
        assert newest.signing_secret_hint == f"…{newest.signing_secret[-5:]}"
        changed = await asyncio.to_thread(hooks.update, made.id, event_types=["batch.failed"])
        assert (changed.event_types, changed.name) == (["batch.failed"], "mine")
        assert [each.id for each in await asyncio.to_thread(lambda: list(hooks.list()))] == [made.id]
        assert (await asyncio.to_thread(hooks.delete, made.id)).deleted
        assert await asyncio.to_thread(lambda: list(hooks.list())) == []


# ---- one batch ----


@pytest.mark.parametrize("key", ["proxy_plugin_webhook", "webhook_url", None])
async def test_a_batch_names_a_receiver_of_its_own(tmp_path: Path, there: Receiver, key: str | None) -> None:
    async with told(tmp_path) as served:
        headers = {} if key else {"x-proxy-plugin-webhook": there.url}
        batch = await create(served, headers, metadata={key: there.url} if key else None)
        row = await stored(served, batch["id"])
        assert row.webhook == there.url
        await served.gateway.registry.write(batches.end, row, "failed", served.clock.now())
        served.gateway.hooks.set()
        await eventually(lambda: there.came)
        _, secret, _ = await served.call("GET", "/v1/webhooks/secret", headers=WHO)
        assert there.came[0].unwrapped(secret["signing_secret"]).type == "batch.failed"
        [delivery] = await shown(served, f"?batch_id={batch['id']}")
        assert (delivery["url"], delivery["webhook_endpoint_id"]) == (there.url, None)


async def test_the_operators_entry_without_a_url_signs_for_batches(tmp_path: Path, there: Receiver) -> None:
    async with told(tmp_path, {"secret": OTHER_SECRET, "workspace": "one"}, entry(there)) as served:
        await end(served, webhook=there.url + "/own")
        await eventually(lambda: len(there.came) == 2)
        for came in there.came:
            assert came.unwrapped(OTHER_SECRET if came.path == "/hook/own" else SECRET).type == "batch.completed"
        _, found, _ = await served.call("GET", "/v1/webhooks/secret", headers=WHO)
        assert found == {"object": "webhook_secret", "source": "config", "signing_secret": None}
        assert (await served.call("POST", "/v1/webhooks/secret/rotate_secret", headers=WHO))[0] == 409


async def test_creates_that_name_different_receivers_are_different_batches(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        again = {"x-stainless-retry-count": "1"}
        made = [
            (await create(served, again | ({"x-proxy-plugin-webhook": url} if url else {})))["id"]
            for url in ("https://a.example/x", "https://a.example/x", "https://b.example/x", "")
        ]
        assert made[0] == made[1]
        assert len(set(made)) == 3


# ---- where nothing goes ----

BAD = {
    "http://127.0.0.1:1/x": "private",
    "http://[::1]/x": "private",
    "http://169.254.169.254/latest": "private",
    "http://localhost/x": "private",
    "ftp://example.com/x": "absolute http or https URL",
    "https://user:pw@example.com/x": "password",
    "https://example.com/x#there": "fragment",
    "https://exa mple.com/x": "visible",
}


@pytest.mark.parametrize("url", BAD)
async def test_a_receiver_that_cannot_be_is_refused_by_name(tmp_path: Path, url: str) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        wanted = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        for body, path in (
            ({"url": url}, "/v1/webhooks"),
            (wanted | {"metadata": {"proxy_plugin_webhook": url}}, "/v1/batches"),
        ):
            status, answer, _ = await served.call("POST", path, body)
            assert (status, answer["error"]["code"]) == (400, "invalid_webhook_url")
            assert BAD[url] in answer["error"]["message"]
            assert "pw" not in answer["error"]["message"]
            assert answer["error"]["param"] in ("url", "metadata.proxy_plugin_webhook")


async def test_a_name_that_leads_inside_is_not_called_whatever_it_said_before(
    tmp_path: Path, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_to = ["93.184.216.34"]

    async def resolve(host: str, port: int) -> list[str]:
        return list(leads_to)

    monkeypatch.setattr(hosts, "resolve", resolve)
    url = f"http://hooks.example.com:{there.port}/x"
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        assert (await served.call("POST", "/v1/webhooks", {"url": url}, WHO))[0] == 200
        leads_to[:] = ["93.184.216.34", "127.0.0.1"]
        assert (await served.call("POST", "/v1/webhooks", {"url": url}, WHO))[0] == 400
        await end(served)
        delivery = await until(served, "pending", 1)
        assert "server.webhooks_hosts" in delivery["last_error"]
        assert there.came == []


async def test_an_endpoint_of_the_file_is_called_at_a_private_address_only_if_that_is_listed(
    tmp_path: Path, there: Receiver
) -> None:
    async with told(tmp_path, entry(there), server={}) as served:
        await end(served)
        delivery = await until(served, "pending", 1)
        assert "server.webhooks_hosts" in delivery["last_error"]
        assert there.came == []
        path = f"/v1/webhooks/{delivery['webhook_endpoint_id']}"
        status, refused, _ = await served.call("POST", f"{path}/test", {}, WHO)
        assert (status, refused["error"]["code"]) == (400, "webhook_test_failed")
        assert (await served.call("DELETE", path, headers=WHO))[1]["error"]["code"] == "webhook_of_config"


# ---- endpoints ----


async def test_what_is_wrong_with_an_endpoint_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        for body, param in (
            ({}, "url"),
            ({"url": 7}, "url"),
            ({"url": "https://example.com", "event_types": "batch.completed"}, "event_types"),
            ({"url": "https://example.com", "event_types": []}, "event_types"),
            ({"url": "https://example.com", "event_types": ["response.completed"]}, "event_types"),
            ({"url": "https://example.com", "events": ["no"]}, "events"),
            ({"url": "https://example.com", "name": "x" * 257}, "name"),
        ):
            status, answer, _ = await served.call("POST", "/v1/webhooks", body, WHO)
            assert (status, answer["error"]["param"]) == (400, param)
        assert (await served.call("GET", "/v1/webhooks/we_nobody", headers=WHO))[0] == 404


async def test_a_removed_endpoint_gets_nothing_more_and_others_cannot_see_one(tmp_path: Path, there: Receiver) -> None:
    async with told(tmp_path) as served:
        there.answers = [500] * 9
        status, made, _ = await served.call("POST", "/v1/webhooks", {"url": there.url, "events": list(EVENTS)}, WHO)
        assert (status, made["event_types"]) == (200, list(EVENTS))
        path = f"/v1/webhooks/{made['id']}"
        for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
            assert (await served.call(method, path + more, headers=OTHERS))[0] == 404
        await end(served)
        await until(served, "pending", 1)
        assert (await served.call("DELETE", path, headers=WHO))[1]["deleted"] is True
        [dropped] = await shown(served)
        assert (dropped["status"], dropped["next_attempt_at"]) == ("dropped", None)
        assert (await served.call("POST", f"/v1/webhooks/deliveries/{dropped['id']}/replay", headers=WHO))[0] == 409
        await end(served, batch_id="batch_later")
        assert len(await shown(served)) == 1


async def test_a_workspace_has_so_many_endpoints(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        for n in range(20):
            assert (await served.call("POST", "/v1/webhooks", {"url": f"https://93.184.216.34/{n}"}, WHO))[0] == 200
        status, answer, _ = await served.call("POST", "/v1/webhooks", {"url": "https://93.184.216.34/20"}, WHO)
        assert (status, answer["error"]["code"]) == (429, "too_many_webhooks")
        status, page, _ = await served.call("GET", "/v1/webhooks?limit=15", headers=WHO)
        assert (len(page["data"]), page["has_more"]) == (15, True)
        status, page, _ = await served.call("GET", f"/v1/webhooks?limit=15&after={page['last_id']}", headers=WHO)
        assert (len(page["data"]), page["has_more"]) == (5, False)
