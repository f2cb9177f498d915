"""The configuration: every problem named by its path, no value shown, missing variables never open anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from proxy_plugin.config import Config, Server, connections, load, parse, render_check
from proxy_plugin.config.litellm_file import PLUGIN
from proxy_plugin.config.yaml_document import read_yaml
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.providers.matrix import described
from tests.toy import installed

REPOSITORY = Path(__file__).parents[3]
SECRET = "sk-acme-5up3r-s3cr3t"
ADAPTER = """
from pydantic import SecretStr, field_validator
from proxy_plugin.providers.base import Capabilities, Credentials, InputMode


class AcmeCredentials(Credentials):
    api_key: SecretStr
    acme_region: str | None = None
    acme_endpoint_url: str | None = None

    @field_validator("acme_region")
    @classmethod
    def _known(cls, value):
        if value == "moon":
            return value
        raise ValueError(f"{value} is no region")


class Acme:
    credentials = AcmeCredentials
    capabilities = Capabilities(
        provider="acme-ai", title="Acme", endpoints=frozenset({"/v1/chat/completions"}),
        input_mode=InputMode.FILE, default_host="https://api.acme.example/v1",
    )


ACME = Acme()
"""


@pytest.fixture(scope="module", autouse=True)
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Register a provider from outside the tree, as an installed package would."""
    site = tmp_path_factory.mktemp("site")
    (site / "acme_adapter.py").write_text(ADAPTER)
    dist = site / "acme-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text(
        "[proxy_plugin.providers]\nacme-ai = acme_adapter:ACME\nbroken-ai = acme_adapter:NOTHING\n"
    )
    with installed(site):
        yield site


def section(**parts: Any) -> dict[str, Any]:
    return {"proxy_plugin": parts}


def account(**more: Any) -> dict[str, Any]:
    return {"provider": "acme-ai", "api_key": SECRET, **more}


def problems(mapping: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(mapping, environ or {})
    assert SECRET not in str(caught.value)
    return str(caught.value).splitlines()


def test_everything_has_a_default() -> None:
    config = parse(section(), {})
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8787)
    assert config.storage.data_dir == Path("var")
    assert (config.engine.poll_seconds_first, config.engine.poll_seconds_max, config.engine.workers) == (5, 300, None)
    assert (config.limits.max_file_bytes, config.limits.max_line_bytes) == (2147483648, 16777216)
    assert (config.limits.max_lines, config.limits.max_workspace_bytes) == (5_000_000, 64 * 2**30)
    assert (config.workspace_share, config.limits.max_workspace_files) == (0.33, 100_000)
    assert (config.limits.max_open_batches, config.limits.uploads_of_one) == (10_000, 75)
    assert config.limits.disk_reserve_bytes == 268435456
    assert (config.limits.max_media_files, config.limits.max_media_bytes) == (10_000, 12 * 2**20)
    assert (config.limits.max_media_total_bytes, config.limits.max_media_seconds) == (2**30, 30)
    assert config.server.media_hosts == ()
    assert (config.api_keys, config.virtual_keys, config.warnings) == ((), {}, ())


def test_sections_left_empty_in_yaml_are_as_if_absent() -> None:
    empty = section(server=None, storage=None, api_keys=None, virtual_keys=None, configs=None, limits=None)
    assert parse({**empty, "model_list": None}, {}) == parse(section(), {})


def test_a_virtual_key_is_read_by_its_own_adapter() -> None:
    options = {"models": ["m1", "m2"], "max_lines_per_job": 10, "on_unknown": "resend", "settle_seconds": 1.5}
    key = parse(section(virtual_keys={"a": account(acme_region="moon", **options)}), {}).virtual_keys["a"]
    assert (key.slug, key.provider, key.models, key.max_lines_per_job) == ("a", "acme-ai", ("m1", "m2"), 10)
    assert (key.on_unknown, key.settle_seconds, key.retired) == ("resend", 1.5, False)
    assert key.credentials.model_dump() == {
        "api_key": SecretStr(SECRET),
        "acme_region": "moon",
        "custom_host": None,
        "acme_endpoint_url": None,
    }


