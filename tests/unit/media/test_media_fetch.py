"""Fetching one picture: TLS for the name at the address that was checked, proxies, and what counts as a picture."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from proxy_plugin.media.fetch import INSIDE, NO_ANSWER, NO_IMAGE, Bounds, Fetcher, Unfetchable, connections, media_type
from proxy_plugin.media.store import known, name_of
from tests.support.certificates import CERTIFICATE, CERTIFICATE_KEY

PNG = b"\x89PNG\r\n\x1a\n" + bytes(2_000)
Asked = list[tuple[str, str]]  # Host headers, and URLs as they were asked for


@asynccontextmanager
async def serving(asked: Asked, tls: ssl.SSLContext | None = None) -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers["Host"], request.raw_path))
        return web.Response(body=PNG, content_type="image/png")

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    server = TestServer(app, scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield server
    finally:
        await server.close()


async def always() -> bool:
    return True


async def freely(_: int) -> None:
    """There is room for everything."""


async def never() -> bool:
    return False


async def outcome(
    folder: Path, url: str, *hosts: str, proxy: str | None = None, ca_bundle: Path | None = None
) -> bytes:
    """Return what was stored for a URL. A failure that could pass is tried once only."""
    way: Callable[[URL], str | None] = lambda _: proxy  # noqa: E731
    async with await connections(ca_bundle) as session:
        bounds = Bounds(10_000, 10_000, 5, hosts)
        fetcher = Fetcher(session, folder, bounds, stored=0, proxy=way, cut_off=always, take=freely)
        done = await fetcher.fetch(url)
    assert done == (name_of(url) in known(folder))
    assert len(list(folder.glob("*.?"))) == 0, "nothing half-written stays"
    return (folder / name_of(url)).read_bytes() if done else b"given up"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


async def test_tls_is_checked_for_the_name_although_the_address_is_called(tmp_path: Path, pictures: Path) -> None:
    certificate, key, asked = tmp_path / "c.pem", tmp_path / "k.pem", Asked()
    certificate.write_text(CERTIFICATE)
    key.write_text(CERTIFICATE_KEY)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with serving(asked, tls) as server:
        named, other = (f"https://{host}:{server.port}/p?a=%2F~b" for host in ("localhost", "0x7f.1"))
        assert await outcome(pictures, named, "localhost", ca_bundle=certificate) == b"image/png\n" + PNG
        assert (
            await outcome(pictures, other, "0x7f.1", ca_bundle=certificate) == b"given up"
        )  # the certificate lacks it
        assert await outcome(pictures, f"{named}2", "localhost") == b"given up"
        assert asked == [(f"localhost:{server.port}", "/p?a=%2F~b")]


async def test_the_address_is_called_with_the_name_as_host(pictures: Path) -> None:
    asked = Asked()
    async with serving(asked) as server:
        assert await outcome(pictures, f"http://LOCALHOST:{server.port}/a%7Eb#c", "*.x", "localhost") != b"given up"
        assert [(host.lower(), path) for host, path in asked] == [(f"localhost:{server.port}", "/a%7Eb")]


async def test_a_proxy_gets_trusted_names_and_checked_addresses_only(pictures: Path) -> None:
    asked = Asked()
    async with serving(asked) as server:
        proxy = str(server.make_url("/"))
        trusted = await outcome(pictures, "http://pictures.invalid/a", "*.invalid", proxy=proxy)
        assert trusted == b"image/png\n" + PNG
        assert await outcome(pictures, "http://localhost/a", proxy=proxy) == f"-{INSIDE}\n".encode()
        public = await outcome(pictures, "http://192.0.43.7/b", proxy=proxy)
        assert public == b"image/png\n" + PNG
        assert [host for host, _ in asked] == ["pictures.invalid", "192.0.43.7"]


async def test_a_host_that_is_not_there_is_told(pictures: Path) -> None:
    asked = Asked()
    async with serving(asked) as server:
        url = f"http://127.0.0.1:{server.port}/a"
    async with await connections(None) as session:
        bounds = Bounds(10, 10, 5, ("127.0.0.1",))
        fetcher = Fetcher(session, pictures, bounds, stored=0, proxy=lambda _: None, cut_off=never, take=freely)
        assert await fetcher.fetch(url)
    assert (pictures / name_of(url)).read_text() == f"-{NO_ANSWER}\n"


@pytest.mark.parametrize(
    ("head", "declared", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "text/plain", "image/jpeg"),
        (b"GIF89a", "image/png", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "application/octet-stream", "image/webp"),
        (PNG[:16], "image/jpg", "image/png"),
        (b"<svg/>", "image/svg+xml", "image/svg+xml"),
    ],
)
def test_first_bytes_outweigh_what_a_server_says(head: bytes, declared: str, kind: str) -> None:
    assert media_type(head, declared) == kind


@pytest.mark.parametrize(("head", "declared"), [(b"", "image/png"), (b"<html>", "text/html"), (b"x", 'image/"a')])
def test_what_is_no_picture(head: bytes, declared: str) -> None:
    with pytest.raises(Unfetchable, match=NO_IMAGE):
        media_type(head, declared)
