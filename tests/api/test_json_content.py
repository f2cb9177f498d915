"""File content as a JSON string, for clients generated from OpenAI's description; for everybody else the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from openai import AsyncOpenAI

from proxy_plugin.api.files import content
from tests.support.files_app import ALICE, LINE, build, form, process, send, serving

CONTENT = bytes(range(256)) * 4000


@dataclass
class Served:
    """A running application and a client."""

    port: int
    session: aiohttp.ClientSession

    async def upload(self, data: bytes) -> str:
        """Store a file and return its id."""
        status, file = await send(self.port, form(data))
        assert status == 200
        return str(file["id"])


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An application without limits."""
    async with serving(build(tmp_path / "data")) as port, aiohttp.ClientSession() as session:
        yield Served(port, session)


ONLY_JSON = {"Accept": "application/json"}
BROKEN = b"\xf0\x9f\x98"  # three of the four bytes of an emoji
TEXTS = [
    b"\x00",
    b'line 1\r\nline 2\t"quoted" \\ \x00\x1f\x7f \xe2\x80\xa8\n',
    "é🙂ʬ語".encode() * 90_000,
    b"x" + "🙂".encode() * 200_000,
    b"xx" + "🙂".encode() * 200_000,
    b"xxx" + "🙂".encode() * 200_000,
    bytes(range(256)) * 3000,
    b"x" * (content.BLOCK_BYTES - 2) + BROKEN + b"x" * content.BLOCK_BYTES + BROKEN,
    b"\xef\xbb\xbf" + LINE + BROKEN,
]


@pytest.mark.parametrize("content", TEXTS, ids=range(len(TEXTS)))
async def test_a_client_from_the_description_gets_a_json_string(served: Served, content: bytes) -> None:
    file_id = await served.upload(content)
    bearer = {"Authorization": f"Bearer {ALICE}"}
    url = f"http://127.0.0.1:{served.port}/v1/files/{file_id}/content"
    async with served.session.get(url, headers=bearer | ONLY_JSON | {"Range": "bytes=0-3"}) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert {"Content-Range", "ETag", "Accept-Ranges", "Content-Length"}.isdisjoint(response.headers)
        assert await response.json() == content.decode(errors="replace")
    async with served.session.head(url, headers=bearer | ONLY_JSON) as response:
        assert (response.status, response.content_type, await response.read()) == (200, "application/json", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/json", "x-stainless-lang": "python"},
        {"Accept": "application/json", "X-Stainless-Retry-Count": "0"},
        {"Accept": "application/json", "x-portkey-provider": "@lane"},
        {"Accept": "application/json", "x-portkey-api-key": ALICE},
        {"Accept": "application/binary"},
        {"Accept": "application/json, */*"},
        {"Accept": "*/*"},
        {},
    ],
    ids=["stainless", "stainless retry", "portkey", "portkey key", "binary", "several", "anything", "nothing"],
)
async def test_everybody_else_gets_the_bytes(served: Served, headers: dict[str, str]) -> None:
    file_id = await served.upload(CONTENT)
    url = f"http://127.0.0.1:{served.port}/v1/files/{file_id}/content"
    async with served.session.get(url, headers={"Authorization": f"Bearer {ALICE}"} | headers) as response:
        assert (response.status, response.content_type) == (200, "application/octet-stream")
        assert await response.read() == CONTENT


async def test_retrieve_content_of_the_stock_sdk_gets_the_bytes(served: Served) -> None:
    file_id = await served.upload(LINE * 2)
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key=ALICE, max_retries=0) as client:
        raw = await client.get(f"/files/{file_id}/content", cast_to=str, options={"headers": ONLY_JSON})
    assert raw == (LINE * 2).decode()


async def test_a_json_string_is_never_whole_in_memory(tmp_path: Path) -> None:
    """Control characters are the worst: six bytes for each."""
    with process(tmp_path / "data") as running:
        status, file = await send(running.port, form(bytes(32 * 2**20)))
        assert status == 200
        before = running.costs()["rss"]
        url = f"http://127.0.0.1:{running.port}/v1/files/{file['id']}/content"
        headers = {"Authorization": f"Bearer {ALICE}"} | ONLY_JSON
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
        assert size == 6 * 32 * 2**20 + 2
        costs = running.costs()
        assert costs["peak"] - before < 24 * 2**20
        assert costs["on_loop"] < 2**20, "the event loop has read the file itself"
        assert costs["turns"] > size / 2**20, "a piece of more than 1 MiB held the event loop"
