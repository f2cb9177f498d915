"""What the stand-in refuses or reports, over raw HTTP: shapes that no SDK would send."""

from __future__ import annotations

import gzip
import http.client
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox, SandboxError

AUTH = {"authorization": f"Bearer {DEFAULT_KEY}"}
GOOD = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
EXPIRY_SECONDS = "output_expires_after.seconds"
EXPIRY = {"anchor": "created_at", "seconds": 3600}
FILE = 'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}'
PURPOSE = 'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'


def call(
    sandbox: Sandbox, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = AUTH
) -> tuple[int, Any, Mapping[str, str]]:
    where = urllib.parse.urlsplit(sandbox.url())
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request(method, where.path + path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {name.lower(): value for name, value in answer.headers.items()}
    finally:
        connection.close()


def error(sandbox: Sandbox, method: str, path: str, *more: Any) -> tuple[int, str | None, str | None]:
    """Status, code and param of a refusal, whose envelope must be OpenAI's to the letter."""
    status, body, headers = call(sandbox, method, path, *more)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"].startswith("req_")
    return status, body["error"]["code"], body["error"]["param"]


def create(sandbox: Sandbox, body: Any) -> tuple[int, str | None, str | None]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error(sandbox, "POST", "/batches", raw, {**AUTH, "content-type": "application/json"})


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"priority": "high"}, "unknown_parameter", "priority"),
        ({"completion_window": "48h"}, "invalid_value", "completion_window"),
        ({"endpoint": "/v1/chat"}, "invalid_value", "endpoint"),
        ({"endpoint": 5}, "invalid_type", "endpoint"),
        ({"input_file_id": None}, "invalid_type", "input_file_id"),
        ({"metadata": []}, "invalid_type", "metadata"),
        ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ({"metadata": {f"{n}": "" for n in range(17)}}, "object_above_max_properties", "metadata"),
        ({"metadata": {"k" * 65: ""}}, "property_name_above_max_length", "metadata"),
        ({"metadata": {"k": "v" * 513}}, "string_above_max_length", "metadata.k"),
        ({"output_expires_after": 3600}, "invalid_type", "output_expires_after"),
        ({"output_expires_after": {"anchor": "created_at"}}, "missing_required_parameter", EXPIRY_SECONDS),
        ({"output_expires_after": {**EXPIRY, "x": 1}}, "unknown_parameter", "output_expires_after.x"),
        ({"output_expires_after": {**EXPIRY, "anchor": "now"}}, "invalid_value", "output_expires_after.anchor"),
        ({"output_expires_after": {**EXPIRY, "seconds": 3599}}, "integer_below_min_value", EXPIRY_SECONDS),
        ({"output_expires_after": {**EXPIRY, "seconds": 2592001}}, "integer_above_max_value", EXPIRY_SECONDS),
        ({"output_expires_after": {**EXPIRY, "seconds": True}}, "invalid_type", EXPIRY_SECONDS),
    ],
)  # fmt: skip
def test_create_requests_are_checked(sandbox: Sandbox, change: Any, code: str, param: str) -> None:
    assert create(sandbox, GOOD | change) == (400, code, param)
    assert sandbox.control.log() == []


def test_create_accepts_the_limits_themselves(sandbox: Sandbox) -> None:
    largest = {
        "metadata": {f"{n:064}": "v" * 512 for n in range(16)},
        "output_expires_after": {**EXPIRY, "seconds": 2592000},
    }
    raw = json.dumps(GOOD | largest).encode()
    status, batch, _ = call(sandbox, "POST", "/batches", raw, {**AUTH, "content-type": "application/json"})
    assert (status, batch["metadata"]) == (200, largest["metadata"])
    assert batch["errors"] is batch["output_file_id"] is None


@pytest.mark.parametrize("missing", GOOD)
def test_create_needs_its_parameters(sandbox: Sandbox, missing: str) -> None:
    body = {name: value for name, value in GOOD.items() if name != missing}
    assert create(sandbox, body) == (400, "missing_required_parameter", missing)


