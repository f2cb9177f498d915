"""What OpenAI's stand-in wants and answers in the name of each vendor that copies the API: raw HTTP, and the SDK."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from openai import OpenAI
from openai.types import Batch

from proxy_plugin.providers.sandbox.answers import expected_text
from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from proxy_plugin.providers.sandbox.stand_ins import copies, find
from tests.support.waiting import until

COPIES = copies()
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
WITH_VERSION = {"version": "2026-03-01"}
ENDS = {"completed", "failed", "success"}


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    options = {name: dict(each.quick) for name, each in COPIES.items()}
    with Sandbox(providers=list(COPIES), options=options) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.control.reset()
    return running


class Vendor:
    """One vendor's stand-in, spoken to as a client of it would."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.record, self.url = find(name), sandbox.url(name)
        self.headers = dict(self.record.headers(DEFAULT_KEY))
        self.query = WITH_VERSION if name == "watsonx" else {}
        self.endpoint = next(iter(self.record.traits["differs"].get("endpoints", {})), CHAT)

    def sdk(self) -> OpenAI:
        more = {name: value for name, value in self.headers.items() if name != "authorization"}
        return OpenAI(
            base_url=self.url, api_key=DEFAULT_KEY, max_retries=0, default_headers=more, default_query=dict(self.query)
        )

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        where = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
        data = None if body is None else json.dumps(body).encode()
        more = self.headers if headers is None else headers
        query = f"?{urllib.parse.urlencode(self.query)}" if self.query and "?" not in path else ""
        try:
            connection.request(method, where.path + path + query, data, {**more, **(JSON if data else {})})
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.headers.items()}
        finally:
            connection.close()

    def line(self, custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
        said = [{"role": "user", "content": text}]
        where = "input" if self.record.endpoint == "/v1/responses" else "messages"
        whole = {"model": self.record.model, where: said, **body}
        if self.record.traits["differs"].get("bare_lines"):
            return {"custom_id": custom_id, "body": whole}
        return {"custom_id": custom_id, "method": "POST", "url": self.endpoint, "body": whole}

    def rows(self, file: str | None) -> list[dict[str, Any]]:
        """Follow a redirect without the key, as clients do that see it lead elsewhere."""
        status, content, url = 302, b"", str(file)
        if "/signed/" not in url:
            status, content, headers = self.call("GET", f"/files/{file}/content")
            url = headers.get("location", "")
        if status == 302:
            _, content, _ = self.call("GET", "/signed/" + url.partition("/signed/")[2], headers={})
        return [json.loads(row) for row in content.split(b"\n") if row]

    def upload(self, client: OpenAI, *lines: dict[str, Any]) -> str:
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        made = client.files.create(file=("a.jsonl", data), purpose="batch").to_dict(warnings=False)
        return str(made.get("id") or made["data"]["id"])  # type: ignore[index]

    def run(self, client: OpenAI, *lines: dict[str, Any], **more: Any) -> Batch:
        endpoint: Any = self.endpoint
        made = client.batches.create(
            input_file_id=self.upload(client, *lines), endpoint=endpoint, completion_window="24h", **more
        )
        until(lambda: client.batches.retrieve(made.id).status.lower() in ENDS, "the end")
        return client.batches.retrieve(made.id)


@pytest.mark.parametrize("name", COPIES)
def test_openais_sdk_passes_through_every_vendor(sandbox: Sandbox, name: str) -> None:
    vendor = Vendor(sandbox, name)
    lines = [vendor.line(f"line-{n}", f"question {n}") for n in range(4)]
    with vendor.sdk() as client:
        batch = vendor.run(client, *lines)
        assert batch.status.lower() in {"completed", "success"}
        assert batch.id in {each.id for each in client.batches.list().data}
    rows = vendor.rows(batch.output_file_id)
    assert {row["custom_id"] for row in rows} == {line["custom_id"] for line in lines}
    for row in rows:
        body = next(line["body"] for line in lines if line["custom_id"] == row["custom_id"])
        wanted = json.dumps(expected_text(vendor.record.endpoint, body))
        assert wanted in json.dumps(row["response"]["body"])


ORDER = {"input_file_id": "file-x", "endpoint": "", "completion_window": "24h"}
REFUSED: list[tuple[str, dict[str, Any], int]] = [  # vendor, what differs from an order that is right, status
    ("groq", {"completion_window": "8d"}, 400),
    ("groq", {"completion_window": "12h"}, 400),
    ("groq", {"endpoint": "/v1/embeddings"}, 400),
    ("groq", {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, 400),
    ("dashscope", {"completion_window": "15d"}, 400),
    ("zhipu", {"endpoint": CHAT}, 400),
    ("moonshot", {"completion_window": "11h"}, 400),
    ("novita-ai", {"endpoint": "/v1/embeddings"}, 400),
    ("deepinfra", {}, 404),
    ("deepinfra", {"endpoint": "/v1/responses"}, 400),
    ("perplexity-ai", {"endpoint": CHAT}, 400),
    ("perplexity-ai", {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, 400),
    ("qianfan", {"endpoint": CHAT}, 400),
    ("openai-compatible", {"metadata": {"a": "b"}}, 400),
]


@pytest.mark.parametrize(("name", "change", "status"), REFUSED)
def test_an_order_that_a_vendor_does_not_know_is_refused(
    sandbox: Sandbox, name: str, change: dict[str, Any], status: int
) -> None:
    vendor = Vendor(sandbox, name)
    order = {**ORDER, "endpoint": vendor.endpoint, **change}
    code, said, _ = vendor.call("POST", "/batches", order)
    assert code == status, said
    assert sandbox.control.log() == []
    if name in {"deepinfra", "openai-compatible"}:
        assert set(json.loads(said)) == {"detail"}


@pytest.mark.parametrize(("window", "vendors"), [("7d", ("groq", "moonshot")), ("336h", ("dashscope", "siliconflow"))])
def test_longer_windows_are_taken(sandbox: Sandbox, window: str, vendors: tuple[str, ...]) -> None:
    for name in vendors:
        vendor = Vendor(sandbox, name)
        status, said, _ = vendor.call(
            "POST", "/batches", {**ORDER, "endpoint": vendor.endpoint, "completion_window": window}
        )
        assert (status, json.loads(said)["completion_window"]) == (200, window)


@pytest.mark.parametrize("path", ["/batches?after=x&version=2026-03-01", "/batches?limit=5", "/batches?version=now"])
def test_watsonx_wants_its_version_and_one_place(sandbox: Sandbox, path: str) -> None:
    vendor = Vendor(sandbox, "watsonx")
    assert vendor.call("GET", path)[0] == 400
    assert vendor.call("GET", "/batches")[0] == 200
    plain = {"authorization": f"Bearer {DEFAULT_KEY}"}
    assert vendor.call("GET", "/batches", headers=plain)[0] == 400
    both = {**plain, "X-IBM-Project-ID": "p", "X-IBM-Space-ID": "s"}
    assert vendor.call("GET", "/batches", headers=both)[0] == 400


def test_parasail_answers_with_a_signed_address_that_takes_no_key(sandbox: Sandbox) -> None:
    vendor = Vendor(sandbox, "parasail")
    with vendor.sdk() as client:
        file = vendor.upload(client, vendor.line("a"))
    status, _, headers = vendor.call("GET", f"/files/{file}/content")
    assert status == 302
    path = "/signed/" + headers["location"].partition("/signed/")[2]
    assert vendor.call("GET", path)[0] == 400
    status, content, _ = vendor.call("GET", path, headers={})
    assert (status, json.loads(content)["custom_id"]) == (200, "a")
    assert vendor.call("GET", "/signed/file-nobody?expires=1", headers={})[0] in {400, 401}
    deleted = json.loads(vendor.call("DELETE", "/files/file-nobody")[1])
    assert deleted["deleted"] is True
    status, said, headers = vendor.call("GET", "/batches", headers={"authorization": "Bearer sk-nobody"})
    assert (status, said, headers["content-type"]) == (401, b"Unauthorized", "text/plain")


def test_groq_pages_by_cursor_and_lists_files_without_parameters(sandbox: Sandbox) -> None:
    vendor = Vendor(sandbox, "groq")
    sandbox.control.strangers("groq", batches=25)
    first = json.loads(vendor.call("GET", "/batches")[1])
    rest = json.loads(vendor.call("GET", f"/batches?cursor={first['paging']['next_cursor']}")[1])
    assert (len(first["data"]), len(rest["data"]), rest["paging"]) == (20, 5, {})
    for path in ("/batches?limit=5", "/batches?after=x", "/files?limit=5", "/files?purpose=batch"):
        assert vendor.call("GET", path)[0] == 400
    assert vendor.call("GET", "/files")[0] == 200


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "zhipu",
            "purpose=batch&limit=100&order=created_at",
            ("", "purpose=batch&limit=101", "purpose=batch&order=desc"),
        ),
        ("siliconflow", "purpose=batch&limit=1000", ("limit=10", "purpose=batch&after=x", "purpose=batch&order=desc")),
    ],
)
def test_files_are_listed_as_the_vendor_says_and_not_shown_by_id(
    sandbox: Sandbox, name: str, good: str, bad: tuple[str, ...]
) -> None:
    vendor = Vendor(sandbox, name)
    with vendor.sdk() as client:
        file = vendor.upload(client, vendor.line("a"))
    status, said, _ = vendor.call("GET", f"/files?{good}")
    found = json.loads(said)
    found = found["data"] if name == "siliconflow" else found
    assert (status, [each["id"] for each in found["data"]]) == (200, [file])
    assert {vendor.call("GET", f"/files?{query}")[0] for query in bad} == {400}
    assert vendor.call("GET", f"/files/{file}")[0] == 404


