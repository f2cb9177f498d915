"""What a chat body says in Anthropic's own words: a caller who knows the model may use them.

Sources: Messages API, types of the official SDK 2.12; "Batch processing" ("all features available in the Messages API",
but `speed`); "Web search tool"; Bedrock User Guide and Vertex AI, "Claude" (`anthropic_beta` stands in the body there).
LiteLLM and Portkey take the same words in the same places.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from proxy_plugin.providers.formats.anthropic.turns import Block, cache_mark
from proxy_plugin.providers.formats.losses import Losses, rejected
from proxy_plugin.providers.formats.openai.chat import read_stops

TRANSLATED = frozenset({"thinking", "output_config", "system", "stop_sequences", "web_search_options"})
# Handed on as they are: UNVERIFIED which of their values a batch takes, the provider names what it does not.
_ON_API = frozenset(
    {"container", "mcp_servers", "context_management", "inference_geo", "diagnostics", "user_profile_id"}
)  # fmt: skip
_IN_CLOUDS = frozenset({"anthropic_beta", "context_management"})
_SERVER_TOOL = re.compile(r"(?:web_search|web_fetch|code_execution|tool_search_tool_\w+|memory|bash|text_editor)_\d{8}")
_RUN_BY_CALLERS = ("bash_", "text_editor_", "memory_")  # Anthropic knows what they take, and runs none of them
SEARCH: Block = {"type": "web_search_20250305", "name": "web_search"}  # the version that every model with a search has
_PLACE = ("city", "region", "country", "timezone")
# A batch has no place for these, whoever names them.
NEVER = {
    "speed": "a batch runs at one speed; remove it",
    "betas": "beta features belong to the whole batch; name them as anthropic_beta of the virtual key",
}


class Form(Enum):
    """Whose wire carries a body. The value is its `anthropic_version`: in a cloud the job names model and version.

    Sources: Bedrock User Guide, "Anthropic Claude Messages API"; Vertex AI, "Batch predictions with Claude" (2026).
    """

    API = ""
    BEDROCK = "bedrock-2023-05-31"
    VERTEX = "vertex-2023-10-16"


def handed_on(chat: Block, form: Form) -> Block:
    """Return the members that go on as they are."""
    names = _ON_API if form is Form.API else _IN_CLOUDS
    found = {name: chat[name] for name in names & chat.keys() if chat[name] is not None}
    if chat.get("service_tier") == "standard_only" and form is Form.API:
        found["service_tier"] = "standard_only"
    metadata = chat.get("metadata")
    if isinstance(metadata, dict) and metadata.keys() == {"user_id"} and isinstance(metadata["user_id"], str):
        found["metadata"] = metadata
    return found


def read_system(given: object, messages: str | list[Block] | None) -> str | list[Block] | None:
    """Return the body's own `system` before what the messages say to it. Raises LineRejected."""
    if isinstance(given, str):
        own: list[Block] = [{"type": "text", "text": given}] if given and not given.isspace() else []
        if own and messages is None:
            return given
    elif isinstance(given, list):
        own = [_system_block(block, f"system[{number}]") for number, block in enumerate(given)]
    else:
        raise rejected("system", "must be a text or a list of text blocks", "invalid_type")
    said: list[Block] = [{"type": "text", "text": messages}] if isinstance(messages, str) else messages or []
    return [*own, *said] if own else messages


def _system_block(block: object, path: str) -> Block:
    text = block.get("text") if isinstance(block, dict) and block.get("type") == "text" else None
    if not isinstance(block, dict) or not isinstance(text, str) or not text or text.isspace():
        raise rejected(path, "must be a text block that says something")
    if block.get("cache_control") is not None:
        cache_mark(block["cache_control"], f"{path}.")
    return block


def read_sequences(chat: Block, losses: Losses) -> list[str]:
    """Return the texts of `stop` and of `stop_sequences` that can stop an answer."""
    own = chat.get("stop_sequences") or []
    if not isinstance(own, list) or not all(isinstance(text, str) for text in own):
        raise rejected("stop_sequences", "must be a list of texts")
    found: list[str] = []
    for param, texts in (("stop", read_stops(chat)), ("stop_sequences", own)):
        if "" in texts:
            losses.hint(param, "an empty text stops nothing", "Remove it")
        if any(text and text.isspace() for text in texts):
            losses.add(param, "Anthropic takes no sequence of white space alone", "Send visible characters")
        found += [text for text in texts if text and not text.isspace()]
    return list(dict.fromkeys(found))


def is_server_tool(tool: object) -> bool:
    """Whether a tool is one that Anthropic runs, or knows, itself: `{"type": "web_search_20250305", ...}`."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and _SERVER_TOOL.fullmatch(kind) is not None


def server_tools(chat: Block, form: Form, losses: Losses) -> list[Block]:
    """Return the tools that Anthropic runs itself, `web_search_options` among them. Raises LineRejected.

    UNVERIFIED whether batches of the clouds run them: no page says so, and their own search is another one.
    """
    given = chat.get("tools")
    found = []
    for number, tool in enumerate(given if isinstance(given, list) else ()):
        if is_server_tool(tool):
            if not isinstance(tool.get("name"), str):
                raise rejected(f"tools[{number}].name", "must be a text", "invalid_type")
            found.append((f"tools[{number}]", tool))
    if (options := chat.get("web_search_options")) is not None:
        found.append(("web_search_options", _search(options, losses)))
    for path, tool in found:
        if form is not Form.API and not tool["type"].startswith(_RUN_BY_CALLERS):
            losses.add(path, "batches of this cloud run no tools of Anthropic's", "Run the line on Anthropic's own API")
    return [tool for _, tool in found if form is Form.API or tool["type"].startswith(_RUN_BY_CALLERS)]


def _search(options: object, losses: Losses) -> Block:
    path = "web_search_options"
    if not isinstance(options, dict):
        raise rejected(path, "must be an object", "invalid_type")
    losses.add_unknown(options, frozenset({"search_context_size", "user_location"}), path)
    if options.get("search_context_size") is not None:
        losses.hint(f"{path}.search_context_size", "Anthropic chooses the size itself", "Remove it")
    if (location := options.get("user_location")) is None:
        return SEARCH
    place: Any = location.get("approximate") if isinstance(location, dict) else None
    if not isinstance(place, dict):
        raise rejected(f"{path}.user_location.approximate", "must be an object", "invalid_type")
    losses.add_unknown(place, frozenset(_PLACE), f"{path}.user_location.approximate")
    known = {name: place[name] for name in _PLACE if place.get(name) is not None}
    return {**SEARCH, "user_location": {"type": "approximate", **known}}
