"""The pure half of the Vertex adapter: lines of an input file out, lines of any output file in, for every family.

Shapes: the project's reference page of Vertex AI, sections 3 to 5, and its updates of 2026-11-29. Claude and open
models have a documented `custom_id`, embeddings a `key`. Lines of generateContent have nothing that is promised to come
back (UNVERIFIED): our id goes out as `key` and as a label of the request, and is taken from wherever it is. Which line
an answer is to no place in a file ever says.

An answer is known by its own shape, so that a file may hold any; it is handed on as the bytes it came in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target, split_request_id
from proxy_plugin.providers.formats import rows
from proxy_plugin.providers.formats.anthropic import answers as claude
from proxy_plugin.providers.formats.anthropic.errors import error_row as claude_error
from proxy_plugin.providers.formats.anthropic.requests import Form, to_messages
from proxy_plugin.providers.formats.embeddings import gemini as embeddings
from proxy_plugin.providers.formats.embeddings.common import Facts
from proxy_plugin.providers.formats.gemini.answers import error_row, plain_completion, to_completion
from proxy_plugin.providers.formats.gemini.own_words import GENERATE, own_request
from proxy_plugin.providers.formats.gemini.requests import to_generate_content
from proxy_plugin.providers.formats.json_text import read, read_exactly, write
from proxy_plugin.providers.formats.members import pieces
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.openai.carried import edited
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, Translated
from proxy_plugin.providers.formats.surrogates import mended

CHAT, EMBEDDINGS = through_chat.CHAT, "/v1/embeddings"
LABEL = "pp"  # of a request: it comes back with the echo, and stands in the billing export
BASE64 = "base64"  # the partition of lines that want their vectors so: nothing else of a line is at hand with its row
GEMINI, CLAUDE, OPEN, VECTOR, LEGACY = "gemini", "claude", "open", "vector", "legacy"
# 200,000 requests a job, 1,000,000 of embeddings, 30,000 of their older models: one bound in units of which each takes.
UNITS = {GEMINI: 15, CLAUDE: 15, OPEN: 15, VECTOR: 3, LEGACY: 100}
MOST_UNITS = 3_000_000
_PORTKEY = ("anthropic", "google", "meta", "mistralai", "endpoints")  # before a dot, as Portkey writes publishers
_OLDER = ("text-embedding-00", "text-multilingual-embedding-00", "textembedding-gecko")
_MODEL = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9][A-Za-z0-9._@:/-]{0,255}(?<![/.])")
_SOURCE = re.compile(r"results-(\d{0,12})-(base64)?-[0-9a-f]{12}-([A-Za-z0-9._@-]*)\.jsonl")
_IDS = ("key", "custom_id", "requestId")
_ECHOES = ("request", "instance", "body")
_NOTHING = frozenset({b"", b"null", b'""', b"{}", b"[]", b'"OK"'})


class Named(NamedTuple):
    """A model: the publisher in its path, "" where it is the account's own, and its name."""

    publisher: str
    name: str


@lru_cache(256)
def named(model: str) -> Named:
    """Read a model in Google's, Portkey's or LiteLLM's words. Raises LineRejected for what cannot stand in a path."""
    if not _MODEL.fullmatch(model):
        raise LineRejected("is not the name of a model on Vertex AI", code="invalid_value", param="model")
    head, _, rest = model.partition("/")
    if head == "publishers" and rest.count("/") == 2 and "/models/" in rest:
        publisher, _, name = rest.partition("/models/")
        return Named(publisher, name)
    if head in {"projects", "models", "endpoints"} and rest:
        return Named("", model)
    before, dot, behind = model.partition(".")
    if dot and before in _PORTKEY:
        return Named("", f"endpoints/{behind}") if before == "endpoints" else Named(before, behind)
    if rest:
        return Named(head, rest)
    return Named("anthropic" if model.startswith("claude") else "google", model)


def resource(model: str, place: str) -> str:
    """Return the path of a model; `place` is that of project and location, where the account's own models are."""
    publisher, name = named(model)
    if publisher:
        return f"publishers/{publisher}/models/{name}"
    return name if name.startswith("projects/") else f"{place}/{name}"


@lru_cache(256)
def family(model: str, endpoint: str) -> str:
    """Return in whose words a model's lines are. The account's own models are taken for tuned Geminis."""
    publisher, name = named(model)
    if publisher == "anthropic":
        return CLAUDE
    if publisher not in {"", "google"}:
        return OPEN
    if endpoint != EMBEDDINGS:
        return GEMINI
    return LEGACY if name.startswith(_OLDER) else VECTOR


