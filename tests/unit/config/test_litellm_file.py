"""LiteLLM's own file, read as LiteLLM reads it: keys of the environment, includes, credentials, aliases, wildcards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr

from proxy_plugin.access.callers import Callers
from proxy_plugin.config import Config, load, parse, render_check
from proxy_plugin.config.check import check_facts, runnable
from proxy_plugin.ground.errors import ConfigError, Unauthenticated
from proxy_plugin.providers import catalog

FIXTURES = Path(__file__).parent / "litellm"
MASTER = "sk-master-of-the-proxy"
KEYS = {
    name: f"sk-value-of-{name.lower().replace('_', '-')}"
    for name in (
        *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY"),
        *("TOGETHERAI_API_KEY", "XAI_API_KEY"),
    )
}
TEAM = {f"TEAM_{name}": f"sk-team-{name.lower()}" for name in ("ANTHROPIC_KEY", "AWS_SECRET", "AZURE_KEY", "KEY")}


def entry(name: str, model: str, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, **params}}


def told(config: Config, slug: str) -> dict[str, Any]:
    found = config.virtual_keys[slug].credentials
    return {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in found}


def open_names(config: Config) -> set[str]:
    return {each.name for each in config.models if not each.closed}


def test_every_model_with_a_lane_is_enabled_by_keys_of_the_environment() -> None:
    environ = KEYS | {"LITELLM_MASTER_KEY": MASTER, "AZURE_API_BASE": "https://mine.openai.azure.com/"}
    config = load(FIXTURES / "keys_of_the_environment.yaml", environ)
    assert {each.name for each in config.models if each.closed} == {"deepseek"}
    assert told(config, "model-claude-haiku")["api_key"] == KEYS["ANTHROPIC_API_KEY"]
    assert told(config, "model-azure-gpt-4o")["custom_host"] == "https://mine.openai.azure.com"
    shown = render_check(config)
    assert "  12 of 13 models can run batches, because deepseek lacks something (api_key missing or unusable" in shown
    assert "set DEEPSEEK_API_KEY" in shown
    assert "  litellm_settings: num_retries, request_timeout, callbacks" in shown
    assert "  model_list.*.litellm_params: max_tokens, temperature" in shown
    assert "  general_settings: database_url" in shown
    assert not [value for value in (*KEYS.values(), MASTER) if value in shown or value in repr(config)]
    assert check_facts(config)["models"]["can_run_batches"] == 12


def test_without_the_keys_check_says_what_to_set() -> None:
    config = load(FIXTURES / "keys_of_the_environment.yaml", {"LITELLM_MASTER_KEY": MASTER, **KEYS, "XAI_API_KEY": " "})
    assert config.disabled["model-grok"] == (
        "api_key missing or unusable; set XAI_API_KEY, or write api_key: os.environ/NAME"
    )
    assert open_names(config) >= {"gpt-4o", "claude-sonnet", "gemini-flash"}
    assert "x-ai lacks something (api_key missing or unusable; set XAI_API_KEY" in render_check(config)


def test_every_model_with_a_lane_is_enabled_by_includes_and_environment_variables() -> None:
    before = dict(os.environ)
    config = load(FIXTURES / "included.yaml", TEAM)
    assert dict(os.environ) == before
    assert [each.name for each in config.models if not each.closed] == ["gpt-4o", "azure-4o", "nova", "claude"]
    assert config.warnings == ()
    assert config.drop_params
    openai = told(config, "model-gpt-4o")
    assert (openai["api_key"], openai["openai_organization"]) == ("sk-of-the-file-0123456789", "org-of-the-file")
    assert told(config, "model-claude")["api_key"] == TEAM["TEAM_ANTHROPIC_KEY"]
    azure = told(config, "model-azure-4o")
    assert (azure["api_key"], azure["azure_api_version"]) == (TEAM["TEAM_AZURE_KEY"], "2024-10-21")
    assert told(config, "model-nova")["aws_secret_access_key"] == TEAM["TEAM_AWS_SECRET"]
    assert told(config, "files-azure-openai")["custom_host"] == "https://mine.openai.azure.com"
    assert told(config, "files-openai")["api_key"] == "sk-of-the-file-0123456789"
    assert {each.relative_to(FIXTURES).as_posix() for each in config.files} == {
        *("included.yaml", "parts/models.yaml", "parts/settings.yaml", "parts/more/claude.yaml")
    }
    assert config.unread == ("litellm_settings: set_verbose", "general_settings: alerting")


def test_every_model_with_a_lane_is_enabled_by_wildcards_and_aliases() -> None:
    environ = KEYS | {"TEAM_OPENAI_KEY": "sk-team-openai", "OPENAI_API_BASE": "https://ignored.example/v1"}
    config = load(FIXTURES / "wildcards.yaml", environ)
    assert config.warnings == ()
    assert "azure/*" not in open_names(config)  # a key without a resource is no account
    found = {each.name: each for each in config.models}
    assert told(config, found["openai/*"].slug or "")["api_key"] == "sk-team-openai"
    assert (found["gpt-4"].model, found["gpt-4"].slug) == ("gpt-4o", found["openai/*"].slug)
    assert found["cheap"].hidden
    assert [each.weight for each in config.models if each.name == "cheap"] == [3, 1]
    assert told(config, "model-fast-" + config.models[3].slug.rpartition("-")[2])["custom_host"] == (  # type: ignore[union-attr]
        "https://gateway.example/v1"
    )
    assert {"gemini/*", "mistral/*", "gpt-*", "o3", "claude-*", "grok-*"} <= open_names(config)
    assert told(config, found["gemini/*"].slug or "")["api_key"] == KEYS["GEMINI_API_KEY"]
    assert runnable(config)[:2] == (5, 5)
    assert "router_settings: routing_strategy, fallbacks" in config.unread


def test_a_lone_star_without_any_key_says_why() -> None:
    config = load(FIXTURES / "wildcards.yaml", {"TEAM_OPENAI_KEY": "sk-x"})
    assert "the environment has no key of a provider with a batch lane" in render_check(config)


@pytest.mark.parametrize("provider", sorted(catalog.ENVIRONMENT))
def test_variables_fill_fields_that_the_lane_has(provider: str) -> None:
    adapter = catalog.load(provider)
    environment = catalog.environment(provider)
    fields = {name for each in (*environment.proofs, environment.others) for name in each}
    assert fields
    assert fields <= set(adapter.credentials.model_fields)


def test_what_an_entry_says_is_stronger_than_the_environment() -> None:
    environ = {"OPENAI_API_KEY": "sk-theirs", "OPENAI_BASE_URL": "https://theirs.example/v1/chat/completions"}
    own = entry("own", "openai/x", api_key="sk-mine", api_base="https://mine.example/v1")
    config = parse({"model_list": [own, entry("none", "openai/x")]}, environ)
    assert (told(config, "model-own")["api_key"], told(config, "model-own")["custom_host"]) == (
        *("sk-mine", "https://mine.example/v1"),
    )
    assert (told(config, "model-none")["api_key"], told(config, "model-none")["custom_host"]) == (
        *("sk-theirs", "https://theirs.example/v1"),
    )


def test_another_proof_of_an_entry_is_not_mixed_with_a_key_of_the_environment() -> None:
    host = {"api_base": "https://mine.openai.azure.com"}
    client = {"tenant_id": "t", "client_id": "c", "client_secret": "s3cr3t-of-nobody"}
    config = parse({"model_list": [entry("m", "azure/d", **host, **client)]}, {"AZURE_API_KEY": "sk-theirs"})
    assert told(config, "model-m")["api_key"] is None
    found = parse(
        {"model_list": [entry("m", "azure/d", **host)]},
        {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s3cr3t-of-nobody"},
    )
    assert told(found, "model-m")["azure_entra_client_secret"] == "s3cr3t-of-nobody"


def test_a_virtual_key_of_ours_takes_nothing_from_the_environment_that_it_does_not_name() -> None:
    with pytest.raises(ConfigError, match=r"virtual_keys\.a\.api_key: missing setting"):
        parse({"proxy_plugin": {"virtual_keys": {"a": {"provider": "openai"}}}}, KEYS)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("${OPENAI_KEY}", "OPENAI_KEY"),
        ("${OPENAI_KEY:-none}", "OPENAI_KEY"),
        ("$OPENAI_KEY", "OPENAI_KEY"),
        ("os.environ.OPENAI_KEY", "OPENAI_KEY"),
        ("os.environ['OPENAI_KEY']", "OPENAI_KEY"),
        ("os.environ.get('OPENAI_KEY')", "OPENAI_KEY"),
    ],
)
def test_a_key_that_means_a_variable_is_an_error_that_says_what_to_write(written: str, name: str) -> None:
    ours = {"proxy_plugin": {"virtual_keys": {"a": {"provider": "openai", "api_key": written}}}}
    theirs = {"model_list": [entry("m", "openai/x", api_key=written)], "proxy_plugin": {}}
    for mapping, path in (
        (ours, "proxy_plugin.virtual_keys.a.api_key"),
        (theirs, "model_list.0.litellm_params.api_key"),
        ({"general_settings": {"master_key": written}}, "general_settings.master_key"),
        ({"environment_variables": {"XAI_API_KEY": written}}, "environment_variables.XAI_API_KEY"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse(mapping, {})
        assert f"{path}: is taken as it stands here, by LiteLLM too; for a variable write os.environ/{name}" in str(
            caught.value
        )


def test_a_key_with_a_dollar_sign_in_it_is_a_key() -> None:
    config = parse({"model_list": [entry("m", "openai/x", api_key="$3cret-of-Nobody")]}, {})
    assert told(config, "model-m")["api_key"] == "$3cret-of-Nobody"


@pytest.mark.parametrize("name", ["virtual_keys", "api_keys", "configs", "server", "limits"])
def test_a_name_of_our_section_at_the_top_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: belongs below proxy_plugin, as proxy_plugin\.{name}$"):
        parse({"proxy_plugin": {}, name: {}}, {})


def test_where_the_proxy_is_closed_the_batch_api_is_not_open() -> None:
    config = parse({"general_settings": {"master_key": MASTER}, "proxy_plugin": {}}, {})
    callers = Callers(config)
    with pytest.raises(Unauthenticated):
        callers.authenticate(CIMultiDict(), "127.0.0.1")
    assert "  general_settings.master_key  workspace default; virtual keys *" in render_check(config).splitlines()
    assert MASTER not in render_check(config)
    assert MASTER not in repr(config)


def test_the_master_key_stands_in_litellms_variable_where_the_file_has_none() -> None:
    environ = {"LITELLM_MASTER_KEY": MASTER}
    [key] = parse({"model_list": [entry("m", "ollama/x")], "proxy_plugin": {}}, environ).api_keys
    assert (key.name, key.forward, key.workspace) == ("general_settings.master_key", True, "default")
    assert parse({"proxy_plugin": {}}, environ).api_keys == ()


def test_a_master_key_that_cannot_be_had_opens_nothing() -> None:
    settings = {"general_settings": {"master_key": "os.environ/NOT_THERE"}}
    with pytest.raises(ConfigError, match=r"^general_settings\.master_key: environment variable NOT_THERE is not set"):
        parse({**settings, "proxy_plugin": {}}, {})
    mine = {"api_keys": [{"name": "mine", "key": "k", "workspace": "team"}]}
    config = parse({**settings, "proxy_plugin": mine}, {})
    assert [key.name for key in config.api_keys] == ["mine"]
    assert config.warnings == (
        "general_settings.master_key: environment variable NOT_THERE is not set, so it opens nothing here",
    )


def test_a_key_of_ours_that_is_the_master_key_is_passed_on() -> None:
    mine = {"api_keys": [{"name": "mine", "key": MASTER, "workspace": "team"}, {"name": "other", "key": "k"}]}
    config = parse({"general_settings": {"master_key": MASTER}, "proxy_plugin": mine}, {})
    assert {key.name: key.forward for key in config.api_keys} == {"mine": True, "other": False}


def test_an_alias_or_a_credential_that_leads_nowhere_is_a_warning() -> None:
    made = {
        "model_list": [entry("m", "openai/x", litellm_credential_name="nobody", api_key="sk-x")],
        "router_settings": {"model_group_alias": {"other": "nothing", "odd": 5}},
        "files_settings": [{"custom_llm_provider": "no-such-service"}, 5],
        "proxy_plugin": {},
    }
    assert parse(made, {}).warnings == (
        "model_list.0: litellm_credential_name names nothing in credential_list",
        "files_settings.0: has no custom_llm_provider with a batch lane and is passed over",
        "files_settings.1: has no custom_llm_provider with a batch lane and is passed over",
        "router_settings.model_group_alias: other stands for no name in model_list",
    )


def test_an_entry_may_be_retired() -> None:
    made = entry("old", "openai/a", api_key="sk-x") | {"model_info": {"retired": True}}
    config = parse({"model_list": [made]}, {})
    assert (config.models[0].closed, config.virtual_keys["model-old"].retired) == ("virtual_key_retired", True)
    assert "  0 of 1 models can run batches, because old is retired" in render_check(config)


def test_an_alias_hides_entries_of_its_own_name() -> None:
    made = {
        "model_list": [entry("a", "openai/a", api_key="sk-x"), entry("b", "openai/b", api_key="sk-x")],
        "router_settings": {"model_group_alias": {"a": "b"}},
    }
    assert [(each.name, each.model) for each in parse(made, {}).models] == [("b", "b"), ("a", "b")]


def test_a_file_that_is_not_there_is_named_where_it_is_included(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("include: [gone.yaml]\n")
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file"):
        load(path, {})
    path.write_text("include: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: include: must be a list of file names"):
        load(path, {})
