"""OpenAI's embeddings as Mistral's: the whole list in one body, an answer of nearly the same shape.

Shapes: `EmbeddingRequest`, `EmbeddingResponse` of the official SDK 3.7; "Text Embeddings" (vectors of mistral-embed
have 1,024 numbers) and the reference of `/v1/embeddings`, Mistral's docs, copies of November 2026.

Vectors are asked for as floats always: what bytes the API's own base64 holds is not documented.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from proxy_plugin.providers.formats.embeddings import common
from proxy_plugin.providers.formats.embeddings.common import (
    ABSENT,
    EmbeddingModel,
    FanOut,
    Part,
    decode,
    elements,
    fan_out,
    member,
    read_embeddings,
    token_count,
    vector_text,
)
from proxy_plugin.providers.formats.json_text import write

PROVIDER = "Mistral's API"
MODELS = (
    EmbeddingModel(("mistral-embed",), frozenset({1024}), fixed=True),
    EmbeddingModel(("",), None),
)


class _Answered(msgspec.Struct):
    data: msgspec.Raw = ABSENT
    model: Any = None
    usage: Any = None


class _Entry(msgspec.Struct):
    embedding: msgspec.Raw = ABSENT
    index: Any = None


def to_mistral_embeddings(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: tuple[EmbeddingModel, ...] = MODELS,
) -> FanOut:
    """Translate an embeddings body into one of Mistral's. Raises LineRejected."""
    wanted = read_embeddings(
        body, PROVIDER, model=model, drop_params=drop_params, strict_params=strict_params, models=models
    )
    native: dict[str, Any] = {"model": wanted.model, "input": wanted.texts}
    if wanted.dimensions is not None:
        native["output_dimension"] = wanted.dimensions
    return fan_out(wanted, (write(native),), per_body=len(wanted.texts))


def read_part(native: bytes) -> Part:
    """Read an answer; its entries may stand in any order. Raises ValueError: no JSON."""
    found = decode(native, _Answered)
    entries = [member(raw, _Entry) for raw in elements(found.data)]
    if sorted(entry.index for entry in entries if type(entry.index) is int) == list(range(len(entries))):
        entries.sort(key=lambda entry: int(entry.index))
    usage = found.usage if isinstance(found.usage, dict) else {}
    model = found.model if isinstance(found.model, str) else ""
    return Part(
        tuple(vector_text(entry.embedding) for entry in entries), token_count(usage.get("prompt_tokens")), model
    )


join = partial(common.join, read_part=read_part)
