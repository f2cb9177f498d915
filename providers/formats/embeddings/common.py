"""OpenAI's embeddings: reading a body, and putting the answer of a line together from a provider's answers.

Shapes: `embeddings.create` of OpenAI's SDK 3.52: a text or a list of up to 2,048, none of them empty; `base64` is the
vector as 32-bit floats, low byte first. Most providers embed one text a record or a few dozen, so one line becomes
several native bodies (`FanOut`), and their answers become one list again (`join`).

Vectors are never decoded on the way, unless the caller wants base64: each number is handed on as the provider spelled
it. A line holds all of its vectors or fails: half a list would pass for a whole one.
"""

from __future__ import annotations

import re
import sys
from array import array
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.bodies import read_object
from proxy_plugin.providers.formats.json_text import read, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer
from proxy_plugin.providers.formats.surrogates import mended

MAX_INPUTS = 2048
ENDPOINT_PARAMS = frozenset({"model", "input", "dimensions", "encoding_format"})
ABSENT = msgspec.Raw(b"null")
_DIGITS = b"0123456789+-.eE, \t\r\n"
# Half of an emoji in an echoed text: msgspec refuses it even where it only skips. The other choice eats escape pairs.
_HALF = re.compile(rb"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL)
_Native = TypeVar("_Native", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What a translation must know of one group of models. `names` are parts of names: clouds decorate them."""

    names: tuple[str, ...]
    sizes: frozenset[int] | None  # of a vector, as `dimensions` may ask for; None: any
    form: str = ""  # the adapter's word for the body these models take
    fixed: bool = False  # the API has no parameter: the only size is the one that comes anyway


class Wanted(NamedTuple):
    """What a body asks for. `given` is the whole of it, for extensions."""

    model: str
    texts: list[str]
    dimensions: int | None  # to be sent; None where the model's own size is meant
    base64: bool
    facts: EmbeddingModel
    given: dict[str, Any]
    losses: Losses


class Facts(NamedTuple):
    """What must be kept of a request to put its answer together. Plain values: they may be stored as JSON."""

    model: str
    inputs: int
    per_body: int  # inputs in each native body, the last may hold fewer
    base64: bool = False


class FanOut(NamedTuple):
    """The native bodies of one line in the order of its inputs, and the names of what is not in them."""

    bodies: tuple[bytes, ...]
    facts: Facts
    dropped: tuple[str, ...] = ()


class Part(NamedTuple):
    """What one native answer holds: vectors as JSON arrays, in order; None stands for one that is not there."""

    vectors: tuple[bytes | None, ...]
    tokens: int = 0
    model: str = ""
    complaint: str = ""  # the provider's own word on why a vector is not there
    truncated: bool = False  # the model has seen only the beginning of a text


def read_embeddings(
    body: bytes,
    provider: str,
    *,
    model: str | None,
    drop_params: bool,
    strict_params: bool = False,
    models: tuple[EmbeddingModel, ...],
    extensions: frozenset[str] = frozenset(),
) -> Wanted:
    """Read an embeddings body; `model` replaces its own. Raises LineRejected, for any JSON object nothing else.

    `provider`: the API's name in messages.
    """
    given, losses = read_object(body), Losses(allowed=drop_params, strict=strict_params, provider=provider)
    if not given.keys() <= ENDPOINT_PARAMS:
        losses.add_unknown(given, ENDPOINT_PARAMS | extensions)
    name = given.get("model") if model is None else model
    if not isinstance(name, str) or not name:
        raise rejected("model", "must be a text", "invalid_type")
    facts = next(each for each in models if any(part in name for part in each.names))
    encoding = given.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise rejected("encoding_format", "must be float or base64")
    texts = _texts(given.get("input"))
    size = _dimensions(given.get("dimensions"), facts)
    return Wanted(name, texts, size, encoding == "base64", facts, given, losses)


def fan_out(wanted: Wanted, bodies: Iterable[bytes], *, per_body: int = 1) -> FanOut:
    """Return the translation of a line whose texts stand `per_body` in a native body."""
    facts = Facts(wanted.model, len(wanted.texts), per_body, wanted.base64)
    return FanOut(tuple(bodies), facts, wanted.losses.settled())


def word(wanted: Wanted, name: str, allowed: frozenset[str] | None = None) -> str | None:
    """Return the text of an extension, None where it says nothing. Raises LineRejected."""
    value = wanted.given.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise rejected(name, "must be a text", "invalid_type")
    if allowed is not None and value not in allowed:
        raise rejected(name, f"must be one of {', '.join(sorted(allowed))}")
    return value


def whole_texts(native: bytes, dropped: tuple[str, ...]) -> tuple[bytes, tuple[str, ...]]:
    """Return a native body without halves of characters, which refuse a whole file, and the losses with that one."""
    made = mended(native)
    return made, dropped if made is native else (*dropped, "input=U+FFFD")


def join(
    answers: Iterable[bytes | ErrorAnswer | None], facts: Facts, *, read_part: Callable[[bytes], Part]
) -> Answer | ErrorAnswer:
    """Return the answer of a line from native answers and failures in the order of `FanOut.bodies`; None: none came.

    `read_part` reads a native answer. One that failed fails the line with its reason. Holds one copy of the vectors
    beside the answer itself. Raises ValueError: no JSON.
    """
    entries: list[bytes] = []
    tokens, model = 0, ""
    for answer in answers:
        start = len(entries)
        part = read_part(answer) if isinstance(answer, bytes) else answer
        if not isinstance(part, Part):
            return _failed(part, start, facts)
        wanted = min(facts.per_body, facts.inputs - start)
        for vector in part.vectors:
            if vector is None:
                return _lacking(part.complaint, len(entries), facts)
            entries.append(_entry(len(entries), vector, part, facts))
        if len(entries) - start != wanted:
            return _lacking(part.complaint, start, facts)
        tokens, model = tokens + part.tokens, model or part.model
    if len(entries) != facts.inputs:
        return _failed(None, len(entries), facts)
    name = model or facts.model
    head = b'{"object":"list","data":[' + b",".join(entries)
    tail = b'],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (write(name), tokens, tokens)
    return Answer(head + tail, Usage(input_tokens=tokens), name)


def decode(native: bytes, kind: type[_Native]) -> _Native:
    """Read a native answer; one of another shape is as good as empty. Raises ValueError: no JSON."""
    try:
        return msgspec.json.decode(native, type=kind)
    except msgspec.ValidationError:
        return kind()
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return msgspec.json.decode(_HALF.sub(_whole, native), type=kind)
    except msgspec.ValidationError:
        return kind()
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JSON that can be read") from None


def elements(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the elements of a JSON array as they are written; none for anything else."""
    if not bytes(raw).startswith(b"["):
        return []
    found: list[msgspec.Raw] = msgspec.json.decode(raw, type=list[msgspec.Raw])
    return found


def member(raw: msgspec.Raw, kind: type[_Native]) -> _Native:
    """Read an object inside of an answer; anything else is as good as empty."""
    return msgspec.json.decode(raw, type=kind) if bytes(raw).startswith(b"{") else kind()


def vector_text(raw: msgspec.Raw) -> bytes | None:
    """Return a vector as it is written; None if it is no list of numbers."""
    text = bytes(raw)
    if text.translate(None, _DIGITS) != b"[]" or len(text) == 2:
        return None
    return text.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in text else text


def token_count(value: object) -> int:
    """Return a count that may be spelled as an integer, a whole float or a text of digits; 0 for anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**53:
        return 0
    return int(value)


def _texts(given: object) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise rejected("input", "must be a text or a list of texts", "invalid_type")
    if isinstance(texts[0], int | list):
        message = "token numbers belong to OpenAI's models; send the texts themselves"
        raise rejected("input", message, "unsupported_value")
    if len(texts) > MAX_INPUTS:
        raise rejected("input", f"must hold {MAX_INPUTS} texts at most; spread them over several lines")
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            place = "input" if isinstance(given, str) else f"input[{number}]"
            raise rejected(place, "must be a text that is not empty")
    return texts


def _dimensions(given: object, facts: EmbeddingModel) -> int | None:
    """Return the size to ask for. No setting lets it be left out: vectors of another size fit no index."""
    if given is None:
        return None
    if type(given) is not int or given < 1:
        raise rejected("dimensions", "must be a whole number above 0")
    if facts.sizes is not None and given not in facts.sizes:
        sizes = ", ".join(map(str, sorted(facts.sizes)))
        message = f"this model makes vectors of {sizes} numbers; " + (
            "remove it" if facts.fixed else "send one of these"
        )
        raise rejected("dimensions", message, "unsupported_value")
    return None if facts.fixed else given


def _entry(index: int, vector: bytes, part: Part, facts: Facts) -> bytes:
    # `truncated` is an extension: OpenAI would have refused the text.
    more = b',"truncated":true' if part.truncated else b""
    return b'{"object":"embedding","index":%d,"embedding":%b%b}' % (index, _packed(vector, facts), more)


def _packed(vector: bytes, facts: Facts) -> bytes:
    if not facts.base64:
        return vector
    numbers = array("f", read(vector))
    if sys.byteorder == "big":
        numbers.byteswap()
    return b'"' + b64encode(numbers.tobytes()) + b'"'


def _failed(part: ErrorAnswer | None, index: int, facts: Facts) -> ErrorAnswer:
    """Return the failure of a line: that of its part, with the input it is about where there are several."""
    if part is None:
        return _fault("result_missing", "The provider returned no result for this input.", index, facts)
    answer = read(part.body)
    error = answer.get("error") if isinstance(answer, dict) else None
    if facts.inputs == 1 or not isinstance(error, dict) or error.get("param") is not None:
        return part
    return ErrorAnswer(part.status, write({**answer, "error": {**error, "param": f"input[{index}]"}}), part.code)


def _lacking(complaint: str, index: int, facts: Facts) -> ErrorAnswer:
    return _fault("empty_result", complaint or "The provider returned no embedding of this input.", index, facts)


def _fault(code: str, message: str, index: int, facts: Facts) -> ErrorAnswer:
    place = "input" if facts.inputs == 1 else f"input[{index}]"
    error = {"message": message, "type": "server_error", "param": place, "code": code}
    return ErrorAnswer(500, write({"error": error}), code)


def _whole(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0][1:2] != b"u" else rb"\ufffd"
