"""A generateContent response as a chat.completion, and Google's errors as OpenAI's.

Shapes: types of Google's google-genai 3.4; chat.completion of OpenAI's SDK 3.52. Merging twice must give the same
bytes, so nothing here comes from a clock or from chance.

A paid answer is never refused for something new in it: parts and finish reasons that are not known are passed over or
named, odd values count as absent.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.gemini.citations import web_citations
from proxy_plugin.providers.formats.gemini.ordinary import Ordinary, message_of, ordinary, signed
from proxy_plugin.providers.formats.json_text import read, read_exactly, write
from proxy_plugin.providers.formats.openai.turns import call_id
from proxy_plugin.providers.formats.shapes import UNUSABLE, Answer, ErrorAnswer, chat_tokens, count, spoiled

Block = dict[str, Any]

_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "OTHER": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "NO_IMAGE": "content_filter",
    "CONTINUATION": "length",
}
_SAYS_IT_ALL = frozenset({"STOP", "MAX_TOKENS"})
# The model meant to call a tool, or to answer, and failed ("FinishReason", types of google-genai 3.6).
_SPOILED = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)  # fmt: skip
# google.rpc.Code: name and HTTP status.
_CODES: dict[int, tuple[str, int]] = {
    1: ("CANCELLED", 499),
    2: ("UNKNOWN", 500),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    6: ("ALREADY_EXISTS", 409),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    10: ("ABORTED", 409),
    11: ("OUT_OF_RANGE", 400),
    12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    15: ("DATA_LOSS", 500),
    16: ("UNAUTHENTICATED", 401),
}
_STATUS = dict(_CODES.values())
_BY_HTTP = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 499: 1, 500: 13, 501: 12, 503: 14, 504: 4}
_NOTHING = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    args: msgspec.Raw = _NOTHING


class _Part(msgspec.Struct):
    functionCall: _Call | None = None  # noqa: N815 - Google's spelling


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct):
    content: _Content | None = None


class _Response(msgspec.Struct):
    candidates: list[_Candidate] = []


def to_completion(response: bytes, *, created: int = 0, model: str = "") -> Answer:
    """Translate a GenerateContentResponse. Raises ValueError: no JSON object.

    `created` (Unix seconds) and `model` fill in where the response has no createTime and no modelVersion. Extensions
    beside OpenAI's fields: `message.reasoning_content` (thoughts), `message.images` (images in the answer, as data
    URIs), `message.audio.mime_type`, `extra_content.google.thought_signature` of a message or a tool call, which the
    caller should send back, `choices[].native_finish_reason` (where OpenAI's word says less), `native_finish_message`.

    Where every candidate ended in a spoiled tool call, the answer is an error that holds all of it.
    """
    answer = plain_completion(response, created=created, model=model)
    return _any(response, created, model) if answer is None else answer


def plain_completion(response: bytes, *, created: int = 0, model: str = "") -> Answer | None:
    """Translate an ordinary response as `to_completion` does; None for any other, and for what is no response."""
    found = ordinary(response)
    return None if found is None else _ordinary(found, response, created, model)


def _ordinary(found: Ordinary, response: bytes, created: int, model: str) -> Answer | None:
    """Translate an ordinary response to the same bytes as `_any`, in less than half its time; None for an odd end."""
    given_id = found.response_id or "chatcmpl-" + hashlib.sha256(response).hexdigest()[:24]
    choices = []
    for at, each in enumerate(found.candidates):
        message = message_of(each, (given_id, str(at)))
        finish = _finish(each.finish_reason, "tool_calls" in message)
        if finish["finish_reason"] == "content_filter" or each.finish_reason in _SPOILED:
            return None
        index = at if each.index is None else each.index
        choices.append({"index": index, "message": message, "logprobs": None, **finish})
    told, name = found.usage_metadata, found.model_version or model
    usage = Usage(
        input_tokens=told.prompt_token_count + told.tool_use_prompt_token_count,
        output_tokens=told.candidates_token_count + told.thoughts_token_count,
        cached_tokens=told.cached_content_token_count,
        reasoning_tokens=told.thoughts_token_count,
    )
    when = _seconds(found.create_time) or created
    return Answer(write(_completion(given_id, when, name, choices, usage)), usage, name)


def _completion(given_id: str, created: int, model: str, choices: list[Block], usage: Usage) -> Block:
    return {
        "id": given_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": sorted(choices, key=_index),
        "usage": chat_tokens(usage),
    }


def _any(response: bytes, created: int, model: str) -> Answer:
    given = read(response)
    if not isinstance(given, dict):
        raise ValueError("not a response")  # noqa: TRY004 - the contract's word for a corrupt row
    given_id = _text(given.get("responseId")) or "chatcmpl-" + hashlib.sha256(response).hexdigest()[:24]
    candidates = [(at, each) for at, each in enumerate(_list(given.get("candidates"))) if isinstance(each, dict)]
    calls = any("functionCall" in part for _, each in candidates for part in _parts(each) if isinstance(part, dict))
    arguments = _arguments(response) if calls else None
    choices = [_choice(each, at, given_id, arguments) for at, each in candidates]
    usage = _usage(given.get("usageMetadata"))
    name = _text(given.get("modelVersion")) or model
    fault = _spoiled(candidates)
    choices = choices or [_blocked(given.get("promptFeedback"))]
    completion = _completion(given_id, _seconds(given.get("createTime")) or created, name, choices, usage)
    answer = Answer(write({"error": fault, **completion} if fault else completion), usage, name)
    return answer._replace(status=UNUSABLE, code=fault["code"]) if fault else answer


def _spoiled(candidates: list[tuple[int, Block]]) -> Block | None:
    """Return the error of a response that holds no candidate to go on with."""
    reasons = [_text(each.get("finishReason")) for _, each in candidates]
    if not reasons or not _SPOILED.issuperset(reasons):
        return None
    return spoiled(reasons[0], _text(candidates[0][1].get("finishMessage")))


def error_row(error: bytes) -> ErrorAnswer:
    """Translate a google.rpc.Status, in its envelope or bare, or in a text that Vertex writes before it.

    Code numbers are google.rpc's or HTTP's. What names no code is a 500. Raises ValueError: no JSON.
    """
    given = read(error)
    if isinstance(given, str):
        given = _inside(given)
    while isinstance(given, dict) and isinstance(given.get("error"), dict):
        given = given["error"]
    fields = given if isinstance(given, dict) else {}
    name, status = _code(fields)
    words = _text(fields.get("message")) or "Google gave no reason for this error."
    fault = {"message": words, "type": name, "param": None, "code": name}
    return ErrorAnswer(status, write({"error": fault}), name)


def _inside(text: str) -> Block:
    """Return the error object at the end of a text such as `Bad Request: {...}`; else the text is the message."""
    start = text.find("{")
    try:
        found = read(text[start:].encode("utf-8", "surrogatepass")) if start >= 0 else None
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": text}


def _code(fields: Block) -> tuple[str, int]:
    given, word = fields.get("code"), _text(fields.get("status"))
    number = given if isinstance(given, int) and not isinstance(given, bool) else 0
    if word in _STATUS:
        return word, number if 400 <= number <= 599 else _STATUS[word]
    if number in _CODES:
        return _CODES[number]
    if 400 <= number <= 599:
        return _CODES[_BY_HTTP.get(number, 3 if number < 500 else 13)][0], number
    return "UNKNOWN", 500


def _parts(candidate: Block) -> list[Any]:
    content = candidate.get("content")
    return _list(content.get("parts")) if isinstance(content, dict) else []


def _choice(given: Block, at: int, given_id: str, arguments: list[list[str]] | None) -> Block:
    parts = _parts(given)
    calls = _tool_calls(parts, arguments[at], (given_id, str(at))) if arguments is not None else []
    finish = _finish(given.get("finishReason"), bool(calls))
    message = _message([part for part in parts if isinstance(part, dict)], calls, given_id)
    if "native_finish_reason" in finish and (words := _text(given.get("finishMessage"))):
        finish["native_finish_message"] = words
    if finish["finish_reason"] == "content_filter":
        message["refusal"] = _text(given.get("finishMessage")) or "The answer was withheld."
        message["content"] = message["content"] or None
    if notes := web_citations(given, parts):
        message["annotations"] = notes
    index = given.get("index")
    index = index if isinstance(index, int) and not isinstance(index, bool) else at
    return {"index": index, "message": message, "logprobs": _logprobs(given.get("logprobsResult")), **finish}


def _index(choice: Block) -> int:
    return int(choice["index"])


def _message(parts: list[Block], calls: list[Block], given_id: str) -> Block:
    texts = [_text(part.get("text")) for part in parts if not part.get("thought") and "text" in part]
    said: Block = {"role": "assistant", "content": "".join(texts), "refusal": None}
    if not texts and calls:
        said["content"] = None
    if calls:
        said["tool_calls"] = calls
    if thoughts := [_text(part.get("text")) for part in parts if part.get("thought") and _text(part.get("text"))]:
        said["reasoning_content"] = "\n\n".join(thoughts)
    if images := [image for part in parts if (image := _image(part.get("inlineData")))]:
        said["images"] = images
    if any("inlineData" in part for part in parts) and (audio := _audio(parts, given_id)):
        said["audio"] = audio
    signatures = [part.get("thoughtSignature") for part in parts if "functionCall" not in part]
    if found := [each for each in signatures if isinstance(each, str) and each]:
        said["extra_content"] = signed(found[-1])
    return said


def _image(blob: object) -> Block | None:
    media = _text(blob.get("mimeType")) if isinstance(blob, dict) else ""
    if not isinstance(blob, dict) or not media.startswith("image/"):
        return None
    return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{_text(blob.get('data'))}"}}


def _audio(parts: list[Block], given_id: str) -> Block | None:
    """Return what was spoken, in OpenAI's object; no service keeps it under that id.

    Audio in several parts is told part by part in `more`: whether it can be joined depends on its form.
    """
    blobs = [blob for part in parts if isinstance(blob := part.get("inlineData"), dict)]
    told = [{"mime_type": _text(blob.get("mimeType")), "data": _text(blob.get("data"))} for blob in blobs]
    heard = [each for each in told if each["mime_type"].startswith("audio/")]
    if not heard:
        return None
    first, *more = heard
    audio: Block = {"id": f"audio_{given_id}", "expires_at": 0, "transcript": "", **first}
    return {**audio, "more": more} if more else audio


def _tool_calls(parts: list[Any], arguments: list[str], seed: tuple[str, str]) -> list[Block]:
    """Return the tool calls; an id that the model did not give is made of the response's id and the place."""
    calls = []
    for place, (part, text) in enumerate(zip(parts, arguments, strict=True)):
        function = part.get("functionCall") if isinstance(part, dict) else None
        if isinstance(function, dict):
            call = {
                "id": _text(function.get("id")) or call_id(*seed, str(place)),
                "type": "function",
                "function": {"name": _text(function.get("name")), "arguments": text},
            }
            if signature := _text(part.get("thoughtSignature")):
                call["extra_content"] = signed(signature)
            calls.append(call)
    return calls


def _arguments(response: bytes) -> list[list[str]]:
    """Return, by candidate and part, the own text of each call's args: no digit, key or space of it changes."""
    try:
        decoded = msgspec.json.decode(response, type=_Response).candidates
        return [[_args(part) for part in each.content.parts] if each.content else [] for each in decoded]
    except (msgspec.DecodeError, RecursionError):  # lone surrogates, odd parts
        return [_exact_arguments(each) for each in _list(read_exactly(response).get("candidates"))]


def _args(part: _Part) -> str:
    text = bytes(part.functionCall.args).decode() if part.functionCall is not None else "{}"
    return "{}" if text == "null" else text


def _exact_arguments(candidate: object) -> list[str]:
    parts = _parts(candidate) if isinstance(candidate, dict) else []
    calls = [part.get("functionCall") if isinstance(part, dict) else None for part in parts]
    found = [call.get("args") if isinstance(call, dict) else None for call in calls]
    return [write(args).decode() if args is not None else "{}" for args in found]


def _finish(reason: object, calls: bool) -> Block:
    """Return the reason in OpenAI's words, and in Google's where those say more."""
    if not isinstance(reason, str):
        return {"finish_reason": "tool_calls" if calls else "stop"}
    word = _FINISH.get(reason, "stop")
    if word == "stop" and calls:
        word = "tool_calls"
    finish = {"finish_reason": word}
    return finish if reason in _SAYS_IT_ALL else {**finish, "native_finish_reason": reason}


def _blocked(feedback: object) -> Block:
    """Return the choice of a response without candidates: the prompt was withheld from the model, or nothing came."""
    fields = feedback if isinstance(feedback, dict) else {}
    reason = _text(fields.get("blockReason"))
    words = _text(fields.get("blockReasonMessage")) or "The prompt was blocked."
    said: Block = {"role": "assistant", "content": None, "refusal": words if reason else None}
    ended: Block = {"finish_reason": "content_filter" if reason else "stop"}
    if reason:
        ended["native_finish_reason"] = reason
    return {"index": 0, "message": said, "logprobs": None, **ended}


def _logprobs(given: object) -> Block | None:
    if not isinstance(given, dict) or not _list(given.get("chosenCandidates")):
        return None
    steps = _list(given.get("topCandidates"))
    tops = [_list(step.get("candidates")) if isinstance(step, dict) else [] for step in steps]
    content = []
    for place, chosen in enumerate(_list(given.get("chosenCandidates"))):
        others = [_token(each) for each in tops[place]] if place < len(tops) else []
        content.append({**_token(chosen), "top_logprobs": others})
    return {"content": content, "refusal": None}


def _token(given: object) -> Block:
    """Return a token. Its bytes are not told: a token may be half a character."""
    fields = given if isinstance(given, dict) else {}
    number = fields.get("logProbability")
    known = isinstance(number, int | float) and not isinstance(number, bool)
    return {"token": _text(fields.get("token")), "logprob": number if known else 0.0, "bytes": None}


def _usage(given: object) -> Usage:
    """Return the counts: what tools brought is input, thoughts are output."""
    return Usage(
        input_tokens=count(given, "promptTokenCount") + count(given, "toolUsePromptTokenCount"),
        output_tokens=count(given, "candidatesTokenCount") + count(given, "thoughtsTokenCount"),
        cached_tokens=count(given, "cachedContentTokenCount"),
        reasoning_tokens=count(given, "thoughtsTokenCount"),
    )


def _seconds(given: object) -> int:
    """Return a timestamp's Unix seconds, 0 for what is none."""
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        return 0
    return int(moment.timestamp()) if moment is not None and moment.tzinfo is not None else 0


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []
