"""`POST /batches` with the requests themselves: kept as a file, then a batch like any other."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from proxy_plugin.web.request_body import MAX_BODY
from tests.support.served import KEY, OTHER_KEY, TARGET, WHO, Served, count, running, stored
from tests.support.waiting import eventually
from tests.support.wire import wire

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
AGAIN = {"x-stainless-retry-count": "1"}


def request(n: int, **more: Any) -> dict[str, Any]:
    body = {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": f"words {n}"}]}
    return {"custom_id": f"id-{n}", "body": body} | more


def full(n: int, url: str = CHAT) -> dict[str, Any]:
    return request(n, method="POST", url=url)


async def made(served: Served, body: object, headers: dict[str, str] = TARGET) -> dict[str, Any]:
    status, answer, _ = await served.call("POST", "/v1/batches", body, headers)
    assert status == 200, answer
    return dict(answer)


async def refusal(served: Served, body: object, headers: dict[str, str] = TARGET) -> tuple[int, dict[str, Any]]:
    status, answer, _ = await served.call("POST", "/v1/batches", body, headers)
    return status, answer["error"]


async def chunked(served: Served, body: bytes) -> tuple[int, dict[str, Any]]:
    """Send a create without saying how long it is."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    async with served.session.post(f"{served.url}/v1/batches", data=pieces(), headers=TARGET) as answer:
        return answer.status, json.loads(await answer.read())


async def content(served: Served, batch: dict[str, Any]) -> bytes:
    url = f"{served.url}/v1/files/{batch['input_file_id']}/content"
    async with served.session.get(url, headers=WHO) as answer:
        assert answer.status == 200
        return await answer.read()


def left(served: Served) -> list[Path]:
    """Return what the gateway holds of files, finished or not."""
    folders = (served.gateway.data_dir / "tmp", served.gateway.data_dir / "files")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


