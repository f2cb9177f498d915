"""Cutting a file into parts: what fits where, what is refused, and that the same file is always cut the same way."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.manifest import ASSIGNMENT, PARTS, REJECTED, REMARKS, read_manifest
from proxy_plugin.lines.row_store import ERROR, NOTE, StoredRow, rows
from proxy_plugin.lines.split import split
from proxy_plugin.providers.base import split_native_id
from tests.support.descriptors import few_descriptors
from tests.toy.toy_batch import TARGET, ToyBatch, chat, files_below
from tests.toy.toy_lane import CHAT, EMBEDDINGS

pytestmark = pytest.mark.usefixtures("toys")

FREE = msgspec.structs.replace(TARGET, max_lines=None, max_bytes=None, max_inputs=None, max_line_bytes=None)


def limited(**limits: Any) -> TargetSpec:
    return msgspec.structs.replace(FREE, **limits)


def cards(batch: ToyBatch) -> list[list[dict[str, Any]]]:
    """Return the cards of every part, read from the documents on disk."""
    return [json.loads(batch.document(part))["cards"] for part in batch.manifest.parts]


def ordinals(batch: ToyBatch) -> list[list[int]]:
    """Return the ordinals in every part; each native id must carry its part's mark."""
    found = []
    for part, inside in zip(batch.manifest.parts, cards(batch), strict=True):
        ids = [split_native_id(card["tag"]) for card in inside]
        assert [each and each[0] for each in ids] == [part.mark] * len(ids)
        found.append([each[1] for each in ids if each])
    return found


def assigned(batch: ToyBatch) -> list[int | None]:
    raw = (batch.folder / "split" / ASSIGNMENT).read_bytes()
    numbers = [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]
    return [None if number == REJECTED else number for number in numbers]


def remarks(batch: ToyBatch) -> list[StoredRow]:
    return list(rows(batch.folder / "split" / REMARKS))


def test_a_part_is_closed_when_it_has_its_lines(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat(f"id {n}", f"text {n}") for n in range(17)])
    manifest = batch.split()
    assert ordinals(batch) == [list(range(7)), list(range(7, 14)), [14, 15, 16]]
    assert assigned(batch) == [0] * 7 + [1] * 7 + [2] * 3
    assert [(part.n, part.lines, part.first, part.last) for part in manifest.parts] == [
        (0, 7, 0, 6),
        (1, 7, 7, 13),
        (2, 3, 14, 16),
    ]
    assert [card["say"][0][1] for part in cards(batch) for card in part] == [f"text {n}" for n in range(17)]
    assert (manifest.batch_id, manifest.total, manifest.rejected) == ("batch_1", 17, 0)


def test_the_assignment_of_a_long_file_is_whole(tmp_path: Path) -> None:
    lines = [chat(f"{n}", seed=1) if n % 5000 == 0 else chat(f"{n}") for n in range(17_000)]
    batch = ToyBatch(tmp_path, lines, (limited(max_lines=9000),))
    assert [part.lines for part in batch.split().parts] == [9000, 7996]
    assert assigned(batch) == [None if n % 5000 == 0 else n // 9002 for n in range(17_000)]


def test_the_manifest_tells_what_is_on_disk(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat(str(n), "é🙂" * n) for n in range(20)])
    manifest = batch.split()
    for part in manifest.parts:
        document = batch.document(part)
        assert (part.bytes, part.sha256) == (len(document), hashlib.sha256(document).hexdigest())
        told = part.document(batch.folder / "split")
        assert (told.path.read_bytes(), told.mark, told.endpoint, told.lines) == (document, part.mark, CHAT, part.lines)
    assert read_manifest(tmp_path / "split") == manifest
    assert len({part.mark for part in manifest.parts}) == 3


