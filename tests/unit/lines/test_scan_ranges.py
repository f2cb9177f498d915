"""A scan in ranges finds what the scan in one finds, and writes the same index, or leaves it to that."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_plugin.lines.duplicates import drawn_modulus
from proxy_plugin.lines.ranges import independent
from proxy_plugin.lines.ranges.scan import ScanRange, join_scans, scan_range, scan_ranges
from proxy_plugin.lines.scan import Facts, ScanLimits, scan

LIMITS = ScanLimits(max_line_bytes=300, max_lines=60)
URLS = ["/v1/chat/completions", "/v1/embeddings", "/v1/x"]


def request(custom_id: str, url: str, model: str) -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model}}
    return json.dumps(line).encode()


REQUESTS = st.builds(request, st.sampled_from("abcdefghé\0"), st.sampled_from(URLS), st.sampled_from(["m", "n"]))
LINES = st.one_of(REQUESTS, st.sampled_from([b"", b" ", b"{}", b"\xff", b"x" * 400, b"\r"]))
FILES = st.builds(
    lambda mark, lines, end: mark + b"\n".join(lines) + end,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(LINES, max_size=40),
    st.sampled_from([b"", b"\n"]),
)


def in_ranges(folder: Path, data: bytes, cuts: list[int], limits: ScanLimits = LIMITS) -> tuple[Facts | None, bytes]:
    """Scan a file in ranges that begin where lines do: at the places of these among them."""
    starts = [0, *(at + 1 for at, byte in enumerate(data) if byte == 10 and at + 1 < len(data))]
    places = sorted({0, len(data), *(starts[cut % len(starts)] for cut in cuts)})
    (folder / "ranges").mkdir()
    source, own, modulus = str(folder / "source"), str(folder / "ranges"), drawn_modulus()
    jobs = [ScanRange(source, own, n, *each, limits, modulus) for n, each in enumerate(pairwise(places))]
    for job in jobs:
        scan_range(job)
    facts = join_scans(jobs, str(folder / "joined"), hashlib.sha256(data).hexdigest())
    return facts, b"" if facts is None else (folder / "joined").read_bytes()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES.filter(bool), st.lists(st.integers(0, 40), max_size=4))
def test_ranges_find_what_the_scan_in_one_finds(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("scan")
    (folder / "source").write_bytes(data)
    expected = scan(str(folder / "source"), str(folder / "index"), str(folder / "scratch"), LIMITS)
    facts, index = in_ranges(folder, data, cuts)
    if not expected.lines:
        assert facts is None
        return
    assert facts == expected
    assert facts is not None
    assert list(facts.urls) == list(expected.urls)
    assert list(facts.models) == list(expected.models)
    assert index == (folder / "index").read_bytes()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"limits": ScanLimits(1_000, 99)}, "more lines than a file may have"),
        ({"limits": ScanLimits(1_000, 50)}, "as many in one range, which may not have been read to its end"),
        ({"urls": 65}, "more urls than are told apart"),
        ({"models": 1_001}, "more models than are told apart"),
    ],
)
def test_what_may_pass_a_limit_is_left_to_the_scan_in_one(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    urls, models = change.get("urls", 1), change.get("models", 1)
    count = max(100, models)
    lines = [request(str(n), f"/v1/{n % urls}", f"m-{n % models}") for n in range(count)]
    data = b"\n".join(lines)
    (tmp_path / "source").write_bytes(data)
    facts, _ = in_ranges(tmp_path, data, [count // 2], change.get("limits", ScanLimits(1_000, 5_000)))
    assert facts is None, why


def test_ranges_begin_where_lines_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    lines = [b"x" * (n % 50) for n in range(200)]
    source.write_bytes(b"\n".join(lines))
    assert scan_ranges(source, 2) == []
    monkeypatch.setattr(independent, "LEAST_BYTES", 500)
    assert scan_ranges(source, 1) == []
    found = scan_ranges(source, 2)
    assert len(found) == 4
    assert [first for first, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert b"".join(source.read_bytes()[first:stop] for first, stop in found) == source.read_bytes()
    assert all(source.read_bytes()[first - 1 : first] == b"\n" for first, _ in found[1:])
    source.write_bytes(b"x" * 9_000)  # one line is one range
    assert scan_ranges(source, 2) == [(0, 9_000)]
    source.write_bytes(b"\x1f\x8b" + b"\n" * 9_000)
    assert scan_ranges(source, 2) == []
