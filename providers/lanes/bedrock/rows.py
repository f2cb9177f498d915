"""The pure half of Bedrock's adapter: `{"recordId", "modelInput"}` out, records of `.out` objects in.

Shapes: the project's reference page (user guide, "Format and upload your batch inference data", and botocore 1.44.8):
an error stands in place of `modelOutput`; a record's own input comes back with it and is passed over. A job is of one
type, so a line's partition says which it needs:

InvokeModel   the model's own format, for tools, and for embeddings
Converse      one format for all models, without tools
openai        OpenAI's open models: bedrock-runtime's own batch API takes the line as it is, but no tools and no schemas

The name of a stored result says what a record does not: `NUMBER~PARTITION~MODEL~ENDED.jsonl`, the last in Unix
seconds.
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote, unquote

import msgspec

from proxy_plugin.providers.base import LineIn, LineRejected, Native, Row, Target
from proxy_plugin.providers.formats.bedrock.answers import error_row, to_completion
from proxy_plugin.providers.formats.bedrock.invoke import CONVERSE, INVOKE, invocation, to_converse, to_invoke
from proxy_plugin.providers.formats.bedrock.own_words import MODEL_INPUT, own_answer, own_input
from proxy_plugin.providers.formats.embeddings import cohere, titan
from proxy_plugin.providers.formats.embeddings.common import Facts, whole_texts
from proxy_plugin.providers.formats.json_text import read
from proxy_plugin.providers.formats.members import pieces, replace_model
from proxy_plugin.providers.formats.openai import through_chat
from proxy_plugin.providers.formats.openai.chat import read_chat
from proxy_plugin.providers.formats.rows import EMPTY, answered, failed, read_row, text_of, tokens_of, unanswered
from proxy_plugin.providers.formats.shapes import Answer, ErrorAnswer, Translated

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
ENDPOINTS = through_chat.ENDPOINTS | {EMBEDDINGS, MODEL_INPUT}
OPENAI = "openai"
BASE64 = f"{INVOKE}-base64"  # embeddings that are wanted so: nothing else of a line is at hand with its record
OWN = "-own"  # behind the form of inputs in the model's own words: what they ask for tells no endpoint
FORMS = {"invoke": INVOKE, "converse": CONVERSE, "openai": OPENAI}  # what may stand before a model's id, as at LiteLLM
OPEN_MODELS = ("openai.gpt-oss",)  # "Submit a batch of prompts with the OpenAI Batch API"
_MORE = ("tools", "tool_choice", "functions", "function_call", "response_format")  # than that API takes
_MORES = msgspec.json.Decoder(
    msgspec.defstruct("_Mores", [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in _MORE])
).decode


def bare(model: str) -> str:
    """Return a model's id or ARN without the form that is asked for before it."""
    return _asked(model)[1]


def request_record(line: LineIn, target: Target) -> Native:
    """Return the record of a line. Raises LineRejected."""
    if line.endpoint == EMBEDDINGS:
        return _embedding(line, target)
    if line.endpoint == MODEL_INPUT:
        return _own(line)
    forms = list[str]()

    def native(chat: bytes) -> Translated:
        form, made = _chat(chat, line.model, target)
        forms.append(form)
        return made

    drop, strict = target.drop_params, target.strict_params
    made = through_chat.translate(line.endpoint, line.body, native, drop_params=drop, strict_params=strict)
    data = _openai_line(line.native_id, made.body) if forms[0] == OPENAI else _record(line.native_id, made.body)
    return Native(data, partition=forms[0], dropped=made.dropped)


def result_row(line: bytes, source: str, endpoint: str) -> Row | None:
    """Read a record; None for a blank one. Raises ValueError: corrupt."""
    _, form, model, *ended = (unquote(each) for each in source.removesuffix(".jsonl").split("~"))
    if form == OPENAI:
        return read_row(line, lambda body: through_chat.answer(endpoint, _as_it_is(body, model)))
    if not line.strip():
        return None
    record = pieces(line)
    native_id = text_of(record.get("recordId", b""))
    if not native_id:
        raise ValueError("not a record with a recordId")
    output, error = record.get("modelOutput", b"null"), record.get("error", b"null")
    if not output.startswith(b"{"):
        return unanswered(native_id, *EMPTY) if error == b"null" else failed(native_id, "", _error(error, endpoint))
    found = _answer(output, form, model, endpoint, int(ended[0]) if ended else 0)
    return answered(native_id, "", found) if isinstance(found, Answer) else failed(native_id, "", found)


