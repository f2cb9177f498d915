"""Errors of Claude in every form that a lane may hand on; none makes a row corrupt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.providers.formats.anthropic.errors import error_row

WORDS = "messages: Field required"
INNER = {"type": "invalid_request_error", "message": WORDS}
ENVELOPE = {"type": "error", "error": INNER, "request_id": "req_1"}
BUSY = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

FORMS: list[tuple[object, int, str, str]] = [
    (INNER, 400, "invalid_request_error", WORDS),
    (ENVELOPE, 400, "invalid_request_error", WORDS),
    ({"error": ENVELOPE}, 400, "invalid_request_error", WORDS),
    (json.dumps(ENVELOPE), 400, "invalid_request_error", WORDS),
    (json.dumps(json.dumps(ENVELOPE)), 400, "invalid_request_error", WORDS),
    ({"error": json.dumps(ENVELOPE)}, 400, "invalid_request_error", WORDS),
    ({"status": json.dumps(ENVELOPE)}, 400, "invalid_request_error", WORDS),
    ({"status": ENVELOPE}, 400, "invalid_request_error", WORDS),
    (f"400 {json.dumps(ENVELOPE)}", 400, "invalid_request_error", WORDS),
    (f"Error code: 400 - {json.dumps(ENVELOPE)}.", 400, "invalid_request_error", WORDS),
    (f"Bad request: {json.dumps(INNER)}", 400, "invalid_request_error", WORDS),
    (BUSY, 529, "overloaded_error", "Overloaded"),
    (f"HTTP 529: {json.dumps(BUSY)}", 529, "overloaded_error", "Overloaded"),
    ({"code": 3, "message": "Bad argument"}, 400, "invalid_request_error", "Bad argument"),
    ({"code": 8, "message": "Quota exceeded"}, 429, "rate_limit_error", "Quota exceeded"),
    ({"code": 1, "message": "CANCELED"}, 499, "invalid_request_error", "CANCELED"),
    (
        {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}},
        429,
        "rate_limit_error",
        "Quota exceeded",
    ),
    (
        {"error": {"code": 503, "message": "Try again", "status": "UNAVAILABLE"}},
        503,
        "overloaded_error",
        "Try again",
    ),
    ({"code": 400, "message": json.dumps(ENVELOPE)}, 400, "invalid_request_error", WORDS),
    ("RESOURCE_EXHAUSTED: quota", 429, "rate_limit_error", "RESOURCE_EXHAUSTED: quota"),
    ("overloaded_error: try again", 529, "overloaded_error", "overloaded_error: try again"),
    ("404 model not found", 404, "not_found_error", "404 model not found"),
    ("Something went wrong", 500, "api_error", "Something went wrong"),
    ("{broken", 500, "api_error", "{broken"),
    ("prompt is too long: 400000 tokens", 500, "api_error", "prompt is too long: 400000 tokens"),
]


@pytest.mark.parametrize(("native", "status", "kind", "words"), FORMS)
@pytest.mark.parametrize("plain", [False, True])
def test_the_words_and_the_kind_are_found(native: object, status: int, kind: str, words: str, plain: bool) -> None:
    """A text comes as itself or as a JSON string."""
    text = native if plain and isinstance(native, str) else json.dumps(native)
    found = error_row(text.encode())
    fault = json.loads(found.body)["error"]
    assert (found.status, found.code) == (status, kind)
    assert fault == {"message": words, "type": kind, "param": None, "code": kind}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "status", "message", "type", "code", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary() | st.text().map(str.encode))
def test_nothing_is_too_odd(text: bytes) -> None:
    found = error_row(text)
    fault = json.loads(found.body)["error"]
    assert isinstance(fault["message"], str)
    assert fault["message"]
    assert 400 <= found.status < 600
