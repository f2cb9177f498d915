"""How many connections there may be, by how many files the process may open."""

from __future__ import annotations

import pytest

from proxy_plugin.config import connections, parse
from proxy_plugin.config.connections import KEPT_FOR_FILES, LEAST_OPEN, MOST_OPEN, described, most_open
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.ground.open_files import FileLimit


@pytest.mark.parametrize(
    ("files", "most"),
    [(64, LEAST_OPEN), (256, LEAST_OPEN), (1024, 445), (2048, 1128), (65_536, MOST_OPEN), (2**20, MOST_OPEN)],
)
def test_the_files_of_the_gateway_are_left_room(files: int, most: int) -> None:
    assert most_open(parse({"proxy_plugin": {}}, {}), FileLimit(64, files)) == most


def test_a_number_that_is_set_is_taken() -> None:
    config = parse({"proxy_plugin": {"connections": {"max_open": 7}}}, {})
    assert most_open(config, FileLimit(64, 64)) == 7


def test_check_shows_both_numbers_and_doubts_what_does_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "file_limit", lambda: FileLimit(1024, 2048))
    plain = described(parse({"proxy_plugin": {}}, {}))
    assert plain == "at most 1128 at once; open files at most 2048; 1024 until the gateway raises it"
    many = described(parse({"proxy_plugin": {"connections": {"max_open": 2048 - KEPT_FOR_FILES + 1}}}, {}))
    assert "more than there can be" in many


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_open": 0},
        {"head_seconds": 0},
        {"head_seconds": float("inf")},
        {"keepalive_seconds": -1},
        {"max_head_bytes": 10},
        {"min_bytes_per_second": -1},
        {"max_body_seconds": 0},
        {"max_opened": 5},
    ],
)
def test_what_would_bound_nothing_or_serve_nobody_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"proxy_plugin\.connections"):
        parse({"proxy_plugin": {"connections": wrong}}, {})