def test_a_document_is_filled_to_the_last_byte_that_the_lane_takes(tmp_path: Path) -> None:
    lines = [chat(f"{n}", "x" * 40) for n in range(4)]
    batch = ToyBatch(tmp_path / "free", lines, (FREE,))
    whole = batch.split().parts[0].bytes
    exact = ToyBatch(tmp_path / "exact", lines, (limited(max_bytes=whole),))
    assert [part.bytes for part in exact.split().parts] == [whole]
    short = ToyBatch(tmp_path / "short", lines, (limited(max_bytes=whole - 1),))
    short.split()
    assert ordinals(short) == [[0, 1, 2], [3]]
    assert len(short.document(short.manifest.parts[0])) <= whole - 1


def test_the_inputs_of_a_job_are_counted_not_its_lines(tmp_path: Path) -> None:
    def embed(count: int) -> bytes:
        body = {"model": "wool-e", "input": [f"text {n}" for n in range(count)]}
        return json.dumps({"custom_id": str(count), "method": "POST", "url": EMBEDDINGS, "body": body}).encode()

    batch = ToyBatch(tmp_path, [embed(n) for n in (3, 4, 3, 10, 11, 1)], (limited(max_inputs=10),), EMBEDDINGS)
    manifest = batch.split()
    assert ordinals(batch) == [[0, 1, 2], [3], [5]]
    assert [part.inputs for part in manifest.parts] == [10, 10, 1]
    assert remarks(batch)[0].meta.code == "line_too_large"
    assert b"(max_inputs) is 10" in remarks(batch)[0].text


def test_lines_of_different_partitions_take_turns_and_share_no_part(tmp_path: Path) -> None:
    lines = [chat(str(n), max_tokens=5000 if n % 2 else 5) for n in range(18)]
    batch = ToyBatch(tmp_path, lines)
    manifest = batch.split()
    assert ordinals(batch) == [[0, 2, 4, 6, 8, 10, 12], [1, 3, 5, 7, 9, 11, 13], [14, 16], [15, 17]]
    assert [part.partition for part in manifest.parts] == ["", "long", "", "long"]


def test_a_line_alone_may_fill_a_job_to_the_last_byte_but_not_beyond(tmp_path: Path) -> None:
    lines = [chat("a", "x" * 50)]
    whole = ToyBatch(tmp_path / "free", lines, (FREE,)).split().parts[0].bytes
    assert ToyBatch(tmp_path / "exact", lines, (limited(max_bytes=whole),)).split().rejected == 0
    assert ToyBatch(tmp_path / "short", lines, (limited(max_bytes=whole - 1),)).split().rejected == 1


@pytest.mark.parametrize(
    ("limits", "names"),
    [({"max_line_bytes": 300}, b"(max_line_bytes) is 300"), ({"max_bytes": 300}, b"(max_bytes) is 300")],
)
def test_a_line_that_no_job_could_carry_is_rejected_and_the_rest_runs(
    tmp_path: Path, limits: dict[str, int], names: bytes
) -> None:
    lines = [chat("big first", "x" * 300), chat("a"), chat("big", "x" * 300), chat("b")]
    batch = ToyBatch(tmp_path, lines, (limited(**limits),))
    manifest = batch.split()
    assert assigned(batch) == [None, 0, None, 0]
    assert (manifest.rejected, manifest.parts[0].first) == (2, 1)
    assert [(row.ordinal, row.kind, row.meta.code) for row in remarks(batch)] == [
        (0, ERROR, "line_too_large"),
        (2, ERROR, "line_too_large"),
    ]
    assert names in remarks(batch)[0].text
    assert b"xxx" not in remarks(batch)[0].text


def test_a_line_that_the_lane_cannot_express_says_why(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat("a"), chat("b", "secret words", seed=5)])
    assert batch.split().rejected == 1
    (row,) = remarks(batch)
    error = json.loads(row.text)
    assert (row.ordinal, row.part, row.kind, error["code"]) == (1, REJECTED, ERROR, "unsupported_parameter")
    assert "body.seed" in error["message"]
    assert (row.meta.param, row.meta.provider, row.meta.slug, row.meta.model) == (
        "body.seed",
        "toy",
        "toy-prod",
        "wool-1",
    )
    assert b"secret" not in row.text


