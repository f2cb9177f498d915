"""A chat.completion as a Response.

Shapes: `Response` and `ChatCompletion` of OpenAI's SDK 3.52. Ids come from the completion's own, so that merging twice
gives the same bytes. A response repeats what it was asked; where the request is not at hand, it tells the API's
defaults. Fields that the API's schema wants stand there even when they are null; the others are left out.
"""

from __future__ import annotations

import hashlib
from typing import Any

from proxy_plugin.providers.base import Usage
from proxy_plugin.providers.formats.json_text import has_fractions, has_long_numbers, read, read_exactly, write
from proxy_plugin.providers.formats.shapes import Answer, count

Block = dict[str, Any]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED = (
    "max_output_tokens", "max_tool_calls", "reasoning", "truncation", "user", "safety_identifier", "service_tier",
    "prompt_cache_key", "prompt_cache_retention",
)  # fmt: skip
_NATIVE = ("native_finish_reason", "native_finish_message")
_WITH_NUMBERS = ("tools", "text", "temperature", "top_p")


def to_response(completion: bytes, *, request: bytes | None = None) -> Answer:
    """Translate a chat.completion; `request` is the Responses body. Raises ValueError: the completion is no JSON.

    Extensions beside OpenAI's fields, as in the completion: `native_finish_reason` and `native_finish_message`;
    `citations` of a text; `audio` and `extra_content` (thought signatures) of a message, `extra_content` of a call.
    Images are items of type `image_generation_call`. A completion with an `error` is a response that has failed.
    """
    given = read(completion)
    if not isinstance(given, dict):
        raise ValueError("not a completion")  # noqa: TRY004 - the contract's word for a corrupt row
    seed = _seed(_text(given.get("id")).encode("utf-8", "surrogatepass") or completion)
    choice = next((each for each in _list(given.get("choices")) if isinstance(each, dict)), {})
    reason = choice.get("finish_reason")
    cut = _INCOMPLETE.get(reason) if isinstance(reason, str) else None
    usage, tokens = _usage(given.get("usage"))
    model = _text(given.get("model"))
    created, error = given.get("created"), given.get("error")
    status = "incomplete" if cut else "completed"
    response: Block = {
        "id": _name("resp", seed),
        "object": "response",
        "created_at": created if type(created) is int else 0,
        "status": "failed" if isinstance(error, dict) else status,
        "error": _error(error),
        "incomplete_details": {"reason": cut} if cut else None,
        "model": model,
        "output": _output(choice, seed, status),
        **_echo(request),
        "usage": tokens,
    }
    response |= {key: words for key in _NATIVE if (words := _text(choice.get(key)))}
    return Answer(write(response), usage, model)


def _error(given: object) -> Block | None:
    """Return what went wrong. The API has few words for it, and this is the one that asks for another try."""
    if not isinstance(given, dict):
        return None
    return {"code": "server_error", "message": _text(given.get("message"))}


def _output(choice: Block, seed: str, status: str) -> list[Block]:
    message = choice.get("message")
    if not isinstance(message, dict):
        return []
    items: list[Block] = []
    if thoughts := _text(message.get("reasoning_content")) or _text(message.get("reasoning")):
        summary = [{"type": "summary_text", "text": thoughts}]
        items.append({"id": _name("rs", seed), "type": "reasoning", "summary": summary})
    calls = [call for call in _list(message.get("tool_calls")) if isinstance(call, dict)]
    images = [each for each in _list(message.get("images")) if isinstance(each, dict)]
    more = _told_beside(message)
    if (content := _content(message, choice.get("logprobs"), spoken=not calls and not images)) or more:
        said = {"id": _name("msg", seed), "type": "message", "status": "completed", "role": "assistant"}
        items.append({**said, "content": content, **more})
    items += (_function_call(call, _name("fc", seed, number)) for number, call in enumerate(calls))
    if items and "status" in items[-1]:
        items[-1]["status"] = status  # only the last one can have been cut off
    return items + [_image(each, _name("ig", seed, number)) for number, each in enumerate(images)]


def _told_beside(message: Block) -> Block:
    """Return what a message of the API has no field for."""
    return {key: message[key] for key in ("audio", "extra_content") if isinstance(message.get(key), dict)}


def _image(given: Block, name: str) -> Block:
    """Return an image as the API's own tool for images gives one; what is no data stays an address."""
    inner = given.get("image_url")
    url = _text(inner.get("url")) if isinstance(inner, dict) else ""
    item: Block = {"id": name, "type": "image_generation_call", "status": "completed"}
    head, found, data = url.partition(";base64,")
    if not found or not head.startswith("data:image/"):
        return {**item, "result": None, "url": url}
    return {**item, "result": data, "output_format": head.removeprefix("data:image/")}


