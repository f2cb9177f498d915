"""Faults on the routes of the Anthropic stand-in: what the client sees, and what the logs say happened."""

from __future__ import annotations

import json
import socket
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from anthropic.types.messages import MessageBatch

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox
from tests.support.waiting import until

Make = Callable[..., Any]
HEADERS = {"x-api-key": DEFAULT_KEY, "anthropic-version": "2023-06-01"}


@pytest.fixture
def post(claude: Anthropic, ask: Make) -> Callable[[], MessageBatch]:
    """Creates a batch of one request."""
    return lambda: claude.messages.batches.create(requests=[ask("a")])


@pytest.mark.parametrize(
    ("rule", "error", "accepted", "status"),
    [
        ({"kind": "status", "status": 529}, anthropic.InternalServerError, 0, 529),
        ({"kind": "status_after", "status": 500}, anthropic.InternalServerError, 1, 500),
        ({"kind": "status_after", "status": 429, "retry_after": 3}, anthropic.RateLimitError, 1, 429),
        ({"kind": "drop"}, anthropic.APIConnectionError, 0, 0),
        ({"kind": "drop", "drain": False, "reset": True}, anthropic.APIConnectionError, 0, 0),
        ({"kind": "drop_after"}, anthropic.APIConnectionError, 1, 0),
        ({"kind": "drop_after", "reset": True}, anthropic.APIConnectionError, 1, 0),
        ({"kind": "truncate", "bytes": 20}, anthropic.APIConnectionError, 1, 200),
    ],
)
def test_a_create_fails_with_and_without_its_effect(
    claude: Anthropic, sandbox: Sandbox, post: Make, rule: dict[str, Any], error: Any, accepted: int, status: int
) -> None:
    sandbox.control.faults([{"on": "batches.create", **rule}])
    with pytest.raises(error):
        post()
    listed = [batch.id for batch in claude.messages.batches.list()]
    assert [entry["batch_id"] for entry in sandbox.control.log()] == listed
    assert len(listed) == accepted
    (entry, _) = sandbox.control.requests()
    assert (entry["op"], entry["status"], entry["fault"]) == ("batches.create", status, rule["kind"])


def test_a_late_accept_comes_when_the_client_has_gone(claude: Anthropic, sandbox: Sandbox, post: Make) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "late", "seconds": 0.3}])
    with pytest.raises(anthropic.APIConnectionError):
        post()
    assert list(claude.messages.batches.list()) == []
    found = until(lambda: list(claude.messages.batches.list()))
    assert [entry["batch_id"] for entry in sandbox.control.log()] == [found[0].id]


def test_a_stalled_create_has_acted_at_once(claude: Anthropic, sandbox: Sandbox, ask: Make) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "stall", "seconds": 30}])
    with pytest.raises(anthropic.APITimeoutError):
        claude.messages.batches.create(requests=[ask("a")], timeout=0.3)
    assert len(sandbox.control.log()) == len(list(claude.messages.batches.list())) == 1


def test_a_retrying_sdk_makes_two_batches_when_a_reply_is_lost(claude: Anthropic, sandbox: Sandbox, ask: Make) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "drop_after"}])
    with Anthropic(base_url=claude.base_url, api_key=DEFAULT_KEY, max_retries=1) as eager:
        kept = eager.messages.batches.create(requests=[ask("k3j9x0a2bq01")])
    assert [entry["mark"] for entry in sandbox.control.log()] == ["k3j9x0a2bq"] * 2
    assert sandbox.control.log()[1]["batch_id"] == kept.id


@pytest.mark.parametrize("operation", ["list", "retrieve", "cancel", "delete"])
def test_every_call_can_fail(claude: Anthropic, sandbox: Sandbox, post: Make, ended: Make, operation: str) -> None:
    batch = ended(post())
    sandbox.control.faults([{"on": f"batches.{operation}", "kind": "status", "status": 503, "message": "not now"}])
    call = getattr(claude.messages.batches, operation)
    with pytest.raises(anthropic.ServiceUnavailableError, match="not now"):
        call() if operation == "list" else call(batch.id)
    assert [each.id for each in claude.messages.batches.list()] == [batch.id]


