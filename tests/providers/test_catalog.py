"""Somebody who names a provider that is not there is told which there are, which was meant, and what else works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy_plugin.providers import catalog
from proxy_plugin.providers.direct.ways import WITHOUT_BATCHES


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("OpenAI", "openai"),
        ("azure_openai", "azure-openai"),
        ("mistralai", "mistral-ai"),
        ("together", "together-ai"),
        ("fireworks", "fireworks-ai"),
        ("Gemini ", "google"),
        ("deep-infra", "deepinfra"),
        ("perplexityai", "perplexity-ai"),
        ("x.ai", "x-ai"),
        ("zzzzzz", None),
        ("", None),
    ],
)
def test_the_name_that_was_meant(written: str, meant: str | None) -> None:
    assert catalog.nearest(written) == meant
    assert (f" Did you mean '{meant}'?" in catalog.advice(written)) is (meant is not None)


def test_no_name_of_a_provider_that_cannot_be_loaded_is_proposed() -> None:
    for alias, provider in catalog.ALIASES.items():
        assert catalog.nearest(alias) in {provider, *catalog.names(), *catalog.litellms(), None}
        if (near := catalog.nearest(f"{alias}x")) is not None:
            catalog.load(near)


def test_an_unknown_provider_is_told_all_lanes_and_the_way_of_a_copy() -> None:
    with pytest.raises(catalog.UnknownProvider) as caught:
        catalog.load("acme-cloud")
    assert f"known: {', '.join(catalog.names())}." in str(caught.value)
    assert " Nor has litellm calls of that name." in str(caught.value)
    assert "served as 'openai-compatible', with its base URL, version path included, in custom_host." in str(
        caught.value
    )


@pytest.mark.parametrize("name", WITHOUT_BATCHES)
def test_a_provider_whose_batches_cannot_be_served_honestly_has_calls_and_says_why(name: str) -> None:
    assert WITHOUT_BATCHES[name] in catalog.load(name).capabilities.caveats


@pytest.fixture
def only_anthropic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(catalog.ONLY, "anthropic")
    for each in (catalog._registered, catalog.litellms):
        each.cache_clear()
    yield
    for each in (catalog._registered, catalog.litellms):
        each.cache_clear()


@pytest.mark.usefixtures("only_anthropic")
def test_what_is_not_there_is_not_advised() -> None:
    assert catalog.advice("openai") == ""
    assert catalog.advice("Anthropic") == " Did you mean 'anthropic'?"
