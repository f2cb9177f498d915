"""The ledger of an ended batch: whole, chosen, paged; and how long it is kept."""

from __future__ import annotations

import json
import tracemalloc
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.api.batches.lines import Chosen, Selection
from proxy_plugin.engine.housekeeping import remove_ledgers
from proxy_plugin.gateway import Gateway as InProcess
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.storage.batch_folders import BatchFolders
from proxy_plugin.storage.blobs import LocalSource
from tests.support.lines import chat_lines, jsonl
from tests.support.raw_http import raw
from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import Served, running
from tests.support.stack import KEY, Gateway, lane

LINES = chat_lines(12, marker={2: "[[sandbox:error=400]]", 5: "[[sandbox:error=429]]", 8: "[[sandbox:missing]]"})
LINES[3]["custom_id"] = "\ud83d"  # half a pair, which JSON can carry
LINES[10]["body"]["model"] = "not-on-the-list"


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = lane(sandbox, models=["gpt-4.1-nano"])
    made = Gateway(tmp_path_factory.mktemp("lines"), {"lane": settings, "other": settings})
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def batch(gateway: Gateway) -> dict[str, Any]:
    source = b"\n" + jsonl(LINES)  # a blank first line: numbers are those of an editor
    return gateway.until(gateway.create(gateway.upload(source))["id"])


def lines(gateway: Gateway, batch: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = raw(gateway, "GET", f"/batches/{batch['id']}/lines{query}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/jsonl"), answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def test_every_line_is_told_in_input_order(gateway: Gateway, batch: dict[str, Any]) -> None:
    told = lines(gateway, batch)
    assert [(each["line"], each["custom_id"]) for each in told] == [
        (n + 2, line["custom_id"]) for n, line in enumerate(LINES)
    ]
    others = {2: "failed", 5: "failed", 8: "missing", 10: "rejected"}
    assert [each["outcome"] for each in told] == [others.get(n, "succeeded") for n in range(12)]
    assert (told[0]["provider"], told[0]["virtual_key"], told[0]["attempt"]) == ("openai", "lane", 1)
    assert told[0]["usage"]["output_tokens"] > 0
    assert told[10]["code"] == "model_not_allowed"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("?outcome=failed", [4, 7]),
        ("?outcome=failed&outcome=missing", [4, 7, 10]),
        ("?code=429", [7]),
        ("?outcome=failed&code=result_missing", []),
        ("?model=not-on-the-list", [12]),
        ("?provider=openai&virtual_key=lane&outcome=rejected", [12]),
        ("?virtual_key=other", []),
        ("?after=11", [12, 13]),
        ("?after=0&limit=2", [2, 3]),
        ("?after=3&limit=1", [4]),
        ("?after=4&limit=2&outcome=failed", [7]),
        ("?outcome=succeeded&limit=3&after=4", [5, 6, 8]),
        ("?limit=0", []),
        ("?after=13", []),
        ("?after=999999999999", []),
    ],
)
def test_lines_can_be_chosen(gateway: Gateway, batch: dict[str, Any], query: str, numbers: list[int]) -> None:
    assert [each["line"] for each in lines(gateway, batch, query)] == numbers


def test_a_model_is_chosen_by_callers_who_name_no_account(gateway: Gateway, batch: dict[str, Any]) -> None:
    """Elsewhere `model` in a query is LiteLLM's word for an account."""
    asked = {"x-portkey-api-key": KEY}
    request = urllib.request.Request(f"{gateway.url}/batches/{batch['id']}/lines?model=not-on-the-list", headers=asked)
    with urllib.request.urlopen(request) as answer:
        assert [json.loads(line)["line"] for line in answer] == [12]


def test_lines_are_counted_by_outcome_and_code(gateway: Gateway, batch: dict[str, Any]) -> None:
    found = [json.loads(raw(gateway, "GET", f"/batches/{batch['id']}/outcomes").body)["data"] for _ in range(2)]
    assert found[0] == found[1], "the second time they are remembered"
    told = {(each["outcome"], each.get("code")): (each["lines"], each["first_line"]) for each in found[0]}
    assert told["succeeded", None] == (8, 2)
    assert told["rejected", "model_not_allowed"] == (1, 12)
    assert sum(each["lines"] for each in found[0]) == 12
    assert [each["lines"] for each in found[0]] == sorted((each["lines"] for each in found[0]), reverse=True)


