"""LiteLLM's own file, read as LiteLLM reads it: keys of the environment, includes, credentials, aliases, wildcards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr

from proxy_plugin.access.callers import Callers, require_loopback
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


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        *(("anthropic.claude-3-haiku-20240307-v1:0", "bedrock"), ("us.amazon.nova-lite-v1:0", "bedrock")),
        *(("gemini-2.5-flash", "vertex-ai"), ("text-embedding-005", "vertex-ai"), ("text-embedding-3-small", "openai")),
        *(("command-r-08-2024", "cohere"), ("embed-english-v3.0", "cohere"), ("jamba-large-1.7", "ai21_chat")),
        *(("whisper-1", "openai"), ("dall-e-3", "openai"), ("davinci-002", "openai"), ("o3-mini", "openai")),
        *(("claude-sonnet-4-5", "anthropic"), ("text-completion-openai/gpt-3.5-turbo-instruct", "openai")),
        *(("vertex_ai_beta/gemini-2.5-flash", "vertex-ai"), ("deepseek-chat", None)),
    ],
)
def test_a_model_is_whose_litellm_takes_it_to_be(model: str, provider: str | None) -> None:
    [found] = parse({"model_list": [entry("m", model)]}, {}).models
    assert found.provider == provider


@pytest.mark.parametrize(
    ("model", "environ", "remedy"),
    [
        ("fireworks_ai/accounts/a/models/b", {"FIREWORKS_API_KEY": "k"}, "set FIREWORKS_ACCOUNT_ID, or write fire"),
        ("vertex_ai/gemini-2.5-flash", {"VERTEXAI_PROJECT": "p"}, "set GCS_BUCKET_NAME, or write gcs_bucket_name: "),
        ("azure/gpt-4o", {"AZURE_API_KEY": "k"}, "set AZURE_API_BASE, or write api_base: os.environ/NAME"),
        ("azure/gpt-4o", {}, "set AZURE_OPENAI_API_KEY or AZURE_API_KEY, and AZURE_API_BASE, or write api_key: "),
    ],
)
def test_what_an_account_lacks_is_told_in_litellms_words(model: str, environ: dict[str, str], remedy: str) -> None:
    assert remedy in parse({"model_list": [entry("m", model)]}, environ).disabled["model-m"]


def test_what_is_said_and_cannot_be_used_is_told_from_what_is_not_said() -> None:
    made = entry("m", "bedrock/anthropic.claude-v2", aws_role_name="no-arn", s3_bucket_name="B!", aws_region_name="r")
    why = parse({"model_list": [made]}, {}).disabled["model-m"]
    assert why.endswith("unusable as written")
    assert "missing" not in why


def test_a_key_goes_before_other_proofs_of_an_entry() -> None:
    more = {"tenant_id": "t", "client_id": "c", "client_secret": "s", "azure_ad_token": "a"}
    made = entry("m", "azure/gpt-4o", api_base="https://mine.openai.azure.com", **more)
    both = entry("n", "azure/gpt-4o", api_base="https://mine.openai.azure.com", api_key="k", **more)
    config = parse({"model_list": [made, both]}, {})
    assert config.disabled == {}
    assert (told(config, "model-m")["azure_ad_token"], told(config, "model-m")["azure_entra_client_secret"]) == (
        "a",
        None,
    )
    assert (told(config, "model-n")["api_key"], told(config, "model-n")["azure_ad_token"]) == ("k", None)


def test_a_key_that_everybody_knows_is_a_warning() -> None:
    said = {"model_list": [entry("m", "openai/gpt-4o")], "general_settings": {"master_key": "sk-1234"}}
    no_section, *_, known = sorted(parse(said, {}).warnings, reverse=True)
    assert no_section == "proxy_plugin: there is no such section, so its defaults hold"
    assert known.startswith("general_settings.master_key: everybody knows this key, so LiteLLM does not start with it;")


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


def test_keys_of_litellms_are_told_and_checked() -> None:
    said = {
        "auth": "litellm",
        "server": {"upstream": "http://127.0.0.1:4000"},
        "api_keys": [{"name": "mine", "key": "k", "workspace": "team", "upstream_key": "sk-behind"}],
        "virtual_keys": {"lane": {"provider": "openai", "api_key": "sk-x"}},
        "litellm_keys": {
            "teams": {"red": {"workspace": "reds", "virtual_keys": ["red-*"]}},
            "default": {"default": "lane"},
        },
    }
    config = parse({"general_settings": {"master_key": MASTER}, "proxy_plugin": said}, {})
    shown = render_check(config).splitlines()
    at = shown.index("callers")
    assert shown[at + 1 : at + 6] == [
        "  mine  workspace team; virtual keys *; the upstream gets its upstream_key",
        "  general_settings.master_key  workspace default; virtual keys *; passed on to the upstream",
        "  keys of LiteLLM  asked of http://127.0.0.1:4000, kept 30 s, passed on to the upstream",
        "    teams.red  workspace reds; virtual keys red-*",
        "    default  workspace of its own; virtual keys *; default lane",
    ]
    assert config.warnings == ("proxy_plugin.litellm_keys.teams.red: red-* matches no virtual key",)
    assert "sk-behind" not in f"{config}{shown}"
    assert (config.shared, config.label("reds"), config.label("team-x")) == (True, "reds", "(other)")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"auth": "litellms"}, "proxy_plugin.auth: must be keys or litellm"),
        (
            {"litellm_keys": {"keys": {"a": {"default": "nobody"}}}},
            "proxy_plugin.litellm_keys.keys.a: default: unknown virtual key or config",
        ),
        (
            {"litellm_keys": {"default": {"default": "lane", "virtual_keys": ["x*"]}}},
            "proxy_plugin.litellm_keys.default: default: virtual_keys of this entry does not allow lane",
        ),
        (
            {"api_keys": [{"name": "a", "key": "k", "forward": True, "upstream_key": "sk-secret"}]},
            "proxy_plugin.api_keys.0: set either forward or upstream_key",
        ),
        ({"litellm_keys": {"team": {}}}, "proxy_plugin.litellm_keys.team: unknown setting; did you mean teams?"),
    ],
)
def test_what_is_wrong_with_keys_of_litellms(said: dict[str, Any], problem: str) -> None:
    keys = {"lane": {"provider": "openai", "api_key": "sk-x"}}
    with pytest.raises(ConfigError) as caught:
        parse({"proxy_plugin": {"virtual_keys": keys} | said}, {})
    assert str(caught.value) == problem


@pytest.mark.parametrize(("keys", "known"), [([], "nobody is"), ([{"name": "a", "key": "k"}], "only keys that stand")])
def test_without_an_upstream_nobody_is_asked(keys: list[dict[str, str]], known: str) -> None:
    [warning] = parse({"proxy_plugin": {"auth": "litellm", "api_keys": keys}}, {}).warnings
    said = "proxy_plugin.auth: LiteLLM's keys are asked of server.upstream, which is not set, so "
    assert warning.startswith(said + known)


def test_inside_litellm_it_says_itself_who_calls() -> None:
    plugin = {"litellm_settings": {"callbacks": ["proxy_plugin.litellm_callback.plugin"]}}
    config = parse({"general_settings": {"master_key": MASTER}, **plugin, "proxy_plugin": {"auth": "litellm"}}, {})
    assert config.warnings == ()
    assert "keys of LiteLLM  checked by LiteLLM itself" in render_check(config)


def test_a_missing_master_key_stops_nothing_where_litellm_is_asked() -> None:
    said = {"general_settings": {"master_key": "os.environ/NOT_THERE"}}
    config = parse({**said, "proxy_plugin": {"auth": "litellm", "server": {"upstream": "http://127.0.0.1:4000"}}}, {})
    assert config.api_keys == ()
    require_loopback(config, "0.0.0.0")


def test_work_without_a_place_goes_where_litellm_would_take_it() -> None:
    said = {"model_list": [entry("m", "ollama/x")], "general_settings": {"master_key": MASTER}}
    assert parse(said, {}).api_keys[0].default is None
    found = parse(said, {"OPENAI_API_KEY": "sk-e"})
    assert found.api_keys[0].default == "env-openai"
    assert "  env-openai  enabled: openai at https://api.openai.com/v1\n" in render_check(found)
    said["files_settings"] = [{"custom_llm_provider": "openai", "api_key": "sk-f"}]
    assert parse(said, {"OPENAI_API_KEY": "sk-e"}).api_keys[0].default == "files-openai"


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
