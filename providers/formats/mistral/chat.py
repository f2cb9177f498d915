"""An OpenAI chat body as Mistral's, and its answer as a chat.completion: nearly the same, with fewer and other names.

Shapes: `ChatCompletionRequest`, its messages and chunks, `ChatCompletionResponse` of the official SDK 3.7; the
reference page (temperature to 1.5; tool call ids of nine letters and digits, which older models insist on).
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from proxy_plugin.providers.formats.bodies import Block
from proxy_plugin.providers.formats.json_text import has_long_numbers, read, read_exactly, write
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import SAME, check_rest, model_name, read_chat, read_limit, read_number
from proxy_plugin.providers.formats.rows import tokens_of
from proxy_plugin.providers.formats.shapes import UNUSABLE, Answer, Translated, spoiled
from proxy_plugin.providers.formats.surrogates import mended, places

PROVIDER = "Mistral's API"
WARMEST = 1.5
_SAME_NAMES = frozenset(
    {
        *("top_p", "stop", "response_format", "presence_penalty", "frequency_penalty", "n", "prediction"),
        *("parallel_tool_calls", "reasoning_effort", "metadata", "prompt_mode", "safe_prompt", "guardrails"),
        *("min_tokens", "repetition_penalty", "top_k", "prompt_cache_key"),
    }
)
_KNOWN = _SAME_NAMES | {
    *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "seed", "random_seed", "tools"),
    *("tool_choice", "stream_options"),
}
# Without these an answer lacks what the caller will read from it, so no setting lets them be left out.
_NEVER = {
    "stream": "answers of a batch are not streamed; remove it",
    "logprobs": "Mistral's batches return no log probabilities; remove it",
    "top_logprobs": "Mistral's batches return no log probabilities; remove it",
    "audio": "Mistral returns no audio; remove it",
    "modalities": "Mistral returns text only; remove it",
    "functions": "the older form of tools is not known here; send it as tools",
    "function_call": "the older form of tool_choice is not known here; send it as tool_choice",
}
_MEMBERS = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "prefix", "refusal"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")
_ENDS = {"model_length": "length"}


def to_mistral(body: bytes, *, model: str | None, drop_params: bool, strict_params: bool = False) -> Translated:
    """Translate a chat body; `model` replaces its own. Raises LineRejected, for any JSON object nothing else."""
    chat = read_chat(body)
    losses = Losses(allowed=drop_params, strict=strict_params, provider=PROVIDER)
    check_rest(chat, losses, known=_KNOWN, same=SAME, never=_NEVER, provider=PROVIDER)
    native: Block = {"model": model_name(chat, model), "messages": _messages(chat.get("messages"), losses)}
    native |= {key: chat[key] for key in chat if key in _SAME_NAMES and chat[key] is not None}
    if limit := read_limit(chat):
        native["max_tokens"] = limit[1]
    sampling(chat, native, losses)
    if chat.get("tools") is not None:
        native["tools"] = [_tool(each) for each in _list(chat, "tools")]
    if chat.get("tool_choice") is not None:
        native["tool_choice"] = "any" if chat["tool_choice"] == "required" else chat["tool_choice"]
    return Translated(written(native, chat, losses), losses.settled())


def written(native: Block, given: Block, losses: Losses) -> bytes:
    """Write a body; halves of characters in what was `given` are replaced. Raises LineRejected."""
    try:
        text = write(native)
    except ValueError as error:
        raise rejected("body", f"is {error}") from None
    whole = mended(text)
    if whole is not text:
        for path in list(dict.fromkeys(places(given)))[:100] or ["body"]:
            losses.hint(path, "holds half of a character", "Cut texts between characters", instead="U+FFFD")
    return whole


def sampling(chat: Block, native: Block, losses: Losses) -> None:
    """Read temperature and seed."""
    heat = read_number(chat, "temperature", 0, 2)
    if heat is not None and heat > WARMEST:
        losses.add("temperature", f"Mistral takes 0 to {WARMEST}", "Lower it", instead=str(WARMEST))
        heat = WARMEST
    if heat is not None:
        native["temperature"] = heat
    seed = chat.get("seed") if chat.get("random_seed") is None else chat["random_seed"]
    if type(seed) is int and seed >= 0:
        native["random_seed"] = seed
    elif seed is not None:
        losses.add("seed", "Mistral takes whole numbers from 0", "Send one, or remove it")


def _list(given: Block, key: str, path: str = "") -> list[Any]:
    found = given.get(key)
    if not isinstance(found, list):
        raise rejected(path or key, "must be a list", "invalid_type")
    return found


def _messages(given: object, losses: Losses) -> list[Block]:
    if not isinstance(given, list) or not given:
        raise rejected("messages", "must be a list of messages that is not empty", "invalid_type")
    return [_message(each, f"messages[{number}]", losses) for number, each in enumerate(given)]


def _message(given: object, path: str, losses: Losses) -> Block:
    if not isinstance(given, dict):
        raise rejected(path, "must be an object", "invalid_type")
    role = "system" if given.get("role") == "developer" else given.get("role")
    known = _MEMBERS.get(role) if isinstance(role, str) else None
    if known is None:
        raise rejected(f"{path}.role", "must be system, developer, user, assistant or tool")
    losses.add_unknown(given, known, path)
    made: Block = {"role": role, "content": _content(given, f"{path}.content", losses)}
    if given.get("tool_calls"):
        calls = _list(given, "tool_calls", f"{path}.tool_calls")
        made["tool_calls"] = [_call(each, f"{path}.tool_calls[{n}]", losses) for n, each in enumerate(calls)]
    if role == "tool":
        made["tool_call_id"] = _call_id(given.get("tool_call_id"), f"{path}.tool_call_id")
    return made | {key: given[key] for key in ("name", "prefix") if key in known and given.get(key) is not None}


def _content(given: Block, path: str, losses: Losses) -> Any:
    content = given.get("content")
    if isinstance(content, list):
        return [_part(each, f"{path}[{number}]", losses) for number, each in enumerate(content)]
    if content is None and given.get("role") == "assistant":
        refusal = given.get("refusal")
        return refusal if isinstance(refusal, str) else ""
    if not isinstance(content, str):
        raise rejected(path, "must be a text or a list of parts", "invalid_type")
    return content


def _part(given: object, path: str, losses: Losses) -> Block:
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(kind, str):
        raise rejected(path, "must be an object with a type", "invalid_type")
    if kind == "text":
        losses.add_unknown(given, frozenset({"type", "text"}), path)
        return {"type": "text", "text": given.get("text")}
    if kind == "refusal":
        return {"type": "text", "text": given.get("refusal")}
    if kind == "input_audio" and isinstance(sound := given.get(kind), dict):
        return {"type": kind, "input_audio": sound.get("data")}
    if kind == "file" and isinstance(file := given.get(kind), dict):
        if not isinstance(data := file.get("file_data"), str):
            raise rejected(f"{path}.file", "must have file_data; files of OpenAI's store are not there")
        named = {"document_name": file["filename"]} if isinstance(file.get("filename"), str) else {}
        return {"type": "document_url", "document_url": data, **named}
    return given  # image_url has OpenAI's shape; the others are Mistral's own


def _call(given: object, path: str, losses: Losses) -> Block:
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(function, dict):
        raise rejected(path, "must be a call of a function", "invalid_type")
    losses.add_unknown(given, frozenset({"id", "type", "function", "index"}), path)
    losses.add_unknown(function, frozenset({"name", "arguments"}), f"{path}.function")
    named = {key: function.get(key) for key in ("name", "arguments")}
    return {"id": _call_id(given.get("id"), f"{path}.id"), "type": "function", "function": named}


def _call_id(given: object, path: str) -> str:
    """Return an id of nine letters and digits: the caller's own, or one that stands for it here and in its result."""
    if not isinstance(given, str) or not given:
        raise rejected(path, "must be a text", "invalid_type")
    if _CALL_ID.fullmatch(given):
        return given
    return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _tool(given: object) -> object:
    """Return a tool; a function without parameters gets an empty schema, which Mistral asks for."""
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(function, dict) or function.get("parameters") is not None:
        return given
    return {**given, "function": {**function, "parameters": {"type": "object", "properties": {}}}}


