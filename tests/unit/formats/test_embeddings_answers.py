"""Native embeddings put together again: order, exact numbers, token counts, and no half answers."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.embeddings import cohere, gemini, mistral, titan
from proxy_plugin.providers.formats.embeddings.common import Facts
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer

Json = dict[str, Any]
# Spellings that a decoder would change.
SPELLED = b"[0.10, 1e-05, -0.0, 1E-400, 0.123456789012345678901, 7]"


def answer(joined: Answer | ErrorAnswer) -> Json:
    assert isinstance(joined, Answer)
    assert b"\n" not in joined.body
    body: Json = json.loads(joined.body)
    CreateEmbeddingResponse.model_validate(body, strict=True)
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] == joined.usage.input_tokens
    return body


def failure(joined: Answer | ErrorAnswer) -> Json:
    assert isinstance(joined, ErrorAnswer)
    error: Json = json.loads(joined.body)["error"]
    return error


TITAN = b'{"embedding":%b,"embeddingsByType":{"float":[9]},"inputTextTokenCount":5}'
GEMINI = b'{"embedding":{"values":%b},"usageMetadata":{"promptTokenCount":5}}'
LEGACY = (
    b'{"instance":{"content":"\\ud83d"},"predictions":[{"embeddings":{"statistics":{"token_count":5},"values":%b}}]}'
)
SINGLES: list[tuple[Callable[..., Answer | ErrorAnswer], bytes]] = [
    (titan.join, TITAN),
    (titan.join, b'{"embeddingsByType":{"binary":[1],"float":%b},"inputTextTokenCount":5}'),
    (gemini.join, GEMINI),
    (gemini.join, b'{"tokenCount":"5","embedding":{"values":%b}}'),
    (gemini.join, b'{"tokenCount":5,"embeddings":[{"values":%b}]}'),
    (gemini.join, LEGACY),
    (mistral.join, b'{"model":"m","usage":{"prompt_tokens":5},"data":[{"index":0,"embedding":%b}]}'),
    (cohere.join, b'{"texts":["\\\\\\ud83d"],"embeddings":[%b],"meta":{"billed_units":{"input_tokens":5.0}}}'),
    (cohere.join, b'{"embeddings":{"float":[%b]},"meta":{"billed_units":{"input_tokens":5}}}'),
]


@pytest.mark.parametrize(("join", "native"), SINGLES)
def test_numbers_stay_as_they_were_spelled(join: Callable[..., Answer | ErrorAnswer], native: bytes) -> None:
    parts = [native % SPELLED, native % b"[\n2]"]
    joined = join(parts, Facts("m", 2, 1))
    found = answer(joined)
    assert isinstance(joined, Answer)
    assert SPELLED in joined.body
    assert [(entry["index"], entry["object"]) for entry in found["data"]] == [(0, "embedding"), (1, "embedding")]
    assert found["data"][1]["embedding"] == [2]
    assert (found["model"], joined.usage) == ("m", Usage(input_tokens=10))


@pytest.mark.parametrize(("join", "native"), SINGLES)
def test_base64_is_floats_of_32_bits_low_byte_first(join: Callable[..., Answer | ErrorAnswer], native: bytes) -> None:
    found = answer_of_base64(join([native % b"[1, -2.5, 0.1]"], Facts("m", 1, 1, base64=True)))
    assert base64.b64decode(found) == struct.pack("<3f", 1, -2.5, 0.1)


def answer_of_base64(joined: Answer | ErrorAnswer) -> str:
    assert isinstance(joined, Answer)
    found: str = json.loads(joined.body)["data"][0]["embedding"]
    return found


@pytest.mark.parametrize(("join", "native"), SINGLES)
@pytest.mark.parametrize("vector", [b"null", b"[]", b"[[1]]", b'["1"]', b"{}", b"[true]", b'"AAAA"'])
def test_what_is_no_vector_fails_the_line(
    join: Callable[..., Answer | ErrorAnswer], native: bytes, vector: bytes
) -> None:
    broken = native.replace(b'"float":[9]', b'"float":null') % vector
    error = failure(join([native % b"[1]", broken, native % b"[3]"], Facts("m", 3, 1)))
    assert (error["code"], error["param"]) == ("empty_result", "input[1]")


@pytest.mark.parametrize("module", [titan, gemini, mistral, cohere])
def test_corrupt_and_odd_answers(module: Any) -> None:
    for corrupt in (b"", b"{", b'{"embedding":[1', b"nonsense"):
        with pytest.raises(ValueError, match="JSON"):
            module.join([corrupt], Facts("m", 1, 1))
    for odd in (b"[]", b"7", b"{}", b'{"embedding":7,"embeddings":8,"data":9,"usage":1,"meta":2,"message":3}'):
        assert failure(module.join([odd], Facts("m", 1, 1)))["code"] == "empty_result"


def test_a_failed_or_missing_part_fails_the_line_with_its_place() -> None:
    reason = {"message": "too long", "type": "invalid_request_error", "param": None, "code": "x"}
    failed = ErrorAnswer(400, json.dumps({"error": reason}).encode(), "x")
    good = TITAN % b"[1]"
    joined = titan.join([good, failed, good], Facts("m", 3, 1))
    assert failure(joined) == {**reason, "param": "input[1]"}
    assert isinstance(joined, ErrorAnswer)
    assert (joined.status, joined.code) == (400, "x")
    assert titan.join([failed], Facts("m", 1, 1)) is failed
    assert failure(titan.join([good, None], Facts("m", 2, 1)))["param"] == "input[1]"
    assert failure(titan.join([good], Facts("m", 2, 1)))["code"] == "result_missing"
    assert failure(titan.join([good, good], Facts("m", 1, 1)))["code"] == "empty_result"
    told = titan.join([b'{"embedding":null,"message":"image is broken"}'], Facts("m", 1, 1))
    assert failure(told)["message"] == "image is broken"


def test_each_chunk_must_hold_its_own_vectors() -> None:
    def chunk(*numbers: int) -> bytes:
        return json.dumps({"embeddings": [[number] for number in numbers]}).encode()

    facts = Facts("m", 5, 2)
    found = answer(cohere.join([chunk(0, 1), chunk(2, 3), chunk(4)], facts))
    assert [entry["embedding"] for entry in found["data"]] == [[0], [1], [2], [3], [4]]
    for parts in ([chunk(0), chunk(1, 2, 3), chunk(4)], [chunk(0, 1), chunk(2, 3), chunk(4, 5)], [chunk(0, 1)]):
        assert isinstance(cohere.join(parts, facts), ErrorAnswer)


def test_entries_in_any_order_stand_in_that_of_the_inputs() -> None:
    entries = [{"index": 1, "embedding": [1]}, {"index": 0, "embedding": [0]}]
    native = json.dumps({"data": entries, "model": "mistral-embed-2312"}).encode()
    found = answer(mistral.join([native], Facts("mistral-embed", 2, 2)))
    assert [entry["embedding"] for entry in found["data"]] == [[0], [1]]
    assert found["model"] == "mistral-embed-2312"


def test_a_text_that_was_cut_is_marked() -> None:
    cut = LEGACY.replace(b'"token_count":5', b'"token_count":5.0,"truncated":true') % b"[1]"
    found = answer(gemini.join([cut, LEGACY % b"[2]"], Facts("m", 2, 1)))
    assert [entry.get("truncated") for entry in found["data"]] == [True, None]


def test_cohere_errors() -> None:
    error = cohere.error_row(b'{"message":"invalid texts"}', status=400)
    assert (error.status, error.code) == (400, "invalid_request_error")
    assert json.loads(error.body)["error"]["message"] == "invalid texts"
    assert cohere.error_row(b"[]").status == 500


def test_memory_is_that_of_the_vectors() -> None:
    vector = json.dumps([number / 7 for number in range(1000)]).encode()
    native = TITAN % vector
    tracemalloc.start()
    try:
        joined = titan.join((native for _ in range(500)), Facts("m", 500, 1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(joined, Answer)
    assert peak < 4 * len(joined.body)


FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=4)


@given(st.lists(FLOATS, min_size=1, max_size=6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_vectors_come_back(vectors: list[list[float]], packed: bool) -> None:
    parts = [json.dumps({"embedding": {"values": vector}}).encode() for vector in vectors]
    joined = gemini.join(parts, Facts("m", len(vectors), 1, base64=packed))
    assert isinstance(joined, Answer)
    found = [entry["embedding"] for entry in json.loads(joined.body)["data"]]
    if packed:
        found = [
            list(struct.unpack(f"<{len(v)}f", base64.b64decode(text))) for v, text in zip(vectors, found, strict=True)
        ]
    assert found == vectors


NAMES = st.sampled_from(
    ["embedding", "embeddings", "values", "float", "data", "index", "predictions", "statistics", "meta"]
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


@pytest.mark.parametrize("module", [titan, gemini, mistral, cohere])
@given(ODD, st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_json_is_an_answer_or_a_failure(module: Any, odd: object, packed: bool) -> None:
    joined = module.join([json.dumps(odd).encode()], Facts("m", 1, 1, base64=packed))
    found = json.loads(joined.body)
    assert ("data" in found) == isinstance(joined, Answer)
    assert ("error" in found) == isinstance(joined, ErrorAnswer)
