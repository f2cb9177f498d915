"""What a Bedrock record holds when it has run, as a chat.completion; and its error as OpenAI's.

Shapes: Converse of botocore 1.43.117; Nova User Guide, "Request and response schema"; Bedrock User Guide, "Meta Llama
models", "Mistral AI text completion", "Mistral AI chat completion", "DeepSeek models", "OpenAI models", "Format and
upload your batch inference data" (errors), copies of 2026. Which family answered is read from the answer itself: a paid
answer is read whatever the table of models says by then.

Records carry no id and no time, so ids are made from the answer's own bytes: merging twice gives the same rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.anthropic import answers as anthropic_answers
from proxy_plugin.providers.formats.json_text import has_long_numbers, read, read_exactly, write
from proxy_plugin.providers.formats.shapes import UNUSABLE, Answer, ErrorAnswer, chat_tokens, count, spoiled

Block = dict[str, Any]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "stop": "stop",
    "max_tokens": "length",
    "length": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "tool_calls": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "content_filter": "content_filter",
}
# What OpenAI's word does not tell; also every reason that is not in the table.
_SAYS_LESS = frozenset({"model_context_window_exceeded", "guardrail_intervened"})
# Stop reasons of Converse (botocore 1.43.117): the model meant to answer, or to call a tool, and failed.
_SPOILED = frozenset({"malformed_model_output", "malformed_tool_use"})
_THOUGHT = re.compile(r"\s*<(reasoning|think)>(.*?)</\1>\s*", re.DOTALL)
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    424: "model_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
# Runtime exceptions of botocore 1.43.117 and their statuses, for an errorCode that is a word.
_STATUS = {
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "ValidationException": 400,
}
_EMPTY = msgspec.Raw(b"{}")
_PLAIN_COUNTS = frozenset({"inputTokens", "outputTokens", "totalTokens"})


_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Use(msgspec.Struct, rename="camel"):
    input: msgspec.Raw = _EMPTY
    tool_use_id: str = ""
    name: str = ""


class _Content(msgspec.Struct, rename="camel"):
    tool_use: _Use | None = None


class _Message(msgspec.Struct):
    content: list[_Content] = msgspec.field(default_factory=list)


class _Output(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    output: _Output


class _PlainContent(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    text: str | None = None
    tool_use: _Use | None = None


class _PlainMessage(msgspec.Struct):
    content: list[_PlainContent]


class _PlainOutput(msgspec.Struct):
    message: _PlainMessage


class _PlainCounts(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    input_tokens: _Tokens = 0
    output_tokens: _Tokens = 0
    total_tokens: _Tokens = 0


class _Plain(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What nearly every Converse answer looks like: texts and tool calls, three counts."""

    output: _PlainOutput
    stop_reason: str
    usage: _PlainCounts
    metrics: dict[str, _Tokens] | None = None


def to_completion(output: bytes, *, model: str, created: int = 0) -> Answer:
    """Translate a record's `modelOutput`; `model` names it where the answer does not. Raises ValueError: no JSON.

    `created` (Unix seconds) is the caller's. Extensions beside OpenAI's fields: `message.reasoning_content`,
    `choices[].native_finish_reason` (where OpenAI's word says less), `metrics` (Converse's latency).
    """
    if b'"stopReason"' in output:
        with suppress(msgspec.DecodeError, RecursionError):
            return _plain(_PLAIN(output), output, model, created)
    if b'"stop_reason"' in output and b'"content"' in output:
        answer = anthropic_answers.plain_completion(output, created=created)
        if answer is not None:
            return answer
    return _any(output, model, created)


def _plain(found: _Plain, output: bytes, model: str, created: int) -> Answer:
    """Translate an ordinary Converse answer to the same bytes as `_any`, in about half its time [measured]."""
    blocks = found.output.message.content
    texts = [block.text for block in blocks if block.text is not None]
    uses = [block.tool_use for block in blocks if block.tool_use is not None]
    calls = [_call(use.tool_use_id, use.name, bytes(use.input)) for use in uses]
    content = "".join(texts) if texts or not calls else None
    usage = Usage(found.usage.input_tokens, found.usage.output_tokens)
    choices = [_choice(content, "", calls, found.stop_reason)]
    completion = _completion("", output, model, created, choices, chat_tokens(usage))
    if found.metrics is not None:
        completion["metrics"] = found.metrics
    return _answer(completion, usage, model, found.stop_reason)