def test_a_batch_is_planned_again_and_told_what_calls_would_have_cost(gateway: Gateway, batch: dict[str, Any]) -> None:
    plan = gateway.call("GET", f"/batches/{batch['id']}/plan")
    assert plan["request_counts"] == {"total": 12, "valid": 11, "rejected": 1}
    assert [each["virtual_key"] for each in plan["targets"]] == ["lane"]
    shown = gateway.call("GET", f"/batches/{batch['id']}?include=jobs")
    assert shown["live_cost"] == pytest.approx(2 * shown["cost"])
    assert shown["jobs"][0]["live_cost"] == pytest.approx(shown["live_cost"])


def test_pages_go_through_every_line_once(gateway: Gateway, batch: dict[str, Any]) -> None:
    seen: list[dict[str, Any]] = []
    while page := lines(gateway, batch, f"?limit=5&after={seen[-1]['line'] if seen else 0}"):
        seen += page
    assert seen == lines(gateway, batch)


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=1.5", "limit=", "after=%D9%A3", "limit=1" + "0" * 12])
def test_a_wrong_number_is_400_by_name(gateway: Gateway, batch: dict[str, Any], query: str) -> None:
    answer = raw(gateway, "GET", f"/batches/{batch['id']}/lines?{query}")
    assert (answer.status, json.loads(answer.body)["error"]["param"]) == (400, query.partition("=")[0])


def test_a_batch_without_lines_says_why(gateway: Gateway) -> None:
    faulty = gateway.until(gateway.create(gateway.upload(b'{"custom_id": "a"}\n'))["id"])
    assert faulty["status"] == "failed"
    for what in ("lines", "outcomes"):
        answer = raw(gateway, "GET", f"/batches/{faulty['id']}/{what}")
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (409, "no_lines")


def test_the_ledger_is_kept_over_a_restart(gateway: Gateway, batch: dict[str, Any]) -> None:
    before = lines(gateway, batch)
    gateway.kill()
    gateway.start()
    assert lines(gateway, batch) == before


async def test_before_the_end_the_status_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, state="running", cancelling_at=1)
        for method, path in (("GET", "lines"), ("POST", "retry")):
            status, answer, headers = await served.call(method, f"/v1/batches/{BATCH_ID}/{path}")
            assert (status, answer["error"]["code"]) == (409, "batch_not_ended")
            assert "'cancelling'" in answer["error"]["message"]
            assert headers["x-should-retry"] == "false"


# ---- how long ----


def ledger(gateway: InProcess, batch_id: str = BATCH_ID) -> Path:
    folder = gateway.data_dir / "batches" / batch_id
    folder.mkdir(parents=True)
    path = folder / "ledger.jsonl"
    path.write_bytes(b'{"line":1}\n')
    return path


async def ended(served: Served) -> None:
    await put_file(served.gateway.registry)
    for file_id in ("file-out", "file-err"):
        await put_file(served.gateway.registry, file_id, purpose="batch_output")
    await put_batch(served.gateway.registry, state="completed", output_file_id="file-out", error_file_id="file-err")


async def removed(served: Served, file_id: str) -> None:
    query = "UPDATE files SET hidden_at = 1, removed_at = 1 WHERE id = ?"
    await served.gateway.registry.write(lambda conn: conn.execute(query, (file_id,)))


async def test_a_ledger_stays_until_both_result_files_are_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await ended(served)
        path = ledger(served.gateway)
        for file_id in ("file-out", "file-err"):
            await remove_ledgers(served.gateway, BatchFolders(served.gateway.data_dir))
            assert path.exists()
            await removed(served, file_id)
        await remove_ledgers(served.gateway, BatchFolders(served.gateway.data_dir))
        assert not path.parent.exists()
        status, answer, _ = await served.call("GET", f"/v1/batches/{BATCH_ID}/lines")
        assert (status, "were removed" in answer["error"]["message"]) == (404, True)


async def test_what_a_live_or_unknown_batch_has_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, state="running")
        path, other = ledger(served.gateway), ledger(served.gateway, "batch_unknown")
        await remove_ledgers(served.gateway, BatchFolders(served.gateway.data_dir))
        assert path.exists()
        assert other.exists()


