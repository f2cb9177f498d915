"""What a part's row says of results and refusals: the very texts that databases hold already, read and written."""

from __future__ import annotations

import msgspec
import pytest

from proxy_plugin.providers.base import Refused, Usage
from proxy_plugin.storage.tables.parts import PartRow, StoredRefusal, StoredResults, refusal_of, results_of

NATIVE = '"native":{"output_file_id":"file-out","error_file_id":"file-err"}'
FILES = '"folder":"results-00001-0a1b2c3d-7","names":["output.jsonl","error.jsonl"]'
USED = '"usage":{"input_tokens":90,"output_tokens":30,"cached_tokens":7,"reasoning_tokens":5}'
LATER = ',"cache_write_tokens":0,"cache_write_1h_tokens":0'  # what this version adds, and the one before passes over
ENDED = StoredResults(native={"output_file_id": "file-out", "error_file_id": "file-err"})
STORED = msgspec.structs.replace(ENDED, folder="results-00001-0a1b2c3d-7", names=("output.jsonl", "error.jsonl"))
COLLECTED = msgspec.structs.replace(STORED, rows="rows-00001-0a1b2c3d-9", stopping=None, usage=Usage(90, 30, 7, 5))
RESULTS = [
    ('{"native":{}}', StoredResults(native={})),
    ("{" + NATIVE + "}", ENDED),
    ("{" + NATIVE + "," + FILES + "}", STORED),
    (
        '{"native":{"rows":"3"},"folder":"results-00002-0a1b2c3d-8","names":[]}',
        StoredResults(native={"rows": "3"}, folder="results-00002-0a1b2c3d-8", names=()),
    ),
    ("{" + NATIVE + "," + FILES + ',"rows":"rows-00001-0a1b2c3d-9","stopping":null,' + USED + "}", COLLECTED),
    (
        "{" + NATIVE + ',"folder":"results-00001-0a1b2c3d-7","ended_at":17.5,"told":[3,1],"unnamed":true,"readings":2,'
        '"ask":true}',
        msgspec.structs.replace(
            ENDED,
            folder="results-00001-0a1b2c3d-7",
            ended_at=17.5,
            told=(3, 1),
            unnamed=True,
            readings=2,
            ask=True,
        ),
    ),
    (
        "{" + NATIVE + "," + FILES + ',"rows":"rows-00001-0a1b2c3d-9","stopping":null,' + USED + ',"held":[4,3]}',
        msgspec.structs.replace(COLLECTED, held=(4, 3)),
    ),
    (
        "{" + NATIVE + "," + FILES + ',"rows":"rows-00001-0a1b2c3d-9","stopping":"batch_cancelled",' + USED + "}",
        msgspec.structs.replace(COLLECTED, stopping="batch_cancelled"),
    ),
]
REFUSALS = [
    (
        '{"code":"results_expired","message":"They were deleted there or expired.","status":null,"param":null}',
        Refused("They were deleted there or expired.", code="results_expired"),
    ),
    (
        '{"code":"model_not_found","message":"No “such” model.","status":404,"param":"model"}',
        Refused("No “such” model.", code="model_not_found", status=404, param="model"),
    ),
]


def part(**columns: str) -> PartRow:
    known = {"batch_id": "batch_1", "n": 1, "slug": "a", "provider": "p", "endpoint": "/v1/e", "model": None}
    file = {"partition_key": "", "lines": 1, "bytes": 1, "sha256": "", "mark": "m", "file": "f", "state": "stored"}
    return PartRow(**known, **file, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "known"), RESULTS)
def test_results_are_read_and_written_as_they_always_were(text: str, known: StoredResults) -> None:
    assert results_of(part(results=text)) == known
    written = known.text()
    assert results_of(part(results=written)) == known
    assert written.replace(LATER, "") == text


def test_results_say_what_was_written_into_caches() -> None:
    known = msgspec.structs.replace(COLLECTED, usage=Usage(90, 30, 7, 5, 4, 3))
    assert results_of(part(results=known.text())) == known
    assert '"cache_write_tokens":4,"cache_write_1h_tokens":3' in known.text()


@pytest.mark.parametrize(("text", "refused"), REFUSALS)
def test_refusals_are_read_and_written_as_they_always_were(text: str, refused: Refused) -> None:
    assert refusal_of(part(refusal=text)) == StoredRefusal.of(refused)
    assert StoredRefusal.of(refused).text() == text


def test_what_is_not_known_yet_is_not_there() -> None:
    assert results_of(part()) == StoredResults(native={})
    assert refusal_of(part()) is None
