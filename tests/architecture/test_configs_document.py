"""The page of configs has every key that one may hold and every header that is read; its examples are read, too."""

from __future__ import annotations

import json

import pytest

from proxy_plugin.access import headers, steering
from proxy_plugin.access.callers import CREDENTIAL_HEADERS
from proxy_plugin.routing import condition_bounds, portkey_config, retries, whole_batch
from proxy_plugin.routing.conditions import _OPERATORS
from proxy_plugin.routing.config_tree import MODES
from proxy_plugin.routing.patterns import refusals
from tests.support import code_blocks
from tests.support.code_blocks import ROOT, CodeBlock

PAGE = ROOT / "docs" / "configs.md"
STEERING, OTHERS, STRATEGY = portkey_config._STEERING, portkey_config._OTHER_KEYS, portkey_config._STRATEGY


@pytest.mark.parametrize("key", sorted(STEERING | (OTHERS - {"forward_headers", "passthrough", "cb_config"})))
def test_each_key_of_a_config_has_a_row(key: str) -> None:
    assert f"\n| `{key}` |" in PAGE.read_text()


@pytest.mark.parametrize("key", sorted((STRATEGY | {*whole_batch._RESCUE}) - {"conditions"}))
def test_each_key_within_a_key_is_told(key: str) -> None:
    assert f"\n| `{key}` of " in PAGE.read_text()


def test_modes_operators_and_bounds_are_told() -> None:
    text = PAGE.read_text()
    assert all(f"`{word}`" in text for word in (*MODES, *_OPERATORS, "$and", "$or"))
    assert f"up to {portkey_config.MAX_TARGETS} targets in {portkey_config.MAX_DEPTH} levels" in text
    assert f"up to {retries.MOST_ATTEMPTS} further calls" in text
    assert f"1 to {whole_batch.MOST_ATTEMPTS}" in text
    assert str(retries.USUAL)[1:-1] in text


def test_each_header_that_is_read_has_a_row() -> None:
    caching = {headers.CACHE_REFRESH, headers.CACHE_NAMESPACE, headers.CACHE_STATUS}
    answered = {headers.OPTION, headers.RETRIES, headers.TRACE_ID}
    read = {*steering._SERVED, *CREDENTIAL_HEADERS, headers.STRICT, headers.IDEMPOTENCY_KEY}
    text = PAGE.read_text().lower()
    assert {name for name in read | caching | answered if f"`{name.lower()}" not in text} == set()
    assert len(read) > 15


@pytest.mark.parametrize("block", [each for each in code_blocks.of(PAGE) if each.language == "json"], ids=str)
def test_an_example_is_read(block: CodeBlock) -> None:
    node = portkey_config.read(json.loads(block.text))
    assert refusals([each.text for each in condition_bounds.patterns_of(node)]) == ()
