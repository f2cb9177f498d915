"""Joining to the requests of a line become one row, in whatever order they come; what lacks one counts as failed."""

from __future__ import annotations

import json
import random
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.collect import CollectFacts
from proxy_plugin.lines.cut import CutJob, cut_document
from proxy_plugin.lines.fan_out.answers import Joining, join
from proxy_plugin.lines.manifest import ASSIGNMENT, PartSpec
from proxy_plugin.lines.row_store import ERROR, FAILED, OK, RowMeta
from proxy_plugin.providers.base import Usage, native_id, split_request_id
from proxy_plugin.providers.marks import RequestId, request_id
from tests.toy.generated import FAST
from tests.toy.toy_batch import TARGET, ToyBatch, chat, files_below

pytestmark = pytest.mark.usefixtures("toys")
FANNING = msgspec.structs.replace(TARGET, fan_out=True)
MISSING = {"code": "result_missing", "message": "none came"}


def batch_of(folder: Path, counts: list[int], **facts: Any) -> ToyBatch:
    """Return a split batch: each line asks for so many answers."""
    asked: list[dict[str, Any]] = [{} if count == 1 else {"n": count} for count in counts]
    lines = [chat(f"id {n}", f"text {n}", **more) for n, more in enumerate(asked)]
    made = ToyBatch(folder, lines, (msgspec.structs.replace(FANNING, **facts),))
    made.split()
    return made


def answer(identity: str, text: str = "t", read: int = 3) -> bytes:
    return json.dumps([identity, "woven", {"text": text, "engine": "wool-1", "read": read, "wrote": 2}]).encode()


def torn(identity: str, why: str = "no wool") -> bytes:
    return json.dumps([identity, "torn", {"status": 422, "why": why}]).encode()


def late(identity: str) -> bytes:
    return json.dumps([identity, "late", None]).encode()


def identity(part: PartSpec, ordinal: int, place: int, of: int) -> str:
    line = native_id(part.mark, ordinal)
    return line if of == 1 else request_id(line, place, of)


def tags(batch: ToyBatch, part: PartSpec) -> list[str]:
    return [card["tag"] for card in json.loads(batch.document(part))["cards"]]


def test_the_requests_of_a_line_are_in_one_part(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [3, 3, 1, 4, 2])
    assert [(part.lines, part.requests) for part in batch.manifest.parts] == [(3, 7), (2, 6)]
    assert [tags(batch, part) for part in batch.manifest.parts] == [
        [identity(part, ordinal, place, of) for ordinal, of in lines for place in range(of)]
        for part, lines in zip(batch.manifest.parts, ([(0, 3), (1, 3), (2, 1)], [(3, 4), (4, 2)]), strict=True)
    ]
    first = files_below(tmp_path / "split")
    assert files_below(batch_of(tmp_path, [3, 3, 1, 4, 2]).folder / "split") == first, "the same bytes again"


def test_an_answered_line_is_one_row_with_all_choices(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [3, 1])
    part = batch.manifest.parts[0]
    facts = batch.collect(part, batch.woven(part)[::-1])
    assert (facts.rows, facts.ok, facts.lines, facts.ran, facts.usage.output_tokens > 0) == (2, 2, 4, 4, True)
    batch.merge()
    row, plain = batch.merged("output.jsonl")
    body = row["response"]["body"]
    assert (row["custom_id"], [each["index"] for each in body["choices"]]) == ("id 0", [0, 1, 2])
    assert body["id"] == f"toy-{request_id(native_id(part.mark, 0), 0, 3)}"
    once = plain["response"]["body"]["usage"]
    assert body["usage"] == {name: 3 * tokens for name, tokens in once.items()}
    said, of_one = batch.merged("ledger.jsonl")
    assert (said["requests"], said["outcome"], "requests" in of_one) == (3, "succeeded", False)
    assert said["usage"]["output_tokens"] == body["usage"]["completion_tokens"]