def test_perplexity_returns_the_first_batch_of_an_idempotency_key(sandbox: Sandbox) -> None:
    vendor = Vendor(sandbox, "perplexity-ai")
    with vendor.sdk() as client:
        file = vendor.upload(client, vendor.line("a"))
        order: dict[str, Any] = {"input_file_id": file, "endpoint": "/v1/responses", "completion_window": "24h"}
        ids = [client.batches.create(**order, extra_headers={"Idempotency-Key": key}).id for key in ("k1", "k1", "k2")]
        ids.append(client.batches.create(**order).id)
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert len(sandbox.control.log()) == 3


def test_perplexity_checks_lines_when_they_are_uploaded(sandbox: Sandbox) -> None:
    vendor = Vendor(sandbox, "perplexity-ai")
    with vendor.sdk() as client, pytest.raises(Exception, match="Line 2: "):
        vendor.upload(client, vendor.line("a"), {**vendor.line("b"), "url": CHAT})


def test_zhipu_deletes_the_input_unless_it_is_told_not_to(sandbox: Sandbox) -> None:
    vendor = Vendor(sandbox, "zhipu")
    with vendor.sdk() as client:
        for keep in (True, False):
            more = {"auto_delete_input_file": False} if keep else {}
            batch = vendor.run(client, vendor.line("a"), extra_body=more)
            listed = json.loads(vendor.call("GET", "/files?purpose=batch")[1])["data"]
            assert (batch.input_file_id in {each["id"] for each in listed}) is keep


