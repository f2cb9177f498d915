"""Work: what one workspace gives to the workers ends, and leaves a worker to the others."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.attacks.rig import Town, check, show
from tests.support.lines import chat_lines, jsonl
from tests.support.waiting import until

Json = dict[str, Any]
CLAUDE = "claude-haiku-4-5"
LONG = {False: 10_000, True: 1_000_000}  # lines of a file that is planned
PAID = 20_000  # lines whose answers take a worker about a second
WHILE = 40_000  # lines whose translation takes a while
HEAVY = {False: 1, True: 10}  # megabytes of a line
BATCHES = {False: 2, True: 20}
TEXT = {"type": "string"}


def spellings(size: int) -> Json:
    """Refer to one definition in as many spellings as fit."""
    count = size * 2**20 // 200

    def spelled(n: int) -> str:
        return "#/$defs/" + "".join("%64" if n >> bit & 1 else "d" for bit in range(17))

    held = {"type": "object", "properties": {f"q{i}": TEXT for i in range(count)}, "additionalProperties": False}
    members = {f"p{i}": {"$ref": spelled(i)} for i in range(count)}
    schema = {"type": "object", "properties": members, "additionalProperties": False, "$defs": {"d" * 17: held}}
    form = {"name": "n", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def tools(size: int) -> Json:
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": TEXT}}}
    return {"tools": [{"type": "function", "function": function}] * (size * 2**20 // 130)}


def unknown(size: int) -> Json:
    return {f"x{i}": 1 for i in range(size * 2**20 // 13)}


def nested(size: int) -> Json:
    inner: Json = {"type": "object", "properties": {f"p{i}": TEXT for i in range(size * 2**20 // 40)}}
    for _ in range(80):
        inner = {"type": "object", "definitions": {"x": inner}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": inner}}}


def halves(size: int) -> Json:
    return {"metadata": {"k" * (size * 2**19): {f"a{i}": "\ud83d" for i in range(size * 2**19 // 20)}}}


def turns(size: int) -> Json:
    said = [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]
    return {"messages": said * (size * 2**20 // 75)}


def pattern(size: int) -> Json:
    schema = {"type": "object", "properties": {"a": {**TEXT, "pattern": "(a+)+" * (size * 2**20 // 5)}}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}


def deep(size: int) -> Json:
    return {"metadata": json.loads("[" * 150 + "[]" + ",[]" * (size * 2**20 // 4) + "]" * 150)}


SHAPES: list[Callable[[int], Json]] = [spellings, unknown, nested, tools, halves, turns, pattern, deep]
SLICE = 3  # of them


def lines_of(shape: Callable[[int], Json], size: int) -> bytes:
    """Return two lines of a shape, about so many megabytes each."""
    lines = chat_lines(2, model=CLAUDE)
    for line in lines:
        line["body"] |= shape(size)
    return jsonl(lines)


def long_file(lines: int) -> bytes:
    return jsonl(chat_lines(lines, model=CLAUDE))


@pytest.fixture
def town(town: Town) -> Town:
    """The same, with workers that have started."""
    town.watch(0.1)
    return town


@pytest.mark.parametrize("shape", SHAPES, ids=lambda each: each.__name__)
def test_two_lines_stop_nobody(request: pytest.FixtureRequest, campaign: bool, shape: Callable[[int], Json]) -> None:
    """Whatever the lines are: they end within their bytes' time, and the victim has a worker meanwhile."""
    if not campaign and shape not in SHAPES[:SLICE]:
        pytest.skip("of the campaign")
    town: Town = request.getfixturevalue("town")
    attacker, content = town.tenant("attacker", "claude"), lines_of(shape, HEAVY[campaign])
    quiet = town.watch(1.0)
    with town.watching() as seen:
        file_id = attacker.upload(content)
        made = [attacker.create(file_id, metadata={"n": str(n)})["id"] for n in range(BATCHES[campaign])]
        states = Counter(attacker.until(each, seconds=600)["status"] for each in made)
    what = f"{len(made)} batches of two lines of {len(content) / 2e6:.1f} MB ({shape.__name__})"
    show(f"{what}: {dict(states)}", quiet, seen)
    check(quiet, seen)


@pytest.mark.timeout(900)  # six plans one after the other in one worker, each half a minute or more in the campaign
def test_plans_of_long_files_leave_a_worker_to_others(town: Town, campaign: bool) -> None:
    attacker = town.tenant("attacker", "claude")
    quiet = town.watch(1.0)
    file_id = attacker.upload(long_file(LONG[campaign]))

    def plan(_: int) -> int:
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}
        try:
            attacker.call("POST", "/batches/plan", body, timeout=600)
        except HTTPError as refusal:  # it has waited for its turn as long as a plan may
            return refusal.code
        return 200

    with town.watching() as seen, ThreadPoolExecutor(6) as threads:
        told = Counter(threads.map(plan, range(6)))
    show(f"6 plans of a long file at once, answered {dict(told)}", quiet, seen)
    check(quiet, seen)
    assert told[200] >= 1
    assert set(told) <= ({200, 503} if campaign else {200})


