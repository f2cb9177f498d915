"""What LiteLLM makes of a report: it charges the key once, and its callbacks see tokens and cost. No database is here.

The table that LiteLLM's ledger writes is stood in for by a dict with the key that the table has.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

litellm = pytest.importorskip("litellm")
proxy = pytest.importorskip("litellm.proxy.proxy_server")

from litellm.integrations.custom_logger import CustomLogger  # noqa: E402
from litellm.proxy.hooks.proxy_track_cost_callback import ProxyDBLogger  # noqa: E402
from litellm.repositories.table_repositories import SpendLogsRepository  # noqa: E402

from proxy_plugin.inside import attending, spend  # noqa: E402

KEY, MASTER = hashlib.sha256(b"sk-of-a-team").hexdigest(), "sk-master-0123456789"
REPORT = {
    "id": "batch_1",
    "status": "completed",
    "endpoint": "/v1/chat/completions",
    "created_at": 1_790_000_000,
    "key_hash": KEY,
    "key_name": "alice",
    "user_id": "u-1",
    "team_id": "team-1",
    "team_alias": "Alpha",
    "models": ["gpt-4.1-nano"],
    "providers": ["openai"],
    "lines": 3,
    "completed": 2,
    "failed": 1,
    "cost": 0.25,
    "input_tokens": 100,
    "output_tokens": 50,
    "cached_tokens": 10,
    "reasoning_tokens": 5,
}


class Seen(CustomLogger):  # type: ignore[misc]  # litellm is in its own environment
    """What every logger of LiteLLM's gets."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[Any] = []

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002
        self.logged.append(kwargs["standard_logging_object"])


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    spend._passed_on.clear()
    logger = Seen()
    monkeypatch.setattr(litellm, "_async_success_callback", [logger])
    monkeypatch.setattr(litellm, "success_callback", [])
    return logger


@pytest.fixture
def charged(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, str | None]]:
    """A database: the rows of the ledger, and (key, cost, team) of every charge that LiteLLM counts."""
    rows: dict[str, Any] = {}
    counted: list[tuple[str, float, str | None]] = []

    async def insert(_: Any, found: list[Any]) -> int:
        new = [row for row in found if row["request_id"] not in rows]
        rows.update({row["request_id"]: row for row in new})
        return len(new)

    async def count(**counters: Any) -> None:
        counted.append((counters["token"], counters["response_cost"], counters["team_id"]))

    async def nothing(*_: Any, **__: Any) -> Any:
        return ()

    monkeypatch.setattr(litellm, "_async_success_callback", [seen, ProxyDBLogger()])
    monkeypatch.setattr(SpendLogsRepository, "insert_with_deliveries", insert)
    monkeypatch.setattr(proxy, "prisma_client", SimpleNamespace(jsonify_object=dict))
    monkeypatch.setattr(proxy, "increment_spend_counters", count)
    monkeypatch.setattr(proxy, "accounting_window_keys", nothing)
    monkeypatch.setattr(proxy, "update_cache", nothing)
    return counted


def test_a_report_is_charged_to_its_key_once_even_after_a_restart(
    charged: list[tuple[str, float, str | None]], seen: Seen
) -> None:
    async def twice() -> list[dict[str, Any]]:
        answers = [await spend.answered({"report": REPORT})]
        spend._passed_on.clear()  # another process of LiteLLM's, or the same after a restart
        return [*answers, await spend.answered({"report": REPORT})]

    assert asyncio.run(twice()) == [{"counted": True, "kept": True}] * 2
    assert charged == [(KEY, 0.25, "team-1")]


def test_callbacks_see_tokens_and_cost_and_a_repeated_report_is_not_passed_on(seen: Seen) -> None:
    async def twice() -> list[dict[str, Any]]:
        return [await spend.answered({"report": REPORT}) for _ in range(2)]

    assert asyncio.run(twice()) == [{"counted": True, "kept": False}, {"counted": False, "kept": False}]
    [logged] = seen.logged
    assert (logged["response_cost"], logged["prompt_tokens"], logged["completion_tokens"]) == (0.25, 100, 50)
    assert (logged["call_type"], logged["status"], logged["model"]) == ("aretrieve_batch", "success", "gpt-4.1-nano")
    whose = logged["metadata"]
    assert (whose["user_api_key_hash"], whose["user_api_key_team_id"]) == (KEY, "team-1")
    assert (whose["user_api_key_alias"], whose["user_api_key_user_id"]) == ("alice", "u-1")


def test_the_master_key_is_charged_under_its_own_name(
    charged: list[tuple[str, float, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "master_key", MASTER)
    mine = {"key_hash": hashlib.sha256(MASTER.encode()).hexdigest(), "user_id": None, "team_id": None}
    asyncio.run(spend.answered({"report": REPORT | mine}))
    assert charged == [("litellm_proxy_master_key", 0.25, None)]


def test_the_socket_answers_one_process_only_that_lives(seen: Seen, tmp_path: Path) -> None:
    path = tmp_path / "var" / "litellm.sock"

    async def ask(question: bytes) -> Any:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(question + b"\n")
        try:
            return json.loads(await reader.readline())
        finally:
            writer.close()

    async def all_of_it() -> list[Any]:
        path.parent.mkdir()
        path.touch()  # what a killed process left
        attending.attend(path)
        attending.attend(path)
        while path.is_file() or not path.exists():
            await asyncio.sleep(0.01)
        answers = [await ask(json.dumps({"report": REPORT}).encode()), await ask(b"[]"), await ask(b'{"key": "x"}')]
        for task in [*attending._tasks]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return answers

    told, wrong, unknown = asyncio.run(all_of_it())
    assert told == {"counted": True, "kept": False}
    assert (wrong["again"], unknown["again"]) == (False, True)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_only_the_master_key_may_report_over_http(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    monkeypatch.setattr(proxy, "master_key", MASTER)
    client = TestClient(Starlette(routes=[attending.route()]))
    for headers, status in (({}, 401), ({"Authorization": "Bearer other"}, 401)):
        assert client.post(attending.PATH, json={"report": REPORT}, headers=headers).status_code == status
    mine = {"Authorization": f"Bearer {MASTER}"}
    assert client.post(attending.PATH, json={"report": REPORT}, headers=mine).json()["counted"] is True
    assert client.post(attending.PATH, content=b"no json", headers=mine).status_code == 400
