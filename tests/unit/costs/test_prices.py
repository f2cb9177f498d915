"""Prices: those of the lane's own provider, at the batch price, and none where none is known."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy_plugin.costs.prices import EXTRACT, Listed, Price, installed, price
from proxy_plugin.providers import catalog
from proxy_plugin.providers.base import Usage

OPENAI, ANTHROPIC = (catalog.load(name).capabilities for name in ("openai", "anthropic"))


def test_a_stated_batch_price_is_taken() -> None:
    found = price(OPENAI, "gpt-4o-mini")  # list prices of OpenAI, 2026-11: $0.15 and $0.60 a million, batch half
    assert found is not None
    assert (found.input, found.output) == pytest.approx((0.075e-6, 0.3e-6))


def test_a_cached_token_costs_its_own_price_and_never_more_than_a_fresh_one() -> None:
    found = price(ANTHROPIC, "claude-haiku-4-5")
    assert found is not None
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000, cached_tokens=400_000)
    assert found.of(usage) == pytest.approx(0.6 * 0.5 + 0.4 * 0.05 + 0.1 * 2.5)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "gpt-none-such", "", "azure/gpt-4o-mini"])
def test_a_model_of_another_provider_has_no_price_here(model: str) -> None:
    assert price(OPENAI, model) is None


def test_where_no_batch_price_is_listed_the_lanes_discount_counts() -> None:
    listed = msgspec.json.decode(EXTRACT.read_bytes(), type=dict[str, Listed])
    name, entry = next(
        (name, entry)
        for name, entry in listed.items()
        if entry.litellm_provider == "openai"
        and entry.input_cost_per_token_batches is None
        and entry.input_cost_per_token
        and "/" not in name
    )
    found = price(OPENAI, name)
    assert found is not None
    assert entry.input_cost_per_token is not None
    assert found.input == pytest.approx(entry.input_cost_per_token / 2)


def test_no_price_is_negative_and_a_usage_of_nothing_costs_nothing() -> None:
    listed = msgspec.json.decode(EXTRACT.read_bytes(), type=dict[str, Listed])
    assert len(listed) > 1000
    assert all(
        (entry.input_cost_per_token or 0) >= 0 and (entry.output_cost_per_token or 0) >= 0 for entry in listed.values()
    )
    assert Price(1.0, 1.0, 1.0).of(Usage()) == 0


def test_litellm_is_found_without_importing_it() -> None:
    assert all(isinstance(path, Path) for path in installed())
