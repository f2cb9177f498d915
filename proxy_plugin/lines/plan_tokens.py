"""About how many tokens a request has, by the length of its texts: no tokenizer is loaded and no model is known.

A text counts one token for every 4 ASCII characters and one for every other character: about right for English and
for code, and on the safe side for other languages. What is no text (images, audio, files) counts nothing and is told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

TEXT_ENDPOINTS = frozenset(  # answers that a limit bounds
    {
        *("/v1/chat/completions", "/v1/completions", "/v1/responses"),
        *("/v1/messages", "/v1beta/generateContent", "/model/invoke", "/v2/chat"),
    }
)
# The others cost by the picture or the second.
PRICED = TEXT_ENDPOINTS | {"/v1/embeddings", "/v2/embed", "/v1/moderations"}
LONGEST_ANSWER = 2**24  # tokens; a limit above it is no estimate of anything
MOST_ANSWERS = 128  # of one request (`n`)
_ASCII_A_TOKEN = 4
_SAID = (
    *("messages", "input", "prompt", "instructions", "system", "contents", "systemInstruction"),
    *("inputs", "texts", "inputText"),  # of embeddings in a lane's own words
)
_SCHEMAS = ("tools", "functions", "response_format", "text")  # the names of their fields are read by the model as well
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_NOT_TEXT = frozenset({"image_url", "input_image", "image", "input_audio", "audio", "file", "input_file", "document"})
_SILENT = frozenset({"role", "type"})
_DATA = "data:"


class Estimate(msgspec.Struct, gc=False):
    """What one line, or many, may use. `unlimited` and `media` count lines."""

    ascii: int = 0  # characters
    input: int = 0  # tokens beside those of the ASCII characters
    output: int = 0  # tokens
    unlimited: int = 0  # set no limit on their answers, which `output` then leaves out
    media: int = 0  # hold what is no text

    @property
    def input_tokens(self) -> int:
        """Return the tokens of everything that is read."""
        return self.input + -(-self.ascii // _ASCII_A_TOKEN)

    def add_all(self, endpoint: str, bodies: Sequence[bytes], times: int) -> None:
        """Count the requests of one line: each body so many times."""
        if len(bodies) == times == 1:
            self.add(endpoint, bodies[0])
            return
        line = Estimate()
        for body in bodies:
            line.add(endpoint, body)
        self.ascii += line.ascii * times
        self.input += line.input * times
        self.output += line.output * times
        self.unlimited += line.unlimited > 0
        self.media += line.media > 0

    def add(self, endpoint: str, body: bytes) -> None:
        """Count one request; `body` is valid JSON."""
        try:
            fields = _decoded(body)
        except (ValueError, RecursionError):  # an integer of 5,000 digits, say, which nobody sends to be understood
            self.ascii += len(body)
            self.unlimited += endpoint in TEXT_ENDPOINTS
            return
        before = self.media
        for name in _SAID:
            if name in fields:
                self._read(fields[name], names=False)
        for name in _SCHEMAS:
            if name in fields:
                self._read(fields[name], names=True)
        self.media = min(self.media, before + 1)
        if endpoint in TEXT_ENDPOINTS:
            self._answer(fields)

    def _read(self, value: Any, *, names: bool) -> None:
        """Count the texts in a value, without recursion: a body may nest 200 levels."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            kind = type(each)
            if kind is str:
                self._text(each)
            elif kind is list:
                waiting += each
            elif kind is dict:
                self._object(each, waiting, names=names)
            elif kind is int or kind is float:  # a token of an embedding's input, or a bound in a schema
                self.input += 1

    def _text(self, text: str) -> None:
        if text.startswith(_DATA) and ";base64," in text[:200]:
            self.media += 1
        elif text.isascii():
            self.ascii += len(text)
        else:
            ascii_only = len(text.encode("ascii", "ignore"))
            self.ascii += ascii_only
            self.input += len(text) - ascii_only

    def _object(self, value: dict[str, Any], waiting: list[Any], *, names: bool) -> None:
        kind = value.get("type")
        if type(kind) is str and kind in _NOT_TEXT and not names:
            self.media += 1
            return
        for name, inner in value.items():
            if names:
                self.ascii += len(name)
            if names or name not in _SILENT:
                waiting.append(inner)

    def _answer(self, fields: dict[str, Any]) -> None:
        limits = (fields.get(name) for name in _LIMITS)
        limit = next((each for each in limits if type(each) is int and each >= 0), None)
        if limit is None:
            self.unlimited += 1
            return
        answers = fields.get("n")
        times = min(answers, MOST_ANSWERS) if type(answers) is int and answers > 0 else 1
        self.output += min(limit, LONGEST_ANSWER) * times


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:  # half a surrogate pair, which only the standard library takes
        fields = json.loads(body)
    assert isinstance(fields, dict), "an envelope's body is an object"
    return fields
