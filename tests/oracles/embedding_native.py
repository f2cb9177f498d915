"""Embeddings: the records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from proxy_plugin.providers.formats.embeddings import cohere as cohere_embeddings
from proxy_plugin.providers.formats.embeddings import gemini as gemini_embeddings
from proxy_plugin.providers.formats.embeddings import mistral as mistral_embeddings
from proxy_plugin.providers.formats.embeddings import titan as titan_embeddings
from proxy_plugin.providers.formats.embeddings.common import Facts, FanOut
from proxy_plugin.providers.formats.embeddings.gemini import Form
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, Translated
from tests.oracles import embedding_judge, embedding_lines, embedding_peers
from tests.oracles.embedding_peers import EmbeddingPeer
from tests.oracles.judging import Judged, Translate
from tests.oracles.meaning import Json, Known
from tests.oracles.sdk_types import embedding_answer_complaints, gemini_embedding_complaints

Join = Callable[[Iterable[bytes], Facts], Answer | ErrorAnswer]
NAME = "the-model"


def _fanned(translate: Callable[..., FanOut]) -> Translate:
    """Return a translator whose body holds all bodies of a line."""

    def translated(body: bytes, *, model: str | None, drop_params: bool, strict_params: bool = False) -> Translated:
        fan = translate(body, model=model, drop_params=drop_params, strict_params=strict_params)
        return Translated(b'{"bodies":[%b]}' % b",".join(fan.bodies), fan.dropped)

    return translated


def _joined(join: Join, per_body: int) -> Callable[[bytes], Answer]:
    """Return a reader of all native answers to a line."""

    def read(native: bytes) -> Answer:
        given = json.loads(native)
        parts = [json.dumps(part).encode() for part in given["parts"]]
        found = join(parts, Facts(NAME, given["inputs"], per_body, given["base64"]))
        assert isinstance(found, Answer), found
        return found

    return read


def _each(complaints: Callable[[Json], list[str]]) -> Callable[[Json], list[str]]:
    return lambda body: [each for one in body["bodies"] for each in complaints(one)]


def _judged(
    name: str,
    models: tuple[str, ...],
    translate: Callable[..., FanOut],
    join: Any,
    one: Callable[[Any, int], Json],
    peer: EmbeddingPeer,
    known: tuple[Known, ...],
    *,
    per_body: int = 1,
    answers: tuple[Known, ...] = embedding_judge.NAMES,
    complaints: Callable[[Json], list[str]] = lambda _body: [],
) -> Judged:
    return Judged(
        name=name,
        models=models,
        translate=_fanned(translate),
        peer=peer,
        canonical=embedding_judge.spelled,
        complaints=_each(complaints),
        requests=known,
        results=embedding_lines.results(one, per_body),
        answer=_joined(join, per_body),
        answers=answers,
        lines=embedding_lines.bodies,
        encode=embedding_lines.encoded,
        said=embedding_lines.said,
        answer_complaints=embedding_answer_complaints,
    )


_TITAN = titan_embeddings.to_titan_embeddings, titan_embeddings.join, embedding_lines.titan
EMBEDDINGS: tuple[Judged, ...] = (
    _judged(
        "Embeddings: Gemini",
        ("gemini-embedding-001",),
        partial(gemini_embeddings.to_gemini_embeddings, form=Form.INLINE),
        gemini_embeddings.join,
        embedding_lines.gemini,
        EmbeddingPeer("gemini", embedding_peers.gemini_bodies, embedding_peers.vertex_read),
        embedding_judge.GEMINI,
        complaints=gemini_embedding_complaints,
    ),
    _judged(
        "Embeddings: Vertex",
        ("gemini-embedding-001",),
        partial(gemini_embeddings.to_gemini_embeddings, form=Form.FLAT),
        gemini_embeddings.join,
        embedding_lines.gemini,
        EmbeddingPeer("vertex_ai", embedding_peers.vertex_bodies, embedding_peers.vertex_read),
        embedding_judge.VERTEX,
        complaints=gemini_embedding_complaints,
    ),
    _judged(
        "Embeddings: Vertex, as its page shows it",
        ("gemini-embedding-001", "gemini-embedding-2"),
        partial(gemini_embeddings.to_gemini_embeddings, form=Form.CONFIG),
        gemini_embeddings.join,
        embedding_lines.gemini,
        EmbeddingPeer("vertex_ai", embedding_peers.vertex_bodies, embedding_peers.vertex_read),
        embedding_judge.VERTEX_CONFIG,
        complaints=gemini_embedding_complaints,
    ),
    _judged(
        "Embeddings: Vertex, legacy",
        ("text-embedding-005",),
        gemini_embeddings.to_gemini_embeddings,
        gemini_embeddings.join,
        embedding_lines.legacy,
        EmbeddingPeer("vertex_ai", embedding_peers.legacy_bodies, embedding_peers.legacy_read),
        embedding_judge.LEGACY,
    ),
    _judged(
        "Embeddings: Titan v1",
        ("amazon.titan-embed-text-v1",),
        *_TITAN,
        EmbeddingPeer("bedrock", *embedding_peers.TITAN_1),
        embedding_judge.TITAN_1,
    ),
    _judged(
        "Embeddings: Titan v2",
        ("amazon.titan-embed-text-v2:0",),
        *_TITAN,
        EmbeddingPeer("bedrock", *embedding_peers.TITAN_2),
        embedding_judge.TITAN_2,
    ),
    _judged(
        "Embeddings: Titan multimodal",
        ("amazon.titan-embed-image-v1",),
        *_TITAN,
        EmbeddingPeer("bedrock", *embedding_peers.TITAN_IMAGE),
        embedding_judge.TITAN_IMAGE,
    ),
    _judged(
        "Embeddings: Cohere on Bedrock",
        ("cohere.embed-multilingual-v3", "cohere.embed-v4:0"),
        cohere_embeddings.to_bedrock_cohere_embeddings,
        cohere_embeddings.join,
        embedding_lines.bedrock_cohere,
        EmbeddingPeer("bedrock", embedding_peers.bedrock_cohere_bodies, embedding_peers.cohere_read),
        embedding_judge.BEDROCK_COHERE,
        per_body=cohere_embeddings.MAX_TEXTS,
    ),
    _judged(
        "Embeddings: Cohere",
        ("embed-v4.0", "batch-embed-v4"),
        cohere_embeddings.to_cohere_embeddings,
        cohere_embeddings.join,
        embedding_lines.cohere,
        EmbeddingPeer("cohere", embedding_peers.cohere_bodies, embedding_peers.cohere_read),
        embedding_judge.COHERE,
        per_body=cohere_embeddings.MAX_TEXTS,
    ),
    _judged(
        "Embeddings: Mistral",
        ("mistral-embed", "codestral-embed"),
        mistral_embeddings.to_mistral_embeddings,
        mistral_embeddings.join,
        embedding_lines.mistral,
        EmbeddingPeer("mistral", embedding_peers.mistral_bodies, embedding_peers.mistral_read),
        embedding_judge.MISTRAL,
        per_body=2048,
        answers=(),
    ),
)
