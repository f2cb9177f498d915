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


@pytest.mark.parametrize(
    ("model", "written", "kept", "hits", "dollars"),
    [
        ("claude-haiku-4-5", 0, 0, 0, 0.50),
        ("claude-haiku-4-5", 1_000_000, 0, 0, 0.625),
        ("claude-haiku-4-5", 1_000_000, 1_000_000, 0, 1.00),
        ("claude-haiku-4-5", 500_000, 250_000, 0, 0.25 + 0.15625 + 0.25),
        ("claude-haiku-4-5", 400_000, 0, 600_000, 0.25 + 0.03),
        ("claude-sonnet-4-5", 1_000_000, 0, 0, 1.875),
        ("claude-sonnet-4-5", 1_000_000, 1_000_000, 0, 3.00),
        ("claude-sonnet-4-5", 200_000, 100_000, 300_000, 0.75 + 0.1875 + 0.30 + 0.045),
        ("claude-sonnet-4-5-20250929", 1_000_000, 0, 0, 1.875),
        ("claude-opus-5-5", 1_000_000, 0, 0, 2.50),
    ],
)
def test_a_token_that_is_written_into_a_cache_costs_what_the_table_says(
    model: str, written: int, kept: int, hits: int, dollars: float
) -> None:
    """Of a million tokens. Anthropic's list: 1.25 times the price for minutes, twice for an hour; half in batches."""
    found = price(ANTHROPIC, model)
    assert found is not None
    usage = Usage(1_000_000, cached_tokens=hits, cache_write_tokens=written, cache_write_1h_tokens=kept)
    assert found.of(usage) == pytest.approx(dollars)


def test_where_no_price_of_writing_is_listed_it_costs_what_reading_costs() -> None:
    found = price(OPENAI, "gpt-4o-mini")
    assert found is not None
    assert found.of(Usage(1_000_000, cache_write_tokens=700_000)) == pytest.approx(0.075)
    assert found.of(Usage(0, cache_write_tokens=0, cache_write_1h_tokens=9)) == 0, "kept tokens that were not written"


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
    assert Price(1.0, 1.0, 1.0, 1.0, 1.0).of(Usage()) == 0


def test_litellm_is_found_without_importing_it() -> None:
    assert all(isinstance(path, Path) for path in installed())
