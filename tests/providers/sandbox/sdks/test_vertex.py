"""The stand-in for Vertex AI, driven by Google's own clients: google-genai for jobs, google-cloud-storage beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.vertex_ai.stand_in import BUCKET, PROJECT, REGION
from tests.support.waiting import until

genai = pytest.importorskip("google.genai", reason="google-genai is not installed")
storage = pytest.importorskip("google.cloud.storage", reason="google-cloud-storage is not installed")
credentials = pytest.importorskip("google.oauth2.credentials")
errors = pytest.importorskip("google.genai.errors")
media = pytest.importorskip("google.cloud.storage.exceptions")
exceptions = pytest.importorskip("google.api_core.exceptions")

MODEL, PIECE = "gemini-2.5-flash", 256 << 10
OVER = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}


@pytest.fixture
def token() -> Any:
    return credentials.Credentials(DEFAULT_KEY)


@pytest.fixture
def client(sandbox: Sandbox, token: Any) -> Iterator[Any]:
    place = {"project": PROJECT, "location": REGION, "credentials": token}
    options = {"base_url": sandbox.url("vertex-ai"), "api_version": "v1"}
    made = genai.Client(vertexai=True, http_options=options, **place)
    yield made
    made.close()


@pytest.fixture
def bucket(sandbox: Sandbox, token: Any) -> Iterator[Any]:
    options = {"api_endpoint": sandbox.url("vertex-ai")}
    made = storage.Client(project=PROJECT, credentials=token, client_options=options)
    yield made.bucket(BUCKET)
    made.close()


def lines(*said: str) -> bytes:
    requests = ({"contents": [{"role": "user", "parts": [{"text": text}]}]} for text in said)
    return b"".join(json.dumps({"key": f"k{n}", "request": each}).encode() + b"\n" for n, each in enumerate(requests))


def put(bucket: Any, key: str, data: bytes) -> str:
    with bucket.blob(key).open("wb", chunk_size=PIECE, if_generation_match=0, checksum="md5") as blob:
        blob.write(data)
    return f"gs://{BUCKET}/{key}"


def created(client: Any, source: str) -> Any:
    config = {"display_name": "a job", "dest": f"gs://{BUCKET}/out"}
    return client.batches.create(model=MODEL, src=source, config=config)


def ended(client: Any, job: Any) -> Any:
    def seen() -> list[Any]:
        found = client.batches.get(name=job.name)
        return [found] if found.state.name in OVER else []

    return until(seen, "the end of a job")[0]


def test_an_object_becomes_a_job_and_its_answers_objects(client: Any, bucket: Any) -> None:
    source = put(bucket, "in/lines.jsonl", lines(*(f"say {n}" for n in range(20)), "[[sandbox:error=503]]"))
    job = ended(client, created(client, source))
    assert (job.state.name, job.display_name) == ("JOB_STATE_SUCCEEDED", "a job")
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (20, 1)
    whole = [each for each in bucket.list_blobs(prefix="out/") if "incremental" not in each.name]
    rows = [json.loads(line) for each in whole for line in each.download_as_bytes().splitlines()]
    answers = [row["response"] for row in rows if not row["status"]]
    texts = [genai.types.GenerateContentResponse.model_validate(each).text for each in answers]
    assert len(texts) == 20
    assert any("say 3" in text for text in texts)
    (failed,) = (row for row in rows if row["status"])
    assert "503" in failed["status"]


def test_the_list_can_be_searched_and_has_pages(client: Any, bucket: Any) -> None:
    source = put(bucket, "in/few.jsonl", lines("hello"))
    made = {created(client, source).name for _ in range(3)}
    assert {job.name for job in client.batches.list(config={"page_size": 2})} == made
    found = client.batches.list(config={"filter": 'display_name="a job"'})
    assert {job.name for job in found} == made
    assert list(client.batches.list(config={"filter": 'display_name="another"'})) == []


def test_a_job_can_be_cancelled(client: Any, bucket: Any, sandbox: Sandbox) -> None:
    sandbox.control.options("vertex-ai", run_seconds=60.0)
    job = created(client, put(bucket, "in/long.jsonl", lines("hello")))
    client.batches.cancel(name=job.name)
    assert ended(client, job).state.name == "JOB_STATE_CANCELLED"


def test_a_job_without_its_input_fails(client: Any) -> None:
    job = ended(client, created(client, f"gs://{BUCKET}/in/nothing.jsonl"))
    assert job.state.name == "JOB_STATE_FAILED"
    assert "not found" in job.error.message


def test_an_object_goes_up_in_pieces_once(bucket: Any) -> None:
    data = b"0123456789abcdef" * (PIECE // 8) + b"end"
    put(bucket, "big", data)
    assert bucket.blob("big").download_as_bytes() == data
    with pytest.raises(media.InvalidResponse) as caught:
        put(bucket, "big", data)
    assert caught.value.response.status_code == 412
    bucket.blob("big").delete()
    assert not bucket.blob("big").exists()


def test_what_is_wrong_is_said_in_googles_words(client: Any, bucket: Any) -> None:
    with pytest.raises(errors.ClientError) as caught:
        client.batches.create(model="no-such-model", src=f"gs://{BUCKET}/x", config={"dest": f"gs://{BUCKET}/out"})
    assert caught.value.status == "NOT_FOUND"
    with pytest.raises(exceptions.NotFound):
        bucket.client.bucket("no-such-bucket").blob("x").download_as_bytes()
