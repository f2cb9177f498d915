"""The OpenAI stand-in, driven by OpenAI's official SDK: files, batches, pages, error classes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Batch

from proxy_plugin.providers.sandbox.answers import expected_text, expected_usage
from proxy_plugin.providers.sandbox.process import Sandbox

Make = Callable[..., Any]
CHAT = "/v1/chat/completions"
ABSENT = "batch_" + "0" * 32


def test_a_file_comes_back_as_it_was_sent(client: OpenAI) -> None:
    data = bytes(range(256)) * 3000 + b"\r\n--not-the-boundary\r\n"
    made = client.files.create(file=('späte "Datei".bin', data), purpose="user_data")
    assert (made.bytes, made.filename, made.purpose) == (len(data), 'späte "Datei".bin', "user_data")
    assert made.expires_at is None
    assert client.files.retrieve(made.id) == made
    answer = client.files.content(made.id)
    assert answer.content == data
    assert answer.response.headers["content-length"] == str(len(data))
    assert answer.response.headers["content-disposition"].startswith('attachment; filename="sp_te _Datei_.bin"')


def test_batch_files_expire_after_thirty_days_or_as_asked(client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    made = client.files.retrieve(upload(b"{}\n"))
    assert made.expires_at == made.created_at + 30 * 86400
    short = client.files.create(
        file=("a.jsonl", b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert short.expires_at == short.created_at + 3600
    sandbox.control.advance(3601)
    assert [file.id for file in client.files.list()] == [made.id]
    with pytest.raises(openai.NotFoundError):
        client.files.content(short.id)


def test_a_deleted_file_is_gone(client: OpenAI, upload: Make) -> None:
    file_id = upload(b"{}\n")
    assert client.files.delete(file_id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as error:
            call(file_id)
        assert error.value.type == "invalid_request_error"


def test_file_pages_are_walked_in_both_orders(client: OpenAI, upload: Make) -> None:
    ids = [upload(b"{}\n", f"{number}.jsonl") for number in range(5)]
    client.files.create(file=("x.txt", b"x"), purpose="user_data")
    assert [file.id for file in client.files.list(limit=2, order="asc", purpose="batch")] == ids
    assert [file.id for file in client.files.list(limit=2, purpose="batch")] == ids[::-1]
    assert len(list(client.files.list())) == 6
    page = client.files.list(limit=2, order="asc", after=ids[0])
    assert ([file.id for file in page.data], page.has_more) == (ids[1:3], True)


def test_a_batch_runs_and_every_answer_is_the_answer_to_its_line(
    client: OpenAI, sandbox: Sandbox, chat: Make, run: Make, by_id: Make
) -> None:
    lines = [chat(f"line {number}/é—🙂", f"question {number}") for number in range(20)]
    batch = run(lines, metadata={"job": "42"})
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 20, "completed": 20, "failed": 0}
    assert (batch.model, batch.metadata, batch.error_file_id) == ("gpt-4.1-nano", {"job": "42"}, None)
    assert batch.expires_at == batch.created_at + 86400
    output, _ = by_id(batch)
    assert list(output) != [line["custom_id"] for line in lines], "rows must not come in input order"
    for line in lines:
        response = output[line["custom_id"]]["response"]
        assert response["body"]["choices"][0]["message"]["content"] == expected_text(CHAT, line["body"])
        assert response["body"]["usage"] == expected_usage(CHAT, line["body"])
    spent = [expected_usage(CHAT, line["body"]) for line in lines]
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(one["prompt_tokens"] for one in spent)
    assert batch.usage.output_tokens == sum(one["completion_tokens"] for one in spent)
    file = client.files.retrieve(str(batch.output_file_id))
    assert (file.purpose, file.expires_at) == ("batch_output", file.created_at + 30 * 86400)


async def test_the_async_client_does_the_same(async_client: AsyncOpenAI, sandbox: Sandbox, chat: Make) -> None:
    data = b"".join(json.dumps(chat(f"r-{number}")).encode() + b"\n" for number in range(3))
    file = await async_client.files.create(file=("a.jsonl", data), purpose="batch")
    batch = await async_client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )
    while batch.status != "completed":
        await asyncio.sleep(0.01)
        batch = await async_client.batches.retrieve(batch.id)
    output = await async_client.files.retrieve(str(batch.output_file_id))
    assert output.expires_at == output.created_at + 7200
    text = (await async_client.files.content(output.id)).text
    assert {json.loads(row)["custom_id"] for row in text.splitlines()} == {"r-0", "r-1", "r-2"}
    assert [each.id async for each in async_client.batches.list()] == [batch.id]
    await async_client.files.delete(file.id)
    assert [each.id async for each in async_client.files.list()] == [output.id]


def test_batch_pages_are_newest_first(client: OpenAI, chat: Make, create: Make) -> None:
    ids = [create([chat("a")]).id for _ in range(5)]
    assert [batch.id for batch in client.batches.list(limit=2)] == ids[::-1]
    page = client.batches.list(limit=2, after=ids[3])
    assert ([batch.id for batch in page.data], page.has_more) == (ids[1:3][::-1], True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_errors_become_the_classes_of_the_sdk(client: OpenAI, sandbox: Sandbox, status: int) -> None:
    sandbox.control.faults([{"on": "batches.list", "kind": "status", "status": status, "code": "some_code"}])
    with pytest.raises(openai.APIStatusError) as error:
        client.batches.list()
    classes = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        409: openai.ConflictError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
    }
    assert type(error.value) is classes.get(status, openai.InternalServerError)
    assert (error.value.code, error.value.status_code) == ("some_code", status)
    assert error.value.request_id


def test_unknown_things_and_keys_are_refused(client: OpenAI, sandbox: Sandbox) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.batches.retrieve(ABSENT)
    assert missing.value.code is None
    assert missing.value.body == {
        "message": f"No batch found with id '{ABSENT}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    with OpenAI(base_url=sandbox.url(), api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.files.create(file=("a.jsonl", b"{}"), purpose="batch")
        assert refused.value.code == "invalid_api_key"


def test_another_account_sees_nothing(client: OpenAI, sandbox: Sandbox, chat: Make, create: Make, until: Make) -> None:
    batch: Batch = until(create([chat("a")]))
    with OpenAI(base_url=sandbox.url(), api_key="sk-other", max_retries=0) as other:
        assert list(other.files.list()) == []
        assert list(other.batches.list()) == []
        for call in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                call(batch.id)
        for read in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError):
                read(str(batch.output_file_id))
        foreign = other.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while foreign.status == "validating":
            foreign = other.batches.retrieve(foreign.id)
    assert foreign.status == "failed"
    assert foreign.errors is not None
    assert foreign.errors.data is not None
    assert (foreign.errors.data[0].code, foreign.errors.data[0].param) == ("invalid_request", "file_id")


def test_a_rotated_key_keeps_or_changes_the_account(client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    sandbox.control.keys(["team=sk-sandbox"])
    file_id = upload(b"{}\n")
    assert sandbox.control.keys(["team=sk-rotated"]) == ["team"]
    with pytest.raises(openai.AuthenticationError):
        client.files.retrieve(file_id)
    with OpenAI(base_url=sandbox.url(), api_key="sk-rotated", max_retries=0) as rotated:
        assert rotated.files.retrieve(file_id).id == file_id
