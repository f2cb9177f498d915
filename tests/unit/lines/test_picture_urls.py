"""Which pictures a batch fetches: those of lines whose target wants them, wherever a line comes to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy_plugin.lines.choose import TargetSpec
from proxy_plugin.lines.picture_urls import UrlsJob, list_urls
from proxy_plugin.media.store import URLS
from proxy_plugin.routing.route import Fallback, Rules, To
from tests.toy.toy_batch import ToyBatch, chat

PLAIN = TargetSpec("plain", "bedrock", "anthropic.claude-3-haiku-20240307-v1:0")  # takes no URLs
FETCHED = msgspec.structs.replace(PLAIN, slug="fetched", fetch_media=True)
OPENAI = TargetSpec("openai", "openai", "gpt-4o-mini")  # takes them


def line(n: int) -> bytes:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": f"https://pictures.example/{n}.png"}}]
    return chat(str(n), max_tokens=5) if n % 2 else chat(str(n), parts, max_tokens=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("specs", "rule", "numbers"),
    [
        ((FETCHED,), To(0), [0, 2]),
        ((PLAIN,), To(0), []),
        ((PLAIN, FETCHED), Fallback((To(0), To(1))), [0, 2]),
        ((OPENAI, FETCHED), Fallback((To(0), To(1))), []),
        ((PLAIN, OPENAI, FETCHED), Fallback((To(0), To(1), To(2))), []),
    ],
)
def test_pictures_of_lines_that_come_to_a_target_that_wants_them(
    tmp_path: Path, specs: tuple[TargetSpec, ...], rule: Any, numbers: list[int]
) -> None:
    batch = ToyBatch(tmp_path, [line(n) for n in range(4)])
    split = msgspec.structs.replace(batch.split_job(), targets=specs, rules=Rules(rule=rule))
    list_urls(UrlsJob(split, str(tmp_path / "media"), 100))
    listed = [json.loads(each) for each in (tmp_path / "media" / URLS).read_bytes().splitlines()]
    assert listed == [f"https://pictures.example/{n}.png" for n in numbers]
