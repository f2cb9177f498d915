"""A retry is a new batch of exactly the lines that failed, however often it is asked for and whatever dies."""

from __future__ import annotations

import json
import random
import signal
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.api.batches.retry import retry_name
from proxy_plugin.lines.line_index import IndexWriter
from proxy_plugin.lines.sources import failed_lines
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.accounting import check_own_answer
from tests.support.folders import files_below
from tests.support.lines import chat_lines, jsonl
from tests.support.raw_http import raw
from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import running
from tests.support.stack import KEY, Gateway, GatewayGone, lane
from tests.support.stand_ins import QUICK

FAILING = {2: "[[sandbox:error=400]]", 5: "[[sandbox:error=429]]", 8: "[[sandbox:missing]]"}
LINES = chat_lines(12, marker=FAILING)
LINES[10]["body"]["model"] = "not-on-the-list"
FAILED = [*FAILING, 10]
NARROW_KEY = "key-for-one-account-only"
PICKY_KEY = "key-for-one-model-only"
STRANGE = b'  {"custom_id":"line\\/5 \\ud83d", "method" :"POST","url":"/v1/chat/completions","body":%b}  '
BLIND = {"x-portkey-api-key": KEY, "x-portkey-virtual-key": "", "x-portkey-trace-id": "t"}


def source() -> bytes:
    """Return the lines with blank ones between, CRLF endings, an id in odd spelling and no last line break."""
    written = [json.dumps(line, ensure_ascii=n % 2 == 0).encode() for n, line in enumerate(LINES)]
    written[5] = STRANGE % json.dumps(LINES[5]["body"]).encode()
    return b"\r\n\n".join(written)


def failed_bytes() -> bytes:
    lines = [line for line in source().split(b"\n") if line.strip()]
    return b"".join(lines[n].removesuffix(b"\r") + b"\n" for n in FAILED)


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    narrow = {"name": "narrow", "key": NARROW_KEY, "virtual_keys": ["wide"]}  # of the same workspace
    other = {"name": "picky", "key": PICKY_KEY, "models": ["another-model"]}
    configs = {"pc-wide": {"virtual_key": "wide"}}
    made = Gateway(tmp_path_factory.mktemp("retry"), keys(sandbox), api_keys=[narrow, other], configs=configs)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def batch(gateway: Gateway) -> dict[str, Any]:
    """A batch that has ended with failed lines of every kind."""
    return ended(gateway)


def keys(sandbox: Sandbox) -> dict[str, Any]:
    narrow = lane(sandbox, models=["gpt-4.1-nano"])
    return {"lane": narrow, "wide": lane(sandbox)}


def ended(gateway: Gateway, **more: Any) -> dict[str, Any]:
    made = gateway.create(gateway.upload(source(), "my lines.jsonl"), metadata={"team": "data"}, **more)
    return gateway.until(made["id"])


