"""The Batches routes: what is accepted, who sees what, and OpenAI's own client on top."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI, OpenAI

from proxy_plugin.api.batches.objects import batch_object
from proxy_plugin.routing.endpoints import ENDPOINTS
from tests.support.rows import BATCH_ID, batch_row, put_batch, put_file, put_part
from tests.support.served import KEY, OTHER_KEY, TARGET, WANTED, WHO, count, create, running, stored
from tests.support.wire import wire


async def test_a_create_is_stored_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        fields = {
            "metadata": {"team": "söme", "empty": ""},
            "output_expires_after": {"anchor": "created_at", "seconds": 3600},
            "model": "gpt-4.1-nano",
            "unknown": [1, 2],
        }
        status, batch, _ = await served.call("POST", "/v1/batches", WANTED | fields)
        assert status == 200
        row = await stored(served, batch["id"])
        assert (row.workspace, row.caller, row.state, row.output_expires_after) == ("one", "first", "validating", 3600)
        assert row.expires_at - row.created_at == 86_400
        route = json.loads(row.route)
        [target] = route.pop("targets")
        assert route == {"strict": False, "on_deadline": "cancel"}
        assert (target["slug"], target["provider"], target["model"]) == ("lane", "openai", "gpt-4.1-nano")
        assert target["drop_params"] is False
        assert batch == {
            "id": row.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": None,
            "input_file_id": "file-1",
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": row.created_at,
            "in_progress_at": None,
            "expires_at": row.expires_at,
            "finalizing_at": None,
            "completed_at": None,
            "failed_at": None,
            "expired_at": None,
            "cancelling_at": None,
            "cancelled_at": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": {"team": "söme", "empty": ""},
        }


async def test_the_limits_of_the_virtual_key_are_stored_with_the_batch(tmp_path: Path) -> None:
    lane = {"provider": "openai", "api_key": "sk-sandbox-key", "max_lines_per_job": 7, "models": ["m1", "m2"]}
    async with running(tmp_path, virtual_keys={"lane": lane}) as served:
        await put_file(served.gateway.registry)
        [target] = json.loads((await stored(served, (await create(served))["id"])).route)["targets"]
        assert (target["max_lines_per_job"], target["models"], target["max_bytes_per_job"]) == (7, ["m1", "m2"], None)


async def test_what_may_be_left_out(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        body = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "metadata": None, "output_expires_after": None}
        status, batch, _ = await served.call("POST", "/batches", body)
        assert (status, batch["completion_window"]) == (200, "24h")
        assert batch["metadata"] is None


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_every_endpoint_of_openais_description_is_taken(tmp_path: Path, endpoint: str) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        assert (await create(served, endpoint=endpoint))["endpoint"] == endpoint


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": 7}, "input_file_id"),
        ({"input_file_id": ""}, "input_file_id"),
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": "/v1/audio/speech"}, "endpoint"),
        ({"endpoint": []}, "endpoint"),
        ({"endpoint": ["/v1/embeddings", "/v1/audio/speech"]}, "endpoint"),
        ({"endpoint": ["auto"]}, "endpoint"),
        ({"endpoint": 7}, "endpoint"),
        ({"completion_window": "48h"}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"completion_window": {}}, "completion_window"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {"k": None}}, "metadata.k"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata"),
        ({"output_expires_after": 3600}, "output_expires_after"),
        ({"output_expires_after": {"seconds": 3600}}, "output_expires_after.anchor"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor"),
        ({"output_expires_after": {"anchor": "created_at"}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 2_592_001}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": True}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": "3600"}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3600.0}}, "output_expires_after.seconds"),
    ],
)
async def test_a_wrong_field_is_400_by_name(tmp_path: Path, fields: dict[str, Any], param: str) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        status, answer, _ = await served.call("POST", "/v1/batches", WANTED | fields)
        assert (status, answer["error"]["param"]) == (400, param)
        assert await count(served) == 0


async def test_a_wrong_endpoint_is_told_the_right_ones(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        _, answer, _ = await served.call("POST", "/v1/batches", WANTED | {"endpoint": "/v1/nothing"})
        assert all(endpoint in answer["error"]["message"] for endpoint in ENDPOINTS)


async def test_metadata_at_its_limits_is_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        metadata = {f"{n:02}" + "k" * 62: "ü" * 512 for n in range(16)}
        assert (await create(served, metadata=metadata))["metadata"] == metadata


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"[]", b'"text"', b"null", b'{"endpoint": "\xff"}', b'{"a": "\\ud800"}', b"[" * 5000],
)
async def test_a_body_that_is_no_json_object_is_400(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path) as served:
        status, answer, _ = await served.call("POST", "/v1/batches", body)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_above_one_mebibyte_is_413(tmp_path: Path, announced: bool) -> None:
    body = orjson.dumps(WANTED | {"filler": "x" * 2**20})

    async def pieces() -> Any:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    async with running(tmp_path) as served:
        data = io.BytesIO(body) if announced else pieces()
        async with served.session.post(served.url + "/v1/batches", data=data, headers=TARGET) as answer:
            assert answer.status == 413
            assert (await answer.json())["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("headers", "status", "names"),
    [
        ({"x-portkey-api-key": OTHER_KEY}, 400, ("x-portkey-provider: @slug", "x-portkey-virtual-key: slug")),
        (WHO | {"x-portkey-virtual-key": "unknown"}, 400, ("unknown",)),
        (WHO | {"x-portkey-provider": "openai"}, 400, ("x-portkey-provider",)),
        ({"x-portkey-api-key": OTHER_KEY, "x-portkey-virtual-key": "lane"}, 403, ("lane",)),
    ],
)
async def test_a_create_needs_a_target_of_the_caller(
    tmp_path: Path, headers: dict[str, str], status: int, names: tuple[str, ...]
) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        got, answer, _ = await served.call("POST", "/v1/batches", WANTED, headers)
        assert got == status
        assert all(name in answer["error"]["message"] for name in names)
        assert await count(served) == 0


async def test_an_input_file_has_to_be_there_and_for_batches(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        now = int(served.clock.now())
        await put_file(served.gateway.registry, "file-foreign", workspace="two")
        await put_file(served.gateway.registry, "file-output", purpose="batch_output")
        await put_file(served.gateway.registry, "file-expired", expires_at=now - 1)
        await put_file(served.gateway.registry, "file-hidden", hidden_at=now)
        for file_id in ("file-never", "file-foreign", "file-output", "file-expired", "file-hidden", "/etc/passwd\n"):
            status, answer, _ = await served.call("POST", "/v1/batches", WANTED | {"input_file_id": file_id})
            assert (status, answer["error"]["param"]) == (404, "input_file_id"), file_id
        assert await count(served) == 0


# ---- retrieve, list, cancel ----


async def test_our_own_conflict_tells_sdks_not_to_retry(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, state="completed")
        status, answer, headers = await served.call("POST", f"/v1/batches/{BATCH_ID}/cancel", {})
        assert (status, headers["x-should-retry"]) == (409, "false")
        assert "'completed'" in answer["error"]["message"]


async def test_an_ended_batch_is_shown_in_full() -> None:
    row = batch_row(
        endpoint="/v1/responses",
        state="cancelled",
        created_at=1,
        expires_at=86_401,
        in_progress_at=2,
        finalizing_at=4,
        cancelling_at=3,
        cancelled_at=5,
        model="gpt-4.1-nano",
        total=3,
        completed=1,
        failed=2,
        usage='{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,'
        '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":3}',
        output_file_id="file-2",
        error_file_id="file-3",
        errors='{"object":"list","data":[{"code":"c","message":"m","line":7}]}',
    )
    shown = batch_object(row)
    assert openai.types.Batch.model_validate(shown, strict=True).usage is not None
    assert shown["errors"]["data"] == [{"code": "c", "message": "m", "param": None, "line": 7}]
    assert shown["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert (shown["status"], shown["cancelling_at"], shown["cancelled_at"]) == ("cancelled", 3, 5)
    assert {name for name, value in shown.items() if value is None} == {
        "failed_at",
        "expired_at",
        "completed_at",
        "metadata",
    }


@pytest.mark.parametrize(
    ("state", "cancelling", "status"),
    [
        ("validating", None, "validating"),
        ("splitting", None, "validating"),
        ("running", None, "in_progress"),
        ("running", 1, "cancelling"),
        ("merging", None, "finalizing"),
        ("expired", 1, "expired"),
    ],
)
async def test_the_status_is_openais_word(tmp_path: Path, state: str, cancelling: int | None, status: str) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry, state=state, cancelling_at=cancelling)
        assert (await served.call("GET", f"/v1/batches/{BATCH_ID}"))[1]["status"] == status


async def test_another_workspace_sees_nothing(tmp_path: Path) -> None:
    stranger = {"x-portkey-api-key": OTHER_KEY}
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
        for method, path in (("GET", ""), ("POST", "/cancel")):
            foreign = await served.call(method, f"/v1/batches/{BATCH_ID}{path}", None, stranger)
            unknown = await served.call(method, f"/v1/batches/batch_unknown{path}", None, stranger)
            assert foreign[0] == unknown[0] == 404
            assert foreign[1]["error"]["message"] == f"No batch found with id '{BATCH_ID}'."
            assert unknown[1]["error"]["code"] is None
        assert (await served.call("GET", "/v1/batches", headers=stranger))[1] == {
            "object": "list",
            "data": [],
            "has_more": False,
        }
        status, answer, _ = await served.call("GET", f"/v1/batches?after={BATCH_ID}", headers=stranger)
        assert (status, answer["error"]["param"]) == (400, "after")
        assert (await stored(served, BATCH_ID)).cancelling_at is None


@pytest.mark.parametrize("batch_id", ["%ED%A0%80", "%00", "a%20b", "%2e%2e%2f", "x" * 200, "%C3%A9"])
async def test_an_id_that_no_batch_can_have_is_404(tmp_path: Path, batch_id: str) -> None:
    async with running(tmp_path) as served, wire(served) as client:
        await client.send("GET", f"/v1/batches/{batch_id}", f"x-portkey-api-key: {KEY}")
        assert (await client.answer()).status == 404


async def test_pages_go_through_every_batch_once_newest_first(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        made = [(await put_batch(served.gateway.registry, f"batch_{n}")).id for n in range(7)]
        seen, after = [], ""
        while True:
            _, page, _ = await served.call("GET", f"/v1/batches?limit=3{after}")
            ids = [batch["id"] for batch in page["data"]]
            assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
            seen += ids
            if not page["has_more"]:
                break
            after = f"&after={page['last_id']}"
        assert seen == made[::-1]
        _, page, _ = await served.call("GET", "/v1/batches?limit=7")
        assert (len(page["data"]), page["has_more"]) == (7, False)


async def test_a_page_has_20_batches_unless_asked_otherwise(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        for n in range(21):
            await put_batch(served.gateway.registry, f"batch_{n}")
        _, page, _ = await served.call("GET", "/v1/batches")
        assert (len(page["data"]), page["has_more"]) == (20, True)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=1e1", "limit"),
        ("after=batch_unknown", "after"),
        ("after=%ED%A0%80", "after"),
    ],
)
async def test_a_wrong_query_is_400_by_name(tmp_path: Path, query: str, param: str) -> None:
    async with running(tmp_path) as served:
        status, answer, _ = await served.call("GET", f"/v1/batches?{query}")
        assert (status, answer["error"]["param"]) == (400, param)


async def test_a_cancel_is_durable_and_may_be_repeated(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        await put_batch(served.gateway.registry)
        await put_part(served.gateway.registry, BATCH_ID, state="running")
        status, batch, _ = await served.call("POST", f"/v1/batches/{BATCH_ID}/cancel", {})
        assert (status, batch["status"]) == (200, "cancelling")
        at = (await stored(served, BATCH_ID)).cancelling_at
        assert batch["cancelling_at"] == at
        served.clock.offset += 10
        status, batch, _ = await served.call("POST", f"/v1/batches/{BATCH_ID}/cancel")  # no body, as curl sends it
        assert (status, batch["status"], batch["cancelling_at"]) == (200, "cancelling", at)


# ---- stock clients ----


async def test_openais_clients_work_unchanged(tmp_path: Path) -> None:
    async with running(tmp_path) as served:
        await put_file(served.gateway.registry)
        headers = {"x-portkey-provider": "@lane"}
        url = f"{served.url}/v1"

        async with AsyncOpenAI(api_key=KEY, base_url=url, default_headers=headers, max_retries=0) as client:
            made = await client.batches.create(
                input_file_id="file-1",
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"a": "b"},
                output_expires_after={"anchor": "created_at", "seconds": 7200},
            )
            assert (made.status, made.metadata) == ("validating", {"a": "b"})
            assert (await client.batches.retrieve(made.id)).id == made.id
            for n in range(5):
                await put_batch(served.gateway.registry, f"batch_{n}")
            assert len([batch async for batch in client.batches.list(limit=2)]) == 6
            await put_batch(served.gateway.registry, "batch_ended", state="completed")
            with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_none'"):
                await client.batches.retrieve("batch_none")
            with pytest.raises(openai.ConflictError):
                await client.batches.cancel("batch_ended")
            wrong: Any = "/v1/nothing"
            with pytest.raises(openai.BadRequestError) as refused:
                await client.batches.create(input_file_id="file-1", endpoint=wrong, completion_window="24h")
            assert refused.value.param == "endpoint"

        def in_a_thread() -> None:
            with OpenAI(api_key=KEY, base_url=url, default_headers=headers, max_retries=0) as client:
                batch = client.batches.retrieve(made.id)
                assert batch.request_counts is not None
                assert batch.request_counts.total == 0
                assert client.batches.cancel(batch.id).status == "cancelling"
                assert len(list(client.batches.list(limit=3))) == 7
                with pytest.raises(openai.AuthenticationError):
                    client.with_options(api_key="sk-wrong").batches.list()

        await asyncio.to_thread(in_a_thread)
