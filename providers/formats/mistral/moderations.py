"""OpenAI's moderations on Mistral's: texts out, categories in.

Source: `ModerationRequest` and `ModerationResponse` of Mistral's SDK 3.7. Mistral's categories are its own and are
handed on; it says of none whether a text is flagged, so a text is flagged that has one.
"""

from __future__ import annotations

from typing import Any

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.bodies import read_object
from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.shapes import UNUSABLE, Answer, Translated, spoiled

PROVIDER = "Mistral's moderation"
_KNOWN = frozenset({"model", "input"})


def to_mistral_moderation(
    body: bytes, *, model: str | None, drop_params: bool, strict_params: bool = False
) -> Translated:
    """Return `{"model", "input"}`. Raises LineRejected."""
    given = read_object(body)
    texts = given.get("input")
    if not isinstance(texts, str) and not (texts and _all_texts(texts)):
        raise rejected("input", "Mistral moderates a text, or a list of texts; send pictures to another provider")
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    losses.add_unknown(given, _KNOWN)
    return Translated(write({"model": model or given.get("model"), "input": texts}), losses.settled())


def to_moderation(native: bytes) -> Answer:
    """Return OpenAI's answer. Raises ValueError: no JSON."""
    found = read(native)
    results = found.get("results") if isinstance(found, dict) else None
    model = found.get("model") if isinstance(found, dict) else None
    model = model if isinstance(model, str) else ""
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        body = write({"error": spoiled("empty_result", "no results came"), "answer": found})
        return Answer(body, Usage(), model, UNUSABLE, "empty_result")
    body = write({**found, "results": [{"flagged": _flagged(each), **each} for each in results]})
    return Answer(body, Usage(), model)


def _flagged(result: dict[str, Any]) -> bool:
    categories = result.get("categories")
    return isinstance(categories, dict) and True in categories.values()


def _all_texts(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(each, str) for each in given)
