"""OpenAI's embeddings as Amazon Titan's: one text a record.

Shapes: "Amazon Titan Embeddings Text" and "Amazon Titan Multimodal Embeddings G1", Bedrock user guide, copies of
November 2026; batch records of Titan's (page on Bedrock's jobs, same month). Vectors come as floats, normalized, unless
something else is asked for.

Extension: to the multimodal model an input that is a data URI of an image is the image, not the text of its URI.
"""

from __future__ import annotations

import re
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
    fan_out,
    member,
    read_embeddings,
    token_count,
    vector_text,
)
from proxy_plugin.providers.formats.json_text import write

PROVIDER = "Amazon Titan"
_TEXT, _IMAGE = "text", "image"
_IMAGE_URI = re.compile(r"data:image/(?:png|jpe?g);base64,", re.IGNORECASE)
# The last record takes what is not known, an inference profile's name for one, for the newest text model.
MODELS = (
    EmbeddingModel(("titan-embed-image", "titan-e1m"), frozenset({256, 384, 1024}), _IMAGE),
    EmbeddingModel(("titan-embed-text-v1", "titan-embed-g1-text"), frozenset({1536}), _TEXT, fixed=True),
    EmbeddingModel(("titan-embed-text-v2",), frozenset({256, 512, 1024}), _TEXT),
    EmbeddingModel(("",), None, _TEXT),
)


class _Answered(msgspec.Struct):
    embedding: msgspec.Raw = ABSENT
    by_type: msgspec.Raw = msgspec.field(default=ABSENT, name="embeddingsByType")
    tokens: Any = msgspec.field(default=None, name="inputTextTokenCount")
    message: Any = None


class _ByType(msgspec.Struct):
    floats: msgspec.Raw = msgspec.field(default=ABSENT, name="float")


def to_titan_embeddings(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: tuple[EmbeddingModel, ...] = MODELS,
) -> FanOut:
    """Translate an embeddings body into one `modelInput` a text. Raises LineRejected."""
    wanted = read_embeddings(
        body, PROVIDER, model=model, drop_params=drop_params, strict_params=strict_params, models=models
    )
    return fan_out(wanted, (_input(text, wanted) for text in wanted.texts))


def read_part(native: bytes) -> Part:
    """Read one `modelOutput`. Raises ValueError: no JSON."""
    found = decode(native, _Answered)
    vector = vector_text(found.embedding) or vector_text(member(found.by_type, _ByType).floats)
    complaint = found.message if isinstance(found.message, str) else ""
    return Part((vector,), token_count(found.tokens), complaint=complaint)


join = partial(common.join, read_part=read_part)


def _input(text: str, wanted: Wanted) -> bytes:
    body: dict[str, Any] = {"inputText": text}
    if wanted.facts.form == _IMAGE:
        if head := _IMAGE_URI.match(text):
            body = {"inputImage": text[head.end() :]}
        if wanted.dimensions is not None:
            body["embeddingConfig"] = {"outputEmbeddingLength": wanted.dimensions}
    elif wanted.dimensions is not None:
        body["dimensions"] = wanted.dimensions
    return write(body)