def test_an_unknown_setting_is_named_by_its_path_with_the_likely_one() -> None:
    assert problems(section(virtual_keys={"openai-prod": {"provider": "acme-ai", "api_kye": SECRET}})) == [
        "proxy_plugin.virtual_keys.openai-prod.api_key: missing setting",
        "proxy_plugin.virtual_keys.openai-prod.api_kye: unknown setting; did you mean api_key?",
    ]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"severs": {}}, "proxy_plugin.severs: unknown setting; did you mean server?"),
        ({"server": {"prot": 1}}, "proxy_plugin.server.prot: unknown setting; did you mean port?"),
        ({"server": {"zzz": 1}}, "proxy_plugin.server.zzz: unknown setting"),
        ({"server": [1]}, "proxy_plugin.server: must be a mapping"),
        ({"engine": {"worker": 1}}, "proxy_plugin.engine.worker: unknown setting; did you mean workers?"),
        ({"api_keys": {}}, "proxy_plugin.api_keys: must be a list"),
        ({"api_keys": [{"nam": "a"}]}, "proxy_plugin.api_keys.0.nam: unknown setting; did you mean name?"),
        ({"api_keys": [{"name": "a"}]}, "proxy_plugin.api_keys.0: set either key or key_sha256"),
        (
            {"api_keys": [{"name": "a", "key": SECRET, "key_sha256": "0" * 64}]},
            "proxy_plugin.api_keys.0: set either key or key_sha256",
        ),
        (
            {"api_keys": [{"name": "a", "key": SECRET}, {"name": "b", "key": SECRET}]},
            "proxy_plugin.api_keys: two entries have the same key",
        ),
        (
            {"api_keys": [{"name": "a", "key": "1"}, {"name": "a", "key": "2"}]},
            "proxy_plugin.api_keys: two entries have the same name",
        ),
        ({"virtual_keys": {"a": account(models=[])}}, "proxy_plugin.virtual_keys.a.models: "),
        (
            {"virtual_keys": {"a": account(on_unknown=SECRET)}},
            "proxy_plugin.virtual_keys.a.on_unknown: Input should be",
        ),
        (
            {"virtual_keys": {"a": account(acme_region=7)}},
            "proxy_plugin.virtual_keys.a.acme_region: must be text; numbers need quotes",
        ),
        ({"virtual_keys": {"a": account(api_key=" ")}}, "proxy_plugin.virtual_keys.a.api_key: is empty"),
        ({"virtual_keys": {"a": {"api_key": SECRET}}}, "proxy_plugin.virtual_keys.a.provider: missing setting"),
        (
            {"virtual_keys": {"a": account(min_lines_per_job=3, max_lines_per_job=2)}},
            "proxy_plugin.virtual_keys.a: min_lines_per_job is above max_lines_per_job",
        ),
        ({"virtual_keys": {"a b": account()}}, "proxy_plugin.virtual_keys.a b: the name must be 1 to 64 letters"),
        ({"virtual_keys": {"a" * 65: account()}}, f"proxy_plugin.virtual_keys.{'a' * 65}: the name must be"),
        ({"virtual_keys": {True: account()}}, "proxy_plugin.virtual_keys.True: the name must be"),
        ({"virtual_keys": {"a": account(**{"1": 2})}}, "proxy_plugin.virtual_keys.a.1: unknown setting"),
        ({"virtual_keys": {"a": SECRET}}, "proxy_plugin.virtual_keys.a: must be a mapping"),
        ({"configs": {"split": {}}}, "proxy_plugin.configs.split: the name must start with pc-"),
        ({"configs": {"pc-a": 1}}, "proxy_plugin.configs.pc-a: must be a mapping"),
        ({"limits": {"max_lines": 0}}, "proxy_plugin.limits.max_lines: Input should be greater than"),
        (
            {"engine": {"poll_seconds_first": 9, "poll_seconds_max": 8}},
            "proxy_plugin.engine: poll_seconds_first is above poll_seconds_max",
        ),
        ({"server": {"upstream": f"http://u:{SECRET}@h"}}, "proxy_plugin.server.upstream: may not hold a user name"),
        ({"server": {"upstream": f"{SECRET}.example"}}, "proxy_plugin.server.upstream: must be an absolute http"),
        ({"server": {"upstream": f"http://[{SECRET}"}}, "proxy_plugin.server.upstream: must be an absolute http"),
        ({"server": {"ca_bundle": "/no/such/file"}}, "proxy_plugin.server.ca_bundle: Path does not point to a file"),
    ],
)
def test_a_bad_setting_is_one_line_with_its_path(parts: dict[str, Any], expected: str) -> None:
    assert any(line.startswith(expected) for line in problems(section(**parts)))