# ---- long ledgers ----


TRIES = [
    {"line": 2, "outcome": "succeeded", "provider": "a", "virtual_key": "a", "model": "m"},
    {"line": 3, "custom_id": '"counts":false', "outcome": "failed", "provider": "a", "virtual_key": "a", "model": "m"},
    {"line": 4, "outcome": "failed", "provider": "a", "virtual_key": "a", "model": "m", "counts": False},
    {"line": 4, "outcome": "superseded", "provider": "b", "virtual_key": "b", "model": "m", "counts": False},
    {"line": 4, "outcome": "succeeded", "provider": "b", "virtual_key": "b", "model": "m"},
    {"line": 6, "outcome": "failed", "provider": "b", "virtual_key": "b", "model": "m"},
]


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection({}, 0, None), [0, 1, 4, 5]),
        (Selection({}, 0, None, attempts=True), [0, 1, 2, 3, 4, 5]),
        (Selection({}, 3, 1), [4]),
        (Selection({}, 3, 2, attempts=True), [2, 3]),
        (Selection({"outcome": frozenset({"failed"})}, 0, None), [1, 5]),
        (Selection({"outcome": frozenset({"failed"})}, 0, None, attempts=True), [1, 2, 5]),
    ],
)
def test_tries_that_do_not_count_are_told_where_they_are_asked_for(
    selection: Selection, told: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in TRIES))
    source = LocalSource(path)
    try:
        reader = Chosen(source, selection)
        blocks = list(iter(reader.block, None))
    finally:
        source.close()
    assert [json.loads(line) for line in b"".join(blocks).splitlines()] == [TRIES[n] for n in told]


def chosen(
    path: Path, after: int = 0, limit: int | None = None, outcomes: frozenset[str] = frozenset()
) -> Iterator[bytes]:
    reader = Selection({"outcome": outcomes} if outcomes else {}, after, limit)
    source = LocalSource(path)
    try:
        selection = Chosen(source, reader)
        while (block := selection.block()) is not None:
            yield block
    finally:
        source.close()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=60),
    gaps=st.lists(st.integers(1, 3), min_size=60, max_size=60),
    after=st.integers(0, 200),
    limit=st.none() | st.integers(0, 70),
)
def test_the_place_behind_a_number_is_found_whatever_lengths_lines_have(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], gaps: list[int], after: int, limit: int | None
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    numbers = [sum(gaps[: n + 1]) for n in range(len(sizes))]
    path.write_bytes(
        b"".join(b'{"line":%d,"x":"%s"}\n' % (n, b"y" * size) for n, size in zip(numbers, sizes, strict=True))
    )
    found = b"".join(chosen(path, after=after, limit=limit)).splitlines()
    assert [json.loads(line)["line"] for line in found] == [n for n in numbers if n > after][:limit]


def test_a_line_longer_than_a_block_is_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    rows = [b'{"line":%d,"x":"%s"}\n' % (n, b"y" * 700_000) for n in range(1, 4)]
    path.write_bytes(b"".join(rows))
    assert list(chosen(path, limit=9)) == rows


def test_a_long_ledger_is_chosen_from_in_constant_memory_by_short_turns(tmp_path: Path) -> None:
    told = {"custom_id": "x" * 20, "provider": "p", "virtual_key": "v", "model": "m", "outcome": "succeeded"}
    path = tmp_path / "ledger.jsonl"
    with path.open("wb") as file:
        for n in range(1, 200_001):
            file.write(
                msgspec.json.encode({"line": n} | told | ({"outcome": "failed"} if n % 50_000 == 0 else {})) + b"\n"
            )
    tracemalloc.start()
    blocks = list(filter(None, chosen(path, outcomes=frozenset({"failed"}))))
    turns = sum(1 for _ in chosen(path, outcomes=frozenset({"failed"})))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [json.loads(line)["line"] for line in b"".join(blocks).splitlines()] == [50_000, 100_000, 150_000, 200_000]
    assert peak < 3 * 2**20
    assert turns >= path.stat().st_size // (256 * 1024), "a thread's turn is one block"
