"""Together's stand-in as the official SDK sees it; and what the reference page calls odd, by raw HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.waiting import until

together = pytest.importorskip("together", reason="the official SDK is not installed: pip install together")
MODEL = "openai/gpt-oss-20b"


def line(custom_id: str, text: str) -> dict[str, Any]:
    return {"custom_id": custom_id, "body": {"model": MODEL, "messages": [{"role": "user", "content": text}]}}


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    root = sandbox.url("together-ai").removesuffix("/v1")
    with together.Together(api_key=DEFAULT_KEY, base_url=root, max_retries=0) as made:
        yield made


@pytest.fixture
def uploaded(client: Any, tmp_path: Path) -> str:
    path = tmp_path / "lines.jsonl"
    lines = [line("a", "hello"), line("b", "[[sandbox:error=400]]"), line("c", "[[sandbox:missing]]")]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    file = client.files.upload(path, purpose="batch-api", check=False)
    assert (file.filename, file.bytes, file.processing_status) == ("lines.jsonl", path.stat().st_size, "COMPLETED")
    return str(file.id)


def ended(client: Any, job: str) -> Any:
    return until(lambda: found if (found := client.batches.retrieve(job)).completed_at else None, "the end")


def test_a_file_becomes_a_job_and_two_files(client: Any, uploaded: str) -> None:
    made = client.batches.create(input_file_id=uploaded, endpoint="/v1/chat/completions", completion_window="24h")
    job = ended(client, made.job.id)
    assert (job.status, job.progress, job.input_file_id) == ("COMPLETED", 100.0, uploaded)
    output = [json.loads(each) for each in client.files.content(job.output_file_id).read().splitlines()]
    errors = [json.loads(each) for each in client.files.content(job.error_file_id).read().splitlines()]
    assert [row["custom_id"] for row in output] == ["a"]
    assert output[0]["response"]["status_code"] == 200
    assert "error" not in output[0]
    assert [(row["custom_id"], row["error"]["code"]) for row in errors] == [("b", "batch_client_error")]


def test_the_list_is_a_bare_array_newest_first(client: Any, uploaded: str) -> None:
    jobs = [client.batches.create(input_file_id=uploaded, endpoint="/v1/chat/completions").job.id for _ in range(2)]
    assert [job.id for job in client.batches.list()] == jobs[::-1]


def test_a_running_job_is_cancelled_and_an_ended_one_is_not(client: Any, sandbox: Sandbox, uploaded: str) -> None:
    sandbox.control.options("together-ai", run_seconds=600, cancel_seconds=600)
    made = client.batches.create(input_file_id=uploaded, endpoint="/v1/chat/completions").job.id
    assert client.batches.cancel(made).status == "CANCELING"
    sandbox.control.advance(601)
    assert ended(client, made).status == "CANCELLED"
    with pytest.raises(together.ConflictError, match="already in terminal state"):
        client.batches.cancel(made)


def test_a_file_that_is_gone_makes_a_job_that_fails(client: Any, uploaded: str) -> None:
    assert client.files.delete(uploaded).deleted
    made = client.batches.create(input_file_id=uploaded, endpoint="/v1/chat/completions").job.id
    job = ended(client, made)
    assert (job.status, job.output_file_id) == ("FAILED", None)
    assert job.error.startswith("Failed to download input file")


def test_a_signed_url_takes_no_key_and_ends(client: Any, sandbox: Sandbox) -> None:
    with pytest.raises(together.APIStatusError) as moved:
        client.post(
            "/v1/files",
            cast_to=object,
            body={"purpose": "batch-api", "file_name": "a.jsonl", "file_type": "jsonl"},
            options={"headers": {"Content-Type": "multipart/form-data"}, "follow_redirects": False},
        )
    url = moved.value.response.headers["location"]
    assert _put(url, {"authorization": f"Bearer {DEFAULT_KEY}"}) == 400
    assert _put(url) == 200
    sandbox.control.advance(601)
    assert _put(url) == 403


def _put(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}\n", headers or {}, method="PUT")) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
