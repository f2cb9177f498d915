"""The Gemini stand-in, driven by Google's official SDK: files, batches of both kinds of input, lists, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.waiting import until

genai = pytest.importorskip("google.genai", reason="google-genai is not installed")
errors = pytest.importorskip("google.genai.errors")

MODEL = "gemini-2.5-flash"
OVER = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}


@pytest.fixture(params=["v1beta", "v1"])
def client(request: pytest.FixtureRequest, sandbox: Sandbox) -> Any:
    """The official client, in both versions of the API."""
    options = {"base_url": sandbox.url("google"), "api_version": request.param}
    return genai.Client(api_key=DEFAULT_KEY, http_options=options)


def line(key: str, text: str) -> dict[str, Any]:
    return {"key": key, "request": {"contents": [{"role": "user", "parts": [{"text": text}]}]}}


@pytest.fixture
def ended(client: Any) -> Callable[[Any], Any]:
    """Polls a job until it is over."""

    def poll(job: Any) -> Any:
        def seen() -> list[Any]:
            found = client.batches.get(name=job.name)
            return [found] if found.state.name in OVER else []

        return until(seen, "the end of a job")[0]

    return poll


@pytest.fixture
def uploaded(client: Any, tmp_path: Path) -> Callable[..., Any]:
    """Uploads lines and waits until they can be used."""

    def send(*lines: dict[str, Any]) -> Any:
        path = tmp_path / "lines.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        file = client.files.upload(file=path, config={"display_name": "lines", "mime_type": "application/jsonl"})
        assert file.state.name in {"PROCESSING", "ACTIVE"}
        until(lambda: client.files.get(name=file.name).state.name == "ACTIVE", "a file that can be used")
        return file

    return send


def test_a_file_becomes_a_job_and_its_results_a_file(client: Any, uploaded: Any, ended: Any) -> None:
    file = uploaded(*(line(f"k{n}", f"say {n}") for n in range(20)), line("bad", "[[sandbox:error=503]]"))
    assert file.display_name == "lines"
    made = client.batches.create(model=MODEL, src=file.name, config={"display_name": "job"})
    job = ended(made)
    assert (job.state.name, job.display_name, job.model) == ("JOB_STATE_SUCCEEDED", "job", f"models/{MODEL}")
    assert job.end_time >= job.create_time
    rows = [json.loads(row) for row in client.files.download(file=job.dest.file_name).splitlines()]
    keys = [row["key"] for row in rows]
    assert sorted(keys) == sorted([*(f"k{n}" for n in range(20)), "bad"])
    assert keys != [*(f"k{n}" for n in range(20)), "bad"]
    found = {row["key"]: row for row in rows}
    assert found["bad"]["error"]["code"] == 14
    answer = genai.types.GenerateContentResponse.model_validate(found["k3"]["response"])
    assert "say 3" in answer.text
    assert answer.usage_metadata.total_token_count > 0


def test_requests_may_travel_in_the_create(client: Any, ended: Any) -> None:
    src = [{"contents": f"say {n}", "metadata": {"key": f"k{n}"}} for n in range(3)]
    job = ended(client.batches.create(model=MODEL, src=src, config={"display_name": "inline"}))
    assert {each.metadata["key"] for each in job.dest.inlined_responses} == {"k0", "k1", "k2"}
    assert all(each.response.text for each in job.dest.inlined_responses)


@pytest.mark.filterwarnings("ignore:batches.create_embeddings")  # experimental, says the SDK
def test_embeddings_run_too(client: Any, uploaded: Any, ended: Any) -> None:
    request = {"content": {"parts": [{"text": "a"}]}, "output_dimensionality": 3}
    file = uploaded({"key": "k", "request": request})
    made = client.batches.create_embeddings(
        model="gemini-embedding-001", src={"file_name": file.name}, config={"display_name": "vectors"}
    )
    (row,) = (json.loads(row) for row in client.files.download(file=ended(made).dest.file_name).splitlines())
    assert len(row["response"]["embedding"]["values"]) == 3


def test_jobs_are_listed_page_by_page_cancelled_and_deleted(client: Any, uploaded: Any, sandbox: Sandbox) -> None:
    sandbox.control.options("google", run_seconds=600)
    file = uploaded(line("k", "say"))
    made = [client.batches.create(model=MODEL, src=file.name, config={"display_name": str(n)}) for n in range(5)]
    listed = list(client.batches.list(config={"page_size": 2}))
    assert [each.display_name for each in listed] == ["4", "3", "2", "1", "0"]
    client.batches.cancel(name=made[0].name)
    until(lambda: client.batches.get(name=made[0].name).state.name == "JOB_STATE_CANCELLED", "the cancelled job")
    client.batches.delete(name=made[1].name)
    assert len(list(client.batches.list(config={"page_size": 100}))) == 4


def test_files_are_listed_and_deleted(client: Any, uploaded: Any) -> None:
    file = uploaded(line("k", "say"))
    assert [each.name for each in client.files.list()] == [file.name]
    client.files.delete(name=file.name)
    assert list(client.files.list()) == []
    with pytest.raises(errors.ClientError) as caught:
        client.batches.create(model=MODEL, src=file.name, config={"display_name": "late"})
    assert caught.value.code == 404


def test_errors_are_googles(sandbox: Sandbox) -> None:
    stranger = genai.Client(api_key="AIza-nobody", http_options={"base_url": sandbox.url("google")})
    with pytest.raises(errors.ClientError) as caught:
        stranger.files.list()
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