def test_dropped_parameters_are_counted_and_noted_line_by_line(tmp_path: Path) -> None:
    lines = [chat("a", seed=5), chat("b"), chat("c", seed=6, user="u")]
    batch = ToyBatch(tmp_path, lines, (limited(drop_params=True),))
    (part,) = batch.split().parts
    assert part.dropped == {"seed": 2, "user": 1}
    assert [(row.ordinal, row.part, row.kind, row.meta.dropped) for row in remarks(batch)] == [
        (0, 0, NOTE, ("seed",)),
        (2, 0, NOTE, ("seed", "user")),
    ]


def test_the_allow_list_is_checked_on_every_line_after_the_routes_own_model(tmp_path: Path) -> None:
    lines = [chat("a", model="wool-1"), chat("b", model="silk"), chat("c", model="wool-1")]
    batch = ToyBatch(tmp_path / "list", lines, (limited(models=("wool-1", "wool-2")),))
    batch.split()
    assert assigned(batch) == [0, None, 0]
    error = json.loads(remarks(batch)[0].text)
    assert error["code"] == "model_not_allowed"
    assert "'toy-prod'" in error["message"]
    assert "wool-1, wool-2" in error["message"]
    over = ToyBatch(tmp_path / "over", lines, (limited(models=("wool-1",), model="wool-1"),))
    over.split()
    assert [card["engine"] for card in cards(over)[0]] == ["wool-1"] * 3


def test_an_endpoint_that_the_lane_lacks_fails_the_batch_with_an_error_of_each_line(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat("a"), chat("b")], endpoint="/v1/responses")
    manifest = batch.split()
    assert (manifest.parts, manifest.rejected) == ((), 2)
    assert [(fault.code, fault.line) for fault in manifest.faults] == [
        ("unsupported_endpoint", 1),
        ("unsupported_endpoint", 2),
    ]


def test_a_lane_with_one_model_a_job_gets_hundreds_of_open_parts_through_few_descriptors(tmp_path: Path) -> None:
    single = limited(provider="toy-single")
    lines = [chat(f"{turn}-{n}", f"{turn}", model=f"wool-{n}") for turn in range(4) for n in range(150)]
    batch = ToyBatch(tmp_path, lines, (single,))
    with few_descriptors():
        manifest = batch.split()
    assert [part.model for part in manifest.parts] == [f"wool-{n}" for n in range(150)]
    assert ordinals(batch) == [[n, n + 150, n + 300, n + 450] for n in range(150)]


def test_splitting_again_gives_the_same_bytes_and_removes_what_a_dead_attempt_left(tmp_path: Path) -> None:
    lines = [chat(f"id {n}", f"text {n}", max_tokens=n * 90) for n in range(30)] + [chat("bad", seed=1)]
    batch = ToyBatch(tmp_path, lines)
    manifest = batch.split()
    first = files_below(tmp_path / "split")
    rubbish = tmp_path / "split" / PARTS / "00099.native"
    rubbish.write_bytes(b"of a dead attempt")
    (tmp_path / "split" / PARTS / "00000.native").write_bytes(b"torn")
    assert batch.split() == manifest
    assert files_below(tmp_path / "split") == first
    assert len(first) == len(manifest.parts) + 3


def test_marks_depend_on_the_batch_and_its_source(tmp_path: Path) -> None:
    batch = ToyBatch(tmp_path, [chat("a")])
    job = batch.split_job()
    others = (
        job,
        msgspec.structs.replace(job, batch_id="batch_2"),
        msgspec.structs.replace(job, source_sha256="1" * 64),
        msgspec.structs.replace(job, targets=(limited(slug="other"),)),
    )
    assert len({split(each).parts[0].mark for each in others}) == 4


@pytest.mark.parametrize(("text", "complaint"), [("newline", "line break"), ("grows", "different sizes")])
def test_an_adapter_that_breaks_the_document_stops_the_split(tmp_path: Path, text: str, complaint: str) -> None:
    batch = ToyBatch(tmp_path, [chat("a"), chat("b", text)], (limited(provider="toy-broken", max_lines=1),))
    with pytest.raises(ValueError, match=complaint):
        batch.split()
