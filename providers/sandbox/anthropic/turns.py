"""What the Messages API refuses in `messages` and `system`: blocks, roles, and tools that are used and answered."""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy_plugin.providers.sandbox.anthropic.errors import NEW
from proxy_plugin.providers.sandbox.anthropic.params import (
    ParamsError,
    Rules,
    check_cache_control,
    check_list,
    check_object,
    check_text,
    modern,
)

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")

# Block type: the members it must have, the others it may have, the roles that may say it ("tool": in a tool_result).
_BLOCKS: Mapping[str, tuple[Collection[str], Collection[str], Collection[str]]] = {
    "text": (("text",), ("citations",), ("user", "assistant", "system", "tool")),
    "image": (("source",), ("transformations",), ("user", "tool")),
    "document": (("source",), ("citations", "context", "title"), ("user", "assistant", "tool")),
    "search_result": (("source", "title", "content"), ("citations",), ("user", "tool")),
    "tool_result": (("tool_use_id",), ("content", "is_error", "toolset_name"), ("user",)),
    "tool_use": (("id", "name", "input"), ("caller", "toolset_name"), ("assistant",)),
    "thinking": (("thinking", "signature"), (), ("assistant",)),
    "redacted_thinking": (("data",), (), ("assistant",)),
}
_SOURCES: Mapping[str, Collection[str]] = {
    "base64": ("media_type", "data"),
    "text": ("media_type", "data"),
    "url": ("url",),
    "file": ("file_id",),
    "content": ("content",),
}
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(slots=True)
class _Turn:
    """Consecutive messages of one role: the service merges them. Blocks come with their paths."""

    role: str
    blocks: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def ids(self, kind: str, member: str) -> list[str]:
        return [block[member] for _, block in self.blocks if block["type"] == kind]


def check_turns(params: Mapping[str, Any], rules: Rules) -> None:
    """Judge `system` and `messages`. Raises `ParamsError`."""
    if isinstance(system := params.get("system", ""), list):
        for number, block in enumerate(system):
            _check_block(f"system.{number}", block, "system", rules)
    else:
        check_text("system", system)
    turns = _turns(check_list("messages", params["messages"]), rules)
    if not turns:
        raise ParamsError("messages: at least one message is required")
    if turns[0].role == "assistant":
        raise ParamsError('messages: first message must use the "user" role')
    if turns[-1].role == "assistant" and modern(params["model"]):
        raise ParamsError("This model does not support assistant message prefill. End with a user message.")
    for turn, following in zip(turns, [*turns[1:], None], strict=True):
        _check_uses(turn, following)
    for before, turn in zip([None, *turns[:-1]], turns, strict=True):
        _check_results(turn, before)


def _turns(messages: list[Any], rules: Rules) -> list[_Turn]:
    turns: list[_Turn] = []
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        check_object(where, message, ("role", "content"), ("role", "content"))
        role = _role(where, message["role"], rules)
        if not turns or turns[-1].role != role:
            turns.append(_Turn(role))
        turns[-1].blocks += _blocks(where, message["content"], role, rules)
    return turns


def _role(where: str, role: Any, rules: Rules) -> str:
    if role == "system" and rules.version != NEW:
        what = 'Unexpected role "system". The Messages API accepts a top-level `system` parameter'
        raise ParamsError(f'messages: {what}, not "system" as an input message role.')
    if role not in {"user", "assistant", "system"}:
        raise ParamsError(f"{where}.role: Input should be 'user' or 'assistant'")
    return str(role)


def _blocks(where: str, content: Any, role: str, rules: Rules) -> list[tuple[str, Mapping[str, Any]]]:
    if not content and isinstance(content, str | list):
        raise ParamsError(f"{where}: all messages must have non-empty content")
    if isinstance(content, str):
        return [(f"{where}.content", {"type": "text", "text": content})]
    blocks = [(f"{where}.content.{n}", block) for n, block in enumerate(check_list(f"{where}.content", content))]
    for place, block in blocks:
        _check_block(place, block, role, rules)
    return blocks


