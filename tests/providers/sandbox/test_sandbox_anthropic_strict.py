"""What the Anthropic stand-in refuses at once or reports, over raw HTTP: shapes that no SDK would send."""

from __future__ import annotations

import gzip
import http.client
import json
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox, SandboxError
from tests.support.waiting import until

Make = Callable[..., Any]
AUTH = {"x-api-key": DEFAULT_KEY, "anthropic-version": "2023-06-01"}
JSON = {**AUTH, "content-type": "application/json"}
BATCHES = "/messages/batches"
PARAMS = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
GOOD = {"custom_id": "a", "params": PARAMS}


def call(
    sandbox: Sandbox, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers: Any = AUTH
) -> tuple[int, bytes, Mapping[str, str]]:
    where = urllib.parse.urlsplit(sandbox.url("anthropic"))
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request(method, where.path + path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.headers.items()}
    finally:
        connection.close()


def error(sandbox: Sandbox, method: str, path: str, *more: Any) -> tuple[int, str, str]:
    """Status, type and message of a refusal, whose envelope must be Anthropic's to the letter."""
    status, raw, headers = call(sandbox, method, path, *more)
    body = json.loads(raw)
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    assert headers["content-type"] == "application/json"
    assert headers["request-id"] == body["request_id"]
    assert headers["anthropic-organization-id"]
    return status, body["error"]["type"], body["error"]["message"]


def create(sandbox: Sandbox, body: Any) -> tuple[int, str, str]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error(sandbox, "POST", BATCHES, raw, JSON)


def made(sandbox: Sandbox, body: bytes | Iterable[bytes]) -> dict[str, Any]:
    status, raw, _ = call(sandbox, "POST", BATCHES, body, JSON)
    assert status == 200, raw
    return dict(json.loads(raw))


def results(sandbox: Sandbox, batch_id: str) -> list[dict[str, Any]]:
    def read() -> list[bytes]:
        status, raw, headers = call(sandbox, "GET", f"{BATCHES}/{batch_id}/results")
        if status == 200:
            assert headers["content-type"] == "application/x-jsonl"
            assert headers["transfer-encoding"] == "chunked"
            return [raw]
        assert (status, json.loads(raw)["error"]["type"]) == (404, "not_found_error")
        return []

    (whole,) = until(read, "results")
    return [json.loads(row) for row in whole.split(b"\n") if row]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "requests: List should have at least 1 item"),
        ({"a": 1}, "requests: Input should be a valid list"),
        (None, "requests: Input should be a valid list"),
        ([GOOD, GOOD], "requests.1.custom_id: 'a' is not unique in this batch"),
        ([GOOD, 5], "requests.1: Input should be an object"),
        ([GOOD, []], "requests.1: Input should be an object"),
        ([{"params": PARAMS}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        ([{**GOOD, "custom_id": None}], "requests.0.custom_id: Input should be a valid string"),
        ([{**GOOD, "custom_id": ""}], "requests.0.custom_id: String should match pattern"),
        ([{**GOOD, "custom_id": "a" * 65}], "requests.0.custom_id: String should have at most 64 characters"),
        ([{**GOOD, "custom_id": "ä"}], "requests.0.custom_id: String should match pattern"),
        ([{**GOOD, "custom_id": "a.b"}], "requests.0.custom_id: String should match pattern"),
        ([{**GOOD, "custom_id": "a\n"}], "requests.0.custom_id: String should match pattern"),
        ([{**GOOD, "params": []}], "requests.0.params: Input should be an object"),
        ([{**GOOD, "method": "POST"}], "requests.0.method: Extra inputs are not permitted"),
    ],
)
def test_one_bad_request_refuses_the_whole_batch(sandbox: Sandbox, requests: Any, message: str) -> None:
    status, kind, said = create(sandbox, {"requests": requests})
    assert (status, kind) == (400, "invalid_request_error")
    assert said.startswith(message)
    assert (sandbox.control.log(), sandbox.control.jobs()) == ([], [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "requests: Field required"),
        ({"requests": [GOOD], "metadata": {}}, "metadata: Extra inputs are not permitted"),
        ({"model": "claude-haiku-4-5", "requests": [GOOD]}, "model: Extra inputs are not permitted"),
        (b'{"requests":[],"requests":[]}', "requests: Extra inputs are not permitted"),
        ([GOOD], "Input should be an object"),
        (b"", "The request body is not valid JSON"),
        (b'\xef\xbb\xbf{"requests":[]}', "The request body is not valid JSON"),
        (b'"{}"', "Input should be an object"),
    ],
)
def test_the_envelope_holds_requests_and_nothing_else(sandbox: Sandbox, body: Any, message: str) -> None:
    assert create(sandbox, body) == (400, "invalid_request_error", message)


