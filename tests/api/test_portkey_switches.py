"""Two of Portkey's request headers: how long an answer may take to begin, and which headers the provider gets too."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
from collections.abc import Iterator

import pytest
from multidict import CIMultiDict

from proxy_plugin.access.forwarding import forwarded
from proxy_plugin.access.headers import read
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.providers.sandbox.process import Sandbox
from tests.support.folders import below
from tests.support.lines import chat_lines, jsonl
from tests.support.stack import KEY, Gateway, lane

FORWARD, TIMEOUT = "x-portkey-forward-headers", "x-portkey-request-timeout"
MODELS = {"openai": "gpt-4.1-nano", "anthropic": "claude-haiku-4-5"}


@pytest.fixture(scope="module")
def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = {name: lane(sandbox, provider=name) for name in MODELS}
    made = Gateway(tmp_path_factory.mktemp("switches"), keys | {"lane": keys["openai"]})
    made.start()
    yield made
    made.close()


# ---- x-portkey-forward-headers ----


@pytest.mark.parametrize("provider", MODELS)
def test_every_call_of_a_batch_carries_the_listed_headers_over_a_kill(
    provider: str, gateway: Gateway, sandbox: Sandbox
) -> None:
    sandbox.control.options(provider, run_seconds=0.5)
    file_id = gateway.upload(jsonl(chat_lines(3, model=MODELS[provider])))
    asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    sent = {FORWARD: "X-Team, x-absent", "X-Team": "blue", "x-other": "red", "x-portkey-virtual-key": provider}
    batch_id = gateway.call("POST", "/batches", asked, headers=sent)["id"]
    gateway.until_event(lambda log: '"event": "part_accepted"' in log)
    gateway.kill()
    gateway.start()
    assert gateway.until(batch_id)["status"] == "completed"
    calls = [entry for entry in sandbox.control.requests() if entry["provider"] == provider]
    assert len(calls) >= 3
    assert {entry["headers"].get("x-team") for entry in calls} == {"blue"}
    assert all("x-other" not in entry["headers"] for entry in calls)
    assert sandbox.control.violations() == []


def test_files_of_other_purposes_carry_them_too(gateway: Gateway, sandbox: Sandbox) -> None:
    form = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    form += b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
    sent = {FORWARD: "x-team", "x-team": "blue"}
    made = gateway.call("POST", "/files", form, headers=sent | {"content-type": "multipart/form-data; boundary=b"})
    assert gateway.call("GET", f"/files/{made['id']}/content", headers=sent) == b"abc"
    gateway.call("DELETE", f"/files/{made['id']}")
    found = [(entry["op"], entry["headers"].get("x-team")) for entry in sandbox.control.requests()]
    assert found == [("files.create", "blue"), ("files.content", "blue"), ("files.delete", None)]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("Authorization", "may hold a secret"),
        ("x-api-key", "may hold a secret"),
        ("x-team, Cookie", "may hold a secret"),
        ("x-session-token", "may hold a secret"),
        ("Idempotency-Key", "sets itself"),
        ("content-length", "sets itself"),
        (FORWARD, "sets itself"),
        ("x team", "no name of a header"),
        ("x-bell", "not plain ASCII"),
    ],
)
def test_what_cannot_be_forwarded_is_refused_by_name(listed: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as error:
        forwarded(CIMultiDict({FORWARD: listed, "x-bell": "a\tb", "x-api-key": "5up3r"}))
    assert error.value.param == FORWARD
    assert "5up3r" not in error.value.message


def test_a_list_may_be_written_in_many_ways() -> None:
    sent = CIMultiDict([("X-A", "1"), ("x-b", "2"), ("x-b", "3"), ("x-keyboard", "de")])
    for listed in ("x-a,X-B,x-keyboard", '["x-a", "x-b", "x-keyboard"]', " x-a , ,x-b,x-keyboard,x-none "):
        assert forwarded(CIMultiDict([*sent.items(), (FORWARD, listed)])) == {
            "x-a": "1",
            "x-b": "2, 3",
            "x-keyboard": "de",
        }
    assert forwarded(sent) == {}


def test_a_create_that_lists_a_secret_is_refused_and_nothing_is_sent(gateway: Gateway, sandbox: Sandbox) -> None:
    asked = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    with pytest.raises(urllib.error.HTTPError) as error:
        gateway.call("POST", "/batches", asked, headers={FORWARD: "x-api-key", "x-api-key": "5up3r-s3cr3t"})
    with error.value as refusal:
        found = json.loads(refusal.read())["error"]
    assert (refusal.code, found["param"]) == (400, FORWARD)
    assert "5up3r" not in json.dumps(found)
    assert sandbox.control.requests() == []


# ---- x-portkey-request-timeout ----


def test_an_upload_that_takes_too_long_is_408_and_leaves_nothing(gateway: Gateway) -> None:
    before = below(gateway.data)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as wire:
        wire.sendall(
            b"POST /v1/files HTTP/1.1\r\nhost: x\r\nx-portkey-request-timeout: 300\r\nx-portkey-api-key: "
            + KEY.encode()
            + b"\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 4000\r\n\r\n"
            b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n{"custom_id'
        )
        head, _, body = wire.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    message = "Request exceeded the timeout sent in the request: 300ms"
    assert json.loads(body) == {"error": {"message": message, "type": "timeout_error", "param": None, "code": None}}
    assert time.monotonic() - began >= 0.3
    assert below(gateway.data) == before


def test_a_provider_that_takes_too_long_is_408(gateway: Gateway, sandbox: Sandbox) -> None:
    sandbox.control.faults([{"on": "files.create", "kind": "stall", "seconds": 20, "times": 1}])
    form = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    form += b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
    sent = {TIMEOUT: "400", "content-type": "multipart/form-data; boundary=b"}
    with pytest.raises(urllib.error.HTTPError) as error:
        gateway.call("POST", "/files", form, headers=sent)
    with error.value as refusal:
        assert (refusal.code, json.loads(refusal.read())["error"]["type"]) == (408, "timeout_error")


def test_an_answer_that_has_begun_may_take_its_time(gateway: Gateway) -> None:
    content = jsonl(chat_lines(400, tag="x" * 50_000))  # 40 MB: no buffer of the kernel takes it while nobody reads
    file_id = gateway.upload(content)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as wire:
        wire.sendall(
            f"GET /v1/files/{file_id}/content HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"x-portkey-request-timeout: 500\r\nx-portkey-api-key: {KEY}\r\n\r\n".encode()
        )
        found = wire.recv(1000)
        time.sleep(0.8)  # beyond the limit
        found += wire.makefile("rb").read()
    assert found.partition(b"\r\n\r\n")[2] == content


@pytest.mark.parametrize("sent", ["", "0", "-5", "1.5", "soon", "9" * 30])
def test_a_limit_that_is_none_is_passed_over(sent: str) -> None:
    assert read(CIMultiDict({TIMEOUT: sent})).timeout_ms is None


def test_a_limit_is_in_milliseconds() -> None:
    assert read(CIMultiDict({TIMEOUT: " 1500 "})).timeout_ms == 1500