def test_a_line_that_lacks_an_answer_fails_with_how_many_were_paid(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [2, 2, 2], max_lines=6)
    part = batch.manifest.parts[0]
    own = [[identity(part, ordinal, place, 2) for place in range(2)] for ordinal in range(3)]
    rows = [answer(own[0][0]), torn(own[0][1]), late(own[1][1]), answer(own[1][0]), answer(own[2][1])]
    facts = batch.collect(part, rows)
    assert facts == CollectFacts(rows=3, ok=0, failed=3, foreign=0, corrupt=0, lines=5, ran=4)
    assert batch.merge().completed == 0
    failed, expired, missing = batch.merged("error.jsonl")
    assert failed["response"]["status_code"] == 422
    words = "1 of the 2 requests of this line were answered. Request {}: "
    assert failed["response"]["body"]["error"]["message"] == words.format(2) + "no wool"
    assert (expired["error"]["code"], missing["error"]["code"]) == ("batch_expired", "result_missing")
    assert expired["error"]["message"].startswith(words.format(2))
    assert missing["error"]["message"].startswith(words.format(1))
    ledger = batch.merged("ledger.jsonl")
    assert [each["outcome"] for each in ledger] == ["failed", "expired", "missing"]
    assert [each["usage"]["input_tokens"] for each in ledger] == [3, 3, 3]
    assert ["cost" in each for each in ledger] == [False, False, False]


def test_what_is_missing_of_an_expired_job_expired(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [2])
    part = batch.manifest.parts[0]
    batch.collect(part, [answer(identity(part, 0, 1, 2))], missing_as="batch_expired")
    batch.merge()
    assert batch.merged("error.jsonl")[0]["error"]["code"] == "batch_expired"


def test_a_line_of_which_nothing_came_has_no_row(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [2, 1])
    part = batch.manifest.parts[0]
    assert batch.collect(part, [answer(identity(part, 1, 0, 1))]).rows == 1
    batch.merge()
    assert [each["outcome"] for each in batch.merged("ledger.jsonl")] == ["missing", "succeeded"]


def test_a_number_of_requests_that_the_line_has_not_counts_for_nothing(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [2])
    part = batch.manifest.parts[0]
    line = native_id(part.mark, 0)
    rows = [answer(request_id(line, 0, 2)), answer(request_id(line, 1, 3)), answer(request_id(line, 1, 2))]
    assert batch.collect(part, rows).ok == 1


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=9),
    st.lists(st.sampled_from(["ok", "ok", "ok", "twice", "torn then ok", "torn", "late", "none"]), min_size=1),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_every_line_is_joined_once_whatever_came_in_whatever_order(
    counts: list[int], fates: list[str], dice: random.Random
) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        batch = batch_of(Path(folder), counts)
        expected = dict[int, list[tuple[str, ...]]]()
        turn = 0
        for part in batch.manifest.parts:
            rows = list[bytes]()
            for tag in tags(batch, part):
                asked = split_request_id(tag)
                assert asked is not None
                what, turn = fates[turn % len(fates)], turn + 1
                text = f"{asked.ordinal}.{asked.place}"
                given_rows = {
                    "ok": (answer(tag, text),),
                    "twice": (answer(tag, text), answer(tag, text)),
                    "torn then ok": (torn(tag), answer(tag, text)),
                    "torn": (torn(tag),),
                    "late": (late(tag),),
                    "none": (),
                }[what]
                rows += given_rows
                expected.setdefault(asked.ordinal, []).append(() if b"woven" not in b"".join(given_rows) else (text,))
            dice.shuffle(rows)
            batch.collect(part, rows)
        facts = batch.merge()
        assert facts.total == len(counts)
        texts = {
            row["custom_id"]: [each["message"]["content"] for each in row["response"]["body"]["choices"]]
            for row in batch.merged("output.jsonl")
        }
        assert texts == {
            f"id {n}": [text for found in each for text in found] for n, each in expected.items() if all(each)
        }
        assert len(batch.merged("ledger.jsonl")) == len(counts)
        assert facts.usage.output_tokens == 2 * sum(map(len, texts.values()))


def test_the_order_of_the_answers_changes_no_byte(tmp_path: Path) -> None:
    found = []
    for turn in range(3):
        batch = batch_of(tmp_path / str(turn), [3, 1, 3])
        part = batch.manifest.parts[0]
        rows = [answer(tag, tag[-4:], read) for read, tag in enumerate(tags(batch, part))]
        random.Random(turn).shuffle(rows)
        batch.collect(part, rows)
        batch.merge()
        found.append(files_below(batch.folder / "merge"))
    assert found[0] == found[1] == found[2]


def joined(texts: list[Any]) -> Any:
    answers = [{"status_code": 200, "request_id": "r", "body": body} for body in texts]
    return json.loads(join([json.dumps(each).encode() for each in answers]))["body"]


def test_what_is_joined_keeps_every_byte_of_the_choices() -> None:
    said = b'{"index":0,"message":{"content":"half \\ud83d","n":12345678901234567890123}}'
    text = b'{"status_code":200,"request_id":"","body":{"id":"a","choices":[%s],"usage":null}}' % said
    assert join([text, text]) == text.replace(said, said + b"," + said.replace(b'"index":0', b'"index":1'))