def test_bodies_that_are_no_json_objects_are_refused(sandbox: Sandbox) -> None:
    assert create(sandbox, b"{") == (400, None, None)
    assert create(sandbox, []) == (400, None, None)
    assert create(sandbox, b'{"x":"%s"}' % (b"x" * 2**20))[0] == 413
    assert error(sandbox, "POST", "/batches", json.dumps(GOOD).encode())[0] == 400


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("/batches?limit=0", "integer_below_min_value", "limit"),
        ("/batches?limit=101", "integer_above_max_value", "limit"),
        ("/batches?limit=x", "invalid_type", "limit"),
        ("/batches?after=batch_none", "invalid_value", "after"),
        ("/batches?status=completed", "unknown_parameter", "status"),
        ("/files?limit=10001", "integer_above_max_value", "limit"),
        ("/files?order=up", "invalid_value", "order"),
        ("/files?limit=1&limit=2", "unknown_parameter", "limit"),
    ],
)
def test_list_queries_are_checked(sandbox: Sandbox, query: str, code: str, param: str) -> None:
    assert error(sandbox, "GET", query) == (400, code, param)


def test_credentials_are_checked(sandbox: Sandbox) -> None:
    assert error(sandbox, "GET", "/batches", None, {}) == (401, None, None)
    assert error(sandbox, "GET", "/batches", None, {"authorization": "Basic abc"}) == (401, None, None)
    wrong = {"authorization": "Bearer sk-secret-of-somebody"}
    assert error(sandbox, "GET", "/batches", None, wrong) == (401, "invalid_api_key", None)
    assert "sk-secret" not in json.dumps([sandbox.control.requests(), sandbox.control.violations()])


def test_unknown_paths_are_404_in_the_right_shape(sandbox: Sandbox) -> None:
    assert error(sandbox, "GET", "/chat/completions") == (404, None, None)
    assert error(sandbox, "DELETE", "/batches/batch_x") == (404, None, None)


def form(*parts: str, end: str = "--\r\n", boundary: str = "b0und") -> bytes:
    return ("".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}{end}").encode()


def post_file(sandbox: Sandbox, body: bytes, boundary: str = "b0und") -> tuple[int, str | None, str | None]:
    headers = {**AUTH, "content-type": f"multipart/form-data; boundary={boundary}"}
    return error(sandbox, "POST", "/files", body, headers)


def test_a_form_may_come_in_any_order(sandbox: Sandbox) -> None:
    for parts in ((FILE, PURPOSE), (PURPOSE, FILE)):
        headers = {**AUTH, "content-type": 'multipart/form-data; boundary="b0und"'}
        status, file, _ = call(sandbox, "POST", "/files", form(*parts), headers)
        assert (status, file["bytes"], file["filename"]) == (200, 2, "a.jsonl")


def field(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


@pytest.mark.parametrize(
    ("parts", "code", "param"),
    [
        ((FILE,), "missing_required_parameter", "purpose"),
        ((PURPOSE,), "missing_required_parameter", "file"),
        ((PURPOSE, FILE, FILE), "invalid_type", "file"),
        ((PURPOSE, PURPOSE, FILE), "unknown_parameter", "purpose"),
        ((field("purpose", "batches"), FILE), "invalid_value", "purpose"),
        ((PURPOSE, FILE.replace("a.jsonl", "a.json")), None, "file"),
        ((PURPOSE, FILE.replace('; filename="a.jsonl"', "")), "invalid_type", "file"),
        ((PURPOSE, FILE, field("model", "x")), "unknown_parameter", "model"),
        ((PURPOSE, FILE, field("expires_after.seconds", "3600")), "unknown_parameter", "expires_after.seconds"),
        (
            (PURPOSE, FILE, field("expires_after[seconds]", "3600")),
            "missing_required_parameter",
            "expires_after.anchor",
        ),
        (
            (PURPOSE, FILE, field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "3599")),
            "integer_below_min_value",
            "expires_after.seconds",
        ),
    ],
)
def test_forms_are_checked(sandbox: Sandbox, parts: tuple[str, ...], code: str | None, param: str) -> None:
    assert post_file(sandbox, form(*parts)) == (400, code, param)


