"""Fireworks' stand-in as the official SDK sees it; signed URLs, which it calls by TLS alone, by raw HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.waiting import until

fireworks = pytest.importorskip("fireworks", reason="the official SDK is not installed: pip install fireworks-ai")
MODEL, ROOT = "accounts/fireworks/models/gpt-oss-20b", "accounts/sandbox/datasets"
OCTETS = "application/octet-stream"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    url = sandbox.url("fireworks-ai")
    with fireworks.Fireworks(api_key=DEFAULT_KEY, account_id="sandbox", base_url=url, max_retries=0) as made:
        yield made


def document(*texts: str) -> bytes:
    bodies = ({"messages": [{"role": "user", "content": text}]} for text in texts)
    return b"".join(json.dumps({"custom_id": f"r{n}", "body": body}).encode() + b"\n" for n, body in enumerate(bodies))


def put(url: str, data: bytes, **headers: str) -> int:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, more, method="PUT")) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def uploaded(client: Any, name: str, data: bytes) -> None:
    made = client.datasets.create(dataset_id=name, dataset={"user_uploaded": {}, "example_count": "3"})
    assert (made.name, made.state) == (f"{ROOT}/{name}", "UPLOADING")
    size = str(len(data))
    links = client.datasets.get_upload_endpoint(name, filename_to_size={"input.jsonl": size}).filename_to_signed_urls
    assert put(links["input.jsonl"], data, content_type=OCTETS) == 403, "the range was signed, too"
    assert put(links["input.jsonl"], data, content_type=OCTETS, x_goog_content_length_range=f"{size},{size}") == 200
    client.datasets.validate_upload(name, body={})
    assert client.datasets.get(name).state == "READY"


def created(client: Any, name: str, *texts: str) -> None:
    uploaded(client, name, document(*texts))
    made = client.batch_inference_jobs.create(
        batch_inference_job_id=name,
        model=MODEL,
        input_dataset_id=f"{ROOT}/{name}",
        output_dataset_id=f"{ROOT}/{name}-out",
    )
    assert made.name == f"accounts/sandbox/batchInferenceJobs/{name}"


def state(client: Any, name: str) -> str:
    return str(client.batch_inference_jobs.get(name).state)


def rows(client: Any, name: str) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for file, url in client.datasets.get_download_endpoint(name).filename_to_signed_urls.items():
        with urllib.request.urlopen(url) as answer:
            found[file.rpartition("/")[2]] = [json.loads(line) for line in answer.read().splitlines()]
    return found


def test_a_dataset_becomes_a_job_and_a_dataset(client: Any) -> None:
    created(client, "job-1", "hello", "[[sandbox:error=400]]", "[[sandbox:missing]]")
    until(lambda: state(client, "job-1") == "JOB_STATE_COMPLETED", "the end")
    progress = client.batch_inference_jobs.get("job-1").job_progress
    assert (progress.total_input_requests, progress.successfully_processed_requests, progress.failed_requests) == (
        3,
        2,
        1,
    )
    found = rows(client, "job-1-out")
    (answer,) = found["BIJOutputSet.jsonl"]
    assert (answer["custom_id"], answer["response"]["object"], answer["response"]["model"]) == (
        "r0",
        "chat.completion",
        MODEL,
    )
    assert [row["custom_id"] for row in found["error-data"]] == ["r1"]


def test_a_taken_id_is_refused(client: Any) -> None:
    created(client, "job-1", "hello")
    with pytest.raises(fireworks.ConflictError, match="already exists"):
        client.batch_inference_jobs.create(
            batch_inference_job_id="job-1", model=MODEL, input_dataset_id=f"{ROOT}/job-1"
        )
    with pytest.raises(fireworks.ConflictError, match="already exists"):
        client.datasets.create(dataset_id="job-1", dataset={"user_uploaded": {}, "example_count": "1"})
    assert [job.name.rpartition("/")[2] for job in client.batch_inference_jobs.list()] == ["job-1"]


def test_a_deleted_job_vanishes(client: Any, sandbox: Sandbox) -> None:
    sandbox.control.options("fireworks-ai", run_seconds=600, cancel_seconds=600)
    created(client, "job-1", "hello")
    client.batch_inference_jobs.delete("job-1")
    assert state(client, "job-1") == "JOB_STATE_DELETING_CLEANING_UP"
    sandbox.control.advance(601)
    until(lambda: not list(client.batch_inference_jobs.list()), "its end")
    with pytest.raises(fireworks.NotFoundError):
        client.batch_inference_jobs.get("job-1")


def test_one_bad_line_fails_the_job(client: Any) -> None:
    created(client, "job-1", "hello", "[[sandbox:poison]]")
    until(lambda: state(client, "job-1") == "JOB_STATE_FAILED", "the end")
    status = client.batch_inference_jobs.get("job-1").status
    assert (status.code, status.message) == ("INVALID_ARGUMENT", "line 2: This line is not taken.")


def test_a_wrong_key_is_403(sandbox: Sandbox) -> None:
    client = fireworks.Fireworks(
        api_key="fw_wrong", account_id="sandbox", base_url=sandbox.url("fireworks-ai"), max_retries=0
    )
    with pytest.raises(fireworks.PermissionDeniedError):
        client.datasets.get("job-1")


def test_the_number_of_examples_is_needed(client: Any) -> None:
    with pytest.raises(fireworks.BadRequestError):
        client.datasets.create(dataset_id="job-1", dataset={"user_uploaded": {}})