def request_line(line: LineIn, target: Target) -> Native:
    """Return one line of an input file. Raises LineRejected."""
    kind = family(line.model, line.endpoint)
    if line.endpoint == EMBEDDINGS and kind != OPEN:
        return _embedding(line, target, kind)
    if line.endpoint == EMBEDDINGS:
        translated = Translated(edited(line.body, {"model": line.model}))
    elif line.endpoint == GENERATE:
        translated = _own(line, kind)
    else:
        translated = _conversation(line, target, kind)
    body = mended(translated.body)  # strict readers refuse a whole file for half of a character
    dropped = translated.dropped if body is translated.body else (*translated.dropped, "messages=U+FFFD")
    return Native(_record(kind, line, body), inputs=UNITS[kind], dropped=dropped)


def _own(line: LineIn, kind: str) -> Translated:
    if kind != GEMINI:
        raise LineRejected("only Geminis are asked in Gemini's own words", code="unsupported_model", param="model")
    return own_request(line.body)


def _conversation(line: LineIn, target: Target, kind: str) -> Translated:
    name, drop, strict = named(line.model).name, target.drop_params, target.strict_params

    def native(chat: bytes) -> Translated:
        if kind == OPEN:
            return Translated(edited(chat, {"model": line.model}))
        if kind == CLAUDE:
            return to_messages(chat, model=name, form=Form.VERTEX, drop_params=drop, strict_params=strict)
        return to_generate_content(chat, model=name, vertex=True, drop_params=drop, strict_params=strict)

    return through_chat.translate(line.endpoint, line.body, native, drop_params=drop, strict_params=strict)


def _record(kind: str, line: LineIn, body: bytes) -> bytes:
    own = b'"%s"' % line.native_id.encode()
    if kind == CLAUDE:
        return b'{"custom_id":%s,"request":%s}' % (own, body)
    if kind == OPEN:
        url = EMBEDDINGS if line.endpoint == EMBEDDINGS else CHAT
        return b'{"custom_id":%s,"method":"POST","url":%s,"body":%s}' % (own, write(url), body)
    return b'{"key":%s,"request":%s}' % (own, _labelled(body, line.native_id, own))


def _labelled(body: bytes, name: str, own: bytes) -> bytes:
    """Return a request with the line's name among its labels; `own` is the name as JSON."""
    if b'"labels"' in body and isinstance(labels := (given := read_exactly(body)).get("labels"), dict):
        return write({**given, "labels": {**labels, LABEL: name}})
    return b'%s,"labels":{"%s":%s}}' % (body[:-1], LABEL.encode(), own)


def _embedding(line: LineIn, target: Target, kind: str) -> Native:
    """Return a record of one text. `embed_content_config: true` of the body puts its options where Google's page has
    them; they stand beside the text without it, as LiteLLM has found out that the service takes them (UNVERIFIED).
    """
    given, form = line.body, embeddings.Form.FLAT
    if b"embed_content_config" in given and isinstance(fields := read(given), dict):
        form = embeddings.Form.CONFIG if fields.pop("embed_content_config", None) is True else form
        given = write(fields)
    name, drop, strict = named(line.model).name, target.drop_params, target.strict_params
    fan = embeddings.to_gemini_embeddings(given, model=name, form=form, drop_params=drop, strict_params=strict)
    if len(fan.bodies) != 1:
        message = "Vertex AI embeds one text a request; send each text as a line of its own"
        raise LineRejected(message, code="unsupported_value", param="input")
    body = mended(fan.bodies[0])
    dropped = fan.dropped if body is fan.bodies[0] else (*fan.dropped, "input=U+FFFD")
    head = b'{"key":' + write(line.native_id)
    data = head + b"," + body[1:] if kind == LEGACY else head + b',"request":' + body + b"}"
    return Native(data, inputs=UNITS[kind], partition=BASE64 if fan.facts.base64 else "", dropped=dropped)


def results_name(key: str, facts: Mapping[str, str]) -> str:
    """Return our name of an output: when the job ended (Unix seconds), and its model and vectors, which no row says."""
    told = (facts.get("ended", ""), facts.get("vectors", ""), hashlib.sha256(key.encode()).hexdigest()[:12])
    name = f"results-{'-'.join(told)}-{facts.get('model', '').rpartition('/')[2]}.jsonl"
    return name if _SOURCE.fullmatch(name) else f"results---{told[2]}-.jsonl"


def whose(row: Mapping[str, bytes]) -> str | None:
    """Return the id of a row: one of our form from wherever it came back, or else what stands there; None: it has none.

    `row` has the members of a line as they are written.
    """
    first = None
    for found in filter(None, _ids(row)):
        if split_request_id(found):
            return found
        first = first or found
    return first


