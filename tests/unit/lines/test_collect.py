"""Native results become rows: only what is provably ours counts, and everything else is counted by name."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.collect import CollectFacts, _Rows, bounded_lines, collect, one_line
from proxy_plugin.lines.manifest import PartSpec
from proxy_plugin.lines.row_store import ERROR, FAILED, OK, StoredRow, rows
from proxy_plugin.providers.base import Usage, native_id
from tests.toy.toy_batch import ToyBatch, chat, files_below
from tests.toy.toy_service import answer_text

pytestmark = pytest.mark.usefixtures("toys")

EXPIRED = "This request could not be executed before the completion window expired."
CANCELLED = "This request was not executed because the batch was cancelled."


@pytest.fixture
def batch(tmp_path: Path) -> ToyBatch:
    """Two parts of seven lines and one rejected line."""
    lines = [chat(f"id {n}", f"text {n}") for n in range(14)]
    made = ToyBatch(tmp_path, [*lines[:10], chat("bad", seed=1), *lines[10:]])
    made.split()
    return made


def stored(batch: ToyBatch, part: PartSpec) -> list[StoredRow]:
    return list(rows(batch.folder / f"rows-{part.n}"))


def woven(part: PartSpec, ordinal: int, mark: str | None = None) -> bytes:
    row = [native_id(mark or part.mark, ordinal), "woven", {"text": "t", "engine": "e", "read": 1, "wrote": 2}]
    return json.dumps(row).encode()


def late(part: PartSpec, ordinal: int, what: str = "late") -> bytes:
    return json.dumps([native_id(part.mark, ordinal), what, None]).encode()


def test_every_result_of_the_part_becomes_a_row(batch: ToyBatch) -> None:
    part = batch.manifest.parts[1]
    facts = batch.collect(part, batch.woven(part)[::-1])
    used = Usage(input_tokens=4 * 21 + 3 * 20, output_tokens=4 * 7 + 3 * 6)  # the service counts letters
    assert facts == CollectFacts(rows=7, ok=7, failed=0, foreign=0, corrupt=0, usage=used, lines=7, ran=7, answered=7)
    found = stored(batch, part)
    assert [row.ordinal for row in found] == [14, 13, 12, 11, 9, 8, 7]
    first = found[0]
    assert (first.part, first.kind, first.meta.model, first.meta.code) == (1, OK, "wool-1", None)
    assert first.meta.usage == Usage(input_tokens=21, output_tokens=7)
    said = json.loads(first.text)["body"]["choices"][0]["message"]["content"]
    assert said == answer_text("wool-1", "text 13")


def test_failures_keep_what_the_provider_said(batch: ToyBatch) -> None:
    part = batch.manifest.parts[0]
    torn = json.dumps([native_id(part.mark, 3), "torn", {"status": 422, "why": "no wool"}]).encode()
    facts = batch.collect(part, [torn, late(part, 4)])
    assert facts == CollectFacts(rows=2, ok=0, failed=2, foreign=0, corrupt=0, lines=2, ran=1)
    http, error = stored(batch, part)
    assert (http.kind, http.meta.code, json.loads(http.text)["status_code"]) == (FAILED, "422", 422)
    assert (error.kind, error.meta.code) == (ERROR, "batch_expired")
    assert json.loads(error.text) == {"code": "batch_expired", "message": EXPIRED}


def test_what_rows_of_failures_repeat_of_the_accounts_secrets_is_hidden(batch: ToyBatch) -> None:
    part, key = batch.manifest.parts[0], "sk-Ab3xY9kLm2Qr7TzW0pVn5"
    said = {"status": 401, "why": f"wrong key: {key}", "more": [key[3:], key[5:17]]}
    torn = json.dumps([native_id(part.mark, 3), "torn", said]).encode()
    answer = json.dumps(
        [native_id(part.mark, 4), "woven", {"text": key, "engine": "e", "read": 1, "wrote": 2}]
    ).encode()
    batch.collect(part, [torn, answer], secrets=(key,))
    failed, answered = stored(batch, part)
    assert (b"[credential]" in failed.text, key[5:13].encode() in failed.text) == (True, False)
    assert key.encode() in answered.text, "an answer is the caller's own"


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(lambda part: woven(part, 3, mark="0123456789"), id="the mark of another batch"),
        pytest.param(lambda part: woven(part, 7), id="a line of the other part"),
        pytest.param(lambda part: woven(part, 10), id="a rejected line"),
        pytest.param(lambda part: woven(part, 15), id="a line beyond the batch"),
        pytest.param(lambda part: woven(part, 36**8 - 1), id="the last ordinal there is"),
        pytest.param(lambda part: woven(part, 3).replace(part.mark.encode(), part.mark.upper().encode()), id="case"),
        pytest.param(lambda part: woven(part, 3).replace(part.mark.encode(), b""), id="no mark"),
        pytest.param(lambda part: woven(part, 3).replace(b"00000003", b"0000000\\u0663"), id="an Arabic digit"),
        pytest.param(lambda part: late(part, 3).replace(b"00000003", b""), id="no ordinal"),
    ],
)
def test_a_row_that_is_not_provably_of_this_part_is_foreign(batch: ToyBatch, foreign: Any) -> None:
    part = batch.manifest.parts[0]
    facts = batch.collect(part, [woven(part, 0), foreign(part), woven(part, 6)])
    seen = {"lines": 2, "ran": 2, "answered": 2}
    assert facts == CollectFacts(rows=2, ok=2, failed=0, foreign=1, corrupt=0, usage=Usage(2, 4), **seen)
    assert [row.ordinal for row in stored(batch, part)] == [0, 6]


@pytest.mark.parametrize("corrupt", [b"{", b"[]", b'["x", "woven", {}]', b"\xff\xfe", b'["' + b"x" * 5000 + b'"]'])
def test_a_line_that_cannot_be_read_costs_itself_alone(batch: ToyBatch, corrupt: bytes) -> None:
    part = batch.manifest.parts[0]
    facts = batch.collect(part, [corrupt, woven(part, 0), b"", corrupt], longest_row_bytes=4000)
    seen = {"lines": 1, "ran": 1, "answered": 1}
    assert facts == CollectFacts(rows=1, ok=1, failed=0, foreign=0, corrupt=2, usage=Usage(1, 2), **seen)


def test_all_rows_of_one_line_are_kept_in_order(batch: ToyBatch) -> None:
    part = batch.manifest.parts[0]
    facts = batch.collect(part, [late(part, 2), woven(part, 2), woven(part, 2)])
    assert (facts.rows, facts.ok, facts.failed) == (3, 2, 1)
    assert [(row.ordinal, row.kind) for row in stored(batch, part)] == [(2, ERROR), (2, OK), (2, OK)]


def test_lines_are_counted_once_and_those_that_never_ran_apart(batch: ToyBatch) -> None:
    part = batch.manifest.parts[0]
    twice = [late(part, 0), woven(part, 0), woven(part, 3), woven(part, 3)]
    facts = batch.collect(part, [*twice, late(part, 1, "halted"), late(part, 2, "stuck"), late(part, 4)])
    assert (facts.rows, facts.lines, facts.ran) == (7, 5, 3)


@pytest.mark.parametrize("tokens", [10**30, 2**63, 10**9 + 1, 10**400])
def test_token_counts_that_no_line_can_have_spoil_no_sum(batch: ToyBatch, tokens: int) -> None:
    part = batch.manifest.parts[0]
    row = json.loads(woven(part, 1))
    row[2]["wrote"] = tokens
    facts = batch.collect(part, [woven(part, 0), json.dumps(row).encode(), woven(part, 2)])
    assert (facts.ok, facts.usage) == (3, Usage(2, 4))
    assert [found.meta.usage is None for found in stored(batch, part)] == [False, True, False]


def test_rows_cancelled_by_our_deadline_say_that_the_window_expired(batch: ToyBatch) -> None:
    part = batch.manifest.parts[0]
    results = [late(part, 0, "halted"), late(part, 1), woven(part, 2), late(part, 3, "stuck")]
    batch.collect(part, results, cancelled_as="batch_expired")
    expired = {"code": "batch_expired", "message": EXPIRED}
    found = stored(batch, part)
    assert [json.loads(row.text) for row in found[:2]] == [expired, expired]
    assert [row.meta.code for row in found] == ["batch_expired", "batch_expired", None, "request_timeout"]
    assert json.loads(found[3].text)["code"] == "request_timeout"
    batch.collect(part, results)
    assert json.loads(stored(batch, part)[0].text) == {"code": "batch_cancelled", "message": CANCELLED}


def test_several_result_files_and_none(batch: ToyBatch) -> None:
    part = batch.manifest.parts[0]
    job = batch.collect_job(part, [woven(part, 0)], names=("cloth.rows", "more.rows"))
    Path(job.results, "more.rows").write_bytes(woven(part, 5) + b"\r\n" + woven(part, 6))
    assert collect(job).rows == 3
    assert [row.ordinal for row in stored(batch, part)] == [0, 5, 6]
    assert collect(batch.collect_job(part, [], names=())) == CollectFacts(0, 0, 0, 0, 0)
    assert stored(batch, part) == []


def test_a_result_line_is_never_held_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_bytes(b"ab\n" + b"x" * 40_000_000 + b"\n" + b"1234\r\n12345\n\n" + b"y" * 9)
    tracemalloc.start()
    try:
        assert list(bounded_lines(path, 4)) == [b"ab", None, b"1234", None, b"", None]
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_line_breaks_between_tokens_never_reach_a_row() -> None:
    assert one_line(b'{\r\n "a": "b\\nc"\n}') == b'{   "a": "b\\nc" }'
    assert one_line(b'{"a":1}') == b'{"a":1}'


def _result(part: PartSpec, ordinal: int, kind: str) -> bytes:
    """Return a result of one of many kinds, of a line of the part or of none."""
    mark, plain = part.mark, woven(part, ordinal)
    kinds = {
        "answer": plain,
        "answer in more lines": plain.replace(b'"t"', b'"a\\u2028b\\n"'),
        "failure": json.dumps([native_id(mark, ordinal), "torn", {"status": 429, "why": "no wool"}]).encode(),
        "expired": late(part, ordinal),
        "cancelled": late(part, ordinal, "halted"),
        "another mark": woven(part, ordinal, mark="0123456789"),
        "capitals": plain.replace(mark.encode(), mark.upper().encode()),
        "too long an id": plain.replace(mark.encode(), mark.encode() + b"0"),
        "one of two requests": plain.replace(b'", "woven"', b'0002", "woven"'),
        "tokens that none has": plain.replace(b'"read": 1', b'"read": %d' % 10**18),
        "corrupt": plain[:-1],
        "blank": b"",
    }
    return kinds[kind]


_KINDS = (
    *("answer", "answer", "answer in more lines", "failure", "expired", "cancelled", "another mark", "capitals"),
    *("too long an id", "one of two requests", "tokens that none has", "corrupt", "blank"),
)
RESULTS = st.lists(st.tuples(st.integers(0, 13), st.sampled_from(_KINDS)), max_size=25)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(results=RESULTS, cancelled_as=st.sampled_from([None, "batch_expired"]))
def test_answers_are_stored_as_all_rows_are(
    batch: ToyBatch, results: list[tuple[int, str]], cancelled_as: str | None
) -> None:
    """The short way of an ordinary answer and the way of any row give the same bytes and facts."""
    part = batch.manifest.parts[0]
    lines = [_result(part, *each) for each in results]
    facts = batch.collect(part, lines, cancelled_as=cancelled_as)
    files = files_below(batch.folder / "rows-0")
    with mock.patch.object(_Rows, "take", _Rows._take_any):
        assert batch.collect(part, lines, cancelled_as=cancelled_as) == facts
    assert files_below(batch.folder / "rows-0") == files
