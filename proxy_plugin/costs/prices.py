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

from proxy_plugin.providers.base import Capabilities, InputMode, Usage
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
    cache_creation_input_token_cost: float | None = None
    cache_creation_input_token_cost_batches: float | None = None
    cache_creation_input_token_cost_above_1hr: float | None = None  # of tokens that are kept for an hour


_OF_BATCHES = tuple(name for name in Listed.__struct_fields__ if name.endswith("_batches"))


class Price(msgspec.Struct, frozen=True):
    """US dollars a token in a lane's native batch service."""

    input: float
    output: float
    cached_input: float
    cache_write: float
    cache_write_1h: float

    def of(self, usage: Usage) -> float:
        """Return what these tokens cost."""
        kept = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
        written, hits = usage.cache_write_tokens - kept, usage.cached_tokens
        fresh = max(usage.input_tokens - hits - written - kept, 0)  # some servers count them beside
        read = fresh * self.input + hits * self.cached_input
        return read + written * self.cache_write + kept * self.cache_write_1h + usage.output_tokens * self.output


def price(lane: Capabilities, model: str) -> Price | None:
    """Return the batch price of a model in a lane, its full price where it has ordinary calls; None: not known.

    Where no price of writing into a cache is listed, the provider has none: such tokens are read like any other.
    """
    found = _find(_listed(), (lane.provider, *aliases(lane.provider), lane.priced_as or lane.provider), model)
    if found is None or found.input_cost_per_token is None:
        return None
    share = 1 - lane.discount
    full = lane.input_mode is InputMode.DIRECT
    listed = msgspec.structs.replace(found, **dict.fromkeys(_OF_BATCHES)) if full else found
    fresh = _batch(listed.input_cost_per_token_batches, found.input_cost_per_token, share)
    read = listed.cache_read_input_token_cost
    cached = _batch(listed.cache_read_input_token_cost_batches, read, share) if read is not None else fresh
    output = _batch(listed.output_cost_per_token_batches, listed.output_cost_per_token or 0.0, share)
    return Price(fresh, output, min(cached, fresh), *_writing(listed, fresh, share))


def _writing(listed: Listed, fresh: float, share: float) -> tuple[float, float]:
    """Return the prices of a token that is written into a cache for minutes, and for an hour."""
    full, long = listed.cache_creation_input_token_cost, listed.cache_creation_input_token_cost_above_1hr
    if full is None:
        return fresh, fresh
    written = _batch(listed.cache_creation_input_token_cost_batches, full, share)
    return written, written if long is None else long * (written / full if full else share)


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
