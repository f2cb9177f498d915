"""OpenAI's embeddings as Voyage's batches: the texts in the line's body, all else in the job's `request_params`.

Shapes: `reference/create-batch` (OpenAPI 1.1) and "Text embeddings", Voyage's docs, November 2026. A text that is too
long is refused, as OpenAI does, not cut, unless the line says `truncation: true`; the API's own default cuts.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

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
    word,
)
from proxy_plugin.providers.formats.json_text import write
from proxy_plugin.providers.formats.losses import rejected

PROVIDER = "Voyage's API"
MAX_TEXTS = 1000  # of a line
INPUT_TYPES = frozenset({"query", "document"})
OUTPUT_TYPES = frozenset({"float", "int8", "uint8", "binary", "ubinary"})
_EXTENSIONS = frozenset({"input_type", "truncation", "output_dtype"})
MODELS = (EmbeddingModel(("",), None),)


class Wanted(NamedTuple):
    """A line's body, and the parameters that its job must have."""

    line: FanOut
    params: dict[str, Any]


class _Answered(msgspec.Struct):
    data: msgspec.Raw = ABSENT
    model: Any = None
    usage: Any = None


class _Entry(msgspec.Struct):
    embedding: msgspec.Raw = ABSENT
    index: Any = None


def to_voyage_embeddings(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: tuple[EmbeddingModel, ...] = MODELS,
) -> Wanted:
    """Translate an embeddings body. Raises LineRejected."""
    wanted = read_embeddings(
        body,
        PROVIDER,
        model=model,
        drop_params=drop_params,
        strict_params=strict_params,
        models=models,
        extensions=_EXTENSIONS,
    )
    if len(wanted.texts) > MAX_TEXTS:
        raise rejected("input", f"must hold {MAX_TEXTS} texts at most; spread them over several lines")
    truncation = wanted.given.get("truncation")
    if truncation is not None and not isinstance(truncation, bool):
        raise rejected("truncation", "must be true or false", "invalid_type")
    params: dict[str, Any] = {"model": wanted.model, "truncation": bool(truncation)}
    if wanted.dimensions is not None:
        params["output_dimension"] = wanted.dimensions
    for name, allowed in (("input_type", INPUT_TYPES), ("output_dtype", OUTPUT_TYPES)):
        if value := word(wanted, name, allowed):
            params[name] = value
    return Wanted(fan_out(wanted, (write({"input": wanted.texts}),), per_body=MAX_TEXTS), params)


def read_part(native: bytes) -> Part:
    """Read an answer; its entries may stand in any order. Raises ValueError: no JSON."""
    found = decode(native, _Answered)
    entries = [member(raw, _Entry) for raw in elements(found.data)]
    if sorted(entry.index for entry in entries if type(entry.index) is int) == list(range(len(entries))):
        entries.sort(key=lambda entry: int(entry.index))
    usage = found.usage if isinstance(found.usage, dict) else {}
    model = found.model if isinstance(found.model, str) else ""
    return Part(tuple(vector_text(entry.embedding) for entry in entries), token_count(usage.get("total_tokens")), model)


join = partial(common.join, read_part=read_part)
