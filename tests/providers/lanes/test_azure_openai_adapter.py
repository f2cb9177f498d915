"""Azure's adapter against its stand-in: the two kinds of paths, each proof, and files that are worked on first."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.base import (
    Account,
    JobEnd,
    JobState,
    LineIn,
    OutcomeUnknown,
    PartFile,
    Refused,
    Submission,
    Target,
    TryLater,
    make_mark,
    native_id,
)
from proxy_plugin.providers.http import Http
from proxy_plugin.providers.lanes.openai.services.azure_openai import AZURE_OPENAI, AzureCredentials
from proxy_plugin.providers.sandbox.azure_openai.stand_in import STAND_IN, with_secret
from proxy_plugin.providers.sandbox.process import Sandbox

CHAT, KEY = "/v1/chat/completions", "sk-azure-adapter-7731"
PROOFS = ("key", "secret", "file", "machine")


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    options = {"azure-openai": dict(STAND_IN.quick)}
    with Sandbox(providers=["azure-openai"], keys=[f"ours={KEY}"], options=options) as sandbox:
        yield sandbox


@pytest.fixture
async def sandbox(running: Sandbox) -> Sandbox:
    await running.reset()
    return running


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    made = Http()
    yield made
    await made.close()


def account(http: Http, sandbox: Sandbox, home: Path, proof: str = "key", version: str = "v1") -> Account:
    url = sandbox.url("azure-openai")
    given: dict[str, Any]
    if proof == "key":
        given = dict(STAND_IN.settings(url, KEY))
    elif proof == "secret":
        given = with_secret(url, KEY)
    elif proof == "file":
        (home / "token").write_text(KEY)
        given = {
            **with_secret(url, KEY),
            "azure_auth_mode": "workload",
            "azure_federated_token_file": str(home / "token"),
        }
        del given["azure_entra_client_secret"]
        given["azure_workload_client_id"] = given.pop("azure_entra_client_id")
    else:
        given = {"azure_auth_mode": "managed", "azure_identity_url": url, "custom_host": url}
    return Account("prod", AzureCredentials.model_validate({**given, "azure_api_version": version}), http)


def part_of(home: Path, count: int = 5, **more: Any) -> PartFile:
    mark = make_mark(str(more))
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hello"}], **more}
    text = json.dumps(body).encode()
    lines = (AZURE_OPENAI.translate(LineIn(native_id(mark, n), CHAT, text, "m"), Target()).data for n in range(count))
    document = b"\n".join(lines) + b"\n"
    path = home / "part"
    path.write_bytes(document)
    return PartFile(mark, path, len(document), count, hashlib.sha256(document).hexdigest(), CHAT, "gpt-4.1-mini")


async def staged(account: Account, part: PartFile) -> tuple[dict[str, str], int]:
    """Stage as the engine does; also how often it had to wait."""
    for waits in range(100):
        try:
            return await AZURE_OPENAI.stage(account, part, again=waits > 0), waits
        except TryLater as error:
            assert "the uploaded file is pending" in str(error)  # noqa: PT017 - it may be raised, and then says this
    raise AssertionError("the file is never processed")


@pytest.mark.parametrize("version", ["v1", "preview", "2024-10-21", "2025-04-01-preview"])
@pytest.mark.parametrize("proof", PROOFS)
async def test_a_job_runs_to_its_rows(http: Http, sandbox: Sandbox, tmp_path: Path, proof: str, version: str) -> None:
    ours, part = account(http, sandbox, tmp_path, proof, version), part_of(tmp_path)
    found, waits = await staged(ours, part)
    assert waits > 0
    uploads = [each for each in await sandbox.requests() if each["op"] == "files.create"]
    assert len(uploads) == 1, "a file that is worked on is waited for, not sent again"
    submission = Submission(part, found, await AZURE_OPENAI.fence(ours))
    job = await AZURE_OPENAI.create(ours, submission)
    sighting = await AZURE_OPENAI.find(ours, submission)
    assert (sighting.jobs, sighting.control) == ((job,), True)
    async with asyncio.timeout(30):
        while (status := await AZURE_OPENAI.status(ours, job, part)).state is not JobState.ENDED:
            await asyncio.sleep(0.01)
    assert (status.end, status.completed, status.mark) == (JobEnd.COMPLETED, 5, part.mark)
    assert await AZURE_OPENAI.fetch(ours, job, status, tmp_path) == ("output.jsonl",), "the error file has no bytes"
    rows = [
        AZURE_OPENAI.row(line, "output.jsonl", CHAT) for line in (tmp_path / "output.jsonl").read_bytes().splitlines()
    ]
    assert all(row is not None and row.ok for row in rows)
    assert len(rows) == 5


async def test_a_failed_job_says_why_in_azures_words(http: Http, sandbox: Sandbox, tmp_path: Path) -> None:
    ours, part = account(http, sandbox, tmp_path), part_of(tmp_path, model="no-such-model")
    found, _ = await staged(ours, part)
    job = await AZURE_OPENAI.create(ours, Submission(part, found))
    async with asyncio.timeout(30):
        while (status := await AZURE_OPENAI.status(ours, job, part)).state is not JobState.FAILED:
            await asyncio.sleep(0.01)
    assert status.refusal
    assert status.refusal.code == "model_not_found"
    assert status.results == {}


async def test_a_lost_create_is_found_and_its_file_can_be_taken_away(
    http: Http, sandbox: Sandbox, tmp_path: Path
) -> None:
    ours, part = account(http, sandbox, tmp_path, "secret"), part_of(tmp_path)
    found, _ = await staged(ours, part)
    submission = Submission(part, found, await AZURE_OPENAI.fence(ours))
    await sandbox.faults([{"kind": "drop", "on": "batches.create"}])
    with pytest.raises(OutcomeUnknown):
        await AZURE_OPENAI.create(ours, submission)
    sighting = await AZURE_OPENAI.find(ours, submission)
    assert (sighting.jobs, sighting.control) == ((), True)
    await AZURE_OPENAI.revoke(ours, submission)
    assert not (await AZURE_OPENAI.find(ours, submission)).control


async def test_a_file_that_cannot_be_worked_on_is_refused(http: Http, sandbox: Sandbox, tmp_path: Path) -> None:
    ours, part = account(http, sandbox, tmp_path), part_of(tmp_path)
    record = {"id": "file-1", "bytes": part.bytes, "status": "error", "status_details": "Line 3: no JSON"}
    rule = {"kind": "status", "on": "files.create", "status": 200, "body": json.dumps(record)}
    await sandbox.faults([rule])
    with pytest.raises(Refused) as caught:
        await AZURE_OPENAI.stage(ours, part, again=False)
    assert [line.record for line in caught.value.lines] == [3]


async def test_a_token_that_has_ended_is_renewed_in_the_middle(http: Http, sandbox: Sandbox, tmp_path: Path) -> None:
    ours = account(http, sandbox, tmp_path, "secret")
    assert await AZURE_OPENAI.fence(ours) is None
    await sandbox.advance(3601)
    assert await AZURE_OPENAI.fence(ours) is None
    seen = [(each["op"], each["status"]) for each in await sandbox.requests()]
    assert seen == [
        ("tokens.create", 200),
        ("batches.list", 200),
        ("batches.list", 401),
        ("tokens.create", 200),
        ("batches.list", 200),
    ]
    assert await sandbox.violations() == []


@pytest.mark.parametrize("version", ["v1", "2024-10-21"])
async def test_embeddings_are_sent_unless_the_account_says_that_it_runs_none(
    http: Http, sandbox: Sandbox, tmp_path: Path, version: str
) -> None:
    ours, mark, url = account(http, sandbox, tmp_path, "key", version), make_mark("vectors"), "/v1/embeddings"
    text = json.dumps({"model": "embeddings-deployment", "input": "hello"}).encode()
    document = AZURE_OPENAI.translate(LineIn(native_id(mark, 0), url, text, "m"), Target()).data + b"\n"
    (tmp_path / "part").write_bytes(document)
    digest = hashlib.sha256(document).hexdigest()
    part = PartFile(mark, tmp_path / "part", len(document), 1, digest, url, "embeddings-deployment")
    found, _ = await staged(ours, part)
    assert await AZURE_OPENAI.create(ours, Submission(part, found))
    without = ours.credentials.model_copy(update={"azure_embeddings": False})
    with pytest.raises(Refused) as caught:
        await AZURE_OPENAI.stage(Account("prod", without, http), part, again=False)
    assert (caught.value.code, caught.value.divisible) == ("unsupported_endpoint", False)
