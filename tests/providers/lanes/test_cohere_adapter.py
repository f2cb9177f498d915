"""Cohere's adapter: its pure half by properties, the forms that nobody documents, and what its words prove."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.base import (
    Account,
    JobStatus,
    LineIn,
    LineRejected,
    PartFile,
    Row,
    Short,
    Submission,
    Target,
    TryLater,
)
from proxy_plugin.providers.http import Http
from proxy_plugin.providers.lanes.cohere.lane import COHERE, STATES, _may_be_used
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.providers.lanes.judging import JSON, status_of
from tests.support.waiting import answered

CHAT, EMBEDDINGS, MARK = "/v1/chat/completions", "/v1/embeddings", "0123456789"


def translated(endpoint: str, body: dict[str, Any]) -> Any:
    return COHERE.translate(LineIn("a", endpoint, json.dumps(body).encode(), "m"), Target())


def read(record: dict[str, Any], endpoint: str = CHAT, source: str = "part-00000.float.jsonl") -> Row:
    row = COHERE.row(json.dumps({"custom_id": "a", "model": "m", **record}).encode(), source, endpoint)
    assert row is not None
    return row


@given(st.dictionaries(st.text(), JSON))
def test_a_chat_body_goes_without_its_model(body: dict[str, Any]) -> None:
    expected = {key: value for key, value in body.items() if key != "model"}
    assert json.loads(translated(CHAT, {**body, "model": "m"}).data) == {"custom_id": "a", "body": expected}


@pytest.mark.parametrize("endpoint", ["/v2/chat", "/v2/embed"])
def test_a_body_in_coheres_words_goes_as_it_is(endpoint: str) -> None:
    body = b'{"model": "m", "inputs":[], "x": 1.0e0}'
    made = COHERE.translate(LineIn("a", endpoint, body, "m"), Target())
    assert made.data == b'{"custom_id":"a","body":{"inputs":[],"x":1.0e0}}'


TYPED = {"embeddings": {"int8": [[1]]}, "meta": {"billed_units": {"input_tokens": 7}}}
SAID = {"message": {"content": [{"type": "text", "text": "hi"}]}, "usage": {"tokens": {"input_tokens": 7}}}


@pytest.mark.parametrize(
    ("body", "endpoint"), [(TYPED, "/v2/embed"), (TYPED, EMBEDDINGS), (SAID, "/v2/chat")], ids=["own", "types", "chat"]
)
def test_an_answer_in_coheres_words_may_stay_so(body: dict[str, Any], endpoint: str) -> None:
    row = read({"body": body}, endpoint)
    assert row.usage is not None
    assert (row.ok, row.usage.input_tokens) == (True, 7)
    assert json.loads(row.response or b"")["body"] == body


def test_texts_go_as_inputs() -> None:
    made = translated(EMBEDDINGS, {"model": "embed-v4.0", "input": ["x", "y"], "dimensions": 256})
    body = json.loads(made.data)["body"]
    assert [each["content"][0]["text"] for each in body["inputs"]] == ["x", "y"]
    assert (made.inputs, made.partition, body["output_dimension"], "model" in body) == (2, "", 256, False)


def test_lines_that_want_base64_have_jobs_of_their_own() -> None:
    assert translated(EMBEDDINGS, {"model": "m", "input": "x", "encoding_format": "base64"}).partition == "base64"


def test_more_texts_than_a_record_holds_are_refused_by_name() -> None:
    with pytest.raises(LineRejected, match="96 texts") as error:
        translated(EMBEDDINGS, {"model": "m", "input": ["x"] * 97})
    assert error.value.param == "input"


@given(JSON, st.sampled_from([CHAT, EMBEDDINGS]))
def test_any_record_with_an_id_is_a_row(inside: Any, endpoint: str) -> None:
    for record in ({"body": inside}, {"error": inside}, {"body": {"message": inside, "embeddings": inside}}):
        row = read(record, endpoint)
        assert (row.response is None) != (row.error is None)
        assert row.ok or row.code


@pytest.mark.parametrize("as_text", [False, True])
def test_a_completion_is_read_as_an_object_and_as_its_text(as_text: bool) -> None:
    body = {"choices": [], "usage": {"prompt_tokens": 7}}
    row = read({"body": json.dumps(body, indent=1) if as_text else body})
    assert row.usage is not None
    assert (row.ok, row.model, row.usage.input_tokens) == (True, "m", 7)
    assert b"\n" not in (row.response or b"\n")
    assert json.loads(row.response or b"")["body"] == body


def test_an_answer_of_coheres_own_becomes_a_completion() -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "so "}, {"type": "text", "text": "it is"}]}
    tokens = {"input_tokens": 7.0, "output_tokens": 3}
    row = read({"body": {"id": "1", "finish_reason": "MAX_TOKENS", "message": message, "usage": {"tokens": tokens}}})
    (choice,) = json.loads(row.response or b"")["body"]["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("so it is", "length")
    assert row.usage is not None
    assert (row.usage.input_tokens, row.usage.output_tokens) == (7, 3)


def test_vectors_come_as_the_line_wanted_them() -> None:
    record = {"body": {"embeddings": {"float": [[0.5, -2.0]]}, "meta": {"billed_units": {"input_tokens": 4}}}}
    row = read(record, EMBEDDINGS)
    assert json.loads(row.response or b"")["body"]["data"][0]["embedding"] == [0.5, -2.0]
    assert row.usage is not None
    assert row.usage.input_tokens == 4
    packed = json.loads(read(record, EMBEDDINGS, "part-00000.base64.jsonl").response or b"")["body"]["data"][0]
    assert struct.unpack("<2f", base64.b64decode(packed["embedding"])) == (0.5, -2.0)


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"error": "no"}, "400"),
        ({"error": {"message": "no", "code": 422}}, "422"),
        ({"body": {"message": "no"}, "status_code": 500}, "500"),
        ({"body": "no"}, "400"),
        ({"body": None}, "empty_result"),
    ],
)
def test_failed_records_of_any_form_are_errors(record: dict[str, Any], code: str) -> None:
    row = read(record)
    assert (row.ok, row.code) == (False, code)


@given(st.sampled_from(sorted(STATES)), st.booleans())
async def test_every_word_has_its_state(word: str, wrapped: bool) -> None:
    batch = {"status": f"BATCH_STATUS_{word}", "name": f"pp-{MARK}"}
    status = await status_of(COHERE, {"batch": batch} if wrapped else batch)
    assert ((status.state, status.end), status.mark) == (STATES[word], MARK)


async def test_another_word_is_no_guess() -> None:
    with pytest.raises(TryLater):
        await status_of(COHERE, {"batch": {"status": "BATCH_STATUS_PAUSED"}})


async def test_a_failed_batch_says_why_and_where() -> None:
    refusal = (
        await status_of(COHERE, {"batch": {"status": "BATCH_STATUS_FAILED", "status_reason": "line 2: no"}})
    ).refusal
    assert refusal is not None
    assert ([each.record for each in refusal.lines], refusal.divisible) == ([2], True)


# Against the stand-in.


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(options={"cohere": {"run_seconds": 0.01, "validate_seconds": 0, "finalize_seconds": 0}}) as running:
        yield running


@pytest.fixture
async def account(sandbox: Sandbox) -> AsyncIterator[Account]:
    sandbox.control.reset()
    http = Http()
    settings = {"api_key": DEFAULT_KEY, "custom_host": sandbox.url("cohere")}
    yield Account("slug", COHERE.credentials.model_validate(settings), http)
    await http.close()


@pytest.fixture
def part(tmp_path: Path) -> PartFile:
    path = tmp_path / "lines"
    lines = (
        LineIn(f"{MARK}{n:08}", EMBEDDINGS, json.dumps({"model": "m", "input": "x"}).encode(), "m") for n in range(3)
    )
    path.write_bytes(b"".join(COHERE.translate(line, Target()).data + b"\n" for line in lines))
    return PartFile(MARK, path, path.stat().st_size, 3, "0" * 64, EMBEDDINGS, "embed-v4.0")


async def test_embeddings_go_and_come(account: Account, part: PartFile, sandbox: Sandbox, tmp_path: Path) -> None:
    job = await COHERE.create(account, Submission(part, await COHERE.stage(account, part, again=False)))

    async def ended() -> JobStatus | None:
        status = await COHERE.status(account, job, part)
        return status if status.end else None

    status = await answered(ended)
    (name,) = await COHERE.fetch(account, job, status, tmp_path)
    rows = [COHERE.row(line, name, EMBEDDINGS) for line in (tmp_path / name).read_bytes().splitlines()]
    assert sorted(row.native_id for row in rows if row) == [f"{MARK}{n:08}" for n in range(3)]
    assert all(row.ok and row.model == "embed-v4.0" for row in rows if row)
    assert not list(tmp_path.glob(".*.avro")), "the Avro file is gone"
    await COHERE.fetch(account, job, status, tmp_path)
    assert [each["op"] for each in sandbox.control.requests()].count("store.get") == 1, "what is whole is kept"


@pytest.mark.parametrize("kind", ["truncate", "truncate_chunked"])
async def test_a_part_that_breaks_off_is_short(
    account: Account, part: PartFile, sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    job = await COHERE.create(account, Submission(part, await COHERE.stage(account, part, again=False)))

    async def ended() -> JobStatus | None:
        status = await COHERE.status(account, job, part)
        return status if status.end else None

    status = await answered(ended)
    sandbox.control.faults([{"on": "store.get", "kind": kind, "bytes": 500, "times": None}])
    with pytest.raises((Short, TryLater)):
        await COHERE.fetch(account, job, status, tmp_path)
    assert not list(tmp_path.glob("part-*"))
    if kind == "truncate_chunked":  # the last reading takes what there is
        await COHERE.fetch(account, job, replace(status, last=True), tmp_path)


async def test_an_interrupted_upload_is_found_by_its_name(account: Account, part: PartFile, sandbox: Sandbox) -> None:
    first = await COHERE.stage(account, part, again=False)
    assert await COHERE.stage(account, part, again=True) == first
    assert [each["op"] for each in sandbox.control.requests()].count("datasets.create") == 1


def test_a_dataset_that_is_looked_into_for_hours_is_of_an_upload_that_broke_off() -> None:
    now = datetime.now(UTC)
    young, old = (now - timedelta(minutes=5)).isoformat(), (now - timedelta(hours=2)).isoformat()
    cases = [(word, made) for word in ("validated", "processing", "failed") for made in (young, old, None)]
    used = [case for case in cases if _may_be_used({"validation_status": case[0], "created_at": case[1]})]
    assert used == [case for case in cases[:6] if case != ("processing", old)]


async def test_an_upload_that_breaks_off_leaves_no_dataset_in_the_stand_in(
    account: Account, sandbox: Sandbox, part: PartFile
) -> None:
    base = urlsplit(sandbox.url("cohere"))
    _, writer = await asyncio.open_connection(base.hostname, base.port)
    head = f"POST {base.path}/v1/datasets?name=pp-{MARK}&type=batch-embed-v2-input HTTP/1.1\r\nhost: x\r\n"
    head += f"authorization: Bearer {DEFAULT_KEY}\r\ncontent-type: multipart/form-data; boundary=b\r\n"
    head += "content-length: 4000\r\n\r\n--b\r\ncontent-disposition: form-data; name=data; filename=a\r\n\r\n{}"
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    assert (await COHERE.stage(account, part, again=True))["dataset"]
    assert [each["op"] for each in sandbox.control.requests()].count("datasets.create") >= 1


async def test_a_lost_create_is_found_by_name_and_input(account: Account, part: PartFile) -> None:
    submission = Submission(part, await COHERE.stage(account, part, again=False))
    absent = await COHERE.find(account, submission)
    assert (absent.jobs, absent.control) == ((), True)
    job = await COHERE.create(account, submission)
    assert (await COHERE.find(account, submission)).jobs == (job,)
    other = Submission(part, await COHERE.stage(account, part, again=False))
    assert (await COHERE.find(account, other)).jobs == (), "a name is not enough"
    await COHERE.revoke(account, submission)
    assert not (await COHERE.find(account, submission)).control