def stored_name(number: int, form: str, model: str, ended: str = "0") -> str:
    """Return the name of a stored result, from which its records are read."""
    return f"{number}~{form}~{quote(model[-70:], safe='')}~{ended}.jsonl"


def _as_it_is(body: bytes, model: str) -> Answer:
    """Return an answer that is a chat.completion already."""
    fields = pieces(body)
    return Answer(body, tokens_of(read(fields.get("usage", b"null"))), text_of(fields.get("model", b"")) or model)


def _error(error: bytes, endpoint: str) -> ErrorAnswer:
    told = error_row(error)
    return told._replace(body=b'{"error":' + error + b"}") if endpoint == MODEL_INPUT else told


def _answer(output: bytes, form: str, model: str, endpoint: str, ended: int) -> Answer | ErrorAnswer:
    if form.endswith(OWN):
        answer = own_answer(output, model=model, created=ended)
        return answer._replace(body=output) if endpoint == MODEL_INPUT else answer
    if endpoint != EMBEDDINGS:
        return through_chat.answer(endpoint, to_completion(output, model=model, created=ended))
    if "cohere." in model:
        count = len(cohere.read_part(output).vectors)
        return cohere.join([output], Facts(model, count, max(count, 1), form == BASE64))
    return titan.join([output], Facts(model, 1, 1, form == BASE64))


def _chat(chat: bytes, named: str, target: Target) -> tuple[str, Translated]:
    """Return the form that a chat body needs, and the body in it."""
    asked, model = _asked(named)
    drop, strict = target.drop_params, target.strict_params
    if asked is None and model.startswith(OPEN_MODELS) and not _asks_more(chat):
        asked = OPENAI
    if asked == OPENAI:
        return OPENAI, Translated(replace_model(chat, model).replace(b"\n", b" ").replace(b"\r", b" "))
    form = asked or invocation(chat, model)
    to_native = to_converse if form == CONVERSE else to_invoke
    return form, to_native(chat, model=model, drop_params=drop, strict_params=strict)


def _asks_more(chat: bytes) -> bool:
    """Whether a body asks for what that API does not take. Raises LineRejected for what is no chat body."""
    with suppress(msgspec.DecodeError, RecursionError):
        if any(value is not msgspec.UNSET for value in msgspec.structs.astuple(_MORES(chat))):
            return True  # it is read, and refused where it has to be, by its translator
    return not read_chat(chat).keys().isdisjoint(_MORE)


def _own(line: LineIn) -> Native:
    """An input in the model's own words is InvokeModel's, unless Converse is asked for."""
    form = _asked(line.model)[0] or INVOKE
    if form == OPENAI:
        message = "Bedrock's OpenAI batch takes no 'modelInput'; send a line of chat, or the model without 'openai/'"
        raise LineRejected(message, code="unsupported_value", param="model")
    made = own_input(line.body)
    return Native(_record(line.native_id, made.body), partition=form + OWN, dropped=made.dropped)


def _embedding(line: LineIn, target: Target) -> Native:
    """A record holds one text of Titan's, or up to 96 of Cohere's: a line of more would be several records."""
    model = bare(line.model)
    if not _embeds(model):
        raise LineRejected("model: this model makes no embeddings", code="unsupported_model", param="model")
    translate = cohere.to_bedrock_cohere_embeddings if "cohere." in model else titan.to_titan_embeddings
    made = translate(line.body, model=model, drop_params=target.drop_params, strict_params=target.strict_params)
    if len(made.bodies) > 1:
        most = made.facts.per_body
        message = f"a record of this model holds {most} text{'s' * (most > 1)}; spread input over several lines"
        raise LineRejected(message, code="unsupported_value", param="input")
    body, dropped = whole_texts(made.bodies[0], made.dropped)
    partition = BASE64 if made.facts.base64 else INVOKE
    return Native(_record(line.native_id, body), inputs=made.facts.inputs, partition=partition, dropped=dropped)


def _embeds(model: str) -> bool:
    """A profile's ARN does not tell what it makes."""
    return "embed" in model or ("application-inference-profile" in model and model.startswith("arn:"))


def _asked(model: str) -> tuple[str | None, str]:
    form, slash, rest = model.partition("/")
    return (FORMS[form], rest) if slash and form in FORMS else (None, model)


def _record(native_id: str, body: bytes) -> bytes:
    return b'{"recordId":' + msgspec.json.encode(native_id) + b',"modelInput":' + body + b"}"


def _openai_line(native_id: str, body: bytes) -> bytes:
    told = msgspec.json.encode({"custom_id": native_id, "method": "POST", "url": CHAT})
    return told[:-1] + b',"body":' + body + b"}"