async def test_requests_become_a_file_of_the_workspace(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        batch = await made(served, {"requests": [full(1), full(2)], "metadata": {"team": "data"}})
        assert (batch["endpoint"], batch["metadata"], batch["completion_window"]) == (CHAT, {"team": "data"}, "24h")
        lines = [json.loads(line) for line in (await content(served, batch)).splitlines()]
        assert lines == [full(1), full(2)]
        status, file, _ = await served.call("GET", f"/v1/files/{batch['input_file_id']}")
        assert (status, file["purpose"], file["filename"]) == (200, "batch", "requests.jsonl")
        other = {"x-portkey-api-key": OTHER_KEY}
        assert (await served.call("GET", f"/v1/files/{batch['input_file_id']}", headers=other))[0] == 404


async def test_method_and_url_may_be_left_out_where_the_create_has_the_endpoint(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        batch = await made(served, {"endpoint": CHAT, "requests": [request(1), full(2)]})
        lines = [json.loads(line) for line in (await content(served, batch)).splitlines()]
        assert lines == [full(1), full(2)]


async def test_requests_with_several_urls_are_a_mixed_batch(tmp_path: Path) -> None:
    embedding = {"custom_id": "e", "url": EMBEDDINGS, "body": {"model": "m", "input": "x"}}
    async with running(tmp_path) as served:
        status, error = await refusal(served, {"requests": [full(1), embedding]})
        assert (status, error["param"], error["code"]) == (400, "endpoint", "missing_required_parameter")
        batch = await made(served, {"requests": [full(1), embedding], "endpoint": [CHAT, EMBEDDINGS]})
        assert (await stored(served, batch["id"])).endpoint == f"{CHAT},{EMBEDDINGS}"
        await made(served, {"requests": [full(1), embedding], "endpoint": "auto"})


async def test_the_bytes_of_bodies_stay_and_only_line_breaks_between_tokens_go(tmp_path: Path) -> None:
    body = b'{ "model":"m" ,\r\n"messages":[ ],"x":1.0e0, "y":"\\u00e9\\ud83d", "x":2 }'
    sent = b'{"requests":[{"custom_id" :"a\\/b","body":%b}],\n"endpoint":"/v1/chat/completions"}' % body
    async with running(tmp_path) as served:
        line = await content(served, await made(served, sent))
    kept = body.replace(b"\r\n", b"  ")
    assert line == b'{"custom_id":"a\\/b","method":"POST","url":"/v1/chat/completions","body":%b}\n' % kept


GEMINI, GENERATE = "gemini-2.5-flash", "/v1beta/generateContent"
OWN_KEYS = {
    "gemini": {"provider": "google", "api_key": "AIza-sandbox", "custom_host": "http://127.0.0.1:9"},
    "fireworks": {
        "provider": "fireworks-ai",
        "api_key": "fw-sandbox",
        "fireworks_account_id": "a",
        "custom_host": "http://127.0.0.1:9",
    },
    "cohere": {"provider": "cohere", "api_key": "key-sandbox", "custom_host": "http://127.0.0.1:9"},
    "bedrock": {
        "provider": "bedrock",
        "aws_access_key_id": "AKIASANDBOX",
        "aws_secret_access_key": "secret",
        "aws_region": "us-east-1",
        "aws_s3_bucket": "bucket",
        "aws_batch_role_arn": "arn:aws:iam::111122223333:role/batch",
        "bedrock_endpoint_url": "http://127.0.0.1:9",
    },
    "mistral": {"provider": "mistral-ai", "api_key": "key-sandbox", "custom_host": "http://127.0.0.1:9/v1"},
}


def said(text: str) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": text}]}]}


async def test_requests_may_have_the_shape_of_their_lane(tmp_path: Path) -> None:
    """Gemini's `{"key", "request"}`, whose key may be left out; Mistral's bodies, whose model the create names."""
    gemini = [{"key": "a", "request": said("1")}, {"request": said("2"), "metadata": {"key": "b"}}]
    gemini += [{"request": {"model": "gemini-2.5-pro", **said("3")}}]
    async with running(tmp_path, virtual_keys=OWN_KEYS) as served:
        headers = WHO | {"x-portkey-virtual-key": "gemini"}
        batch = await made(served, {"requests": gemini, "model": GEMINI}, headers)
        assert batch["endpoint"] == GENERATE
        lines = [json.loads(line) for line in (await content(served, batch)).splitlines()]
        assert [(line["custom_id"], line["url"]) for line in lines] == [
            (name, GENERATE) for name in ("a", "b", "request-2")
        ]
        assert [line["body"] for line in lines] == [
            {"model": model, **said(str(n))} for n, model in enumerate((GEMINI, GEMINI, "gemini-2.5-pro"), 1)
        ]
        body = {"messages": [{"role": "user", "content": "hi"}], "random_seed": 7}
        order = {"requests": [{"custom_id": "a", "body": body}], "endpoint": CHAT, "model": "mistral-small-latest"}
        batch = await made(served, order, WHO | {"x-portkey-virtual-key": "mistral"})
        (line,) = (json.loads(line) for line in (await content(served, batch)).splitlines())
        assert line["body"] == {"model": "mistral-small-latest", **body}


async def sent_as(served: Served, slug: str, **body: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the lines of an inline create: id, url and body."""
    batch = await made(served, body, WHO | {"x-portkey-virtual-key": slug})
    lines = map(json.loads, (await content(served, batch)).splitlines())
    return [(line["custom_id"], line["url"], line["body"]) for line in lines]


async def test_more_shapes_of_lanes_are_taken(tmp_path: Path) -> None:
    """Bedrock's records, whose id may be left out; Cohere's bodies by their path; Fireworks' lines have no url."""
    text = {"inputText": "hi"}
    records = [{"recordId": "A1", "modelInput": text}, {"modelInput": text, "modelId": "own"}]
    embed = {"input_type": "search_document", "inputs": [{"content": [{"type": "text", "text": "hi"}]}]}
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    async with running(tmp_path, virtual_keys=OWN_KEYS) as served:
        assert await sent_as(served, "bedrock", requests=records, model="m") == [
            ("A1", "/model/invoke", {"model": "m", **text}),
            ("request-1", "/model/invoke", {"model": "own", **text}),
        ]
        own = [{"custom_id": "a", "body": embed}]
        found = await sent_as(served, "cohere", requests=own, model="embed-v4.0", endpoint="/v2/embed")
        assert found == [("a", "/v2/embed", {"model": "embed-v4.0", **embed})]
        assert await sent_as(served, "fireworks", requests=[{"custom_id": "a", "body": chat}], model="m") == [
            ("a", CHAT, {"model": "m", **chat})
        ]
        order: dict[str, Any] = {"requests": own, "model": "embed-v4.0"}
        _, error = await refusal(served, order, WHO | {"x-portkey-virtual-key": "cohere"})
        assert error["param"] == "requests[0].url"
        assert "'endpoint' with the create" in error["message"]
        assert "'/v2/embed'" in error["message"]


async def test_a_shape_that_is_not_the_lanes_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, virtual_keys=OWN_KEYS) as served:
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("mistral", {"request": said("1")}),
            ("gemini", {"custom_id": "a", "params": {}}),
            ("mistral", {"recordId": "a", "modelInput": {}}),
        ]
        for slug, request in wrong:
            status, error = await refusal(
                served, {"requests": [request], "model": "m"}, WHO | {"x-portkey-virtual-key": slug}
            )
            member = next(name for name in ("request", "params", "modelInput") if name in request)
            assert (status, error["param"], error["code"]) == (400, f"requests[0].{member}", "unsupported_endpoint")


WRONG = [
    ({"requests": 7}, "requests", "invalid_type"),
    ({"requests": {}}, "requests", "invalid_type"),
    ({"requests": []}, "requests", "empty_array"),
    ({"requests": [full(0), "x"]}, "requests[1]", "invalid_type"),
    ({"requests": [full(0), {"url": CHAT, "body": full(1)["body"]}]}, "requests[1].custom_id", "missing"),
    ({"requests": [full(0) | {"custom_id": 7}]}, "requests[0].custom_id", "invalid_type"),
    ({"requests": [full(0) | {"custom_id": ""}]}, "requests[0].custom_id", "empty_string"),
    ({"requests": [full(0), full(1), full(0)]}, "requests[2].custom_id", "duplicate_custom_id"),
    ({"requests": [full(0) | {"method": "GET"}]}, "requests[0].method", "invalid_value"),
    ({"requests": [full(0) | {"url": 7}]}, "requests[0].url", "invalid_type"),
    ({"requests": [full(0) | {"body": []}]}, "requests[0].body", "invalid_type"),
    ({"requests": [{"custom_id": "a", "url": CHAT}]}, "requests[0].body", "missing"),
    ({"requests": [{"custom_id": "a", "url": CHAT, "body": {}}]}, "requests[0].body.model", "invalid_request"),
    ({"requests": [request(0)]}, "requests[0].url", "missing"),
    ({"requests": [request(0)], "endpoint": "auto"}, "requests[0].url", "missing"),
    ({"requests": [full(0, "/v1/other")]}, "requests[0].url", "invalid_value"),
    ({"requests": [full(0, EMBEDDINGS)], "endpoint": CHAT}, "requests[0].url", "invalid_url"),
    ({"requests": [full(0) | {"params": {}}]}, "requests[0].params", "invalid_value"),
    ({"requests": [full(0)], "input_file_id": "file-1"}, "input_file_id", None),
    ({"requests": [full(0)], "endpoint": "/v1/other"}, "endpoint", "invalid_value"),
    ({"requests": [full(0)], "metadata": {"a": 1}}, "metadata.a", "invalid_type"),
    ({"requests": [full(0)], "completion_window": "48h"}, "completion_window", "invalid_value"),
    ({"requests": [full(0)], "api_base": "http://x"}, "api_base", "unknown_parameter"),
    ({"requests": None, "endpoint": CHAT}, "input_file_id", "missing"),
    ({"metadata": {"requests": "x"}, "endpoint": CHAT}, "input_file_id", "missing"),
]


@pytest.mark.parametrize(("body", "param", "code"), WRONG, ids=lambda value: str(value)[:40])
async def test_what_is_wrong_is_400_and_names_the_request(
    tmp_path: Path, body: object, param: str, code: str | None
) -> None:
    code = "missing_required_parameter" if code == "missing" else code
    async with running(tmp_path) as served:
        status, error = await refusal(served, body)
        assert (status, error["param"], error["code"]) == (400, param, code)
        assert (await count(served), left(served)) == (0, [])


@pytest.mark.parametrize("text", [b"[1]", b'{"requests":[', b'{"requests":[1]}x', b'{"requests":["\xff"]}'])
async def test_a_body_that_is_no_json_object_is_400(tmp_path: Path, text: bytes) -> None:
    async with running(tmp_path) as served:
        status, error = await refusal(served, text + b" " * (MAX_BODY if text[:1] == b"{" else 0))
        assert (status, error["param"]) == (400, None)
        assert left(served) == []


async def test_a_plan_of_requests_keeps_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        for body, count_of in (({"requests": [full(1), full(2)]}, 2), ({"requests": [full(1)] * 2}, None)):
            status, answer, _ = await served.call("POST", "/v1/batches/plan", body, TARGET)
            if count_of is None:
                assert (status, answer["error"]["param"]) == (400, "requests[1].custom_id")
            else:
                assert (status, answer["request_counts"]["total"]) == (200, count_of)
            assert (await count(served), left(served)) == (0, [])


# ---- how much may come ----


def long_body(size: int) -> bytes:
    requests = [full(n) for n in range(20)]
    requests[3]["body"]["messages"][0]["content"] = "x" * size
    return json.dumps({"requests": requests}).encode()


@pytest.mark.parametrize("announced", [True, False])
async def test_more_than_a_small_body_is_taken(tmp_path: Path, announced: bool) -> None:
    sent = long_body(5 * 2**20)
    async with running(tmp_path) as served:
        batch = await made(served, sent) if announced else (await chunked(served, sent))[1]
        assert [json.loads(line) for line in (await content(served, batch)).splitlines()] == json.loads(sent)[
            "requests"
        ]
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        await eventually(lambda: served.gateway.room.claims == {})  # the engine claims room, too


async def test_a_packed_create_is_unpacked(tmp_path: Path) -> None:
    sent = long_body(2 * 2**20)
    async with running(tmp_path) as served:
        batch = await made(served, gzip.compress(sent), TARGET | {"Content-Encoding": "gzip"})
        assert len((await content(served, batch)).splitlines()) == 20


@pytest.mark.parametrize("announced", [True, False])
async def test_too_much_is_413_and_says_to_upload(tmp_path: Path, announced: bool) -> None:
    limits = {"disk_reserve_bytes": 0, "max_inline_bytes": 2**20 + 2**19}
    async with running(tmp_path, limits=limits) as served:
        sent = long_body(2 * 2**20)
        status, answer = (
            (await served.call("POST", "/v1/batches", sent))[:2] if announced else await chunked(served, sent)
        )
        error = answer["error"]
        assert (status, error["param"]) == (413, "requests")
        assert "POST /files" in error["message"]
        assert left(served) == []


async def test_a_long_create_without_requests_is_413(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        for more in ({}, {"requests": [full(1)]}):
            body = {"endpoint": CHAT, "input_file_id": "file-1", "padding": "x" * MAX_BODY} | more
            assert (await refusal(served, body))[0] == 413
        assert left(served) == []


async def test_a_workspace_without_room_is_507(tmp_path: Path) -> None:
    limits = {"disk_reserve_bytes": 0, "max_workspace_bytes": 1000}
    async with running(tmp_path, limits=limits) as served:
        status, error = await refusal(served, {"requests": [full(n) for n in range(20)]})
        assert (status, error["code"]) == (507, "insufficient_storage")
        assert left(served) == []
        assert served.gateway.room.claims == {}


async def test_a_client_that_leaves_leaves_nothing(tmp_path: Path) -> None:
    sent = long_body(4 * 2**20)
    async with running(tmp_path) as served:
        async with wire(served) as client:
            headers = [f"{name}: {value}" for name, value in TARGET.items()]
            await client.send("POST", "/v1/batches", *headers, f"Content-Length: {len(sent)}", body=sent[: 3 * 2**20])
            await eventually(lambda: served.gateway.traffic.uploads == 1)
            client.hang_up()
        await eventually(lambda: served.gateway.traffic.uploads == 0)
        assert (await count(served), left(served), served.gateway.room.claims) == (0, [], {})


async def test_a_stopping_gateway_takes_none(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        served.gateway.traffic.stopping = True
        assert (await refusal(served, {"requests": [full(1)]}))[0] == 503


# ---- which creates are one ----


async def test_a_create_that_says_it_is_a_retry_finds_the_first_batch(tmp_path: Path) -> None:
    body = {"requests": [full(1), full(2)]}
    async with running(tmp_path) as served:
        first = await made(served, body)
        again = await made(served, body, TARGET | AGAIN)
        assert (again["id"], again["input_file_id"]) == (first["id"], first["input_file_id"])
        assert (await made(served, {"requests": [full(1), full(3)]}, TARGET | AGAIN))["id"] != first["id"]
        assert (await made(served, body))["id"] != first["id"], "a second run on purpose is a second batch"
        assert len([path for path in left(served) if path.name.startswith("file-") and not path.suffix]) == 3


async def test_one_idempotency_key_is_one_batch_with_one_file(tmp_path: Path) -> None:
    body, key = {"requests": [full(1)]}, TARGET | {"Idempotency-Key": "run-7"}
    async with running(tmp_path) as served:
        batches_made = await asyncio.gather(*(made(served, body, key) for _ in range(8)))
        assert len({batch["id"] for batch in batches_made}) == 1
        assert len([path for path in left(served) if path.name.startswith("file-") and not path.suffix]) == 1
        status, error = await refusal(served, {"requests": [full(2)]}, key)
        assert (status, error["code"]) == (422, "idempotency_key_reused")


async def test_the_openai_sdk_may_send_requests(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        client = AsyncOpenAI(
            api_key=KEY, base_url=f"{served.url}/v1", default_headers={"x-portkey-virtual-key": "lane"}
        )
        async with client:
            body = {"requests": [full(1)], "metadata": {"a": "b"}}
            answer = await client.post("/batches", body=body, cast_to=object)
            assert isinstance(answer, dict)
            batch = await client.batches.retrieve(answer["id"])
            assert (batch.endpoint, batch.input_file_id) == (CHAT, answer["input_file_id"])
            text = (await client.files.content(batch.input_file_id)).text
            assert [json.loads(line) for line in text.splitlines()] == [full(1)]
