"""Every kind of fault, as a client sees it and as the log tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from proxy_plugin.providers.sandbox.process import DEFAULT_KEY, Sandbox, SandboxError
from tests.support.waiting import until

Make = Callable[..., Any]


@pytest.fixture
def post(client: OpenAI, upload: Make, chat: Make) -> Make:
    """Creates a batch of one line."""
    return lambda: client.batches.create(
        input_file_id=upload([chat("a")]), endpoint="/v1/chat/completions", completion_window="24h"
    )


def creates(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [entry for entry in sandbox.control.requests() if entry["op"] == "batches.create"]


def test_status_answers_before_anything_happens(client: OpenAI, sandbox: Sandbox, post: Make) -> None:
    rule = {"on": "batches.create", "kind": "status", "status": 429, "code": "slow_down", "message": "not now"}
    sandbox.control.faults([{**rule, "retry_after": 7, "retry_after_ms": 6500, "headers": {"x-should-retry": "false"}}])
    with pytest.raises(openai.RateLimitError) as error:
        post()
    assert (error.value.code, error.value.type) == ("slow_down", "requests")
    headers = error.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"], headers["x-should-retry"]) == ("7", "6500", "false")
    assert sandbox.control.log() == []
    post()
    assert len(sandbox.control.log()) == len(list(client.batches.list())) == 1


def test_status_can_carry_a_body_that_is_no_json(client: OpenAI, sandbox: Sandbox, post: Make) -> None:
    sandbox.control.faults([{"on": "*", "kind": "status", "status": 502, "body": "<html>bad gateway</html>"}])
    with pytest.raises(openai.InternalServerError) as error:
        post()
    assert error.value.response.text == "<html>bad gateway</html>"


def test_status_after_has_acted(client: OpenAI, sandbox: Sandbox, post: Make) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "status_after", "status": 500}])
    with pytest.raises(openai.InternalServerError):
        post()
    (entry,) = sandbox.control.log()
    assert [batch.id for batch in client.batches.list()] == [entry["batch_id"]]
    assert [one["status"] for one in creates(sandbox)] == [500]


@pytest.mark.parametrize(("kind", "accepted"), [("drop", 0), ("drop_after", 1)])
@pytest.mark.parametrize("reset", [False, True])
def test_dropped_connections(
    kind: str, accepted: int, reset: bool, client: OpenAI, sandbox: Sandbox, post: Make
) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": kind, "reset": reset}])
    with pytest.raises(openai.APIConnectionError):
        post()
    assert len(sandbox.control.log()) == len(list(client.batches.list())) == accepted
    assert [(one["status"], one["fault"]) for one in creates(sandbox)] == [(0, kind)]


def test_uploads_are_dropped_with_and_without_their_effect(client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    for rule, files in ({"kind": "drop", "drain": False}, 0), ({"kind": "drop"}, 0), ({"kind": "drop_after"}, 1):
        sandbox.control.faults([{"on": "files.create", **rule}])
        with pytest.raises(openai.APIConnectionError):
            upload(b"x" * 3_000_000)
        assert len(list(client.files.list())) == files


def test_a_retrying_sdk_makes_two_batches_when_a_reply_is_lost(sandbox: Sandbox, upload: Make, chat: Make) -> None:
    file_id = upload([chat("a")])
    sandbox.control.faults([{"on": "batches.create", "kind": "drop_after"}])
    with OpenAI(base_url=sandbox.url(), api_key=DEFAULT_KEY, max_retries=1) as eager:
        eager.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    assert [entry["input_file_id"] for entry in sandbox.control.log()] == [file_id, file_id]


def test_a_late_accept_comes_when_the_client_has_gone(client: OpenAI, sandbox: Sandbox, post: Make) -> None:
    sandbox.control.faults([{"on": "batches.create", "kind": "late", "seconds": 0.01, "behind": "batches.list"}])
    with pytest.raises(openai.APIConnectionError):
        post()
    assert list(client.batches.list()) == []
    found = until(lambda: list(client.batches.list()))
    assert [entry["batch_id"] for entry in sandbox.control.log()] == [found[0].id]


def test_a_stalled_answer_has_acted_at_once(client: OpenAI, sandbox: Sandbox, upload: Make, chat: Make) -> None:
    file_id = upload([chat("a")])
    sandbox.control.faults([{"on": "batches.create", "kind": "stall", "seconds": 30}])
    with pytest.raises(openai.APITimeoutError):
        client.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", timeout=0.3
        )
    assert len(sandbox.control.log()) == len(list(client.batches.list())) == 1


@pytest.mark.parametrize("size", [0, 1, 600_000])
def test_a_truncated_download_breaks(size: int, client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    file_id = upload(b"x" * 1_000_000)
    sandbox.control.faults([{"on": "files.content", "kind": "truncate", "bytes": size}])
    got = bytearray()

    def read() -> None:
        for piece in answer.iter_bytes():
            got.extend(piece)

    with client.files.with_streaming_response.content(file_id) as answer:
        assert answer.headers["content-length"] == "1000000"
        with pytest.raises(httpx2.RemoteProtocolError):
            read()
    assert len(got) == size
    assert len(client.files.content(file_id).content) == 1_000_000


def test_a_chunked_download_ends_early_without_a_sign(client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    file_id = upload(b"x" * 1_000_000)
    sandbox.control.faults([{"on": "files.content", "kind": "truncate_chunked", "bytes": 300_000}])
    answer = client.files.content(file_id)
    assert "content-length" not in answer.response.headers
    assert answer.content == b"x" * 300_000


def test_an_endless_download_begins_again(client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    file_id, got = upload(b"0123456789"), b""
    sandbox.control.faults([{"on": "files.content", "kind": "endless"}])
    with client.files.with_streaming_response.content(file_id) as answer:
        for piece in answer.iter_bytes():
            got += piece
            if len(got) > 100_000:
                break
    assert got == (b"0123456789" * (len(got) // 10 + 1))[: len(got)]
    assert client.files.content(file_id).content == b"0123456789"


def test_a_slow_download_is_slow(client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    """At the first rate the whole would take minutes, so what comes first is a small part."""
    file_id = upload(b"x" * 40_000)
    sandbox.control.faults([{"on": "files.content", "kind": "slow", "rate": rate} for rate in (100, 400_000)])
    with client.files.with_streaming_response.content(file_id) as answer:
        assert 0 < len(next(answer.iter_bytes())) < 4_000
    assert len(client.files.content(file_id).content) == 40_000


def test_a_redirect_points_where_it_is_told(sandbox: Sandbox, client: OpenAI) -> None:
    target = f"{sandbox.url()}/files?after=nowhere"
    sandbox.control.faults([{"on": "batches.list", "kind": "redirect", "url": target}])
    with pytest.raises(openai.BadRequestError) as followed:
        client.batches.list()
    assert str(followed.value.request.url) == target
    assert [entry["status"] for entry in sandbox.control.requests()] == [307, 400]


def test_rules_count_skip_and_choose(client: OpenAI, sandbox: Sandbox, upload: Make) -> None:
    first, second = upload(b"{}"), upload(b"{}")
    failing = {"on": "files.retrieve", "kind": "status"}

    def outcomes(file_id: str, times: int) -> list[int]:
        before = len(sandbox.control.requests())
        for _ in range(times):
            try:
                client.files.retrieve(file_id)
            except openai.InternalServerError:
                continue
        return [entry["status"] for entry in sandbox.control.requests()[before:]]

    sandbox.control.faults([{**failing, "skip": 1, "times": 2}])
    assert outcomes(first, 5) == [200, 500, 500, 200, 200]
    (rule,) = sandbox.control.faults()
    assert (rule["met"], rule["fired"]) == (5, 2)
    sandbox.control.faults([{**failing, "id": second, "times": None}])
    assert (outcomes(first, 2), outcomes(second, 3)) == ([200, 200], [500, 500, 500])
    sandbox.control.faults([{**failing, "account": "acct_other", "times": None}])
    assert outcomes(first, 2) == [200, 200]
    sandbox.control.faults([failing, {**failing, "status": 503}])
    assert outcomes(first, 3) == [500, 503, 200]
    sandbox.control.faults([{**failing, "every": 3, "times": None}])
    assert outcomes(first, 7) == [200, 200, 500, 200, 200, 500, 200]
    sandbox.control.faults([{**failing, "every": 2, "skip": 1, "times": 1}])
    assert outcomes(first, 6) == [200, 200, 500, 200, 200, 200]


def test_chance_is_seeded(client: OpenAI, sandbox: Sandbox) -> None:
    def pattern(seed: int) -> list[int]:
        sandbox.control.reset()
        sandbox.control.faults([{"kind": "status", "times": None, "chance": 0.5, "seed": seed}])
        for _ in range(30):
            try:
                client.batches.list()
            except openai.InternalServerError:
                continue
        return [entry["status"] for entry in sandbox.control.requests()]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 5 < pattern(1).count(500) < 25


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "explode"},
        {"kind": "status", "on": "batches.creat"},
        {"kind": "status", "color": "red"},
        {"kind": "late"},
        {"kind": "late", "seconds": 1, "behind": "batches.creat"},
        {"kind": "stall"},
        {"kind": "slow"},
        {"kind": "redirect"},
        {"kind": "status", "status": 42},
        {"kind": "status", "every": 0},
    ],
)
def test_rules_that_could_not_act_are_refused(rule: dict[str, Any], sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError):
        sandbox.control.faults([rule])
    assert sandbox.control.faults() == []
