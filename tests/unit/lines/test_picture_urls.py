"""Which pictures are fetched for a batch: those of every target to which one of its lines may come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from proxy_plugin.lines.picture_urls import UrlsJob, list_urls
from proxy_plugin.media.store import URLS
from proxy_plugin.routing.route import Fallback, Rules, Share, To
from tests.toy.toy_batch import TARGET, ToyBatch

pytestmark = pytest.mark.usefixtures("toys")


def line(n: int) -> bytes:
    content = [{"type": "image_url", "image_url": {"url": f"https://pictures.example/{n}.png"}}]
    body = {"model": "wool-1", "messages": [{"role": "user", "content": content}]}
    told = {"custom_id": f"id {n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    ("fetching", "rule", "listed"),
    [
        ((), To(0), 0),
        ((0,), To(0), 4),
        ((1,), To(0), 0),
        ((1,), Fallback((To(0), To(1))), 4),
        ((2,), Fallback((To(0), To(1), To(2))), 4),
        ((0, 2), Fallback((To(0), To(1), To(2))), 4),
        ((1,), Share((1.0, 1.0), (To(0), To(1))), 2),
    ],
)
def test_pictures_of_every_target_that_a_line_may_come_to_are_fetched(
    fetching: tuple[int, ...], rule: Any, listed: int, tmp_path: Path
) -> None:
    targets = tuple(structs.replace(TARGET, slug=f"{n}", fetch_media=n in fetching) for n in range(3))
    batch = ToyBatch(tmp_path, [line(n) for n in range(4)], targets)
    list_urls(UrlsJob(structs.replace(batch.split_job(), rules=Rules(rule=rule)), str(tmp_path / "media"), 100))
    urls = [json.loads(each) for each in (tmp_path / "media" / URLS).read_bytes().splitlines()]
    assert len(urls) == len(set(urls)) == listed