def test_a_cancel_whose_reply_is_lost_has_happened(claude: Anthropic, sandbox: Sandbox, post: Make) -> None:
    sandbox.control.options("anthropic", run_seconds=1000, cancel_seconds=1000)
    batch = post()
    sandbox.control.faults([{"on": "batches.cancel", "kind": "drop_after", "id": batch.id}])
    with pytest.raises(anthropic.APIConnectionError):
        claude.messages.batches.cancel(batch.id)
    assert claude.messages.batches.retrieve(batch.id).processing_status == "canceling"


def download(url: str) -> bytes:
    return httpx2.get(url, headers=HEADERS, trust_env=False).content


def test_downloads_break_end_early_or_crawl(claude: Anthropic, sandbox: Sandbox, ask: Make, ended: Make) -> None:
    batch = ended(claude.messages.batches.create(requests=[ask(f"{n}") for n in range(40)]))
    whole = download(batch.results_url)
    assert len(whole.splitlines()) == 40
    rule = {"on": "batches.results", "bytes": len(whole) // 2}
    sandbox.control.faults([{**rule, "kind": "truncate"}])
    with pytest.raises(httpx2.RemoteProtocolError):
        download(batch.results_url)
    sandbox.control.faults([{**rule, "kind": "truncate_chunked"}])
    assert download(batch.results_url) == whole[: len(whole) // 2]
    sandbox.control.faults([{**rule, "kind": "slow", "rate": rate} for rate in (20, len(whole) * 4)])
    with httpx2.stream("GET", batch.results_url, headers=HEADERS, trust_env=False) as answer:
        assert 0 < len(next(answer.iter_bytes())) < len(whole) // 2, "at this rate the whole takes minutes"
    assert download(batch.results_url) == whole
    assert len(list(claude.messages.batches.results(batch.id))) == 40


def test_a_redirect_does_nothing(claude: Anthropic, sandbox: Sandbox, ask: Make) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "redirect", "url": "http://127.0.0.1:9/elsewhere"}])
    url = f"{sandbox.url('anthropic')}/messages/batches"
    answer = httpx2.post(url, json={"requests": [ask("a")]}, headers=HEADERS, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")
    assert sandbox.control.log() == []


def test_refused_and_broken_off_creates_leave_nothing(tmp_path: Path) -> None:
    with Sandbox(providers=["anthropic"], directory=tmp_path) as sandbox:
        url, folder = f"{sandbox.url('anthropic')}/messages/batches", tmp_path / "anthropic/batches"
        assert httpx2.post(url, json={"requests": []}, headers=HEADERS, trust_env=False).status_code == 400
        where = urllib.parse.urlsplit(url)
        head = "\r\n".join(f"{name}: {value}" for name, value in HEADERS.items())
        with socket.create_connection((str(where.hostname), int(where.port or 0))) as client:
            client.sendall(
                f"POST {where.path} HTTP/1.1\r\nHost: x\r\n{head}\r\nContent-Type: application/json\r\n"
                f"Content-Length: 1000000\r\n\r\n".encode()
                + b'{"requests":['
                + b" " * 100_000
            )
            until(lambda: any(folder.iterdir()))
        until(lambda: not any(folder.iterdir()))
        assert [one["status"] for one in sandbox.control.requests()] == [400, 0]
        assert sandbox.control.log() == []


def test_the_log_of_accepted_creates_is_on_disk(tmp_path: Path) -> None:
    with Sandbox(providers=["anthropic"], directory=tmp_path) as sandbox:
        sandbox.control.faults([{"on": "batches.create", "kind": "drop_after"}])
        request = {"custom_id": "k3j9x0a2bq01", "params": {}}
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.post(
                f"{sandbox.url('anthropic')}/messages/batches",
                json={"requests": [request]},
                headers=HEADERS,
                trust_env=False,
            )
        (entry,) = sandbox.control.log()
        assert json.loads((tmp_path / "accepted-anthropic.jsonl").read_text()) == entry
        assert (entry["mark"], entry["lines"], entry["provider"]) == ("k3j9x0a2bq", 1, "anthropic")
