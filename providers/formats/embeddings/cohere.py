"""OpenAI's embeddings as Cohere's, at Cohere itself and on Bedrock: up to 96 texts a record.

Shapes: Embed v2 (types of the official SDK 7.3; "Batch Inference with Cohere", August 2026) and "Cohere Embed v3",
"Cohere Embed v4" of the Bedrock user guide, copies of November 2026.

Cohere wants to be told what an embedding is for: `input_type`, an extension of the body, search_document where it is
not given. A text that is too long is refused, as OpenAI does, not cut (`truncate: NONE`); the API's own default cuts.
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
    Wanted,
    decode,
    elements,
    fan_out,
    member,
    read_embeddings,
    token_count,
    vector_text,
    word,
)
from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.shapes import ErrorAnswer

PROVIDER = "Cohere"
MAX_TEXTS = 96  # of one call, `V2Client.embed` and both Bedrock pages
INPUT_TYPES = frozenset({"search_document", "search_query", "classification", "clustering"})
_EXTENSIONS = frozenset({"input_type"})
MODELS = (
    EmbeddingModel(("embed-english-light-v3", "embed-multilingual-light-v3"), frozenset({384}), fixed=True),
    EmbeddingModel(("embed-english-v3", "embed-multilingual-v3"), frozenset({1024}), fixed=True),
    EmbeddingModel(("embed-v4",), frozenset({256, 512, 1024, 1536})),
    EmbeddingModel(("",), None),
)
_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


class _Answered(msgspec.Struct):
    embeddings: msgspec.Raw = ABSENT
    meta: Any = None


class _ByType(msgspec.Struct):
    floats: msgspec.Raw = msgspec.field(default=ABSENT, name="float")


def to_cohere_embeddings(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: tuple[EmbeddingModel, ...] = MODELS,
) -> FanOut:
    """Translate an embeddings body into bodies of Embed v2; the model belongs to the batch. Raises LineRejected."""
    return _translated(body, model, models, drop_params=drop_params, strict_params=strict_params, bedrock=False)


def to_bedrock_cohere_embeddings(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: tuple[EmbeddingModel, ...] = MODELS,
) -> FanOut:
    """Translate an embeddings body into `modelInput`s for Cohere's models on Bedrock. Raises LineRejected."""
    return _translated(body, model, models, drop_params=drop_params, strict_params=strict_params, bedrock=True)


def read_part(native: bytes) -> Part:
    """Read an answer of either version. Bedrock's has no token count. Raises ValueError: no JSON."""
    found = decode(native, _Answered)
    by_type = member(found.embeddings, _ByType).floats
    vectors = elements(found.embeddings) or elements(by_type)
    meta = found.meta if isinstance(found.meta, dict) else {}
    billed = meta.get("billed_units")
    tokens = token_count(billed.get("input_tokens")) if isinstance(billed, dict) else 0
    return Part(tuple(map(vector_text, vectors)), tokens)


join = partial(common.join, read_part=read_part)


def error_row(error: bytes, *, status: int = 500) -> ErrorAnswer:
    """Translate Cohere's `{"message"}`; the status stands beside it, if anywhere. Raises ValueError: no JSON."""
    given = read(error)
    words = given.get("message") if isinstance(given, dict) else None
    kind = _STATUS.get(status, "api_error")
    message = words if isinstance(words, str) and words else "Cohere gave no reason for this error."
    fault = {"message": message, "type": kind, "param": None, "code": kind}
    return ErrorAnswer(status, write({"error": fault}), kind)


def _translated(
    body: bytes,
    model: str | None,
    models: tuple[EmbeddingModel, ...],
    *,
    drop_params: bool,
    strict_params: bool,
    bedrock: bool,
) -> FanOut:
    wanted = read_embeddings(
        body,
        PROVIDER,
        model=model,
        drop_params=drop_params,
        strict_params=strict_params,
        models=models,
        extensions=_EXTENSIONS,
    )
    kind = word(wanted, "input_type", INPUT_TYPES) or "search_document"
    options: dict[str, Any] = {"input_type": kind, "embedding_types": ["float"], "truncate": "NONE"}
    if wanted.dimensions is not None:
        options["output_dimension"] = wanted.dimensions
    starts = range(0, len(wanted.texts), MAX_TEXTS)
    bodies = (write({**options, **_texts(wanted, start, bedrock=bedrock)}) for start in starts)
    return fan_out(wanted, bodies, per_body=MAX_TEXTS)


def _texts(wanted: Wanted, start: int, *, bedrock: bool) -> dict[str, Any]:
    texts = wanted.texts[start : start + MAX_TEXTS]
    if bedrock:
        return {"texts": texts}
    return {"inputs": [{"content": [{"type": "text", "text": text}]} for text in texts]}
