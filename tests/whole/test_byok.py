"""Bring your own key: a stock client with a provider's key of its own, through restarts, and no trace of the key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy_plugin.config import parse
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.storage.connection import Connection
from proxy_plugin.storage.tables import batches
from tests.support.folders import holding
from tests.support.lines import chat_lines, jsonl
from tests.support.rows import put_file
from tests.support.served import WANTED, WHO, Served, count, running, stored
from tests.support.stack import ENDS, KEY, Gateway
from tests.support.waiting import until

OWN, OTHER = "sk-own-5up3r-s3cr3t-key", "sk-other-5up3r-s3cr3t-key"
SEAL_KEY = "seal-5up3r-s3cr3t"
CREATE = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
LINES = chat_lines(6)
HOUR = 3600.0
pytestmark = pytest.mark.sandbox(keys=[OWN, OTHER], options={"openai": {"run_seconds": HOUR}})


@dataclass
class OwnKeys(Gateway):
    """A gateway without virtual keys that allows the sandbox's host."""

    server: dict[str, Any] = field(default_factory=lambda: {"custom_hosts": ["127.0.0.1"]})

    def restart(self) -> None:
        """Die without a word and come back with the configuration of now."""
        self.kill()
        self.write_config()
        self.start()

    def traces(self, *secrets: str) -> list[str]:
        """Return the names of all files of the gateway that hold one of the texts, its log among them."""
        return [path.name for path in holding(self.home, *secrets) if path != self.config]


@pytest.fixture
def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OwnKeys]:
    made = OwnKeys(tmp_path, {}, sections=getattr(request, "param", {}))
    made.start()
    yield made
    made.close()


def client(gateway: Gateway, sandbox: Sandbox, key: str = OWN, **more: str) -> openai.OpenAI:
    """Return the stock client with Portkey's headers for a provider key of one's own."""
    headers = {
        "x-portkey-api-key": KEY,
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": sandbox.url("openai"),
    }
    return openai.OpenAI(base_url=gateway.url, api_key=key, default_headers=headers | more, max_retries=0)


def begin(caller: openai.OpenAI) -> str:
    """Upload, create, and return the batch's id when its job runs at the provider."""
    file = caller.files.create(file=("in.jsonl", jsonl(LINES)), purpose="batch")
    batch = caller.batches.create(input_file_id=file.id, **CREATE)  # type: ignore[arg-type]
    return reached(caller, batch.id, {"in_progress"}).id


def reached(caller: openai.OpenAI, batch_id: str, statuses: set[str]) -> openai.types.Batch:
    """Return the batch when it has one of the statuses."""
    until(lambda: caller.batches.retrieve(batch_id).status in statuses, lambda: caller.batches.retrieve(batch_id))
    return caller.batches.retrieve(batch_id)


def until_at_provider(sandbox: Sandbox) -> None:
    until(sandbox.control.log, "a job at the provider")


def check(caller: openai.OpenAI, batch: openai.types.Batch) -> None:
    assert (batch.status, batch.errors) == ("completed", None)
    assert batch.output_file_id is not None
    rows = [json.loads(line) for line in caller.files.content(batch.output_file_id).text.splitlines()]
    texts = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows}
    assert texts == {line["custom_id"]: expected_text(line["url"], line["body"]) for line in LINES}


def plain(gateway: Gateway) -> openai.OpenAI:
    """Return a client of the same workspace that brings no key."""
    return openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=0)


def sealed(gateway: OwnKeys, batch_id: str) -> str | None:
    conn = sqlite3.connect(gateway.data / "registry.sqlite3")
    try:
        row = conn.execute("SELECT sealed FROM batches WHERE id = ?", (batch_id,)).fetchone()
    finally:
        conn.close()
    return None if row[0] is None else str(row[0])


def waits_for(caller: openai.OpenAI, batch_id: str) -> str | None:
    """Return what the batch says that it waits for."""
    found = (caller.batches.retrieve(batch_id).model_extra or {}).get("x_status")
    return str(found["waiting_for"]) if found else None


