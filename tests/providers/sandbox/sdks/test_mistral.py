"""Mistral's stand-in, driven by Mistral's official SDK: files, jobs of files and of requests, pages, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.waiting import until

client_module = pytest.importorskip("mistralai.client", reason="mistralai is not installed")
errors = pytest.importorskip("mistralai.client.errors", reason="mistralai is not installed")

CHAT = "/v1/chat/completions"
MODEL = "mistral-small-latest"
ENDS = {"SUCCESS", "FAILED", "CANCELLED", "TIMEOUT_EXCEEDED"}

Json = dict[str, Any]


@pytest.fixture
def mistral(sandbox: Sandbox) -> Iterator[Any]:
    url = sandbox.url("mistral-ai").removesuffix("/v1")
    with client_module.Mistral(api_key=DEFAULT_KEY, server_url=url) as made:
        yield made


def lines(count: int, **more: str) -> list[Json]:
    """`more`: what is said in single lines, by `at_N`."""
    said = [more.get(f"at_{n}", f"say {n}") for n in range(count)]
    return [
        {"custom_id": f"r-{n}", "body": {"model": MODEL, "messages": [{"role": "user", "content": text}]}}
        for n, text in enumerate(said)
    ]


def upload(mistral: Any, given: list[Json]) -> str:
    content = b"".join(json.dumps(line).encode() + b"\n" for line in given)
    return str(mistral.files.upload(file={"file_name": "in.jsonl", "content": content}, purpose="batch").id)


def ended(mistral: Any, job: str) -> Any:
    def seen() -> list[Any]:
        found = mistral.batch.jobs.get(job_id=job)
        return [found] if found.status in ENDS else []

    return until(seen, "the end")[0]


def rows(mistral: Any, file: str) -> dict[str, Json]:
    content = mistral.files.download(file_id=file).read()
    found = [json.loads(line) for line in content.split(b"\n") if line]
    assert len({row["custom_id"] for row in found}) == len(found)
    return {row["custom_id"]: row for row in found}


def test_a_job_runs_from_its_file_to_both_results(mistral: Any) -> None:
    given = lines(12, at_3="[[sandbox:error=400]]")
    file = upload(mistral, given)
    stored = mistral.files.retrieve(file_id=file)
    assert (stored.filename, stored.purpose, stored.num_lines) == ("in.jsonl", "batch", 12)
    made = mistral.batch.jobs.create(endpoint=CHAT, input_files=[file], model=MODEL, metadata={"ours": "yes"})
    assert (made.status, made.total_requests, made.metadata) == ("QUEUED", 0, {"ours": "yes"})
    job = ended(mistral, made.id)
    assert (job.status, job.succeeded_requests, job.failed_requests, job.completed_requests) == ("SUCCESS", 11, 1, 12)
    answers = rows(mistral, job.output_file)
    for line in given[:3]:
        body = answers[line["custom_id"]]["response"]["body"]
        assert body["choices"][0]["message"]["content"] == expected_text(CHAT, line["body"])
    (failed,) = rows(mistral, job.error_file).values()
    assert json.loads(failed["response"]["body"])["object"] == "error"


def test_requests_may_travel_in_the_create(mistral: Any) -> None:
    made = mistral.batch.jobs.create(endpoint=CHAT, requests=lines(3), model=MODEL)
    ended(mistral, made.id)
    job = mistral.batch.jobs.get(job_id=made.id, inline=True)
    assert job.input_files == []
    assert {row["custom_id"] for row in job.outputs} == {"r-0", "r-1", "r-2"}


def test_jobs_are_listed_newest_first_by_page_and_cancelled(mistral: Any, sandbox: Sandbox) -> None:
    sandbox.control.options("mistral-ai", run_seconds=60)
    file = upload(mistral, lines(2))
    ids = [mistral.batch.jobs.create(endpoint=CHAT, input_files=[file], model=MODEL).id for _ in range(3)]
    pages = [mistral.batch.jobs.list(page=page, page_size=2) for page in range(2)]
    assert [job.id for page in pages for job in page.data] == ids[::-1]
    assert pages[0].total == 3
    assert mistral.batch.jobs.cancel(job_id=ids[0]).status == "CANCELLATION_REQUESTED"
    assert ended(mistral, ids[0]).status == "CANCELLED"
    assert mistral.batch.jobs.delete(job_id=ids[0]).deleted
    assert [job.id for job in mistral.batch.jobs.list(status=["QUEUED", "RUNNING"]).data] == ids[:0:-1]


def refused(call: Any) -> Any:
    with pytest.raises(errors.MistralError) as found:
        call()
    return found.value


def test_what_is_wrong_is_refused_at_once(mistral: Any) -> None:
    hot = lines(2)
    hot[1]["body"]["temperature"] = 1.6
    said = refused(lambda: upload(mistral, hot))
    assert said.status_code == 422
    assert "Invalid file format." in said.body
    file = upload(mistral, lines(1))
    jobs = mistral.batch.jobs
    absent = "00000000-0000-4000-8000-000000000000"
    assert refused(lambda: jobs.create(endpoint=CHAT, input_files=[absent], model=MODEL)).status_code == 404
    assert refused(lambda: jobs.create(endpoint=CHAT, input_files=[file], model="no-such-model")).status_code == 422
    assert refused(lambda: jobs.create(endpoint=CHAT, input_files=[file], timeout_hours=0)).status_code == 422


def test_a_wrong_key_is_a_401_of_a_detail(sandbox: Sandbox) -> None:
    url = sandbox.url("mistral-ai").removesuffix("/v1")
    with client_module.Mistral(api_key="nobody's", server_url=url) as other:
        said = refused(other.batch.jobs.list)
    assert said.status_code == 401
    assert json.loads(said.body) == {"detail": "Invalid API Key"}
