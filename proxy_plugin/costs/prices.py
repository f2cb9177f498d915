"""What tokens cost, in US dollars: litellm's price data, read without importing litellm, or else the shipped extract.

litellm keeps its prices in one JSON file beside its code (`model_prices_and_context_window_backup.json`, 1.106.2). The
extract `prices.json` holds the same facts for providers with batch lanes; `python -m tools.prices` makes it anew. Both
are read in worker processes only, once: the large one takes 50 ms and 4.5 MB, the extract 7 ms and 1 MB.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from proxy_plugin.providers.base import Capabilities, Usage
from proxy_plugin.providers.catalog import aliases

LITELLM_FILE = "model_prices_and_context_window_backup.json"
EXTRACT = Path(__file__).with_name("prices.json")


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model as litellm lists it: US dollars a token."""

    litellm_provider: str = ""
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    input_cost_per_token_batches: float | None = None
    output_cost_per_token_batches: float | None = None
    cache_read_input_token_cost: float | None = None
    cache_read_input_token_cost_batches: float | None = None


class Price(msgspec.Struct, frozen=True):
    """US dollars a token in a lane's native batch service."""

    input: float
    output: float
    cached_input: float

    def of(self, usage: Usage) -> float:
        """Return what these tokens cost."""
        fresh = max(usage.input_tokens - usage.cached_tokens, 0)  # some servers count cached tokens beside the others
        return fresh * self.input + usage.cached_tokens * self.cached_input + usage.output_tokens * self.output


def price(lane: Capabilities, model: str) -> Price | None:
    """Return the batch price of a model in a lane, None where it is not known."""
    listed = _find(_listed(), (lane.provider, *aliases(lane.provider)), model)
    if listed is None or listed.input_cost_per_token is None:
        return None
    share = 1 - lane.discount
    fresh = _batch(listed.input_cost_per_token_batches, listed.input_cost_per_token, share)
    read = listed.cache_read_input_token_cost
    cached = _batch(listed.cache_read_input_token_cost_batches, read, share) if read is not None else fresh
    output = _batch(listed.output_cost_per_token_batches, listed.output_cost_per_token or 0.0, share)
    return Price(fresh, output, min(cached, fresh))


def _batch(stated: float | None, full: float, share: float) -> float:
    return full * share if stated is None else stated


def _find(listed: Mapping[str, Listed], families: tuple[str, ...], model: str) -> Listed | None:
    """Return the entry of a model: litellm names some with their provider in front and some without."""
    for name in (model, *(f"{family}/{model}" for family in families)):
        found = listed.get(name)
        if found is not None and any(_is_of(found.litellm_provider, family) for family in families):
            return found
    return None


def _is_of(provider: str, family: str) -> bool:
    """Tell whether one of litellm's provider names (`vertex_ai-language-models`) belongs to a family (`vertex_ai`)."""
    return provider == family or provider.startswith((f"{family}-", f"{family}_"))


@lru_cache(1)
def _listed() -> Mapping[str, Listed]:
    for path in (*installed(), EXTRACT):
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Listed])
        except (OSError, msgspec.DecodeError):  # another version's shape: the extract still holds
            continue
    return {}


def installed() -> Iterator[Path]:
    """Yield the price file of an installed litellm; nothing of it is imported."""
    spec = importlib.util.find_spec("litellm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder) / LITELLM_FILE