BROKEN = {
    "no closing boundary": form(PURPOSE, FILE)[:-8],
    "closing boundary without dashes": form(PURPOSE, FILE, end="\r\n"),
    "something after the end": form(PURPOSE, FILE) + b"more",
    "something before the start": b"hello\r\n" + form(PURPOSE, FILE),
    "no disposition": form(PURPOSE, "Content-Type: text/plain\r\n\r\nx"),
    "no name": form(PURPOSE, "Content-Disposition: form-data\r\n\r\nx"),
    "header without colon": form("Content-Disposition\r\n\r\nx"),
    "endless header": b"--b0und\r\n" + b"x" * 40_000,
    "empty": b"",
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_forms_are_refused(sandbox: Sandbox, name: str) -> None:
    assert post_file(sandbox, BROKEN[name]) == (400, None, None)
    assert call(sandbox, "GET", "/files")[1]["data"] == []


def test_files_above_the_limits_are_refused(sandbox: Sandbox) -> None:
    sandbox.control.options("openai", max_file_bytes=2000, max_batch_bytes=1000)
    for size, purpose, status in (
        (1000, "batch", 200),
        (1001, "batch", 413),
        (2000, "evals", 200),
        (2001, "evals", 413),
    ):
        body = form(field("purpose", purpose), FILE.replace("{}", "x" * size))
        headers = {**AUTH, "content-type": "multipart/form-data; boundary=b0und"}
        assert call(sandbox, "POST", "/files", body, headers)[0] == status


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_compressed_requests_are_refused(sandbox: Sandbox, encoding: str) -> None:
    headers = {**AUTH, "content-type": "application/json", "content-encoding": encoding}
    body = gzip.compress(json.dumps(GOOD).encode())
    assert error(sandbox, "POST", "/batches", body, headers) == (415, "unsupported_content_encoding", None)


def test_a_lone_surrogate_in_metadata_comes_back(sandbox: Sandbox) -> None:
    raw = json.dumps(GOOD | {"metadata": {"half": "\ud83d"}}).encode()
    headers = {**AUTH, "content-type": "application/json"}
    assert call(sandbox, "POST", "/batches", raw, headers)[1]["metadata"] == {"half": "\ud83d"}
    assert call(sandbox, "GET", "/batches")[1]["data"][0]["metadata"] == {"half": "\ud83d"}
    assert sandbox.control.log()[0]["metadata"] == {"half": "\ud83d"}


def test_an_empty_list_has_no_ends(sandbox: Sandbox) -> None:
    assert call(sandbox, "GET", "/files")[1] == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_what_must_not_reach_a_provider_is_reported_by_name(sandbox: Sandbox) -> None:
    call(sandbox, "GET", "/batches")
    assert sandbox.control.violations() == []
    leaks = {"x-portkey-api-key": "pk-1", "X-Portkey-Trace-Id": "t", "x-api-key": "sk-2", "cookie": "c=1"}
    assert call(sandbox, "GET", "/batches", None, {**AUTH, **leaks})[0] == 200
    found = sandbox.control.violations()
    assert {one["what"] for one in found} == {"x-portkey-api-key", "x-portkey-trace-id", "x-api-key", "cookie"}
    assert {(one["provider"], one["op"]) for one in found} == {("openai", "batches.list")}
    assert "pk-1" not in json.dumps(found)
    assert "sk-2" not in json.dumps(found)


def test_control_requests_are_checked(sandbox: Sandbox) -> None:
    for wrong in ({"run_secs": 1}, {"run_seconds": "fast"}):
        with pytest.raises(SandboxError):
            sandbox.control.options("openai", **wrong)
    with pytest.raises(SandboxError):
        sandbox.control.options("acme")
    with pytest.raises(SandboxError):
        sandbox.control.advance(-1)
