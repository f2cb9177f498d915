"""Anthropic's adapter with other bases and proofs: AWS with a key, a signature or a session, Google with a token."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from proxy_plugin.providers.base import (
    Account,
    BatchProvider,
    Cancels,
    Confirms,
    JobState,
    LineIn,
    OutcomeUnknown,
    PartFile,
    Refused,
    Submission,
    Target,
    make_mark,
    native_id,
)
from proxy_plugin.providers.catalog import load
from proxy_plugin.providers.http import Http
from proxy_plugin.providers.sandbox.claude_platform_aws import stand_in as aws
from proxy_plugin.providers.sandbox.claude_platform_google import stand_in as google
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.sigv4 import access_key
from proxy_plugin.providers.sandbox.tokens import service_account

CHAT, KEY = "/v1/chat/completions", "sk-platforms-5520"
WAYS = ("aws-key", "aws-signature", "aws-session", "google")


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    names = [aws.STAND_IN.provider, google.STAND_IN.provider]
    options = {name: {"run_seconds": 0.02, "cancel_seconds": 0.0} for name in names}
    with Sandbox(providers=names, keys=[f"ours={KEY}"], options=options) as sandbox:
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


def lane_of(way: str) -> BatchProvider:
    return load(google.STAND_IN.provider if way == "google" else aws.STAND_IN.provider)


def account(http: Http, sandbox: Sandbox, way: str, **changed: str) -> Account:
    if way in {"aws-signature", "aws-session"}:
        pytest.importorskip("botocore", reason="signatures are botocore's")
    lane = lane_of(way)
    url = sandbox.url(lane.capabilities.provider)
    made = {"google": google.STAND_IN, "aws-key": aws.STAND_IN}.get(way, aws.SIGNED).settings(url, KEY)
    session = access_key(KEY, session=True) if way == "aws-session" else {}
    settings = {**made, **session, **changed}
    return Account("prod", lane.credentials.model_validate(settings), http)


def part_of(lane: BatchProvider, home: Path, count: int = 5) -> PartFile:
    mark, frame = make_mark(str(home)), lane.capabilities.framing
    text = json.dumps({"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hello"}]}).encode()
    lines = [lane.translate(LineIn(native_id(mark, n), CHAT, text, "m"), Target()).data for n in range(count)]
    document = frame.prefix + frame.separator.join(lines) + frame.suffix
    path = home / "part"
    path.write_bytes(document)
    return PartFile(mark, path, len(document), count, hashlib.sha256(document).hexdigest(), CHAT, None)


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_runs_to_its_rows(http: Http, sandbox: Sandbox, tmp_path: Path, way: str) -> None:
    lane, ours = lane_of(way), account(http, sandbox, way)
    part = part_of(lane, tmp_path)
    submission = Submission(part, {}, await lane.fence(ours))
    job = await lane.create(ours, submission)
    assert (await lane.find(ours, submission)).jobs == (job,)
    async with asyncio.timeout(30):
        while (status := await lane.status(ours, job, part)).state is not JobState.ENDED:
            await asyncio.sleep(0.01)
    assert await cast("Confirms", lane).confirm(ours, job, part) is True
    (name,) = await lane.fetch(ours, job, status, tmp_path)
    rows = [lane.row(line, name, CHAT) for line in (tmp_path / name).read_bytes().splitlines()]
    assert [row is not None and row.ok for row in rows] == [True] * 5
    await cast("Cancels", lane).cancel(ours, job)
    assert await sandbox.violations() == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_lost_create_is_unknown_and_found(http: Http, sandbox: Sandbox, tmp_path: Path, way: str) -> None:
    lane, ours = lane_of(way), account(http, sandbox, way)
    submission = Submission(part_of(lane, tmp_path), {}, await lane.fence(ours))
    await sandbox.faults([{"kind": "drop_after", "on": "batches.create"}])
    with pytest.raises(OutcomeUnknown):
        await lane.create(ours, submission)
    assert len((await lane.find(ours, submission)).jobs) == 1


@pytest.mark.parametrize(
    ("way", "changed", "status"),
    [
        ("aws-signature", {"aws_secret_access_key": "another-secret-0d21"}, 403),
        ("aws-signature", {"aws_region": "eu-west-1"}, 403),
        ("aws-session", {"aws_session_token": "another-token-0d21"}, 403),
        ("aws-key", {"anthropic_aws_workspace_id": "wrkspc_other"}, 400),
        ("google", {"anthropic_google_cloud_workspace_id": "wrkspc_other"}, 404),
    ],
)
async def test_what_is_not_the_accounts_is_refused(
    http: Http, sandbox: Sandbox, way: str, changed: dict[str, str], status: int
) -> None:
    with pytest.raises(Refused) as caught:
        await lane_of(way).fence(account(http, sandbox, way, **changed))
    assert caught.value.status == status


async def test_accounts_that_differ_in_their_proof_are_different(http: Http, sandbox: Sandbox) -> None:
    lane = lane_of("google")
    ours = account(http, sandbox, "google")
    theirs = account(http, sandbox, "google", vertex_service_account_json=service_account("sk-else"))
    assert lane.account_key(ours.credentials) != lane.account_key(theirs.credentials)