def _check_block(where: str, block: Any, role: str, rules: Rules) -> None:
    check_object(where, block, None, ("type",))
    kind = block["type"]
    if not isinstance(kind, str) or kind not in _BLOCKS:
        tags = ", ".join(f"'{name}'" for name in _BLOCKS)
        raise ParamsError(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected: {tags}")
    needed, others, roles = _BLOCKS[kind]
    check_object(f"{where}.{kind}", block, {"type", "cache_control", *needed, *others}, needed)
    if role not in roles or (kind == "document" and role == "assistant" and rules.version == NEW):
        raise ParamsError(f"{where}: `{kind}` blocks are not permitted in `{role}` messages")
    if kind == "text":
        _check_text_block(f"{where}.text", block, role, rules)
    elif kind in {"image", "document"}:
        _check_source(f"{where}.{kind}.source", block["source"], kind)
    elif kind in {"tool_use", "tool_result"}:
        _check_tool_block(f"{where}.{kind}", block, kind, rules)
    check_cache_control(f"{where}.{kind}.", block)


def _check_text_block(where: str, block: Mapping[str, Any], role: str, rules: Rules) -> None:
    if not check_text(f"{where}.text", block["text"]):
        raise ParamsError("messages: text content blocks must be non-empty")
    if block.get("citations") and role == "user" and rules.version == NEW:
        raise ParamsError(f"{where}.citations: not permitted in user messages")


def _check_source(where: str, source: Any, kind: str) -> None:
    kinds = ("base64", "url", "file") if kind == "image" else tuple(_SOURCES)
    check_object(where, source, None, ("type",))
    if source["type"] not in kinds:
        raise ParamsError(f"{where}: Input tag found using 'type' does not match any of the expected: {kinds}")
    needed = _SOURCES[source["type"]]
    check_object(f"{where}.{source['type']}", source, ("type", *needed), needed)
    if source["type"] == "base64":
        media = IMAGES if kind == "image" else ("application/pdf",)
        if source["media_type"] not in media:
            words = ", ".join(f"'{name}'" for name in media)
            raise ParamsError(f"{where}.base64.media_type: Input should be {words}")
        _check_base64(f"{where}.base64.data", source["data"])
    elif source["type"] == "url" and not check_text(where, source["url"]).startswith(("https://", "http://")):
        raise ParamsError(f"{where}.url.url: Only HTTP URLs are supported")


def _check_base64(where: str, data: Any) -> None:
    try:
        decoded = base64.b64decode(check_text(where, data), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise ParamsError(f"{where}: Invalid base64 data")


def _check_tool_block(where: str, block: Mapping[str, Any], kind: str, rules: Rules) -> None:
    member = "id" if kind == "tool_use" else "tool_use_id"
    if not _TOOL_ID.fullmatch(check_text(f"{where}.{member}", block[member])):
        raise ParamsError(f"{where}.{member}: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if kind == "tool_use":
        check_text(f"{where}.name", block["name"])
        check_object(f"{where}.input", block["input"], None)
    elif isinstance(content := block.get("content", ""), list):
        for number, inner in enumerate(content):
            _check_block(f"{where}.content.{number}", inner, "tool", rules)
    else:
        check_text(f"{where}.content", content)


def _check_uses(turn: _Turn, following: _Turn | None) -> None:
    """Every tool that is used must be answered in the next turn."""
    used = turn.ids("tool_use", "id")
    if len(set(used)) < len(used):
        raise ParamsError("messages: `tool_use` ids must be unique")
    answered = set(following.ids("tool_result", "tool_use_id")) if following else set()
    if missing := [name for name in used if name not in answered]:
        what = "`tool_use` ids were found without `tool_result` blocks immediately after"
        raise ParamsError(f"{turn.blocks[0][0]}: {what}: {', '.join(missing)}.")


def _check_results(turn: _Turn, before: _Turn | None) -> None:
    """Every answer of a tool must have its question in the turn before, and come before all else."""
    used = set(before.ids("tool_use", "id")) if before else set()
    others = False
    for where, block in turn.blocks:
        others = others or block["type"] != "tool_result"
        if block["type"] != "tool_result":
            continue
        if block["tool_use_id"] not in used:
            what = f"unexpected `tool_use_id` found in `tool_result` blocks: {block['tool_use_id']}"
            raise ParamsError(
                f"{where}: {what}. Each must have a corresponding `tool_use` block in the message before."
            )
        if others:
            raise ParamsError(f"{where}: `tool_result` blocks must come before all other content")
        used.discard(block["tool_use_id"])