def retry(
    gateway: Gateway, batch: Mapping[str, Any], body: object = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    content = None if body is None else json.dumps(body).encode()
    answer = raw(gateway, "POST", f"/batches/{batch['id']}/retry", BLIND | dict(headers or {}), content)
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


def refused(gateway: Gateway, batch: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    answer = raw(gateway, "POST", f"/batches/{batch['id']}/retry", BLIND | dict(headers or {}), b"{}")
    return answer.status, json.loads(answer.body)["error"]


def content(gateway: Gateway, batch: Mapping[str, Any]) -> bytes:
    return raw(gateway, "GET", f"/files/{batch['input_file_id']}/content").body


def file_count(gateway: Gateway) -> int:
    return len(gateway.call("GET", "/files")["data"])


def blobs(gateway: Gateway) -> set[str]:
    return {path.name for path in files_below(gateway.data / "files") if not path.suffix}


# ---- what a retry is ----


def test_a_retry_holds_exactly_the_failed_lines(gateway: Gateway, batch: dict[str, Any]) -> None:
    assert batch["request_counts"] == {"total": 12, "completed": 8, "failed": 4}
    made = retry(gateway, batch)
    assert made["id"] != batch["id"]
    assert (made["metadata"], made["endpoint"]) == ({"team": "data"}, batch["endpoint"])
    assert content(gateway, made) == failed_bytes()
    file = gateway.call("GET", f"/files/{made['input_file_id']}")
    assert (file["filename"], file["purpose"]) == ("my lines.retry.jsonl", "batch")
    again = gateway.until(made["id"])
    assert again["request_counts"] == {"total": 4, "completed": 0, "failed": 4}, "they fail for the same reasons"
    first, second = gateway.rows(batch["error_file_id"]), gateway.rows(again["error_file_id"])
    assert [row["custom_id"] for row in second] == [row["custom_id"] for row in first]
    third = retry(gateway, again)
    assert gateway.call("GET", f"/files/{third['input_file_id']}")["filename"] == "my lines.retry2.jsonl"


def test_headers_may_name_another_target_and_the_body_other_metadata(gateway: Gateway, batch: dict[str, Any]) -> None:
    made = retry(gateway, batch, {"metadata": {"try": "2"}}, {"x-portkey-virtual-key": "wide"})
    assert made["metadata"] == {"try": "2"}
    told = gateway.until(made["id"])
    lines = raw(gateway, "GET", f"/batches/{made['id']}/lines").body.splitlines()
    assert {json.loads(line)["virtual_key"] for line in lines} == {"wide"}
    assert told["request_counts"]["total"] == 4


@pytest.mark.parametrize("config", [{"virtual_key": "wide"}, "pc-wide"])
def test_a_config_of_the_body_names_another_target(gateway: Gateway, batch: dict[str, Any], config: Any) -> None:
    made = gateway.until(retry(gateway, batch, {"config": config, "lines": "rejected"})["id"])
    (line,) = raw(gateway, "GET", f"/batches/{made['id']}/lines").body.splitlines()
    assert (json.loads(line)["virtual_key"], json.loads(line)["model"]) == ("wide", "not-on-the-list")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"virtual_key": "nobody"}, "Following keys are not valid: nobody"),
        ({"strategy": {"mode": "loadbalance"}}, "Invalid config passed: targets"),
        ("pc-nothing", "'config' takes JSON, or the id of a saved config"),
        (7, "Invalid type for 'config'"),
        ("", "'config' is empty"),
    ],
)
def test_a_config_of_the_body_that_cannot_be_is_named(
    gateway: Gateway, batch: dict[str, Any], config: Any, says: str
) -> None:
    answer = raw(gateway, "POST", f"/batches/{batch['id']}/retry", BLIND, json.dumps({"config": config}).encode())
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["param"]) == (400, "config")
    assert says in error["message"]


def test_a_config_is_said_once(gateway: Gateway, batch: dict[str, Any]) -> None:
    headers = BLIND | {"x-portkey-config": "pc-wide"}
    answer = raw(gateway, "POST", f"/batches/{batch['id']}/retry", headers, b'{"config": "pc-wide"}')
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["param"]) == (400, "config")
    assert "say it once" in error["message"]


def test_lines_are_taken_by_number_and_by_outcome(gateway: Gateway, batch: dict[str, Any]) -> None:
    told = [json.loads(line) for line in raw(gateway, "GET", f"/batches/{batch['id']}/lines").body.splitlines()]
    ends = {each["outcome"]: [row["line"] for row in told if row["outcome"] == each["outcome"]] for each in told}
    written = {n: line for n, line in enumerate(source().split(b"\n"), 1) if line.strip()}

    def lines(numbers: list[int]) -> bytes:
        return b"".join(written[n].removesuffix(b"\r") + b"\n" for n in sorted(numbers))

    named = [ends["succeeded"][0], ends["missing"][0]]
    assert content(gateway, retry(gateway, batch, {"lines": named})) == lines(named)
    for outcomes in (["missing"], ["succeeded", "rejected"]):
        wanted = [n for outcome in outcomes for n in ends[outcome]]
        assert content(gateway, retry(gateway, batch, {"lines": outcomes})) == lines(wanted)
    one = retry(gateway, batch, {"lines": named}, {"Idempotency-Key": "n"})
    assert retry(gateway, batch, {"lines": named[::-1]}, {"Idempotency-Key": "n"})["id"] == one["id"]
    other = raw(gateway, "POST", f"/batches/{batch['id']}/retry", BLIND | {"Idempotency-Key": "n"}, b"{}")
    assert other.status == 422