def test_a_key_of_ones_own_comes_back_after_a_restart(gateway: OwnKeys, sandbox: Sandbox) -> None:
    with client(gateway, sandbox) as caller, client(gateway, sandbox, OTHER) as stranger, plain(gateway) as nobody:
        batch_id = begin(caller)
        until_at_provider(sandbox)
        assert nobody.batches.retrieve(batch_id).errors is None
        gateway.restart()
        gateway.until_event(lambda log: "CredentialsMissing" in log)
        until(lambda: waits_for(nobody, batch_id) == "needs_credentials", "the wait is told")
        for asking in (nobody, stranger):
            waiting = asking.batches.retrieve(batch_id)
            assert (waiting.status, waiting.errors and waiting.errors.data and waiting.errors.data[0].code) == (
                "in_progress",
                "needs_credentials",
            )
            assert "Authorization: Bearer KEY" in waiting.to_json()
        [listed] = caller.batches.list().data
        assert listed.errors is not None, "a list gives no key back"
        assert caller.batches.retrieve(batch_id).errors is None
        sandbox.control.advance(HOUR + 60)
        check(caller, reached(nobody, batch_id, ENDS))
        gateway.kill()
        assert "gateway.log" in gateway.traces("credentials_given_again")
        assert any(name.startswith("registry.sqlite3") for name in gateway.traces(batch_id))
        assert gateway.traces(OWN, OTHER) == []
        assert len(sandbox.control.log()) == 1


def test_a_cancel_gives_the_key_back_too(gateway: OwnKeys, sandbox: Sandbox) -> None:
    with client(gateway, sandbox) as caller:
        batch_id = begin(caller)
        until_at_provider(sandbox)
        gateway.restart()
        gateway.until_event(lambda log: "CredentialsMissing" in log)
        cancelling = caller.batches.cancel(batch_id)
        assert (cancelling.status, cancelling.errors) == ("cancelling", None)
        with plain(gateway) as nobody:
            ended = reached(nobody, batch_id, ENDS)
        assert ended.status == "cancelled"
        assert ended.request_counts is not None
        assert ended.request_counts.completed + ended.request_counts.failed == len(LINES)


@pytest.mark.parametrize("gateway", [{"secrets": {"seal_key": SEAL_KEY}}], indirect=True)
def test_a_sealed_key_survives_a_restart_by_itself(gateway: OwnKeys, sandbox: Sandbox) -> None:
    with client(gateway, sandbox) as caller, plain(gateway) as nobody:
        batch_id = begin(caller)
        until_at_provider(sandbox)
        assert sealed(gateway, batch_id) is not None
        gateway.restart()
        assert nobody.batches.retrieve(batch_id).errors is None
        sandbox.control.advance(HOUR + 60)
        check(nobody, reached(nobody, batch_id, ENDS))
        assert sealed(gateway, batch_id) is None
        gateway.kill()
        assert gateway.traces(OWN, SEAL_KEY) == []


@pytest.mark.parametrize("gateway", [{"secrets": {"seal_key": SEAL_KEY}}], indirect=True)
def test_under_another_seal_key_the_caller_is_asked_and_what_it_gives_is_sealed(
    gateway: OwnKeys, sandbox: Sandbox
) -> None:
    with client(gateway, sandbox) as caller, plain(gateway) as nobody:
        batch_id = begin(caller)
        until_at_provider(sandbox)
        first = sealed(gateway, batch_id)
        gateway.sections = {"secrets": {"seal_key": "another seal key"}}
        gateway.restart()
        gateway.until_event(lambda log: "CredentialsMissing" in log)
        assert nobody.batches.retrieve(batch_id).errors is not None
        assert sealed(gateway, batch_id) == first
        assert caller.batches.retrieve(batch_id).errors is None
        assert sealed(gateway, batch_id) not in (None, first)
        gateway.restart()
        sandbox.control.advance(HOUR + 60)
        check(nobody, reached(nobody, batch_id, ENDS))