def to_completion(native: bytes) -> Answer:
    """Return Mistral's answer as a chat.completion, byte for byte where it is one. Raises ValueError: no JSON."""
    given = read_exactly(native) if has_long_numbers(native) else read(native)
    if not isinstance(given, dict):
        raise ValueError("not a completion")  # noqa: TRY004 - the contract's word for a corrupt row
    choices = [each for each in given.get("choices") or () if isinstance(each, dict)]
    made = [_choice(each) for each in choices]
    usage = tokens_of(given.get("usage"))
    model = given.get("model") if isinstance(given.get("model"), str) else ""
    if any(each.get("finish_reason") == "error" for each in choices):
        body = write({**given, "choices": made, "error": spoiled("error", "")})
        return Answer(body, usage, str(model), UNUSABLE, "error")
    same = made == given.get("choices") and given.get("object") == "chat.completion"
    body = native if same else write({**given, "object": "chat.completion", "choices": made})
    return Answer(body, usage, str(model))


def _choice(given: Block) -> Block:
    said = given.get("message")
    message = dict(said) if isinstance(said, dict) else {"role": "assistant", "content": ""}
    if isinstance(message.get("content"), list):
        thoughts = "".join(_texts(each.get("thinking")) for each in message["content"] if isinstance(each, dict))
        message["content"] = _texts(message["content"])
        message |= {"reasoning_content": thoughts} if thoughts else {}
    if message.get("tool_calls"):
        message["tool_calls"] = [_answered_call(each) for each in message["tool_calls"]]
    reason = given.get("finish_reason")
    return {**given, "message": message, "finish_reason": _ENDS.get(str(reason), reason)}


def _texts(chunks: object) -> str:
    """Return the text of chunks; thinking is none."""
    if isinstance(chunks, str):
        return chunks
    found = (each.get("text") for each in chunks if isinstance(each, dict)) if isinstance(chunks, list) else ()
    return "".join(each for each in found if isinstance(each, str))


def _answered_call(given: object) -> object:
    """Return a call as OpenAI has it: a type, and arguments as a text."""
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(function, dict):
        return given
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else write(arguments if arguments is not None else {}).decode()
    return {**given, "type": "function", "function": {**function, "arguments": text}}
