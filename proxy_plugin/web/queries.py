"""Whole numbers and words of queries and forms, checked; what is wrong is told in OpenAI's sentences."""

from __future__ import annotations

import re

from proxy_plugin.ground import sentences

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def integer(name: str, text: str, least: int, most: int) -> int:
    """Return the whole number that a text holds. Raises BadRequest for another text or number."""
    if not _INTEGER.fullmatch(text):
        raise sentences.wrong_type(name, sentences.INTEGER, text).refusal()
    if not least <= int(text) <= most:
        raise sentences.out_of_range(name, int(text), least, most).refusal()
    return int(text)


def one_of(name: str, text: str, words: tuple[str, ...]) -> str:
    """Return the text if it is one of the words. Raises BadRequest."""
    if text not in words:
        raise sentences.wrong_value(name, text, words).refusal()
    return text
