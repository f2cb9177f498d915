"""Every word of a request that says where a batch runs acts, or is refused by name; none is passed over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy_plugin.access import headers, steering
from proxy_plugin.ground.errors import BadRequest
from proxy_plugin.providers.lanes.bedrock.accounts import BedrockCredentials
from proxy_plugin.routing.route import ByLine, decode_route
from tests.support.rows import BATCH_ID, put_batch, put_file
from tests.support.served import FORM, FORM_TYPE, KEY, OTHER_KEY, WANTED, WHO, Served, count, running, stored

OPENAI = {"provider": "openai", "api_key": "sk-of-the-operator", "openai_project": "proj_ours"}
KEYS: dict[str, Any] = {"red": OPENAI, "green": OPENAI, "north": {"provider": "anthropic", "api_key": "sk-of-ours"}}
INLINE = {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "red"}, {"virtual_key": "north"}]}
OWN_ROLE = "arn:aws:iam::111122223333:role/Mine"
OWN_BUCKET = {
    "x-portkey-provider": "bedrock",
    "x-portkey-aws-access-key-id": "AKIA0123456789ABCDEF",
    "x-portkey-aws-secret-access-key": "s" * 40,
    "x-portkey-aws-s3-bucket": "mine",
    "x-portkey-aws-s3-object-key": "any.jsonl",
    "x-portkey-aws-bedrock-model": "amazon.nova-lite-v1:0",
}
BY_TEAM = {
    "strategy": {"mode": "conditional", "conditions": [{"query": {"metadata.team": "a"}, "then": "x"}], "default": "y"},
    "targets": [{"name": "x", "virtual_key": "red"}, {"name": "y", "virtual_key": "green"}],
}


def serving(path: Path) -> Any:
    callers = [
        {"name": "first", "key": KEY, "workspace": "one"},
        {"name": "second", "key": OTHER_KEY, "workspace": "two", "virtual_keys": ["red"]},
    ]
    return running(path, virtual_keys=KEYS, api_keys=callers, configs={"pc-split": INLINE})


async def create(served: Served, sent: Mapping[str, str], **fields: Any) -> tuple[Any, Mapping[str, str | None]]:
    """Create a batch and return its stored route and the headers of the answer."""
    status, batch, answered = await served.call("POST", "/v1/batches", WANTED | fields, {**WHO, **sent})
    assert status == 200, batch
    shown = {name: answered.get(name) for name in ("x-portkey-provider", "x-portkey-last-used-option-index")}
    return json.loads((await stored(served, batch["id"])).route), shown


async def refused(served: Served, sent: Mapping[str, str], path: str = "/v1/batches", **fields: Any) -> dict[str, Any]:
    before = await count(served)
    status, answer, _ = await served.call("POST", path, WANTED | fields, {**WHO, **sent})
    assert status == 400, answer
    assert await count(served) == before
    assert "secret" not in json.dumps(answer)
    return dict(answer["error"])


@pytest.mark.parametrize(
    "options",
    [
        {"x-portkey-virtual-key": "red"},
        {"x-portkey-virtual-key": "@green"},
        {"X-Portkey-Virtual-Key": "red"},
        {"x-portkey-provider": "@north"},
        {"x-portkey-provider": "@north/claude-haiku-4-5"},
        {"x-portkey-config": "pc-split"},
        {"x-portkey-config": json.dumps(INLINE)},
        {"x-portkey-config": json.dumps(BY_TEAM), "x-portkey-metadata": '{"team": "a"}'},
        {"x-portkey-virtual-key": "green", "x-portkey-provider": "@red"},
        {"x-portkey-virtual-key": "red", "x-portkey-provider": "openai"},
        {"x-portkey-virtual-key": "red", "x-portkey-provider-model": "gpt-4.1-nano"},
        {"x-portkey-virtual-key": "red", "x-portkey-aws-bedrock-model": "gpt-4.1-nano"},
        {"x-portkey-virtual-key": "red", "x-portkey-openai-project": "proj_ours"},
        {"x-portkey-virtual-key": "red", "x-portkey-provider-batch-endpoint": "/v1/chat/completions"},
        {"x-portkey-virtual-key": "red", "x-portkey-aws-s3-bucket": "of another provider"},
        {"x-portkey-virtual-key": "red", "x-portkey-span-name": "s", "x-portkey-cache-namespace": "n"},
        {"x-portkey-metadata": '{"_user": "u"}'},
        {"x-portkey-provider": "portkey"},
    ],
)
async def test_portkey_options_act_as_the_headers_do(tmp_path: Path, options: dict[str, str]) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        by_headers = await create(served, options)
        assert await create(served, {}, portkey_options=options) == by_headers
        managed = {"x-portkey-provider": "portkey"}
        assert await create(served, managed, portkey_options=options) == by_headers
        as_json = {name: json.loads(text) if text.startswith("{") else text for name, text in options.items()}
        assert (await create(served, {}, portkey_options=as_json))[1] == by_headers[1]


async def test_a_trace_id_among_them_is_that_of_the_batch(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        options = {"x-portkey-virtual-key": "red", "x-portkey-trace-id": "mine"}
        _, batch, answered = await served.call("POST", "/v1/batches", WANTED | {"portkey_options": options}, WHO)
        assert (answered["x-portkey-trace-id"], (await stored(served, batch["id"])).trace_id) == ("mine", "mine")
        sent = {**WHO, "x-portkey-trace-id": "hers"}
        options = {"x-portkey-virtual-key": "red"}
        _, batch, answered = await served.call("POST", "/v1/batches", WANTED | {"portkey_options": options}, sent)
        assert (answered["x-portkey-trace-id"], answered["x-portkey-provider"]) == ("hers", "openai")


@pytest.mark.parametrize(
    ("sent", "options", "param"),
    [
        ({}, {"x-portkey-virtual-key": "nobody"}, "portkey_options.x-portkey-virtual-key"),
        ({}, {"X-Portkey-Provider": "@nobody/m"}, "portkey_options.x-portkey-provider"),
        ({}, {"x-portkey-config": {"virtual_key": "nobody"}}, "portkey_options.x-portkey-config"),
        ({}, {"x-portkey-config": "pc-nobody"}, "portkey_options.x-portkey-config"),
        ({}, {"virtual_key": "red"}, "portkey_options.virtual_key"),
        ({}, {"Authorization": "Bearer sk-secret"}, "portkey_options.Authorization"),
        ({}, {"x-portkey-api-key": OTHER_KEY}, "portkey_options.x-portkey-api-key"),
        ({}, {"x-portkey-virtual-keys": "red"}, "portkey_options.x-portkey-virtual-keys"),
        ({}, {"x-portkey-virtual-key": "red", "x-portkey-targets": "[]"}, "portkey_options.x-portkey-targets"),
        (
            {},
            {"x-portkey-virtual-key": "red", "X-PORTKEY-VIRTUAL-KEY": "green"},
            "portkey_options.X-PORTKEY-VIRTUAL-KEY",
        ),
        ({"x-portkey-virtual-key": "red"}, {"x-portkey-virtual-key": "green"}, "portkey_options"),
        ({"x-portkey-provider": "@red"}, {"x-portkey-virtual-key": "green"}, "portkey_options"),
        ({"x-portkey-config": "pc-split"}, {"x-portkey-virtual-key": "green"}, "portkey_options"),
        ({"x-portkey-provider": "openai"}, {"x-portkey-virtual-key": "green"}, "portkey_options"),
        ({"x-portkey-metadata": '{"a":"b"}'}, {"x-portkey-metadata": '{"a":"c"}'}, "portkey_options"),
        (
            {},
            {"x-portkey-virtual-key": "red", "x-portkey-openai-project": "other"},
            "portkey_options.x-portkey-openai-project",
        ),
        (
            {},
            {"x-portkey-virtual-key": "red", "x-portkey-custom-host": "https://a.b"},
            "portkey_options.x-portkey-custom-host",
        ),
        ({}, "x-portkey-virtual-key: red", "portkey_options"),
        ({}, ["x-portkey-virtual-key"], "portkey_options"),
    ],
)
async def test_options_that_cannot_be_followed_are_refused(
    tmp_path: Path, sent: dict[str, str], options: object, param: str | None
) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        for path in ("/v1/batches", "/v1/batches/plan"):
            assert (await refused(served, sent, path, portkey_options=options))["param"] == param


WORDS: dict[str, Any] = {
    "virtual_key": "red",
    "virtualKey": "red",
    "portkeyOptions": {"x-portkey-virtual-key": "red"},
    "targetModelNames": "a,b",
    "baseURL": "https://elsewhere",
    "customHost": "https://elsewhere",
    "litellm_params": {"model": "azure/x"},
    "vendor": "azure",
    "engine": "gpt-4.1",
    "backend": "red",
    "sticky": {"enabled": True},
    "aws_profile_name": "other",
    "azure_ad_token": "secret",
    "vertex_ai_location": "europe-west4",
    "s3EndpointUrl": "https://elsewhere",
    "config": {"targets": []} | INLINE,
    "provider": "@red",
    "targets": [{"virtual_key": "red"}],
    "strategy": {"mode": "fallback"},
    "extra_headers": {"x-portkey-virtual-key": "red"},
    "extra_body": {"model": "m"},
    "headers": {"x-portkey-virtual-key": "red"},
    "x-portkey-virtual-key": "red",
    "X-Portkey-Config": "pc-split",
    "x-portkey-model": "m",
    "Model": "m",
    "Portkey-Options": {"x-portkey-virtual-key": "red"},
    "api_key": "sk-secret",
    "api_base": "https://elsewhere",
    "base_url": "https://elsewhere",
    "custom_host": "https://elsewhere",
    "aws_region": "us-east-1",
    "vertex_project": "p",
    "organization": "org-1",
    "fallbacks": ["green"],
    "router": "r",
    "override_params": {"model": "m"},
    "output_folder": {"url": "https://elsewhere"},
    "input_blob": "https://elsewhere",
}


@pytest.mark.parametrize("word", WORDS)
async def test_a_word_that_is_not_served_is_refused_by_name(tmp_path: Path, word: str) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        sent = {"x-portkey-virtual-key": "green"}
        error = await refused(served, sent, **{word: WORDS[word]})
        assert (error["param"], error["code"]) == (word, "unknown_parameter")
        assert error["message"].startswith(f"Unknown parameter: '{word}'. ")
        nested = await refused(served, sent, "/v1/batches/plan", provider_options={word: WORDS[word]})
        assert nested["param"] == f"provider_options.{word}"
        await create(served, sent, **{word: None})


@pytest.mark.parametrize("value", ["s3://bucket/folder/", {"s3OutputDataConfig": {"s3Uri": "s3://bucket/folder/"}}])
async def test_a_place_of_results_belongs_to_an_account_that_has_one(tmp_path: Path, value: object) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        error = await refused(served, {"x-portkey-virtual-key": "green"}, output_data_config=value)
        assert (error["param"], error["code"]) == ("output_data_config", "unknown_parameter")
        error = await refused(served, {"x-portkey-virtual-key": "green"}, output_data_config=["x"])
        assert (error["param"], error["code"]) == ("output_data_config", "invalid_type")
        assert "expected an object, or an address as a string" in error["message"]
        error = await refused(served, OWN_BUCKET, role_arn="BedrockBatch")
        assert error["param"] == "role_arn", "as it is called in the body"
        route, _ = await create(served, OWN_BUCKET, job_name="portkey-job", output_data_config=value, role_arn=OWN_ROLE)
    (target,) = route["targets"]
    assert (target["provider"], target["model"]) == ("bedrock", "amazon.nova-lite-v1:0")
    told = {**target["byok"]["fields"], "aws_secret_access_key": "s" * 40}
    credentials = BedrockCredentials.model_validate(told)
    assert credentials.results("0123456789") == ("bucket", "folder/pp-0123456789/out/")
    assert (credentials.bucket, credentials.role) == ("mine", OWN_ROLE)


@pytest.mark.parametrize(
    "name",
    [
        "virtual-keys",
        "target",
        "targets",
        "provider-slug",
        "mode",
        "strategy",
        "fallback",
        "workspace",
        "model",
        "route",
    ],
)
async def test_a_header_that_is_not_served_is_refused_by_name(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        sent = {"x-portkey-virtual-key": "green", f"x-portkey-{name}": "x"}
        error = await refused(served, sent)
        assert (error["param"], error["code"]) == (f"x-portkey-{name}", "unknown_parameter")


async def test_a_header_of_litellms_that_contradicts_another_is_refused_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        sent = {"x-portkey-virtual-key": "green", "Custom-LLM-Provider": "azure"}
        assert (await refused(served, sent))["param"] == "custom_llm_provider"
        two = {"x-litellm-model": "gpt-4.1", "x-portkey-virtual-key": "red"}
        assert (await refused(served, two, model="gpt-4o"))["param"] == "x-litellm-model"


@pytest.mark.parametrize("query", ["model=@red/m", "provider=azure", "virtual_key=red", "custom_llm_provider=azure"])
async def test_so_is_one_in_the_query(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        sent = {"x-portkey-virtual-key": "green"}
        assert (await refused(served, sent, f"/v1/batches?{query}"))["param"] == query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("sent", "fields", "target"),
    [
        ({"x-portkey-virtual-key": "red"}, {"model": "gpt-4.1"}, ("red", "gpt-4.1")),
        ({"x-portkey-virtual-key": "red"}, {"model": "@red/gpt-4.1"}, ("red", "gpt-4.1")),
        (
            {"x-portkey-virtual-key": "red", "x-portkey-provider": "openai"},
            {"model": "@red/gpt-4.1", "portkey_options": {"x-portkey-virtual-key": "red"}},
            ("red", "gpt-4.1"),
        ),
        ({}, {"model": "@north/claude-x"}, ("north", "claude-x")),
        ({"x-portkey-virtual-key": "red"}, {"provider_options": {"model": "gpt-4.1"}}, ("red", "gpt-4.1")),
        ({"x-portkey-virtual-key": "red", "x-litellm-model": "gpt-4.1"}, {}, ("red", "gpt-4.1")),
        ({"x-litellm-model": "@north/claude-x", "x-litellm-tags": "a"}, {}, ("north", "claude-x")),
        (
            {"x-portkey-virtual-key": "red", "x-portkey-provider-model": "gpt-4.1"},
            {"model": "gpt-4.1"},
            ("red", "gpt-4.1"),
        ),
        ({"x-portkey-virtual-key": "red"}, {"role_arn": "arn:aws:iam::1:role/x"}, ("red", None)),
        (
            {"x-portkey-virtual-key": "red"},
            {"job_name": "j", "instance_config": {"a": 1}, "unknown": [1]},
            ("red", None),
        ),
        ({"x-portkey-virtual-key": "red", "x-portkey-debug": "true", "x-portkey-retry-count": "3"}, {}, ("red", None)),
        ({"x-portkey-virtual-key": "red", "x-portkey-file-purpose": "batch"}, {"provider_options": {}}, ("red", None)),
    ],
)
async def test_what_acts_and_what_steers_nothing(
    tmp_path: Path, sent: dict[str, str], fields: dict[str, Any], target: tuple[str, str | None]
) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, sent, **fields)
        assert [(each["slug"], each["model"]) for each in route["targets"]] == [target]


@pytest.mark.parametrize(
    ("sent", "fields", "param"),
    [
        ({"x-portkey-virtual-key": "red"}, {"model": "@green/gpt-4.1"}, "model"),
        ({"x-portkey-config": "pc-split"}, {"model": "gpt-4.1"}, "model"),
        (
            {"x-portkey-virtual-key": "red"},
            {"model": "a", "provider_options": {"model": "b"}},
            "provider_options.model",
        ),
        ({"x-portkey-provider": "@red", "x-portkey-provider-model": "a"}, {"model": "b"}, "x-portkey-provider-model"),
        ({"x-portkey-virtual-key": "red"}, {"model": 7}, "model"),
        ({"x-portkey-virtual-key": "red"}, {"provider_options": "x"}, "provider_options"),
        ({"x-portkey-virtual-key": "red"}, {"role_arn": ["x"]}, "role_arn"),
        ({"x-portkey-virtual-key": "red", "x-portkey-provider-batch-endpoint": "/v1/embeddings"}, {}, None),
    ],
)
async def test_two_words_that_contradict_each_other(
    tmp_path: Path, sent: dict[str, str], fields: dict[str, Any], param: str | None
) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        error = await refused(served, sent, **fields)
        assert error["param"] == param or (param is None and error["param"] == steering.ENDPOINT_HEADER)


async def test_a_model_makes_another_request_of_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        sent = {**WHO, "x-portkey-virtual-key": "red", "Idempotency-Key": "k"}
        status, _, _ = await served.call("POST", "/v1/batches", WANTED, sent)
        other, _, _ = await served.call("POST", "/v1/batches", WANTED | {"model": "gpt-4.1"}, sent)
        assert (status, other) == (200, 422)


async def test_the_provider_portkey_is_none_at_upload_and_at_create(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        managed = {**WHO, "x-portkey-provider": "portkey"}
        line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"@red/m","messages":[]}}'
        status, file, _ = await served.call("POST", "/v1/files", FORM % line, managed | FORM_TYPE)
        assert (status, file["purpose"]) == (200, "batch")
        status, batch, _ = await served.call("POST", "/v1/batches", WANTED | {"input_file_id": file["id"]}, managed)
        assert status == 200, batch
        rules = decode_route((await stored(served, batch["id"])).route).rules
        assert rules
        assert rules.rule == ByLine()
        other = (FORM % b"x").replace(b"\r\n\r\nbatch", b"\r\n\r\nuser_data")
        told = [await served.call("POST", "/v1/files", other, sent | FORM_TYPE) for sent in (WHO, managed)]
        assert told[0][:2] == told[1][:2]
        assert told[0][0] == 400


async def test_a_retry_takes_them_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, {"x-portkey-virtual-key": "red"})
        ended: dict[str, Any] = {"state": "completed", "error_file_id": "file-1", "failed": 1}
        await put_batch(served.gateway.registry, route=json.dumps(route), **ended)
        path = f"/v1/batches/{BATCH_ID}/retry"
        for body, param in (
            ({"portkey_options": {"x-portkey-virtual-key": "nobody"}}, "portkey_options.x-portkey-virtual-key"),
            ({"virtual_key": "red"}, "virtual_key"),
            ({"model": "m"}, "model"),
        ):
            status, answer, _ = await served.call("POST", path, body, WHO)
            assert (status, answer["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"virtual_key": "red", "model": "gpt-4.1"}, "model: is not read here; write it into 'override_params'"),
        ({"virtual_key": "red", "fallbacks": ["green"]}, "fallbacks: is not served"),
        ({"virtual_key": "red", "router": "r"}, "router: is not served"),
        ({"virtual_key": "red", "config": "pc-split"}, "config: is not served"),
        ({"virtual_key": "red", "mode": "loadbalance"}, "mode: belongs into 'strategy'"),
        ({"virtual_key": "red", "conditions": [{}]}, "conditions: belongs into 'strategy'"),
        ({"virtual_key": "red", "api_base": "https://elsewhere"}, "api_base: is not read; write 'custom_host'"),
        ({"virtual_key": "red", "targetModelNames": "a,b"}, "targetModelNames: is not served"),
        ({"targets": [{"virtual_key": "red", "models": ["a"]}]}, "targets.0.models: is not served"),
        (
            {"strategy": {"mode": "loadbalance", "sticky": {"enabled": True}}, "targets": [{"virtual_key": "red"}]},
            "strategy.sticky: is not served",
        ),
        ({"virtual_key": "red", "openai_project": "other"}, "openai_project goes only with a provider key of your own"),
        ({"virtual_key": "red", "api_key": "sk-secret"}, "api_key goes only with a provider key of your own"),
        ({"targets": [{"openai_project": "other"}]}, "openai_project goes only with a provider key of your own"),
        (
            {"openai_project": "other", "targets": [{"override_params": {"model": "@red/m"}}]},
            "openai_project goes only with a provider key of your own",
        ),
    ],
)
async def test_a_word_of_a_config_that_is_not_followed_is_refused_by_name(
    tmp_path: Path, config: dict[str, Any], word: str
) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        error = await refused(served, {"x-portkey-config": json.dumps(config)})
        assert error["param"] == "x-portkey-config"
        assert word in error["message"]


@pytest.mark.parametrize(
    "config",
    [
        {"virtual_key": "red", "openai_project": "proj_ours"},
        {"virtual_key": "red", "aws_region": "of another provider"},
        {"virtual_key": "red", "retry": {"attempts": 3}, "cache": {"mode": "simple"}, "unknown": 1},
        {"virtual_key": "red", "fallbacks": [], "model": None},
        {"strategy": {"mode": "single", "on_status_codes": [429], "sticky": {"enabled": False}}, "virtual_key": "red"},
    ],
)
async def test_what_a_config_says_beside_its_account_and_is_true_or_steers_nothing(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    async with serving(tmp_path) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, {"x-portkey-config": json.dumps(config)})
        assert [each["slug"] for each in route["targets"]] == ["red"]


STEERING = [
    "virtual_key",
    "provider",
    "config",
    "target",
    "headers",
    "strategy",
    "api_key",
    "model",
    "region",
    "bucket",
]


@given(st.sampled_from(STEERING), st.text("abcxyz", max_size=5), st.text("abcxyz", max_size=5), st.booleans())
def test_whatever_stands_before_or_behind_a_word(word: str, before: str, behind: str, dashes: bool) -> None:
    name = "_".join(part for part in (before, word, behind) if part)
    name = name.replace("_", "-").title() if dashes else name
    if name in ("model", "config"):
        name = f"x_{name}"
    sent = CIMultiDict(WHO)
    with pytest.raises(BadRequest) as error:
        steering.asked(headers.read(sent), sent, {name: "red"})
    assert error.value.param == name


@given(st.text(max_size=80), st.text(max_size=9))
def test_any_name_is_taken_or_refused_and_no_value_is_repeated(name: str, value: str) -> None:
    sent, said = CIMultiDict(WHO), f"v41u3{value}"
    refusal = ""
    try:
        steering.asked(headers.read(sent), sent, {name: said, "portkey_options": {name: said}})
    except BadRequest as error:
        refusal = error.message
    assert "v41u3" not in refusal


@pytest.mark.parametrize("holder", [None, "portkey_options", "provider_options"])
def test_the_names_of_a_request_are_bounded(holder: str | None) -> None:
    sent = CIMultiDict({"x-portkey-virtual-key": "red"})
    for number, refused in ((steering.MAX_FIELDS - 1, False), (steering.MAX_FIELDS + 1, True)):
        names: dict[str, Any] = {f"x-portkey-{each}": None for each in range(number)}
        body = names if holder is None else {holder: names}
        if not refused:
            assert steering.asked(headers.read(sent), sent, body)
            continue
        with pytest.raises(BadRequest, match=f"at most {steering.MAX_FIELDS} fields"):
            steering.asked(headers.read(sent), sent, body)


async def test_places_that_a_virtual_key_leaves_open_are_those_of_the_request(tmp_path: Path) -> None:
    """What it names stays its operator's, and what a request says is stored with the batch."""
    key = {"provider": "bedrock", "aws_access_key_id": "AKIA0123456789ABCDEF", "aws_secret_access_key": "s" * 40}
    keys = {"open": key, "half": {**key, "aws_s3_bucket": "ours"}}
    said = {"role_arn": OWN_ROLE, "output_data_config": "s3://mine/below/"}
    async with running(
        tmp_path, virtual_keys=keys, api_keys=[{"name": "first", "key": KEY, "workspace": "one"}]
    ) as served:
        await put_file(served.gateway.registry)
        route, _ = await create(served, {"x-portkey-virtual-key": "open"}, **said)
        assert route["places"] == {"open": {"aws_batch_role_arn": OWN_ROLE, "output_data_config": "s3://mine/below/"}}
        placed = served.gateway.config.virtual_keys["open"].credentials.placed(route["places"]["open"])
        assert isinstance(placed, BedrockCredentials)
        assert (placed.role, placed.bucket, placed.folder("m")) == (OWN_ROLE, "mine", "below/pp-m/")
        assert "s" * 40 in placed.identity(), "with the operator's key"
        error = await refused(served, {"x-portkey-virtual-key": "half"}, **said)
        assert error["param"] == "output_data_config"
        route, _ = await create(served, {"x-portkey-virtual-key": "half"}, role_arn=OWN_ROLE)
        assert route["places"] == {"half": {"aws_batch_role_arn": OWN_ROLE}}
        error = await refused(served, {"x-portkey-virtual-key": "open"}, role_arn="BedrockBatch")
        assert error["param"] == "role_arn"
        route, _ = await create(served, {"x-portkey-virtual-key": "open"})
        assert "places" not in route
