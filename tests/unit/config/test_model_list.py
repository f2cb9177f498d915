"""LiteLLM's model list as virtual keys: slugs that stay, providers that are found, and entries that cannot be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy_plugin.config import Config, parse, render_check
from proxy_plugin.providers.lanes.bedrock.accounts import BedrockCredentials
from proxy_plugin.providers.sandbox.tokens import service_account

SECRET = "sk-5up3r-s3cr3t-key"


def entry(name: str, model: str, info: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"model_name": name, "litellm_params": {"model": model, "api_key": SECRET, **params}}
    return made | ({"model_info": info} if info else {})


def configured(*entries: object, **sections: Any) -> Config:
    return parse({"model_list": list(entries), "proxy_plugin": sections}, {"KEY_A": "a", "KEY_B": "b"})


@pytest.mark.parametrize(
    ("made", "provider", "model"),
    [
        (entry("m", "openai/gpt-4o-mini"), "openai", "gpt-4o-mini"),
        (entry("m", "anthropic/claude-haiku-4-5"), "anthropic", "claude-haiku-4-5"),
        (entry("m", "gpt-4o"), "openai", "gpt-4o"),
        (entry("m", "o3-mini"), "openai", "o3-mini"),
        (entry("m", "claude-haiku-4-5"), "anthropic", "claude-haiku-4-5"),
        (entry("m", "anything", custom_llm_provider="openai"), "openai", "anything"),
        (entry("m", "openai/anything", custom_llm_provider="openai"), "openai", "anything"),
        (entry("m", "maker/model", custom_llm_provider="openai"), "openai", "maker/model"),
        (entry("openai/*", "openai/*"), "openai", "*"),
    ],
)
def test_the_provider_is_found_without_being_named_here(made: dict[str, Any], provider: str, model: str) -> None:
    config = configured(made)
    [found] = config.models
    assert (found.provider, found.model, found.closed) == (provider, model, None)
    key = config.virtual_keys[found.slug or ""]
    assert (key.provider, key.models) == (provider, (model,))
    assert config.warnings == ()


VERTEX: dict[str, Any] = {"vertex_credentials": service_account("sk-some"), "api_key": None}
PLACE = {"vertex_project": "p", "vertex_location": "europe-west4", "gcs_bucket_name": "bucket/folder"}


@pytest.mark.parametrize("credentials", [service_account("sk-some"), json.loads(service_account("sk-some"))])
def test_an_entry_of_vertex_is_an_account_with_a_bucket(credentials: object) -> None:
    params: dict[str, Any] = {**VERTEX, **PLACE, "vertex_credentials": credentials}
    config = configured(entry("m", "vertex_ai/meta/llama-3.3-70b-instruct-maas", **params))
    [key] = config.virtual_keys.values()
    told = key.credentials.model_dump()
    assert (key.provider, key.models) == ("vertex-ai", ("meta/llama-3.3-70b-instruct-maas",))
    assert [told[name] for name in ("vertex_project_id", "vertex_region")] == ["p", "europe-west4"]
    assert told["vertex_storage_bucket_name"] == "bucket/folder"
    assert "BEGIN PRIVATE KEY" in told["vertex_service_account_json"].get_secret_value()
    assert config.warnings == ()


def test_an_entry_of_vertex_may_have_its_place_in_the_environment() -> None:
    place = {"VERTEXAI_PROJECT": "p", "VERTEX_LOCATION": "us-east5", "GCS_BUCKET_NAME": "theirs"}
    made = entry("m", "vertex_ai/gemini-2.5-flash", **VERTEX)
    key = parse({"model_list": [made], "proxy_plugin": {}}, place).virtual_keys["model-m"]
    told = key.credentials.model_dump()
    assert [told[f"vertex_{name}"] for name in ("project_id", "region", "storage_bucket_name")] == [
        *("p", "us-east5", "theirs")
    ]


@pytest.mark.parametrize(
    ("made", "provider"),
    [
        (entry("m", "no-such-service/llama3"), "no-such-service"),
        (entry("m", "vertex_ai/gemini", custom_llm_provider="nobody"), "nobody"),
        (entry("m", "llama3"), None),
        (entry("*", "*"), None),
    ],
)
def test_a_provider_that_nobody_knows_stops_nothing(made: dict[str, Any], provider: str | None) -> None:
    config = configured(made)
    [found] = config.models
    assert (found.closed, found.slug, found.provider) == ("no_batch_lane", None, provider)
    assert (dict(config.virtual_keys), config.warnings) == ({}, ())


def test_a_provider_that_only_litellm_knows_is_an_account_of_ordinary_calls() -> None:
    made = entry("local", "vllm/llama3", api_base="http://127.0.0.1:8000/v1")
    del made["litellm_params"]["api_key"]
    config = configured(made)
    [found], [key] = config.models, config.virtual_keys.values()
    assert (found.closed, found.slug, found.provider, found.model) == (None, "model-local", "hosted_vllm", "llama3")
    assert key.credentials.custom_host == "http://127.0.0.1:8000/v1"
    assert "hosted_vllm at http://127.0.0.1:8000/v1, direct at full price" in render_check(config)


def test_an_account_of_litellms_lacks_what_it_needs() -> None:
    made = entry("chat", "deepseek/deepseek-chat")
    del made["litellm_params"]["api_key"]
    [(slug, why)] = configured(made).disabled.items()
    assert (slug, why) == (
        "model-chat",
        "api_key missing or unusable; set DEEPSEEK_API_KEY, or write api_key: os.environ/NAME",
    )


def test_credentials_come_from_the_entry() -> None:
    made = entry("m", "openai/x", api_base="https://h.example/v1", openai_project="p", temperature=0.2, rpm=5)
    credentials = configured(made).virtual_keys["model-m"].credentials
    assert credentials.custom_host == "https://h.example/v1"
    assert credentials.model_dump()["openai_project"] == "p"
    assert SECRET not in repr(configured(made))
    assert SECRET not in render_check(configured(made))


def test_an_entry_for_bedrock_is_an_account_with_bucket_and_role() -> None:
    made = {
        "model_name": "claude",
        "litellm_params": {
            "model": "bedrock/converse/us.anthropic.claude-sonnet-4-6",
            "aws_access_key_id": "AKIA0123456789ABCDEF",
            "aws_secret_access_key": "os.environ/KEY_A",
            "aws_region_name": "eu-west-1",
            "s3_bucket_name": "mine/below/here",
            "s3_region_name": "eu-central-1",
            "s3_encryption_key_id": "arn:aws:kms:eu-west-1:111122223333:key/k",
            "s3_bucket_owner": "111122223333",
            "aws_bedrock_control_plane_endpoint": "http://127.0.0.1:9",
        },
    }
    environ = {"KEY_A": "a", "AWS_BATCH_ROLE_ARN": "arn:aws:iam::111122223333:role/Batch", "AWS_REGION": "us-west-2"}
    config = parse({"model_list": [made], "proxy_plugin": {}}, environ)
    [found] = config.models
    assert (found.provider, found.model) == ("bedrock", "converse/us.anthropic.claude-sonnet-4-6")
    credentials = config.virtual_keys[found.slug or ""].credentials
    assert isinstance(credentials, BedrockCredentials)
    assert (credentials.aws_region, credentials.aws_s3_region) == ("eu-west-1", "eu-central-1")
    assert (credentials.bucket, credentials.folder("m" * 10)) == ("mine", "below/here/pp-mmmmmmmmmm/")
    assert credentials.role == "arn:aws:iam::111122223333:role/Batch"
    assert (credentials.base_url(), credentials.aws_s3_bucket_owner) == ("http://127.0.0.1:9", "111122223333")


def test_a_virtual_key_has_its_gaps_filled_from_the_environment_too() -> None:
    told = {"provider": "bedrock", "aws_access_key_id": "AKIA1", "aws_secret_access_key": SECRET, "aws_region": ""}
    environ = {"AWS_S3_BUCKET_NAME": "theirs", "AWS_REGION_NAME": " eu-west-1\n", "AWS_REGION": "us-west-2"}
    keys = {"open": told, "own": {**told, "aws_s3_bucket": "mine", "aws_region": "ap-south-1"}}
    found = parse({"proxy_plugin": {"virtual_keys": keys}}, environ).virtual_keys
    shown = [each.credentials.model_dump() for each in found.values()]
    assert [(each["aws_s3_bucket"], each["aws_region"]) for each in shown] == [
        ("theirs", "eu-west-1"),
        ("mine", "ap-south-1"),
    ]


@pytest.mark.parametrize(
    ("model", "api_base", "host"),
    [
        *(
            ("anthropic/claude-haiku-4-5", written, "https://api.anthropic.com/v1")
            for written in (
                "https://api.anthropic.com",
                "https://api.anthropic.com/",
                "https://api.anthropic.com/v1",
                "https://api.anthropic.com/v1/",
                "https://api.anthropic.com/v1/messages",
                "https://api.anthropic.com/v1/messages/",
                "https://api.anthropic.com/messages",
                "https://api.anthropic.com/v1/messages/batches",
                "https://api.anthropic.com/v1/v1/messages",
            )
        ),
        ("anthropic/claude-haiku-4-5", "https://proxy.example/anthropic", "https://proxy.example/anthropic/v1"),
        ("anthropic/claude-haiku-4-5", "http://127.0.0.1:9/anthropic/v1/messages", "http://127.0.0.1:9/anthropic/v1"),
        ("claude-haiku-4-5", "https://messages.example", "https://messages.example/v1"),
        ("openai/gpt-4o", "https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("openai/gpt-4o", "https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("openai/gpt-4o", "https://h.example/v1/chat/completions", "https://h.example/v1"),
        ("openai/text-embedding-3-small", "https://h.example/v1/embeddings", "https://h.example/v1"),
        ("openai/gpt-4o", "https://h.example/openai", "https://h.example/openai"),
        *(
            ("azure/mine", f"https://mine.openai.azure.com{written}", "https://mine.openai.azure.com")
            for written in (
                "",
                "/",
                "/openai/v1/",
                "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
            )
        ),
        ("azure/mine", "https://openai.example/apim/openai/v1", "https://openai.example/apim"),
        ("openai/gpt-4o", "os.environ/BASE", "https://from.example/v1"),
        ("mistral/m", "https://h.example", "https://h.example/v1"),
        ("mistral/m", "https://h.example/v1/chat/completions", "https://h.example/v1"),
        ("groq/m", "https://h.example/openai/v1/chat/completions", "https://h.example/openai/v1"),
        ("xai/m", "https://h.example/v1/chat/completions", "https://h.example/v1"),
        ("together_ai/m", "https://h.example/v1/chat/completions", "https://h.example/v1"),
        ("cohere/m", "https://h.example/v2/chat", "https://h.example"),
        ("perplexity/m", "https://h.example/chat/completions", "https://h.example/v1"),
        ("voyage/voyage-3.5", "https://h.example/v1/embeddings", "https://h.example/v1"),
    ],
)
def test_the_base_of_an_entry_is_read_by_litellms_rule_for_its_provider(model: str, api_base: str, host: str) -> None:
    environ = {"BASE": "https://from.example/v1/chat/completions"}
    config = parse({"model_list": [entry("m", model, api_base=api_base)], "proxy_plugin": {}}, environ)
    assert config.virtual_keys["model-m"].credentials.custom_host == host


def test_litellms_names_for_azure_are_read() -> None:
    """`api_version`, `tenant_id`, `client_id` and `client_secret` of an `azure/` entry (litellm 1.106.2)."""
    host = {"api_base": "https://mine.openai.azure.com", "api_version": "2024-10-21"}
    client: dict[str, Any] = {"tenant_id": "t", "client_id": "c", "client_secret": "s3cr3t-of-nobody", "api_key": None}
    found = configured(entry("m", "azure/deployed", **{**host, **client})).virtual_keys["model-m"]
    told = found.credentials.model_dump()
    assert (found.provider, found.models) == ("azure-openai", ("deployed",))
    names = ("azure_api_version", "azure_entra_tenant_id", "azure_entra_client_id")
    assert [told[name] for name in names] == ["2024-10-21", "t", "c"]


def test_litellms_other_names_of_base_and_organization_count_too() -> None:
    made = entry(
        "m", "openai/x", api_base="https://a.example/v1", base_url="https://b.example/v1", organization="org-1"
    )
    credentials = configured(made).virtual_keys["model-m"].credentials
    assert credentials.custom_host == "https://b.example/v1"
    assert credentials.model_dump()["openai_organization"] == "org-1"
    claude = entry("m", "anthropic/claude-x", base_url="https://a.example/v1/messages", organization="org-1")
    assert configured(claude).virtual_keys["model-m"].credentials.custom_host == "https://a.example/v1"


def test_a_custom_host_of_an_entry_is_stronger_and_taken_as_it_is() -> None:
    made = entry("m", "anthropic/claude-x", api_base="https://a.example", custom_host="https://b.example/x")
    assert configured(made).virtual_keys["model-m"].credentials.custom_host == "https://b.example/x"


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"api_base": 5}, "custom_host unusable as written"),
        ({"api_base": "os.environ/NOT_THERE"}, "environment variable NOT_THERE is not set"),
        ({"api_key": None}, "api_key missing or unusable"),
        ({"api_key": "os.environ/NOT_THERE"}, "environment variable NOT_THERE is not set"),
        ({"api_base": f"https://u:{SECRET}@h"}, "custom_host unusable as written"),
        ({"openai_project": 5}, "openai_project unusable as written"),
        ({"organization": ["org-1", "org-2"]}, "openai_organization unusable as written"),
    ],
)
def test_an_entry_that_cannot_be_used_is_a_warning(params: dict[str, Any], why: str) -> None:
    config = configured(entry("m", "openai/x", **params))
    [found] = config.models
    assert (found.closed, found.slug) == ("virtual_key_disabled", "model-m")
    assert why in config.disabled["model-m"]
    [warning] = config.warnings
    assert warning.startswith("model_list.0.litellm_params: ")
    assert why in warning
    assert SECRET not in warning


@pytest.mark.parametrize("odd", [5, None, {}, {"model_name": "m"}, {"model_name": "m", "litellm_params": {"model": 5}}])
def test_an_entry_of_another_shape_is_passed_over(odd: object) -> None:
    config = configured(odd, entry("m", "openai/x"))
    assert [each.name for each in config.models] == ["m"]
    assert config.warnings[0].startswith("model_list.0: ")


def test_slugs_are_made_of_names() -> None:
    names = ["gpt-4o", "openai/*", "*", "a b/ü", "x" * 200]
    slugs = [each.slug for each in configured(*(entry(name, "openai/x") for name in names)).models]
    assert slugs == ["model-gpt-4o", "model-openai-any", "model-any", "model-a-b", f"model-{'x' * 48}"]


def test_slugs_of_twins_do_not_depend_on_their_places() -> None:
    first = entry("m", "openai/a", api_key="os.environ/KEY_A")
    twins = [entry("m", f"openai/{name}", api_key="os.environ/KEY_B") for name in ("b", "c", "d")]
    before = {each.model: each.slug for each in configured(first, *twins).models}
    after = {each.model: each.slug for each in configured(first, *reversed(twins[1:])).models}
    assert before["a"] == "model-m"
    assert len(set(before.values())) == 4
    assert after == {model: before[model] for model in ("a", "c", "d")}


def test_twins_that_only_their_keys_tell_apart_are_counted_and_no_key_is_in_a_slug() -> None:
    one = configured(*(entry("m", "openai/a", api_key=f"sk-{n}") for n in range(3)))
    two = configured(*(entry("m", "openai/a", api_key=f"sk-other-{n}") for n in range(3)))
    slugs = [each.slug for each in one.models]
    assert slugs == [each.slug for each in two.models]
    assert len(set(slugs)) == 3
    with_ids = [entry("m", "openai/a", info={"id": str(n)}) for n in range(3)]
    assert len({each.slug for each in configured(*with_ids).models}) == 3


def test_a_configured_virtual_key_keeps_its_name() -> None:
    config = configured(entry("m", "openai/a"), virtual_keys={"model-m": {"provider": "openai", "api_key": "sk-x"}})
    assert config.virtual_keys["model-m"].models is None
    [found] = config.models
    assert (found.slug or "").startswith("model-m-")


@pytest.mark.parametrize(
    ("params", "weights"),
    [
        ([{}, {}], [1, 1]),
        ([{"weight": 3}, {}], [3, 0]),
        ([{"rpm": 900}, {"rpm": 100}], [900, 100]),
        ([{"rpm": 900}, {"weight": 2}], [0, 2]),
        ([{"tpm": 9}, {"tpm": 3}], [9, 3]),
        ([{"weight": 0}, {"weight": 0}], [1, 1]),
        ([{"weight": 0}, {"weight": True}], [0, 1]),
        ([{"order": 2, "weight": 9}, {"order": 1, "rpm": 7}], [0, 7]),
    ],
)
def test_weights_of_one_name(params: list[dict[str, Any]], weights: list[float]) -> None:
    made = [entry("m", f"openai/{n}", **each) for n, each in enumerate(params)]
    assert [each.weight for each in configured(*made, entry("other", "openai/x", weight=9)).models[:-1]] == weights


def test_an_entry_that_cannot_be_used_takes_no_lines_from_the_others() -> None:
    made = [
        entry("m", "openai/a", weight=5, api_key=None),
        entry("m", "openai/b"),
        entry("m", "no-such-service/c", weight=2),
    ]
    assert [each.weight for each in configured(*made).models] == [0, 1, 0]


def test_check_shows_what_lines_may_name() -> None:
    config = configured(
        entry("m", "openai/a", weight=2), entry("l", "no-such-service/x"), entry("n", "openai/a", api_key=None)
    )
    shown = render_check(config).splitlines()
    assert "  m  a at @model-m; weight 2" in shown
    assert "  l  cannot be served: no-such-service" in shown
    assert "  n  a at @model-n; disabled" in shown
    assert "  model-m  enabled: openai at https://api.openai.com/v1; models a" in shown


def test_an_entry_of_an_unknown_provider_is_told_which_was_meant() -> None:
    [told] = configured(entry("l", "opnai/x"), entry("k", "no-such-service/x")).warnings
    assert "model_list.0: unknown provider 'opnai'. Did you mean 'openai'?" in told
    assert "served as 'openai-compatible'" in told


def test_check_shows_where_a_saved_config_leads() -> None:
    keys = {name: {"provider": "openai", "api_key": SECRET} for name in ("a", "b", "c")}
    condition = {"query": {"metadata.team": "x", "params.n": 1}, "then": "x"}
    configs = {
        "pc-a": {"virtual_key": "a", "override_params": {"model": "m"}},
        "pc-b": {
            "strategy": {"mode": "loadbalance"},
            "targets": [
                {"virtual_key": "a", "weight": 3},
                {
                    "strategy": {"mode": "conditional", "conditions": [condition], "default": "y"},
                    "targets": [{"virtual_key": "b", "name": "x"}, {"virtual_key": "c", "name": "y"}],
                },
            ],
        },
        "pc-c": {"retry": {}},
    }
    shown = render_check(configured(virtual_keys=keys, configs=configs)).splitlines()
    assert "  pc-a  @a as m" in shown
    assert "  pc-b  75% @a, 25% (if metadata.team and params.n: @b, else @c)" in shown
    assert "  pc-c  the account that headers or lines name" in shown


@pytest.mark.parametrize(
    ("settings", "params", "gateway", "key"),
    [
        ({"drop_params": True}, {}, True, None),
        ({"drop_params": False}, {}, False, None),
        ({"drop_params": "true"}, {}, False, None),
        ({}, {"drop_params": True}, False, True),
        ({"drop_params": True}, {"drop_params": False}, True, False),
        (None, {"drop_params": "yes"}, False, None),
        ([], {}, False, None),
    ],
)
def test_litellms_own_switch_for_parameters(settings: object, params: Any, gateway: bool, key: bool | None) -> None:
    made = entry("m", "openai/gpt-4o", **params)
    config = parse({"model_list": [made], "litellm_settings": settings, "proxy_plugin": {}}, {})
    assert config.drop_params is gateway
    assert [each.drop_params for each in config.virtual_keys.values()] == [key]
    assert config.warnings == ()