@pytest.mark.parametrize(
    ("lines", "code", "says"),
    [([2], "invalid_value", "no request with number 2"), ("expired", "nothing_to_retry", "failed, missing, rejected")],
)
def test_lines_that_there_are_not_are_named(
    gateway: Gateway, batch: dict[str, Any], lines: Any, code: str, says: str
) -> None:
    answer = raw(gateway, "POST", f"/batches/{batch['id']}/retry", BLIND, json.dumps({"lines": lines}).encode())
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["param"]) == (400, code, "lines")
    assert says in error["message"]


def test_lines_that_named_their_account_do_so_again(gateway: Gateway) -> None:
    lines = chat_lines(4, marker={1: "[[sandbox:error=400]]", 2: "[[sandbox:error=400]]"})
    for n, line in enumerate(lines):
        line["body"]["model"] = f"@{'wide' if n % 2 else 'lane'}/gpt-4.1-nano"
    body = {"input_file_id": gateway.upload(jsonl(lines)), "endpoint": "/v1/chat/completions"}
    answer = raw(gateway, "POST", "/batches", BLIND, json.dumps(body).encode())
    batch = gateway.until(json.loads(answer.body)["id"])
    made = gateway.until(retry(gateway, batch)["id"])
    told = [json.loads(line) for line in raw(gateway, "GET", f"/batches/{made['id']}/lines").body.splitlines()]
    assert [(line["custom_id"], line["virtual_key"]) for line in told] == [
        (lines[1]["custom_id"], "wide"),
        (lines[2]["custom_id"], "lane"),
    ]


def test_a_config_with_several_targets_is_kept_for_the_retry(gateway: Gateway) -> None:
    lines = chat_lines(20, marker=dict.fromkeys(range(20), "[[sandbox:error=400]]"))
    targets = [{"virtual_key": "lane"}, {"virtual_key": "wide"}]
    config = json.dumps({"strategy": {"mode": "loadbalance"}, "targets": targets})
    body = {"input_file_id": gateway.upload(jsonl(lines)), "endpoint": "/v1/chat/completions"}
    answer = raw(gateway, "POST", "/batches", BLIND | {"x-portkey-config": config}, json.dumps(body).encode())
    batch = gateway.until(json.loads(answer.body)["id"])
    made = gateway.until(retry(gateway, batch)["id"])
    told = [json.loads(line) for line in raw(gateway, "GET", f"/batches/{made['id']}/lines").body.splitlines()]
    assert {line["virtual_key"] for line in told} == {"lane", "wide"}


def test_a_caller_without_the_account_of_the_route_is_refused(gateway: Gateway, batch: dict[str, Any]) -> None:
    status, error = refused(gateway, batch, {"x-portkey-api-key": NARROW_KEY})
    assert (status, "virtual key lane" in error["message"]) == (403, True)


def test_the_models_of_the_retrying_caller_count(gateway: Gateway, batch: dict[str, Any]) -> None:
    made = gateway.until(retry(gateway, batch, {}, {"x-portkey-api-key": PICKY_KEY})["id"])
    assert made["status"] == "failed"
    assert [fault["code"] for fault in made["errors"]["data"]] == ["model_not_allowed"] * 4