@pytest.mark.parametrize("host", ["api.acme.example/v1", f"https://u:{SECRET}@h/v1", "https://h/v1?key=1", "ftp://h"])
def test_a_base_url_of_any_adapter_must_be_one_and_holds_no_password(host: str) -> None:
    found = problems(section(virtual_keys={"a": account(custom_host=host, acme_endpoint_url=host)}))
    assert [line.partition(": ")[0] for line in found] == [
        "proxy_plugin.virtual_keys.a.custom_host",
        "proxy_plugin.virtual_keys.a.acme_endpoint_url",
    ]


def test_an_adapters_own_message_may_not_quote_the_value() -> None:
    found = problems(section(virtual_keys={"a": account(acme_region=SECRET)}))
    assert found == ["proxy_plugin.virtual_keys.a.acme_region: *** is no region"]


def test_all_problems_are_listed_at_once() -> None:
    parts = section(server={"prot": 1}, engine={"workers": 0}, virtual_keys={"a": account(x=1), "b": account(y=1)})
    assert [line.partition(":")[0] for line in problems(parts)] == [
        "proxy_plugin.server.prot",
        "proxy_plugin.engine.workers",
        "proxy_plugin.virtual_keys.a.x",
        "proxy_plugin.virtual_keys.b.y",
    ]


def test_an_unknown_provider_is_answered_with_the_known_ones() -> None:
    (line,) = problems(section(virtual_keys={"a": {"provider": "acme-al", "api_key": SECRET}}))
    assert line.startswith("proxy_plugin.virtual_keys.a.provider: unknown provider; known: acme-ai, ")
    assert "voyage, " in line
    assert " Did you mean 'acme-ai'? " in line
    assert line.endswith("'openai-compatible', with its base URL, version path included, in custom_host.")


def test_a_provider_that_only_litellm_knows_is_a_virtual_key_under_litellms_names() -> None:
    config = parse(section(virtual_keys={"a": {"provider": "openrouter", "api_key": SECRET}}), {})
    assert config.virtual_keys["a"].provider == "openrouter"
    assert SECRET not in repr(config)
    (line,) = problems(section(virtual_keys={"a": {"provider": "openrouter", "api_key": SECRET, "aws_region": "x"}}))
    assert line.startswith("proxy_plugin.virtual_keys.a.aws_region: unknown setting")


def test_an_adapter_that_cannot_be_imported_stops_the_start_by_name() -> None:
    (line,) = problems(section(virtual_keys={"a": {"provider": "broken-ai"}}))
    assert line == "proxy_plugin.virtual_keys.a.provider: its adapter cannot be loaded (AttributeError)"


def test_a_folder_of_an_empty_variable_is_none() -> None:
    """A `Path` of nothing is the working directory, which would be filled."""
    sections = {"storage": {"data_dir": "os.environ/DIR"}, "cache": {"dir": ""}}
    found = problems(section(**sections), {"DIR": ""})
    assert [each.partition(" ")[0] for each in found] == ["proxy_plugin.storage.data_dir:", "proxy_plugin.cache.dir:"]


