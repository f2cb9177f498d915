"""The scan of a whole file: lines, index, facts and faults, checked against simple reckonings of the same bytes."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.batch_faults import file_faults
from proxy_plugin.lines.line_index import CHUNK_BYTES, LineIndex
from proxy_plugin.lines.scan import _PACKED, Facts, Fault, ScanLimits, UrlFacts, endpoint_faults, scan
from proxy_plugin.routing.route import Route, StoredTarget

LIMITS = ScanLimits(max_line_bytes=16 * 2**20, max_lines=5_000_000)
BOM = b"\xef\xbb\xbf"
CHAT = "/v1/chat/completions"
IndexedLine = tuple[int, int, bytes]  # ordinal, line number, content


def request(custom_id: str = "r-1", url: str = CHAT, model: str = "m", **extra: Any) -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model}} | extra
    return json.dumps(line).encode()


def requests(count: int, **fields: str) -> list[bytes]:
    return [request(f"r-{number}", **fields) for number in range(count)]


def scanned(data: bytes | Iterable[bytes], limits: ScanLimits = LIMITS) -> tuple[Facts, list[IndexedLine]]:
    """Scan bytes, or lines that still lack their newlines; return the facts and what the index says."""
    with tempfile.TemporaryDirectory() as folder:
        source, index, scratch = Path(folder, "source"), Path(folder, "index"), Path(folder, "scratch")
        source.write_bytes(data if isinstance(data, bytes) else b"".join(line + b"\n" for line in data))
        facts = scan(str(source), str(index), str(scratch), limits)
        assert not scratch.exists()
        with LineIndex(index) as lines:
            return facts, list(lines.lines(source))


def found(data: bytes | Iterable[bytes], limits: ScanLimits = LIMITS) -> list[tuple[str, str | None, int | None]]:
    return [(fault.code, fault.param, fault.line) for fault in scanned(data, limits)[0].faults]


def split_simply(data: bytes, limit: int = 2**30) -> list[tuple[int, bytes]]:
    """Return (line number, content) of all lines that are not blank; one above the limit is never looked into."""
    lines = data.removeprefix(BOM).split(b"\n")
    contents = [line.removesuffix(b"\r") for line in lines]
    return [(number, each) for number, each in enumerate(contents, 1) if each.strip() or len(each) > limit]


def lacking(line: int) -> Fault:
    return Fault("invalid_request", "Messages parameter is required.", "body.messages", line)


FULL = {"model": "m", "messages": []}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([request("a"), request("b")], []),  # on its own it is no fault: a config may add what is not there
        ([request("a"), request("b", body={"messages": []})], [1, 2]),
        ([request("a", body={}), request("b", body=FULL)], [1, 1]),
        ([request("a"), request("a", body=FULL)], [1, 2]),
        ([request("a"), b"{"], [1, 2]),
        ([request("a"), request("b", url="/v1/embeddings")], [1, 2]),
        ([request("a", body=FULL), request("b", body={"stream": True, "model": "m"})], [2, 2]),
        ([request("a", body=FULL), request("b", body={"model": 7}), request("c")], [2, 2, 3]),
        ([request("a", method="GET"), request("b")], [1, 2]),
        ([request("a", url="/v1/responses"), request("b", body=FULL)], [1]),
        ([request("a"), request("b", body=FULL | {"messages": None}), request("c", body=[])], [1, 3]),
    ],
)
def test_what_bodies_lack_is_told_beside_other_faults(lines: list[bytes], told: list[int]) -> None:
    target = StoredTarget(slug="lane", provider="openai", model=None)
    faults = file_faults(scanned(lines)[0], CHAT, Route((target,)))
    assert [fault.line for fault in faults] == told
    assert {fault.param for fault in faults if fault.message == lacking(1).message} <= {"body.messages"}


def test_the_facts_of_a_good_file() -> None:
    lines = [request("a"), b"", request("b", model="m-2"), b" \t\r", request("c", url="/v1/embeddings")]
    data = b"\r\n".join(lines)
    facts, index = scanned(data)
    assert facts == Facts(
        lines=3,
        bytes=len(data),
        blank_lines=2,
        faults=(),
        fault_count=0,
        urls={CHAT: UrlFacts(2, (1, 3)), "/v1/embeddings": UrlFacts(1, (5,))},
        other_urls=UrlFacts(),
        models={"m": 2, "m-2": 1},
        other_models=0,
        longest_line=max(map(len, lines)),
        sha256=hashlib.sha256(data).hexdigest(),
        beside=(lacking(1), lacking(3)),
    )
    assert index == [(0, 1, lines[0]), (1, 3, lines[2]), (2, 5, lines[4])]


fragments = st.sampled_from([b"\n", b"\r\n", b"\r", b" ", b"\t", BOM, b"x", b"\x00", b"{}", request()])
file_bytes = st.lists(fragments | st.binary(max_size=5), max_size=40).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(data=file_bytes, bom=st.booleans())
def test_lines_are_split_as_bytes(data: bytes, bom: bool) -> None:
    data = BOM + data if bom else data
    assume(not data.startswith(tuple(magic for magic, _ in _PACKED)))  # a packed file has no lines
    facts, index = scanned(data)
    expected = split_simply(data)
    assert index == [(ordinal, number, content) for ordinal, (number, content) in enumerate(expected)]
    assert (facts.lines, facts.bytes) == (len(expected), len(data))
    assert facts.longest_line == max((len(content) for _, content in expected), default=0)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()


@settings(max_examples=60, deadline=None)
@given(data=file_bytes, before=st.integers(0, 60), blank=st.booleans())
def test_lines_are_split_alike_at_the_edge_of_a_chunk(data: bytes, before: int, blank: bool) -> None:
    filler = (b" " if blank else b"x") * (CHUNK_BYTES - before)
    for whole in (filler + b"\n" + data, filler + data):
        expected = split_simply(whole)
        assert scanned(whole)[1] == [(ordinal, number, content) for ordinal, (number, content) in enumerate(expected)]


@settings(max_examples=60, deadline=None)
@given(data=file_bytes, limit=st.integers(1, 90))
@example(data=b"\r \n", limit=1)
@example(data=b"{}\r", limit=1)
def test_exactly_the_lines_above_the_limit_are_too_long(data: bytes, limit: int) -> None:
    facts, index = scanned(data, ScanLimits(max_line_bytes=limit, max_lines=1000))
    expected = split_simply(data, limit)
    too_long = [fault.line for fault in facts.faults if fault.code == "line_too_long"]
    assert too_long == [number for number, content in expected if len(content) > limit]
    assert index == [(ordinal, number, content) for ordinal, (number, content) in enumerate(expected)]


@pytest.mark.parametrize("length", [CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES])
def test_a_line_longer_than_a_chunk_may_be_allowed_or_not(length: int) -> None:
    long = request("long", note="x" * length)
    lines = [request("before"), long, request("after")]
    facts, index = scanned(lines)
    assert (facts.fault_count, facts.longest_line) == (0, len(long))
    assert [content for _, _, content in index] == lines
    exactly = ScanLimits(max_line_bytes=len(long), max_lines=10)
    assert found(b"\r\n".join([*lines, b""]), exactly) == []
    assert found(lines, ScanLimits(max_line_bytes=len(long) - 1, max_lines=10)) == [("line_too_long", None, 2)]


def test_the_line_limit_is_named() -> None:
    facts, _ = scanned([request("a" * 500)], ScanLimits(max_line_bytes=400, max_lines=10))
    assert "400 bytes" in facts.faults[0].message


def test_the_scan_stops_behind_the_last_allowed_line() -> None:
    data = b"\n\n".join([*requests(5), b"not JSON" * CHUNK_BYTES, b""])
    facts, index = scanned(data, ScanLimits(max_line_bytes=1000, max_lines=3))
    assert [(fault.code, fault.line) for fault in facts.faults] == [("too_many_tasks", 7)]
    assert "more than 3 requests" in facts.faults[0].message
    assert [number for _, number, _ in index] == [1, 3, 5]
    assert (facts.lines, facts.bytes, facts.sha256) == (3, len(data), hashlib.sha256(data).hexdigest())
    assert found(requests(3), ScanLimits(max_line_bytes=1000, max_lines=3)) == []


@pytest.mark.parametrize("data", [b"", BOM, b"\n", b" \r\n\t\n\r", BOM + b"\n\n"])
def test_a_file_without_requests_is_empty(data: bytes) -> None:
    assert found(data) == [("empty_file", None, None)]


def test_each_fault_has_its_line() -> None:
    lines = [
        b"not JSON",
        b"",
        request("same"),
        request("n", method="GET"),
        request("other"),
        request("same"),
        b'{"custom_id":"\\u0073ame",' + request("x")[1:].replace(b'"custom_id": "x", ', b""),
        request("s", body={"model": "m", "stream": True}),
        request("u", url=""),
    ]
    facts, _ = scanned(lines)
    assert [(fault.line, fault.code, fault.param) for fault in facts.faults] == [
        (1, "invalid_json_line", None),
        (4, "invalid_value", "method"),
        (6, "duplicate_custom_id", "custom_id"),
        (7, "duplicate_custom_id", "custom_id"),
        (8, "streaming_unsupported", "body.stream"),
    ]
    assert (facts.fault_count, facts.lines, facts.blank_lines) == (5, 8, 1)
    assert "line 3" in facts.faults[2].message, "a duplicate names the line that has the id first"


def test_the_first_hundred_faults_are_listed_and_all_are_counted() -> None:
    lines = [line for number in range(150) for line in (request("same"), b"[%d]" % number)]
    facts, _ = scanned(lines)
    assert facts.fault_count == 150 + 149
    assert [fault.line for fault in facts.faults] == list(range(2, 102))
    assert [fault.code for fault in facts.faults[:2]] == ["invalid_json_line", "duplicate_custom_id"]


spellings = st.sampled_from(["A", "\\u0041", "a", "\\u0061", "é", "\\u00e9", "\\ud83d", "\\uD83D", "/", "\\/"])


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.lists(spellings, min_size=1, max_size=2).map("".join), max_size=12))
def test_ids_are_compared_as_decoded(ids: list[str]) -> None:
    lines = [f'{{"custom_id":"{each}","method":"POST","url":"u","body":{{"model":"m"}}}}'.encode() for each in ids]
    decoded = [json.loads(f'"{each}"') for each in ids]
    repeated = [number for number, each in enumerate(decoded, 1) if each in decoded[: number - 1]]
    faults = found(lines)
    assert [line for code, _, line in faults if code == "duplicate_custom_id"] == repeated


def test_many_duplicates_go_through_the_bucket_files() -> None:
    names = [f"r-{number}" for number in range(66_000)]
    names[65_990] = names[3]
    names[65_000] = names[65_990 - 1]
    lines = (f'{{"custom_id":"{name}","method":"POST","url":"u","body":{{"model":"m"}}}}'.encode() for name in names)
    facts, _ = scanned(lines)
    assert [(fault.code, fault.line) for fault in facts.faults] == [
        ("duplicate_custom_id", 65_990),
        ("duplicate_custom_id", 65_991),
    ]
    assert ["line 65001 has" in facts.faults[0].message, "line 4 has" in facts.faults[1].message] == [True, True]


def test_lines_for_another_endpoint_are_faults() -> None:
    lines = [request("a"), request("b", url="/v1/embeddings"), b"", request("c", url=CHAT + "/"), request("d")]
    facts, _ = scanned(lines)
    faults = endpoint_faults(facts, CHAT)
    assert [(fault.code, fault.param, fault.line) for fault in faults] == [
        ("invalid_url", "url", 2),
        ("invalid_url", "url", 4),
    ]
    assert "endpoint" in faults[0].message
    assert "embeddings" not in faults[0].message
    assert [fault.line for fault in endpoint_faults(facts, "/v1/embeddings")] == [1, 4, 5]


def test_the_first_hundred_wrong_urls_are_listed_by_line() -> None:
    lines = [request(f"r-{number}", url="/v1/a" if number % 2 else "/v1/b") for number in range(300)]
    facts, _ = scanned(lines)
    assert facts.urls["/v1/a"].count == 150
    assert [fault.line for fault in endpoint_faults(facts, CHAT)] == list(range(1, 101))
    assert [fault.line for fault in endpoint_faults(facts, "/v1/a")] == list(range(1, 201, 2))


def test_urls_beyond_sixty_four_are_counted_together_and_stay_faults() -> None:
    lines = [request(f"r-{number}", url=f"/v1/{number}") for number in range(70)]
    lines += [request("known", url="/v1/0"), request("long", url="/" * 513)]
    facts, _ = scanned(lines)
    assert len(facts.urls) == 64
    assert facts.urls["/v1/0"] == UrlFacts(2, (1, 71))
    assert facts.other_urls == UrlFacts(7, (65, 66, 67, 68, 69, 70, 72))
    assert [fault.line for fault in endpoint_faults(facts, "/v1/0")] == [*range(2, 71), 72]


def test_models_beyond_a_thousand_are_counted_together() -> None:
    lines = [request(f"r-{number}", model=f"m-{number}") for number in range(1003)]
    lines += [request("known", model="m-0"), request("long", model="m" * 513)]
    facts, _ = scanned(lines)
    assert (len(facts.models), facts.models["m-0"], facts.other_models) == (1000, 2, 4)


def test_facts_survive_json() -> None:
    lines = [request("é\ud83d", url='/v1/"é"😀\x00', model="漢"), b"{", request("same"), request("same")]
    facts, _ = scanned(lines)
    assert facts.fault_count == 2
    assert msgspec.json.decode(msgspec.json.encode(facts), type=Facts) == facts


def test_no_fault_quotes_the_user() -> None:
    secret = "SECRET"
    lines = [
        b"{" + secret.encode(),
        request(secret),
        request(secret),
        request("a", url=secret),
        request("b", method=secret),
    ]
    lines += [request("c", body={secret: 1}), request("d", body={"model": "m", "stream": secret}), request(secret * 99)]
    facts, _ = scanned(lines, ScanLimits(max_line_bytes=500, max_lines=7))
    faults: list[Fault] = [*facts.faults, *endpoint_faults(facts, CHAT)]
    assert {fault.code for fault in faults} >= {"duplicate_custom_id", "invalid_url", "too_many_tasks"}
    assert secret not in "".join(fault.message for fault in faults)


def test_a_missing_source_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan(str(tmp_path / "none"), str(tmp_path / "index"), str(tmp_path), LIMITS)
