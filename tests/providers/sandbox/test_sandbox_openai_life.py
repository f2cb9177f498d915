"""How batches live and end: progress, cancel, expiry, deleted inputs, caps, strangers, size."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI

from proxy_plugin.providers.sandbox.process import Sandbox, SandboxError

Make = Callable[..., Any]


def cancel(client: OpenAI, batch: Any) -> Any:
    return client.batches.cancel(batch.id)


def test_counts_grow_while_a_batch_runs(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=100, run_seconds=1000, finalize_seconds=100)
    batch = create([chat(f"{n}", "[[sandbox:error=400]]" if n < 4 else "hi") for n in range(10)])
    assert (batch.status, batch.request_counts.total, batch.errors) == ("validating", 0, None)
    sandbox.control.advance(101)
    batch = until(batch, "in_progress")
    assert batch.request_counts.to_dict() == {"total": 10, "completed": 0, "failed": 0}
    sandbox.control.advance(550)
    counts = client.batches.retrieve(batch.id).request_counts
    assert counts is not None
    assert counts.completed + counts.failed == 5
    assert sandbox.control.jobs()[0]["lines_run"] == 5
    sandbox.control.advance(450)
    batch = until(batch, "finalizing")
    assert batch.output_file_id is None
    sandbox.control.advance(100)
    batch = until(batch)
    assert (batch.status, batch.request_counts.to_dict()) == ("completed", {"total": 10, "completed": 6, "failed": 4})
    moments = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert [moment - moments[0] for moment in moments] == pytest.approx([0, 100, 1100, 1200], abs=1)


def test_an_ended_batch_may_tell_counts_before_its_files(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make, by_id: Make
) -> None:
    sandbox.control.options("openai", output_late=3, error_late=1)
    batch = until(create([chat("0", "[[sandbox:error=400]]"), chat("1")]))
    looks = [batch, *(client.batches.retrieve(batch.id) for _ in range(3))]
    assert {each.status for each in looks} == {"completed"}
    assert all(each.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1} for each in looks)
    assert [bool(each.output_file_id) for each in looks] == [False, False, False, True]
    assert [bool(each.error_file_id) for each in looks] == [False, True, True, True]
    output, errors = by_id(looks[-1])
    assert (set(output), set(errors)) == ({"1"}, {"0"})


def test_counts_may_be_told_that_cannot_be(sandbox: Sandbox, chat: Make, create: Make, until: Make) -> None:
    sandbox.control.options("openai", told_counts={"completed": 10**30, "failed": -1})
    batch = until(create([chat("0")]))
    assert batch.request_counts.to_dict() == {"total": 1, "completed": 10**30, "failed": -1}


def test_after_24_hours_the_unfinished_lines_expire(
    sandbox: Sandbox, chat: Make, create: Make, until: Make, by_id: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=0, run_seconds=2 * 86400)
    batch = create([chat(f"{n}") for n in range(9)])
    sandbox.control.advance(86399)
    assert until(batch, "in_progress").status == "in_progress"
    sandbox.control.advance(1)
    batch = until(batch)
    assert batch.status == "expired"
    assert batch.expired_at == batch.expires_at == batch.created_at + 86400
    output, errors = by_id(batch)
    assert (len(output), len(errors)) == (4, 5)
    assert set(output) | set(errors) == {f"{n}" for n in range(9)}
    assert {row["error"]["code"] for row in errors.values()} == {"batch_expired"}
    assert sandbox.control.jobs()[0]["lines_run"] == 4


def test_a_window_that_ends_before_validation_expires_every_line(
    sandbox: Sandbox, chat: Make, create: Make, until: Make, by_id: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=100, window_seconds=10)
    batch = create([chat("a"), chat("b")])
    sandbox.control.advance(11)
    batch = until(batch)
    output, errors = by_id(batch)
    assert (batch.status, batch.in_progress_at, output) == ("expired", None, {})
    assert {key: row["error"]["code"] for key, row in errors.items()} == {"a": "batch_expired", "b": "batch_expired"}
    assert sandbox.control.jobs()[0]["lines_run"] == 0


def test_a_jump_over_a_whole_life_gives_the_history_of_waiting(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=10, run_seconds=100, finalize_seconds=10)
    batch = create([chat("a")])
    sandbox.control.advance(40 * 86400)
    batch = until(batch)
    assert batch.status == "completed"
    assert batch.completed_at - batch.created_at in {119, 120, 121}
    with pytest.raises(openai.NotFoundError):  # results are kept for 30 days only
        client.files.content(batch.output_file_id)


def test_a_cancel_keeps_what_is_done(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make, by_id: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=0, run_seconds=1000, cancel_seconds=500)
    batch = create([chat(f"{n}") for n in range(10)])
    until(batch, "in_progress")
    sandbox.control.advance(350)
    batch = cancel(client, batch)
    assert (batch.status, batch.request_counts.completed) == ("cancelling", 3)
    assert client.batches.cancel(batch.id).status == "cancelling"
    sandbox.control.advance(501)
    batch = until(batch)
    assert batch.status == "cancelled"
    assert batch.cancelled_at - batch.cancelling_at in {499, 500, 501}
    assert batch.request_counts.to_dict() == {"total": 10, "completed": 3, "failed": 0}
    output, errors = by_id(batch)
    assert (len(output), len(errors)) == (3, 7)
    assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}
    assert batch.usage.input_tokens > 0
    with pytest.raises(openai.ConflictError) as late:
        client.batches.cancel(batch.id)
    assert late.value.type == "invalid_request_error"


def test_a_cancel_can_lose_a_finished_line(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make, rows: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=0, run_seconds=1000, cancel_loses=1)
    batch = create([chat(f"{n}") for n in range(5)])
    until(batch, "in_progress")
    sandbox.control.advance(210)
    assert cancel(client, batch).request_counts.to_dict() == {"total": 5, "completed": 1, "failed": 0}
    batch = until(batch)
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 0, "failed": 0}
    assert batch.output_file_id is None
    assert len(rows(batch.error_file_id)) == 4
    assert sandbox.control.jobs()[0]["lines_run"] == 1


def test_a_cancel_while_validating_runs_nothing(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make, rows: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=100)
    batch = create([chat("a"), chat("b")])
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = until(batch)
    assert (batch.status, batch.in_progress_at, batch.output_file_id) == ("cancelled", None, None)
    assert {row["custom_id"] for row in rows(batch.error_file_id)} == {"a", "b"}
    broken = create(b"{nope}\n")
    client.batches.cancel(broken.id)
    broken = until(broken)
    assert (broken.status, broken.error_file_id) == ("cancelled", None)


def test_an_input_deleted_before_validation_ends_fails_the_batch(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make
) -> None:
    sandbox.control.options("openai", validate_seconds=100, run_seconds=100)
    early, late = create([chat("a")]), create([chat("a")])
    client.files.delete(early.input_file_id)
    sandbox.control.advance(101)
    early = until(early)
    assert early.status == "failed"
    error = early.errors.data[0]
    assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
    until(late, "in_progress")
    client.files.delete(late.input_file_id)
    sandbox.control.advance(101)
    assert until(late).status == "completed"
    assert [job["lines_run"] for job in sandbox.control.jobs()] == [0, 1]


def test_unusable_input_files_fail_in_the_background(client: OpenAI, sandbox: Sandbox, until: Make) -> None:
    other = client.files.create(file=("a.jsonl", b"{}"), purpose="user_data").id
    for file_id in (other, "file-unknown"):
        batch = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
        assert batch.status == "validating"
        batch = until(batch)
        assert (batch.status, batch.errors.data[0].param) == ("failed", "file_id")
    assert [entry["lines"] for entry in sandbox.control.log()] == [1, None]


def test_the_token_cap_fails_a_batch_until_another_one_ends(
    sandbox: Sandbox, chat: Make, create: Make, until: Make, run: Make
) -> None:
    sandbox.control.options("openai", enqueued_token_cap=25, run_seconds=1000)
    first = create([chat("a")])
    until(first, "in_progress")
    second = until(create([chat("a")]))
    error = second.errors.data[0]
    assert (second.status, error.code, error.line) == ("failed", "token_limit_exceeded", None)
    assert until(create([chat("a", model="another")]), "in_progress").status == "in_progress"
    sandbox.control.advance(1001)
    until(first)
    assert until(create([chat("a")]), "in_progress").status == "in_progress"


def test_creations_and_uploads_are_rate_limited(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, upload: Make
) -> None:
    sandbox.control.options("openai", creates_per_hour=1, uploads_per_minute=3)
    create([chat("a")])
    with pytest.raises(openai.RateLimitError) as limited:
        create([chat("a")])
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.response.headers["retry-after"] == "1"
    assert len(sandbox.control.log()) == 1
    sandbox.control.advance(3600)
    create([chat("a")])
    upload(b"{}"), upload(b"{}")
    with pytest.raises(openai.RateLimitError):
        upload(b"{}")


def test_strangers_show_in_the_account_but_not_in_the_log(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make, rows: Make
) -> None:
    mine = create([chat("a")])
    made = sandbox.control.strangers(batches=2, lines=3, metadata={"whose": "theirs"})
    assert [batch.id for batch in client.batches.list()] == [*made["batches"][::-1], mine.id]
    assert {file.id for file in client.files.list(purpose="batch")} == {*made["files"], mine.input_file_id}
    theirs = until(client.batches.retrieve(made["batches"][0]))
    assert (theirs.metadata, len(rows(theirs.output_file_id))) == ({"whose": "theirs"}, 3)
    assert [entry["batch_id"] for entry in sandbox.control.log()] == [mine.id]
    assert [job["stranger"] for job in sandbox.control.jobs()] == [False, True, True]
    with pytest.raises(SandboxError):
        sandbox.control.strangers(key="sk-nobody")


def test_a_large_batch_runs_in_a_process_of_its_own(
    client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make, rows: Make
) -> None:
    lines = [chat(f"{n}", "[[sandbox:error=500]]" if n % 10 == 0 else f"text {n}") for n in range(8000)]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert len(data) > 1_000_000
    batch = until(create(data))
    assert batch.request_counts.to_dict() == {"total": 8000, "completed": 7200, "failed": 800}
    found = Counter(row["custom_id"] for name in (batch.output_file_id, batch.error_file_id) for row in rows(name))
    assert found == Counter(line["custom_id"] for line in lines)


def test_the_same_seed_gives_the_same_order(sandbox: Sandbox, chat: Make, run: Make, rows: Make) -> None:
    def order(seed: int) -> list[str]:
        sandbox.control.reset()
        sandbox.control.options("openai", seed=seed)
        return [row["custom_id"] for row in rows(run([chat(f"{n}") for n in range(30)]).output_file_id)]

    assert order(1) == order(1) != order(2)
