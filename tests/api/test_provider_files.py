"""Files for other purposes than batches: kept by the provider, seen by whom their row says, and never in memory."""

from __future__ import annotations

import http.client
import json
import sqlite3
import urllib.error
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from proxy_plugin.api.files.provider_answers import as_answer
from proxy_plugin.providers.base import Account, NewFile, OutcomeUnknown
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.lanes.openai.services.openai import OPENAI, OpenAICredentials
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.files_app import FORM_TYPE, closing, leftovers, part
from tests.support.folders import holding
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import KEY, Gateway, lane

OTHER_KEY, NARROW_KEY = "gateway-key-of-another-workspace", "gateway-key-without-the-lane"
OWN, ANOTHERS = "sk-own-5up3r-s3cr3t-key", "sk-another-5up3r-s3cr3t-key"
DATA = b'{"messages":[]}\n' * 5000
NAME = 'späte "Daten" 🙂.jsonl'
MEGABYTE = 2**20
pytestmark = pytest.mark.sandbox(keys=[DEFAULT_KEY, OWN, ANOTHERS])
API_KEYS: list[dict[str, Any]] = [
    {"name": "other", "key": OTHER_KEY, "workspace": "other"},
    {"name": "narrow", "key": NARROW_KEY, "virtual_keys": ["claude*"]},
]