def test_variables_are_read_everywhere_and_stripped() -> None:
    parts = section(
        server={"port": "os.environ/PORT", "custom_hosts": ["os.environ/HOST"]},
        storage={"data_dir": "os.environ/DIR"},
        api_keys=[{"name": "dev", "key": "os.environ/KEY"}],
        virtual_keys={"a": account(api_key="os.environ/ACME", max_lines_per_job="os.environ/LINES")},
        configs={"pc-a": {"targets": [{"virtual_key": "os.environ/SLUG"}]}},
    )
    environ = {"PORT": "99", "HOST": "h", "DIR": "/d", "KEY": "k", "ACME": f"{SECRET}\n", "LINES": "7", "SLUG": "a"}
    config = parse(parts, environ)
    assert (config.server.port, config.server.custom_hosts, config.storage.data_dir) == (99, ("h",), Path("/d"))
    key = config.virtual_keys["a"]
    assert key.max_lines_per_job == 7
    assert key.credentials.model_dump()["api_key"] == SecretStr(SECRET)
    assert config.configs == {"pc-a": {"targets": [{"virtual_key": "a"}]}}
    assert config.warnings == ()


@pytest.mark.parametrize(("environ", "why"), [({}, "not set"), ({"ACME_KEY": " "}, "empty")])
def test_a_missing_variable_disables_only_its_virtual_key(environ: dict[str, str], why: str) -> None:
    keys = {"a": account(api_key="os.environ/ACME_KEY"), "b": account()}
    config = parse(section(virtual_keys=keys), environ)
    assert list(config.virtual_keys) == ["b"]
    assert config.disabled == {"a": f"environment variable ACME_KEY is {why}"}
    assert config.warnings == (
        f"proxy_plugin.virtual_keys.a.api_key: environment variable ACME_KEY is {why}, so this virtual key is disabled",
    )


def test_a_disabled_virtual_key_is_still_checked_for_misspelt_settings() -> None:
    keys = {"a": account(api_key="os.environ/ACME_KEY", model=["m"]), "b": {"provider": "os.environ/P"}}
    assert problems(section(virtual_keys=keys)) == [
        "proxy_plugin.virtual_keys.a.model: unknown setting; did you mean models?"
    ]


def test_a_missing_variable_drops_only_its_api_key() -> None:
    entries = [{"name": "a", "key": "os.environ/KEY_A"}, {"name": "b", "key": "kb"}]
    config = parse(section(api_keys=entries), {})
    assert [key.name for key in config.api_keys] == ["b"]
    assert config.warnings == (
        "proxy_plugin.api_keys.0.key: environment variable KEY_A is not set, so this API key is dropped",
    )


@pytest.mark.parametrize("reference", ["os.environ/KEY_A", "os.environ/KEY_B"])
def test_losing_every_api_key_stops_the_start_instead_of_opening_access(reference: str) -> None:
    entries = [{"name": "a", "key": "os.environ/KEY_A"}, {"name": "b", "key": reference, "workspace": "os.environ/W"}]
    found = problems(section(api_keys=entries), {"KEY_B": "k", "KEY_A": ""})
    assert "environment variable KEY_A is empty" in found[0]
    assert found[-1] == "proxy_plugin.api_keys: no key is left; access is never opened for lack of keys"


def test_a_missing_variable_anywhere_else_stops_the_start() -> None:
    parts = section(server={"port": "os.environ/PORT"}, configs={"pc-a": {"targets": [{"x": "os.environ/X"}]}})
    assert problems(parts) == [
        "proxy_plugin.server.port: environment variable PORT is not set",
        "proxy_plugin.configs.pc-a.targets.0.x: environment variable X is not set",
    ]


def test_litellms_sections_are_left_alone_and_its_models_kept_raw() -> None:
    models = [{"model_name": "m", "litellm_params": {"model": "nobody/m", "api_key": "os.environ/NOT_SET"}}]
    config = parse({**section(), "model_list": models, "router_settings": {"any": "thing"}, "other": 1}, {})
    assert config.model_list == tuple(models)
    assert config.warnings == ()


