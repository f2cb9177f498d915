"""What is said of a body that is no JSON object. OpenAI's words, for which programs look."""

from __future__ import annotations

import codecs

import orjson

UNPARSED = "We could not parse the JSON body of your request"
NO_OBJECT = "The request body must be a JSON object."


def unreadable(body: bytes | bytearray, error: orjson.JSONDecodeError | None) -> str:
    """Return what is wrong with a text that is not JSON; `error` is the parser's, None where it told no place."""
    if not body.strip():
        return f"{UNPARSED}: it is empty; send a JSON object."
    try:
        codecs.utf_8_decode(body, "strict", True)
    except UnicodeDecodeError:
        return f"{UNPARSED}: it is not UTF-8; send a JSON object in UTF-8."
    if body.startswith(codecs.BOM_UTF8):
        return f"{UNPARSED}: it begins with a byte-order mark; send the JSON object without one."
    if error is None:
        return f"{UNPARSED}: it nests too deep or ends too early; send one JSON object."
    return f"{UNPARSED}: see its line {error.lineno}, column {error.colno}; send one JSON object."
