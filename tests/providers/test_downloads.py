"""What a provider can make a download write: never more than was announced or is taken, and nothing packed."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from proxy_plugin.providers.base import OutcomeUnknown, Short, TryLater
from proxy_plugin.providers.http import Http, Origin

BODY = b'{"custom_id":"a"}\n' * 1_000


@dataclass
class Provider:
    """Answers every call with one body; `sent` counts what it got rid of."""

    body: bytes = BODY
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    sent: int = 0
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.asked.append(request.headers.get("Accept-Encoding"))
        if not self.endless:
            return web.Response(body=self.body, status=self.status, headers=self.headers)
        response = web.StreamResponse(headers=self.headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(self.body)
            self.sent += len(self.body)


@dataclass
class Taken:
    """An intake that counts."""

    most_bytes: int = 1 << 30
    cuts: bool = False
    room: int = 1 << 30
    taken: int = 0

    async def take(self, count: int) -> None:
        if self.taken + count > self.room:
            raise LookupError("no room")
        self.taken += count


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    there, app = Provider(), web.Application()
    app.router.add_route("*", "/{rest:.*}", there.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield there
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    http = Http()
    yield http
    await http.close()


def origin(http: Http, provider: Provider) -> Origin:
    return http.origin("prod", provider.url, {"Authorization": "Bearer key"})


@pytest.mark.parametrize("announced", [0, 1, 17, 999, len(BODY) - 1])
@pytest.mark.parametrize("endless", [False, True])
async def test_a_download_ends_at_the_announced_size(
    http: Http, provider: Provider, tmp_path: Path, announced: int, endless: bool
) -> None:
    provider.endless = endless
    with pytest.raises(Short, match=f"more than the {announced} bytes"):
        await origin(http, provider).download("files/f", tmp_path / "o", announced)
    assert list(tmp_path.iterdir()) == []
    assert provider.sent < 64 << 20  # what buffers hold, and not without end


@pytest.mark.parametrize("most", [0, 1, 4_999, 1 << 20, (1 << 20) + 1, 5_000_000])
async def test_an_endless_download_ends_where_no_more_is_taken(
    http: Http, provider: Provider, tmp_path: Path, most: int
) -> None:
    provider.endless, intake = True, Taken(most)
    with pytest.raises(Short):
        await origin(http.storing(intake), provider).download("files/f", tmp_path / "o")
    assert list(tmp_path.iterdir()) == []
    assert intake.taken <= most
    intake = Taken(most, cuts=True)
    assert await origin(http.storing(intake), provider).download("files/f", tmp_path / "o") == most
    assert (tmp_path / "o").read_bytes() == (BODY * (most // len(BODY) + 1))[:most]
    assert intake.taken == most


async def test_what_is_too_long_by_its_length_is_not_begun(http: Http, provider: Provider, tmp_path: Path) -> None:
    intake = Taken(len(BODY) - 1)
    with pytest.raises(Short):
        await origin(http.storing(intake), provider).download("files/f", tmp_path / "o")
    assert intake.taken == 0


async def test_room_is_asked_for_before_it_is_written_in(http: Http, provider: Provider, tmp_path: Path) -> None:
    provider.body = b"x" * 3_500_000
    intake = Taken(room=2_500_000)
    with pytest.raises(LookupError):
        await origin(http.storing(intake), provider).download("files/f", tmp_path / "o")
    assert list(tmp_path.iterdir()) == []
    intake.room, intake.taken = 3_500_000, 0
    assert await origin(http.storing(intake), provider).download("files/f", tmp_path / "o") == 3_500_000
    assert intake.taken == 3_500_000


PACKED = {
    "gzip": gzip.compress(bytes(50 << 20)),
    "deflate": zlib.compress(bytes(50 << 20)),
    "br": b"\x8b\x02\x80abc\x03",
    "zstd": b"\x28\xb5\x2f\xfd\x00\x58",
    "identity, gzip": gzip.compress(BODY),
    "GZIP": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    "anything": BODY,
}


@pytest.mark.parametrize("encoding", PACKED)
async def test_what_comes_packed_is_refused(http: Http, provider: Provider, tmp_path: Path, encoding: str) -> None:
    provider.headers, provider.body = {"Content-Encoding": encoding}, PACKED[encoding]
    bound = origin(http, provider)
    for call in (bound.download("files/f", tmp_path / "o"), bound.request("GET", "batches"), bound.first_line("x")):
        with pytest.raises(TryLater, match="not asked for"):
            await call
    with pytest.raises(OutcomeUnknown):
        await bound.create("batches", json={})
    assert list(tmp_path.iterdir()) == []
    assert provider.asked == ["identity"] * 4


async def test_of_an_error_that_comes_packed_the_status_counts(http: Http, provider: Provider) -> None:
    provider.headers, provider.body, provider.status = {"Content-Encoding": "gzip"}, gzip.compress(b"{}"), 503
    with pytest.raises(TryLater) as caught:
        await origin(http, provider).request("GET", "batches")
    assert caught.value.status == 503


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_what_comes_as_it_is_may_say_so(http: Http, provider: Provider, tmp_path: Path, encoding: str) -> None:
    provider.headers = {"Content-Encoding": encoding}
    assert await origin(http, provider).download("files/f", tmp_path / "o", len(BODY)) == len(BODY)


async def test_a_caller_cannot_ask_for_what_is_packed(http: Http, provider: Provider) -> None:
    provider.body = b"{}"
    await asyncio.gather(
        *(
            origin(http.carrying({name: "gzip"}), provider).request("GET", "batches")
            for name in ("Accept-Encoding", "accept-encoding", "ACCEPT-ENCODING")
        )
    )
    assert provider.asked == ["identity"] * 3