def test_a_file_without_our_section_is_told_about_the_misspelt_one() -> None:
    (warning,) = parse({"proxy-plugin": {}, "model_list": []}, {}).warnings
    assert warning.endswith("did you mean proxy-plugin?")


def test_a_pattern_that_matches_nothing_is_a_warning() -> None:
    keys = {"acme-a": account(), "acme-b": account(api_key="os.environ/NOT_SET")}
    entries = [{"name": "dev", "key": "k", "virtual_keys": ["acme-*", "acme-b", "amce-*"]}]
    warnings = parse(section(virtual_keys=keys, api_keys=entries), {}).warnings
    assert warnings[-1] == "proxy_plugin.api_keys: dev: amce-* matches no virtual key"
    assert len(warnings) == 2


@pytest.mark.parametrize(
    ("default", "problem"),
    [
        ("acme-a", None),
        ("pc-one", None),
        ("pc-split", None),
        ("acme-off", None),
        ("acme-x", "unknown virtual key or config; did you mean acme-a?"),
        ("pc-splitt", "unknown virtual key or config; did you mean pc-split?"),
        ("nothing", "unknown virtual key or config"),
        ("other", "virtual_keys of this API key does not allow other"),
        ("pc-other", "virtual_keys of this API key does not allow other"),
        ("pc-own", "the config brings a key; make a virtual key of it"),
        ("@acme-a", None),
        ("@pc-own", "the config brings a key; make a virtual key of it"),
        ("a b", "String should match pattern"),
    ],
)
def test_a_default_names_what_its_caller_may_use(default: str, problem: str | None) -> None:
    configs = {
        "pc-one": {"virtual_key": "acme-a"},
        "pc-split": {
            "strategy": {"mode": "loadbalance"},
            "targets": [{"virtual_key": "acme-a"}, {"virtual_key": "other", "weight": 0}],
        },
        "pc-other": {
            "strategy": {"mode": "loadbalance"},
            "targets": [{"virtual_key": "acme-a"}, {"virtual_key": "other"}],
        },
        "pc-own": {"provider": "acme-ai", "api_key": "k"},
    }
    keys = {"acme-a": account(), "other": account(), "acme-off": account(acme_region="os.environ/REGION")}
    callers = [{"name": "dev", "key": "k", "virtual_keys": ["acme-*"], "default": default}]
    whole = section(virtual_keys=keys, api_keys=callers, configs=configs)
    if problem is not None:
        [told] = problems(whole)
        assert told.startswith("proxy_plugin.api_keys")
        assert f"default: {problem}" in told
        return
    shown = f"  dev  workspace default; virtual keys acme-*; default {default.removeprefix('@')}"
    assert shown in render_check(parse(whole, {})).splitlines()


def full_config() -> Config:
    return parse(
        {
            **section(
                server={"outgoing_proxy": f"http://u:{SECRET}-proxy@p:1"},
                api_keys=[{"name": "dev", "key": f"{SECRET}-caller", "workspace": "team", "virtual_keys": ["acme-*"]}],
                virtual_keys={
                    "acme-a": account(max_jobs_in_flight=3, models=["m1", "m2"]),
                    "acme-b": account(custom_host="http://127.0.0.1:1/v1", retired=True),
                    "acme-c": account(acme_region="os.environ/REGION"),
                },
                configs={"pc-a": {"provider": "acme-ai", "api_key": f"{SECRET}-config"}},
                secrets={"seal_key": f"{SECRET}-seal"},
            ),
            "model_list": [{"model_name": "m", "litellm_params": {"model": "x/m", "api_key": f"{SECRET}-litellm"}}],
        },
        {},
    )


def test_no_form_of_a_configuration_shows_a_secret() -> None:
    config = full_config()
    parts = [config.server, config.secrets, *config.api_keys, *config.virtual_keys.values()]
    for text in (repr(config), str(config), render_check(config), *map(repr, parts), *map(str, parts)):
        assert SECRET not in text