def test_cancelled_lines_are_retried(gateway: Gateway, sandbox: Sandbox) -> None:
    sandbox.control.options("openai", run_seconds=600)
    lines = chat_lines(5)
    batch = gateway.create(gateway.upload(jsonl(lines)))
    gateway.until(batch["id"], {"in_progress"})
    gateway.call("POST", f"/batches/{batch['id']}/cancel")
    gone = gateway.until(batch["id"])
    sandbox.control.options("openai", **QUICK["openai"])
    assert gone["status"] == "cancelled"
    failed = {row["custom_id"] for row in gateway.rows(gone["error_file_id"])}
    made = gateway.until(retry(gateway, gone)["id"])
    rows = gateway.rows(made["output_file_id"])
    assert {row["custom_id"] for row in rows} == failed
    for row in rows:
        check_own_answer(row, next(line for line in lines if line["custom_id"] == row["custom_id"]))


# ---- when there is no retry ----


def test_nothing_to_retry_is_said(gateway: Gateway) -> None:
    done = gateway.until(gateway.create(gateway.upload(jsonl(chat_lines(2))))["id"])
    status, error = refused(gateway, done)
    assert (status, error["code"]) == (400, "nothing_to_retry")


def test_a_batch_whose_input_was_deleted_says_so(gateway: Gateway) -> None:
    batch = ended(gateway)
    gateway.call("DELETE", f"/files/{batch['input_file_id']}")
    kept = blobs(gateway)
    status, error = refused(gateway, batch)
    assert (status, error["code"]) == (409, "input_file_gone")
    told = f"The input file of this batch, {batch['input_file_id']}, was deleted"
    assert error["message"].startswith(told)
    assert error["message"].endswith("Upload them again and create a new batch.")
    assert blobs(gateway) <= kept


def test_a_retry_runs_on_when_its_file_is_deleted(gateway: Gateway, batch: dict[str, Any]) -> None:
    made = retry(gateway, batch)
    gateway.call("DELETE", f"/files/{made['input_file_id']}")
    done = gateway.until(made["id"])
    assert done["request_counts"]["total"] == len(FAILED)


def test_a_faulty_file_is_to_be_corrected(gateway: Gateway) -> None:
    faulty = gateway.until(gateway.create(gateway.upload(b'{"custom_id": "a"}\n'))["id"])
    status, error = refused(gateway, faulty)
    assert (status, "Correct the file" in error["message"]) == (400, True)


def test_without_its_input_file_a_batch_cannot_be_retried_but_a_repetition_finds_its_retry(gateway: Gateway) -> None:
    batch = ended(gateway)
    made = retry(gateway, batch)
    gateway.call("DELETE", f"/files/{batch['input_file_id']}")
    status, error = refused(gateway, batch, {"x-portkey-virtual-key": "wide"})
    assert (status, error["code"]) == (409, "input_file_gone")
    assert retry(gateway, batch, headers={"x-stainless-retry-count": "1"})["id"] == made["id"]


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"[]", None), (b"{", None), (b'{"metadata": 7}', "metadata"), (b'{"metadata": {"a": 1}}', "metadata.a")],
)
def test_a_wrong_body_is_400(gateway: Gateway, batch: dict[str, Any], body: bytes, param: str | None) -> None:
    answer = raw(gateway, "POST", f"/batches/{batch['id']}/retry", BLIND, body)
    assert (answer.status, json.loads(answer.body)["error"]["param"]) == (400, param)