def _content(message: Block, logprobs: object, *, spoken: bool) -> list[Block]:
    """Return the parts of what was said; an empty text counts only where nothing else was answered."""
    parts: list[Block] = []
    text = message.get("content")
    if isinstance(text, list):
        text = "".join(_text(part.get("text")) for part in text if isinstance(part, dict))
    refusal = _text(message.get("refusal"))
    if isinstance(text, str) and (text or (spoken and not refusal)):
        part: Block = {"type": "output_text", "text": text, "annotations": _annotations(message)}
        part["logprobs"] = _logprobs(logprobs)
        if message.get("citations"):
            part["citations"] = message["citations"]
        parts.append(part)
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def _logprobs(given: object) -> list[Block]:
    """Return the tokens of a text. The API wants bytes where a chat may leave them out."""
    tokens = _list(given.get("content")) if isinstance(given, dict) else []
    found = [{**token, "top_logprobs": _list(token.get("top_logprobs"))} for token in tokens if isinstance(token, dict)]
    tops = [top for token in found for top in token["top_logprobs"] if isinstance(top, dict)]
    for token in (*found, *tops):
        token["bytes"] = _list(token.get("bytes"))
    return found


def _annotations(message: Block) -> list[Block]:
    """Return citations with their fields beside the type, where a chat has them in an object of their own."""
    found = []
    for each in _list(message.get("annotations")):
        inner = each.get("url_citation") if isinstance(each, dict) else None
        if isinstance(inner, dict):
            found.append({"type": "url_citation", **inner})
    return found


def _function_call(call: Block, name: str) -> Block:
    function = call.get("function")
    fields = function if isinstance(function, dict) else {}
    return {
        "id": name,
        "type": "function_call",
        "call_id": _text(call.get("id")),
        "name": _text(fields.get("name")),
        "arguments": _text(fields.get("arguments")),
        "status": "completed",
        **({"extra_content": call["extra_content"]} if isinstance(call.get("extra_content"), dict) else {}),
    }


def _usage(given: object) -> tuple[Usage, Block]:
    counts = given if isinstance(given, dict) else {}
    read_in, written = counts.get("prompt_tokens_details"), counts.get("completion_tokens_details")
    usage = usage_of(counts)
    tokens = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": count(read_in, "cache_write_tokens"),
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": count(written, "reasoning_tokens")},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    return usage, tokens


def usage_of(counts: object) -> Usage:
    """Return the counts in the `usage` of a chat.completion."""
    fields = counts if isinstance(counts, dict) else {}
    return Usage(
        input_tokens=count(fields, "prompt_tokens"),
        output_tokens=count(fields, "completion_tokens"),
        cached_tokens=count(fields.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=count(fields.get("completion_tokens_details"), "reasoning_tokens"),
        cache_write_tokens=count(fields.get("prompt_tokens_details"), "cache_write_tokens"),
    )


def _echo(request: bytes | None) -> Block:
    """Return what a response repeats of its request."""
    asked = _asked(request)
    parallel, text = asked.get("parallel_tool_calls"), asked.get("text")
    form = {"format": {"type": "text"}}
    echo: Block = {
        "instructions": asked.get("instructions"),
        "metadata": asked.get("metadata") or {},
        "parallel_tool_calls": True if parallel is None else parallel,
        "temperature": asked.get("temperature"),
        "top_p": asked.get("top_p"),
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": [_tool(tool) for tool in _list(asked.get("tools")) if isinstance(tool, dict)],
        "text": {**form, **_present(text)} if isinstance(text, dict) else form,
    }
    return echo | {key: asked[key] for key in _ECHOED if asked.get(key) is not None}


def _asked(request: bytes | None) -> Block:
    if request is None:
        return {}
    asked = read(request)
    if not isinstance(asked, dict):
        return {}
    numbers = [asked.get(key) for key in _WITH_NUMBERS]
    if has_fractions(numbers) and has_long_numbers(request):
        asked = read_exactly(request)
    return asked if isinstance(asked, dict) else {}


def _tool(tool: Block) -> Block:
    """Return a tool as the API's schema wants it: what may be null must be there."""
    return {"parameters": None, **tool, "strict": tool.get("strict") or False}


def _present(given: Block) -> Block:
    return {key: value for key, value in given.items() if value is not None}


def _seed(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:40]


def _name(kind: str, seed: str, number: int = 0) -> str:
    return f"{kind}_{seed}{number:08x}"


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []
