"""`GET /v1/replicas`: who shares the database, since when, and what each does; for operators' keys alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from proxy_plugin import __version__
from proxy_plugin.config.sections import Storage
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import parts
from tests.support.rows import BATCH_ID, part_row, put_batch, put_file, put_part
from tests.support.served import KEY, OTHER_KEY, WHO, Served, running

NOW = 4_000_000_000.0
OTHER = {"x-portkey-api-key": OTHER_KEY}
KEYS = [
    {"name": "first", "key": KEY, "workspace": "one", "operator": True},
    {"name": "second", "key": OTHER_KEY, "workspace": "two"},
]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with running(tmp_path, api_keys=KEYS) as found:
        yield found


def share(served: Served) -> None:
    """Let the gateway take itself for one of several."""
    storage = Storage(database_url=SecretStr("postgresql://h/d"), data_dir=served.gateway.data_dir)
    served.gateway.config = replace(served.gateway.config, storage=storage)


def put_replicas(conn: Connection, batch_id: str) -> None:
    for name, started, seen, gone in (
        ("a-1", 100, NOW, None),
        ("b-2", 200, 200, None),
        ("c-3", 300, 310, 320),
    ):
        conn.execute(
            "INSERT INTO replicas (name, version, started_at, seen_at, gone_at) VALUES (?, '1.0', ?, ?, ?)",
            (name, started, seen, gone),
        )
    for kind, id_, n, holder, until in (
        ("batch", batch_id, 0, "a-1", NOW + 9),
        ("part", batch_id, 0, "a-1", NOW + 9),
        ("part", batch_id, 1, "a-1", NOW + 9),
        ("part", batch_id, 2, "a-1", NOW + 9),
        ("duty", "webhooks", 0, "b-2", NOW + 9),
        ("file", "file-1", 0, "b-2", 5.0),
    ):
        claim = (kind, id_, n, holder, until)
        conn.execute("INSERT INTO claims (kind, id, n, holder, token, until) VALUES (?, ?, ?, ?, 1, ?)", claim)


async def test_others_are_refused(served: Served) -> None:
    status, answer, _ = await served.call("GET", "/v1/replicas", headers=OTHER)
    assert (status, answer["error"]["code"]) == (403, "permission_denied")


async def test_a_gateway_of_its_own_is_the_only_one(served: Served) -> None:
    _, answer, _ = await served.call("GET", "/v1/replicas", headers=WHO)
    (one,) = answer["data"]
    assert (one["id"], one["status"], one["version"], one["steps"]) == ("alone", "alive", __version__, {})


async def test_replicas_are_told_with_what_they_do(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = served.gateway.registry
    await put_file(registry)
    await put_batch(registry, state="running")
    await put_part(registry, BATCH_ID, state="running")
    await registry.write(parts.insert, msgspec.structs.replace(part_row(BATCH_ID, state="ended", mark="other"), n=1))
    await registry.write(parts.insert, msgspec.structs.replace(part_row(BATCH_ID, state="collected", mark="last"), n=2))
    await registry.write(put_replicas, BATCH_ID)
    share(served)
    monkeypatch.setattr(served.gateway.clock, "now", lambda: NOW)
    _, answer, _ = await served.call("GET", "/v1/replicas", headers=WHO)
    assert [(each["id"], each["status"], each["steps"], each["duties"]) for each in answer["data"]] == [
        ("a-1", "alive", {"done": 1, "fetch": 1, "follow": 1, "poll": 1}, []),
        ("b-2", "silent", {}, ["webhooks"]),  # its other claim is over
        ("c-3", "gone", {}, []),
    ]
    assert (answer["data"][2]["started_at"], answer["data"][2]["gone_at"]) == (300, 320)
