"""OpenAI's sentences as its API gives them, and no value in them that could be somebody's content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_plugin.ground import sentences
from proxy_plugin.ground.sentences import Said

TOO_LONG = "Expected a string with maximum length {}, but got a string with length {} instead."


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            sentences.missing("input_file_id"),
            Said("missing_required_parameter", "Missing required parameter: 'input_file_id'.", "input_file_id"),
        ),
        (
            sentences.wrong_type("metadata.tags", "a string", ["a"]),
            Said(
                "invalid_type",
                "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
                "metadata.tags",
            ),
        ),
        (
            sentences.wrong_value("completion_window", "1h", ["24h"]),
            Said("invalid_value", "Invalid value: '1h'. Supported values are: '24h'.", "completion_window"),
        ),
        (
            sentences.wrong_value("order", "up", ["asc", "desc"]),
            Said("invalid_value", "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.", "order"),
        ),
        (
            sentences.wrong_value("v", "bogus", ["low", "medium", "high"]),
            Said(
                "invalid_value",
                "Invalid value: 'bogus'. Supported values are: 'low', 'medium', and 'high'.",
                "v",
            ),
        ),
        (
            sentences.out_of_range("limit", 101, 1, 100),
            Said(
                "integer_above_max_value",
                "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
                "limit",
            ),
        ),
        (
            sentences.too_many("metadata", 16, 17),
            Said(
                "object_above_max_properties",
                "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an "
                "object with 17 properties instead.",
                "metadata",
            ),
        ),
        (
            sentences.too_long("metadata.k", 512, 600),
            Said(
                "string_above_max_length",
                f"Invalid 'metadata.k': string too long. {TOO_LONG.format(512, 600)}",
                "metadata.k",
            ),
        ),
    ],
)
def test_the_sentences_are_openais(said: Said, wanted: Said) -> None:
    assert said == wanted
    refusal = said.refusal()
    assert (refusal.message, refusal.param, refusal.code) == (said.message, said.param, said.code)


@given(st.text(min_size=4))
def test_a_value_is_repeated_only_if_it_is_a_word(value: str) -> None:
    said = sentences.wrong_value("x", f"{value} and more", ["a"])
    assert said.message == "Invalid value. Supported values are: 'a'."
    assert sentences.below("metadata", f"{value} and more") == "metadata"


@pytest.mark.parametrize("value", [f"sk-proj-{'0aB' * 9}", "AKIAIOSFODNN7EXAMPLE", "x" * 65, "a b", "é", "a\nb"])
def test_secrets_and_content_are_no_words(value: str) -> None:
    assert not sentences.is_word(value)
    assert value not in sentences.wrong_value("x", value, ["a"]).message
    assert value not in sentences.below("metadata", value)