@dataclass
class Shared(Gateway):
    """A gateway with two workspaces on one provider account; `narrow` is of the first and may not use the lane."""

    api_keys: list[dict[str, Any]] = field(default_factory=API_KEYS.copy)
    server: dict[str, Any] = field(default_factory=lambda: {"custom_hosts": ["127.0.0.1"]})

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        """Return status, JSON and headers of an answer that may be an error. `a_b=` is the header `a-b`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            return 200, self.call(method, path, body, headers=given), {}
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read()), dict(refused.headers)


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    claude = {"provider": "anthropic", "api_key": "sk-sandbox", "custom_host": sandbox.url("anthropic")}
    made = Shared(tmp_path_factory.mktemp("files"), {"lane": lane(sandbox), "claude": claude})
    made.start()
    yield made
    made.close()


@pytest.fixture
def client(gateway: Shared) -> Iterator[openai.OpenAI]:
    with caller(gateway) as made:
        yield made


def caller(gateway: Gateway, key: str = KEY, **headers: str) -> openai.OpenAI:
    """Return the stock client with its own rule of retries."""
    return openai.OpenAI(base_url=gateway.url, api_key=key, default_headers=headers or {"x-portkey-provider": "@lane"})


def own(gateway: Gateway, sandbox: Sandbox, key: str = OWN) -> openai.OpenAI:
    headers = {"x-portkey-api-key": KEY, "x-portkey-provider": "openai"}
    return caller(gateway, key, **headers, **{"x-portkey-custom-host": sandbox.url("openai")})


def provider(sandbox: Sandbox, key: str = DEFAULT_KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=sandbox.url("openai"), api_key=key)


def calls(sandbox: Sandbox, operation: str) -> list[dict[str, Any]]:
    return [entry for entry in sandbox.control.requests() if entry["op"] == operation]


# ---- the whole life ----


@pytest.mark.parametrize("purpose", ["assistants", "evals", "fine-tune", "user_data", "vision"])
def test_a_file_lives_at_the_provider_under_its_own_id(
    purpose: Any, gateway: Shared, client: openai.OpenAI, sandbox: Sandbox
) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 7200}
    blobs = leftovers(gateway.data)
    made = client.files.create(file=(NAME, DATA), purpose=purpose, expires_after=expiry)
    assert (made.filename, made.purpose, made.bytes, made.status) == (NAME, purpose, len(DATA), "processed")
    assert made.expires_at == made.created_at + 7200
    before = len(sandbox.control.requests())
    assert client.files.retrieve(made.id) == made
    assert made in list(client.files.list(purpose=purpose))
    assert len(sandbox.control.requests()) == before, "what the row says needs no call"
    assert leftovers(gateway.data) == blobs, "no byte of it stays here"
    with provider(sandbox) as direct:
        there = direct.files.retrieve(made.id)
        assert (there.filename, there.purpose, there.expires_at) == (NAME, purpose, made.expires_at)
        answer = client.files.content(made.id)
        assert answer.content == DATA
        assert answer.response.headers["content-length"] == str(len(DATA))
        assert "filename*=UTF-8''sp%C3%A4te" in answer.response.headers["content-disposition"]
        assert client.files.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            direct.files.retrieve(made.id)
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)


def test_the_file_may_come_before_its_purpose(gateway: Shared, client: openai.OpenAI) -> None:
    body = part("file", DATA, "first.jsonl") + part("purpose", b"fine-tune") + closing()
    status, made, _ = gateway.ask("POST", "/files", body, content_type=FORM_TYPE)
    assert (status, made["purpose"], made["bytes"]) == (200, "fine-tune", len(DATA))
    assert "expires_at" not in made
    assert client.files.content(made["id"]).content == DATA


def test_one_list_has_both_kinds_in_the_order_of_their_uploads(client: openai.OpenAI) -> None:
    purposes: list[Any] = ["batch", "fine-tune", "vision", "batch", "evals", "batch"]
    ids = [client.files.create(file=("a.jsonl", jsonl(chat_lines(1))), purpose=each).id for each in purposes]
    assert [file.id for file in client.files.list(limit=2)][: len(ids)] == ids[::-1]
    assert [file.id for file in client.files.list(limit=4, after=ids[1], order="asc")] == ids[2:]
    assert [file.id for file in client.files.list(limit=1, purpose="batch")][:3] == [ids[5], ids[3], ids[0]]


def test_a_batch_cannot_be_made_of_it(client: openai.OpenAI) -> None:
    made = client.files.create(file=("a.jsonl", jsonl(chat_lines(1))), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError, match="purpose 'batch'"):
        client.batches.create(input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h")


def test_it_is_still_there_after_a_kill(sandbox: Sandbox, tmp_path: Path) -> None:
    made = Shared(tmp_path, {"lane": lane(sandbox)})
    made.start()
    try:
        with caller(made) as client:
            file = client.files.create(file=("a.bin", DATA), purpose="user_data")
            made.kill()
            made.start()
            assert client.files.retrieve(file.id) == file
            assert client.files.content(file.id).content == DATA
        made.kill()
        del made.virtual_keys["lane"]
        made.write_config()
        made.start()
        for method, path in (("GET", "/content"), ("DELETE", "")):
            status, found, headers = made.ask(method, f"/files/{file.id}{path}")
            assert (status, headers["x-should-retry"]) == (409, "false")
            assert "lane" in found["error"]["message"]
    finally:
        made.close()


# ---- who sees it ----


def test_another_workspace_on_the_same_account_sees_nothing(gateway: Shared, client: openai.OpenAI) -> None:
    made = client.files.create(file=("a.bin", DATA), purpose="user_data")
    for key in (OTHER_KEY, NARROW_KEY):
        with caller(gateway, key) as stranger:
            assert made.id not in [file.id for file in stranger.files.list(limit=1)]
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            told = [
                gateway.ask(method, f"/files/{file_id}{path}", x_portkey_api_key=key)
                for file_id in (made.id, "file-nobodys")
            ]
            assert [status for status, _, _ in told] == [404, 404]
            assert json.dumps(told[0][1]).replace(made.id, "") == json.dumps(told[1][1]).replace("file-nobodys", "")
    assert client.files.content(made.id).content == DATA


def test_what_nobody_uploaded_here_is_not_found(gateway: Shared, client: openai.OpenAI, sandbox: Sandbox) -> None:
    with provider(sandbox) as direct:
        foreign = direct.files.create(file=("a.bin", DATA), purpose="user_data").id
        for path in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError):
                path(foreign)
        assert direct.files.retrieve(foreign).id == foreign


def test_a_key_of_ones_own_is_brought_for_every_byte(gateway: Shared, sandbox: Sandbox) -> None:
    with own(gateway, sandbox) as mine, own(gateway, sandbox, ANOTHERS) as another, caller(gateway) as nobody:
        made = mine.files.create(file=("a.bin", DATA), purpose="assistants")
        assert nobody.files.retrieve(made.id) == made
        for asking, code in ((nobody, "provider_key_missing"), (another, "provider_key_mismatch")):
            for refused in (asking.files.content, asking.files.delete):
                with pytest.raises(openai.BadRequestError) as error:
                    refused(made.id)
                assert error.value.code == code
        with pytest.raises(openai.NotFoundError), caller(gateway, OTHER_KEY) as stranger:
            stranger.files.retrieve(made.id)
        assert mine.files.content(made.id).content == DATA
        assert mine.files.delete(made.id).deleted
    assert [path for path in holding(gateway.home, OWN) if path != gateway.config] == []
    assert sandbox.control.violations() == []


def test_a_config_may_name_the_account(gateway: Shared, sandbox: Sandbox) -> None:
    config = {"strategy": {"mode": "single"}, "targets": [{"provider": "@lane"}]}
    with caller(gateway, **{"x-portkey-config": json.dumps(config)}) as client:
        made = client.files.create(file=("a.bin", DATA), purpose="user_data")
        assert client.files.content(made.id).content == DATA
        client.files.delete(made.id)
    target = {"provider": "openai", "api_key": OWN, "custom_host": sandbox.url("openai")}
    with caller(gateway, **{"x-portkey-config": json.dumps(target)}) as client, own(gateway, sandbox) as mine:
        made = client.files.create(file=("a.bin", DATA), purpose="user_data")
        assert mine.files.content(made.id).content == client.files.content(made.id).content == DATA
        mine.files.delete(made.id)


# ---- what is refused ----


def test_a_config_of_several_accounts_is_refused_before_the_upload(gateway: Shared, sandbox: Sandbox) -> None:
    before = len(sandbox.control.requests())
    shares = {"strategy": {"mode": "loadbalance"}, "targets": [{"provider": "@lane"}, {"provider": "@claude"}]}
    form = part("purpose", b"user_data") + part("file", DATA, "a.bin") + closing()
    for config in (json.dumps(shares), "pc-unknown", "{"):
        status, found, _ = gateway.ask("POST", "/files", form, content_type=FORM_TYPE, x_portkey_config=config)
        assert (status, found["error"]["param"]) == (400, "x-portkey-config")
    assert len(sandbox.control.requests()) == before


@pytest.mark.parametrize(
    ("purpose", "headers", "param", "words"),
    [
        ("vision", {"x_portkey_virtual_key": ""}, "x-portkey-provider", "@slug"),
        ("vision", {"x_portkey_virtual_key": "absent"}, None, "not valid"),
        ("vision", {"x_portkey_virtual_key": "claude"}, "purpose", "Anthropic"),
        ("holiday", {}, "purpose", "'fine-tune'"),
        ("batch_output", {}, "purpose", "'batch'"),
    ],
    ids=["no target", "unknown target", "provider without files", "unknown purpose", "purpose of results"],
)
def test_an_upload_that_no_provider_gets(
    purpose: str, headers: dict[str, str], param: str | None, words: str, gateway: Shared, sandbox: Sandbox
) -> None:
    before = len(calls(sandbox, "files.create"))
    first, file = part("purpose", purpose.encode()), part("file", DATA, "a.bin")
    for body in (first + file + closing(), file + first + closing()):
        status, found, _ = gateway.ask("POST", "/files", body, content_type=FORM_TYPE, **headers)
        assert (status, found["error"]["type"], found["error"]["param"]) == (400, "invalid_request_error", param)
        assert words in found["error"]["message"]
    assert len(calls(sandbox, "files.create")) == before
    assert list((gateway.data / "tmp").iterdir()) == []


def test_the_providers_refusal_is_passed_on_without_the_key(
    gateway: Shared, client: openai.OpenAI, sandbox: Sandbox
) -> None:
    words = {"message": f"Wrong format, said the key {DEFAULT_KEY}.", "code": "invalid_file_format"}
    sandbox.control.faults([{"on": "files.create", "kind": "status", "status": 400, **words}])
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("a.bin", DATA), purpose="fine-tune")
    assert error.value.code == "invalid_file_format"
    assert "OpenAI: Wrong format, said the key [credential]" in error.value.message
    assert list((gateway.data / "tmp").iterdir()) == []


# ---- a provider that fails ----


@pytest.mark.parametrize(
    ("fault", "stored"),
    [({"kind": "status", "status": 500}, 0), ({"kind": "drop"}, 0), ({"kind": "drop_after"}, 1)],
    ids=["500", "lost request", "lost reply"],
)
def test_an_upload_without_a_clear_answer_is_sent_once(
    fault: dict[str, Any], stored: int, gateway: Shared, client: openai.OpenAI, sandbox: Sandbox
) -> None:
    """The stock client would repeat a 502 twice."""
    before, listed = len(calls(sandbox, "files.create")), len(list(client.files.list()))
    with provider(sandbox) as direct:
        there = len(list(direct.files.list()))
        sandbox.control.faults([{"on": "files.create", "times": None, **fault}])
        with pytest.raises(openai.InternalServerError) as error:
            client.files.create(file=("a.bin", DATA), purpose="fine-tune")
        assert (error.value.status_code, error.value.code) == (502, "provider_outcome_unknown")
        assert len(calls(sandbox, "files.create")) == before + 1
        assert len(list(direct.files.list())) == there + stored
    assert len(list(client.files.list())) == listed
    assert list((gateway.data / "tmp").iterdir()) == []


async def test_an_answer_that_comes_too_late_is_504(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    sandbox.control.faults([{"on": "files.create", "kind": "stall", "seconds": 2}])
    credentials = OpenAICredentials.model_validate({"api_key": DEFAULT_KEY, "custom_host": sandbox.url("openai")})
    http = Http(HttpSettings(create_timeout=0.2))
    try:
        with pytest.raises(OutcomeUnknown) as error:
            await OPENAI.store_file(Account("lane", credentials, http), NewFile(file, "a.bin", "vision"))
    finally:
        await http.close()
    answer = as_answer(error.value, "OpenAI", lost="Look there.")
    assert (answer.status, answer.headers()) == (504, {"x-should-retry": "false"})
    assert answer.message.endswith("Look there.")


def test_429_is_passed_on_with_its_pause(sandbox: Sandbox, tmp_path: Path) -> None:
    """On a gateway of its own: the pause holds for everything on this account."""
    made = Shared(tmp_path, {"lane": lane(sandbox)})
    made.start()
    try:
        before = len(calls(sandbox, "files.create"))
        sandbox.control.faults([{"on": "files.create", "kind": "status", "status": 429, "retry_after": 1}])
        body = part("purpose", b"evals") + part("file", DATA, "a.bin") + closing()
        for _ in range(2):  # the second is not even sent
            status, found, headers = made.ask("POST", "/files", body, content_type=FORM_TYPE)
            assert (status, found["error"]["code"]) == (429, "rate_limit_exceeded")
            assert headers["Retry-After"] == "1"
        assert len(calls(sandbox, "files.create")) == before + 1
        with caller(made) as client:
            assert client.files.create(file=("a.bin", DATA), purpose="evals").bytes == len(DATA)
    finally:
        made.close()


def test_a_file_is_deleted_here_when_it_is_deleted_there(client: openai.OpenAI, sandbox: Sandbox) -> None:
    made = client.files.create(file=("a.bin", DATA), purpose="user_data")
    sandbox.control.faults([{"on": "files.delete", "kind": "status", "status": 503, "times": 3}])
    with pytest.raises(openai.InternalServerError) as error:
        client.files.delete(made.id)
    assert error.value.status_code == 502
    assert client.files.retrieve(made.id) == made
    with provider(sandbox) as direct:
        direct.files.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="OpenAI"):
        client.files.content(made.id)
    assert client.files.delete(made.id).deleted


def test_a_row_that_cannot_be_written_takes_its_file_back(sandbox: Sandbox, tmp_path: Path) -> None:
    made = Shared(tmp_path, {"lane": lane(sandbox)})
    made.start()
    try:
        with sqlite3.connect(made.data / "registry.sqlite3") as conn:
            conn.execute("CREATE TRIGGER no BEFORE INSERT ON provider_files BEGIN SELECT RAISE(ABORT, 'no'); END")
        conn.close()
        with provider(sandbox) as direct, caller(made) as client:
            there = list(direct.files.list())
            with pytest.raises(openai.InternalServerError):
                client.with_options(max_retries=0).files.create(file=("a.bin", DATA), purpose="user_data")
            assert list(direct.files.list()) == there
            assert list(client.files.list()) == []
    finally:
        made.close()


# ---- the content ----


@pytest.mark.parametrize("kind", ["truncate", "truncate_chunked"])
def test_half_a_file_is_never_taken_for_the_whole(
    kind: str, gateway: Shared, client: openai.OpenAI, sandbox: Sandbox
) -> None:
    made = client.files.create(file=("a.bin", DATA), purpose="user_data")
    sandbox.control.faults([{"on": "files.content", "kind": kind, "bytes": 1000}])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.request("GET", f"/v1/files/{made.id}/content", headers={"x-portkey-api-key": KEY})
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        connection.getresponse().read()
    connection.close()
    sandbox.control.faults([{"on": "files.content", "kind": "drop"}])
    assert client.files.content(made.id).content == DATA  # the client's own rule repeats what failed


def test_a_range_is_the_providers_to_serve(gateway: Shared, client: openai.OpenAI, sandbox: Sandbox) -> None:
    made = client.files.create(file=("a.bin", bytes(range(256)) * 1000), purpose="user_data")
    asked = {"Range": "bytes=254-259"}
    whole = client.files.with_raw_response.content(made.id, extra_headers=asked)
    assert (whole.status_code, len(whole.content)) == (200, 256_000)
    sandbox.control.options("openai", ranges=True)
    some = client.files.with_raw_response.content(made.id, extra_headers=asked)
    assert (some.status_code, some.content) == (206, bytes([254, 255, 0, 1, 2, 3]))
    assert some.headers["content-range"] == "bytes 254-259/256000"
    with pytest.raises(openai.APIStatusError) as error:
        client.files.content(made.id, extra_headers={"Range": "bytes=256000-"})
    assert error.value.status_code == 416
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    before = len(calls(sandbox, "files.content"))
    connection.request("HEAD", f"/v1/files/{made.id}/content", headers={"x-portkey-api-key": KEY})
    head = connection.getresponse()
    assert (head.status, head.headers["content-length"], head.read()) == (200, "256000", b"")
    connection.close()
    assert len(calls(sandbox, "files.content")) == before


def test_memory_does_not_grow_with_the_file(sandbox: Sandbox, tmp_path: Path) -> None:
    made = Shared(tmp_path, {"lane": lane(sandbox)})
    big, back = tmp_path / "big.bin", tmp_path / "back.bin"
    with big.open("wb") as file:
        file.truncate(64 * MEGABYTE)
    made.start()
    try:
        with caller(made) as client:
            client.files.content(client.files.create(file=("a.bin", DATA), purpose="user_data").id)
            before = peak(made)
            stored = client.files.create(file=big, purpose="user_data")
            assert stored.bytes == 64 * MEGABYTE
            with client.files.with_streaming_response.content(stored.id) as answer:
                answer.stream_to_file(back)
        assert back.stat().st_size == 64 * MEGABYTE
        assert peak(made) - before < 16 * MEGABYTE
    finally:
        made.close()


def peak(gateway: Gateway) -> int:
    """Return the most bytes that the gateway's process has ever had resident."""
    assert gateway.process is not None
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


