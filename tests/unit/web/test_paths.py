"""Paths of ours in disguise are nobody's; other paths are not ours to keep."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.web.paths import is_nobodys

OURS = ["/v1/files", "/files", "/v1/uploads/upload_1/parts", "/batches/batch_1/cancel", "/v1/batches", "/files/file-1"]
DISGUISES: dict[str, Callable[[str], str]] = {
    "a double slash before": lambda path: "/" + path,
    "double slashes inside": lambda path: path.replace("/", "//"),
    "a dot segment": lambda path: "/." + path,
    "dot segments inside": lambda path: path.replace("/", "/./"),
    "an escaped dot segment": lambda path: "/%2e" + path,
    "a way up": lambda path: "/chat/.." + path,
    "an escaped way up": lambda path: "/chat/%2e%2e" + path,
    "a way up with a parameter": lambda path: "/chat/..;x" + path,
    "a line feed at the end": lambda path: path + "%0a",
    "a carriage return at the end": lambda path: path + "%0D",
    "a null byte at the end": lambda path: path + "%00",
    "a null byte and more": lambda path: path + "%00.json",
    "a space at the end": lambda path: path + "%20",
    "a tab inside": lambda path: path.replace("s", "%09s"),
    "a slash at the end": lambda path: path + "/",
    "a dot at the end": lambda path: path + ".",
    "escaped slashes": lambda path: "/" + path[1:].replace("/", "%2F"),
    "backslashes": lambda path: "/" + path[1:].replace("/", "\\"),
    "escaped backslashes": lambda path: "/" + path[1:].replace("/", "%5c"),
    "an escaped letter": lambda path: path.replace("s", "%73"),
    "a letter escaped twice": lambda path: path.replace("s", "%2573"),
    "a letter escaped three times": lambda path: path.replace("s", "%252573"),
    "upper case": str.upper,
    "parameters": lambda path: path.replace("s", "s;a=b", 1),
    "an escaped question mark": lambda path: path + "%3Fx",
    "an escaped hash": lambda path: path + "%23x",
    "wide letters": lambda path: path.replace("s", "%EF%BD%93"),
    "an invisible letter": lambda path: path.replace("s", "%EF%BB%BFs"),
}


def nobodys(path: str, method: str = "GET") -> bool:
    return is_nobodys(method, path)


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("path", OURS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_path_of_ours_is_known_in_every_disguise(method: str, path: str, disguise: str) -> None:
    worn = DISGUISES[disguise](path)
    if disguise == "a null byte and more" and path.endswith("s"):
        worn = path + "/%00.json"  # what follows the byte would else be another word
    assert nobodys(worn, method), worn


@given(
    st.sampled_from(OURS),
    st.lists(st.sampled_from([name for name in DISGUISES if "null byte and" not in name]), min_size=1, max_size=3),
)
def test_and_in_several_at_once(path: str, worn: list[str]) -> None:
    for each in worn:
        path = DISGUISES[each](path)
    assert nobodys(path), path


@pytest.mark.parametrize("path", ["/../chat", "/a/../../b", "/%2e%2e/x", "/..%2fx", "/a/..%5c..%5c..", "*", ""])
def test_what_climbs_above_the_root_or_is_no_path_is_nobodys(path: str) -> None:
    assert nobodys(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/chat/completions",
        "/v1/chat//completions",
        "/v1/filesystem",
        "/v1/file",
        "/profiles",
        "/v1/my/files",
        "/openai/v1/files",
        "/x?path=/v1/files",
        "/batch/files",
        "/v1/%66ine_tuning/jobs",
        "/100%",
        "/a;b",
        "/metrics/mine",
        "/v1/healthz",
    ],
)
def test_other_paths_are_not_ours_to_keep(path: str) -> None:
    assert not nobodys(path)


@pytest.mark.parametrize(
    ("method", "path", "kept"),
    [
        ("GET", "//v1/models", True),
        ("HEAD", "/v1/models/", True),
        ("GET", "/v1/models%2Fx", True),
        ("DELETE", "/v1/models/ft:x", False),
        ("POST", "/models", False),
        ("GET", "//healthz", True),
        ("GET", "/readyz/", True),
        ("GET", "/./metrics", True),
        ("POST", "/healthz", False),
    ],
)
def test_of_some_paths_only_reading_is_ours(method: str, path: str, kept: bool) -> None:
    assert nobodys(path, method) is kept