def _any(output: bytes, model: str, created: int) -> Answer:
    given = read(output)
    if not isinstance(given, dict):
        raise ValueError("not a model's output")  # noqa: TRY004 - the contract's word for a corrupt row
    if isinstance(given.get("content"), list) or given.get("type") == "message":
        return anthropic_answers.completion_of(given, output, created=created)
    for key, reader in _READERS.items():
        if key in given:
            choices, usage, tokens = reader(given, output)
            break
    else:
        choices, usage, tokens = [_choice("", "", [], None)], Usage(), chat_tokens(Usage())
    name = _text(given.get("model")) or model
    completion = _completion(_text(given.get("id")), output, name, created, choices, tokens)
    if isinstance(metrics := given.get("metrics"), dict):
        completion["metrics"] = metrics
    return _answer(completion, usage, name, given.get("stopReason"))


def _answer(completion: Block, usage: Usage, name: str, reason: object) -> Answer:
    """Return the answer; one that the model spoiled is an error that holds all of it."""
    if not isinstance(reason, str) or reason not in _SPOILED:
        return Answer(write(completion), usage, name)
    whole = {"error": spoiled(reason, ""), **completion}
    return Answer(write(whole), usage, name, UNUSABLE, reason)


def _completion(name: str, output: bytes, model: str, created: int, choices: list[Block], tokens: Block) -> Block:
    return {
        "id": name or "chatcmpl-" + hashlib.sha256(output).hexdigest()[:32],
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": tokens,
    }


def is_told(names: Collection[str]) -> bool:
    """Tell whether an output with these members is a chat's, of a family that is read here."""
    return "content" in names or not _READERS.keys().isdisjoint(names)


def error_row(error: bytes) -> ErrorAnswer:
    """Translate the `error` of a record, bare or in its record. Raises ValueError: no JSON."""
    given = read(error)
    while isinstance(given, dict) and isinstance(given.get("error"), dict):
        given = given["error"]
    fields = given if isinstance(given, dict) else {}
    code = fields.get("errorCode")
    status = _STATUS.get(code, 500) if isinstance(code, str) and not code.isdigit() else _number(code)
    status = status if 400 <= status <= 599 else 500
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    words = _text(fields.get("errorMessage")) or "Bedrock gave no reason for this error."
    named = code if isinstance(code, str) and code in _STATUS else kind
    fault = {"message": words, "type": kind, "param": None, "code": named}
    return ErrorAnswer(status, write({"error": fault}), named)


def _number(code: object) -> int:
    if isinstance(code, str) and code.isascii() and len(code) < 4:
        return int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) else 500


def _converse(given: Block, output: bytes) -> tuple[list[Block], Usage, Block]:
    blocks = _blocks(given)
    texts = [text for block in blocks if (text := _spoken(block)) is not None]
    thoughts = [text for block in blocks if (text := _reasoned(block))]
    calls = _tool_uses(blocks, output) if any("toolUse" in block for block in blocks) else []
    content = "".join(texts) if texts or not calls else None
    choice = _choice(content, "\n\n".join(thoughts), calls, given.get("stopReason"))
    return [choice], *_converse_usage(given.get("usage"))


