"""Voyage's stand-in over plain HTTP (the SDK has no batches): parameters of the job, times as texts, strict lines."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.openai.bodies import DIMENSIONS, vector
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.providers.sandbox.plain_http import Plain, jsonl
from tests.support.waiting import until

ENDS = {"completed", "failed", "cancelled"}
Json = dict[str, Any]


@pytest.fixture
def voyage(sandbox: Sandbox) -> Plain:
    return Plain(sandbox.url("voyage"))


def order(file: str, **changes: Any) -> Json:
    params = {"model": "voyage-3.5", "input_type": "document"}
    made = {"endpoint": "/v1/embeddings", "input_file_id": file, "completion_window": "12h", "request_params": params}
    return made | changes


def stored(voyage: Plain, lines: list[Json]) -> str:
    status, file = voyage.upload(jsonl(lines), ("purpose", "batch"))
    assert status == 200, file
    assert datetime.fromisoformat(file["created_at"]).tzinfo is not None
    return str(file["id"])


def ended(voyage: Plain, lines: list[Json], **changes: Any) -> Json:
    status, made = voyage.ask("POST", "batches", order(stored(voyage, lines), **changes))
    assert status == 200, made

    def seen() -> list[Json]:
        found = voyage.get(f"batches/{made['id']}")
        return [found] if found["status"] in ENDS else []

    return until(seen, "the end")[0]


def test_a_batch_runs_with_the_parameters_of_its_create(voyage: Plain) -> None:
    lines = [{"custom_id": f"r-{n}", "body": {"input": [f"text {n}", "another"]}} for n in range(3)]
    lines.append({"custom_id": "bad", "body": {"input": ["[[sandbox:error=400]]"]}})
    batch = ended(voyage, lines, request_params={"model": "voyage-3.5", "output_dimension": 4})
    assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 4, "completed": 3, "failed": 1})
    assert datetime.fromisoformat(batch["expected_completion_at"]) > datetime.fromisoformat(batch["created_at"])
    assert "expires_at" not in batch
    _, output = voyage.ask("GET", f"files/{batch['output_file_id']}/content")
    rows = {row["custom_id"]: row["response"]["body"] for row in map(json.loads, output.splitlines())}
    assert [each["embedding"] for each in rows["r-1"]["data"]] == [vector("text 1", 4), vector("another", 4)]
    assert rows["r-1"]["model"] == "voyage-3.5"
    assert set(rows["r-1"]["usage"]) == {"total_tokens"}
    _, error = voyage.ask("GET", f"files/{batch['error_file_id']}/content")
    assert "detail" in error["response"]["body"]
    assert DIMENSIONS != 4


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "a", "body": {"input": "x", "model": "voyage-3.5"}},
        {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}},
        {"custom_id": "a", "body": {"input": ["x"] * 1001}},
        {"custom_id": "a", "body": {"input": [""]}},
    ],
)
def test_a_line_with_more_than_its_texts_fails_the_batch(voyage: Plain, line: Json) -> None:
    batch = ended(voyage, [line])
    assert batch["status"] == "failed"
    assert batch["errors"]["data"][0]["message"].startswith("line 1: ")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"completion_window": "24h"}, 400),
        ({"endpoint": "/v1/chat/completions"}, 400),
        ({"request_params": {"model": "voyage-3.5", "encoding_format": "base64"}}, 422),
        ({"request_params": {"model": "gpt-4.1"}}, 400),
        ({"metadata": {"a": 1}}, 422),
        ({"metadata": {f"{n}": "x" for n in range(17)}}, 400),
        ({"output_expires_after": 3600}, 422),
        ({"input_file_id": "file-absent"}, 404),
    ],
)
def test_a_create_that_no_page_allows_is_refused_in_a_detail(voyage: Plain, changes: Json, status: int) -> None:
    file = stored(voyage, [{"custom_id": "a", "body": {"input": "x"}}])
    found, answer = voyage.ask("POST", "batches", order(file, **changes))
    assert (found, set(answer)) == (status, {"detail"})


def test_files_are_listed_without_a_cursor(voyage: Plain) -> None:
    ids = [stored(voyage, [{"custom_id": "a", "body": {"input": "x"}}]) for _ in range(3)]
    assert [file["id"] for file in voyage.get("files?purpose=batch&limit=10000&order=desc")["data"]] == ids[::-1]
    assert voyage.ask("GET", f"files?after={ids[0]}")[0] == 422
    assert voyage.ask("DELETE", f"files/{ids[0]}")[0] == 200
    assert voyage.ask("GET", f"files/{ids[0]}")[0] == 404