def test_deepinfra_fails_lines_that_stream_and_names_an_empty_error_file(sandbox: Sandbox) -> None:
    vendor = Vendor(sandbox, "deepinfra")
    with vendor.sdk() as client:
        lines = [vendor.line("a", stream=True), vendor.line("b", stream_options={"include_usage": True})]
        batch = vendor.run(client, *lines)
        rows = vendor.rows(batch.error_file_id)
        whole = vendor.run(client, vendor.line("c"))
        assert client.files.retrieve(str(whole.error_file_id)).bytes == 0
    assert [(row["response"], row["error"]["code"]) for row in rows] == [(None, "500"), (None, "500")]
    assert (batch.output_file_id, whole.output_file_id) == (None, f"{whole.id}_output")


@pytest.mark.parametrize(
    ("name", "first", "shape"), [("deepinfra", 1, dict), ("groq", 2, list), ("novita-ai", 2, str), ("nebius", 2, dict)]
)
def test_a_bad_line_is_named_as_the_vendor_counts(sandbox: Sandbox, name: str, first: int, shape: type) -> None:
    vendor = Vendor(sandbox, name)
    with vendor.sdk() as client:
        batch = vendor.run(client, vendor.line("a"), vendor.line("a"))
    errors = json.loads(vendor.call("GET", f"/batches/{batch.id}")[1])["errors"]
    assert type(errors).__name__ == shape.__name__
    if shape is not str:
        problems = errors["data"] if shape is dict else errors
        assert problems[0]["line"] == first


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [("novita-ai", str, "COMPLETED"), ("watsonx", int, "completed"), ("openai-compatible", int, "SUCCESS")],
)
def test_times_and_states_are_the_vendors_own(sandbox: Sandbox, name: str, kind: type, status: str) -> None:
    vendor = Vendor(sandbox, name)
    with vendor.sdk() as client:
        batch = vendor.run(client, vendor.line("a"))
    told = json.loads(vendor.call("GET", f"/batches/{batch.id}")[1])
    assert type(told["created_at"]).__name__ == kind.__name__
    assert told["status"] == status
    assert told["created_at"] > 10**11 if kind is int else told["created_at"].endswith("Z")
    assert ("metadata" in told) is False