def _blocks(given: Block) -> list[Block]:
    reply = given.get("output")
    message = reply.get("message") if isinstance(reply, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return [block for block in _list(content) if isinstance(block, dict)]


def _spoken(block: Block) -> str | None:
    """Return what a block says, with or without citations."""
    if isinstance(text := block.get("text"), str):
        return text
    cited = block.get("citationsContent")
    if not isinstance(cited, dict):
        return None
    return "".join(_text(each.get("text")) for each in _list(cited.get("content")) if isinstance(each, dict))


def _reasoned(block: Block) -> str:
    thought = block.get("reasoningContent")
    spoken = thought.get("reasoningText") if isinstance(thought, dict) else None
    return _text(spoken.get("text")) if isinstance(spoken, dict) else ""


def _tool_uses(blocks: list[Block], output: bytes) -> list[Block]:
    """Return the tool calls, with each input's own text as arguments: no digit, key or space of it changes."""
    try:
        content = msgspec.json.decode(output, type=_Reply).output.message.content
        inputs = [bytes(each.tool_use.input) if each.tool_use else b"{}" for each in content]
    except (msgspec.DecodeError, RecursionError):  # lone surrogates, odd blocks
        blocks = _blocks(read_exactly(output))
        inputs = [write(use.get("input")) if isinstance(use := block.get("toolUse"), dict) else b"" for block in blocks]
    return [
        _call(_text(use.get("toolUseId")), _text(use.get("name")), text)
        for block, text in zip(blocks, inputs, strict=True)
        if isinstance(use := block.get("toolUse"), dict)
    ]


def _call(name: str, function: str, arguments: bytes) -> Block:
    return {"id": name, "type": "function", "function": {"name": function, "arguments": arguments.decode()}}


def _converse_usage(counts: object) -> tuple[Usage, Block]:
    """Count the prompt with what was read from and written to the cache; Nova's own names differ from Converse's."""
    hits = written = 0
    if isinstance(counts, dict) and not counts.keys() <= _PLAIN_COUNTS:
        hits = count(counts, "cacheReadInputTokens") or count(counts, "cacheReadInputTokenCount")
        written = count(counts, "cacheWriteInputTokens") or count(counts, "cacheWriteInputTokenCount")
    usage = Usage(
        input_tokens=count(counts, "inputTokens") + hits + written,
        output_tokens=count(counts, "outputTokens"),
        cached_tokens=hits,
        cache_write_tokens=written,
    )
    tokens = chat_tokens(usage)
    if written:
        tokens["prompt_tokens_details"]["cache_write_tokens"] = written
        tokens["cache_creation_input_tokens"] = written
    return usage, tokens


def _llama(given: Block, _output: bytes) -> tuple[list[Block], Usage, Block]:
    usage = Usage(count(given, "prompt_token_count"), count(given, "generation_token_count"))
    return [_choice(_text(given["generation"]), "", [], given.get("stop_reason"))], usage, chat_tokens(usage)


def _mistral(given: Block, _output: bytes) -> tuple[list[Block], Usage, Block]:
    """Read a text completion. It tells no token counts."""
    found = [each for each in _list(given["outputs"]) if isinstance(each, dict)]
    choices = [_choice(_text(each.get("text")), "", [], each.get("stop_reason"), at) for at, each in enumerate(found)]
    return choices, Usage(), chat_tokens(Usage())


def _chat(given: Block, output: bytes) -> tuple[list[Block], Usage, Block]:
    """Read a chat completion, Mistral's form of it, or DeepSeek-R1's text completion."""
    given = read_exactly(output) if has_long_numbers(output) else given  # arguments that are no text
    found = [each for each in _list(given["choices"]) if isinstance(each, dict)]
    choices = [_chat_choice(each, at) for at, each in enumerate(found)]
    counts = given.get("usage")
    details = counts if isinstance(counts, dict) else {}
    usage = Usage(
        input_tokens=count(counts, "prompt_tokens"),
        output_tokens=count(counts, "completion_tokens"),
        cached_tokens=count(details.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=count(details.get("completion_tokens_details"), "reasoning_tokens"),
    )
    return choices, usage, chat_tokens(usage)


def _chat_choice(choice: Block, at: int) -> Block:
    reason = choice.get("finish_reason") or choice.get("stop_reason")
    if isinstance(text := choice.get("text"), str):  # R1: the prompt has opened the thought
        thought, closed, spoken = text.partition("</think>")
        return _choice(spoken.lstrip() if closed else text, thought.strip() if closed else "", [], reason, at)
    message = choice.get("message")
    said = message if isinstance(message, dict) else {}
    content, thought = said.get("content"), _text(said.get("reasoning_content")) or _text(said.get("reasoning"))
    if isinstance(content, str) and not thought and (found := _THOUGHT.match(content)):
        content, thought = content[found.end() :], found[2].strip()
    calls = [_called(call) for call in _list(said.get("tool_calls")) if isinstance(call, dict)]
    if isinstance(content, list):
        content = "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    content = content if isinstance(content, str) and (content or not calls) else None if calls else ""
    return _choice(content, thought, calls, reason, at)


def _called(call: Block) -> Block:
    function = call.get("function")
    named = function if isinstance(function, dict) else {}
    arguments = named.get("arguments")
    text = arguments if isinstance(arguments, str) else write(arguments if arguments is not None else {}).decode()
    return {
        "id": _text(call.get("id")),
        "type": "function",
        "function": {"name": _text(named.get("name")), "arguments": text},
    }


def _choice(content: str | None, thought: str, calls: list[Block], reason: object, index: int = 0) -> Block:
    finish = _finish(reason, bool(calls))
    said: Block = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        said["tool_calls"] = calls
    if thought:
        said["reasoning_content"] = thought
    return {"index": index, "message": said, "logprobs": None, **finish}


def _finish(reason: object, calls: bool) -> Block:
    if not isinstance(reason, str):
        return {"finish_reason": "tool_calls" if calls else "stop"}
    word = _FINISH.get(reason)
    if word == "stop" and calls:
        word = "tool_calls"  # some services end a turn of calls as any other
    if word is None or reason in _SAYS_LESS:
        return {"finish_reason": word or "stop", "native_finish_reason": reason}
    return {"finish_reason": word}


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []


_PLAIN = msgspec.json.Decoder(_Plain).decode
_READERS: dict[str, Callable[[Block, bytes], tuple[list[Block], Usage, Block]]] = {
    "output": _converse,
    "generation": _llama,
    "outputs": _mistral,
    "choices": _chat,
}
