"""A database or a store that is away: 503 with Retry-After, never 500; `/readyz` says it, `/metrics` goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from aiohttp import web

from proxy_plugin.api import operations
from proxy_plugin.gateway import Gateway
from proxy_plugin.storage.errors import CommitInDoubt, DatabaseAway, StoreAway
from tests.support.served import FORM, FORM_TYPE, TARGET, WANTED, WHO, Served, running
from tests.support.wire import Log

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'
NEED_THE_DATABASE = (("GET", "files"), ("GET", "batches"), ("POST", "batches"), ("GET", "batches/batch_1"))
IDS = {"file_id": "file-1", "batch_id": "batch_1", "upload_id": "upload_1", "model": "m", "endpoint_id": "we_1"}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LOOK_KEPT", -1.0)


def take_away(patch: pytest.MonkeyPatch, gateway: Gateway) -> None:
    """Let the database answer nothing."""

    async def refuse(*_: object, **__: object) -> NoReturn:
        raise DatabaseAway("connection refused")

    async def away() -> str:
        return "connection refused"

    for name in ("read", "scan", "write"):
        patch.setattr(type(gateway.registry), name, refuse)
    patch.setattr(type(gateway.registry), "away", staticmethod(away))


async def ready(served: Served) -> tuple[int, str]:
    status, answer, _ = await served.call("GET", "/readyz")
    return status, answer["status"]


async def test_readyz_tells_what_is_away_and_when_it_is_back(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        assert await ready(served) == (200, "ready")
        with pytest.MonkeyPatch.context() as patch:
            take_away(patch, served.gateway)
            assert await ready(served) == (503, "database away")
        assert await ready(served) == (200, "ready")


async def test_readyz_waits_for_neither_longer_than_its_limit(tmp_path: Path, log: Log) -> None:
    async def never() -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    async def refused() -> NoReturn:
        raise StoreAway("a host that nobody is to know")

    async with running(tmp_path) as served:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(operations, "ANSWERED_IN", 0.01)
            patch.setattr(served.gateway.registry, "away", never, raising=False)
            patch.setattr(served.gateway.blobs, "away", refused)
            status, said = await ready(served)
    assert status == 503
    assert said == "database away; object store away", "anybody may ask, so no host is named"
    (event,) = log.lines("storage_away")
    assert (event["database"], event["object_store"]) == ("no answer within 0.01 s", "a host that nobody is to know")


def routes(app: web.Application) -> list[tuple[str, str]]:
    """Return method and path of every route of ours below /v1, with ids that nothing has."""
    found = set()
    for route in app.router.routes():
        path = "" if route.resource is None else route.resource.canonical
        if path.startswith("/v1/") and route.method in ("GET", "POST", "DELETE") and "rest" not in path:
            for name, value in IDS.items():
                path = path.replace(f"{{{name}}}", value)
            if "{" not in path:
                found.add((route.method, path))
    return sorted(found)


async def test_no_route_answers_500_while_the_database_is_away(tmp_path: Path) -> None:
    app = web.Application()
    async with running(tmp_path, app) as served:
        asked = routes(app)
        with pytest.MonkeyPatch.context() as patch:
            take_away(patch, served.gateway)
            answers = {
                (method, path): await served.call(method, path, WANTED if method == "POST" else None)
                for method, path in asked
            }
    assert len(asked) > 20
    assert {route: status for route, (status, _, _) in answers.items() if status == 500} == {}
    away = {route for route, (status, _, _) in answers.items() if status == 503}
    assert away >= {(method, f"/v1/{path}") for method, path in NEED_THE_DATABASE}
    for _, body, headers in (answers[route] for route in away):
        assert headers["Retry-After"] == "5"
        assert body["error"]["code"] == "storage_away"
        assert body["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatabaseAway("x"), "reach its database now; nothing was done"),
        (StoreAway("x"), "reach its object store now; nothing was done"),
        (CommitInDoubt("x"), "whether it is stored nobody can say now"),
    ],
)
async def test_an_upload_that_cannot_be_kept_is_asked_for_again(tmp_path: Path, error: Exception, said: str) -> None:
    def refuse(*_: object) -> NoReturn:
        raise error

    async with running(tmp_path) as served:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(served.gateway.blobs, "adopt", refuse)
            status, answer, headers = await served.call("POST", "/v1/files", FORM % LINE, TARGET | FORM_TYPE)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert said in answer["error"]["message"]
        _, found, _ = await served.call("GET", "/v1/files", headers=WHO)
        assert found["data"] == []


async def test_metrics_go_on_with_what_needs_no_database(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        before = await text_of(served, "/metrics")
        with pytest.MonkeyPatch.context() as patch:
            take_away(patch, served.gateway)
            away = await text_of(served, "/metrics")
    assert "\nproxy_plugin_ready 1" in before
    assert "\nproxy_plugin_batches{" in before
    assert "\nproxy_plugin_ready 0" in away
    assert "\nproxy_plugin_batches{" not in away
    assert "\nproxy_plugin_uploads_running 0" in away


async def text_of(served: Served, path: str) -> str:
    async with served.session.get(served.url + path) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_webhooks_stay_due_while_the_database_is_away(tmp_path: Path) -> None:
    """A delivery whose secret cannot be read is not one whose endpoint is gone."""
    from proxy_plugin.webhooks.sender import Sender

    settled: list[Any] = []

    async def refuse(work: Callable[..., object], *args: object) -> NoReturn:
        settled.append(work.__name__)
        raise DatabaseAway("x")

    async with running(tmp_path) as served:
        sender = Sender(served.gateway)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(served.gateway.registry), "read", lambda _, *args: refuse(*args))
            patch.setattr(type(served.gateway.registry), "write", lambda _, *args: refuse(*args))
            await sender._deliver(delivery())
        await sender.stop()
    assert settled == ["_place"]


def delivery() -> Any:
    from proxy_plugin.storage.tables.webhooks import DeliveryRow

    fields: dict[str, Any] = dict.fromkeys(DeliveryRow.__struct_fields__)
    return DeliveryRow(**(fields | {"id": "msg_1", "type": "batch.completed", "body": "{}", "tries": 0}))
