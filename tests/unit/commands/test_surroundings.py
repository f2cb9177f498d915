"""`.env`: the pair of gateway and key that `init` writes, and where it does not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy_plugin.commands.surroundings import KEY, URL, read, with_file

HERE, ELSEWHERE = "http://127.0.0.1:8787/v1", "https://gateway.example/v1"


@pytest.mark.parametrize(
    ("url", "env", "base_url", "api_key", "used"),
    [
        (HERE, {}, None, None, {URL: HERE, KEY: "sk-file"}),
        ("http://localhost:1/v1", {}, None, None, {URL: "http://localhost:1/v1", KEY: "sk-file"}),
        (HERE, {}, f"{HERE}/", None, {KEY: "sk-file"}),
        (HERE, {URL: HERE}, None, None, {URL: HERE, KEY: "sk-file"}),
        (HERE, {}, ELSEWHERE, None, {}),
        (HERE, {"PORTKEY_BASE_URL": ELSEWHERE}, None, None, {"PORTKEY_BASE_URL": ELSEWHERE}),
        (HERE, {KEY: "sk-mine"}, None, None, {KEY: "sk-mine"}),
        (HERE, {}, None, "sk-mine", {}),
        (ELSEWHERE, {}, None, None, {}),
        ("http://10.0.0.1/v1", {}, None, None, {}),
        ("http://[", {}, None, None, {}),
    ],
)
def test_a_key_of_the_file_goes_to_the_gateway_of_the_file_alone(
    tmp_path: Path, url: str, env: dict[str, str], base_url: str | None, api_key: str | None, used: dict[str, str]
) -> None:
    (tmp_path / ".env").write_text(f"{URL}={url}\n{KEY}=sk-file\n")
    assert with_file(env, tmp_path / ".env", base_url, api_key) == used


def test_lines_are_read_as_shells_read_them(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# no\nexport A='x y'\nB=\"1=2\"\n C = c \nno value\n1D=x\nE=\n")
    assert read(tmp_path / ".env") == {"A": "x y", "B": "1=2", "C": "c", "E": ""}
    assert read(tmp_path / "none") == read(tmp_path) == {}
    (tmp_path / ".env").write_bytes(b"A=\xff")
    assert read(tmp_path / ".env") == {}