@pytest.mark.parametrize(
    "change",
    [
        (b'"hi"', b'"hi'),
        (b'"hi"', b'"h\\xi"'),
        (b'"hi"', b'"h\ni"'),
        (b'"hi"', b'"h\xffi"'),
        (b'"hi"', b"NaN"),
        (b'"hi"', b"hi"),
        (b'"hi"', b"[" * 100_000 + b"]" * 100_000),
        (b'"max_tokens":9', b'"max_tokens":9,'),
        (b'"max_tokens":9', b"'max_tokens':9"),
        (b"]}}]}", b"]}}}]"),
        (b"]}}]}", b"]}}]"),
        (b"]}}]}", b"]}}]}}"),
        (b"]}}]}", b"]}},]}"),
        (b"]}}]}", b"]}}],}"),
        (b"]}}]}", b"]}} {}]}"),
        (b"]}}]}", b'"\\'),
        (b'{"requests":', b'{"requests" '),
        (b'{"requests":', b"{{}:"),
        (b'{"requests":', b'{,"requests":'),
    ],
)
def test_bodies_that_are_no_json_are_refused(sandbox: Sandbox, change: tuple[bytes, bytes]) -> None:
    raw = json.dumps({"requests": [GOOD]}, separators=(",", ":")).encode()
    made(sandbox, raw)
    assert raw.count(change[0]) == 1
    kind, message = "invalid_request_error", "The request body is not valid JSON"
    assert create(sandbox, raw.replace(*change)) == (400, kind, message)


def test_white_space_and_chunks_do_not_matter(sandbox: Sandbox) -> None:
    raw = json.dumps({"requests": [GOOD, {**GOOD, "custom_id": "b"}]}, indent=2).replace("\n", "\r\n\t").encode()
    batch = made(sandbox, (raw[at : at + 7] for at in range(0, len(raw), 7)))
    assert {row["custom_id"] for row in results(sandbox, batch["id"])} == {"a", "b"}


def test_the_limits_themselves_are_accepted(sandbox: Sandbox) -> None:
    raw = json.dumps({"requests": [{**GOOD, "custom_id": f"{n:_>64}"} for n in range(3)]}).encode()
    sandbox.control.options("anthropic", max_requests=3, max_body_bytes=len(raw))
    assert made(sandbox, raw)["request_counts"]["processing"] == 3
    assert create(sandbox, raw + b" ") == (
        413,
        "request_too_large",
        f"Request exceeds the maximum size of {len(raw)} bytes",
    )
    sandbox.control.options("anthropic", max_requests=2)
    status, kind, message = create(sandbox, raw)
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("requests: List should have at most 2 items")


