"""A completions body with a `suffix` as Mistral's fill-in-the-middle: what stands between prompt and suffix is written.

Source: `FIMCompletionRequest` of the official SDK 3.7, whose answer has the choices of a chat; the endpoint is among
those of batches (reference page). Which models know how (codestral) the service says itself.
"""

from __future__ import annotations

from proxy_plugin.providers.formats.bodies import Block, read_object
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.losses import Losses
from proxy_plugin.providers.formats.mistral.chat import sampling, written
from proxy_plugin.providers.formats.openai.chat import check_rest, model_name, read_limit
from proxy_plugin.providers.formats.openai.completions import DEFAULT_MAX_TOKENS, NEVER, SAME, prompt_of
from proxy_plugin.providers.formats.shapes import Translated

PROVIDER = "Mistral's fill-in-the-middle"
_COPIED = ("top_p", "stop", "metadata", "min_tokens", "prompt_cache_key", "suffix")
_KNOWN = frozenset({*_COPIED, "model", "prompt", "max_tokens", "temperature", "seed", "random_seed", "stream_options"})
_NEVER = {name: reason for name, reason in NEVER.items() if name != "suffix"}


def has_suffix(body: bytes) -> bool:
    """Tell whether a completions body has a text behind what is to be written."""
    if b"suffix" not in body and b"\\u" not in body:
        return False
    given = read(body)
    return isinstance(given, dict) and isinstance(given.get("suffix"), str) and given["suffix"] != ""


def to_fim(body: bytes, *, model: str | None, drop_params: bool, strict_params: bool = False) -> Translated:
    """Translate a completions body that has a suffix. Raises LineRejected."""
    given = read_object(body)
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    check_rest(given, losses, known=_KNOWN, same=SAME, never=_NEVER, provider=PROVIDER)
    native: Block = {"model": model_name(given, model), "prompt": prompt_of(given.get("prompt"))}
    native |= {name: given[name] for name in _COPIED if given.get(name) is not None}
    limit = read_limit(given)
    native["max_tokens"] = limit[1] if limit else DEFAULT_MAX_TOKENS
    sampling(given, native, losses)
    return Translated(written(native, given, losses), losses.settled())