def test_not_even_an_adapters_plain_fields_are_shown_with_its_virtual_key() -> None:
    key = parse(section(virtual_keys={"a": account(acme_region="moon")}), {}).virtual_keys["a"]
    assert "moon" not in repr(key)


def test_a_section_built_by_hand_hides_what_it_refuses_too() -> None:
    with pytest.raises(ValidationError) as caught:
        Server.model_validate({"upstream": SECRET, SECRET[:2]: SECRET})
    assert SECRET not in str(caught.value)


def test_check_shows_callers_accounts_and_warnings() -> None:
    facts, *caveats = described("acme-ai")
    assert render_check(full_config()).splitlines() == [
        "server    http://127.0.0.1:8787",
        "upstream  none",
        (
            "calls     chat, completions, embeddings and responses by 0 of 2 virtual keys, "
            "because acme-ai: Acme has no ordinary calls here."
        ),
        "data dir  var",
        f"clients   {connections.described(full_config())}",
        "callers",
        "  dev  workspace team; virtual keys acme-*",
        "virtual keys",
        "  acme-a  enabled: acme-ai at https://api.acme.example/v1; models m1, m2; max_jobs_in_flight 3",
        "  acme-b  enabled: acme-ai at http://127.0.0.1:1/v1; retired True",
        "  acme-c  disabled: environment variable REGION is not set",
        "lanes",
        f"  acme-ai  {facts}",
        *(f"    {caveat}" for caveat in caveats),
        "models",
        "  m  cannot be served: x",
        "  0 of 1 models can run batches, because x cannot be served",
        "configs",
        "  pc-a  acme-ai with a key in the config",
        "warnings",
        f"  {full_config().warnings[0]}",
    ]


