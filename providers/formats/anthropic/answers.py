"""An Anthropic message as a chat.completion.

Shapes: Messages API, types of the official SDK 2.12; chat.completion of OpenAI's SDK 3.52. Merging twice must give the
same bytes, so nothing here comes from a clock or from chance.

A paid answer is never refused for something new in it: blocks and stop reasons that are not known are passed over or
named, odd values count as absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.json_text import read, read_exactly, write
from proxy_plugin.providers.formats.shapes import Answer, chat_tokens, count

Block = dict[str, Any]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
}
# What OpenAI's word does not tell; also every reason that is not in the table.
_SAYS_LESS = frozenset({"model_context_window_exceeded", "pause_turn"})
_EMPTY = msgspec.Raw(b"{}")


class _Input(msgspec.Struct):
    input: msgspec.Raw = _EMPTY


class _Inputs(msgspec.Struct):
    content: list[_Input]


_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _PlainBlock(msgspec.Struct):
    type: Literal["text", "tool_use"]
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = _EMPTY
    citations: None = None


class _Lifetimes(msgspec.Struct):
    ephemeral_5m_input_tokens: _Tokens = 0
    ephemeral_1h_input_tokens: _Tokens = 0


class _MadeDetails(msgspec.Struct):
    thinking_tokens: _Tokens = 0


class _PlainCounts(msgspec.Struct):
    input_tokens: _Tokens = 0
    output_tokens: _Tokens = 0
    cache_creation_input_tokens: _Tokens = 0
    cache_read_input_tokens: _Tokens = 0
    cache_creation: _Lifetimes | None = None
    output_tokens_details: _MadeDetails | None = None


class PlainMessage(msgspec.Struct):
    """What nearly every message looks like: texts and tool calls, counts. Other members say nothing to an answer."""

    content: list[_PlainBlock]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    usage: _PlainCounts = msgspec.field(default_factory=_PlainCounts)


_NO_LIFETIMES, _NO_DETAILS = _Lifetimes(), _MadeDetails()
_SAID = (
    b'{"id":%b,"object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":%b,"refusal":null},"logprobs":null,"finish_reason":%b}],"usage":{"prompt_tokens":%d,'
    b'"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d},'
    b'"completion_tokens_details":{"reasoning_tokens":%d}}}'
)


def to_completion(message: bytes, *, created: int = 0) -> Answer:
    """Translate a Message; `created` (Unix seconds) is the caller's, as Messages have none. Raises ValueError: no JSON.

    Extensions beside OpenAI's fields: `message.reasoning_content` (thinking), `message.citations` (those without a
    URL), `choices[].native_finish_reason` (where OpenAI's word says less), `usage.cache_creation_input_tokens`.
    """
    if (answer := plain_completion(message, created=created)) is not None:
        return answer
    given = read(message)
    if not isinstance(given, dict):
        raise ValueError("not a message")  # noqa: TRY004 - the contract's word for a corrupt row
    return completion_of(given, message, created=created)


def plain_completion(message: bytes, *, created: int = 0) -> Answer | None:
    """Translate an ordinary Message to the same bytes as `completion_of`, in half its time; None for any other."""
    try:
        found = _PLAIN(message)
    except (msgspec.DecodeError, RecursionError):
        return None
    return plain_answer(found, created=created)


def plain_answer(found: PlainMessage, *, created: int = 0) -> Answer | None:
    """Return what an ordinary message comes to; None for one that is refused, which is none."""
    calls = [_call(each.id, each.name, bytes(each.input)) for each in found.content if each.type == "tool_use"]
    finish = _finish(found.stop_reason, bool(calls))
    if finish["finish_reason"] == "content_filter":
        return None
    usage = _plain_usage(found.usage)
    texts = [each.text for each in found.content if each.type == "text"]
    if not calls and len(finish) == 1 and not usage.cache_write_tokens:
        return Answer(_written(found, "".join(texts), finish["finish_reason"], created, usage), usage, found.model)
    said: Block = {"role": "assistant", "content": None if calls and not texts else "".join(texts), "refusal": None}
    if calls:
        said["tool_calls"] = calls
    return _answer(found.id, created, found.model, {"index": 0, "message": said, "logprobs": None, **finish}, usage)


def _plain_usage(counts: _PlainCounts) -> Usage:
    kept, made = counts.cache_creation or _NO_LIFETIMES, counts.output_tokens_details or _NO_DETAILS
    written = max(counts.cache_creation_input_tokens, kept.ephemeral_5m_input_tokens + kept.ephemeral_1h_input_tokens)
    return Usage(
        input_tokens=counts.input_tokens + written + counts.cache_read_input_tokens,
        output_tokens=counts.output_tokens,
        cached_tokens=counts.cache_read_input_tokens,
        reasoning_tokens=made.thinking_tokens,
        cache_write_tokens=written,
        cache_write_1h_tokens=kept.ephemeral_1h_input_tokens,
    )


def _written(found: PlainMessage, text: str, finish: str, created: int, usage: Usage) -> bytes:
    """Return what `_answer` writes where there is nothing but text."""
    head = write(found.id), created, write(found.model), write(text), write(finish)
    sums = usage.input_tokens, usage.output_tokens, usage.input_tokens + usage.output_tokens
    return _SAID % (*head, *sums, usage.cached_tokens, usage.reasoning_tokens)


def completion_of(given: Block, message: bytes, *, created: int = 0) -> Answer:
    """Translate a Message that has been read already; `message` is its text."""
    blocks = [block for block in _list(given.get("content")) if isinstance(block, dict)]
    said, finish = _message(given, blocks, message)
    choice = {"index": 0, "message": said, "logprobs": None, **finish}
    return _answer(_text(given.get("id")), created, _text(given.get("model")), choice, _usage(given.get("usage")))


def _answer(message_id: str, created: int, model: str, choice: Block, usage: Usage) -> Answer:
    tokens = chat_tokens(usage)
    if written := usage.cache_write_tokens:
        tokens["prompt_tokens_details"]["cache_write_tokens"] = written
        tokens["cache_creation_input_tokens"] = written
    completion = {
        "id": message_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": tokens,
    }
    return Answer(write(completion), usage, model)


def _message(given: Block, blocks: list[Block], message: bytes) -> tuple[Block, Block]:
    """Return the assistant message, and the choice's members that tell why it ended."""
    texts = [_text(block.get("text")) for block in blocks if block.get("type") == "text"]
    calls = _tool_calls(message) if any(block.get("type") == "tool_use" for block in blocks) else []
    finish = _finish(given.get("stop_reason"), bool(calls))
    refused = finish["finish_reason"] == "content_filter"
    said: Block = {"role": "assistant", "content": "".join(texts), "refusal": None}
    if not texts and (calls or refused):
        said["content"] = None
    if refused:
        details = given.get("stop_details")
        reason = _text(details.get("explanation")) if isinstance(details, dict) else ""
        said["refusal"] = reason or "The model declined this request."
    if calls:
        said["tool_calls"] = calls
    if thoughts := [text for block in blocks if (text := _thought(block))]:
        said["reasoning_content"] = "\n\n".join(thoughts)
    if any(block.get("citations") for block in blocks):
        said.update(_cited(blocks))
    return said, finish


def _tool_calls(message: bytes) -> list[Block]:
    """Return the tool calls, with each input's own text as arguments: no digit, key or space of it changes."""
    content = _list(read(message).get("content"))
    try:
        inputs = [bytes(each.input) for each in msgspec.json.decode(message, type=_Inputs).content]
    except (msgspec.DecodeError, RecursionError):  # lone surrogates, odd blocks
        content = _list(read_exactly(message).get("content"))
        inputs = [write(block.get("input")) if isinstance(block, dict) else b"" for block in content]
    return [
        _call(_text(block.get("id")), _text(block.get("name")), text)
        for block, text in zip(content, inputs, strict=True)
        if isinstance(block, dict) and block.get("type") == "tool_use"
    ]


def _call(call_id: str, name: str, arguments: bytes) -> Block:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments.decode()}}