@pytest.mark.parametrize("gateway", [{"api_keys": []}], indirect=True)
def test_without_api_keys_each_provider_key_is_a_tenant(gateway: OwnKeys, sandbox: Sandbox) -> None:
    with client(gateway, sandbox) as caller, client(gateway, sandbox, OTHER) as stranger:
        batch_id = begin(caller)
        assert [batch.id for batch in caller.batches.list()] == [batch_id]
        assert list(stranger.batches.list()) == []
        assert list(stranger.files.list()) == []
        for call in (stranger.batches.retrieve, stranger.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                call(batch_id)
        with (
            client(gateway, sandbox, "OPENAI_API_KEY") as nobody,
            pytest.raises(openai.BadRequestError, match="provider's own key"),
        ):
            nobody.batches.create(input_file_id="file-x", **CREATE)  # type: ignore[arg-type]
    tenants = {line["workspace"] for line in map(json.loads, gateway.log.read_text().splitlines()) if "status" in line}
    assert "default" in tenants
    assert len([tenant for tenant in tenants if tenant and tenant.startswith("key-")]) == 2
    gateway.kill()
    assert gateway.traces(OWN, OTHER) == []


# ---- in this process: what is refused, and what is kept ----

BRING = WHO | {"x-portkey-provider": "openai", "Authorization": f"Bearer {OWN}"}


async def refused(served: Served, headers: Mapping[str, str], status: int = 400) -> dict[str, Any]:
    got, answer, _ = await served.call("POST", "/v1/batches", WANTED, headers)
    assert got == status, answer
    assert OWN not in json.dumps(answer)
    assert await count(served) == 0
    return dict(answer["error"])


async def test_what_is_missing_is_said_by_header(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        gateway_key = WHO["x-portkey-api-key"]
        provider = {"x-portkey-provider": "openai"}
        for headers in (
            WHO | provider,
            WHO | provider | {"Authorization": "Bearer OPENAI_API_KEY"},
            WHO | provider | {"Authorization": f"Bearer {gateway_key}"},
            WHO | provider | {"x-api-key": gateway_key},
            WHO | provider | {"Authorization": f"Basic {OWN}"},
            provider | {"Authorization": f"Bearer {gateway_key}"},
        ):
            error = await refused(served, headers)
            assert (error["param"], error["code"]) == ("Authorization", "provider_key_missing")
            assert gateway_key not in error["message"]
        await refused(served, provider | {"Authorization": f"Bearer {OWN}"}, 401)


async def test_what_cannot_be_used_is_said_by_header_and_never_shown(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        for more, param in (
            ({"x-portkey-provider": OWN}, "x-portkey-provider"),
            ({"x-portkey-provider": "@cf/meta/llama"}, "x-portkey-provider"),
            ({"x-portkey-config": f'{{"api_key": "{OWN}"}}'}, "x-portkey-config"),
            ({"Authorization": f"Bearer {OWN}ü"}, "Authorization"),
            ({"x-portkey-openai-project": "a\u200bb"}, "x-portkey-openai-project"),
            ({"x-portkey-custom-host": f"http://{OWN}.example/v1"}, "x-portkey-custom-host"),
            ({"x-portkey-custom-host": "http://127.0.0.1:9/v1"}, "x-portkey-custom-host"),
        ):
            assert (await refused(served, BRING | more))["param"] == param


async def test_a_custom_host_needs_a_key_of_ones_own_and_the_operators_word(tmp_path: Path) -> None:
    here = {"x-portkey-custom-host": "http://127.0.0.1:9/v1"}
    async with running(tmp_path, server={"custom_hosts": ["127.0.0.1:9"]}) as served:
        await put_file(served.gateway.registry)
        error = await refused(served, WHO | {"x-portkey-virtual-key": "lane"} | here)
        assert error["param"] == "x-portkey-custom-host"
        elsewhere = BRING | {"x-portkey-custom-host": "http://127.0.0.1:10/v1"}
        assert (await refused(served, elsewhere))["message"] == "Invalid custom host"
        status, batch, _ = await served.call("POST", "/v1/batches", WANTED, BRING | here)
        assert status == 200
        [target] = json.loads((await stored(served, batch["id"])).route)["targets"]
        assert target["byok"]["fields"] == {"custom_host": "http://127.0.0.1:9/v1"}


async def test_a_virtual_key_is_stronger_than_a_key_of_ones_own(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        for more in ({"x-portkey-provider": "@lane"}, {"x-portkey-virtual-key": "lane"}):
            status, batch, _ = await served.call("POST", "/v1/batches", WANTED, BRING | more)
            assert status == 200
            assert json.loads((await stored(served, batch["id"])).route)["targets"][0]["slug"] == "lane"
        assert not served.gateway.vault.held()


async def test_the_row_names_the_account_and_holds_no_secret(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        fields = {"x-portkey-openai-organization": "org-1", "x-portkey-provider": "openai"}
        status, batch, headers = await served.call("POST", "/v1/batches", WANTED, BRING | fields)
        assert (status, headers["x-portkey-provider"]) == (200, "openai")
        row = await stored(served, batch["id"])
        [target] = json.loads(row.route)["targets"]
        assert target["slug"].startswith("byok-")
        assert len(target["slug"]) == len("byok-") + 12
        assert target["byok"]["fields"] == {"openai_organization": "org-1"}
        assert target["byok"]["secrets"] == ["api_key"]
        assert OWN not in repr(row)
        assert row.sealed is None
        x_api_key = WHO | {"x-portkey-provider": "openai", "x-api-key": OWN, "x-portkey-openai-organization": "org-1"}
        status, same, _ = await served.call("POST", "/v1/batches", WANTED, x_api_key | {"x-stainless-retry-count": "1"})
        assert (status, same["id"]) == (200, batch["id"])


async def test_creates_with_different_keys_are_different(tmp_path: Path) -> None:
    again = {"x-stainless-retry-count": "1"}
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        made = []
        for key in (OWN, OTHER, OWN):
            headers = BRING | again | {"Authorization": f"Bearer {key}"}
            made.append((await served.call("POST", "/v1/batches", WANTED, headers))[1]["id"])
        assert made[0] == made[2] != made[1]
        assert served.gateway.vault.held() == set(made)
        idempotent = {"Idempotency-Key": "k"}
        assert (await served.call("POST", "/v1/batches", WANTED, BRING | idempotent))[0] == 200
        other = BRING | idempotent | {"Authorization": f"Bearer {OTHER}"}
        assert (await served.call("POST", "/v1/batches", WANTED, other))[0] == 422
        assert len(served.gateway.vault.held()) == 3


async def test_a_repeated_create_gives_the_key_back(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        _, batch, _ = await served.call("POST", "/v1/batches", WANTED, BRING)
        served.gateway.vault.forget(batch["id"])
        _, same, _ = await served.call("POST", "/v1/batches", WANTED, BRING | {"x-stainless-retry-count": "1"})
        assert same["id"] == batch["id"]
        assert same["errors"] is None
        assert served.gateway.vault.held() == {batch["id"]}


async def test_only_all_of_the_same_credentials_give_the_key_back(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        organization = {"x-portkey-openai-organization": "org-1"}
        _, batch, _ = await served.call("POST", "/v1/batches", WANTED, BRING | organization)
        served.gateway.vault.forget(batch["id"])
        path = f"/v1/batches/{batch['id']}"
        for headers in (
            WHO,
            WHO | {"Authorization": f"Bearer {OTHER}"},
            WHO | {"Authorization": f"Bearer {OWN}x"},
            WHO | {"Authorization": f"Bearer {OWN}\u200b"},
            WHO | {"x-portkey-api-key": WHO["x-portkey-api-key"], "x-api-key": OWN.upper()},
        ):
            status, shown, _ = await served.call("GET", path, headers=headers)
            assert status == 200
            assert shown["errors"]["data"][0]["code"] == "needs_credentials"
            assert not served.gateway.vault.held()
        # the plain fields are stored: the key alone is enough, on whatever header it comes
        _, shown, _ = await served.call("GET", path, headers=WHO | {"x-api-key": OWN})
        assert shown["errors"] is None


async def test_no_key_is_kept_of_a_batch_that_was_not_stored_or_has_ended(tmp_path: Path) -> None:
    async with running(tmp_path, secrets={"seal_key": SEAL_KEY}) as served:
        assert (await served.call("POST", "/v1/batches", WANTED, BRING))[0] == 404
        assert not served.gateway.vault.held()
        await put_file(served.gateway.registry)
        made = [(await served.call("POST", "/v1/batches", WANTED, BRING))[1]["id"] for _ in range(2)]
        assert served.gateway.vault.held() == set(made)
        row = await stored(served, made[0])
        assert row.sealed is not None
        await served.gateway.registry.write(lambda c: batches.end(c, stored_row(c, made[0]), "failed", 1.0))
        assert (await stored(served, made[0])).sealed is None
        await served.gateway.own_keys.forget_ended()
        assert served.gateway.vault.held() == {made[1]}
        _, shown, _ = await served.call("GET", f"/v1/batches/{made[0]}", headers=BRING)
        assert (shown["status"], shown.get("errors")) == ("failed", None)
        assert served.gateway.vault.held() == {made[1]}


def stored_row(conn: Connection, batch_id: str) -> batches.BatchRow:
    row = batches.get(conn, batch_id)
    assert row is not None
    return row


def test_the_slugs_of_own_keys_are_not_for_virtual_keys() -> None:
    keys = {"byok-000000000000": {"provider": "openai", "api_key": "sk-x"}}
    with pytest.raises(ConfigError, match=r"virtual_keys\.byok-000000000000: .*callers' own keys"):
        parse({"proxy_plugin": {"virtual_keys": keys}}, {})


@pytest.mark.parametrize("entry", ["https://h", "a b", "*", "**.h", "h.*", ""])
def test_an_odd_custom_host_stops_the_start(entry: str) -> None:
    with pytest.raises(ConfigError, match="custom_hosts"):
        parse({"proxy_plugin": {"server": {"custom_hosts": [entry]}}}, {})
