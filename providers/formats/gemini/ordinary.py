"""What nearly every response of Gemini's looks like: texts and calls of tools, and counts. Read in one decode.

Any other, and what no page describes, is read the general way by `gemini.answers`, to the same bytes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import msgspec

from proxy_plugin.providers.formats.openai.turns import call_id

Block = dict[str, Any]

_NOTHING = msgspec.Raw(b"{}")
_PASSED = msgspec.Raw(b"null")  # members that say nothing to an answer of OpenAI's
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    args: msgspec.Raw = _NOTHING
    name: str = ""
    id: str = ""


class _Part(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    text: str | msgspec.UnsetType = msgspec.UNSET
    function_call: _Call | msgspec.UnsetType = msgspec.UNSET
    thought_signature: str = ""


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[_Part] = []
    role: msgspec.Raw = _PASSED


class Candidate(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One answer."""

    content: _Content = msgspec.field(default_factory=_Content)
    finish_reason: str | None = None
    index: int | None = None
    avg_logprobs: msgspec.Raw = _PASSED
    safety_ratings: msgspec.Raw = _PASSED


class _Usage(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    prompt_token_count: _Tokens = 0
    candidates_token_count: _Tokens = 0
    thoughts_token_count: _Tokens = 0
    cached_content_token_count: _Tokens = 0
    tool_use_prompt_token_count: _Tokens = 0
    total_token_count: msgspec.Raw = _PASSED
    prompt_tokens_details: msgspec.Raw = _PASSED
    candidates_tokens_details: msgspec.Raw = _PASSED
    cache_tokens_details: msgspec.Raw = _PASSED
    traffic_type: msgspec.Raw = _PASSED


class Ordinary(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One response."""

    candidates: Annotated[list[Candidate], msgspec.Meta(min_length=1)]
    usage_metadata: _Usage = msgspec.field(default_factory=_Usage)
    model_version: str = ""
    response_id: str = ""
    create_time: str | None = None


def ordinary(response: bytes) -> Ordinary | None:
    """Return a response that is ordinary, None for any other."""
    with suppress(msgspec.DecodeError, RecursionError):
        return _ORDINARY(response)
    return None


def message_of(candidate: Candidate, seed: tuple[str, str]) -> Block:
    """Return the message; an id that the model did not give is made of the response's id and the place."""
    parts = candidate.content.parts
    texts = [part.text for part in parts if isinstance(part.text, str)]
    calls = [_call(part, part.function_call, (*seed, str(n))) for n, part in enumerate(parts) if part.function_call]
    said: Block = {"role": "assistant", "content": None if calls and not texts else "".join(texts), "refusal": None}
    if calls:
        said["tool_calls"] = calls
    signatures = [part.thought_signature for part in parts if not part.function_call and part.thought_signature]
    if signatures:
        said["extra_content"] = signed(signatures[-1])
    return said


def signed(signature: str) -> Block:
    """Return what the caller should send back."""
    return {"google": {"thought_signature": signature}}


def _call(part: _Part, call: _Call, seed: tuple[str, ...]) -> Block:
    text = bytes(call.args).decode()
    function = {"name": call.name, "arguments": "{}" if text == "null" else text}
    made: Block = {"id": call.id or call_id(*seed), "type": "function", "function": function}
    if part.thought_signature:
        made["extra_content"] = signed(part.thought_signature)
    return made


_ORDINARY = msgspec.json.Decoder(Ordinary).decode