def test_a_virtual_key_cannot_be_changed() -> None:
    key = full_config().virtual_keys["acme-a"]
    with pytest.raises(ValueError, match="frozen"):
        key.retired = True
    assert key.retired is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: {secret}", "line 2, column 2: did not find expected ',' or ']'"),
        ("a: {secret}: b", "line 1, column 24: mapping values are not allowed in this context"),
        ("a: *{secret}", "line 1, column 4: found undefined alias"),
        ("a:\n  - !{secret} x", "line 2, column 5: could not determine a constructor for the tag"),
        ("a: 1\nb: 2\na: {secret}", "line 3, column 1: duplicate key, first given on line 1"),
        ("p: {{q: {{k: {secret}, k: 2}}}}", "line 1, column 34: duplicate key, first given on line 1"),
        ("a:\n  b: !!int {secret}", "line 2, column 6: unreadable value"),
        ("a: x\nb: \x01{secret}", "line 2, column 4: not UTF-8 text, or a control character"),
        ("{secret}", "must be a mapping of settings"),
        ("proxy_plugin: &p\n  configs: *p", "nested too deeply, or an alias that contains itself"),
    ],
)
def test_a_broken_file_is_located_but_not_quoted(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text.format(secret=SECRET) if "{" in text else text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize("version", ["2024-10-21", "'2024-10-21'", "2024-10-21T00:00:00Z"])
def test_a_date_is_text(tmp_path: Path, version: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"api_version: {version}\n")
    assert read_yaml(path) == {"api_version": version.strip("'")}


def test_aliases_and_merges_are_no_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "deep: {er: {base: &b {max_lines: 7, max_uploads: 1}}}\n"
        "proxy_plugin: {limits: {<<: *b, max_uploads: 3}}\nagain: *b\n"
    )
    limits = load(path, {}).limits
    assert (limits.max_lines, limits.max_uploads) == (7, 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory"):
        load(tmp_path / "none.yaml")


def test_an_empty_file_is_a_configuration_without_virtual_keys(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert load(path, {}).virtual_keys == {}


def test_the_shipped_file_works_with_its_two_variables() -> None:
    config = load(REPOSITORY / "config.yaml", {"LITELLM_MASTER_KEY": "sk-master", "OPENAI_API_KEY": SECRET})
    assert list(config.virtual_keys) == ["openai-prod", "model-gpt-4.1-nano"]
    assert (config.warnings, config.disabled, config.unread) == ((), {}, ())
    assert (config.inside, config.all_batches) == (True, False)


def test_the_shipped_file_without_a_provider_key_warns_and_without_a_caller_key_stops() -> None:
    config = load(REPOSITORY / "config.yaml", {"LITELLM_MASTER_KEY": "sk-master"})
    assert config.disabled == dict.fromkeys(
        ("openai-prod", "model-gpt-4.1-nano"), "environment variable OPENAI_API_KEY is not set"
    )
    with pytest.raises(ConfigError, match=r"general_settings\.master_key: environment variable LITELLM_MASTER_KEY"):
        load(REPOSITORY / "config.yaml", {"OPENAI_API_KEY": SECRET})


@pytest.mark.parametrize("said", [None, False, True])
def test_the_plugin_may_take_all_batches(said: bool | None) -> None:
    assert parse({"proxy_plugin": {"all_batches": said}}, {}).all_batches is bool(said)


@pytest.mark.parametrize(
    ("callbacks", "ours", "warning"),
    [
        (["proxy_plugin.litellm_callback"], {}, "litellm_settings.callbacks: LiteLLM will find no callback"),
        ([], {"all_batches": True}, "proxy_plugin.all_batches: means nothing unless"),
        ([PLUGIN], {"all_batches": True, "server": {"upstream": "http://x"}}, "means nothing in front of an upstream"),
        ([PLUGIN], {"storage": {"data_dir": "/" + "x" * 94}}, "proxy_plugin.storage.data_dir: too long for the socket"),
        ([PLUGIN], {"all_batches": True, "storage": {"data_dir": "/" + "x" * 93}}, None),
    ],
)
def test_what_would_do_nothing_inside_litellm_is_told(
    callbacks: list[str], ours: dict[str, Any], warning: str | None
) -> None:
    config = parse({"litellm_settings": {"callbacks": callbacks}, "proxy_plugin": ours}, {})
    assert len(config.warnings) == (0 if warning is None else 1)
    assert warning is None or warning in config.warnings[0]


@pytest.mark.parametrize(
    ("callbacks", "ours", "told"),
    [
        ([PLUGIN], {"server": {"upstream": "http://x"}}, "inside    no: there is an upstream"),
        ([PLUGIN], {"storage": {"data_dir": "/d"}}, "requests with an x-portkey- header to /d/gateway.sock"),
        ([PLUGIN], {"storage": {"data_dir": "/d"}, "all_batches": True}, "hands every request to /d/gateway.sock"),
    ],
)
def test_check_says_what_the_plugin_does(callbacks: list[str], ours: dict[str, Any], told: str) -> None:
    config = parse({"litellm_settings": {"callbacks": callbacks}, "proxy_plugin": ours}, {})
    assert told in render_check(config)


def test_all_batches_is_a_switch() -> None:
    with pytest.raises(ConfigError, match=r"proxy_plugin\.all_batches: must be true or false"):
        parse({"proxy_plugin": {"all_batches": "yes"}}, {})


@pytest.mark.parametrize(
    ("callbacks", "inside", "unread"),
    [
        (["proxy_plugin.litellm_callback.plugin"], True, ()),
        ("proxy_plugin.litellm_callback.plugin", True, ()),
        (["prometheus", "proxy_plugin.litellm_callback.plugin"], True, ("litellm_settings: callbacks",)),
        (["prometheus"], False, ("litellm_settings: callbacks",)),
    ],
)
def test_the_plugin_in_litellms_callbacks_is_seen(callbacks: object, inside: bool, unread: tuple[str, ...]) -> None:
    config = parse({"litellm_settings": {"callbacks": callbacks}, "proxy_plugin": {}}, {})
    assert (config.inside, config.unread) == (inside, unread)
