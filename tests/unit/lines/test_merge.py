"""One row for every line, in input order: OpenAI's exact shapes, the ledger, and sums that agree with the files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.lines.manifest import ASSIGNMENT, BLOCK, PartSpec
from proxy_plugin.lines.merge import merge, merge_so_far
from proxy_plugin.lines.row_store import ERROR, FAILED, NOTE, OK, RowMeta, RowWriter, TruncatedRows, bucket_path
from proxy_plugin.lines.verdicts import Shortfall
from proxy_plugin.providers.base import Usage, native_id
from tests.toy.toy_batch import JOB, TARGET, ToyBatch, chat, files_below, write_source

pytestmark = pytest.mark.usefixtures("toys")

OUTPUT, ERRORS, LEDGER = "output.jsonl", "error.jsonl", "ledger.jsonl"
EXPIRED = "This request could not be executed before the completion window expired."
CANCELLED = "This request was not executed because the batch was cancelled."
LEFT_OUT = "and toy returned nothing for this line; it may have run."


def split(folder: Path, count: int = 7, *more: bytes) -> ToyBatch:
    batch = ToyBatch(folder, [*(chat(f"id {n}", f"text {n}") for n in range(count)), *more])
    batch.split()
    return batch


def woven(part: PartSpec, ordinal: int, text: str = "t", engine: str = "wool-1") -> bytes:
    row = [native_id(part.mark, ordinal), "woven", {"text": text, "engine": engine, "read": 10, "wrote": 2}]
    return json.dumps(row).encode()


def torn(part: PartSpec, ordinal: int, status: int = 422) -> bytes:
    return json.dumps([native_id(part.mark, ordinal), "torn", {"status": status, "why": "no wool"}]).encode()


def late(part: PartSpec, ordinal: int, what: str = "late") -> bytes:
    return json.dumps([native_id(part.mark, ordinal), what, None]).encode()


def content(row: Any) -> str:
    return str(row["response"]["body"]["choices"][0]["message"]["content"])


def test_an_answer_stands_in_the_output_file_exactly_as_openai_writes_it(tmp_path: Path) -> None:
    batch = split(tmp_path, 1)
    (part,) = batch.manifest.parts
    batch.collect(part, [torn(part, 0), woven(part, 0, "said")])
    batch.merge()
    (row,) = batch.merged(OUTPUT)
    assert list(row) == ["id", "custom_id", "response", "error"]
    assert (row["id"], row["custom_id"], row["error"]) == (f"batch_req_{part.mark}00000000", "id 0", None)
    assert list(row["response"]) == ["status_code", "request_id", "body"]
    assert (row["response"]["status_code"], content(row)) == (200, "said")
    assert batch.merged(ERRORS) == []


def test_failures_stand_in_the_error_file_exactly_as_openai_writes_them(tmp_path: Path) -> None:
    batch = split(tmp_path, 3)
    (part,) = batch.manifest.parts
    batch.collect(part, [late(part, 2), late(part, 1, "halted"), torn(part, 0)])
    batch.merge()
    http, cancelled, expired = batch.merged(ERRORS)
    assert http["error"] is None
    assert http["response"]["status_code"] == 422
    assert http["response"]["body"]["error"] == {
        "message": "no wool",
        "type": "invalid_request_error",
        "param": None,
        "code": "torn",
    }
    assert (cancelled["response"], cancelled["error"]) == (None, {"code": "batch_cancelled", "message": CANCELLED})
    assert (expired["response"], expired["error"]) == (None, {"code": "batch_expired", "message": EXPIRED})
    assert [row["outcome"] for row in batch.merged(LEDGER)] == ["failed", "cancelled", "expired"]


@pytest.mark.parametrize(
    "text",
    [
        rb'"plain"',
        rb'"\u0041\/\"\\"',
        rb'"\ud83d"',
        '"é🙂 \u200b"'.encode(),
        rb'"../../etc/passwd"',
        b'"' + b"x" * 200 + b'"',
    ],
)
def test_the_custom_id_keeps_the_bytes_of_the_upload(tmp_path: Path, text: bytes) -> None:
    line = chat("here").replace(b'"here"', text)
    batch = ToyBatch(tmp_path, [line, line.replace(b"wool-1", b'wool-1", "seed": 1, "user": "')])
    (part,) = batch.split().parts
    batch.collect(part, [woven(part, 0)])
    batch.merge()
    assert b'","custom_id":' + text + b',"response":{' in (tmp_path / "merge" / OUTPUT).read_bytes()
    assert b'","custom_id":' + text + b',"response":{"status_code":400,' in (tmp_path / "merge" / ERRORS).read_bytes()
    assert (tmp_path / "merge" / LEDGER).read_bytes().count(b',"custom_id":' + text + b',"provider"') == 2


@pytest.mark.parametrize("cut", ["\u2028", "\u2029", "\x85", "\x85\u2028\u2029"])
def test_no_reader_cuts_a_row_or_a_line_of_the_ledger(tmp_path: Path, cut: str) -> None:
    """In the id, in an answer, in a failed answer and in an error; so far and in the end."""
    lines = [json.dumps(json.loads(chat(f"id{cut}{n}")), ensure_ascii=False).encode() for n in range(3)]
    batch = ToyBatch(tmp_path, [*lines, lines[0].replace(b"wool-1", f'w{cut}", "seed": 1, "user": "'.encode())])
    (part,) = batch.split().parts
    answers = [woven(part, 0, f"a{cut}b" * 40_000), torn(part, 1), late(part, 2)]
    told = [json.dumps(json.loads(row), ensure_ascii=False).replace("no wool", f"no{cut}wool") for row in answers]
    batch.collect(part, [row.encode() for row in told])
    batch.merge()
    merge_so_far(batch.merge_job(), str(tmp_path / "so far"))
    for name in (OUTPUT, ERRORS, LEDGER, "so far"):
        text = (tmp_path / ("" if name == "so far" else "merge") / name).read_bytes().decode()
        assert not set(cut) & set(text)
        assert [json.loads(line) for line in text.splitlines()] == [json.loads(line) for line in text.split("\n")[:-1]]
    (row,) = batch.merged(OUTPUT)
    assert (row["custom_id"], content(row)) == (f"id{cut}0", f"a{cut}b" * 40_000)
    assert batch.merged(ERRORS)[0]["response"]["body"]["error"]["message"] == f"no{cut}wool"
    assert [line["custom_id"] for line in batch.merged(LEDGER)] == [f"id{cut}{n}" for n in (0, 1, 2, 0)]


def test_rows_come_in_input_order_whatever_order_the_results_had(tmp_path: Path) -> None:
    batch = split(tmp_path, 40)
    for part in batch.manifest.parts[::-1]:
        batch.collect(part, batch.woven(part)[::-1])
    facts = batch.merge()
    assert [row["custom_id"] for row in batch.merged(OUTPUT)] == [f"id {n}" for n in range(40)]
    assert [content(row) for row in batch.merged(OUTPUT)] == [f"wool-1: {f'text {n}'[::-1]}" for n in range(40)]
    assert (facts.completed, facts.failed, facts.outcomes) == (40, 0, {"succeeded": 40})


def test_the_first_answer_counts_and_else_the_first_row(tmp_path: Path) -> None:
    batch = split(tmp_path, 3)
    (part,) = batch.manifest.parts
    results = [
        torn(part, 0),
        woven(part, 0, "first"),
        woven(part, 0, "second"),
        torn(part, 1, 429),
        torn(part, 1, 422),
        woven(part, 2, "first"),
        torn(part, 2),
    ]
    batch.collect(part, results)
    facts = batch.merge()
    assert [(row["custom_id"], content(row)) for row in batch.merged(OUTPUT)] == [("id 0", "first"), ("id 2", "first")]
    assert [row["response"]["status_code"] for row in batch.merged(ERRORS)] == [429]
    assert (facts.completed, facts.failed, facts.superseded) == (2, 1, 4)
    assert facts.usage == Usage(input_tokens=20, output_tokens=4)


REFUSED = {"kind": "refused", "code": "model_not_found", "message": "no such engine", "job": None, "attempt": 2}


@pytest.mark.parametrize(
    ("fate", "response", "error", "ledger"),
    [
        pytest.param(
            REFUSED | {"status": 404, "param": "model"},
            {
                "status_code": 404,
                "request_id": "",
                "body": {
                    "error": {
                        "message": "no such engine",
                        "type": "invalid_request_error",
                        "param": "model",
                        "code": "model_not_found",
                    }
                },
            },
            None,
            ("refused", "model_not_found"),
            id="refused with a status",
        ),
        pytest.param(
            REFUSED,
            None,
            {"code": "model_not_found", "message": "no such engine"},
            ("refused", "model_not_found"),
            id="refused",
        ),
        pytest.param(
            REFUSED | {"status": 200},
            None,
            {"code": "model_not_found", "message": "no such engine"},
            ("refused", "model_not_found"),
            id="refused within an HTTP 200, which must not look like an answer",
        ),
        pytest.param(
            {"kind": "dropped", "code": "batch_cancelled"},
            None,
            {"code": "batch_cancelled", "message": CANCELLED},
            ("cancelled", "batch_cancelled"),
            id="cancelled before it was accepted",
        ),
        pytest.param(
            {"kind": "dropped", "code": "batch_expired"},
            None,
            {"code": "batch_expired", "message": EXPIRED},
            ("expired", "batch_expired"),
            id="expired before it was accepted",
        ),
        pytest.param(
            {"kind": "collected", "code": "batch_expired"},
            None,
            {"code": "batch_expired", "message": f"The completion window expired, {LEFT_OUT}"},
            ("expired", "batch_expired"),
            id="expired there, rows left out",
        ),
        pytest.param(
            {"kind": "collected", "code": "batch_cancelled"},
            None,
            {"code": "batch_cancelled", "message": f"The batch was cancelled, {LEFT_OUT}"},
            ("cancelled", "batch_cancelled"),
            id="cancelled there, rows left out",
        ),
        pytest.param(
            {"kind": "collected", "code": "results_expired", "message": "deleted there"},
            None,
            {"code": "results_expired", "message": "deleted there"},
            ("missing", "results_expired"),
            id="results lost",
        ),
        pytest.param(
            {"kind": "collected"},
            None,
            {
                "code": "result_missing",
                "message": "toy ended the job without an answer for this line; it may be sent again.",
            },
            ("missing", "result_missing"),
            id="never returned",
        ),
        pytest.param(
            {"kind": "collected", "short": Shortfall(told=8, held=7, silent=1, lost=1)},
            None,
            {
                "code": "result_missing",
                "message": "toy reported an answer for this line, and did not give it: of the 8 results that it counts"
                " for the job it gave 7. This line may have been paid for; it may be sent again.",
            },
            ("missing", "result_missing"),
            id="announced and never returned",
        ),
        pytest.param(
            {"kind": "collected", "short": Shortfall(told=6, held=5, silent=3, lost=1)},
            None,
            {
                "code": "result_missing",
                "message": "toy ended the job without an answer for this line. It counts 6 results and gave 5: it"
                " reported an answer for 1 of the 3 lines without one. This line may have been paid for; it may be sent"
                " again.",
            },
            ("missing", "result_missing"),
            id="one of several of which some were announced",
        ),
    ],
)
def test_a_line_without_a_row_tells_its_parts_fate(
    tmp_path: Path, fate: dict[str, Any], response: Any, error: Any, ledger: tuple[str, str]
) -> None:
    batch = split(tmp_path, 8)
    answered, other = batch.manifest.parts
    batch.collect(answered, batch.woven(answered))
    facts = batch.merge({other.n: batch.fate(other, **fate)})
    assert [row["custom_id"] for row in batch.merged(OUTPUT)] == [f"id {n}" for n in range(7)]
    (row,) = batch.merged(ERRORS)
    assert (row["id"], row["custom_id"]) == (f"batch_req_{other.mark}00000007", "id 7")
    assert (row["response"], row["error"]) == (response, error)
    last = batch.merged(LEDGER)[7]
    assert (last["outcome"], last["code"]) == ledger
    assert facts.outcomes == {"succeeded": 7, ledger[0]: 1}


def test_a_part_may_be_answered_in_part(tmp_path: Path) -> None:
    batch = split(tmp_path, 4)
    (part,) = batch.manifest.parts
    batch.collect(part, [woven(part, 1), woven(part, 3)])
    facts = batch.merge()
    assert [row["custom_id"] for row in batch.merged(OUTPUT)] == ["id 1", "id 3"]
    assert [row["custom_id"] for row in batch.merged(ERRORS)] == ["id 0", "id 2"]
    assert facts.outcomes == {"missing": 2, "succeeded": 2}


def test_rejected_lines_have_an_id_of_their_own_and_the_reason(tmp_path: Path) -> None:
    batch = split(tmp_path, 1, chat("bad", seed=1))
    batch.collect(batch.manifest.parts[0], batch.woven(batch.manifest.parts[0]))
    batch.merge()
    (row,) = batch.merged(ERRORS)
    assert (row["id"], row["error"]) == ("batch_req_rejected0000000001", None)
    fault = row["response"]["body"]["error"]
    assert row["response"] == {"status_code": 400, "request_id": "", "body": {"error": fault}}
    assert list(fault) == ["message", "type", "param", "code"]
    assert (fault["type"], fault["param"]) == ("invalid_request_error", "body.seed")
    assert fault["code"] == "unsupported_parameter"
    assert "seed" in fault["message"]
    assert batch.merged(LEDGER)[1] == {
        "line": 2,
        "custom_id": "bad",
        "provider": "toy",
        "virtual_key": "toy-prod",
        "model": "wool-1",
        "outcome": "rejected",
        "code": "unsupported_parameter",
    }


def test_the_ledger_has_every_line_with_its_number_in_the_file(tmp_path: Path) -> None:
    lines = [chat(f"id {n}") for n in range(3)] + [chat("id 3", seed=3), chat("id 4")]
    batch = ToyBatch(tmp_path, lines, (msgspec.structs.replace(TARGET, drop_params=True),))
    (part,) = batch.split().parts
    batch.collect(part, [woven(part, n, engine="wool-1-0301") for n in (0, 1, 3, 4)])
    facts = batch.merge()
    ledger = batch.merged(LEDGER)
    assert [(row["line"], row["custom_id"]) for row in ledger] == [
        (1, "id 0"),
        (2, "id 1"),
        (3, "id 2"),
        (5, "id 3"),  # a blank line stands before it
        (6, "id 4"),
    ]
    usage = {"input_tokens": 10, "output_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0}
    usage |= {"cache_write_tokens": 0, "cache_write_1h_tokens": 0}
    assert ledger[3] == {
        "line": 5,
        "custom_id": "id 3",
        "provider": "toy",
        "virtual_key": "toy-prod",
        "model": "wool-1-0301",
        "job": JOB,
        "attempt": 1,
        "outcome": "succeeded",
        "usage": usage,
        "dropped": ["seed"],
    }
    assert "usage" not in ledger[2]
    assert ledger[2]["model"] == "wool-1"
    assert facts.ledger.lines == 5


def test_the_facts_are_those_of_the_files(tmp_path: Path) -> None:
    batch = split(tmp_path, 10, chat("bad", seed=1))
    for part in batch.manifest.parts:
        batch.collect(part, batch.woven(part)[1:])
    facts = batch.merge()
    for file in (facts.output, facts.error, facts.ledger):
        raw = (tmp_path / "merge" / file.name).read_bytes()
        assert (file.bytes, file.lines, file.sha256) == (len(raw), raw.count(b"\n"), hashlib.sha256(raw).hexdigest())
    assert [facts.output.lines, facts.error.lines, facts.ledger.lines] == [facts.completed, facts.failed, facts.total]
    assert (facts.completed, facts.failed, facts.total) == (8, 3, 11)
    usages = [row["response"]["body"]["usage"] for row in batch.merged(OUTPUT)]
    assert facts.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages)
    assert facts.usage.output_tokens == sum(usage["completion_tokens"] for usage in usages)


def test_usage_and_models_are_those_of_the_answers_alone(tmp_path: Path) -> None:
    batch = split(tmp_path, 2)
    (part,) = batch.manifest.parts
    writer = RowWriter(tmp_path / "rows")
    writer.add(0, part.n, OK, RowMeta(model="a", usage=Usage(1, 2, 3, 4)), b"{}")
    writer.add(1, part.n, FAILED, RowMeta(model="b", usage=Usage(10, 20, 30, 40), code="500"), b"{}")
    writer.close()
    batch.rows[part.n] = str(tmp_path / "rows")
    facts = batch.merge()
    assert (facts.usage, facts.models) == (Usage(1, 2, 3, 4), ("a",))
    assert [row["usage"]["input_tokens"] for row in batch.merged(LEDGER)] == [1, 10]


@pytest.mark.parametrize(
    ("engines", "models"), [(["a", "a"], ("a",)), (["a", "b", "c"], ("a", "b")), ([], ())], ids=["one", "many", "none"]
)
def test_at_most_two_models_are_named(tmp_path: Path, engines: list[str], models: tuple[str, ...]) -> None:
    batch = split(tmp_path, 4)
    (part,) = batch.manifest.parts
    batch.collect(part, [woven(part, n, engine=engine) for n, engine in enumerate(engines)])
    assert batch.merge().models == models


def test_a_batch_of_more_than_one_bucket_keeps_its_order(tmp_path: Path) -> None:
    total = BLOCK + 300
    missing = {0, BLOCK - 1, BLOCK, total - 1}
    batch = split(tmp_path, 1)
    (part,) = batch.manifest.parts
    source, index = write_source(tmp_path, [chat(f"{n}") for n in range(total)])
    (tmp_path / "split" / ASSIGNMENT).write_bytes(bytes(4 * total))  # every line in part 0
    writer = RowWriter(tmp_path / "rows")
    for n in reversed(range(total)):
        if n not in missing:
            writer.add(n, part.n, OK, RowMeta(), b'{"for":"%d"}' % n)
    writer.close()
    job = msgspec.structs.replace(batch.merge_job(), source=str(source), index=str(index), total=total)
    facts = merge(msgspec.structs.replace(job, rows={part.n: str(tmp_path / "rows")}))
    output = batch.merged(OUTPUT)
    assert [int(row["custom_id"]) for row in output] == [n for n in range(total) if n not in missing]
    assert [row["response"]["for"] for row in output] == [row["custom_id"] for row in output]
    assert [int(row["custom_id"]) for row in batch.merged(ERRORS)] == sorted(missing)
    assert (facts.total, facts.completed, facts.outcomes["missing"]) == (total, total - 4, 4)


def test_a_batch_without_lines_is_merged_into_empty_files(tmp_path: Path) -> None:
    batch = split(tmp_path, 0)
    assert batch.manifest.parts == ()
    facts = batch.merge()
    assert (facts.total, facts.output.bytes, facts.error.bytes, facts.ledger.bytes) == (0, 0, 0, 0)


def test_merging_again_gives_the_same_bytes_whatever_stood_in_the_folder(tmp_path: Path) -> None:
    batch = split(tmp_path, 20)
    for part in batch.manifest.parts[:2]:
        batch.collect(part, batch.woven(part))
    facts = batch.merge()
    first = files_below(tmp_path / "merge")
    (tmp_path / "merge" / OUTPUT).write_bytes(b"torn")
    (tmp_path / "merge" / "more").write_bytes(b"rubbish")
    assert batch.merge() == facts
    assert files_below(tmp_path / "merge") == first


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    batch = split(tmp_path / "a", 9)
    first, second = batch.manifest.parts
    batch.collect(first, batch.woven(first))
    with pytest.raises(ValueError, match="9 lines, 9 of them assigned, where 8 are due"):
        merge(msgspec.structs.replace(batch.merge_job(), total=8))
    batch.rows[second.n] = batch.rows[first.n]
    with pytest.raises(ValueError, match="the rows of part 1"):
        batch.merge()
    longer = split(tmp_path / "b", 10)
    (part, *_) = longer.manifest.parts
    writer = RowWriter(tmp_path / "beyond")
    writer.add(10, part.n, OK, RowMeta(), b"{}")
    writer.close()
    longer.rows[part.n] = str(tmp_path / "beyond")
    with pytest.raises(ValueError, match="the rows of part 0"):
        longer.merge()


def test_a_lost_reason_or_a_torn_row_stops_the_merge(tmp_path: Path) -> None:
    batch = split(tmp_path, 1, chat("bad", seed=1))
    (part,) = batch.manifest.parts
    with pytest.raises(FileNotFoundError):
        merge(msgspec.structs.replace(batch.merge_job(), rejected=str(tmp_path / "nothing")))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="line 2 was rejected, but the reason"):
        merge(msgspec.structs.replace(batch.merge_job(), rejected=str(tmp_path / "nothing")))
    batch.collect(part, [woven(part, 0)])
    path = bucket_path(Path(batch.rows[part.n]), 0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TruncatedRows):
        batch.merge()
    with pytest.raises(ValueError, match="dropped for no known reason"):
        merge(msgspec.structs.replace(batch.merge_job({part.n: batch.fate(part, kind="dropped")}), rows={}))


def test_a_note_is_no_answer(tmp_path: Path) -> None:
    batch = split(tmp_path, 2)
    (part,) = batch.manifest.parts
    writer = RowWriter(tmp_path / "rows")
    writer.add(0, part.n, NOTE, RowMeta(dropped=("seed",)))
    writer.add(1, part.n, NOTE, RowMeta(dropped=("user",)))
    writer.add(1, part.n, ERROR, RowMeta(code="torn"), b'{"code":"torn","message":"m"}')
    writer.close()
    batch.rows[part.n] = str(tmp_path / "rows")
    facts = batch.merge()
    assert facts.outcomes == {"failed": 1, "missing": 1}
    assert facts.superseded == 0
    assert [row["dropped"] for row in batch.merged(LEDGER)] == [["seed"], ["user"]]
