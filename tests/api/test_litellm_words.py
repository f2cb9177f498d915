"""LiteLLM's words for where work goes: each chooses the account, or is refused by name, at every verb."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.access import litellm_words
from proxy_plugin.config import parse
from proxy_plugin.storage.tables import provider_files
from proxy_plugin.storage.tables.provider_files import Place
from tests.support.rows import file_row
from tests.support.served import FORM_TYPE, KEY, OTHER_KEY, WHO, Served, running, stored

HOST = "http://127.0.0.1:9/v1"
KEYS: dict[str, Any] = {
    "azure-ours": {"provider": "azure-openai", "api_key": "sk-azure", "custom_host": "https://ours.openai.azure.com"},
    "groq-a": {"provider": "groq", "api_key": "sk-a"},
    "groq-b": {"provider": "groq", "api_key": "sk-b"},
    "claude": {"provider": "anthropic", "api_key": "sk-claude"},
}
MODEL_LIST: list[dict[str, Any]] = [
    {"model_name": "fast", "litellm_params": {"model": "openai/gpt-a", "api_key": "sk-1", "api_base": HOST}},
    {"model_name": "slow", "litellm_params": {"model": "anthropic/claude-b", "api_key": "sk-2"}},
    {"model_name": "both", "litellm_params": {"model": "openai/gpt-c", "api_key": "sk-3", "api_base": HOST}},
    {"model_name": "both", "litellm_params": {"model": "anthropic/claude-c", "api_key": "sk-4"}},
    {"model_name": "xai/*", "litellm_params": {"model": "xai/*", "api_key": "sk-5"}},
]
CALLERS = [
    {"name": "first", "key": KEY, "workspace": "one"},
    {"name": "second", "key": OTHER_KEY, "workspace": "two", "virtual_keys": ["model-*"], "models": ["fast", "gpt-*"]},
]
LINE = '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-plain"}}'


def serving(path: Path, **more: Any) -> Any:
    return running(path, virtual_keys=KEYS, model_list=MODEL_LIST, api_keys=CALLERS, **more)


def form(purpose: str = "batch", **fields: str) -> bytes:
    """Return an upload as SDKs send it, with more fields before the file."""
    head = "--edge\r\nContent-Disposition: form-data; name="
    told = {"purpose": purpose} | fields
    parts = "".join(f'{head}"{name}"\r\n\r\n{text}\r\n' for name, text in told.items())
    return f'{parts}{head}"file"; filename="in.jsonl"\r\n\r\n{LINE}\r\n--edge--\r\n'.encode()


async def uploaded(served: Served, sent: Mapping[str, str] = {}, query: str = "", **fields: str) -> str:
    status, file, _ = await served.call("POST", f"/v1/files{query}", form(**fields), {**WHO, **FORM_TYPE, **sent})
    assert status == 200, file
    return str(file["id"])


def wanted(file_id: str, **fields: Any) -> dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"} | fields


async def target(served: Served, answer: tuple[int, Any, Mapping[str, str]]) -> tuple[str, str | None]:
    """Return (virtual key, model for all lines) of the one place that a batch goes to."""
    status, batch, _ = answer
    assert status == 200, batch
    route = json.loads((await stored(served, batch["id"])).route)
    rule = (route.get("rules") or {}).get("rule") or {}
    if rule.get("model") is not None:
        return "by name", rule["model"]
    [found] = route["targets"]
    return found["slug"], found["model"]


CHOICES: list[tuple[dict[str, str], str, dict[str, Any], tuple[str, str | None]]] = [  # headers, query, fields, where
    ({}, "", {"custom_llm_provider": "azure"}, ("azure-ours", None)),
    ({}, "?custom_llm_provider=azure", {}, ("azure-ours", None)),
    ({"custom-llm-provider": "azure"}, "", {}, ("azure-ours", None)),
    ({"custom-llm-provider": "azure"}, "?custom_llm_provider=azure-openai", {}, ("azure-ours", None)),
    ({}, "", {"custom_llm_provider": "azure", "model": "gpt-plain"}, ("azure-ours", "gpt-plain")),
    ({}, "", {"custom_llm_provider": "azure", "model": "azure/gpt-plain"}, ("azure-ours", "gpt-plain")),
    ({}, "", {"custom_llm_provider": "openai", "model": "fast"}, ("by name", "fast")),
    ({}, "", {"custom_llm_provider": "anthropic", "model": "both"}, ("model-both-34ac37", "claude-c")),
    ({}, "", {"custom_llm_provider": "anthropic", "x": 1}, ("claude", None)),
    ({"x-portkey-virtual-key": "groq-b"}, "", {"custom_llm_provider": "groq"}, ("groq-b", None)),
    ({}, "", {"model": "fast"}, ("by name", "fast")),
    ({}, "?model=fast", {}, ("by name", "fast")),
    ({"x-litellm-model": "fast"}, "", {}, ("by name", "fast")),
    ({"x-litellm-model": "fast"}, "?model=fast", {"model": "fast", "target_model_names": "fast"}, ("by name", "fast")),
    ({}, "", {"target_model_names": "fast"}, ("by name", "fast")),
    ({}, "?target_model_names=fast", {}, ("by name", "fast")),
    ({}, "", {"target_model_names": "slow, fast", "model": "fast"}, ("by name", "fast")),
    ({}, "", {"target_model_names": ["fast"]}, ("by name", "fast")),
    ({}, "", {"model": "xai/grok-4"}, ("by name", "xai/grok-4")),
    ({}, "", {"model": "@claude/claude-z"}, ("claude", "claude-z")),
    ({}, "", {"custom_llm_provider": "anthropic", "model": "@claude/claude-z"}, ("claude", "claude-z")),
]


async def test_a_create_goes_where_its_words_say(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        file_id = await uploaded(served)
        for headers, query, fields, where in CHOICES:
            sent = {**WHO, **headers, "Idempotency-Key": f"{headers}{query}{fields}"[:255]}
            answer = await served.call("POST", f"/v1/batches{query}", wanted(file_id, **fields), sent)
            found = await target(served, answer)
            assert (found[0].rpartition("-")[0] if "34ac37" in where[0] else found[0], found[1]) == (
                where[0].removesuffix("-34ac37"),
                where[1],
            ), (headers, query, fields)


async def test_what_is_said_with_an_upload_counts_for_the_batches_of_its_file(tmp_path: Path) -> None:
    """As the id that LiteLLM gives such a file does; and twice the same is no contradiction."""
    async with serving(tmp_path) as served:
        for headers, query, fields, where in CHOICES:
            if "x-portkey-virtual-key" in headers or any(not isinstance(each, str) for each in fields.values()):
                continue
            file_id = await uploaded(served, headers, query, **fields)
            answer = await served.call("POST", "/v1/batches", wanted(file_id), WHO)
            found = await target(served, answer)
            assert found[1] == where[1], (headers, query, fields)
            again = await served.call("POST", f"/v1/batches{query}", wanted(file_id, **fields), {**WHO, **headers})
            assert await target(served, again) == found
            plan = await served.call("POST", "/v1/batches/plan", wanted("file-x"), WHO)
            assert plan[0] == 404


async def refusal(served: Served, answer: tuple[int, Any, Mapping[str, str]]) -> tuple[int, str | None]:
    status, found, _ = answer
    assert "error" in found, found
    return status, found["error"]["param"]


REFUSED: list[tuple[dict[str, str], str, dict[str, Any], int, str]] = [
    ({}, "", {"custom_llm_provider": "nobody"}, 400, "custom_llm_provider"),
    ({"custom-llm-provider": "nobody"}, "", {}, 400, "custom-llm-provider"),
    ({}, "", {"custom_llm_provider": "mistral"}, 400, "custom_llm_provider"),
    ({}, "", {"custom_llm_provider": "groq"}, 400, "custom_llm_provider"),
    ({"custom-llm-provider": "azure"}, "", {"custom_llm_provider": "anthropic"}, 400, "custom-llm-provider"),
    ({}, "?custom_llm_provider=anthropic", {"custom_llm_provider": "azure"}, 400, "custom_llm_provider"),
    ({}, "", {"custom_llm_provider": "azure", "model": "fast"}, 400, "custom_llm_provider"),
    ({}, "", {"custom_llm_provider": "azure", "model": "@claude/x"}, 400, "custom_llm_provider"),
    ({}, "", {"model": "nothing-like-it"}, 400, "model"),
    ({"x-litellm-model": "nothing-like-it"}, "", {}, 400, "x-litellm-model"),
    ({}, "", {"target_model_names": "nothing-like-it"}, 400, "target_model_names"),
    ({"x-litellm-model": "slow"}, "", {"model": "fast"}, 400, "x-litellm-model"),
    ({"x-litellm-model": "slow"}, "?model=fast", {}, 400, "model"),
    ({}, "", {"target_model_names": "slow", "model": "fast"}, 400, "target_model_names"),
    ({}, "", {"model": "@nobody/x"}, 400, "model"),
]


async def test_what_chooses_nothing_or_two_things_is_refused_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        file_id = await uploaded(served)
        for headers, query, fields, status, param in REFUSED:
            sent = {**WHO, **headers}
            created = await served.call("POST", f"/v1/batches{query}", wanted(file_id, **fields), sent)
            assert await refusal(served, created) == (status, param), (headers, query, fields)
            body = form(**{name: str(value) for name, value in fields.items()})
            found = await refusal(served, await served.call("POST", f"/v1/files{query}", body, {**sent, **FORM_TYPE}))
            assert found[0] == status, (headers, query, fields)
        for fields, param in (
            ({"custom_llm_provider": 5}, "custom_llm_provider"),
            ({"target_model_names": [5]}, "target_model_names"),
            ({"target_model_names": "fast,slow"}, "target_model_names"),
        ):
            created = await served.call("POST", "/v1/batches", wanted(file_id, **fields), WHO)
            assert await refusal(served, created) == (400, param)
        for more in ({"x-portkey-virtual-key": "claude"}, {"x-portkey-config": '{"virtual_key": "azure-ours"}'}):
            created = await served.call(
                "POST", "/v1/batches", wanted(file_id, custom_llm_provider="azure"), {**WHO, **more}
            )
            assert await refusal(served, created) == (400, "custom_llm_provider")
        two = [*WHO.items(), ("x-litellm-model", "fast"), ("x-litellm-model", "slow")]
        async with served.session.post(f"{served.url}/v1/batches", json=wanted(file_id), headers=two) as answer:
            assert (answer.status, (await answer.json())["error"]["param"]) == (400, "x-litellm-model")


async def test_what_the_upload_says_and_what_the_create_says_have_to_agree(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        file_id = await uploaded(served, target_model_names="fast,slow")
        assert (await served.call("POST", "/v1/batches", wanted(file_id), WHO))[0] == 400, "LiteLLM: expected 1 model"
        assert (await served.call("POST", "/v1/batches", wanted(file_id, model="both"), WHO))[0] == 400
        chosen = await served.call("POST", "/v1/batches", wanted(file_id, model="slow"), WHO)
        assert await target(served, chosen) == ("by name", "slow")
        file_id = await uploaded(served, custom_llm_provider="azure")
        other = await served.call("POST", "/v1/batches", wanted(file_id, custom_llm_provider="anthropic"), WHO)
        assert await refusal(served, other) == (400, "custom_llm_provider")


async def test_a_caller_may_say_only_what_it_may_use(tmp_path: Path) -> None:
    other = {"x-portkey-api-key": OTHER_KEY}
    async with serving(tmp_path) as served:
        for fields, status in (
            ({"model": "fast"}, 200),
            ({"model": "slow"}, 403),
            ({"custom_llm_provider": "azure"}, 400),
            ({"model": "@claude/claude-z"}, 403),
        ):
            found, answer, _ = await served.call("POST", "/v1/files", form(**fields), {**other, **FORM_TYPE})
            assert found == status, answer


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/files"])
async def test_lists_take_them_or_refuse_them(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as served:
        for headers, query, status in (
            ({}, "custom_llm_provider=azure", 200),
            ({}, "custom_llm_provider=groq", 200),
            ({}, "custom_llm_provider=azure&model=fast", 400),
            ({}, "model=fast", 200),
            ({}, "target_model_names=fast", 200),
            ({"x-litellm-model": "fast"}, "", 200),
            ({"custom-llm-provider": "azure"}, "", 200),
            ({}, "custom_llm_provider=nobody", 400),
            ({}, "custom_llm_provider=mistral", 400),
            ({}, "model=nothing-like-it", 400),
            ({"x-litellm-model": "slow"}, "model=fast", 400),
        ):
            found, answer, _ = await served.call("GET", f"{path}?{query}", headers={**WHO, **headers})
            assert (found, "data" in answer) == (status, status == 200), (headers, query)
        for body, status in (
            ({"custom_llm_provider": "azure"}, 200),
            ({"custom_llm_provider": "nobody"}, 400),
            ({"model": "nothing-like-it"}, 400),
            ({"target_model_names": "fast"}, 200),
            ([], 200),
        ):
            assert (await served.call("GET", path, body, WHO))[0] == status, body


async def test_a_list_has_the_batches_of_one_place(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        file_id = await uploaded(served)
        made = {}
        for slug in ("azure-ours", "claude", "groq-a"):
            answer = await served.call("POST", "/v1/batches", wanted(file_id), {**WHO, "x-portkey-virtual-key": slug})
            made[slug] = answer[1]["id"]
        for query, slugs in (
            ("custom_llm_provider=azure", ["azure-ours"]),
            ("custom_llm_provider=anthropic", ["claude"]),
            ("model=@groq-a/x", ["groq-a"]),
            ("model=fast", []),
            ("", ["groq-a", "claude", "azure-ours"]),
        ):
            found = (await served.call("GET", f"/v1/batches?{query}", headers=WHO))[1]["data"]
            assert [each["id"] for each in found] == [made[slug] for slug in slugs], query
        found = (await served.call("GET", "/v1/batches", {"custom_llm_provider": "anthropic"}, WHO))[1]["data"]
        assert [each["id"] for each in found] == [made["claude"]], "LiteLLM's callers send a body with GET, too"


async def test_what_an_id_names_is_where_the_words_say(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        file_id = await uploaded(served)
        chosen = {**WHO, "x-portkey-virtual-key": "azure-ours"}
        batch_id = (await served.call("POST", "/v1/batches", wanted(file_id), chosen))[1]["id"]
        for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/lines"), ("GET", "/output")):
            there = f"/v1/batches/{batch_id}{path}"
            for said in ({"custom-llm-provider": "anthropic"}, {"x-litellm-model": "fast"}):
                answer = await served.call(method, there, headers={**WHO, **said})
                assert answer[0] == 400, (path, said, answer)
            assert (await served.call(method, f"{there}?custom_llm_provider=anthropic", headers=WHO))[0] == 400
            assert (await served.call(method, there, {"custom_llm_provider": "anthropic"}, WHO))[0] == 400
        body = {"custom_llm_provider": "anthropic"}
        assert (await served.call("POST", f"/v1/batches/{batch_id}/cancel", body, WHO))[0] == 400
        assert (await served.call("GET", f"/v1/batches/{batch_id}?custom_llm_provider=azure", headers=WHO))[0] == 200
        body = {"custom_llm_provider": "azure"}
        assert (await served.call("POST", f"/v1/batches/{batch_id}/cancel", body, WHO))[0] == 200


async def test_a_file_of_a_provider_goes_to_the_account_of_the_words(tmp_path: Path) -> None:
    """Nobody answers there: that the call fails is how the choice shows."""
    nowhere = {"provider": "openai", "api_key": "sk-x", "custom_host": HOST}
    async with running(tmp_path, virtual_keys={"only": nowhere}, model_list=MODEL_LIST[1:2]) as served:
        for headers, fields, status, says in (
            ({}, {"custom_llm_provider": "openai"}, 502, None),
            ({"x-litellm-model": "@only/gpt"}, {}, 502, None),
            ({"x-litellm-model": "slow"}, {}, 400, "Anthropic"),
            ({}, {"custom_llm_provider": "anthropic"}, 400, "Anthropic"),
            ({}, {}, 400, "is kept by a provider"),
            ({}, {"target_model_names": "slow,@only/gpt"}, 400, "one account"),
        ):
            body = form("user_data", **fields)
            found, answer, _ = await served.call("POST", "/v1/files", body, {**WHO, **FORM_TYPE, **headers})
            assert (found, says is None or says in answer["error"]["message"]) == (status, True), answer
        place = Place(slug="only", provider="openai", provider_id="file-theirs")
        await served.gateway.registry.write(provider_files.insert, file_row("file-kept"), place, spare_id="file-s")
        assert (await served.call("GET", "/v1/files/file-kept?custom_llm_provider=openai", headers=WHO))[0] == 200
        assert (await served.call("GET", "/v1/files/file-kept?custom_llm_provider=anthropic", headers=WHO))[0] == 400


async def test_an_upload_in_parts_goes_nowhere_yet(tmp_path: Path) -> None:
    body = {"purpose": "batch", "filename": "a", "bytes": 5, "mime_type": "text/plain"}
    async with serving(tmp_path) as served:
        assert (await served.call("POST", "/v1/uploads", body | {"model": "fast"}, WHO))[0] == 400
        assert (await served.call("POST", "/v1/uploads", body, {**WHO, "x-litellm-model": "fast"}))[0] == 400
        assert (await served.call("POST", "/v1/uploads", body, WHO))[0] == 200


# ---- the account of the environment ----


def test_what_the_environment_proves_is_an_account_of_the_provider_alone() -> None:
    environ = {f"{name}_API_KEY": f"sk-of-{name}" for name in ("OPENAI", "ANTHROPIC", "MISTRAL", "AZURE")}
    ours = {"virtual_keys": {"claude": KEYS["claude"]}}
    said = {"model_list": MODEL_LIST[:1], "files_settings": [{"custom_llm_provider": "mistral"}], "proxy_plugin": ours}
    found = parse(said, environ).virtual_keys
    assert set(found) == {"claude", "model-fast", "files-mistral-ai", "env-openai"}, "no host of azure, others written"
    assert found["env-openai"].models is None
    assert set(parse({"proxy_plugin": ours}, environ).virtual_keys) == {"claude"}, "no file of LiteLLM's"
    places = {
        "AWS_S3_BUCKET_NAME": "bucket",
        "AWS_REGION": "us-east-1",
        "AWS_BATCH_ROLE_ARN": "arn:aws:iam::111122223333:role/r",
    }
    assert "env-bedrock" in parse({"model_list": MODEL_LIST[:1]}, places).virtual_keys
    assert "env-bedrock" not in parse({"model_list": MODEL_LIST[:1]}, {"AWS_REGION": "us-east-1"}).virtual_keys


async def test_plain_models_outside_the_list_run_with_the_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    async with running(tmp_path, virtual_keys={}, model_list=MODEL_LIST) as served:
        file_id = await uploaded(served, custom_llm_provider="openai")
        answer = await served.call("POST", "/v1/batches", wanted(file_id), WHO)
        assert await target(served, answer) == ("env-openai", None)


# ---- ids that LiteLLM made ----


def encoded(prefix: str, text: str) -> str:
    return prefix + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


async def test_ids_of_litellms_name_what_they_hold(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        file_id = await uploaded(served)
        theirs = encoded("file-", f"litellm:{file_id};model,fast")
        for path in ("", "/content"):
            async with served.session.get(f"{served.url}/v1/files/{theirs}{path}", headers=WHO) as answer:
                assert answer.status == 200
        created = await served.call("POST", "/v1/batches", wanted(theirs), WHO)
        assert await target(served, created) == ("by name", "fast")
        assert created[1]["input_file_id"] == file_id
        other = encoded("file-", f"litellm:{file_id};model,only-they-know-it")
        chosen = await served.call("POST", "/v1/batches", wanted(other, model="slow"), WHO)
        assert await target(served, chosen) == ("by name", "slow")
        assert (await served.call("POST", "/v1/batches", wanted(theirs, model="slow"), WHO))[0] == 400
        batch_id = created[1]["id"]
        for held in (
            encoded("batch_", f"litellm:{batch_id};model,fast"),
            encoded("", f"litellm_proxy;model_id:1234;llm_batch_id:{batch_id}"),
            encoded("", f"litellm_proxy;model_id:1234;llm_batch_id:{batch_id};llm_output_file_id:x"),
        ):
            assert (await served.call("GET", f"/v1/batches/{held}", headers=WHO))[1]["id"] == batch_id
            assert (await served.call("GET", f"/v1/batches/{held}", headers={"x-portkey-api-key": OTHER_KEY}))[0] == 404
        assert (await served.call("POST", f"/v1/batches/{held}/cancel", headers=WHO))[1]["id"] == batch_id
        managed = "litellm_proxy:application/json;unified_id,u;target_model_names,fast;llm_output_file_id,{};"
        managed = encoded("", managed.format(file_id) + "llm_output_file_model_id,1")
        assert (await served.call("GET", f"/v1/files/{managed}", headers=WHO))[1]["id"] == file_id
        assert (await served.call("DELETE", f"/v1/files/{theirs}", headers=WHO))[1]["deleted"] is True


@given(st.text(max_size=60), st.sampled_from(["", "file-", "batch_"]))
def test_what_is_no_id_of_litellms_stays_as_it_is(text: str, prefix: str) -> None:
    for each in (prefix + text, prefix + "bGl0ZWxsb" + text, encoded(prefix, f"litellm:{text}")):
        found, models = litellm_words.opened(each)
        assert (found, models) == (each, ())


@given(
    st.from_regex(r"file-[A-Za-z0-9]{1,40}", fullmatch=True),
    st.lists(st.from_regex(r"[a-z0-9./@-]{1,30}", fullmatch=True), min_size=1, max_size=3),
)
def test_what_litellm_encodes_is_found_again(file_id: str, models: list[str]) -> None:
    assert litellm_words.opened(encoded("file-", f"litellm:{file_id};model,{models[0]}")) == (file_id, (models[0],))
    managed = f"litellm_proxy:a/b;unified_id,u;target_model_names,{','.join(models)};llm_output_file_id,{file_id}"
    assert litellm_words.opened(encoded("", managed)) == (file_id, tuple(models))