@pytest.fixture
def open_gateway(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that lets callers bring keys for the sandbox."""
    hosts = {"custom_hosts": [urlsplit(sandbox.url("openai")).netloc]}
    made = Gateway(tmp_path, keys(sandbox), server=hosts)
    made.start()
    yield made
    made.close()


def test_a_key_that_its_caller_brought_has_to_come_again(sandbox: Sandbox, open_gateway: Gateway) -> None:
    gateway, host = open_gateway, sandbox.url("openai")
    own = {"x-portkey-provider": "openai", "Authorization": "Bearer sk-sandbox", "x-portkey-custom-host": host}
    body = {"input_file_id": gateway.upload(source()), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    answer = raw(gateway, "POST", "/batches", BLIND | own, json.dumps(body).encode())
    batch = gateway.until(json.loads(answer.body)["id"])
    status, error = refused(gateway, batch)
    assert (status, error["code"]) == (400, "provider_key_missing")
    made = gateway.until(retry(gateway, batch, {}, own)["id"])
    assert made["request_counts"]["total"] == batch["request_counts"]["failed"]


# ---- which retries are one ----


def test_a_repeated_retry_is_the_first_and_leaves_no_second_file(gateway: Gateway) -> None:
    batch = ended(gateway)
    first = retry(gateway, batch)
    kept, files = blobs(gateway), file_count(gateway)
    repeated = {"x-stainless-retry-count": "1"}
    assert retry(gateway, batch, {}, repeated)["id"] == first["id"]
    assert (file_count(gateway), blobs(gateway)) == (files, kept)
    assert retry(gateway, batch, {"metadata": {"other": "body"}}, repeated)["id"] != first["id"]
    assert retry(gateway, batch)["id"] != first["id"], "a deliberate second retry is a second batch"


def test_an_idempotency_key_is_of_one_retry_also_when_many_come_at_once(gateway: Gateway) -> None:
    batch, other, key = ended(gateway), ended(gateway), {"Idempotency-Key": "retry-1"}
    kept, files = blobs(gateway), file_count(gateway)
    with ThreadPoolExecutor(8) as pool:
        made = {each["id"] for each in pool.map(lambda _: retry(gateway, batch, {}, key), range(8))}
    assert len(made) == 1
    status, error = refused(gateway, other, key)
    assert (status, error["code"]) == (422, "idempotency_key_reused")
    assert file_count(gateway) == files + 1
    assert len(blobs(gateway) - kept) == 1


@pytest.mark.parametrize("point", ["create.before", "retry.copied", "retry.adopted", "retry.stored", "create.after"])
def test_a_killed_retry_leaves_one_batch_or_none_and_no_orphan(point: str, sandbox: Sandbox, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, keys(sandbox))
    try:
        gateway.start()
        batch = ended(gateway)
        gateway.kill()
        gateway.start(fail=f"{point}:{'*' if point == 'retry.copied' else 1}")
        if point == "retry.copied":  # in a worker: three of them die, the gateway goes on
            assert raw(gateway, "POST", f"/batches/{batch['id']}/retry", BLIND).status == 500
            gateway.kill()
        else:
            with pytest.raises((GatewayGone, OSError)):
                retry(gateway, batch)
            assert gateway.process is not None
            assert gateway.process.wait(10) == -signal.SIGKILL
        gateway.start()
        known = {file["id"] for file in gateway.call("GET", "/files")["data"]}
        assert blobs(gateway) == known
        assert list((gateway.data / "tmp").iterdir()) == []
        before = gateway.call("GET", "/batches")["data"]
        assert len(before) == (2 if point in ("retry.stored", "create.after") else 1)
        made = retry(gateway, batch)  # the answer was lost, so an equal retry is the same
        assert len(gateway.call("GET", "/batches")["data"]) == 2
        assert content(gateway, made) == failed_bytes()
        assert gateway.until(made["id"])["request_counts"]["total"] == len(FAILED)
    finally:
        gateway.close()


@pytest.mark.parametrize("full", ["the reserve is reached", "the disk is full"])
def test_on_a_full_disk_a_retry_is_507_and_nothing_is_left(full: str, sandbox: Sandbox, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, keys(sandbox))
    try:
        gateway.start()
        batch = ended(gateway)
        gateway.kill()
        gateway.limits = {"disk_reserve_bytes": 2**60 if full == "the reserve is reached" else 0}
        gateway.write_config()
        gateway.start(fail="retry.copied:*:enospc" if full == "the disk is full" else "")
        kept, files = blobs(gateway), file_count(gateway)
        status, error = refused(gateway, batch)
        assert (status, error["code"]) == (507, "insufficient_storage")
        assert (blobs(gateway), file_count(gateway)) == (kept, files)
        assert list((gateway.data / "tmp").iterdir()) == []
    finally:
        gateway.close()


async def test_a_stopping_gateway_takes_no_retry(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, state="completed", output_file_id="file-1", failed=1)
        served.gateway.traffic.stopping = True
        status, answer, _ = await served.call("POST", f"/v1/batches/{BATCH_ID}/retry")
        assert (status, answer["error"]["code"]) == (503, "unavailable")


# ---- the copy ----


def job_in(folder: Path, at_once: int = 4096) -> failed_lines.FailedLines:
    source, index, ledger = (str(folder / name) for name in ("source", "index", "ledger"))
    return failed_lines.FailedLines(source, index, ledger, lines_at_once=at_once)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), share=st.floats(0, 1), at_once=st.integers(1, 70))
def test_the_copy_is_the_failed_lines_whatever_blocks_they_fall_into(
    seed: int, count: int, share: float, at_once: int
) -> None:
    dice = random.Random(seed)
    lines = [b"%d " % n + b"x" * dice.choice([0, 5, 300]) for n in range(count)]
    wrong = [dice.random() < share for _ in lines]
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        with (folder / "source").open("wb") as stream, IndexWriter(folder / "index") as index:
            for n, line in enumerate(lines):
                index.append(stream.tell(), len(line), n + 1)
                stream.write(line + b"\r\n\n" * dice.choice([1, 2]))
        told = ({"line": n + 1, "outcome": "failed" if each else "succeeded"} for n, each in enumerate(wrong))
        (folder / "ledger").write_text("".join(json.dumps(each) + "\n" for each in told))
        job = job_in(folder, at_once)
        facts = failed_lines.copy(job, str(folder / "copy"))
        copied = (folder / "copy").read_bytes()
        assert copied == b"".join(line + b"\n" for line, each in zip(lines, wrong, strict=True) if each)
        assert failed_lines.measure(job).bytes == facts.file.bytes == len(copied)


def test_no_reader_cuts_a_copied_line_unless_it_would_grow_too_long(tmp_path: Path) -> None:
    line = '{"x":"a\u2028b\x85"}'.encode()
    with (tmp_path / "source").open("wb") as stream, IndexWriter(tmp_path / "index") as index:
        stream.write(line + b"\n")
        index.append(0, len(line), 1)
    (tmp_path / "ledger").write_text('{"line":1,"outcome":"failed"}\n')
    whole = rb'{"x":"a\u2028b\u0085"}'
    for longest, wanted in ((len(whole), whole), (len(whole) - 1, line)):
        job = msgspec.structs.replace(job_in(tmp_path), max_line_bytes=longest)
        copied = failed_lines.copy(job, str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == wanted + b"\n"
        assert copied.file.bytes == len(wanted) + 1


def test_a_ledger_of_another_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "source").open("wb") as stream, IndexWriter(tmp_path / "index") as index:
        stream.write(b"{}\n{}\n")
        index.append(0, 2, 1)
        index.append(3, 2, 2)
    (tmp_path / "ledger").write_text('{"line":1,"outcome":"failed"}\n')
    with pytest.raises(ValueError, match="1 lines"):
        failed_lines.measure(job_in(tmp_path))


@pytest.mark.parametrize(
    ("name", "retried"),
    [
        ("input.jsonl", "input.retry.jsonl"),
        ("input.retry.jsonl", "input.retry2.jsonl"),
        ("input.retry9.jsonl", "input.retry10.jsonl"),
        ("noext", "noext.retry"),
        ("a.b.jsonl", "a.b.retry.jsonl"),
        (".jsonl", ".retry.jsonl"),
        ("retry.jsonl", "retry.retry.jsonl"),
    ],
)
def test_the_name_tells_what_the_file_is(name: str, retried: str) -> None:
    assert retry_name(name) == retried


def test_a_long_name_stays_within_its_limit() -> None:
    assert len(retry_name("x" * 512)) == 512
    assert retry_name("x" * 512 + ".jsonl").endswith("x.retry.jsonl")