def test_usage_is_summed_at_every_depth() -> None:
    first = {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 2}, "tier": "a", "x": None}
    second = {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 1}, "x": 7}
    body = joined([{"choices": [{}], "usage": first}, {"choices": [{}]}, {"choices": [{}], "usage": second}])
    assert body["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 1},
        "tier": "a",
        "x": 7,
    }
    assert [each["index"] for each in body["choices"]] == [0, 1, 2]


def test_vectors_are_numbered_as_choices_are() -> None:
    bodies = [{"data": [{"index": 0, "embedding": [n]}], "usage": {"total_tokens": 2}} for n in range(3)]
    assert joined(bodies) == {
        "data": [{"index": n, "embedding": [n]} for n in range(3)],
        "usage": {"total_tokens": 6},
    }


def answers(folder: Path, longest: int = 10**6) -> Joining:
    missing = json.dumps(MISSING).encode()
    return Joining(folder, not_run=frozenset({"late"}), missing=missing, longest=longest)


def test_what_cannot_be_joined_or_held_is_told(tmp_path: Path) -> None:
    found = answers(tmp_path, longest=500)
    used = Usage(output_tokens=2)
    for ordinal, text in ((1, b'{"body":{}}'), (2, b"x" * 300)):
        for place in range(2):
            found.add(RequestId("", ordinal, place, 2), OK, RowMeta(usage=used), text)
    one, two = list(found.joined())
    assert (one.kind, one.meta.code, one.meta.usage) == (ERROR, "answers_not_joined", Usage(output_tokens=4))
    assert (two.kind, two.meta.code) == (ERROR, "answers_too_large")
    assert list(tmp_path.iterdir()) == [], "nothing is left of what was kept apart"


def test_an_error_of_no_known_form_keeps_its_words(tmp_path: Path) -> None:
    found = answers(tmp_path)
    found.add(RequestId("", 1, 0, 2), FAILED, RowMeta(code="500"), b'{"status_code":500,"body":"down"}')
    (row,) = found.joined()
    assert (row.kind, row.text, row.meta.code, row.held, row.ran) == (
        FAILED, b'{"status_code":500,"body":"down"}', "500", 1, 1,
    )  # fmt: skip


def test_many_requests_are_indexed_a_share_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_plugin.lines.fan_out.answers._AT_ONCE", 1300)
    found, text = answers(tmp_path), b'{"body":{"choices":[{}]}}'
    for ordinal in (70_000, 5, 6, 65_536):
        for place in range(1000):
            found.add(RequestId("", ordinal, place, 1000), OK, RowMeta(), text)
    assert [(row.ordinal, row.kind, row.held) for row in found.joined()] == [
        (ordinal, OK, 1000) for ordinal in (5, 6, 65_536, 70_000)
    ]


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_cut_never_parts_the_requests_of_a_line(tmp_path: Path, pieces: int) -> None:
    batch = batch_of(tmp_path, [1, 3, 2, 1])
    part = batch.manifest.parts[0]
    job = CutJob(
        provider="toy",
        part=part.n,
        mark=part.mark,
        lines=part.lines,
        document=str(tmp_path / "split" / part.file),
        assignment=str(tmp_path / "split" / ASSIGNMENT),
        index=str(batch.index),
        folder=str(tmp_path / "cut"),
        out=(1,),
        pieces=pieces,
    )
    facts = cut_document(job)
    assert [(each.lines, each.requests) for each in facts.pieces] == {1: [(3, 6)], 2: [(1, 3), (2, 3)]}[pieces]
    found = [
        card["tag"]
        for piece in facts.pieces
        for card in json.loads((tmp_path / "cut" / piece.file).read_bytes())["cards"]
    ]
    marks = [piece.mark for piece in facts.pieces for _ in range(piece.requests or piece.lines)]
    kept = tags(batch, part)[1:]
    assert found == [mark + tag[10:] for mark, tag in zip(marks, kept, strict=True)]


def test_the_answers_of_one_line_are_held_and_no_more(tmp_path: Path) -> None:
    found, text = answers(tmp_path), b'{"body":{"choices":[{"text":"%s"}]}}' % (b"x" * 50_000)
    asked = [RequestId("", ordinal, place, 4) for ordinal in range(100) for place in range(4)]
    random.Random(1).shuffle(asked)
    tracemalloc.start()
    try:
        for each in asked:
            found.add(each, OK, RowMeta(), text)
        assert sum(len(row.text) for row in found.joined()) > 20_000_000
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
