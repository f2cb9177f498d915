"""The dashboard's files, and the routes that it asks: streams of events, timelines, figures, the operator's sums."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from proxy_plugin.api import ui
from proxy_plugin.api.batches import events as batch_events
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches, parts
from tests.support.rows import BATCH_ID, put_batch, put_file, put_part
from tests.support.served import KEY, OTHER_KEY, WHO, Served, running

OTHER = {"x-portkey-api-key": OTHER_KEY}
MOST_BYTES = 200_000
KEYS = [
    {"name": "first", "key": KEY, "workspace": "one", "operator": True},
    {"name": "second", "key": OTHER_KEY, "workspace": "two", "virtual_keys": ["none*"]},
]


async def batch_there(served: Served, batch_id: str = BATCH_ID, **columns: Any) -> None:
    if await served.gateway.registry.read(batches.by_state) == {}:
        await put_file(served.gateway.registry)
    await put_batch(served.gateway.registry, batch_id, **columns)


def move(conn: Connection, state: str, now: float) -> None:
    """End a batch as the engine does, whose rows are all there."""
    batch = batches.get(conn, BATCH_ID)
    assert batch is not None
    batches.end(conn, batches.move(conn, batch, "merging"), state, now)


async def told(answer: aiohttp.ClientResponse) -> list[tuple[str, Any]]:
    """Return the events of a stream that ends."""
    return list(parsed(await answer.text()))


def parsed(text: str) -> Iterator[tuple[str, Any]]:
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            yield lines["event"], json.loads(lines["data"])


# ---- the files ----


def test_the_files_are_few_small_and_hold_no_code_of_others() -> None:
    found = ui.assets()
    assert {"index.html", "app.js", "style.css", "icon.svg"} <= set(found)
    assert sum(len(each.content) for each in found.values()) < MOST_BYTES
    for name, each in found.items():
        text = each.content.decode()
        assert "http://" not in text.replace("http://www.w3.org/", ""), name
        assert "https://" not in text, name
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage"):
            assert forbidden not in text, name
    page = found["index.html"].content.decode()
    assert " style=" not in page
    assert " on" not in page.replace(" only", "")
    assert page.count("<script") == page.count('<script type="module" src="app.js"></script>') == 1


async def test_the_page_has_its_policy_and_is_asked_for_again(tmp_path: Path) -> None:
    async with running(tmp_path) as served, served.session.get(f"{served.url}/ui") as page:
        assert page.url.path == "/ui/"
        assert page.headers["Content-Security-Policy"] == ui.CSP
        assert "'unsafe" not in ui.CSP
        assert (page.status, page.content_type) == (200, "text/html")
        asked = {"If-None-Match": page.headers["ETag"]}
        async with served.session.get(f"{served.url}/batch-ui/index.html", headers=asked) as again:
            assert (again.status, await again.read()) == (304, b"")
        async with served.session.get(f"{served.url}/ui/app.js") as script:
            assert script.content_type == "text/javascript"
        for path in ("/ui/none.js", "/ui/..%2fapi%2fui.py", "/ui/__init__.py"):
            async with served.session.get(URL(served.url + path, encoded=True)) as none:
                assert none.status == 404


async def test_in_front_of_another_the_page_has_a_path_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path, server={"upstream": "http://127.0.0.1:9"}) as served:
        async with served.session.get(f"{served.url}/batch-ui/") as page:
            assert page.status == 200
        async with served.session.get(f"{served.url}/ui/", headers=WHO) as theirs:
            assert theirs.status == 502, "it is the upstream's, which is not there"


# ---- streams ----


async def test_a_batch_that_has_ended_is_told_whole_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await batch_there(served)
        await served.gateway.registry.write(move, "completed", 1_700_000_100.5)
        async with served.session.get(f"{served.url}/v1/batches/{BATCH_ID}/events", headers=WHO) as answer:
            assert answer.content_type == "text/event-stream"
            found = await told(answer)
    assert [name for name, _ in found] == ["batch", "timeline", "timeline", "end"]
    assert found[0][1]["status"] == "completed"
    assert "jobs" not in found[0][1]
    assert [each["what"] for name, each in found if name == "timeline"] == ["created", "completed"]


async def test_what_changes_is_told_until_all_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_events, "LOOK_SECONDS", 0.01)
    async with running(tmp_path) as served:
        await batch_there(served, total=2)
        await put_part(served.gateway.registry, BATCH_ID, state="running", lines=2)
        url = f"{served.url}/v1/batches/{BATCH_ID}/events?include=jobs"
        async with served.session.get(url, headers=WHO) as answer:
            [(name, batch)] = parsed((await answer.content.readuntil(b"\n\n")).decode())
            assert (name, batch["status"], batch["jobs"][0]["status"]) == ("batch", "in_progress", "running")
            assert (await answer.content.readuntil(b"\n\n")).startswith(b"id: 1\nevent: timeline")
            await served.gateway.registry.write(counted)
            [(name, batch)] = parsed((await answer.content.readuntil(b"\n\n")).decode())
            assert batch["jobs"][0]["request_counts"] == {"total": 2, "completed": 1, "failed": 0}
            await served.gateway.registry.write(move, "completed", 1_700_000_100.0)
            rest = await told(answer)
    assert [name for name, _ in rest] == ["batch", "timeline", "end"]


async def test_many_batches_are_told_in_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_events, "LOOK_SECONDS", 0.01)
    other = "batch_00000000000000aa"
    async with running(tmp_path) as served:
        await batch_there(served)
        await batch_there(served, other, state="completed", completed_at=1)
        async with served.session.get(
            f"{served.url}/v1/batches/events?id={BATCH_ID}&id={other}", headers=WHO
        ) as answer:
            seen = [next(parsed((await answer.content.readuntil(b"\n\n")).decode()))[1]["id"] for _ in range(2)]
            assert set(seen) == {BATCH_ID, other}
            await served.gateway.registry.write(move, "failed", 1_700_000_100.0)
            rest = await told(answer)
    assert [(name, each.get("status")) for name, each in rest] == [("batch", "failed"), ("end", None)]


def counted(conn: Connection) -> None:
    part = parts.get(conn, BATCH_ID, 0)
    assert part is not None
    parts.change(conn, part, completed=1)


async def test_a_stream_goes_on_behind_the_last_event(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await batch_there(served)
        await served.gateway.registry.write(move, "cancelled", 1_700_000_100.0)
        asked = WHO | {"Last-Event-ID": "1"}
        async with served.session.get(f"{served.url}/v1/batches/{BATCH_ID}/events", headers=asked) as answer:
            found = await told(answer)
    assert [each["what"] for name, each in found if name == "timeline"] == ["cancelled"]


async def test_one_workspace_has_so_many_streams_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_events, "MOST_EACH", 1)
    async with running(tmp_path) as served:
        await batch_there(served)
        url = f"{served.url}/v1/batches/{BATCH_ID}/events"
        async with served.session.get(url, headers=WHO) as first:
            await first.content.readuntil(b"\n\n")
            status, answer, _ = await served.call("GET", f"/v1/batches/{BATCH_ID}/events", headers=WHO)
            assert (status, "streams" in answer["error"]["message"]) == (429, True)
        async with served.session.head(url, headers=WHO) as head:
            assert head.status == 200, "it is no stream"


@pytest.mark.parametrize("query", ["", "?" + "&".join(f"id=batch_{n:016x}" for n in range(101))])
async def test_a_stream_of_none_or_too_many_is_refused(tmp_path: Path, query: str) -> None:
    async with running(tmp_path) as served:
        status, answer, _ = await served.call("GET", f"/v1/batches/events{query}", headers=WHO)
        assert (status, answer["error"]["param"]) == (400, "id")


@pytest.mark.parametrize("path", ["/events", "/timeline", "/outcomes", "/plan", "s/events?id="])
async def test_another_workspace_is_told_nothing(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as served:
        await batch_there(served)
        whole = f"/v1/batches/events?id={BATCH_ID}" if path[0] == "s" else f"/v1/batches/{BATCH_ID}{path}"
        status, answer, _ = await served.call("GET", whole, headers=OTHER)
        assert (status, answer["error"]["message"][:14]) == (404, "No batch found")


# ---- what happened ----


async def test_a_timeline_has_pages_and_places(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await batch_there(served)
        await put_part(served.gateway.registry, BATCH_ID, state="running")
        for what in ("split", "accepted", "outcome unknown", "rescued"):
            part = None if what == "split" else 0
            await served.gateway.registry.write(batches.event, BATCH_ID, part, 1_700_000_001.0, what, "said")
        status, first, _ = await served.call("GET", f"/v1/batches/{BATCH_ID}/timeline?limit=3", headers=WHO)
        _, second, _ = await served.call(
            "GET", f"/v1/batches/{BATCH_ID}/timeline?after={first['last_id']}", headers=WHO
        )
    assert (status, first["has_more"], second["has_more"]) == (200, True, False)
    assert [each["what"] for each in first["data"] + second["data"]] == [
        "created", "split", "accepted", "in_doubt", "rescued",
    ]  # fmt: skip
    assert "part" not in first["data"][1]
    assert {"provider": "openai", "virtual_key": "lane", "part": 0, "detail": "said"}.items() <= first["data"][
        2
    ].items()


async def test_batches_can_be_listed_by_status_and_time(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await batch_there(served, "batch_00000000000000aa", state="running")
        await batch_there(served, "batch_00000000000000bb", state="running", cancelling_at=1)
        await batch_there(served, "batch_00000000000000cc", state="completed", created_at=1_800_000_000)

        async def listed(query: str) -> list[str]:
            _, answer, _ = await served.call("GET", f"/v1/batches?{query}", headers=WHO)
            return [each["id"][-2:] for each in answer["data"]]

        assert await listed("status=in_progress") == ["aa"]
        assert await listed("status=cancelling&status=completed") == ["cc", "bb"]
        assert await listed("since=1750000000") == ["cc"]
        assert await listed("status=completed&limit=1&since=0") == ["cc"]
        for query, name in (("status=done", "status"), ("since=now", "since")):
            status, answer, _ = await served.call("GET", f"/v1/batches?{query}", headers=WHO)
            assert (status, answer["error"]["param"]) == (400, name)


# ---- sums ----


async def test_a_caller_is_told_who_it_is_and_what_it_may_name(tmp_path: Path) -> None:
    async with running(tmp_path, api_keys=KEYS) as served:
        _, mine, _ = await served.call("GET", "/v1/workspace", headers=WHO)
        _, theirs, _ = await served.call("GET", "/v1/workspace", headers=OTHER)
        assert (mine["name"], mine["caller"], mine["operator"]) == ("one", "first", True)
        assert [each["slug"] for each in mine["virtual_keys"]] == ["lane"]
        assert (theirs["name"], theirs["operator"], theirs["virtual_keys"]) == ("two", False, [])


async def test_figures_are_those_of_the_workspace(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        now = int(served.clock.now())
        await batch_there(served, created_at=now - 7200, state="completed", completed_at=now, completed=5, failed=2)
        await batch_there(served, "batch_00000000000000aa", created_at=now - 7200)
        await batch_there(served, "batch_00000000000000bb", workspace="two", created_at=now)
        _, found, _ = await served.call("GET", "/v1/workspace/figures", headers=WHO)
    assert found["batches"] == {"completed": 1, "in_progress": 1}
    hours = found["hours"]
    assert len(hours) == 24
    assert sum(each["created"] for each in hours) == 2
    assert (hours[-1]["completed_lines"], hours[-1]["failed_lines"], hours[-1]["open"]) == (5, 2, 1)
    assert (hours[-4]["open"], max(each["open"] for each in hours)) == (0, 2)


async def test_an_operator_sees_sums_of_all_and_others_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, api_keys=KEYS) as served:
        await batch_there(served)
        await put_part(served.gateway.registry, BATCH_ID, state="running", lines=7)
        await served.gateway.registry.write(
            batches.event, BATCH_ID, 0, served.clock.now(), "refused", "invalid_api_key"
        )
        status, answer, _ = await served.call("GET", "/v1/operator", headers=OTHER)
        assert (status, "operator: true" in answer["error"]["message"]) == (403, True)
        _, found, _ = await served.call("GET", "/v1/operator", headers=WHO)
    [account] = found["accounts"]
    assert (account["virtual_key"], account["in_flight"]) == ("lane", {"parts": 1, "lines": 7})
    assert (account["queued"], account["in_doubt"], account["polls"]["jobs"]) == ({"parts": 0, "lines": 0}, 0, 1)
    assert [(each["code"], each["parts"]) for each in account["errors"]] == [("invalid_api_key", 1)]
    assert {"free_bytes", "total_bytes", "full"} <= set(found["disk"])
    assert found["workers"]["count"] >= 1
    assert BATCH_ID not in json.dumps(found)