def test_a_cancel_ends_the_running_task(town: Town) -> None:
    """It says of each line that it was not sent, and translates none of those that are left."""
    attacker, count = town.tenant("attacker", "claude"), WHILE
    batch = attacker.create(attacker.upload(long_file(count)))
    until(lambda: splits(town), "the split has begun")
    attacker.call("POST", f"/batches/{batch['id']}/cancel")
    ended = attacker.until(batch["id"], seconds=300)
    assert '"split_ended"' in town.log.read_text(), "the split came to its own end"
    assert ended["status"] == "cancelled"
    assert ended["request_counts"] == {"total": count, "completed": 0, "failed": count}
    rows = [json.loads(row) for row in attacker.call("GET", f"/files/{ended['error_file_id']}/content").splitlines()]
    assert Counter(row["error"]["code"] for row in rows) == {"batch_cancelled": count}
    assert [row["custom_id"] for row in rows[:2]] == [line["custom_id"] for line in chat_lines(2)]
    told = attacker.call("GET", f"/batches/{batch['id']}/lines").splitlines()
    assert {json.loads(line)["outcome"] for line in told} == {"cancelled"}


def test_the_deadline_ends_the_running_task(town: Town) -> None:
    """A restart behind the window finds the batch in its split; nothing of it is translated any more."""
    attacker = town.tenant("attacker", "claude")
    batch = attacker.create(attacker.upload(long_file(WHILE)))
    until(lambda: splits(town), "the split has begun")
    town.kill()
    with sqlite3.connect(town.data / "registry.sqlite3") as database:
        database.execute("UPDATE batches SET expires_at = 1")
    database.close()
    town.start()
    ended = attacker.until(batch["id"], seconds=300)
    assert (ended["status"], ended["request_counts"]["failed"]) == ("expired", WHILE)


def test_a_deleted_file_is_scanned_no_further(town: Town) -> None:
    attacker = town.attacker
    file_id = attacker.upload(b'{"custom_id": "x"}\n' * 1_000_000)  # each is looked at twice, as it lacks a method
    attacker.call("DELETE", f"/files/{file_id}")
    until(lambda: '"scan_ended"' in town.log.read_text(), "the scan is ended")
    assert '"step_failed"' not in town.log.read_text()


def test_a_task_without_budget_fails_its_batch_and_does_not_come_again(town: Town) -> None:
    town.engine = {"task_seconds": 0.01, "task_seconds_per_mb": 0.01}
    town.kill()
    town.write_config()
    town.start()
    attacker = town.tenant("attacker", "claude")
    file_id = attacker.upload(long_file(200_000))
    batch = attacker.until(attacker.create(file_id)["id"], seconds=300)
    assert batch["status"] == "failed"
    assert [each["code"] for each in batch["errors"]["data"]] == ["work_budget_exceeded"]
    town.kill()
    town.start()
    assert attacker.call("GET", f"/batches/{batch['id']}")["status"] == "failed"
    assert town.log.read_text().count('"out_of_budget"') <= 1


def test_a_line_without_budget_becomes_an_error_row_and_others_go_on(town: Town) -> None:
    town.engine = {"line_seconds": 0.05, "line_seconds_per_mb": 0.001}
    town.kill()
    town.write_config()
    town.start()
    attacker, lines = town.tenant("attacker", "claude"), chat_lines(3, model=CLAUDE)
    lines[1]["body"] |= tools(6)
    file_id = attacker.upload(jsonl(lines))
    plan = attacker.call("POST", "/batches/plan", {"input_file_id": file_id, "endpoint": "/v1/chat/completions"})
    assert [(each["line"], each["code"]) for each in plan["errors"]["data"]] == [(2, "line_too_complex")]
    batch = attacker.until(attacker.create(file_id)["id"])
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    row = json.loads(attacker.call("GET", f"/files/{batch['error_file_id']}/content"))
    assert row["response"]["body"]["error"]["code"] == "line_too_complex"


@pytest.mark.parametrize("step", ["collect", "merge"])
def test_what_is_paid_for_is_brought_home_with_more_time_at_each_try(town: Town, step: str) -> None:
    town.kill()
    town.start(fail=f"{step}.before:1")
    lines = chat_lines(PAID)
    batch_id = town.attacker.create(town.attacker.upload(jsonl(lines)))["id"]
    until(lambda: not town.alive(), "the answers are paid for")
    town.engine = {"task_seconds": 0.02, "task_seconds_per_mb": 0.0001}
    town.write_config()
    town.start()
    ended = town.attacker.until(batch_id, seconds=300)
    assert (ended["status"], ended["request_counts"]["completed"]) == ("completed", PAID)
    rows = town.attacker.call("GET", f"/files/{ended['output_file_id']}/content").splitlines()
    assert [json.loads(row)["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    events = (json.loads(line) for line in town.log.read_text().splitlines() if line.startswith("{"))
    waits = [each["reason"] for each in events if each["event"] == "waiting"]
    assert "work_budget" in waits, "no try was too short"


def splits(town: Town) -> bool:
    """Tell whether a worker writes the documents of a batch, or what is left of that."""
    return any(town.data.glob("batches/*/split-*"))
