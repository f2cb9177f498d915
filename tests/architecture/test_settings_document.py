"""No setting without a line: the page, the schema and the pages of providers are what the models have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field, TypeAdapter

from proxy_plugin.config import parse
from proxy_plugin.config.read import KNOWN, SECTIONS
from proxy_plugin.ground.errors import ConfigError
from proxy_plugin.ground.webhooks import secret_of
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import LineIn, Target
from proxy_plugin.providers.sandbox.tokens import service_account
from tools import config_schema, model_words, provider_pages, settings_page
from tools.model_words import Words
from tools.tables import PROVIDERS, ROOT, SCHEMA, SETTINGS

WEBHOOK_SECRET = secret_of(bytes(32))
PEM = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"
FOR_TESTS = {"PROXY_PLUGIN_FAIL"}  # names a failpoint
FILES = {  # what stands in a file, or a variable, that is not here
    "azure_entra_client_certificate": PEM,
    "ca_bundle": __file__,
    "previous_secrets": [WEBHOOK_SECRET],
    "secret": WEBHOOK_SECRET,
    "vertex_service_account_json": service_account("x"),
}


def gateways() -> Iterator[tuple[str, type[BaseModel]]]:
    for _, parts in settings_page.sections():
        yield from ((part.path, part.model) for part in parts)


def accounts() -> Iterator[tuple[str, type[BaseModel]]]:
    yield from ((name, catalog.load(name).credentials) for name in sorted(catalog.BUILT_IN))


def settings() -> list[tuple[str, type[BaseModel], Words]]:
    found = [*gateways(), *accounts()]
    return [(path, model, each) for path, model in found for each in model_words.settings(model)]


def once(found: list[tuple[str, type[BaseModel], Words]]) -> list[Any]:
    """Return each setting of a model with a name; many providers have accounts of one model."""
    named = {(model, each.name): pytest.param(model, each, id=f"{path}.{each.name}") for path, model, each in found}
    return list(named.values())


def test_every_section_is_on_the_page() -> None:
    assert settings_page.undocumented() == set()
    assert all(f"`{name}`" in SETTINGS.read_text() for name in KNOWN)


def test_every_variable_of_ours_is_on_the_page() -> None:
    sources = [path.read_text() for folder in ("proxy_plugin", "providers") for path in (ROOT / folder).rglob("*.py")]
    found = {name for text in sources for name in re.findall(r"\b(?:PROXY_PLUGIN|PORTKEY)_[A-Z_]*[A-Z]\b", text)}
    assert {name for name in found - FOR_TESTS if f"`{name}`" not in SETTINGS.read_text()} == set()
    assert len(found) > 4


def test_every_setting_has_a_line_with_type_default_meaning_and_an_example() -> None:
    found = settings()
    assert len({(model, each.name) for _, model, each in found}) > 150
    wanting = [
        f"{path}.{each.name}"
        for path, _, each in found
        if not (each.kind and each.default and each.meaning.endswith((".", ").")) and each.example)
    ]
    assert wanting == [], "a text below the setting says what it means and, after `Example:`, a value"


@pytest.mark.parametrize(("path", "model"), [*gateways()], ids=str)
def test_the_page_has_each_setting_of_a_section_below_its_heading(path: str, model: type[BaseModel]) -> None:
    section = SETTINGS.read_text().partition(f"\n## {path.split('.', maxsplit=1)[0]}\n")[2].partition("\n## ")[0]
    assert all(f"\n| `{name}` |" in section for name in model.model_fields)


@pytest.mark.parametrize(("name", "model"), [*accounts()], ids=str)
def test_the_page_of_a_provider_has_each_setting_of_its_accounts(name: str, model: type[BaseModel]) -> None:
    page = (PROVIDERS / f"{name}.md").read_text()
    assert all(f"\n| `{field}` |" in page for field in model.model_fields)


@pytest.mark.parametrize(("model", "words"), once(settings()))
def test_an_example_is_taken(model: type[BaseModel], words: Words) -> None:
    field = model.model_fields[words.name]
    value = FILES.get(words.name, "sk-a-value" if "os.environ/" in words.example else words.value)
    kind: Any = Annotated[field.annotation, Field(), *field.metadata]
    TypeAdapter(kind).validate_python(value)


def test_there_is_a_page_for_each_provider_and_no_other() -> None:
    assert {page.stem for page in PROVIDERS.iterdir()} == {"README", "litellm", *catalog.BUILT_IN}


def test_each_provider_that_litellm_alone_knows_is_on_one_page() -> None:
    page = (PROVIDERS / "litellm.md").read_text()
    assert all(f"| `{name}`" in page for name in catalog.litellms())


@pytest.mark.parametrize("name", sorted(catalog.BUILT_IN))
def test_the_line_of_a_page_is_taken_by_its_lane(name: str) -> None:
    lane, line = catalog.load(name), json.loads(provider_pages.line(name))
    body = json.dumps(line["body"]).encode()
    native = lane.translate(LineIn("pp-1234567890-00000000", line["url"], body, line["body"]["model"]), Target())
    assert native.data
    assert native.dropped == ()
    page = (PROVIDERS / f"{name}.md").read_text()
    assert provider_pages.line(name) in page
    assert all(caveat in page for caveat in lane.capabilities.caveats)


def section(**ours: Any) -> dict[str, Any]:
    return {"proxy_plugin": ours}


def test_the_schema_takes_the_shipped_configuration_which_names_it() -> None:
    text = (ROOT / "config.yaml").read_text()
    assert list(config_schema.problems(yaml.safe_load(text))) == []
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (ROOT / named).resolve() == SCHEMA.resolve()
    assert json.loads(SCHEMA.read_text()) == config_schema.schema()


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_the_schema_and_the_gateway_refuse_a_misspelt_setting(name: str) -> None:
    document = section(**{name: {"no_such_setting": 1}})
    assert any("no_such_setting" in problem for problem in config_schema.problems(document))
    with pytest.raises(ConfigError, match="no_such_setting"):
        parse(document, {})
    assert list(config_schema.problems(section(**{name: None}))) == []


@pytest.mark.parametrize(
    ("ours", "what"),
    [
        ({"server": {"port": 99_999}}, "99999"),
        ({"server": {"port": "8787"}}, "8787"),
        ({"virtual_keys": {"a": {"provider": "openai"}}}, "api_key"),
        ({"virtual_keys": {"a": {"provider": "claude", "api_key": "x"}}}, ""),
        ({"virtual_keys": {"a": {"api_key": "x"}}}, "provider"),
        ({"virtual_keys": {"a": {"provider": "gemini", "api_key": "x", "api_kye": "y"}}}, "api_kye"),
        ({"virtual_keys": {"a b": {"provider": "openai", "api_key": "x"}}}, "a b"),
        ({"api_keys": [{"name": "dev", "key": "x", "virtual_key": ["*"]}]}, "virtual_key"),
        ({"limits": {"max_lines": True}}, "true"),
        ({"servr": {}}, "servr"),
    ],
)
def test_the_schema_finds_mistakes_where_they_are(ours: dict[str, Any], what: str) -> None:
    found = list(config_schema.problems(section(**ours)))
    assert bool(found) is bool(what), found
    assert not what or what in found[0]


def test_the_schema_takes_a_reference_for_every_kind_of_value() -> None:
    server = {"port": "os.environ/PORT", "upstream": "os.environ/UPSTREAM"}
    keys = {"a": {"provider": "openai", "api_key": "os.environ/KEY", "on_unknown": "os.environ/WHAT", "retired": False}}
    assert list(config_schema.problems(section(server=server, virtual_keys=keys, all_batches=None))) == []
