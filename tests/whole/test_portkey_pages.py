"""What Portkey's pages on files and batches show of four providers, with another base URL and other keys.

Portkey's reference pages "Files" and "Batches" of OpenAI, Azure OpenAI, Anthropic and Fireworks (docs of 2026-08-21):
their routes, headers and fields. Accounts are named in both ways that the pages know: the caller's own provider key,
and a slug beside the gateway's key in Authorization. The pages' providers are on the internet; x-portkey-custom-host,
which Portkey has too, leads to the stand-ins instead.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import Any
from urllib.error import HTTPError

import pytest

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.stand_ins import find
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import ENDS, KEY, Gateway, lane
from tests.support.waiting import until

CHAT = "/v1/chat/completions"
COUNT = 6
EDGE = "boundary-of-the-pages"
AZURE = {
    "x-portkey-azure-resource-name": "mine",
    "x-portkey-azure-deployment-id": "gpt-4.1-mini",
    "x-portkey-azure-api-version": "v1",
    "x-portkey-azure-model-name": "gpt-4.1-mini",
}
FIREWORKS = {"x-portkey-fireworks-account-id": "sandbox"}
ANTHROPIC = {"x-portkey-anthropic-version": "2023-06-01"}
PROVIDERS: Mapping[str, Mapping[str, str]] = {  # their headers beside the key
    "openai": {"x-portkey-openai-organization": "org-mine", "x-portkey-openai-project": "proj-mine"},
    "azure-openai": AZURE,
    "anthropic": ANTHROPIC,
    "fireworks-ai": FIREWORKS,
}
FILED = [name for name in PROVIDERS if name != "anthropic"]  # whose pages upload a file
WAYS = ("own key", "slug")
pytestmark = pytest.mark.sandbox(
    options={name: {**find(name).quick, "answers": "echo", "run_seconds": 0.1} for name in PROVIDERS}
)


@dataclass
class Page:
    """One provider's page: its calls carry its headers. `url` is the base URL of the gateway."""

    url: str
    provider: str
    headers: Mapping[str, str]

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[HTTPMessage, bytes]:
        """Make a call and return headers and body of its answer. Raises HTTPError."""
        more = {name.replace("_", "-"): text for name, text in headers.items()}
        request = urllib.request.Request(self.url + path, body, {**self.headers, **more}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.headers, answer.read()

    def json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make a call with JSON in and out."""
        data = None if body is None else json.dumps(body).encode()
        return dict(json.loads(self.call(method, path, data, content_type="application/json")[1]))

    def upload(self, content: bytes, *, file_first: bool = False, **headers: str) -> dict[str, Any]:
        """Send a form as curl does, its parts in the order in which the page has them."""
        parts = [
            b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
            b'Content-Disposition: form-data; name="file"; filename="dataset.jsonl"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n",
        ]
        form = b"".join(b"--%b\r\n%b" % (EDGE.encode(), part) for part in (parts[::-1] if file_first else parts))
        end, kind = b"--%b--\r\n" % EDGE.encode(), f"multipart/form-data; boundary={EDGE}"
        return dict(json.loads(self.call("POST", "/files", form + end, content_type=kind, **headers)[1]))

    def until(self, batch_id: str, statuses: set[str]) -> dict[str, Any]:
        """Return a batch when it has one of the statuses."""
        until(lambda: self.json("GET", f"/batches/{batch_id}")["status"] in statuses, "the batch")
        return self.json("GET", f"/batches/{batch_id}")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Gateway]:
    keys = {f"{name}-prod": lane(sandbox, provider=name) for name in PROVIDERS}
    made = Gateway(tmp_path_factory.mktemp("pages"), keys, server={"custom_hosts": ["127.0.0.1"]})
    made.start()
    yield made
    made.close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def page(gateway: Gateway, sandbox: Sandbox, provider: str, way: str) -> Page:
    """Return a provider's page, its account named in one of the ways."""
    if way == "slug":
        return Page(
            gateway.url, provider, {"Authorization": f"Bearer {KEY}", "x-portkey-provider": f"@{provider}-prod"}
        )
    own = {"x-portkey-api-key": KEY, "Authorization": f"Bearer {DEFAULT_KEY}", "x-portkey-provider": provider}
    return Page(gateway.url, provider, {**own, "x-portkey-custom-host": sandbox.url(provider), **PROVIDERS[provider]})


def lines_for(provider: str, count: int = COUNT) -> list[dict[str, Any]]:
    return chat_lines(count, model=find(provider).model)


def order(file_id: str) -> dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", "metadata": {"team": "evals"}}


def check_output(content: bytes, lines: list[dict[str, Any]]) -> None:
    rows = [json.loads(line) for line in content.splitlines()]
    assert [row["custom_id"] for row in rows] == [line["custom_id"] for line in lines]
    texts = [row["response"]["body"]["choices"][0]["message"]["content"] for row in rows]
    assert texts == [expected_text(CHAT, line["body"], "echo") for line in lines]


@pytest.mark.parametrize("provider", FILED)
def test_files_are_uploaded_listed_read_and_deleted(
    gateway: Gateway, sandbox: Sandbox, provider: str, way: str
) -> None:
    on, content = page(gateway, sandbox, provider, way), jsonl(lines_for(provider))
    size = {"x_portkey_file_upload_size": str(len(content))} if provider == "fireworks-ai" else {}
    files = [on.upload(content, file_first=first, **size) for first in (True, False)]
    for file in files:
        shown = (file["object"], file["purpose"], file["bytes"], file["filename"])
        assert shown == ("file", "batch", len(content), "dataset.jsonl")
        assert on.json("GET", f"/files/{file['id']}")["id"] == file["id"]
    listed = on.json("GET", "/files?purpose=batch&limit=100")
    assert {file["id"] for file in files} <= {each["id"] for each in listed["data"]}
    assert on.call("GET", f"/files/{files[0]['id']}/content")[1] == content
    assert on.json("DELETE", f"/files/{files[0]['id']}")["deleted"] is True
    with pytest.raises(HTTPError, match="404") as gone:
        on.json("GET", f"/files/{files[0]['id']}")
    gone.value.close()


@pytest.mark.parametrize("provider", FILED)
def test_a_batch_of_a_file_is_created_retrieved_listed_and_read(
    gateway: Gateway, sandbox: Sandbox, provider: str, way: str
) -> None:
    on, lines = page(gateway, sandbox, provider, way), lines_for(provider)
    batch = on.json("POST", "/batches", order(on.upload(jsonl(lines))["id"]))
    assert (batch["object"], batch["endpoint"], batch["metadata"]) == ("batch", CHAT, {"team": "evals"})
    done = on.until(batch["id"], ENDS)
    assert (done["status"], done["request_counts"]) == ("completed", {"total": COUNT, "completed": COUNT, "failed": 0})
    assert batch["id"] in {each["id"] for each in on.json("GET", "/batches?limit=100")["data"]}
    headers, content = on.call("GET", f"/batches/{batch['id']}/output")
    assert headers.get_content_type() == "application/octet-stream"
    assert headers["x-portkey-trace-id"]
    check_output(content, lines)
    check_output(on.call("GET", f"/files/{done['output_file_id']}/content")[1], lines)
    assert {entry["provider"] for entry in sandbox.control.log()} == {provider}
    assert sandbox.control.violations() == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_batch_is_cancelled(gateway: Gateway, sandbox: Sandbox, provider: str, way: str) -> None:
    sandbox.control.options(provider, run_seconds=600)
    on = page(gateway, sandbox, provider, way)
    body = {"requests": native()} if provider == "anthropic" else order(on.upload(jsonl(lines_for(provider)))["id"])
    batch = on.json("POST", "/batches", body)
    until(sandbox.control.log, "a job at the provider")
    on.until(batch["id"], {"in_progress"})
    assert on.json("POST", f"/batches/{batch['id']}/cancel", {})["status"] in {"cancelling", "cancelled"}
    assert on.until(batch["id"], ENDS)["status"] == "cancelled"
    assert {entry["op"] for entry in sandbox.control.requests()} >= {find(provider).cancel}


def native() -> list[dict[str, Any]]:
    """Return the requests of Anthropic's page: no file, and Anthropic's own parameters."""
    said = [{"role": "user", "content": f"Hello, world {n}"} for n in range(COUNT)]
    model = find("anthropic").model
    return [
        {"custom_id": f"my-request-{n}", "params": {"model": model, "max_tokens": 100, "messages": [each]}}
        for n, each in enumerate(said)
    ]


@pytest.mark.parametrize("strict", ["true", "false"])
def test_anthropics_requests_travel_in_the_create(gateway: Gateway, sandbox: Sandbox, way: str, strict: str) -> None:
    on = page(gateway, sandbox, "anthropic", way)
    on.headers = {**on.headers, "x-portkey-strict-open-ai-compliance": strict}
    batch = on.json("POST", "/batches", {"requests": native()})
    done = on.until(batch["id"], ENDS)
    assert done["request_counts"] == {"total": COUNT, "completed": COUNT, "failed": 0}
    assert batch["id"] in {each["id"] for each in on.json("GET", "/batches?limit=100")["data"]}
    rows = [json.loads(line) for line in on.call("GET", f"/batches/{batch['id']}/output")[1].splitlines()]
    assert [row["custom_id"] for row in rows] == [each["custom_id"] for each in native()]
    for n, row in enumerate(rows):
        body = row["response"]["body"] if "response" in row else row["result"]["message"]
        text = body["choices"][0]["message"]["content"] if strict == "true" else body["content"][0]["text"]
        assert text == f"echo: Hello, world {n}"
    assert sandbox.control.violations() == []


def test_azures_blobs_are_refused_by_name(gateway: Gateway, sandbox: Sandbox, way: str) -> None:
    on = page(gateway, sandbox, "azure-openai", way)
    body = {"endpoint": CHAT, "completion_window": "24h", "input_blob": "https://mine.blob.core.windows.net/in/a.jsonl"}
    with pytest.raises(HTTPError, match="400") as caught:
        on.json("POST", "/batches", body)
    with caught.value as refusal:
        assert "input_blob" in json.load(refusal)["error"]["message"]
    assert sandbox.control.log() == []