# ---- ids ----


@asynccontextmanager
async def standing_in(ids: list[str]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve a Files API that gives these ids in turn; yield its URL and the paths that were read or deleted."""
    seen: list[str] = []

    async def create(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"id": ids.pop(0), "object": "file"})

    async def other(request: web.Request) -> web.Response:
        seen.append(f"{request.method} {request.path}")
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/v1/files", create)
    app.router.add_route("*", "/v1/files/{rest:.*}", other)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{site.port}/v1", seen
    finally:
        await runner.cleanup()


async def test_an_id_that_does_not_fit_or_is_taken_is_mapped(tmp_path: Path) -> None:
    strange = "files:abc.1"
    async with standing_in(["file-taken", "file-taken", strange]) as (url, seen):
        made = Shared(tmp_path, {"lane": {"provider": "openai", "api_key": "sk-x", "custom_host": url}})
        made.start()
        headers = {"x-portkey-provider": "@lane"}
        try:
            async with (
                openai.AsyncOpenAI(base_url=made.url, api_key=KEY, default_headers=headers) as first,
                openai.AsyncOpenAI(base_url=made.url, api_key=OTHER_KEY, default_headers=headers) as other,
            ):
                kept = await first.files.create(file=("a.bin", b"12"), purpose="vision")
                taken = await other.files.create(file=("b.bin", b"345"), purpose="vision")
                mapped = await first.files.create(file=("c.bin", b""), purpose="vision")
                assert (kept.id, kept.bytes, taken.bytes, mapped.bytes) == ("file-taken", 2, 3, 0)
                assert len({taken.id, mapped.id, "file-taken", strange}) == 4
                assert [file.id async for file in first.files.list()] == [mapped.id, kept.id]
                assert [file.id async for file in other.files.list()] == [taken.id]
                await first.files.content(mapped.id)
                await first.files.delete(mapped.id)
                assert (await other.files.retrieve(taken.id)).filename == "b.bin"
        finally:
            made.close()
        assert seen == [f"GET /v1/files/{strange}/content", f"DELETE /v1/files/{strange}"]
