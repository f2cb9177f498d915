"""Embeddings bodies on their way out: what each provider gets, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_plugin.providers.base import LineRejected
from proxy_plugin.providers.formats.embeddings.cohere import to_bedrock_cohere_embeddings, to_cohere_embeddings
from proxy_plugin.providers.formats.embeddings.common import Facts, FanOut
from proxy_plugin.providers.formats.embeddings.gemini import Form, to_gemini_embeddings
from proxy_plugin.providers.formats.embeddings.mistral import to_mistral_embeddings
from proxy_plugin.providers.formats.embeddings.titan import to_titan_embeddings

Json = dict[str, Any]
Translator = Callable[..., FanOut]
TRANSLATORS: list[Translator] = [
    to_gemini_embeddings,
    to_titan_embeddings,
    to_cohere_embeddings,
    to_bedrock_cohere_embeddings,
    to_mistral_embeddings,
]
TITAN_2, TITAN_1, TITAN_IMAGE = (
    "amazon.titan-embed-text-v2:0",
    "amazon.titan-embed-text-v1",
    "amazon.titan-embed-image-v1",
)
COHERE = {"input_type": "search_document", "embedding_types": ["float"], "truncate": "NONE"}


def body(model: str | None = "m", texts: object = "a", **options: object) -> bytes:
    return json.dumps({"model": model, "input": texts, **options}).encode()


def bodies(translator: Translator, given_body: bytes, **options: Any) -> list[Json]:
    out = translator(given_body, model=None, drop_params=False, **options)
    assert out.dropped == ()
    assert not any(b"\n" in native for native in out.bodies)
    return [json.loads(native) for native in out.bodies]


def refusal(translator: Translator, given_body: bytes, *, drop_params: bool = False) -> LineRejected:
    with pytest.raises(LineRejected) as caught:
        translator(given_body, model=None, drop_params=drop_params, strict_params=True)
    return caught.value


def test_gemini_has_a_record_for_each_text_in_three_forms() -> None:
    line = body("gemini-embedding-001", ["a", "b"], dimensions=768, task_type="RETRIEVAL_DOCUMENT", title="t")
    contents = [{"content": {"parts": [{"text": text}]}} for text in "ab"]
    snake = {"output_dimensionality": 768, "task_type": "RETRIEVAL_DOCUMENT", "title": "t"}
    camel = {"outputDimensionality": 768, "taskType": "RETRIEVAL_DOCUMENT", "title": "t"}
    assert bodies(to_gemini_embeddings, line) == [{**content, **snake} for content in contents]
    assert bodies(to_gemini_embeddings, line, form=Form.INLINE) == [{**content, **camel} for content in contents]
    nested = [{**content, "embed_content_config": snake} for content in contents]
    assert bodies(to_gemini_embeddings, line, form=Form.CONFIG) == nested
    plain = body("gemini-embedding-001", "a", task_type="")
    assert bodies(to_gemini_embeddings, plain, form=Form.CONFIG) == contents[:1]


def test_older_models_on_vertex_take_instances_and_no_size() -> None:
    assert bodies(to_gemini_embeddings, body("text-embedding-005", "a", dimensions=768)) == [{"content": "a"}]
    assert refusal(to_gemini_embeddings, body("text-embedding-005", "a", dimensions=256)).param == "dimensions"


def test_what_a_gemini_model_ignores_is_a_loss() -> None:
    line = body("gemini-embedding-2", "a", task_type="CLUSTERING")
    assert refusal(to_gemini_embeddings, line).param == "task_type"
    out = to_gemini_embeddings(line, model=None, drop_params=True)
    assert (json.loads(out.bodies[0]).keys(), out.dropped) == ({"content"}, ("task_type",))


@pytest.mark.parametrize(
    ("model", "options", "native"),
    [
        (TITAN_2, {}, {"inputText": "a"}),
        (TITAN_2, {"dimensions": 512}, {"inputText": "a", "dimensions": 512}),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/p", {"dimensions": 7}, {"inputText": "a", "dimensions": 7}),
        (TITAN_1, {"dimensions": 1536}, {"inputText": "a"}),
        (TITAN_IMAGE, {"dimensions": 384}, {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}}),
        (TITAN_IMAGE, {"input": "data:image/png;base64,iVBO"}, {"inputImage": "iVBO"}),
        (TITAN_2, {"input": "data:image/png;base64,iVBO"}, {"inputText": "data:image/png;base64,iVBO"}),
    ],
)
def test_titan(model: str, options: Json, native: Json) -> None:
    assert bodies(to_titan_embeddings, body(model, **{"texts": options.pop("input", "a"), **options})) == [native]


@pytest.mark.parametrize(
    ("translator", "model", "size"),
    [
        (to_titan_embeddings, TITAN_1, 1024),
        (to_titan_embeddings, TITAN_2, 384),
        (to_titan_embeddings, TITAN_IMAGE, 512),
        (to_bedrock_cohere_embeddings, "cohere.embed-english-v3", 512),
        (to_cohere_embeddings, "batch-embed-v4", 384),
        (to_mistral_embeddings, "mistral-embed", 512),
    ],
)
def test_a_size_that_a_model_has_not_is_never_dropped(translator: Translator, model: str, size: int) -> None:
    assert refusal(translator, body(model, "a", dimensions=size), drop_params=True).param == "dimensions"


def test_cohere_takes_96_texts_in_a_record() -> None:
    texts = [f"text {number}" for number in range(200)]
    here = to_bedrock_cohere_embeddings(body("cohere.embed-v4:0", texts, dimensions=512), model=None, drop_params=False)
    natives = [json.loads(native) for native in here.bodies]
    assert [len(native["texts"]) for native in natives] == [96, 96, 8]
    assert [text for native in natives for text in native.pop("texts")] == texts
    assert natives == [{**COHERE, "output_dimension": 512}] * 3
    assert here.facts == Facts("cohere.embed-v4:0", 200, 96)
    direct = bodies(to_cohere_embeddings, body("batch-embed-v4", "a", input_type="clustering"))
    inputs = [{"content": [{"type": "text", "text": "a"}]}]
    assert direct == [{**COHERE, "input_type": "clustering", "inputs": inputs}]
    assert refusal(to_cohere_embeddings, body(input_type="image"), drop_params=True).param == "input_type"


def test_mistral_takes_the_whole_list() -> None:
    line = body("codestral-embed", ["a", "b"], dimensions=512, encoding_format="base64")
    out = to_mistral_embeddings(line, model="codestral-embed-2505", drop_params=False)
    assert [json.loads(native) for native in out.bodies] == [
        {"model": "codestral-embed-2505", "input": ["a", "b"], "output_dimension": 512}
    ]
    assert out.facts == Facts("codestral-embed-2505", 2, 2, base64=True)


REFUSED: list[tuple[Json, str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": ""}, "input"),
    ({"input": {}}, "input"),
    ({"input": [1, 2, 3]}, "input"),
    ({"input": [[1, 2], [3]]}, "input"),
    ({"input": ["a", ""]}, "input[1]"),
    ({"input": ["a", None]}, "input[1]"),
    ({"input": ["a"] * 2049}, "input"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"dimensions": 0}, "dimensions"),
    ({"dimensions": True}, "dimensions"),
    ({"dimensions": 2.5}, "dimensions"),
    ({"encoding_format": "int8"}, "encoding_format"),
    ({"encoding_format": []}, "encoding_format"),
]


@pytest.mark.parametrize("translator", TRANSLATORS)
@pytest.mark.parametrize(("change", "param"), REFUSED)
def test_refused_by_name_whatever_the_route_allows(translator: Translator, change: Json, param: str) -> None:
    line = json.dumps({"model": "m", "input": "SECRET", **change}).encode()
    error = refusal(translator, line, drop_params=True)
    assert error.param == param
    assert param in error.message
    assert "SECRET" not in error.message


@pytest.mark.parametrize("translator", TRANSLATORS)
def test_what_has_no_equivalent_is_refused_or_recorded(translator: Translator) -> None:
    line = body(user="u", normalize=False)
    assert "drop_params" in refusal(translator, line).message
    out = translator(line, model=None, drop_params=True)
    assert out.dropped == ("user", "normalize")
    assert not any(b"user" in native or b"normalize" in native for native in out.bodies)
    assert translator(body(user=None, encoding_format="float"), model=None, drop_params=False).dropped == ()
    for broken in (b"[]", b"{", b'"a"', b"[" * 2000):
        assert refusal(translator, broken).param == "body"


@pytest.mark.parametrize("translator", TRANSLATORS)
@pytest.mark.parametrize("text", ["👩‍👩‍👧", "漢字", "مرحبا", "\x00", "\ud83d", "a\r\n\u2028", " ", "x" * 2**20])
def test_texts_survive(translator: Translator, text: str) -> None:
    found: list[str] = []
    for native in bodies(translator, body(texts=[text, "b"])):
        collect(native, found)
    assert found[0] == text
    assert found[1] == "b"


def collect(native: Json, found: list[str]) -> None:
    """Gather the texts that a native body holds, whatever it calls them."""
    for name in ("texts", "input", "inputs"):
        if isinstance(native.get(name), list):
            found += [each if isinstance(each, str) else each["content"][0]["text"] for each in native[name]]
    if "inputText" in native:
        found.append(native["inputText"])
    if "content" in native:
        found.append(native["content"]["parts"][0]["text"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["model", "input", "dimensions", "encoding_format", "user", "input_type", "task_type", "title"])


@pytest.mark.parametrize("translator", TRANSLATORS)
@given(st.dictionaries(NAMES, JSON), st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_but_a_refusal_is_raised(translator: Translator, line: Json, drop: bool) -> None:
    translate = partial(translator, json.dumps({"input": "a", **line}).encode(), model="m", drop_params=drop)
    first = outcome(translate)
    assert first not in ("", "no name")
    assert outcome(translate) == first


def outcome(translate: Callable[[], FanOut]) -> FanOut | str:
    """Return the translation or the name in the refusal."""
    try:
        return translate()
    except LineRejected as error:
        return error.param or "no name"