def test_the_documented_limits_are_the_defaults(sandbox: Sandbox) -> None:
    options = sandbox.control.options("anthropic")
    assert (options["max_requests"], options["max_body_bytes"]) == (100_000, 256_000_000)
    assert (options["window_seconds"], options["archive_after_seconds"]) == (86400, 29 * 86400)


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 401, "authentication_error"),
        ({"anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ({**AUTH, "x-api-key": "sk-secret-of-somebody"}, 401, "authentication_error"),
        ({"anthropic-version": "2023-06-01", "authorization": "Basic abc"}, 401, "authentication_error"),
        ({"anthropic-version": "2023-06-01", "authorization": f"bearer{DEFAULT_KEY}"}, 401, "authentication_error"),
        ({"x-api-key": DEFAULT_KEY}, 400, "invalid_request_error"),
        ({**AUTH, "anthropic-version": "2024-01-01"}, 400, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", BATCHES),
        ("GET", BATCHES),
        ("GET", f"{BATCHES}/msgbatch_x"),
        ("POST", f"{BATCHES}/msgbatch_x/cancel"),
        ("GET", f"{BATCHES}/msgbatch_x/results"),
        ("DELETE", f"{BATCHES}/msgbatch_x"),
    ],
)
def test_every_call_needs_a_key_and_a_version(
    sandbox: Sandbox, method: str, path: str, headers: Mapping[str, str], status: int, kind: str
) -> None:
    assert error(sandbox, method, path, None, headers)[:2] == (status, kind)
    assert "sk-secret" not in json.dumps([sandbox.control.requests(), sandbox.control.violations()])


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("key", [{"x-api-key": DEFAULT_KEY}, {"authorization": f"Bearer {DEFAULT_KEY}"}])
def test_both_versions_and_both_ways_to_send_the_key_are_known(
    sandbox: Sandbox, version: str, key: Mapping[str, str]
) -> None:
    status, raw, _ = call(sandbox, "GET", BATCHES, None, {**key, "anthropic-version": version})
    assert (status, json.loads(raw)) == (200, {"data": [], "has_more": False, "first_id": None, "last_id": None})
    assert sandbox.control.violations() == []


def test_a_batch_object_has_these_members(sandbox: Sandbox) -> None:
    batch = made(sandbox, json.dumps({"requests": [GOOD]}).encode())
    assert batch == {
        "id": batch["id"],
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": batch["created_at"],
        "expires_at": batch["expires_at"],
        "ended_at": None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    }
    assert batch["id"].startswith("msgbatch_")
    rows = results(sandbox, batch["id"])
    after = json.loads(call(sandbox, "GET", f"{BATCHES}/{batch['id']}")[1])
    assert after["results_url"] == f"{sandbox.url('anthropic')}/messages/batches/{batch['id']}/results"
    assert [set(row) for row in rows] == [{"custom_id", "result"}]


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "text/plain"}, {"content-type": "application/json", "content-encoding": "gzip"}]
)
def test_a_create_is_plain_json(sandbox: Sandbox, headers: Mapping[str, str]) -> None:
    body = gzip.compress(json.dumps({"requests": [GOOD]}).encode())
    assert error(sandbox, "POST", BATCHES, body, {**AUTH, **headers})[:2] == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "after=x", "after_id=msgbatch_x", "before_id=msgbatch_x"],
)
def test_list_queries_are_checked(sandbox: Sandbox, query: str) -> None:
    assert error(sandbox, "GET", f"{BATCHES}?{query}")[:2] == (400, "invalid_request_error")
    assert call(sandbox, "GET", f"{BATCHES}?limit=1000")[0] == 200


def test_a_page_has_one_cursor(sandbox: Sandbox) -> None:
    batch_id = made(sandbox, json.dumps({"requests": [GOOD]}).encode())["id"]
    assert error(sandbox, "GET", f"{BATCHES}?after_id={batch_id}&before_id={batch_id}")[0] == 400


def test_unknown_paths_are_404_in_the_right_shape(sandbox: Sandbox) -> None:
    for method, path in (("POST", "/messages"), ("GET", "/models"), ("PUT", f"{BATCHES}/msgbatch_x")):
        assert error(sandbox, method, path)[:2] == (404, "not_found_error")


def test_what_must_not_reach_a_provider_is_reported_by_name(sandbox: Sandbox) -> None:
    leaks = {"x-portkey-api-key": "pk-1", "X-Portkey-Trace-Id": "t", "authorization": "Bearer sk-2", "api-key": "k"}
    assert call(sandbox, "GET", BATCHES, None, {**AUTH, **leaks})[0] == 200
    found = sandbox.control.violations()
    assert {one["what"] for one in found} == {
        "x-portkey-api-key",
        "x-portkey-trace-id",
        "api-key",
        "x-api-key (beside authorization)",
    }
    assert {(one["provider"], one["op"]) for one in found} == {("anthropic", "batches.list")}
    assert "sk-2" not in json.dumps(found)


def test_control_requests_are_checked(sandbox: Sandbox) -> None:
    for wrong in ({"run_secs": 1}, {"run_seconds": "fast"}, {"answers": "poems"}):
        with pytest.raises(SandboxError):
            sandbox.control.options("anthropic", **wrong)
    wishes: list[dict[str, Any]] = [{"metadata": {}}, {"key": "sk-nobody"}, {"lines": 0}]
    for wish in wishes:
        with pytest.raises(SandboxError):
            sandbox.control.strangers("anthropic", **wish)
    assert sandbox.control.jobs() == []
