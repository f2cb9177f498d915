"""OpenAI's embeddings as Gemini's, in the Gemini API and on Vertex AI: one text a record.

Shapes: "Batch API" of the Gemini API and types of the official SDK 3.4; "Get batch text embeddings predictions" of
Google Cloud's docs, September 2026. On Vertex two forms are in use, and no page settles which the live service takes
(`Form`). The model stands in the job, not in a record.

Extensions of the body: `task_type`, `title`, as Google's SDK names them. Vectors are handed on as the model made them,
whether it normalizes those of a smaller size or not.
"""

from __future__ import annotations

from enum import Enum
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
from proxy_plugin.providers.formats.json_text import write

PROVIDER = "Gemini's embedding API"
_EXTENSIONS = frozenset({"task_type", "title"})
_TEXT_ONLY, _LEGACY = "text_only", "legacy"
MODELS = (
    # "gemini-embedding-2 ignores task_type and title", Google Cloud's docs, September 2026.
    EmbeddingModel(("gemini-embedding-2",), None, _TEXT_ONLY),
    # Size is a parameter of the whole job there; the models' own is 768.
    EmbeddingModel(("text-embedding-00", "text-multilingual-embedding-002"), frozenset({768}), _LEGACY, fixed=True),
    EmbeddingModel(("",), None),
)


class Form(Enum):
    """Where a record carries its options. The value names the object around them."""

    INLINE = "inline"  # Gemini API, requests in the job itself: beside the content, in camel case
    FLAT = "flat"  # Gemini API, file; Vertex, as gateways in use send it: beside the content
    CONFIG = "embed_content_config"  # Vertex, as its page shows it


_CAMEL = {"output_dimensionality": "outputDimensionality", "task_type": "taskType"}


class _Answered(msgspec.Struct):
    embedding: msgspec.Raw = ABSENT
    embeddings: msgspec.Raw = ABSENT
    predictions: msgspec.Raw = ABSENT
    tokens: Any = msgspec.field(default=None, name="tokenCount")
    usage: Any = msgspec.field(default=None, name="usageMetadata")
    truncated: Any = None


class _Embedding(msgspec.Struct):
    values: msgspec.Raw = ABSENT
    statistics: Any = None


class _Prediction(msgspec.Struct):
    embeddings: msgspec.Raw = ABSENT


def to_gemini_embeddings(
    body: bytes,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    form: Form = Form.FLAT,
    models: tuple[EmbeddingModel, ...] = MODELS,
) -> FanOut:
    """Translate an embeddings body into one `request` a text; of legacy models the whole instance.

    Raises LineRejected.
    """
    wanted = read_embeddings(
        body,
        PROVIDER,
        model=model,
        drop_params=drop_params,
        strict_params=strict_params,
        models=models,
        extensions=_EXTENSIONS,
    )
    options = _options(wanted)
    if wanted.facts.form == _LEGACY:
        return fan_out(wanted, (write({"content": text, **options}) for text in wanted.texts))
    if form is Form.INLINE:
        options = {_CAMEL.get(name, name): value for name, value in options.items()}
    elif form is Form.CONFIG and options:
        options = {form.value: options}
    contents = ({"content": {"parts": [{"text": text}]}} for text in wanted.texts)
    return fan_out(wanted, (write({**content, **options}) for content in contents))


def read_part(native: bytes) -> Part:
    """Read one answer. Raises ValueError: no JSON."""
    found = decode(native, _Answered)
    place = found.embedding
    if bytes(place) == b"null":
        several = elements(found.embeddings) or [
            member(raw, _Prediction).embeddings for raw in elements(found.predictions)
        ]
        place = several[0] if len(several) == 1 else ABSENT
    embedding = member(place, _Embedding)
    statistics = embedding.statistics if isinstance(embedding.statistics, dict) else {}
    usage = found.usage if isinstance(found.usage, dict) else {}
    counts = (usage.get("promptTokenCount"), found.tokens, statistics.get("token_count"), statistics.get("tokenCount"))
    tokens = next((number for number in map(token_count, counts) if number), 0)
    cut = found.truncated is True or statistics.get("truncated") is True
    return Part((vector_text(embedding.values),), tokens, truncated=cut)


# Of legacy models a part is the whole result line, which has `predictions` in the place of a `response`.
join = partial(common.join, read_part=read_part)


def _options(wanted: Wanted) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if wanted.dimensions is not None:
        options["output_dimensionality"] = wanted.dimensions
    for name in ("task_type", "title"):
        if (value := word(wanted, name)) is None:
            continue
        if wanted.facts.form == _TEXT_ONLY:
            wanted.losses.add(name, "this model ignores it", "Write it into the text")
        else:
            options[name] = value
    return options