def _finish(reason: object, calls: bool) -> Block:
    if not isinstance(reason, str):
        return {"finish_reason": "tool_calls" if calls else "stop"}
    word = _FINISH.get(reason)
    if word is None or reason in _SAYS_LESS:
        return {"finish_reason": word or "stop", "native_finish_reason": reason}
    return {"finish_reason": word}


def _thought(block: Block) -> str:
    return _text(block.get("thinking")) if block.get("type") == "thinking" else ""


def _cited(blocks: list[Block]) -> Block:
    """Return OpenAI's annotations, and under `citations` what they cannot say: places in documents."""
    annotations, others = [], []
    for citation, start, end in _citations(blocks):
        place = {"start_index": start, "end_index": end}
        if url := _text(citation.get("url")):
            title = _text(citation.get("title")) or url
            annotations.append({"type": "url_citation", "url_citation": {**place, "url": url, "title": title}})
        else:
            others.append({**citation, **place})
    found = {"annotations": annotations, "citations": others}
    return {name: entries for name, entries in found.items() if entries}


def _citations(blocks: list[Block]) -> Iterator[tuple[Block, int, int]]:
    """Yield each citation with the part of `content` that it supports."""
    start = 0
    for block in blocks:
        if block.get("type") == "text":
            end = start + len(_text(block.get("text")))
            yield from ((each, start, end) for each in _list(block.get("citations")) if isinstance(each, dict))
            start = end


def _usage(given: object) -> Usage:
    counts = given if isinstance(given, dict) else {}
    details, lifetimes = counts.get("output_tokens_details"), counts.get("cache_creation")
    kept = [count(lifetimes, f"ephemeral_{lifetime}_input_tokens") for lifetime in ("5m", "1h")]
    written = max(count(counts, "cache_creation_input_tokens"), sum(kept))
    return Usage(
        input_tokens=count(counts, "input_tokens") + written + count(counts, "cache_read_input_tokens"),
        output_tokens=count(counts, "output_tokens"),
        cached_tokens=count(counts, "cache_read_input_tokens"),
        reasoning_tokens=count(details, "thinking_tokens"),
        cache_write_tokens=written,
        cache_write_1h_tokens=kept[1],
    )


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []


_PLAIN = msgspec.json.Decoder(PlainMessage).decode