def _ids(row: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the texts at every place where an id may have come back; the echo is read only where it must be."""
    yield from (rows.text_of(row[name]) for name in _IDS if name in row)
    echo = echoed(row)
    yield from (rows.text_of(echo[name]) for name in _IDS if name in echo)
    if "labels" in echo:
        yield rows.text_of(pieces(echo["labels"]).get(LABEL, b""))


def echoed(row: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the members of the request that came back with its answer."""
    return next((found for name in _ECHOES if name in row and (found := pieces(row[name]))), {})


def result_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read a line of an output as an answer of `endpoint`; None for a blank one. Raises ValueError: corrupt.

    What became of a request in a way that no page describes is an error of its line, not of the file.
    """
    if not line.strip():
        return None
    row = pieces(line)
    own = whose(row)
    if own is None:
        raise ValueError("a result without an id")
    response = line if "predictions" in row else _object(row.get("response", b""))
    if (answer := _plain(response, source, endpoint)) is not None:
        return _answered(own, answer)
    inner = pieces(response or b"null")
    fault = next((each for name in ("status", "error") if (each := row.get(name, b"")).strip() not in _NOTHING), b"")
    if inner and inner.keys() != {"error"} and inner.get("type") != b'"error"':
        return _answered(own, _answer(response, inner, source, endpoint))
    if inner or fault:
        raw = response if inner else fault
        error = (claude_error if b"custom_id" in line[:200] else error_row)(raw)
        if endpoint == GENERATE and raw.startswith(b"{"):
            error = error._replace(body=raw if "error" in inner else b'{"error":' + raw + b"}")
        return _answered(own, error)
    return rows.unanswered(own, *rows.EMPTY)


def _plain(response: bytes, source: str, endpoint: str) -> Answer | ErrorAnswer | None:
    """Return what `_answer` makes of an ordinary response of Gemini's, None for any other."""
    if endpoint == EMBEDDINGS or not response:
        return None
    told = _SOURCE.fullmatch(source)
    ended, model = (int(told[1] or 0), told[3]) if told else (0, "")
    completion = plain_completion(response, created=ended, model=model)
    if completion is None or endpoint == GENERATE:
        return completion and completion._replace(body=response)
    return through_chat.answer(endpoint, completion)


def _answered(own: str, answer: Answer | ErrorAnswer) -> Row:
    if isinstance(answer, Answer):
        return rows.answered(own, "", answer)
    return rows.unanswered(own, *rows.CANCELLED) if answer.status == 499 else rows.failed(own, "", answer)


def _answer(response: bytes, inner: Mapping[str, bytes], source: str, endpoint: str) -> Answer | ErrorAnswer:
    told = _SOURCE.fullmatch(source)
    ended, packed, model = (int(told[1] or 0), bool(told[2]), told[3]) if told else (0, False, "")
    if "status_code" in inner or "choices" in inner or "data" in inner:
        return _as_openai_has_it(response, inner, endpoint)
    if endpoint == EMBEDDINGS:
        return embeddings.join([response], Facts(model, 1, 1, packed))
    if inner.get("type") == b'"message"':
        return through_chat.answer(endpoint, claude.to_completion(response, created=ended))
    completion = to_completion(response, created=ended, model=model)
    return completion._replace(body=response) if endpoint == GENERATE else through_chat.answer(endpoint, completion)


def _as_openai_has_it(response: bytes, inner: Mapping[str, bytes], endpoint: str) -> Answer | ErrorAnswer:
    """Take the answer of an open model, in OpenAI's wrapper or bare (UNVERIFIED which)."""
    digits = inner.get("status_code", b"200").strip(b'"')
    status = int(digits[:4]) if digits.isdigit() else 500
    body = _object(inner.get("body", b"")) if "status_code" in inner else response
    if not 200 <= status <= 299 or not body:
        return rows.error_of(status if status >= 400 else 500, read(inner.get("body", b"null")))
    given = read(body)
    model = given.get("model")
    answer = Answer(body, rows.tokens_of(given.get("usage")), model if isinstance(model, str) else "")
    return answer if endpoint == EMBEDDINGS else through_chat.answer(endpoint, answer)


def _object(raw: bytes) -> bytes:
    """Return a JSON object, also one inside of a text; b"" for anything else."""
    text = rows.text_of(raw).encode("utf-8", "surrogatepass").strip() if raw.startswith(b'"') else raw.strip()
    return text if text.startswith(b"{") else b""
