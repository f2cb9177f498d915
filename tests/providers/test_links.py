"""Signed URLs: what stands behind them is written and read without a credential, and they are told to nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from proxy_plugin.providers.errors import Refused, TryLater
from proxy_plugin.providers.http import Http, Origin

KEY, SIGNATURE = "sk-links-0123456789abcdef", "signature-0123456789abcdef"


class Store:
    """A store on loopback that notes what comes."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.status = 200
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        self.bodies.append(await request.read())
        if self.status == 302:
            return web.Response(status=302, headers={"location": f"{self.url}/elsewhere?sig={SIGNATURE}"})
        text = f"no such thing: {request.query.get('sig')}" if self.status != 200 else ""
        return web.Response(status=self.status, text=text)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made, app = Store(), web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def origin(store: Store) -> AsyncIterator[Origin]:
    http = Http().carrying({"x-callers-own": "team"})
    yield http.origin("account", store.url, {"authorization": f"Bearer {KEY}"}, {"x-account": "ours"})
    await http.close()


async def test_no_header_of_the_account_or_its_caller_goes_along(origin: Origin, store: Store, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"{}\n")
    await origin.link(f"{store.url}/a%2Fb/c?sig={SIGNATURE}%2B").put(tmp_path / "lines")
    (request,) = store.seen
    assert (request.method, request.raw_path) == ("PUT", f"/a%2Fb/c?sig={SIGNATURE}%2B")
    assert store.bodies == [b"{}\n"]
    assert not {"authorization", "x-account", "x-callers-own"} & {name.lower() for name in request.headers}


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "http://elsewhere.example/a", "ftp://127.0.0.1/a", "https://user@elsewhere.example/a", "//a:b"],
)
async def test_only_https_and_the_accounts_own_host_are_followed(origin: Origin, url: str) -> None:
    with pytest.raises(TryLater, match="cannot be followed"):
        origin.link(url)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_link_that_is_over_is_asked_for_again(
    origin: Origin, store: Store, tmp_path: Path, status: int
) -> None:
    store.status = status
    with pytest.raises(TryLater) as error:
        await origin.link(f"{store.url}/a?sig={SIGNATURE}").get(tmp_path / "rows")
    assert error.value.status is None, "404 would say of the results that they are gone"
    assert not (tmp_path / "rows").exists()


async def test_the_signature_is_not_told(origin: Origin, store: Store, tmp_path: Path) -> None:
    store.status = 400
    with pytest.raises(Refused) as error:
        await origin.link(f"{store.url}/secret-path?sig={SIGNATURE}").get(tmp_path / "rows")
    assert error.value.message == "no such thing: [credential]"
    assert "secret-path" not in str(error.value)


async def test_a_redirect_is_returned_and_not_followed(origin: Origin, store: Store) -> None:
    store.status = 302
    reply = await origin.pointed("files", {"purpose": "batch-api", "file_name": "a.jsonl"})
    assert (reply.status, reply.headers["location"]) == (302, f"{store.url}/elsewhere?sig={SIGNATURE}")
    assert len(store.seen) == 1
    assert store.seen[0].content_type == "multipart/form-data"
